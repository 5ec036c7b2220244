//! Proximal AdamW.

use candle_core::Var;
use serde::{Deserialize, Serialize};

use super::{
    Stepper,
    stepper::{Method, Sealed, Shared},
    vars::{self, Planned},
};
use crate::{
    Guard, OnMissingGradient, Penalty, Regularizer, Result,
    certificate::DecayFactors,
    kernel::{AdamWStep, OptimizerStep, distance::wide},
};

/// What [`ProxAdamW`] is told. There is no `Default`: nobody gets an unregularized optimizer by leaving a field out.
///
/// ```
/// # fn params(regularizer: l1_core::Regularizer) {
/// use l1_core::ParamsProxAdamW;
///
/// let params = ParamsProxAdamW { lr: 1e-2, ..ParamsProxAdamW::new(regularizer) };
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ParamsProxAdamW {
    /// Learning rate: finite and ≥ 0. 0.001 at first.
    pub lr: f64,
    /// Decay of the first moment, in `[0, 1)`. 0.9 at first.
    pub beta1: f64,
    /// Decay of the second moment, in `[0, 1)`. 0.999 at first.
    pub beta2: f64,
    /// ε, added to the root of the second moment: > 0, and ≥ 1e-20 where the arithmetic is f32. 1e-8 at first.
    pub eps: f64,
    /// Decoupled weight decay of weights and embeddings for which no `decay` is declared (never of biases and norms, nor of
    /// variables that the regularizer does not know): finite and ≥ 0. **0** at first, unlike
    /// candle's 0.01: with decay the fixed points are no longer stationary for loss + Ω. An exact ridge is `l2`.
    pub weight_decay: f64,
    /// AMSGrad: the largest v so far in place of v (Reddi, Kale & Kumar 2018). As in PyTorch it is the largest before the bias
    /// correction, by which alone p can still grow: up to `1/√(1 − β₂)` times. Off at first.
    pub amsgrad: bool,
    /// Steps an f32 copy of each bf16 and f16 variable, and rounds it into the variable after the step. Off at first. See
    /// [`ProxAdamW`](ProxAdamW#half-types).
    pub master_weights: bool,
    /// What is done about gradients with NaN or ±∞. [`Guard::Before`] at first.
    pub guard: Guard,
    /// What is done about penalized parameters without a gradient. [`OnMissingGradient::Error`] at first.
    pub on_missing_gradient: OnMissingGradient,
    /// Which parameters are penalized, and how.
    pub regularizer: Regularizer,
}

impl ParamsProxAdamW {
    /// lr 0.001, β 0.9 and 0.999, ε 1e-8, no weight decay, no AMSGrad.
    #[must_use]
    pub fn new(regularizer: Regularizer) -> Self {
        Self {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            amsgrad: false,
            master_weights: false,
            guard: Guard::default(),
            on_missing_gradient: OnMissingGradient::default(),
            regularizer,
        }
    }
}

