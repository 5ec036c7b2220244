//! The optimizer around a step: variables and their state, the checks before anything is written, one job for the kernels.

use std::fmt;

use candle_core::{Result as CandleResult, TensorId, Var, backprop::GradStore};
use candle_nn::Optimizer;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    lost::{self, Lost},
    split::{self, Before, Parts},
    vars::{self, Planned},
};
use crate::{
    DataGradients, Error, Guard, OnMissingGradient, ParamPath, ParamsStationarity, Penalty, Regularizer, Result,
    Stationarity,
    certificate::{self, DecayFactors, Subject},
    gradient::Taken,
    kernel::{self, Hold, Late, OptimizerStep, Source, Tables, Work, first_non_finite, master::Master},
};

/// What makes one proximal optimizer different from the next: its parameters, its state, and the step that follows from them.
///
/// [`ParamsProxSgd`](super::ParamsProxSgd), [`ParamsProxAdamW`](super::ParamsProxAdamW) and [`ParamsFtrl`](super::ParamsFtrl) are
/// methods; it is public for code that is generic over them, and cannot be implemented elsewhere: a step is a kernel of this crate.
pub trait Method: Clone + fmt::Debug + Send + Sync + Sealed + 'static {
    /// What is counted for each variable, so that one that gets its first gradient late is treated as at its own first step.
    #[doc(hidden)]
    type Progress: Copy + Default + fmt::Debug + Send + Sync + Serialize + DeserializeOwned + 'static;

    /// The optimizer's name.
    const NAME: &'static str;

    /// What every method has.
    fn shared(&self) -> Shared<'_>;
    /// Learning rate and regularizer, to be changed; checked at the next step.
    #[doc(hidden)]
    fn shared_mut(&mut self) -> (&mut f64, &mut Regularizer);

    /// Refuses hyperparameters out of their range.
    #[doc(hidden)]
    fn check(&self) -> Result<()>;
    /// Refuses hyperparameters whose steps overflow in f32.
    #[doc(hidden)]
    fn check_narrow(&self) -> Result<()>;
    /// The other hyperparameters by name: what has to be the same when training is resumed.
    #[doc(hidden)]
    fn hyperparameters(&self) -> Vec<(&'static str, String)>;
    /// Names of the tensors kept for each variable, with the number that fills each at first.
    #[doc(hidden)]
    fn state(&self) -> Vec<(&'static str, f64)>;
    /// The next step of a variable, and its progress after it.
    #[doc(hidden)]
    fn next(&self, progress: Self::Progress, planned: &Planned) -> (OptimizerStep, Self::Progress);
    /// From which progress a variable goes on whose support is frozen, if that is another than it has: then the first tensor of its state
    /// is cleared as well.
    #[doc(hidden)]
    fn on_freezing(&self, _progress: Self::Progress) -> Option<Self::Progress> {
        None
    }
    /// The next step of a variable with the penalty alone: without gradient, moments and decay; its state is one tensor of zeros and what
    /// a step divides by. `None` before its length is known, and where no rounding of weights takes a penalty back.
    #[doc(hidden)]
    fn penalty_alone(&self, _progress: Self::Progress, _penalty: Penalty) -> Option<OptimizerStep> {
        None
    }
    /// A planned step without what it charges, for telling the penalty's part of the move from the others.
    ///
    /// * `progress`: before the step.
    #[doc(hidden)]
    fn uncharged(&self, _progress: Self::Progress, step: &OptimizerStep) -> OptimizerStep {
        step.without_charge()
    }
    /// Whether half variables are stepped by way of an f32 copy.
    #[doc(hidden)]
    fn master_weights(&self) -> bool {
        false
    }
    /// The decay where training ends, as a term of what is minimized.
    ///
    /// * `decay`: of this variable; > 0.
    /// * `state`: of this variable, in the order of [`state`](Self::state).
    #[doc(hidden)]
    fn decay_factors(&self, progress: Self::Progress, decay: f64, state: &[Var]) -> Result<DecayFactors>;
    /// Decay of weights and embeddings without a declaration.
    #[doc(hidden)]
    fn weight_decay(&self) -> f64;
}

/// Keeps the trait to this crate.
pub trait Sealed {}

/// What every [`Method`] has.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Shared<'m> {
    /// Learning rate.
    pub lr: f64,
    /// What is done about gradients that are not finite.
    pub guard: Guard,
    /// What is done about penalized parameters without a gradient.
    pub on_missing_gradient: OnMissingGradient,
    /// Which parameters are penalized, and how.
    pub regularizer: &'m Regularizer,
}

