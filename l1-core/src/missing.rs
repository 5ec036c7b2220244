//! Why a penalized parameter may have no gradient, from what the others have.

use std::fmt;

use candle_core::Tensor;

use crate::{Param, ParamPath, Role, kernel::is_supported};

/// Why the loss gave a parameter no gradient.
///
/// From gradients alone this is what is likely, since a gradient that was stopped leaves no trace. Only
/// [`NoDerivative`](Self::NoDerivative), [`NoBackward`](Self::NoBackward) and [`NotInLoss`](Self::NotInLoss) are certain.
///
/// candle's `LayerNorm` and `RmsNorm` (on contiguous input) and `softmax_last_dim` have no backward, so that nothing before them gets a
/// gradient through them. To train, `candle_nn::ops::layer_norm_slow`, `RmsNorm::forward_diff` and `candle_nn::ops::softmax` compute the
/// same.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingCause {
    /// No parameter of the model has a gradient: the loss is another model's, or cut off at its very end.
    NoneHasOne,
    /// A normalization beside it has none either.
    Norm {
        /// The layer.
        norm: ParamPath,
    },
    /// Several layers at the beginning have none, those from here on do.
    Cut {
        /// The first parameter, in the order of the visit, that has one.
        before: ParamPath,
    },
    /// The layers before it have one, or all others: it may not take part in the loss at all.
    Unused,
    /// It is in the graph of the loss, but an operation on it returned no gradient.
    NoDerivative,
    /// The loss changes with it: it takes part in the loss, but an operation behind it has no backward.
    NoBackward {
        /// A normalization that is the likely cause.
        norm: Option<ParamPath>,
    },
    /// The loss is the same with other weights, near and far: with the batch that was taken, and as far as its dtype shows.
    NotInLoss,
}

pub(crate) const NORMS: &str = "candle's LayerNorm and RmsNorm have no backward on contiguous input; train with \
                     `candle_nn::ops::layer_norm_slow`, `RmsNorm::forward_diff`";
const STOPS: &str = "candle's `softmax_last_dim` (train with `candle_nn::ops::softmax`) or `rope` (`rope_slow`), `detach`, a \
                     comparison or the like";

impl fmt::Display for MissingCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoneHasOne => write!(
                f,
                "No parameter of the model has one: is this the loss of this model? If it is, something at its end stops gradients: \
                 candle's LayerNorm or RmsNorm, {STOPS}"
            ),
            Self::Norm { norm } => write!(f, "Likely because of `{norm}`, which has none either: {NORMS}"),
            Self::Cut { before } => {
                write!(f, "No parameter before {before} has one: likely something between stops gradients: {STOPS}")
            }
            Self::Unused => write!(
                f,
                "Is it used in the forward pass? If it is, something behind it stops gradients: {STOPS}. If it is never to be \
                 penalized, declare `#[l1(skip)]` (or `.skip(pattern, why)` beside rules for names). If it sits out some batches, an \
                 optimizer's `on_missing_gradient` can pass over it"
            ),
            Self::NoDerivative => f.write_str(
                "It is in the graph of the loss, but an operation on it returned no gradient: a custom one whose `bwd` gives `None`?",
            ),
            Self::NoBackward { norm: Some(norm) } => write!(
                f,
                "It takes part in the loss (changing it changes the loss), but an operation behind it has no backward, likely that of \
                 `{norm}`: {NORMS}"
            ),
            Self::NoBackward { norm: None } => write!(
                f,
                "It takes part in the loss (changing it changes the loss), but an operation behind it has no backward: {STOPS}"
            ),
            Self::NotInLoss => f.write_str(
                "With this batch the loss does not depend on it (changing it changes nothing that shows in the loss): use it in the \
                 forward pass, or declare `#[l1(skip)]`; for a part that sits out some batches there is `on_missing_gradient`",
            ),
        }
    }
}

/// Others without a gradient, in brackets.
pub(crate) fn nor(others: &[ParamPath]) -> String {
    const NAMED: usize = 3;
    if others.is_empty() {
        return String::new();
    }
    let named: Vec<_> = others.iter().take(NAMED).map(ParamPath::to_string).collect();
    let more = others.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!(" (nor {}{more})", named.join(", "))
}

/// What is likely, from which parameters have a gradient. The order of the visit is taken for that of the forward pass.
pub(crate) fn likely(params: &[Param], path: &ParamPath, has_gradient: impl Fn(&Tensor) -> bool) -> MissingCause {
    let trained: Vec<_> = params.iter().filter(|param| is_trained(param)).collect();
    let has_gradient: Vec<_> = trained.iter().map(|param| has_gradient(&param.tensor)).collect();
    if !has_gradient.contains(&true) {
        return MissingCause::NoneHasOne;
    }
    let at = trained.iter().position(|param| param.path == *path).unwrap_or_default();
    // All around it that has no gradient either.
    let start = has_gradient[..at].iter().rposition(|has| *has).map_or(0, |before| before + 1);
    let end = has_gradient[at..].iter().position(|has| *has).map_or(trained.len(), |after| at + after);
    // Gradients come from behind: the last norm is the first to stop them.
    let norm = |params: &[&Param]| params.iter().rev().find(|param| param.role == Role::Norm).map(|param| layer(param));
    if let Some(norm) = norm(&trained[at..end]).or_else(|| norm(&trained[start..at])) {
        return MissingCause::Norm { norm };
    }
    let is_one_layer = trained[start..end].iter().all(|param| layer(param) == layer(trained[at]));
    match trained.get(end) {
        Some(before) if start == 0 && !is_one_layer => MissingCause::Cut { before: before.path.clone() },
        _ => MissingCause::Unused,
    }
}

/// Parameters of normalizations that have no gradient, while a parameter before them has one: it went past them. (Where nothing before
/// has one either, the norm is frozen behind a `detach`, or simply not used.)
pub(crate) fn norms(params: &[Param], has_gradient: impl Fn(&Tensor) -> bool) -> impl Iterator<Item = &Param> {
    let mut some_before = false;
    params.iter().filter(|param| is_trained(param)).filter(move |param| {
        let has = has_gradient(&param.tensor);
        let is_cut = some_before && param.role == Role::Norm && !has;
        some_before |= has;
        is_cut
    })
}

/// Whether a loss may well give it a gradient.
fn is_trained(param: &Param) -> bool {
    param.role != Role::Buffer && param.tensor.is_variable() && is_supported(param.tensor.dtype())
}

/// The path of the layer that a parameter belongs to; its own if it belongs to none.
pub(crate) fn layer(param: &Param) -> ParamPath {
    match param.path.as_str().rsplit_once('.') {
        Some((layer, _)) => layer.into(),
        None => param.path.clone(),
    }
}
