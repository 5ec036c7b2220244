//! The variables of a `VarMap`, in an order that does not vary from run to run.

use std::sync::PoisonError;

use candle_core::Var;
use candle_nn::VarMap;

/// Names and variables, by name.
pub(crate) fn by_name(varmap: &VarMap) -> Vec<(String, Var)> {
    // A poisoned lock still holds what it guards: another thread's panic is not ours to repeat.
    let data = varmap.data().lock().unwrap_or_else(PoisonError::into_inner);
    let mut variables: Vec<_> = data.iter().map(|(name, var)| (name.clone(), var.clone())).collect();
    variables.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    variables
}
