//! What all proximal optimizers share: which variables they step, and what is checked before a step writes anything.

use std::collections::HashSet;

use candle_core::{DType, Tensor, Var, backprop::GradStore};

use crate::{
    Error, ParamPath, Penalty, RegularizedGrads, Regularizer, Result, Role,
    kernel::{gradient, is_supported, wide_dtype},
};

/// The variables of floating-point type, each once: a variable that is listed twice is to be stepped once.
pub(super) fn distinct(vars: Vec<Var>) -> Vec<Var> {
    let mut seen = HashSet::new();
    vars.into_iter().filter(|var| is_supported(var.dtype()) && seen.insert(var.id())).collect()
}

/// At least one penalized parameter is among the variables.
pub(super) fn check_covers<'v>(regularizer: &Regularizer, vars: impl Iterator<Item = &'v Var>) -> Result<()> {
    regularizer.check_not_empty()?;
    let vars: HashSet<_> = vars.map(|var| var.id()).collect();
    let mut penalized = regularizer.penalized().map(|(param, _)| param);
    let Some(first) = penalized.next() else { return Ok(()) };
    if vars.contains(&first.tensor.id()) || penalized.any(|param| vars.contains(&param.tensor.id())) {
        return Ok(());
    }
    Err(Error::ForeignVariables {
        penalized: regularizer.penalized().count(),
        first: first.path.clone(),
        variables: vars.len(),
    })
}

/// What one variable's step needs of the outside.
pub(super) struct Planned {
    pub(super) grad: Tensor,
    pub(super) penalty: Penalty,
    /// Whether weight decay applies: to weights and embeddings, never to biases, norms or variables of unknown role.
    pub(super) decays: bool,
}

/// Checks every gradient and looks every penalty up, before anything is written.
///
/// `None` stands for an unpenalized variable without a gradient: it is left alone.
pub(super) fn plan<'v>(
    vars: impl Iterator<Item = &'v Var>,
    grads: &GradStore,
    regularizer: &Regularizer,
) -> Result<Vec<Option<Planned>>> {
    RegularizedGrads::refuse(grads)?;
    let plan_one = |(index, var): (usize, &Var)| {
        let param = regularizer.get(var);
        let path = match param {
            Some(param) => param.path.clone(),
            None => ParamPath::from(format!("(variable {index} of the optimizer, shape {:?})", var.dims()).as_str()),
        };
        let penalty = param.and_then(|param| regularizer.penalty_of(param)).filter(|penalty| !penalty.is_none());
        match gradient::get(&path, var, grads)? {
            Some(grad) => Ok(Some(Planned {
                grad,
                penalty: penalty.unwrap_or(Penalty::NONE),
                decays: param.is_some_and(|param| matches!(param.role, Role::Weight { .. } | Role::Embedding)),
            })),
            None if penalty.is_some() => Err(Error::MissingGradient { path }),
            None => Ok(None),
        }
    };
    vars.enumerate().map(plan_one).collect()
}

/// Steps every variable that has a gradient, after all of them have been checked.
pub(super) fn step_all<S>(
    slots: &mut [S],
    var: impl Fn(&S) -> &Var,
    grads: &GradStore,
    regularizer: &Regularizer,
    step: impl Fn(&mut S, Planned) -> Result<()>,
) -> Result<()> {
    let plan = plan(slots.iter().map(var), grads, regularizer)?;
    let mut planned = slots.iter_mut().zip(plan).filter_map(|(slot, planned)| Some((slot, planned?)));
    planned.try_for_each(|(slot, planned)| step(slot, planned))
}

/// A moment of a variable, all zeros: in f32 for half types, whose own precision would swallow small changes of it.
pub(super) fn moment(var: &Var) -> Result<Var> {
    Ok(Var::zeros(var.shape(), wide_dtype(var.dtype()), var.device())?)
}

/// The smallest positive number of the arithmetic that steps of these variables are done in.
pub(super) fn tiniest<'v>(mut vars: impl Iterator<Item = &'v Var>) -> f64 {
    if vars.all(|var| var.dtype() == DType::F64) { f64::MIN_POSITIVE } else { f32::MIN_POSITIVE.into() }
}

/// A hyperparameter in its range, or an error that names it.
pub(super) fn check(name: &'static str, value: f64, in_range: bool, expected: &'static str) -> Result<()> {
    if in_range { Ok(()) } else { Err(Error::InvalidParameter { name, value, expected }) }
}

/// Finite and ≥ 0.
pub(super) fn check_strength(name: &'static str, value: f64) -> Result<()> {
    check(name, value, crate::penalty::is_strength(value), crate::penalty::STRENGTH)
}

/// In `[0, 1)`.
pub(super) fn check_fraction(name: &'static str, value: f64) -> Result<()> {
    check(name, value, (0.0..1.0).contains(&value), "in [0, 1)")
}