/// Proximal AdamW: exact zeros, and without weight decay fixed points that are stationary for loss + Ω.
///
/// `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `m̂ = m/(1 − β₁ᵏ)`, `v̂ = v/(1 − β₂ᵏ)`, `p = lr/(√v̂ + ε)`,
///
/// (with [`amsgrad`](ParamsProxAdamW::amsgrad) `v̂` is the largest v so far over `1 − β₂ᵏ`)
///
/// `w ← prox of Ω in the metric 1/p, at (1 − lr·wd)·w − p∘m̂`, for an elastic net `S(z, pλ)/(1 + p·l2)`.
///
/// How the members of the family meet that metric:
/// * l1, on entries or groups, with element λ, ridge and sign: by the exact prox (groups: one radius by Newton's method; Deleu & Bengio
///   2021).
/// * `mcp`, `scad`, `log`: by their tangent at the weights *before* the step, `κ = c·φ'(‖w_g‖)`, so that fixed points are exactly the
///   stationary points (one-step LLA: Zou & Li 2008). Their prox would throw large weights away: beyond the curve's knee gradient and v̂
///   vanish together, p grows, and the prox is a hard threshold at `λ√(γp)`.
/// * `half`, `two_thirds`, `l0`: by their prox, having no tangent at 0. The threshold grows with p all the same: take it for a local
///   search that keeps fewer weights than [`ProxSgd`](super::ProxSgd), which is the better choice for them.
/// * `singular`: singular values have no prox in a metric of many numbers, so the tensor gets *one* second moment, the mean of its
///   squared gradients.
///
/// A Euclidean prox with step lr behind Adam would leave the support all but unpenalized, since Adam's own move is not lr·∇f.
///
/// What to know:
/// * A penalized entry whose gradients have all been 0 has `p = lr/ε`: one step sets it to exactly 0, whatever its size
///   (`|w| ≤ lr·λ/ε`). That is right at a fixed point, but it empties pretrained weights that the first batches do not touch,
///   rows of an embedding above all. A larger ε bounds p; [`ProxSgd`](super::ProxSgd) has no such steps; `skip` spares the field.
/// * The check for NaN and ∞ is of the gradients; a weight that overflows its dtype by a finite step does so unnoticed.
///
/// Gradients of the loss alone go in; no penalty in the loss. Loshchilov & Hutter 2019; the prox in the metric: Yun, Lozano &
/// Yang 2021.
///
/// ```no_run
/// # fn train(model: &impl l1_core::Regularized, varmap: candle_nn::VarMap, loss: impl Fn() -> candle_core::Result<candle_core::Tensor>) -> candle_core::Result<()> {
/// use candle_nn::Optimizer;
/// use l1_core::{ParamsProxAdamW, ProxAdamW};
///
/// let params = ParamsProxAdamW { lr: 1e-3, ..ParamsProxAdamW::new(model.regularizer()?) };
/// let mut opt = ProxAdamW::new(varmap.all_vars(), params)?;
/// for _ in 0..1000 {
///     opt.backward_step(&loss()?)?;
/// }
/// println!("{}", opt.regularizer().report()?);
/// # Ok(()) }
/// ```
///
/// # Half types
/// Moments of bf16 and f16 variables are kept in f32, but the weights are rounded: a move below half an ulp of a weight is
/// lost, so that fixed points are stationary up to `ulp(w)/(2p)` only. Where that takes back more than 95 % of the moves of a tensor's
/// penalty, a [`tracing`] warning says so, with the parameter's path and the numbers (for those who have a subscriber:
/// `tracing_subscriber::fmt::init()`). It is looked for after 1, 10, 100 and every 1000 steps, with p as it is then, and said once for
/// each parameter, and anew where the penalty was effective in between. A warm-up from a tiny learning rate is so warned of at its
/// start.
///
/// With [`master_weights`](ParamsProxAdamW::master_weights) nothing is lost: an f32 copy is stepped as the weights of an f32 model would
/// be by the same gradients, and its rounding is what the model has. A zero of the copy is a zero of the weight, exactly. (f16 has
/// more of them: what is below 3e-8 rounds to 0, and comes back if the copy grows.) Entries that others have changed between two
/// steps, as `VarMap::load` does, the copy takes from the weights. It costs 8 bytes a weight, for the copy and its gradient (12
/// in tensors of up to 65536 weights, which are stepped side by side), and three light passes: the copy follows the weights, the
/// gradient is widened, the copy is rounded. [`Checkpoint`](crate::Checkpoint)s keep the copy.
///
/// # Errors
/// * `new`: a hyperparameter out of its range, a decay above 1/lr, no penalized or decayed parameter at all or none among the variables
///   (those that are not among them are left alone: pass the variables of every `VarMap`).
/// * `step`, before anything is written: a penalized variable without a gradient (see
///   [`OnMissingGradient`](crate::OnMissingGradient)), a gradient of another shape, dtype or device, a gradient with NaN or ±∞, a
///   learning rate out of its range, gradients that hold the penalty already. An unpenalized variable without a gradient is left alone.
pub type ProxAdamW = Stepper<ParamsProxAdamW>;

/// What [`ProxAdamW`] counts for a variable.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// k: gradients seen so far.
    #[serde(deserialize_with = "crate::exact::count")]
    steps: i32,
}

