//! Any candle optimizer, and behind it a prox with one step, lr, for all coordinates.

use candle_core::{Result as CandleResult, Var, backprop::GradStore};
use candle_nn::Optimizer;

use super::{
    lost::{self, Lost},
    vars,
};
use crate::{
    OnMissingGradient, Regularizer, Result,
    gradient::{self, Taken},
    kernel,
    penalty::is_strength,
};

/// What [`Proximal`] is told: the inner optimizer's own parameters, and the regularizer.
#[derive(Clone, Debug)]
pub struct ParamsProximal<C> {
    /// Parameters of the inner optimizer.
    pub optimizer: C,
    /// What is done about penalized parameters without a gradient. [`OnMissingGradient::Error`] at first.
    pub on_missing_gradient: OnMissingGradient,
    /// Which parameters are penalized, and how.
    pub regularizer: Regularizer,
}

impl<C> ParamsProximal<C> {
    /// Both parts; a missing gradient is an error.
    #[must_use]
    pub fn new(optimizer: C, regularizer: Regularizer) -> Self {
        Self { optimizer, on_missing_gradient: OnMissingGradient::default(), regularizer }
    }
}

/// Any candle optimizer, followed by the prox with step lr: `w ← prox_{lr·Ω}(O(w))` (proximal gradient; Parikh & Boyd, *Proximal
/// Algorithms* (2014), §4.2).
///
/// **Which problem this solves.** Exact zeros come out with every `O`, but a fixed point is stationary for loss + Ω only if `O`
/// moves by exactly `−lr·∇f`: plain SGD, candle's `SGD`. Behind an adaptive optimizer the nonzero weights are all but
/// unpenalized (with Adam on the full batch each ends where `|∇f| = ελ/(1 − λ)` instead of `|∇f| = λ`), and with momentum the
/// penalty is weakened by the factor 1 − μ. Use [`ProxAdamW`](super::ProxAdamW) and [`ProxSgd`](super::ProxSgd) there.
///
/// Zeros of a [frozen support](Regularizer::freeze_support) are put back after each step; what the inner optimizer has gathered for them
/// meanwhile moves them once the support is released.
///
/// The regularizer's [schedules](Regularizer::set_schedules) are followed by the steps of this optimizer, from 0.
///
/// In bf16 and f16 a move below half an ulp of a weight is lost. Where that takes back nearly all that the penalty does to a tensor,
/// a [`tracing`] warning says so, as for [`ProxSgd`](super::ProxSgd#half-types).
///
/// It cannot be saved in a [`Checkpoint`](crate::Checkpoint): candle's optimizers do not show their state.
///
/// ```
/// # fn train(varmap: candle_nn::VarMap, model: impl l1_core::Regularized) -> candle_core::Result<()> {
/// use candle_nn::{Optimizer, SGD};
/// use l1_core::{ParamsProximal, Proximal};
///
/// let params = ParamsProximal::new(0.1, model.regularizer()?); // SGD's parameter is its learning rate
/// let opt = Proximal::<SGD>::new(varmap.all_vars(), params)?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// * `new`: no penalized parameter at all or none among the variables (penalized parameters that are
///   not among them are left alone: pass the variables of every `VarMap`); the inner optimizer's own errors.
/// * `step`, before anything is written: a penalized variable without a gradient (see
///   [`OnMissingGradient`](crate::OnMissingGradient)), a gradient of another shape, dtype or device,
///   a gradient with NaN or ±∞, a learning rate that is negative or not finite, gradients that hold the penalty
///   already.
#[derive(Debug)]
pub struct Proximal<O> {
    inner: O,
    vars: Vec<Var>,
    on_missing_gradient: OnMissingGradient,
    regularizer: Regularizer,
    lost: Lost,
    steps: u64,
}

impl<O: Optimizer> Proximal<O> {
    /// The optimizer within.
    #[must_use]
    pub fn inner(&self) -> &O {
        &self.inner
    }

