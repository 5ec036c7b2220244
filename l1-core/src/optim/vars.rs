//! What all proximal optimizers share: which variables they step, and what is checked before a step writes anything.

use std::collections::HashSet;

use candle_core::{DType, Tensor, Var, backprop::GradStore};

use crate::{
    Error, ParamPath, Penalty, Regularizer, Result, Role,
    gradient::{self, Taken},
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
#[derive(Debug)]
pub struct Planned {
    pub(super) grad: Tensor,
    /// Every scale included.
    pub(super) penalty: Penalty,
    /// Without the regularizer's own scale.
    pub(super) unscaled: Penalty,
    /// The regularizer's own scale.
    pub(super) scale: f64,
    /// Whether weight decay applies: to weights and embeddings, never to biases, norms or variables of unknown role.
    pub(super) decays: bool,
}

/// Checks the gradient of one variable and looks its penalty up; whether the gradient is finite is not asked here.
///
/// `None` stands for an unpenalized variable without a gradient: it is left alone.
pub(super) fn plan(
    index: usize,
    var: &Var,
    grads: &GradStore,
    regularizer: &Regularizer,
    taken: &Taken,
) -> Result<Option<Planned>> {
    let param = regularizer.get(var);
    let penalty = param.and_then(|param| regularizer.penalty_of(param)).filter(|penalty| !penalty.is_none());
    match gradient::get(|| path(index, var, regularizer), var, grads, taken)? {
        Some(grad) => Ok(Some(Planned {
            grad,
            penalty: penalty.unwrap_or(Penalty::NONE),
            unscaled: param.and_then(|param| param.decision.penalty()).copied().unwrap_or(Penalty::NONE),
            scale: regularizer.scale(),
            decays: param.is_some_and(|param| matches!(param.role, Role::Weight { .. } | Role::Embedding)),
        })),
        None if penalty.is_some() => Err(Error::MissingGradient { path: path(index, var, regularizer) }),
        None => Ok(None),
    }
}

/// What a variable is called in errors.
pub(super) fn path(index: usize, var: &Var, regularizer: &Regularizer) -> ParamPath {
    regularizer.get(var).map_or_else(|| unnamed(index, var), |param| param.path.clone())
}

/// A tensor of a variable's state: in f32 for half types, whose own precision would swallow small changes of it.
pub(super) fn state(var: &Var, fill: f64) -> Result<Var> {
    let dtype = wide_dtype(var.dtype());
    if fill == 0.0 {
        return Ok(Var::zeros(var.shape(), dtype, var.device())?);
    }
    let fill = Tensor::new(fill, var.device())?.to_dtype(dtype)?;
    Ok(Var::from_tensor(&fill.broadcast_as(var.shape())?.contiguous()?)?)
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
