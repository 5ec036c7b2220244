//! Proximal SGD with momentum.

use candle_core::Var;
use serde::{Deserialize, Serialize};

use super::{
    Stepper, lost,
    stepper::{Method, Sealed, Shared},
    vars::{self, Planned},
};
use crate::{
    Guard, OnMissingGradient, Penalty, Regularizer, Result,
    certificate::DecayFactors,
    kernel::{OptimizerStep, SgdStep},
};

/// What [`ProxSgd`] is told. There is no `Default`: nobody gets an unregularized optimizer by leaving a field out.
///
/// ```
/// # fn params(regularizer: l1_core::Regularizer) {
/// use l1_core::ParamsProxSgd;
///
/// let params = ParamsProxSgd { lr: 0.1, momentum: 0.9, ..ParamsProxSgd::new(regularizer) };
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ParamsProxSgd {
    /// Learning rate: finite and ≥ 0. 0.01 at first.
    pub lr: f64,
    /// μ, in `[0, 1)`. 0 at first.
    pub momentum: f64,
    /// τ, in `[0, 1)`: how much of a gradient is kept out of the buffer. 0 at first.
    pub dampening: f64,
    /// Nesterov's momentum; needs `momentum > 0` and `dampening = 0`. Off at first.
    pub nesterov: bool,
    /// wd, decoupled weight decay of weights and embeddings for which no `decay` is declared (never of biases and norms, nor of
    /// variables that the regularizer does not know): finite and ≥ 0. 0 at first. With it fixed points are stationary for loss + Ω + `wd/(2W)·‖w‖²`, W the limit
    /// of W_k.
    pub weight_decay: f64,
    /// Steps an f32 copy of each bf16 and f16 variable, and rounds it into the variable after the step. Off at first. See
    /// [`ProxSgd`](ProxSgd#half-types).
    pub master_weights: bool,
    /// What is done about gradients with NaN or ±∞. [`Guard::Before`] at first.
    pub guard: Guard,
    /// What is done about penalized parameters without a gradient. [`OnMissingGradient::Error`] at first.
    pub on_missing_gradient: OnMissingGradient,
    /// Which parameters are penalized, and how.
    pub regularizer: Regularizer,
}

impl ParamsProxSgd {
    /// lr 0.01 and everything else off.
    #[must_use]
    pub fn new(regularizer: Regularizer) -> Self {
        Self {
            lr: 0.01,
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            master_weights: false,
            guard: Guard::default(),
            on_missing_gradient: OnMissingGradient::default(),
            regularizer,
        }
    }
}

/// Proximal SGD with momentum: exact zeros, and without weight decay fixed points that are stationary for loss + Ω.
///
/// With PyTorch's buffer `b ← μb + (1 − τ)g` (first `b = g`) and `d = b`, or `g + μb` with Nesterov,
///
/// `w ← prox_{lr·W_k·Ω}((1 − lr·wd)·w − lr·d)`,
///
/// where `W_k` is the total weight of the gradients in `d`: `W₁ = 1`, `W_k = μW_{k−1} + 1 − τ` (Nesterov: `1 + μW_k`). With step
/// lr alone, momentum 0.9 would solve a problem with a tenth of the declared λ. (The proximal gradient step: Parikh & Boyd,
/// *Proximal Algorithms* (2014), §4.2; the weight W_k follows from the sum of the buffer's coefficients.)
///
/// The metric is one number, so that every curve, group and spectrum is met by its exact prox. A curve other than l1 is not convex: where
/// it ends is a local minimum, and for `s = lr·W_k·c` above γ (`mcp`), γ − 1 (`scad`) or ε²/λ (`log`) the prox jumps.
///
/// Gradients of the loss alone go in; no penalty in the loss.
///
/// The check for NaN and ∞ is of the gradients; a weight that overflows its dtype by a finite step does so unnoticed.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_nn::Optimizer;
/// use l1_core::{ParamsProxSgd, ProxSgd, Regularized, Rule, Visitor};
///
/// struct Model(Var);
/// impl Regularized for Model {
///     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
///         visitor.field("weight", Rule::l1(1.0), &self.0)
///     }
/// }
///
/// // The minimum of ½‖w − t‖² + ‖w‖₁ is t, soft-thresholded at 1.
/// let target = Tensor::new(&[3f64, 0.5], &Device::Cpu)?;
/// let model = Model(Var::zeros(2, candle_core::DType::F64, &Device::Cpu)?);
/// let params = ParamsProxSgd { lr: 0.1, momentum: 0.5, ..ParamsProxSgd::new(model.regularizer()?) };
/// let mut opt = ProxSgd::new(vec![model.0.clone()], params)?;
/// for _ in 0..200 {
///     let loss = ((model.0.as_tensor() - &target)?.sqr()?.sum_all()? * 0.5)?;
///     opt.backward_step(&loss)?;
/// }
/// let w = model.0.to_vec1::<f64>()?;
/// assert!((w[0] - 2.0).abs() < 1e-12);
/// assert_eq!(w[1], 0.0);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Half types
/// bf16 and f16 weights are rounded after each step: a move below half an ulp of a weight is lost, so that fixed points are
/// stationary up to `ulp(w)/(2·lr·W)` only. Where that takes back more than 95 % of the moves of a tensor's penalty, a [`tracing`]
/// warning says so, with the parameter's path and the numbers (for those who have a subscriber: `tracing_subscriber::fmt::init()`). It
/// is looked for when the optimizer is made and after 1, 10, 100 and every 1000 steps, with the limit of W_k, and said once for each
/// parameter, and anew where the penalty was effective in between. A warm-up from a tiny learning rate is so warned of at its start.
///
/// With [`master_weights`](ParamsProxSgd::master_weights) nothing is lost: an f32 copy is stepped as the weights of an f32 model would be
/// by the same gradients, and its rounding is what the model has. A zero of the copy is a zero of the weight, exactly. (f16 has more
/// of them: what is below 3e-8 rounds to 0, and comes back if the copy grows.) Entries that others have changed between two steps, as
/// `VarMap::load` does, the copy takes from the weights. It costs 8 bytes a weight, for the copy and its gradient (12 in tensors of up to
/// 65536 weights, which are stepped side by side), and three light passes: the copy follows the weights, the gradient is widened, the
/// copy is rounded. [`Checkpoint`](crate::Checkpoint)s keep the copy.
///
/// # Errors
/// * `new`: a hyperparameter out of its range, a decay above 1/lr, no penalized or decayed parameter at all or none among the variables
///   (those that are not among them are left alone: pass the variables of every `VarMap`).
/// * `step`, before anything is written: a penalized variable without a gradient (see
///   [`OnMissingGradient`](crate::OnMissingGradient)), a gradient of another shape, dtype or device, a gradient with NaN or ±∞, a
///   learning rate out of its range, gradients that hold the penalty already. An unpenalized variable without a gradient is left alone.
pub type ProxSgd = Stepper<ParamsProxSgd>;

