//! What a `Regularizer` says of a model, as lines to compare with.

use l1_core::{Param, Regularized, Regularizer, Role};

fn regularizer(model: &(impl ?Sized + Regularized)) -> Regularizer {
    Regularizer::new(model).unwrap()
}

fn lines(model: &(impl ?Sized + Regularized), line: impl Fn(&Param) -> String) -> Vec<String> {
    regularizer(model).params().iter().map(line).collect()
}

/// `path`, in the order of the visit.
pub(crate) fn paths(model: &(impl ?Sized + Regularized)) -> Vec<String> {
    lines(model, |param| param.path().to_string())
}

/// `path: decision`, in the order of the visit.
pub(crate) fn decisions(model: &(impl ?Sized + Regularized)) -> Vec<String> {
    lines(model, |param| format!("{}: {}", param.path(), param.decision()))
}

/// `path: penalty` of the penalized parameters alone, in the order of the visit.
pub(crate) fn penalized(model: &(impl ?Sized + Regularized)) -> Vec<String> {
    regularizer(model).penalized().map(|(param, penalty)| format!("{}: {penalty}", param.path())).collect()
}

/// `path: decay` of the parameters with a declared decay alone, in the order of the visit.
pub(crate) fn decays(model: &(impl ?Sized + Regularized)) -> Vec<String> {
    let line = |param: &Param| Some(format!("{}: {}", param.path(), param.decay()?));
    regularizer(model).params().iter().filter_map(line).collect()
}

/// `path: role`, in the order of the visit; a weight with the dimensions that run over outputs and inputs.
pub(crate) fn roles(model: &(impl ?Sized + Regularized)) -> Vec<String> {
    lines(model, |param| {
        let dimension = |known: Option<usize>| known.map_or("?".to_owned(), |dimension| dimension.to_string());
        let role = match param.role() {
            Role::Weight { output, input } => format!("weight {} × {}", dimension(output), dimension(input)),
            role => role.to_string(),
        };
        format!("{}: {role}", param.path())
    })
}

/// `path: reason` of the fields that were not looked into.
pub(crate) fn unvisited(model: &(impl ?Sized + Regularized)) -> Vec<String> {
    regularizer(model).unvisited().map(|(path, reason)| format!("{path}: {reason}")).collect()
}

/// The message of the error that collecting the model ends with.
pub(crate) fn refusal(model: &(impl ?Sized + Regularized)) -> String {
    match Regularizer::new(model) {
        Ok(regularizer) => panic!("not refused: {regularizer:?}"),
        Err(error) => error.to_string(),
    }
}
