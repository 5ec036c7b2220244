//! Schedules as a regularizer carries them: resolved to its parameters, and applied at each step.

use super::{
    Schedule, Schedules,
    schedules::{freeze_of, scale_of},
};
use crate::{
    Error, Regularizer, Result,
    error::readable,
    penalty::{STRENGTH, is_strength},
    scales::check_scaled,
};

/// What is declared, and what it is for.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    declared: Schedules,
    scale: Option<Schedule>,
    scales: Vec<Scheduled<Schedule>>,
    freezes: Vec<Scheduled<u64>>,
    /// The scale of each parameter in the step to come: room that is made once.
    next: Vec<f64>,
}

/// Something that changes, and where the parameters that it is for stand in the list.
#[derive(Clone, Debug)]
struct Scheduled<T> {
    field: Option<String>,
    parameters: Vec<usize>,
    what: T,
}

impl Regularizer {
    /// Lets scales change and supports freeze while training, in place of the schedules before.
    ///
    /// [`ProxSgd`](crate::ProxSgd), [`ProxAdamW`](crate::ProxAdamW), [`FtrlProximal`](crate::FtrlProximal) and
    /// [`Proximal`](crate::Proximal) go by them: before each step they set what belongs to it, by their own count of steps
    /// ([`Stepper::steps`](crate::Stepper::steps): 0 before the first), so that a training that is resumed from a
    /// [`Checkpoint`](crate::Checkpoint) goes on to the bit. For any other optimizer [`at_step`](Self::at_step) does the same by hand.
    /// [`Fista`](crate::Fista), which solves one fixed problem, refuses them.
    ///
    /// What stands at step 0 is set at once. What follows a schedule cannot be set by hand meanwhile
    /// ([`Error::FollowsSchedule`]); everything else can.
    ///
    /// ```
    /// use candle_core::{Device, Tensor, Var};
    /// use candle_nn::Optimizer;
    /// use l1_core::{ParamsProxSgd, Phases, ProxSgd, Regularized, Rule, Schedules, Visitor};
    ///
    /// struct Model(Var);
    /// impl Regularized for Model {
    ///     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
    ///         visitor.field("weight", Rule::l1(1.0), &self.0)
    ///     }
    /// }
    ///
    /// let target = Tensor::new(&[3f64, 0.5], &Device::Cpu)?;
    /// let model = Model(Var::zeros(2, candle_core::DType::F64, &Device::Cpu)?);
    /// let mut regularizer = model.regularizer()?;
    /// regularizer.set_schedules(Schedules::new().phases(Phases::new().warm_up(100).ramp(10).penalize(100)))?;
    ///
    /// let mut opt = ProxSgd::new(vec![model.0.clone()], ParamsProxSgd { lr: 0.5, ..ParamsProxSgd::new(regularizer) })?;
    /// let mut train = |steps| -> candle_core::Result<Vec<f64>> {
    ///     for _ in 0..steps {
    ///         opt.backward_step(&((model.0.as_tensor() - &target)?.sqr()?.sum_all()? * 0.5)?)?;
    ///     }
    ///     model.0.to_vec1()
    /// };
    /// assert_eq!(train(100)?, [3.0, 0.5]); // warm-up: no penalty
    /// assert_eq!(train(110)?, [2.0, 0.0]); // the penalty takes 1 of each
    /// assert_eq!(train(100)?, [3.0, 0.0]); // frozen: the zero stays, and the rest is given back
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// The old schedules stay, and all else as it was.
    /// * [`Error::InvalidSchedule`]: numbers that are negative or not finite, steps that do not increase, ….
    /// * [`Error::TwoSchedules`]: two for the scale, or for the scale or freezing of one parameter.
    /// * [`Error::UnknownField`], [`Error::NothingPenalized`], where nothing is penalized that could follow one.
    /// * [`Error::SupportOfSingularValues`], as from [`freeze_support`](Self::freeze_support); [`Error::InvalidValue`], as from
    ///   [`set_scale`](Self::set_scale).
    pub fn set_schedules(&mut self, schedules: Schedules) -> Result<()> {
        self.check_not_empty()?;
        let carried = Carried::new(self, schedules)?;
        // Only now, since all may be refused yet.
        let mut next = self.clone();
        next.schedules = Some(carried);
        next.at_step(0)?;
        *self = next;
        Ok(())
    }

    /// The schedules that it follows.
    #[must_use]
    pub fn schedules(&self) -> Option<&Schedules> {
        self.schedules.as_ref().map(|carried| &carried.declared)
    }

    /// Follows no schedule any more. Scales, and what is frozen, stay as they are.
    pub fn clear_schedules(&mut self) {
        self.schedules = None;
    }

    /// Sets what the schedules say for a step: scales, and whether supports are frozen. Optimizers of this crate do it by themselves. It
    /// depends on the step alone, so that steps may be passed over or gone back to; without schedules it does nothing.
    ///
    /// * `step`: how many steps were taken before this one.
    ///
    /// ```no_run
    /// # fn train(mut regularizer: l1_core::Regularizer, mut opt: candle_nn::SGD, loss: impl Fn() -> candle_core::Result<candle_core::Tensor>) -> l1_core::Result<()> {
    /// use candle_nn::Optimizer;
    ///
    /// for step in 0..1000 {
    ///     regularizer.at_step(step)?;
    ///     opt.step(&regularizer.add_subgradient(loss()?.backward()?)?)?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidSchedule`] where a function gives a number that is negative or not finite, [`Error::InvalidValue`] where some
    /// λ, element or l2 overflows by it. Nothing is changed then.
    pub fn at_step(&mut self, step: u64) -> Result<()> {
        // Taken, so that the parameters can be changed beside it.
        let Some(mut carried) = self.schedules.take() else { return Ok(()) };
        let result = carried.apply(self, step);
        self.schedules = Some(carried);
        result
    }

