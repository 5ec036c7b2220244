//! Penalties that do nothing, because rounding takes their move back: a threshold below half an ulp of bf16 or f16 weights.
//!
//! What is asked is exact for every curve and group: a step of the penalty alone is taken in f64, from the weights as they are. If all
//! but a few of the weights that it moves round back, the penalty is lost, and a `tracing` warning says so, once for each variable
//! until a later look finds it effective. That costs some passes over the weights, so it is asked when the optimizer is made and then
//! ever more seldom, and not at all where nobody listens.

use std::mem;

use candle_core::{DType, Device, Result as CandleResult, Tensor, Var};
use half::{bf16, f16};

use super::vars;
use crate::{
    Grouping, Penalty, Regularizer, Result,
    error::readable,
    kernel::{self, OptimizerStep, SgdStep, Source, Tables, Work, distance::wide, is_half},
};

/// A penalty is lost where fewer of the moved weights than this share stay moved. Not only where none does: weights drawn around 0
/// include some that are so small that every move survives, a share of about the move over half an ulp of the largest. Where that is
/// a twentieth, the penalty acts on those that are all but 0 as it is, and the layer's size is in the others.
const EFFECTIVE: f64 = 0.05;

/// Which variables something has been said of.
#[derive(Debug)]
pub(super) struct Lost(Vec<bool>);

/// Whether to look after this many steps: after 1, 10, 100 and every 1000.
pub(super) fn is_due(steps: u64) -> bool {
    matches!(steps, 1 | 10 | 100) || (steps > 0 && steps.is_multiple_of(1000))
}

/// The prox with one step for all weights, and no gradient: a step of SGD.
pub(super) fn scalar(step: f64, penalty: Penalty) -> OptimizerStep {
    let no_gradient =
        SgdStep { momentum: 0.0, gradient_weight: 0.0, lookahead: None, lr: 0.0, keep: 1.0, prox_step: step, penalty };
    OptimizerStep::Sgd(no_gradient)
}

impl Lost {
    /// Nothing has been said of these variables.
    pub(super) fn new(variables: usize) -> Self {
        Self(vec![false; variables])
    }

    /// Warns if the penalty of a variable is lost.
    ///
    /// * `state`: of the variable. What a step divides by stands last.
    /// * `alone`: the step of this penalty alone, if it is known.
    /// * `remedy`: what helps beside a larger step and f32 weights.
    pub(super) fn look(
        &mut self,
        (index, var): (usize, &Var),
        state: &[Var],
        regularizer: &Regularizer,
        alone: impl FnOnce(Penalty) -> Option<OptimizerStep>,
        remedy: &str,
    ) {
        let Some(said) = self.0.get_mut(index).filter(|_| is_half(var.dtype())) else { return };
        // What nobody hears is not said: a subscriber may come later.
        if !tracing::enabled!(tracing::Level::WARN) {
            return;
        }
        let penalty = regularizer.get(var).and_then(|param| regularizer.penalty_of(param));
        let Some(step) = penalty.filter(|penalty| !penalty.is_none()).and_then(alone) else { return };
        let penalty = step.penalty();
        let (path, dtype) = (vars::path(index, var, regularizer), var.dtype().as_str());
        match find(var, state, &step) {
            Ok(Found::NoMove) => {}
            Ok(Found::Effective) => *said = false,
            _ if mem::replace(said, true) => {}
            Ok(Found::Lost { step, moved, stuck, smallest }) => {
                let half_ulp = half_ulp(smallest, var.dtype());
                tracing::warn!(
                    parameter = %path,
                    dtype,
                    step,
                    lambda = penalty.lambda(),
                    penalty = %penalty,
                    stuck = stuck as f64 / moved as f64,
                    smallest_weight = smallest,
                    half_ulp,
                    "{path}: the penalty by itself does next to nothing: of the weights that it moves at a step of {}, {} % move by at \
                     most half an ulp, and rounding to {dtype} takes that back (half an ulp of the smallest of them, {}, is {}). \
                     Raise the learning rate or λ, keep the weights in f32, or {remedy}",
                    short(step),
                    percent(stuck, moved),
                    short(smallest),
                    short(half_ulp),
                );
            }
            // It is no reason to fail a step that has been taken, nor an optimizer whose weights are yet to be loaded. If it is more
            // than that, the next step fails by itself.
            Err(error) => tracing::warn!(
                parameter = %path,
                dtype,
                %error,
                "{path}: whether rounding to {dtype} takes the penalty's move back could not be found out: {error}"
            ),
        }
    }
}

/// Three significant digits.
fn short(value: f64) -> String {
    readable(format!("{value:.2e}").parse().unwrap_or(value))
}

/// Tenths of a percent, rounded down: 100 is all of them.
fn percent(some: u64, of: u64) -> String {
    short((1000 * some / of.max(1)) as f64 / 10.0)
}

/// What becomes of a penalty's move.
enum Found {
    /// There is none.
    NoMove,
    /// Enough of it survives rounding.
    Effective,
    Lost {
        /// The largest step.
        step: f64,
        /// How many weights are moved.
        moved: u64,
        /// How many of those round back to what they were.
        stuck: u64,
        /// The smallest of these, without its sign.
        smallest: f64,
    },
}

