//! The optimizer around a step: variables and their state, the checks before anything is written, one job for the kernels.

use std::fmt;

use candle_core::{Result as CandleResult, Var, backprop::GradStore};
use candle_nn::Optimizer;
use serde::{Serialize, de::DeserializeOwned};

use super::vars::{self, Planned};
use crate::{
    Error, Guard, ParamPath, RegularizedGrads, Regularizer, Result,
    gradient::Taken,
    kernel::{self, OptimizerStep, Source, Work, first_non_finite},
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
    steps: u64,
    params: M,
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

    /// To change λ's scale, or the regularizer as a whole, from the next step on.
    pub fn regularizer_mut(&mut self) -> &mut Regularizer {
        self.params.shared_mut().1
    }

    /// Steps taken so far, those before a loaded [`Checkpoint`](crate::Checkpoint) included. A refused step is none; one that has
    /// passed over some coordinates ([`Guard::InPass`]) is one, though it returns an error.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The variables, each with the tensors of its state and its progress.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (&Var, &[Var], M::Progress)> {
        self.work.iter().zip(&self.progress).map(|(work, progress)| (&work.var, work.state.as_slice(), progress.0))
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

    fn try_step(&mut self, grads: &GradStore) -> Result<()> {
        let result = self.plan(grads).and_then(|()| self.run());
        // The gradients are not kept until the next step.
        self.work.iter_mut().for_each(|work| work.next = None);
        result
    }

    /// Checks everything and looks every penalty up. Allocates nothing.
    fn plan(&mut self, grads: &GradStore) -> Result<()> {
        self.check(&self.params)?;
        // Again at each step: the regularizer may have been replaced.
        vars::check_covers(self.regularizer(), self.vars())?;
        RegularizedGrads::refuse(grads)?;
        let Self { work, progress, taken, params, .. } = self;
        for (index, (work, progress)) in work.iter_mut().zip(progress).enumerate() {
            let Some(planned) = vars::plan(index, &work.var, grads, params.shared().regularizer, taken)? else {
                continue;
            };
            let (step, next) = params.next(progress.0, &planned);
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
                if let Some(index) = kernel::first_with_non_finite_gradient(&self.work)? {
                    return Err(self.non_finite(index)?);
                }
                Source::Checked
            }
            Guard::InPass => Source::Unchecked,
        };
        let passed_over = kernel::steps(&mut self.work, source)?;
        self.steps += 1;
        for (progress, work) in self.progress.iter_mut().zip(&self.work) {
            if work.next.is_some() {
                progress.0 = progress.1;
            }
        }
        match passed_over {
            None => Ok(()),
            Some(index) => Err(self.non_finite(index)?),
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
            Ok(Work::new(var, state, None))
        };
        let work = vars.into_iter().map(work).collect::<Result<Vec<_>, Error>>()?;
        let progress = vec![Default::default(); work.len()];
        Ok(Self { work, progress, taken, steps: 0, params })
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