    /// Refuses to set by hand what follows a schedule.
    pub(crate) fn check_scale_is_free(&self) -> Result<()> {
        match self.schedules.as_ref().and_then(|carried| carried.scale.as_ref()) {
            None => Ok(()),
            Some(schedule) => Err(Error::FollowsSchedule { what: scale_of(None), schedule: schedule.to_string() }),
        }
    }

    /// The same for scales of fields.
    pub(crate) fn check_scales_are_free(&self, parameters: &[usize]) -> Result<()> {
        let scales = self.schedules.iter().flat_map(|carried| &carried.scales);
        refuse(scales, parameters, scale_of, |schedule| schedule.to_string())
    }

    /// The same for what is frozen.
    pub(crate) fn check_supports_are_free(&self, parameters: &[usize]) -> Result<()> {
        let freezes = self.schedules.iter().flat_map(|carried| &carried.freezes);
        refuse(freezes, parameters, freeze_of, |step| format!("from step {step} on"))
    }

    /// Refuses schedules where there is no count of steps to follow.
    pub(crate) fn refuse_schedules(&self, place: &'static str) -> Result<()> {
        match self.schedules() {
            None => Ok(()),
            Some(schedules) => Err(Error::ScheduleUnused { schedules: schedules.to_string(), place }),
        }
    }
}

fn refuse<'c, T: 'c>(
    mut scheduled: impl Iterator<Item = &'c Scheduled<T>>,
    parameters: &[usize],
    name: fn(Option<&str>) -> String,
    text: fn(&T) -> String,
) -> Result<()> {
    match scheduled.find(|scheduled| scheduled.parameters.iter().any(|index| parameters.contains(index))) {
        None => Ok(()),
        Some(Scheduled { field, what, .. }) => {
            Err(Error::FollowsSchedule { what: name(field.as_deref()), schedule: text(what) })
        }
    }
}

impl Carried {
    fn new(regularizer: &Regularizer, declared: Schedules) -> Result<Self> {
        let (mut scale, mut scales, mut freezes): (Option<Schedule>, Vec<_>, Vec<_>) = (None, Vec::new(), Vec::new());
        for (field, schedule) in &declared.scales {
            schedule.check_with(&scale_of(field.as_deref()), is_strength, STRENGTH)?;
            match field {
                Some(field) => {
                    let parameters = regularizer.below(field)?;
                    add(regularizer, &mut scales, Some(field), parameters, schedule.clone(), scale_of)?;
                }
                None if scale.is_some() => {
                    return Err(Error::TwoSchedules { path: "".into(), what: [scale_of(None), scale_of(None)] });
                }
                None => scale = Some(schedule.clone()),
            }
        }
        for (field, step) in &declared.freezes {
            let parameters = regularizer.below(field.as_deref().unwrap_or_default())?;
            regularizer.check_has_support(&parameters)?;
            add(regularizer, &mut freezes, field.as_ref(), parameters, *step, freeze_of)?;
        }
        let next = vec![1.0; regularizer.params.len()];
        Ok(Self { declared, scale, scales, freezes, next })
    }

    /// Allocates nothing.
    fn apply(&mut self, regularizer: &mut Regularizer, step: u64) -> Result<()> {
        let scale = match &self.scale {
            None => regularizer.scale,
            Some(schedule) => strength(schedule, None, step)?,
        };
        self.next.iter_mut().zip(&regularizer.params).for_each(|(next, param)| *next = param.scale);
        for Scheduled { field, parameters, what: schedule } in &self.scales {
            let value = strength(schedule, field.as_deref(), step)?;
            parameters.iter().for_each(|&index| self.next[index] = value);
        }
        for (param, next) in regularizer.params.iter().zip(&self.next) {
            if scale != regularizer.scale || *next != param.scale {
                check_scaled(param, scale * next)?;
            }
        }
        regularizer.scale = scale;
        regularizer.params.iter_mut().zip(&self.next).for_each(|(param, next)| param.scale = *next);
        for Scheduled { parameters, what: from, .. } in &self.freezes {
            regularizer.set_frozen(parameters, step >= *from);
        }
        Ok(())
    }
}

/// Adds what is for parameters of which none has its like.
fn add<T>(
    regularizer: &Regularizer,
    to: &mut Vec<Scheduled<T>>,
    field: Option<&String>,
    parameters: Vec<usize>,
    what: T,
    name: fn(Option<&str>) -> String,
) -> Result<()> {
    for other in to.iter() {
        if let Some(&both) = parameters.iter().find(|index| other.parameters.contains(index)) {
            let path = regularizer.params[both].path.clone();
            let what = [name(other.field.as_deref()), name(field.map(String::as_str))];
            return Err(Error::TwoSchedules { path, what });
        }
    }
    to.push(Scheduled { field: field.cloned(), parameters, what });
    Ok(())
}

/// The number at a step, which a scale can be.
fn strength(schedule: &Schedule, field: Option<&str>, step: u64) -> Result<f64> {
    let value = schedule.value(step);
    if is_strength(value) {
        return Ok(value);
    }
    let why = format!("it is {} at step {step} (expected {STRENGTH})", readable(value));
    Err(schedule.invalid(&scale_of(field), why))
}
