//! How much of a step's move came from the data, the penalty and the decay.
//!
//! Nothing is computed twice by another formula: beside the step itself the same kernel takes, on copies, the step that charges
//! nothing, and the difference is the penalty's. That costs a second step and copies of weights and state, so it is done where it is
//! asked for alone.

use candle_core::{TensorId, Var};
use serde::Serialize;

use crate::{
    Result,
    kernel::{self, OptimizerStep, Source, Work, distance::wide, master},
};

/// The lengths ‖·‖₂ of the three parts that one step's move of a field is made of; the parts themselves add up to the move.
///
/// * `data`: the way of the gradients, and of the moments that remember them;
/// * `penalty`: from the point that the step would have led to without a charge to the one that it has led to;
/// * `decay`: what decoupled weight decay took, `lr·decay·w`.
///
/// A weight that the prox holds at 0 is moved by the data, and back by the penalty. In [`FtrlProximal`](super::FtrlProximal), whose
/// weights carry all charges so far, the penalty's part is what *this* step's charge did: with
/// [`Charged::Once`](super::Charged::Once) nothing after the first step. The rounding of bf16 and f16 weights is in the parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Moves {
    /// ‖u − w − d‖₂, u being the point without a charge, w the weights before, d the decay's part.
    pub data: f64,
    /// ‖w⁺ − u‖₂, w⁺ being the weights after.
    pub penalty: f64,
    /// ‖d‖₂.
    pub decay: f64,
}

/// The three parts of one variable's move, entry by entry.
#[derive(Clone, Debug, Default, PartialEq)]
#[doc(hidden)]
pub struct Parts {
    pub data: Vec<f64>,
    pub penalty: Vec<f64>,
    pub decay: Vec<f64>,
}

/// A variable as it was before a step.
pub(super) struct Before {
    id: TensorId,
    /// Where it stands among the optimizer's variables.
    index: usize,
    weights: Vec<f64>,
    /// A copy of it, and the step that charges nothing.
    copy: Work,
}

impl Before {
    /// * `uncharged`: the planned step without its charge.
    pub(super) fn of(index: usize, work: &Work, uncharged: OptimizerStep) -> Result<Option<Self>> {
        let Some((grad, _)) = &work.next else { return Ok(None) };
        let weights = match &work.master {
            None => copy(&work.var)?,
            Some(master) => {
                let weights = copy(master.weights())?;
                if work.var.elem_count() > 0 {
                    master::follow(&weights, &work.var)?;
                }
                weights
            }
        };
        let grad = grad.to_dtype(weights.dtype())?;
        let state = work.state.iter().map(copy).collect::<Result<_>>()?;
        let before = wide(&weights)?;
        let copy = Work::new(weights, state, Some((grad, uncharged)));
        Ok(Some(Self { id: work.var.id(), index, weights: before, copy }))
    }

    fn parts(self, work: &Work) -> Result<Parts> {
        let after = wide(work.master.as_ref().map_or(&work.var, |master| master.weights()))?;
        let uncharged = wide(&self.copy.var)?;
        let keep = self.copy.next.map_or(1.0, |(_, step)| step.keep());
        let mut parts = Parts::default();
        for ((w, u), after) in self.weights.into_iter().zip(uncharged).zip(after) {
            // Not `keep·w − w`, which for an infinite w is NaN also without decay.
            let decay = if keep == 1.0 { 0.0 } else { (keep - 1.0) * w };
            parts.decay.push(decay);
            parts.data.push(u - w - decay);
            parts.penalty.push(after - u);
        }
        Ok(parts)
    }
}

fn copy(var: &Var) -> Result<Var> {
    Ok(Var::from_tensor(&var.as_detached_tensor().copy()?)?)
}

/// The parts of the move of each variable that was stepped.
pub(super) fn parts(mut before: Vec<Before>, work: &[Work]) -> Result<Vec<(TensorId, Parts)>> {
    let mut copies = Vec::new();
    for before in &mut before {
        let nothing = Work::new(before.copy.var.clone(), Vec::new(), None);
        copies.push(std::mem::replace(&mut before.copy, nothing));
    }
    kernel::steps(&mut copies, Source::Checked)?;
    let stepped = before.into_iter().zip(copies).map(|(before, copy)| Before { copy, ..before });
    stepped
        .map(|before| {
            let (id, index) = (before.id, before.index);
            Ok((id, before.parts(&work[index])?))
        })
        .collect()
}

impl Parts {
    pub(crate) fn lengths(&self) -> Moves {
        let length = |part: &[f64]| part.iter().map(|move_| move_ * move_).sum::<f64>().sqrt();
        Moves { data: length(&self.data), penalty: length(&self.penalty), decay: length(&self.decay) }
    }
}