/// A proximal optimizer: [`ProxSgd`](super::ProxSgd), [`ProxAdamW`](super::ProxAdamW) or [`FtrlProximal`](super::FtrlProximal).
///
/// Other threads may read the model while it is stepped: they see each tensor before or after a step (a large one possibly in
/// between). A step from within a rayon task may wait for ever if other tasks of the same pool read the model meanwhile: step from a
/// thread of your own.
pub struct Stepper<M: Method> {
    work: Vec<Work>,
    /// Now, and after the step that is being taken.
    progress: Vec<(M::Progress, M::Progress)>,
    taken: Taken,
    lost: Lost,
    tables: Tables,
    steps: u64,
    params: M,
}

/// What an optimizer keeps of one variable.
pub(crate) struct Kept<'s, P> {
    pub(crate) var: &'s Var,
    /// The tensors of its state.
    pub(crate) state: &'s [Var],
    /// Its f32 copy.
    pub(crate) master: Option<&'s Master>,
    pub(crate) progress: P,
}

impl<M: Method> Stepper<M> {
    /// The hyperparameters.
    #[must_use]
    pub fn params(&self) -> &M {
        &self.params
    }

    /// Which parameters are penalized, and how.
    #[must_use]
    pub fn regularizer(&self) -> &Regularizer {
        self.params.shared().regularizer
    }

    /// To change λ's scale, its schedules, or the regularizer as a whole, from the next step on.
    pub fn regularizer_mut(&mut self) -> &mut Regularizer {
        self.params.shared_mut().1
    }

