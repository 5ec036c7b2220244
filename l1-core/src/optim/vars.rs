//! What all proximal optimizers share: which variables they step, and what is checked before a step writes anything.

use std::collections::HashSet;

use candle_core::{DType, Tensor, Var, backprop::GradStore};

use crate::{
    Error, ParamPath, Penalty, RegularizedGrads, Regularizer, Result, Role, gradient,
    kernel::{is_supported, wide_dtype},
};

/// The variables of floating-point type (as candle's optimizers take them), each once: a variable that is listed twice is to be
/// stepped once.
pub(super) fn distinct(vars: Vec<Var>) -> Result<Vec<Var>> {
    let mut seen = HashSet::new();
    let vars: Vec<_> = vars.into_iter().filter(|var| var.dtype().is_float() && seen.insert(var.id())).collect();
    match vars.iter().position(|var| !is_supported(var.dtype())) {
        None => Ok(vars),
        Some(index) => {
            let found = vars[index].dtype();
            Err(Error::UnsupportedDType { argument: unnamed(index, &vars[index]).to_string(), found })
        }
    }
}

/// What a variable is called that the regularizer does not know.
fn unnamed(index: usize, var: &Var) -> ParamPath {
    ParamPath::from(format!("(variable {index} of the optimizer, shape {:?})", var.dims()).as_str())
}

/// At least one penalized parameter is among the variables.
pub(super) fn check_covers<'v>(
    regularizer: &Regularizer,
    mut vars: impl Iterator<Item = &'v Var> + Clone,
) -> Result<()> {
    regularizer.check_not_empty()?;
    let is_penalized = |var: &Var| regularizer.get(var).is_some_and(|param| param.decision.penalty().is_some());
    let all = vars.clone();
    if vars.any(is_penalized) {
        return Ok(());
    }
    let mut penalized = regularizer.penalized().map(|(param, _)| param);
    let Some(first) = penalized.next() else { return Ok(()) };
    Err(Error::ForeignVariables { penalized: 1 + penalized.count(), first: first.path.clone(), variables: all.count() })
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
    vars: impl Iterator<Item = &'v Var> + Clone,
    grads: &GradStore,
    regularizer: &Regularizer,
) -> Result<Vec<Option<Planned>>> {
    // Again at each step: the regularizer may have been replaced.
    check_covers(regularizer, vars.clone())?;
    RegularizedGrads::refuse(grads)?;
    let taken = gradient::Taken::by(vars.clone().map(|var| var.as_tensor()));
    let plan_one = |(index, var): (usize, &Var)| {
        let param = regularizer.get(var);
        let path = || param.map_or_else(|| unnamed(index, var), |param| param.path.clone());
        let penalty = param.and_then(|param| regularizer.penalty_of(param)).filter(|penalty| !penalty.is_none());
        match gradient::get(path, var, grads, &taken)? {
            Some(grad) => Ok(Some(Planned {
                grad,
                penalty: penalty.unwrap_or(Penalty::NONE),
                decays: param.is_some_and(|param| matches!(param.role, Role::Weight { .. } | Role::Embedding)),
            })),
            None if penalty.is_some() => Err(Error::MissingGradient { path: path() }),
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
    let plan = plan(slots.iter().map(&var), grads, regularizer)?;
    let mut planned = slots.iter_mut().zip(plan).filter_map(|(slot, planned)| Some((slot, planned?)));
    planned.try_for_each(|(slot, planned)| step(slot, planned))
}

/// A moment of a variable, all zeros: in f32 for half types, whose own precision would swallow small changes of it.
pub(super) fn moment(var: &Var) -> Result<Var> {
    Ok(Var::zeros(var.shape(), wide_dtype(var.dtype()), var.device())?)
}

/// Whether steps of some of these variables are computed in f32.
pub(super) fn any_narrow<'v>(mut vars: impl Iterator<Item = &'v Var>) -> bool {
    vars.any(|var| var.dtype() != DType::F64)
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
