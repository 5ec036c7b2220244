//! What all proximal optimizers share: which variables they step, and what is checked before a step writes anything.

use std::collections::HashSet;

use candle_core::{DType, Tensor, Var, backprop::GradStore};

use crate::{
    Error, OnMissingGradient, Param, ParamPath, Penalty, Regularizer, Result, Role,
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

/// At least one penalized or decayed parameter is among the variables.
pub(crate) fn check_covers<'v>(
    regularizer: &Regularizer,
    mut vars: impl Iterator<Item = &'v Var> + Clone,
) -> Result<()> {
    let acts = |param: &Param| param.decision.penalty().is_some() || param.decay.is_some_and(|decay| decay > 0.0);
    let all = vars.clone();
    if vars.any(|var| regularizer.get(var).is_some_and(acts)) {
        return Ok(());
    }
    let mut acted_on = regularizer.params().iter().filter(|param| acts(param));
    let Some(first) = acted_on.next() else { return regularizer.check_not_empty() };
    Err(Error::ForeignVariables {
        regularized: 1 + acted_on.count(),
        first: first.path.clone(),
        variables: all.count(),
    })
}

/// What one variable's step needs of the outside.
#[derive(Debug)]
pub struct Planned {
    pub(super) grad: Tensor,
    /// Every scale included.
    pub(super) penalty: Penalty,
    /// Whether its zeros stay zeros.
    pub(super) is_held: bool,
    decay: Decay,
}

/// How a variable is decayed.
#[derive(Clone, Copy, Debug)]
enum Decay {
    /// As it is declared.
    Declared(f64),
    /// A weight or an embedding: as the optimizer's parameters say.
    Optimizers,
    /// A bias, a norm, or a variable of unknown role: not at all.
    None,
}

impl Planned {
    /// What is left of a weight by decoupled decay, `1 − lr·decay`.
    pub(super) fn keep(&self, lr: f64, weight_decay: f64) -> f64 {
        1.0 - lr * self.decay.rate(weight_decay)
    }
}

/// How much a variable is decayed by an optimizer with a `weight_decay`.
pub(super) fn decay(param: Option<&Param>, weight_decay: f64) -> f64 {
    Decay::of(param).rate(weight_decay)
}

impl Decay {
    fn rate(self, weight_decay: f64) -> f64 {
        match self {
            Self::Declared(decay) => decay,
            Self::Optimizers => weight_decay,
            Self::None => 0.0,
        }
    }

    fn of(param: Option<&Param>) -> Self {
        match param {
            Some(Param { decay: Some(decay), .. }) => Self::Declared(*decay),
            Some(Param { role: Role::Weight { .. } | Role::Embedding, .. }) => Self::Optimizers,
            _ => Self::None,
        }
    }
}

/// Refuses a decay that would turn the signs of weights: `1 − lr·decay` has to be ≥ 0.
pub(super) fn check_decay(lr: f64, weight_decay: f64, regularizer: &Regularizer) -> Result<()> {
    check(
        "weight_decay",
        weight_decay,
        lr * weight_decay <= 1.0,
        "at most 1/lr: a step takes lr·weight_decay of a weight",
    )?;
    let expected = "at most 1/lr: a step takes lr·decay of a weight";
    let too_large = |param: &Param| param.decay.filter(|decay| lr * decay > 1.0);
    match regularizer.params().iter().find_map(|param| Some((param, too_large(param)?))) {
        None => Ok(()),
        Some((param, value)) => Err(Error::InvalidValue { path: param.path.clone(), key: "decay", value, expected }),
    }
}

/// Checks the gradient of one variable and looks its penalty up; whether the gradient is finite is not asked here.
///
/// `None` stands for a variable that is left alone: an unpenalized one without a gradient, or one that sits out the step.
pub(super) fn plan(
    index: usize,
    var: &Var,
    grads: &GradStore,
    regularizer: &Regularizer,
    taken: &Taken,
    on_missing_gradient: OnMissingGradient,
) -> Result<Option<Planned>> {
    let param = regularizer.get(var);
    // With a scale of 0 too it keeps its curve and groups: what an optimizer remembers depends on them.
    let penalty = param.and_then(|param| regularizer.penalty_of(param)).unwrap_or(Penalty::NONE);
    // In a warm-up too, so that nothing comes up only when it ends.
    let charged = param.filter(|param| regularizer.is_charged(param));
    if let Some(param) = charged {
        param.refuse_charged(grads)?;
    }
    let grad = match (gradient::get(|| path(index, var, regularizer), var, grads, taken)?, charged) {
        (Some(grad), _) => grad,
        (None, None) => return Ok(None),
        (None, Some(param)) => match on_missing_gradient {
            OnMissingGradient::Error => {
                return Err(regularizer.missing_gradient(&param.path, |tensor| grads.get(tensor).is_some()));
            }
            OnMissingGradient::Skip => return Ok(None),
            OnMissingGradient::Shrink if penalty.is_none() => return Ok(None),
            OnMissingGradient::Shrink => var.as_detached_tensor().zeros_like()?,
        },
    };
    let is_held = param.is_some_and(Param::support_is_frozen);
    Ok(Some(Planned { grad, penalty, is_held, decay: Decay::of(param) }))
}

/// What a variable is called in errors.
pub(crate) fn path(index: usize, var: &Var, regularizer: &Regularizer) -> ParamPath {
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
