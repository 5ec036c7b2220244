//! What can go wrong, each with the parameter's path, the value found and the way out.

use std::path::PathBuf;

use candle_core::{DType, DeviceLocation, Shape};

use crate::{Grouping, Guard, ParamPath, RoleName, kernel::Place};

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that l1 refuses. Nothing has been changed when one of these is returned (but by [`Error::Candle`] from a device
/// that fails in the middle of a step or a load, and by [`Error::NonFiniteGradient`] with [`Guard::InPass`]; a
/// [`Fista::minimize`](crate::Fista::minimize) that fails keeps the iterations that it has made).
///
/// It converts from candle's error and into it, so `?` works in functions that return `candle_core::Result`,
/// `l1_core::Result` or `anyhow::Result`. The way through candle's error keeps the variant:
/// `l1_core::Error::from(opt.step(&grads).unwrap_err())` can be matched on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number of a declaration is out of its range. Cause: an expression such as `lambda = self.strength` came out negative,
    /// NaN or infinite. Cure: correct the expression.
    #[error("{path}: {key} = {} (expected {expected})", readable(*value))]
    InvalidValue {
        /// The field that carries the declaration, or the struct if it stands there.
        path: ParamPath,
        /// The key: `lambda`, `curve`, `element`, `l2`, `positive`, `decay` or `scale`; or a strength "times the scales on its
        /// path" or "times the new scale" (of [`set_scale`](crate::Regularizer::set_scale)).
        key: &'static str,
        /// The value found.
        value: f64,
        /// The range expected.
        expected: &'static str,
    },

    /// A penalty or decay declared on a field, or by a rule for names, changes no parameter. Cause and cure are in `why`.
    #[error("{path}: {declared} reaches no parameter: {why}")]
    Unreached {
        /// The field that carries the declaration, or "rule `PATTERN`".
        path: ParamPath,
        /// The declaration, as in `lambda = 0.01`.
        declared: String,
        /// What was found below the field, and what to do about it.
        why: String,
    },

    /// The pattern of a rule for names is none. Cause and cure are in `why`.
    #[error("rule `{pattern}`: {why}")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },

    /// The pattern of a rule for names matches no parameter. Cause: a misspelt name, or variables that the builder was not shown
    /// ([`Builder::vars`](crate::Builder::vars)). Cure: one of the nearest names.
    #[error(
        "rule `{pattern}` matches no parameter{}",
        match nearest.as_slice() {
            [] => ": there are none; show the builder a model or a VarMap (`.vars(&varmap)`)".to_owned(),
            nearest => format!("; the nearest names: `{}`", nearest.join("`, `")),
        }
    )]
    NothingMatches {
        /// The pattern.
        pattern: String,
        /// Names that may have been meant, the most likely first.
        nearest: Vec<String>,
    },

    /// Variables of a VarMap are neither in the model nor matched by a rule, so that nobody has said what is to become of them; from
    /// [`Coverage::strict`](crate::Coverage::strict). Cause: a field that the visit leaves out, an `opaque` one without rules, a copy
    /// in place of the variable. Cure: declare, `skip`, or add a rule.
    #[error(
        "{} of the VarMap's variables are unaccounted for:{}\nVisit them in the model, or match them by a rule: \
         `.rule(pattern, ..)` or `.skip(pattern, why)` of `Regularizer::builder()`",
        variables.len(),
        variables.iter().map(|variable| format!("\n  {variable}")).collect::<String>()
    )]
    Unaccounted {
        /// Each name, with what is known of it.
        variables: Vec<String>,
    },

    /// `role = ..` stands on a field without a bare `Tensor` or `Var`. Cure: layers know their roles; remove the key.
    #[error(
        "{path}: role = {role} names no tensor: `role` is for a field that is a `Tensor` or `Var` (or a container of them); \
         a layer or struct says the roles of its own tensors. Remove `role`, or write it on the tensor's field"
    )]
    UnusedRole {
        /// The field that carries the declaration.
        path: ParamPath,
        /// The role that was declared.
        role: RoleName,
    },

    /// Two tensors of the model have the same path. Cause: `flatten` or `rename` let two names coincide.
    #[error("{path}: two parameters have this path; rename one of the fields or map keys, or remove a `flatten`")]
    DuplicatePath {
        /// The path that occurs twice.
        path: ParamPath,
    },

    /// One storage is declared in two different ways. Cause: tied tensors whose fields disagree. Cure: the same rule on both
    /// fields, or on one of them only.
    #[error(
        "{first} and {second} are one tensor under two rules: {first} is {first_rule}, {second} is {second_rule}. \
         Declare the same rule on both, or a rule on one of them only"
    )]
    ConflictingRules {
        /// The path visited first.
        first: ParamPath,
        /// What was decided there.
        first_rule: String,
        /// The path visited later.
        second: ParamPath,
        /// What was decided there.
        second_rule: String,
    },

    /// Penalized parameters lie on two devices. Cure: move the model to one device, or `skip` what lies elsewhere.
    #[error(
        "{second} is on {second_device:?} but {first} is on {first_device:?}; penalized parameters must share one device"
    )]
    TwoDevices {
        /// The first penalized parameter.
        first: ParamPath,
        /// Where it is.
        first_device: DeviceLocation,
        /// The first penalized parameter that is elsewhere.
        second: ParamPath,
        /// Where that one is.
        second_device: DeviceLocation,
    },

    /// The model has no parameters at all.
    #[error("the model holds no parameters: no field of it is a tensor, a layer or another model")]
    EmptyModel,

    /// No parameter is penalized, so there is no penalty to compute. Cause and cure are in `why`.
    #[error("none of the model's parameters ({parameters}) is penalized: {why}")]
    NothingPenalized {
        /// How many parameters were visited.
        parameters: usize,
        /// What they are instead, and what to do about it.
        why: String,
    },

    /// Gradients that hold the penalty already were given to a proximal optimizer or to a certificate, which would charge it again.
    #[error(
        "these gradients hold the penalty already (`add_subgradient`), and a proximal optimizer or a certificate would charge \
         it a second time: give it the gradients of the loss alone"
    )]
    ChargedTwice,

    /// None of the penalized or decayed parameters is among the variables given to the optimizer. Cause: variables of another
    /// model or another `VarMap`.
    #[error(
        "none of the {regularized} regularized parameters (the first is {first}) is among the optimizer's {variables} variables; \
         pass the variables of the model that the Regularizer was made from"
    )]
    ForeignVariables {
        /// How many parameters the regularizer penalizes or decays.
        regularized: usize,
        /// The first of them.
        first: ParamPath,
        /// How many variables the optimizer was given.
        variables: usize,
    },

    /// A declared `decay` would do nothing: a loss has no decoupled weight decay, nor has this optimizer.
    #[error(
        "{path}: `decay` does nothing in {place}, which has no decoupled weight decay: declare a ridge, `l2`, or take \
         `ProxSgd` or `ProxAdamW`"
    )]
    DecayUnused {
        /// The parameter.
        path: ParamPath,
        /// The optimizer, or `a loss`.
        place: &'static str,
    },

    /// The penalty has no usable gradient. Cure: a proximal optimizer.
    #[error(
        "{path}: `{what}` cannot stand in the loss, it has no gradient that would do; \
         use a proximal optimizer (`ProxSgd`, `ProxAdamW`, `FtrlProximal`, `Fista` or `Proximal`) instead of `penalty()` or \
         `add_subgradient`"
    )]
    NotInLoss {
        /// The parameter.
        path: ParamPath,
        /// The part of its penalty that has no gradient.
        what: String,
    },

    /// A penalized parameter got no gradient: it would be shrunk by the penalty alone. Cause: it does not reach the loss, or a
    /// layer between has no backward (candle's `LayerNorm`, `RmsNorm` and `softmax_last_dim` on contiguous input). Cure: train
    /// with `candle_nn::ops::layer_norm_slow`, `RmsNorm::forward_diff` and `candle_nn::ops::softmax`; insert a gradient of zeros
    /// for a part that sits out a batch; `skip` what is never to be penalized.
    #[error(
        "{path}: penalized, but the loss gave it no gradient, so that the penalty alone would shrink it. Does it take part in \
         the loss? If it does: candle's LayerNorm, RmsNorm and softmax_last_dim stop gradients; train with \
         `ops::layer_norm_slow`, `RmsNorm::forward_diff`, `ops::softmax`. If it is never to be penalized, declare `#[l1(skip)]`"
    )]
    MissingGradient {
        /// The parameter.
        path: ParamPath,
    },

    /// A gradient holds NaN or an infinity. What was changed is said by `guard`: nothing at all with [`Guard::Before`], all
    /// coordinates but those with such a gradient (under groups all tensors but those) with [`Guard::InPass`].
    #[error(
        "{path}: its gradient holds {value} at flat index {index}; {}. \
         Has training diverged? Lower the learning rate, or clip the gradients",
        match guard {
            Guard::Before => "nothing was changed",
            Guard::InPass => "coordinates with such a gradient (under `group = ..` tensors) were left as they were, all others were stepped",
        }
    )]
    NonFiniteGradient {
        /// The parameter.
        path: ParamPath,
        /// The first value that is not finite.
        value: f64,
        /// Its place in row-major order.
        index: usize,
        /// When the gradients were looked at.
        guard: Guard,
    },

    /// A gradient has another shape than its variable.
    #[error("{path}: its gradient has shape {found:?} (expected {expected:?})")]
    GradientShape {
        /// The parameter.
        path: ParamPath,
        /// The gradient's shape.
        found: Shape,
        /// The variable's shape.
        expected: Shape,
    },

    /// A gradient has another dtype than its variable.
    #[error("{path}: its gradient has dtype {found:?} (expected {expected:?})")]
    GradientDType {
        /// The parameter.
        path: ParamPath,
        /// The gradient's dtype.
        found: DType,
        /// The variable's dtype.
        expected: DType,
    },

    /// A gradient is on another device than its variable.
    #[error("{path}: its gradient is on {found:?} (expected {expected:?})")]
    GradientDevice {
        /// The parameter.
        path: ParamPath,
        /// Where the gradient is.
        found: DeviceLocation,
        /// Where the variable is.
        expected: DeviceLocation,
    },

    /// A tensor argument has another shape than the tensor it belongs to.
    #[error("`{argument}` has shape {found:?} (expected {expected:?})")]
    ShapeMismatch {
        /// The argument's name.
        argument: &'static str,
        /// Its shape.
        found: Shape,
        /// The shape expected.
        expected: Shape,
    },

    /// A tensor has no such groups as are declared for it. Cause: a block that does not divide a matrix, `output` on a tensor whose
    /// dimensions no layer explains, `singular` on a vector, … Cure: other groups for this field, or `lambda = 0` on it.
    #[error("{path}: group = {group} does not fit shape {:?} (expected {expected})", shape.dims())]
    Grouping {
        /// The parameter's path, or the argument's name.
        path: ParamPath,
        /// The groups as they are declared.
        group: Grouping,
        /// The tensor's shape.
        shape: Shape,
        /// What was expected.
        expected: String,
    },

    /// A matrix whose singular values are penalized has none that can be computed. Cause: NaN or an infinity in it.
    #[error("{path}: the singular values of this {rows} × {columns} matrix cannot be computed: {why}")]
    SingularValues {
        /// The parameter's path, or the argument's name.
        path: ParamPath,
        /// The rows of the matrix.
        rows: usize,
        /// Its columns.
        columns: usize,
        /// What was found.
        why: String,
    },

    /// No bound on the distance from the minimum can be given. Cause: in `why`; a penalty that is not convex, most likely, or tensors
    /// that are not the model's or do not fit together.
    #[error("{path}: no duality gap: {why}")]
    NoDualityGap {
        /// The parameter's path, or the argument's name.
        path: ParamPath,
        /// What was found, and what was expected.
        why: String,
    },

    /// A tensor has a dtype for which l1 has no arithmetic.
    #[error("`{argument}` has dtype {found:?} (expected F32, F64, BF16 or F16)")]
    UnsupportedDType {
        /// The argument's name, or the parameter's path.
        argument: String,
        /// Its dtype.
        found: DType,
    },

    /// A half type where differences of a few digits decide.
    #[error(
        "{argument} has dtype {found:?}, whose rounding hides what `Fista` compares (expected F32 or F64); \
         `ProxSgd` and `ProxAdamW` take it"
    )]
    HalfPrecision {
        /// The parameter's path, or the loss.
        argument: String,
        /// Its dtype.
        found: DType,
    },

    /// The loss is NaN or infinite where [`Fista`](crate::Fista) starts an iteration. Cause: the data, or a loss that is not
    /// defined everywhere.
    #[error(
        "the loss is {value} at {place}, so that no step can be judged; the weights are where they were before this step"
    )]
    NonFiniteLoss {
        /// The loss.
        value: f64,
        /// Where it was evaluated.
        place: &'static str,
    },

    /// Halving the step of [`Fista`](crate::Fista) has led nowhere. Cause: the loss is not finite, or not smooth, right beside
    /// the weights, or it is another function at each call. The weights are where they were before.
    #[error(
        "no step from {} down to {} is accepted: {}; the weights are where they were before this step",
        readable(*largest),
        readable(*smallest),
        if loss.is_finite() {
            "the loss is above what its gradient promises. It has to be smooth (no `abs`, no `relu` at its kink), and the same \
             function at each call (the full batch, no dropout)"
        } else {
            "the loss is finite before the step, but NaN or infinite after the smallest one"
        },
    )]
    NoStep {
        /// The first step tried.
        largest: f64,
        /// The last step tried.
        smallest: f64,
        /// The loss at the end of the last step that moved anything; NaN if that was not finite.
        loss: f64,
    },

    /// A hyperparameter is out of its range.
    #[error("{name} = {} (expected {expected})", readable(*value))]
    InvalidParameter {
        /// The hyperparameter, as it is called in the code.
        name: &'static str,
        /// The value found.
        value: f64,
        /// The range expected.
        expected: &'static str,
    },

    /// The norm of the gradients is NaN or infinite, so that clipping by it makes no sense. Nothing was changed.
    #[error(
        "the gradients' norm is {norm}, so they cannot be clipped by it and nothing was changed; {culprit}. \
         `clip_grad_norm_with(.., NonFinite::Pass)` lets it pass"
    )]
    NonFiniteNorm {
        /// The norm found.
        norm: f64,
        /// The first gradient that is not finite, in words.
        culprit: String,
    },

    /// No tensor that the layer of a `Traced::new` asked for is a variable of the VarMap.
    #[error(
        "the layer{} uses no variable of this VarMap: give `Traced::new` a VarBuilder over the same VarMap \
         (`VarBuilder::from_varmap(&varmap, ..)`)",
        if prefix.is_empty() { String::new() } else { format!(" under `{prefix}`") }
    )]
    NothingTraced {
        /// The prefix of the VarBuilder.
        prefix: String,
    },

    /// A checkpoint's file could not be written or read: a folder that does not exist or is not yours to write, a full disk, ….
    /// A file that was there before is as it was.
    #[error("{}: the checkpoint cannot be {action}: {cause}", path.display())]
    CheckpointIo {
        /// The checkpoint's file.
        path: PathBuf,
        /// `written` or `read`.
        action: &'static str,
        /// The system's error. It stands in the message, and is no `source()`, so that nobody prints it twice.
        cause: std::io::Error,
    },

    /// A file is not what `Checkpoint::save` writes: cut off, damaged, of another origin, or of another version of the format.
    #[error("{}: no checkpoint of l1: {why}", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
        /// What was found, and what to do about it.
        why: String,
        /// The error below, if there was one. It stands in `why`, and is no `source()`, so that nobody prints it twice.
        cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    },

    /// A checkpoint is of another model or another optimizer. Cure: build both as in the program that saved it.
    #[error(
        "{}: the checkpoint does not fit the model and its optimizer:{}\n{way_out}",
        path.display(),
        lines(differences)
    )]
    CheckpointMismatch {
        /// The file.
        path: PathBuf,
        /// What does not fit, one line each.
        differences: Vec<String>,
        /// What to do about it.
        way_out: &'static str,
    },

    /// The model or the optimizer is declared otherwise than when the checkpoint was saved, so that going on would not be what
    /// not having stopped would have been. Cure: declare the old numbers, or accept the new ones.
    #[error(
        "{}: the checkpoint was saved under other declarations:{}\n{}\
         Declare what the file says, or go on under this program's: `Checkpoint::load_with(.., Declarations::Accept)`",
        path.display(),
        lines(differences),
        if *may_be_renamed { "If only a field's name has changed, give it the old one: `#[l1(rename = \"..\")]`. " } else { "" }
    )]
    ChangedDeclarations {
        /// The file.
        path: PathBuf,
        /// What has changed, one line each.
        differences: Vec<String>,
        /// Whether file and model each have a path that the other lacks, as when a field was renamed.
        may_be_renamed: bool,
    },

    /// The optimizer steps a variable for which the VarMap of the checkpoint has no name. Cause: another `VarMap`, or a variable
    /// made without one.
    #[error(
        "{path}: the optimizer steps it, but it is not in the VarMap, so that it has no name in a checkpoint; pass the VarMap that \
         the model was built from, or `varmap.data().lock().unwrap().insert(name, var)`"
    )]
    NotInVarMap {
        /// The parameter.
        path: ParamPath,
    },

    /// The name of a variable is one that a checkpoint needs for itself. Cure: another name.
    #[error(
        "{name}: a checkpoint needs this name for itself (`__metadata__` and all that begins with `l1.state/`); rename the variable"
    )]
    ReservedName {
        /// The variable's name.
        name: String,
    },

    /// There is nothing that [`Stationarity::assert_below`](crate::Stationarity::assert_below) could judge. Cause: nothing is penalized
    /// (a scale of 0?), and no variable has a gradient: those of another loss?
    #[error(
        "there is nothing to certify: nothing is penalized (is a scale 0?), and no other variable has a gradient (are these the \
         gradients of this model's loss?)"
    )]
    NothingToCertify,

    /// A model is not stationary for loss + Ω up to the tolerance of
    /// [`Stationarity::assert_below`](crate::Stationarity::assert_below). Cause: training has not ended, or solves something else: a
    /// penalty in the loss, a Euclidean prox behind Adam, a decay that the certificate was not told of; or NaN.
    #[error(
        "{path}{}: the relative distance from a stationary point is {} (expected at most {}); the distance is {}{}. \
         Train on with a falling learning rate; with weight decay ask the optimizer, `opt.stationarity(..)`, which takes it in",
        spaced(place.as_ref()),
        readable(*relative),
        readable(*tolerance),
        readable(*distance),
        noise.map_or_else(String::new, |noise| format!(", of which {} may be noise of the minibatches", readable(noise))),
    )]
    NotStationary {
        /// The parameter that is farthest from it.
        path: ParamPath,
        /// The entry or group of it.
        place: Option<Place>,
        /// Its relative distance.
        relative: f64,
        /// The largest distance in the parameter.
        distance: f64,
        /// The noise of the distance, if the gradients are a mean of several batches.
        noise: Option<f64>,
        /// What was allowed.
        tolerance: f64,
    },

    /// Zeros are stationary, as all zeros are under a curve of infinite slope at 0, but a proximal gradient step of the stated length
    /// leaves them. Cause: a λ too small to hold them, or a step that is too long: it has to be at most 1/L, L being the
    /// Lipschitz constant of ∇f.
    #[error(
        "{path}{}: {leaving} of {zeros} zeros leave in a prox step of length {}, the first of them pulled {} times too hard. \
         Train on, or test them with a shorter step: `ParamsStationarity {{ step, .. }}`",
        spaced(place.as_ref()),
        readable(*step),
        readable(*ratio),
    )]
    ZerosLeave {
        /// The parameter.
        path: ParamPath,
        /// How many leave.
        leaving: usize,
        /// How many zeros there are.
        zeros: usize,
        /// The entry or group that is pulled hardest.
        place: Option<Place>,
        /// How much harder than it could be held.
        ratio: f64,
        /// The length of the step.
        step: f64,
    },

    /// candle's own error.
    #[error(transparent)]
    Candle(candle_core::Error),

    /// The loss given to [`Fista`](crate::Fista) is no scalar.
    #[error("the loss has shape {found:?} (expected a scalar: end it with `mean_all()?` or `sum_all()?`)")]
    LossShape {
        /// The loss's shape.
        found: Shape,
    },
}

/// A place behind a path.
fn spaced(place: Option<&Place>) -> String {
    place.map_or_else(String::new, |place| format!(" {place}"))
}

/// The first of them, each on a line of its own.
fn lines(differences: &[String]) -> String {
    const SHOWN: usize = 20;
    let shown = differences.iter().take(SHOWN).map(|difference| format!("\n  {difference}"));
    let more = differences.len().saturating_sub(SHOWN);
    shown.chain((more > 0).then(|| format!("\n  … and {more} more"))).collect()
}

/// As a person would write it: `-0.5`, but `1e-12` and `3e300`.
pub(crate) fn readable(value: f64) -> String {
    let plain = value == 0.0 || !value.is_finite() || (1e-6..1e7).contains(&value.abs());
    if plain { value.to_string() } else { format!("{value:e}") }
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(error) => error,
            // candle's only variant that prints the message as it is and keeps the error to be matched on afterwards.
            error => candle_core::Error::Io(std::io::Error::other(error)),
        }
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        match error {
            candle_core::Error::Io(error) => match error.downcast::<Self>() {
                Ok(error) => error,
                Err(error) => Self::Candle(error.into()),
            },
            error => Self::Candle(error),
        }
    }
}