    /// The optimizer within, to change its parameters.
    pub fn inner_mut(&mut self) -> &mut O {
        &mut self.inner
    }

    /// Which parameters are penalized, and how.
    #[must_use]
    pub fn regularizer(&self) -> &Regularizer {
        &self.regularizer
    }

    /// To change λ's scale, or the regularizer as a whole, from the next step on.
    pub fn regularizer_mut(&mut self) -> &mut Regularizer {
        &mut self.regularizer
    }

    fn try_step(&mut self, grads: &GradStore) -> Result<()> {
        self.regularizer.at_step(self.steps)?;
        let lr = self.inner.learning_rate();
        vars::check_strength("lr", lr)?;
        self.regularizer.refuse_decay("Proximal")?;
        let in_range = lr <= f32::MAX.into() || !vars::any_narrow(self.vars.iter());
        vars::check("lr", lr, in_range, "at most 3.4e38 where the arithmetic is f32")?;
        vars::check_covers(&self.regularizer, self.vars.iter())?;
        let taken = Taken::by(self.vars.iter().map(|var| var.as_tensor()));
        let (mut work, mut held) = (Vec::new(), Vec::new());
        for (index, var) in self.vars.iter().enumerate() {
            let planned = vars::plan(index, var, grads, &self.regularizer, &taken, self.on_missing_gradient)?;
            let Some(planned) = planned else { continue };
            gradient::check_finite(|| vars::path(index, var, &self.regularizer), &planned.grad)?;
            if planned.is_held {
                held.push((var, var.as_detached_tensor().copy()?));
            }
            // A prox of nothing would still be a pass over the weights.
            if !planned.penalty.is_none() {
                work.push((var, planned.penalty, lr));
            }
        }
        let stepped = self.inner.step(grads);
        // Also where the inner optimizer moves them without a gradient, by its moments, and where it fails half-way.
        let put_back = held.into_iter().try_for_each(|(var, before)| kernel::put_back_zeros(var, &before));
        stepped?;
        put_back?;
        work.into_iter().try_for_each(|(var, penalty, lr)| kernel::prox_in_place(var, &penalty, lr))?;
        self.steps += 1;
        if lost::is_due(self.steps) {
            self.look_for_lost_penalties();
        }
        Ok(())
    }

    /// See `lost.rs`.
    fn look_for_lost_penalties(&mut self) {
        let Self { inner, vars, regularizer, lost, .. } = self;
        let lr = inner.learning_rate();
        // What it is made with is checked by the first step.
        let alone = |penalty| is_strength(lr).then(|| lost::scalar(lr, penalty));
        let remedy = "take `ProxSgd` or `ProxAdamW` with `master_weights: true`";
        vars.iter().enumerate().for_each(|var| lost.look(var, &[], regularizer, alone, remedy));
    }
}

impl<O: Optimizer> Optimizer for Proximal<O> {
    type Config = ParamsProximal<O::Config>;

    fn new(vars: Vec<Var>, params: Self::Config) -> CandleResult<Self> {
        let vars = vars::distinct(vars)?;
        params.regularizer.refuse_decay("Proximal")?;
        vars::check_covers(&params.regularizer, vars.iter())?;
        let ParamsProximal { optimizer, on_missing_gradient, regularizer } = params;
        let inner = O::new(vars.clone(), optimizer)?;
        let lost = Lost::new(vars.len());
        let mut proximal = Self { inner, vars, on_missing_gradient, regularizer, lost, steps: 0 };
        proximal.look_for_lost_penalties();
        Ok(proximal)
    }

    fn step(&mut self, grads: &GradStore) -> CandleResult<()> {
        Ok(self.try_step(grads)?)
    }

    fn learning_rate(&self) -> f64 {
        self.inner.learning_rate()
    }

    fn set_learning_rate(&mut self, lr: f64) {
        self.inner.set_learning_rate(lr);
    }
}