    /// Steps taken so far, those before a loaded [`Checkpoint`](crate::Checkpoint) included. A refused step is none; one that has
    /// passed over some coordinates ([`Guard::InPass`]) is one, though it returns an error.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How far the model is from where this optimizer ends: [`Regularizer::stationarity`] for loss + Ω, and beside it, where
    /// something is decayed, the same for loss + Ω + the term that decoupled decay adds to what is minimized:
    ///
    /// * [`ProxSgd`](super::ProxSgd): `wd/(2W)·‖w‖²`, W the limit of the gradients' total weight in a move: 1 without momentum, then
    ///   (1 − τ)/(1 − μ), with Nesterov's 1/(1 − μ);
    /// * [`ProxAdamW`](super::ProxAdamW): `½·wd·Σ(√v̂ᵢ + ε)wᵢ²` with v̂ as it is now (bias correction and AMSGrad included).
    ///
    /// So the second column says whether training has ended, and the first what the decay has done to the declared problem.
    /// [`Stationarity::assert_below`] judges the second.
    ///
    /// Variables of the optimizer that its regularizer does not know have rows behind the others ([`MeanGradients`](crate::MeanGradients)
    /// do not know them either). Parameters that the regularizer penalizes, but the optimizer does not step, have theirs too.
    ///
    /// * `grads`: gradients of the **data loss alone** at the weights as they are now.
    ///
    /// ```
    /// # use candle_core::{Device, Tensor, Var};
    /// # use l1_core::{Regularized, Rule, Visitor};
    /// # struct Model(Var);
    /// # impl Regularized for Model {
    /// #     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
    /// #         visitor.field("weight", Rule::l1(1.0), &self.0)
    /// #     }
    /// # }
    /// # fn main() -> candle_core::Result<()> {
    /// # let target = Tensor::new(&[3f64, 0.5], &Device::Cpu)?;
    /// # let model = Model(Var::zeros(2, candle_core::DType::F64, &Device::Cpu)?);
    /// # let loss = || (model.0.as_tensor() - &target)?.sqr()?.sum_all()? * 0.5;
    /// use candle_nn::Optimizer;
    /// use l1_core::{ParamsProxSgd, ProxSgd};
    ///
    /// let params = ParamsProxSgd { lr: 0.1, weight_decay: 0.5, ..ParamsProxSgd::new(model.regularizer()?) };
    /// let mut opt = ProxSgd::new(vec![model.0.clone()], params)?;
    /// for _ in 0..300 {
    ///     opt.backward_step(&loss()?)?;
    /// }
    /// let stationarity = opt.stationarity(&loss()?.backward()?)?;
    /// println!("{stationarity}");
    /// stationarity.assert_below(1e-12)?; // of loss + ‖w‖₁ + ¼‖w‖²
    /// assert!(stationarity.rows[0].distance.relative > 0.5); // of loss + ‖w‖₁
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Regularizer::stationarity`], but for [`Error::NothingPenalized`].
    pub fn stationarity<G: DataGradients>(&self, grads: &G) -> Result<Stationarity> {
        self.stationarity_with(grads, &ParamsStationarity::default())
    }

    /// [`stationarity`](Self::stationarity) with another step to test zeros by, or another width of the noise.
    ///
    /// # Errors
    /// As [`stationarity`](Self::stationarity), and [`Error::InvalidParameter`] for a step or z out of its range.
    pub fn stationarity_with<G: DataGradients>(&self, grads: &G, params: &ParamsStationarity) -> Result<Stationarity> {
        let regularizer = self.regularizer();
        let mut subjects = regularizer.subjects();
        for (index, (work, progress)) in self.work.iter().zip(&self.progress).enumerate() {
            let decay = vars::decay(regularizer.get(&work.var), self.params.weight_decay());
            if decay > 0.0
                && let Some(subject) = subjects.iter_mut().find(|subject| subject.tensor.id() == work.var.id())
            {
                subject.decay = self.params.decay_factors(progress.0, decay, &work.state)?;
            }
            if regularizer.get(&work.var).is_none() {
                subjects.push(Subject::unpenalized(self.path(index), &work.var));
            }
        }
        certificate::certify(regularizer, subjects, grads, params)
    }

    /// Waits for the last step and returns what it has passed over, if nobody has been told so far.
    ///
    /// It is needed on CUDA with [`Guard::InPass`] alone: there a step does not wait for the device, so that its error comes from the next
    /// step, which is taken all the same, or from here: ask after the last one. Everywhere else a step has said all there is.
    ///
    /// # Errors
    /// [`Error::NonFiniteGradient`] for a step that has passed over coordinates.
    pub fn check_last_step(&mut self) -> Result<()> {
        let Some(Late { index, at, value }) = self.tables.take_late()? else { return Ok(()) };
        let guard = self.params.shared().guard;
        Err(Error::NonFiniteGradient { path: self.path(index), value, index: at, guard })
    }

    /// The variables, each with all that is kept of it.
    pub(crate) fn kept(&self) -> impl Iterator<Item = Kept<'_, M::Progress>> {
        self.work.iter().zip(&self.progress).map(|(Work { var, state, master, .. }, progress)| Kept {
            var,
            state,
            master: master.as_ref(),
            progress: progress.0,
        })
    }

    /// Goes on from other parameters and another progress; the caller has checked both.
    pub(crate) fn go_on(&mut self, params: M, steps: u64, progress: Vec<M::Progress>) {
        self.params = params;
        self.steps = steps;
        self.progress = progress.into_iter().map(|progress| (progress, progress)).collect();
    }

    /// What a variable is called in errors.
    pub(crate) fn path(&self, index: usize) -> ParamPath {
        vars::path(index, &self.work[index].var, self.regularizer())
    }

    fn vars(&self) -> impl Iterator<Item = &Var> + Clone {
        self.work.iter().map(|work| &work.var)
    }

    /// A step, and the parts of each variable's move; those that are left alone are not among them. It costs twice as much.
    ///
    /// # Errors
    /// As `step`.
    #[doc(hidden)]
    pub fn split_step(&mut self, grads: &GradStore) -> Result<Vec<(TensorId, Parts)>> {
        let mut before = Vec::new();
        self.try_step_looking(grads, |stepper| {
            for (index, (work, progress)) in stepper.work.iter().zip(&stepper.progress).enumerate() {
                if let Some((_, step)) = &work.next {
                    // As it is planned: a support that has just been frozen begins anew.
                    let anew = match work.hold {
                        Hold::ZerosAnew => stepper.params.on_freezing(progress.0),
                        Hold::Zeros | Hold::Nothing => None,
                    };
                    let uncharged = stepper.params.uncharged(anew.unwrap_or(progress.0), step);
                    before.extend(Before::of(index, work, uncharged)?);
                }
            }
            Ok(())
        })?;
        split::parts(before, &self.work)
    }

    fn try_step(&mut self, grads: &GradStore) -> Result<()> {
        self.try_step_looking(grads, |_| Ok(()))
    }

    /// * `look`: at what is going to be stepped, when all has been planned and nothing written.
    fn try_step_looking(&mut self, grads: &GradStore, look: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let before = self.steps;
        let result = self.plan(grads).and_then(|()| look(self)).and_then(|()| self.run());
        // The gradients are not kept until the next step.
        self.work.iter_mut().for_each(|work| work.next = None);
        if self.steps != before && lost::is_due(self.steps) {
            self.look_for_lost_penalties();
        }
        result
    }

    /// See `lost.rs`.
    fn look_for_lost_penalties(&mut self) {
        let Self { work, progress, lost, params, .. } = self;
        let variables = work.iter().zip(progress).enumerate().filter(|(_, (work, _))| work.master.is_none());
        for (index, (work, progress)) in variables {
            let alone = |penalty| params.penalty_alone(progress.0, penalty);
            let remedy = "set `master_weights: true`";
            lost.look((index, &work.var), &work.state, params.shared().regularizer, alone, remedy);
        }
    }

    /// Checks everything and looks every penalty up. Allocates nothing.
    fn plan(&mut self, grads: &GradStore) -> Result<()> {
        let steps = self.steps;
        self.regularizer_mut().at_step(steps)?;
        self.check(&self.params)?;
        // Again at each step: the regularizer may have been replaced.
        vars::check_covers(self.regularizer(), self.vars())?;
        let Self { work, progress, taken, params, .. } = self;
        for (index, (work, progress)) in work.iter_mut().zip(progress).enumerate() {
            let Shared { regularizer, on_missing_gradient, .. } = params.shared();
            let planned = vars::plan(index, &work.var, grads, regularizer, taken, on_missing_gradient)?;
            let Some(planned) = planned else { continue };
            let anew = if planned.is_held { params.on_freezing(progress.0) } else { None };
            work.hold = match anew {
                Some(_) => Hold::ZerosAnew,
                None if planned.is_held => Hold::Zeros,
                None => Hold::Nothing,
            };
            let (step, next) = params.next(anew.unwrap_or(progress.0), &planned);
            progress.1 = next;
            work.next = Some((planned.grad, step));
        }
        Ok(())
    }

    /// Refuses parameters that these variables cannot be stepped with.
    pub(crate) fn check(&self, params: &M) -> Result<()> {
        params.check()?;
        if vars::any_narrow(self.vars()) { params.check_narrow() } else { Ok(()) }
    }

    fn run(&mut self) -> Result<()> {
        let source = match self.params.shared().guard {
            Guard::Before => {
                if let Some(index) = kernel::first_with_non_finite_gradient(&self.work, &mut self.tables)? {
                    return Err(self.non_finite(index)?);
                }
                Source::Checked
            }
            Guard::InPass => Source::Unchecked,
        };
        let late = self.check_last_step();
        let passed_over = kernel::steps(&mut self.work, source, &mut self.tables)?;
        self.steps += 1;
        for (progress, work) in self.progress.iter_mut().zip(&self.work) {
            if work.next.is_some() {
                progress.0 = progress.1;
            }
        }
        let now = match passed_over {
            None => Ok(()),
            Some(index) => Err((index, self.non_finite(index)?)),
        };
        match (late, now) {
            (Ok(()), now) => now.map_err(|(_, error)| error),
            (late, Ok(())) => late,
            (late, Err((index, error))) => {
                // One error at a time.
                if let Error::NonFiniteGradient { index: at, value, .. } = error {
                    self.tables.put_off(Late { index, at, value });
                }
                late
            }
        }
    }

    fn non_finite(&self, index: usize) -> Result<Error> {
        let work = &self.work[index];
        let found = match &work.next {
            Some((grad, _)) => first_non_finite(grad)?,
            None => None,
        };
        let (at, value) = found.unwrap_or((0, f64::NAN));
        Ok(Error::NonFiniteGradient { path: self.path(index), value, index: at, guard: self.params.shared().guard })
    }
}

impl<M: Method> Optimizer for Stepper<M> {
    type Config = M;

    fn new(vars: Vec<Var>, params: M) -> CandleResult<Self> {
        params.check()?;
        let vars = vars::distinct(vars)?;
        vars::check_covers(params.shared().regularizer, vars.iter())?;
        if vars::any_narrow(vars.iter()) {
            params.check_narrow()?;
        }
        let taken = Taken::by(vars.iter().map(|var| var.as_tensor()));
        let work = |var: Var| {
            let state = params.state().into_iter().map(|(_, fill)| vars::state(&var, fill));
            let state = state.collect::<Result<_>>()?;
            let work = Work::new(var, state, None);
            if params.master_weights() { work.with_master() } else { Ok(work) }
        };
        let work = vars.into_iter().map(work).collect::<Result<Vec<_>, Error>>()?;
        let progress = vec![Default::default(); work.len()];
        let lost = Lost::new(work.len());
        let mut stepper = Self { work, progress, taken, lost, tables: Tables::default(), steps: 0, params };
        stepper.look_for_lost_penalties();
        Ok(stepper)
    }

    fn step(&mut self, grads: &GradStore) -> CandleResult<()> {
        Ok(self.try_step(grads)?)
    }

    fn learning_rate(&self) -> f64 {
        self.params.shared().lr
    }

    fn set_learning_rate(&mut self, lr: f64) {
        *self.params.shared_mut().0 = lr;
    }
}

impl<M: Method> fmt::Debug for Stepper<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(M::NAME)
            .field("variables", &self.work.len())
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}