/// What [`ProxSgd`] keeps of a variable's history.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// W_k; 0 before the first gradient.
    #[serde(with = "crate::exact")]
    total_weight: f64,
}

impl ParamsProxSgd {
    /// The limit of W_k.
    fn limit_of_total_weight(&self) -> f64 {
        let &Self { momentum, dampening, nesterov, .. } = self;
        let in_buffer = if momentum == 0.0 { 1.0 } else { (1.0 - dampening) / (1.0 - momentum) };
        if nesterov { 1.0 + momentum * in_buffer } else { in_buffer }
    }
}

impl Sealed for ParamsProxSgd {}

impl Method for ParamsProxSgd {
    type Progress = Progress;

    const NAME: &'static str = "ProxSgd";

    fn shared(&self) -> Shared<'_> {
        let &Self { lr, guard, on_missing_gradient, ref regularizer, .. } = self;
        Shared { lr, guard, on_missing_gradient, regularizer }
    }

    fn shared_mut(&mut self) -> (&mut f64, &mut Regularizer) {
        (&mut self.lr, &mut self.regularizer)
    }

    fn check(&self) -> Result<()> {
        vars::check_strength("lr", self.lr)?;
        vars::check_fraction("momentum", self.momentum)?;
        vars::check_fraction("dampening", self.dampening)?;
        vars::check_strength("weight_decay", self.weight_decay)?;
        vars::check_decay(self.lr, self.weight_decay, &self.regularizer)?;
        let has_momentum = !self.nesterov || self.momentum > 0.0;
        vars::check("momentum", self.momentum, has_momentum, "> 0 with `nesterov`")?;
        let undampened = !self.nesterov || self.dampening == 0.0;
        vars::check("dampening", self.dampening, undampened, "0 with `nesterov`")
    }

    fn check_narrow(&self) -> Result<()> {
        // W_k stays below 1/(1 − μ); the step of the prox has to be a number in its arithmetic.
        let in_range = self.lr / (1.0 - self.momentum) <= f32::MAX.into();
        vars::check("lr", self.lr, in_range, "at most 3.4e38·(1 − momentum) where the arithmetic is f32")
    }

    fn hyperparameters(&self) -> Vec<(&'static str, String)> {
        let Self { momentum, dampening, nesterov, weight_decay, .. } = self;
        let numbers = [("momentum", momentum), ("dampening", dampening), ("weight_decay", weight_decay)];
        let numbers = numbers.into_iter().map(|(name, value)| (name, value.to_string()));
        numbers.chain([("nesterov", nesterov.to_string())]).collect()
    }

    fn state(&self) -> Vec<(&'static str, f64)> {
        if self.momentum == 0.0 { Vec::new() } else { vec![("buffer", 0.0)] }
    }

    fn next(&self, progress: Progress, planned: &Planned) -> (OptimizerStep, Progress) {
        let &Self { lr, momentum, dampening, nesterov, weight_decay, .. } = self;
        let first = progress.total_weight == 0.0;
        // Without momentum there is no buffer, and dampening has nothing to act on (as in PyTorch).
        let gradient_weight = if first || momentum == 0.0 { 1.0 } else { 1.0 - dampening };
        let total_weight = momentum * progress.total_weight + gradient_weight;
        let step = SgdStep {
            momentum: if first { 0.0 } else { momentum },
            gradient_weight,
            lookahead: nesterov.then_some(momentum),
            lr,
            keep: planned.keep(lr, weight_decay),
            prox_step: lr * if nesterov { 1.0 + momentum * total_weight } else { total_weight },
            penalty: planned.penalty,
        };
        (OptimizerStep::Sgd(step), Progress { total_weight })
    }

    fn penalty_alone(&self, _: Progress, penalty: Penalty) -> Option<OptimizerStep> {
        // With the W_k of the first steps a move would seem to be lost that soon is not.
        Some(lost::scalar(self.lr * self.limit_of_total_weight(), penalty))
    }

    fn master_weights(&self) -> bool {
        self.master_weights
    }

    fn decay_factors(&self, _: Progress, decay: f64, _: &[Var]) -> Result<DecayFactors> {
        Ok(DecayFactors::Same(decay / self.limit_of_total_weight()))
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }
}