fn find(var: &Var, state: &[Var], step: &OptimizerStep) -> Result<Found> {
    let second_moment = match step {
        OptimizerStep::AdamW(_) => state.last(),
        _ => None,
    };
    let pieces = Pieces::of(step.penalty().group(), var);
    let (mut moved, mut stuck, mut to_come) = (0, 0, var.elem_count() as u64);
    let (mut smallest, mut largest_step) = (f64::INFINITY, 0.0);
    for from in pieces.starts() {
        let second_moment = second_moment.map(|v| wide(&pieces.get(v, from)?)).transpose()?;
        largest_step = f64::max(largest_step, longest(step, second_moment.as_deref()));
        let (before, after) = stepped(&pieces.get(var, from)?, second_moment, step)?;
        to_come -= before.len() as u64;
        let noise = if pieces.are_entries() { 0.0 } else { noise(&before) };
        for (before, after) in before.into_iter().zip(after) {
            // A 0 has nothing to lose.
            if before.is_finite() && before != 0.0 && (after - before).abs() > noise {
                moved += 1;
                if rounded(after, var.dtype()) == before {
                    stuck += 1;
                    smallest = smallest.min(before.abs());
                }
            }
        }
        // If all that are to come were moved and stuck, it would still be enough.
        if moved > 0 && (moved - stuck) as f64 >= EFFECTIVE * (moved + to_come) as f64 {
            return Ok(Found::Effective);
        }
    }
    Ok(if moved > 0 { Found::Lost { step: largest_step, moved, stuck, smallest } } else { Found::NoMove })
}

/// A tensor in pieces of whole groups, so that there is never a large one in f64. Most often the first few of them tell.
enum Pieces {
    /// So many entries, in any order.
    Entries(usize),
    /// Along a dimension of this length, so much of it at a time.
    Along {
        dim: usize,
        length: usize,
        at_once: usize,
    },
    Whole,
}

/// About so many entries are in a piece.
const PIECE: usize = 1 << 16;

impl Pieces {
    fn of(group: Grouping, var: &Var) -> Self {
        let along = |dim: usize, unit: usize| match var.dims().get(dim) {
            Some(&length) if length > 0 => {
                let units = PIECE / (var.elem_count() / length * unit).max(1);
                Self::Along { dim, length, at_once: units.max(1) * unit }
            }
            _ => Self::Whole,
        };
        match group {
            Grouping::Element => Self::Entries(var.elem_count()),
            Grouping::Dim(dim) => along(dim, 1),
            Grouping::Kernel => along(0, 1),
            Grouping::Block(rows, _) => along(0, rows),
            // (The regularizer knows outputs and inputs as dimensions.)
            Grouping::Output | Grouping::Input | Grouping::Whole | Grouping::Singular => Self::Whole,
        }
    }

    fn are_entries(&self) -> bool {
        matches!(self, Self::Entries(_))
    }

    fn starts(&self) -> impl Iterator<Item = usize> + use<> {
        let (length, at_once) = match *self {
            Self::Entries(length) => (length, PIECE),
            Self::Along { length, at_once, .. } => (length, at_once),
            Self::Whole => (1, 1),
        };
        (0..length).step_by(at_once.max(1))
    }

    fn get(&self, var: &Var, from: usize) -> CandleResult<Tensor> {
        let tensor = var.as_detached_tensor();
        match *self {
            Self::Entries(length) => tensor.flatten_all()?.narrow(0, from, PIECE.min(length - from)),
            Self::Along { dim, length, at_once } => tensor.narrow(dim, from, at_once.min(length - from)),
            Self::Whole => Ok(tensor),
        }
    }
}

/// What the roundings of f64 move where a norm or a spectrum stays what it is.
fn noise(w: &[f64]) -> f64 {
    let squares: f64 = w.iter().map(|w| w * w).sum();
    64.0 * f64::EPSILON * squares.sqrt()
}

/// Numbers before and after a step without a gradient, in f64.
fn stepped(w: &Tensor, second_moment: Option<Vec<f64>>, step: &OptimizerStep) -> Result<(Vec<f64>, Vec<f64>)> {
    let before = wide(w)?;
    let tensor = |values: Vec<f64>| Tensor::from_vec(values, w.shape(), &Device::Cpu);
    let zeros = || Tensor::zeros(w.shape(), DType::F64, &Device::Cpu);
    let var = |tensor: CandleResult<Tensor>| Var::from_tensor(&tensor?);
    let state = match second_moment {
        Some(v) => vec![var(zeros())?, var(tensor(v))?],
        None => Vec::new(),
    };
    let mut work = [Work::new(var(tensor(before.clone()))?, state, Some((zeros()?, *step)))];
    kernel::steps(&mut work, Source::Checked, &mut Tables::default())?;
    let after = wide(&work[0].var)?;
    Ok((before, after))
}

/// The largest step of some entries.
fn longest(step: &OptimizerStep, second_moment: Option<&[f64]>) -> f64 {
    match (step, second_moment) {
        (OptimizerStep::Sgd(step), _) => step.prox_step,
        (OptimizerStep::AdamW(step), Some(v)) => {
            let least = v.iter().copied().fold(f64::INFINITY, f64::min);
            step.lr / ((least * step.v_correction).sqrt() + step.eps)
        }
        _ => 0.0,
    }
}

/// As the kernels round: arithmetic is in f32.
fn rounded(value: f64, dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => bf16::from_f32(value as f32).into(),
        _ => f16::from_f32(value as f32).into(),
    }
}

/// Half the way from a number > 0 of a half type to the next smaller one, where a penalty moves it: below a power of two that is half
/// of what it is above.
fn half_ulp(value: f64, dtype: DType) -> f64 {
    let next: f64 = match dtype {
        DType::BF16 => bf16::from_bits(bf16::from_f64(value).to_bits().saturating_sub(1)).into(),
        _ => f16::from_bits(f16::from_f64(value).to_bits().saturating_sub(1)).into(),
    };
    (value - next) / 2.0
}
