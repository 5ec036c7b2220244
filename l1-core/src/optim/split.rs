//! How much of a step's move came from the data, the penalty and the decay.
//!
//! Nothing is computed twice by another formula: beside the step itself the same kernel takes, on copies, the step that charges
//! nothing, and the difference is the penalty's. That costs a second step and copies of weights and state, so it is done where it is
//! asked for alone.

use candle_core::{TensorId, Var};
use serde::Serialize;

use crate::{
    Result,
    kernel::{self, OptimizerStep, Source, Tables, Work, distance::wide, master},
};

/// The lengths ‖·‖₂ of the three parts that one step's move of a field is made of; the parts themselves add up to the move.
///
/// * `data`: the way of the gradients, and of the moments that remember them;
/// * `penalty`: from the point that the step would have led to without a charge to the one that it has led to;
/// * `decay`: what decoupled weight decay took, `lr·decay·w`.
///
/// A weight that the prox holds at 0 is moved by the data, and back by the penalty. In [`FtrlProximal`](super::FtrlProximal), whose
/// weights carry all charges so far, the penalty's part is what *this* step's charge did: with
/// [`Charged::Once`](super::Charged::Once) nothing after the first step, as long as λ stays. The rounding of bf16 and f16 weights is in
/// the parts.
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
    /// A copy of it with its state, and the step that charges nothing.
    twin: Work,
}

impl Before {
    /// * `uncharged`: the planned step without its charge.
    pub(super) fn of(index: usize, work: &Work, uncharged: OptimizerStep) -> Result<Option<Self>> {
        let Some((grad, _)) = &work.next else { return Ok(None) };
        let state = work.state.iter().map(copy).collect::<Result<_>>()?;
        let mut twin = Work::new(copy(&work.var)?, state, Some((grad.clone(), uncharged)));
        twin.hold = work.hold;
        if let Some(master) = &work.master {
            twin = twin.with_master()?;
            if let Some(twin) = twin.master.as_ref().filter(|_| work.var.elem_count() > 0) {
                twin.weights().set(master.weights())?;
                master::follow(twin.weights(), &work.var)?;
            }
        }
        let weights = wide(stepped(&twin))?;
        Ok(Some(Self { id: work.var.id(), index, weights, twin }))
    }

    fn parts(self, work: &Work) -> Result<Parts> {
        let (uncharged, after) = (wide(stepped(&self.twin))?, wide(stepped(work))?);
        let keep = self.twin.next.map_or(1.0, |(_, step)| step.keep());
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

/// The weights that a step is of: the f32 copy, where one is kept.
fn stepped(work: &Work) -> &Var {
    work.master.as_ref().map_or(&work.var, |master| master.weights())
}

fn copy(var: &Var) -> Result<Var> {
    Ok(Var::from_tensor(&var.as_detached_tensor().copy()?)?)
}

/// The parts of the move of each variable that was stepped.
///
/// * `work`: all variables, after the step.
pub(super) fn parts(before: Vec<Before>, work: &[Work]) -> Result<Vec<(TensorId, Parts)>> {
    let mut twins = Vec::new();
    let mut rest = Vec::new();
    for Before { id, index, weights, twin } in before {
        twins.push(twin);
        rest.push((id, index, weights));
    }
    // All as one job, as the step itself.
    kernel::steps(&mut twins, Source::Checked, &mut Tables::default())?;
    let stepped = rest.into_iter().zip(twins).map(|((id, index, weights), twin)| Before { id, index, weights, twin });
    stepped
        .map(|before| {
            let (id, work) = (before.id, &work[before.index]);
            Ok((id, before.parts(work)?))
        })
        .collect()
}

impl Parts {
    pub(crate) fn lengths(&self) -> Moves {
        let length = |part: &[f64]| part.iter().map(|move_| move_ * move_).sum::<f64>().sqrt();
        Moves { data: length(&self.data), penalty: length(&self.penalty), decay: length(&self.decay) }
    }
}