impl Sealed for ParamsProxAdamW {}

impl Method for ParamsProxAdamW {
    type Progress = Progress;

    const NAME: &'static str = "ProxAdamW";

    fn shared(&self) -> Shared<'_> {
        let &Self { lr, guard, on_missing_gradient, ref regularizer, .. } = self;
        Shared { lr, guard, on_missing_gradient, regularizer }
    }

    fn shared_mut(&mut self) -> (&mut f64, &mut Regularizer) {
        (&mut self.lr, &mut self.regularizer)
    }

    fn check(&self) -> Result<()> {
        vars::check_strength("lr", self.lr)?;
        vars::check_fraction("beta1", self.beta1)?;
        vars::check_fraction("beta2", self.beta2)?;
        vars::check("eps", self.eps, self.eps.is_finite() && self.eps > 0.0, "finite and > 0")?;
        vars::check_strength("weight_decay", self.weight_decay)?;
        vars::check_decay(self.lr, self.weight_decay, &self.regularizer)
    }

    fn check_narrow(&self) -> Result<()> {
        // A square below 1.4e-45 vanishes in f32, and then the move is lr·g/ε.
        vars::check("eps", self.eps, self.eps >= 1e-20, "at least 1e-20 where the arithmetic is f32")?;
        // The largest step of a coordinate has to be a number in its arithmetic.
        let in_range = self.lr / self.eps <= f32::MAX.into();
        vars::check("lr", self.lr, in_range, "at most 3.4e38·eps where the arithmetic is f32")
    }

    fn hyperparameters(&self) -> Vec<(&'static str, String)> {
        let Self { beta1, beta2, eps, weight_decay, amsgrad, .. } = self;
        let numbers = [("beta1", beta1), ("beta2", beta2), ("eps", eps), ("weight_decay", weight_decay)];
        let numbers = numbers.into_iter().map(|(name, value)| (name, value.to_string()));
        numbers.chain([("amsgrad", amsgrad.to_string())]).collect()
    }

    fn state(&self) -> Vec<(&'static str, f64)> {
        let names: &[_] = if self.amsgrad { &["m", "v", "largest_v"] } else { &["m", "v"] };
        names.iter().map(|name| (*name, 0.0)).collect()
    }

    fn next(&self, progress: Progress, planned: &Planned) -> (OptimizerStep, Progress) {
        let &Self { lr, beta1, beta2, eps, weight_decay, .. } = self;
        let steps = progress.steps.saturating_add(1);
        let step = AdamWStep {
            beta1,
            beta2,
            m_correction: (1.0 - beta1.powi(steps)).recip(),
            v_correction: (1.0 - beta2.powi(steps)).recip(),
            lr,
            eps,
            keep: planned.keep(lr, weight_decay),
            penalty: planned.penalty,
        };
        (OptimizerStep::AdamW(step), Progress { steps })
    }

    fn penalty_alone(&self, progress: Progress, penalty: Penalty) -> Option<OptimizerStep> {
        // Before the first gradient there is no metric.
        let correction = (progress.steps > 0).then(|| (1.0 - self.beta2.powi(progress.steps)).recip())?;
        let step = AdamWStep {
            beta1: 0.0,
            beta2: 1.0,
            m_correction: 1.0,
            v_correction: correction,
            lr: self.lr,
            eps: self.eps,
            keep: 1.0,
            penalty,
        };
        Some(OptimizerStep::AdamW(step))
    }

    fn master_weights(&self) -> bool {
        self.master_weights
    }

    fn decay_factors(&self, progress: Progress, decay: f64, state: &[Var]) -> Result<DecayFactors> {
        // v, or AMSGrad's largest v: what a step divides by stands last. It is 0 before the first step.
        let v = state.last().map_or_else(|| Ok(Vec::new()), |v| wide(v))?;
        let correction = if progress.steps == 0 { 1.0 } else { (1.0 - self.beta2.powi(progress.steps)).recip() };
        Ok(DecayFactors::Each(v.into_iter().map(|v| decay * ((v * correction).sqrt() + self.eps)).collect()))
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }
}
