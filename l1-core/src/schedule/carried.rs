//! Schedules as a regularizer carries them: resolved to its parameters, and applied at each step.

use std::collections::HashMap;

use candle_core::TensorId;

use super::{
    Schedule, Schedules,
    schedules::{freeze_of, scale_of},
};
use crate::{
    Error, Param, Penalty, Regularizer, Result,
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
    /// The parameters with a schedule of their own scale, and whether it is above 0 at some step.
    rises: HashMap<TensorId, bool>,
    /// The scale of the whole, and that of each parameter with whether its support is frozen, before these schedules.
    before: (f64, Vec<(f64, bool)>),
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
    /// Lets scales change and supports freeze while training, in place of the schedules before: what these drove is put back to what it
    /// was when they were set, so that nothing is left of a warm-up's 0 or of a frozen support.
    ///
    /// [`ProxSgd`](crate::ProxSgd), [`ProxAdamW`](crate::ProxAdamW), [`FtrlProximal`](crate::FtrlProximal) and
    /// [`Proximal`](crate::Proximal) go by them: before each step they set what belongs to it, by their own count of steps
    /// ([`Stepper::steps`](crate::Stepper::steps): 0 before the first), so that a training that is resumed from a
    /// [`Checkpoint`](crate::Checkpoint) goes on to the bit. For any other optimizer [`at_step`](Self::at_step) does the same by hand.
    /// [`Fista`](crate::Fista), which solves one fixed problem, refuses them.
    ///
    /// What stands at step 0 is set at once. What follows a schedule cannot be set by hand meanwhile
    /// ([`Error::FollowsSchedule`]); everything else can. A [`Path`](crate::Path) and a search for a [`Budget`](crate::Budget) set scales
    /// by hand: give them a regularizer without schedules ([`clear_schedules`](Self::clear_schedules), or a new one of the model).
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
        // A copy, since all may be refused yet.
        let mut next = self.clone();
        if let Some(old) = next.schedules.take() {
            old.put_back(&mut next);
            next.params.iter().try_for_each(|param| check_scaled(param, next.scale * param.scale))?;
        }
        next.schedules = Some(Carried::new(&next, schedules)?);
        next.at_step(0)?;
        *self = next;
        Ok(())
    }

    /// The schedules that it follows.
    #[must_use]
    pub fn schedules(&self) -> Option<&Schedules> {
        self.schedules.as_ref().map(|carried| &carried.declared)
    }

    /// Follows no schedule any more. Scales, and what is frozen, stay as the last step left them, a warm-up's 0 too: set them by hand
    /// ([`set_scale`](Self::set_scale), [`release_support`](Self::release_support)) where that is not meant.
    /// [`set_schedules`](Self::set_schedules) with other schedules puts them back first.
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
    ///     let grads = regularizer.add_subgradient(loss()?.backward()?)?;
    ///     opt.step(&grads)?;
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

    /// The penalty of a parameter as it is once its support is released, and with a scale of 1 in place of one that a schedule has at 0
    /// now and above 0 at some step: that a warm-up charges nothing yet is no reason to ask nothing of gradients.
    pub(crate) fn penalty_to_come(&self, param: &Param) -> Option<Penalty> {
        let awake = |rises: bool, scale: f64| if rises && scale == 0.0 { 1.0 } else { scale };
        let carried = self.schedules.as_ref();
        let whole = carried.and_then(|carried| carried.scale.as_ref()).is_some_and(Schedule::may_be_positive);
        let own = carried.is_some_and(|carried| carried.rises.get(&param.tensor.id()) == Some(&true));
        let scale = awake(whole, self.scale) * awake(own, param.scale);
        param.decision.penalty().map(|penalty| penalty.scaled(scale))
    }

    /// Whether it is charged, now or at some step of its schedule; not while its support is frozen.
    pub(crate) fn is_charged(&self, param: &Param) -> bool {
        !param.support_is_frozen && self.penalty_to_come(param).is_some_and(|penalty| !penalty.is_none())
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
        let rises = scales.iter().flat_map(|Scheduled { parameters, what, .. }: &Scheduled<Schedule>| {
            let rises = what.may_be_positive();
            parameters.iter().map(move |&index| (regularizer.params[index].tensor.id(), rises))
        });
        let rises = rises.collect();
        let next = vec![1.0; regularizer.params.len()];
        let before = regularizer.params.iter().map(|param| (param.scale, param.support_is_frozen)).collect();
        let before = (regularizer.scale, before);
        Ok(Self { declared, scale, scales, freezes, rises, before, next })
    }

    /// Gives back what these schedules drove as it was before them.
    fn put_back(&self, regularizer: &mut Regularizer) {
        let (whole, of_parameters) = &self.before;
        if self.scale.is_some() {
            regularizer.scale = *whole;
        }
        for &index in self.scales.iter().flat_map(|scheduled| &scheduled.parameters) {
            regularizer.params[index].scale = of_parameters[index].0;
        }
        for &index in self.freezes.iter().flat_map(|scheduled| &scheduled.parameters) {
            regularizer.params[index].support_is_frozen = of_parameters[index].1;
        }
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
