//! What the operations are told, and what they tell: plain numbers, the same for a whole tensor.

use candle_core::{CpuStorage, Tensor, Var};

use super::{hold::Hold, master::Master};
use crate::Penalty;

/// One step of proximal SGD on one tensor:
/// `b ← momentum·b + gradient_weight·g`, `d = b` (or `g + lookahead·b`), `w ← prox(keep·w − lr·d, prox_step)`.
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    /// Factor of the old buffer: μ, 0 in the first step.
    pub momentum: f64,
    /// Factor of the gradient: 1 − dampening, 1 in the first step.
    pub gradient_weight: f64,
    /// Nesterov's momentum factor.
    pub lookahead: Option<f64>,
    /// Learning rate.
    pub lr: f64,
    /// `1 − lr·weight_decay`.
    pub keep: f64,
    /// Step of the prox: lr times the total weight of the gradients in `d`.
    pub prox_step: f64,
    /// The penalty, every scale included.
    pub penalty: Penalty,
}

/// One step of proximal AdamW on one tensor: `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`,
/// `p = lr/(√(v·v_correction) + ε)`, `w ← prox(keep·w − p·m·m_correction, p)`. With a third tensor of state, AMSGrad's: the
/// largest v so far takes the place of v in p.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// `1/(1 − β₁ᵏ)`.
    pub m_correction: f64,
    /// `1/(1 − β₂ᵏ)`.
    pub v_correction: f64,
    /// Learning rate.
    pub lr: f64,
    /// Added to the root of the second moment; > 0.
    pub eps: f64,
    /// `1 − lr·weight_decay`.
    pub keep: f64,
    /// The penalty, every scale included.
    pub penalty: Penalty,
}

/// One step of FTRL-Proximal on one tensor: `σ = (β + √(n + g²))/lr − (β + √n)/lr₋`, `z ← z + g − σw`, `n ← n + g²`,
/// `τ = lr/(β + √n)`, `w ← prox(−τz, τ)`. `times` is 1 unless the curve is MCP or SCAD.
#[derive(Clone, Copy, Debug)]
pub struct FtrlStep {
    /// α.
    pub lr: f64,
    /// β.
    pub beta: f64,
    /// `1/lr − 1/lr₋`, lr₋ being that of the step before.
    pub drift: f64,
    /// All that has been charged so far, less a factor.
    pub penalty: Penalty,
    /// The factor of its curve: how often φ_λ itself has been charged.
    pub times: f64,
}

/// A step of one of the optimizers. The tensors of its state, in their order:
///
/// | step | state |
/// |---|---|
/// | `Sgd` | none, or the buffer b |
/// | `AdamW` | m, v; with AMSGrad also the largest v |
/// | `Ftrl` | z, n |
#[derive(Clone, Copy, Debug)]
pub enum OptimizerStep {
    /// Proximal SGD.
    Sgd(SgdStep),
    /// Proximal AdamW.
    AdamW(AdamWStep),
    /// FTRL-Proximal.
    Ftrl(FtrlStep),
}

impl OptimizerStep {
    pub(crate) fn penalty(&self) -> &Penalty {
        match self {
            Self::Sgd(step) => &step.penalty,
            Self::AdamW(step) => &step.penalty,
            Self::Ftrl(step) => &step.penalty,
        }
    }

    /// What decoupled decay leaves of a weight.
    pub(crate) fn keep(&self) -> f64 {
        match self {
            Self::Sgd(step) => step.keep,
            Self::AdamW(step) => step.keep,
            Self::Ftrl(_) => 1.0,
        }
    }

    /// The same step with nothing charged. Curve and groups stay: the metric of singular values depends on them.
    pub(crate) fn without_charge(mut self) -> Self {
        let penalty = match &mut self {
            Self::Sgd(step) => &mut step.penalty,
            Self::AdamW(step) => &mut step.penalty,
            Self::Ftrl(step) => &mut step.penalty,
        };
        *penalty = penalty.scaled(0.0).with_positive(false);
        self
    }

    /// How often the curve of the penalty is charged.
    pub(super) fn times(&self) -> f64 {
        match self {
            Self::Sgd(_) | Self::AdamW(_) => 1.0,
            Self::Ftrl(step) => step.times,
        }
    }
}

/// One variable with its state, and what is to be done with them next.
#[derive(Debug)]
pub struct Work {
    /// The variable: contiguous, as all variables are.
    pub var: Var,
    /// Tensors of the variable's shape in the dtype of its arithmetic.
    pub state: Vec<Var>,
    /// The gradient, contiguous and of the variable's shape, dtype and device, and the step; `None`: leave it alone.
    pub next: Option<(Tensor, OptimizerStep)>,
    /// Where the new numbers of a small CPU variable are made: they change places with the old ones.
    pub(super) spare: CpuStorage,
    /// The f32 copy of a half variable that is stepped in its place, if one is kept.
    pub(crate) master: Option<Master>,
    /// What is done about its zeros before the step.
    pub hold: Hold,
    /// The gradient without what would move held zeros.
    pub(super) held_gradient: Option<Tensor>,
}

impl Work {
    /// A variable with its state.
    #[must_use]
    pub fn new(var: Var, state: Vec<Var>, next: Option<(Tensor, OptimizerStep)>) -> Self {
        let spare = CpuStorage::F32(Vec::new());
        Self { var, state, next, spare, master: None, hold: Hold::Nothing, held_gradient: None }
    }

    /// How many coordinates are to be stepped.
    pub(super) fn length(&self) -> usize {
        if self.next.is_some() { self.var.elem_count() } else { 0 }
    }
}

/// The step of a proximal operator: one number, or one for each entry (a diagonal metric, as in Adam).
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// The same step everywhere.
    Scalar(f64),
    /// A tensor of the argument's shape.
    Diagonal(&'a Tensor),
}

impl From<f64> for Step<'_> {
    fn from(step: f64) -> Self {
        Self::Scalar(step)
    }
}

impl<'a> From<&'a Tensor> for Step<'a> {
    fn from(step: &'a Tensor) -> Self {
        Self::Diagonal(step)
    }
}

/// What a report needs of one tensor, from one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Entries that are exactly 0.
    pub zeros: usize,
    /// `‖w‖₁`; summed in f64 on the CPU.
    pub l1_norm: f64,
}
