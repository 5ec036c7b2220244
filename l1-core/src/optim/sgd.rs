//! Proximal SGD with momentum.

use candle_core::{Result as CandleResult, Var, backprop::GradStore};
use candle_nn::Optimizer;

use super::vars;
use crate::{Error, Regularizer, Result, kernel};

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
    /// wd, decoupled weight decay of weights and embeddings (never of biases and norms, nor of variables that the regularizer
    /// does not know): finite and ≥ 0. 0 at first. With it fixed points are stationary for loss + Ω + `wd/(2W)·‖w‖²`, W the limit
    /// of W_k.
    pub weight_decay: f64,
    /// Which parameters are penalized, and how.
    pub regularizer: Regularizer,
}

impl ParamsProxSgd {
    /// lr 0.01 and everything else off.
    #[must_use]
    pub fn new(regularizer: Regularizer) -> Self {
        Self { lr: 0.01, momentum: 0.0, dampening: 0.0, nesterov: false, weight_decay: 0.0, regularizer }
    }

    fn check(&self) -> Result<()> {
        vars::check_strength("lr", self.lr)?;
        vars::check_fraction("momentum", self.momentum)?;
        vars::check_fraction("dampening", self.dampening)?;
        vars::check_strength("weight_decay", self.weight_decay)?;
        let has_momentum = !self.nesterov || self.momentum > 0.0;
        vars::check("momentum", self.momentum, has_momentum, "> 0 with `nesterov`")?;
        let undampened = !self.nesterov || self.dampening == 0.0;
        vars::check("dampening", self.dampening, undampened, "0 with `nesterov`")
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
/// Gradients of the loss alone go in; no penalty in the loss.
///
/// bf16 and f16 weights are rounded after each step: a move below half an ulp of a weight is lost, so that fixed points are
/// stationary up to `ulp(w)/(2·lr·W)` only. The check for NaN and ∞ is of the gradients; a weight that overflows its dtype by a
/// finite step does so unnoticed.
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
/// # Errors
/// * `new`: a hyperparameter out of its range, no penalized parameter at all or none among the variables (penalized parameters that are
///   not among them are left alone: pass the variables of every `VarMap`).
/// * `step`, before anything is written: a penalized variable without a gradient, a gradient of another shape, dtype or device,
///   a gradient with NaN or ±∞, a learning rate out of its range, gradients that hold the
///   penalty already. An unpenalized variable without a gradient is left alone.
#[derive(Debug)]
pub struct ProxSgd {
    slots: Vec<Slot>,
    params: ParamsProxSgd,
}

#[derive(Debug)]
struct Slot {
    var: Var,
    buffer: Option<Var>,
    /// W_k; 0 before the first gradient.
    weight: f64,
}

impl ProxSgd {
    /// The hyperparameters.
    #[must_use]
    pub fn params(&self) -> &ParamsProxSgd {
        &self.params
    }

    /// Which parameters are penalized, and how.
    #[must_use]
    pub fn regularizer(&self) -> &Regularizer {
        &self.params.regularizer
    }

    /// To change λ's scale, or the regularizer as a whole, from the next step on.
    pub fn regularizer_mut(&mut self) -> &mut Regularizer {
        &mut self.params.regularizer
    }

    fn try_step(&mut self, grads: &GradStore) -> Result<()> {
        self.params.check()?;
        let Self { slots, params } = self;
        // W_k stays below 1/(1 − μ); the step of the prox has to be a number in its arithmetic.
        let largest = params.lr / (1.0 - params.momentum);
        let in_range = largest <= f32::MAX.into() || !vars::any_narrow(slots.iter().map(|slot| &slot.var));
        vars::check("lr", params.lr, in_range, "at most 3.4e38·(1 − momentum) where the arithmetic is f32")?;
        let step = |slot: &mut Slot, planned| slot.step(params, &planned);
        vars::step_all(slots, |slot| &slot.var, grads, &params.regularizer, step)
    }
}

impl Slot {
    fn step(&mut self, params: &ParamsProxSgd, planned: &vars::Planned) -> Result<()> {
        let &ParamsProxSgd { lr, momentum, dampening, nesterov, weight_decay, .. } = params;
        let first = self.weight == 0.0;
        // Without momentum there is no buffer, and dampening has nothing to act on (as in PyTorch).
        let gradient_weight = if first || momentum == 0.0 { 1.0 } else { 1.0 - dampening };
        let weight = momentum * self.weight + gradient_weight;
        let step = kernel::SgdStep {
            momentum: if first { 0.0 } else { momentum },
            gradient_weight,
            lookahead: nesterov.then_some(momentum),
            lr,
            keep: if planned.decays { 1.0 - lr * weight_decay } else { 1.0 },
            prox_step: lr * if nesterov { 1.0 + momentum * weight } else { weight },
            penalty: planned.penalty,
        };
        kernel::sgd_step(&self.var, &planned.grad, self.buffer.as_ref(), &step)?;
        self.weight = weight;
        Ok(())
    }
}

impl Optimizer for ProxSgd {
    type Config = ParamsProxSgd;

    fn new(vars: Vec<Var>, params: ParamsProxSgd) -> CandleResult<Self> {
        params.check()?;
        let vars = vars::distinct(vars)?;
        vars::check_covers(&params.regularizer, vars.iter())?;
        let slot = |var: Var| {
            let buffer = if params.momentum == 0.0 { None } else { Some(vars::moment(&var)?) };
            Ok(Slot { var, buffer, weight: 0.0 })
        };
        let slots = vars.into_iter().map(slot).collect::<Result<_, Error>>()?;
        Ok(Self { slots, params })
    }

    fn step(&mut self, grads: &GradStore) -> CandleResult<()> {
        Ok(self.try_step(grads)?)
    }

    fn learning_rate(&self) -> f64 {
        self.params.lr
    }

    fn set_learning_rate(&mut self, lr: f64) {
        self.params.lr = lr;
    }
}
