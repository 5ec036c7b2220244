//! What can go wrong, each with the parameter's path, the value found and the way out.

use std::path::PathBuf;

use candle_core::{DType, DeviceLocation, Shape};

use crate::{
    Grouping, Guard, LeftOut, MissingCause, ParamPath, RoleName,
    kernel::Place,
    missing::{NORMS, nor},
};

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that l1 refuses. Nothing has been changed when one of these is returned (but by [`Error::Candle`] from a device
/// that fails in the middle of a step or a load, and by [`Error::NonFiniteGradient`] with [`Guard::InPass`]; a
/// [`Fista::minimize`](crate::Fista::minimize) that fails keeps the iterations that it has made).
///
/// A message names the parameter's path or the argument, the value found, what was expected, and the way out. Each variant below
/// says what causes it and what cures it. `docs/troubleshooting.md` in the repository has the same beside a real message and code
/// that mends it, and goes through what goes wrong without an error.
///
/// It converts from candle's error and into it, so `?` works in functions that return `candle_core::Result`,
/// `l1_core::Result` or `anyhow::Result`. The way through candle's error keeps the variant:
/// `l1_core::Error::from(opt.step(&grads).unwrap_err())` can be matched on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number of a declaration is out of its range.
    ///
    /// Cause: an expression such as `lambda = self.strength` came out negative, NaN or infinite; the number of a curve
    /// is out of its range; or a strength, times the scales on its path, is beyond what the tensor computes in (f32,
    /// but for F64).
    ///
    /// Cure: correct the expression, or give it a number within the range that the message states.
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

    /// A penalty or decay declared on a field, or by a rule for names, changes no parameter.
    ///
    /// Cause: all that lies below the field is something that a declaration passes over (biases, norm parameters,
    /// buffers, frozen tensors, integers), is under nearer rules of its own, or is no parameter at all. The message
    /// says which.
    ///
    /// Cure: what the message offers: add `bias` or `norm` to the attribute, build frozen layers from a VarBuilder over
    /// a VarMap, or remove the declaration. (One on the struct may pass over fields.) What `to_dtype`, `t()` or a copy
    /// makes of a variable is frozen: keep the variable in the model, and cast in the forward pass.
    #[error("{path}: {declared} reaches no parameter: {why}")]
    Unreached {
        /// The field that carries the declaration, or "rule `PATTERN`".
        path: ParamPath,
        /// The declaration, as in `lambda = 0.01`.
        declared: String,
        /// What was found below the field, and what to do about it.
        why: String,
    },

    /// A rule for names cannot be one.
    ///
    /// Cause: the pattern is empty, or a bracket or brace of its glob is not closed; the rule declares neither a penalty nor a
    /// decay; its pattern matches a name that means one tensor in the model and another one in the VarMap; or `force()` was
    /// called before any rule.
    ///
    /// Cure: close the bracket, or put a backslash before one that is part of the name; `*` alone matches every name. To say
    /// that parameters are not to be penalized there is `.skip(pattern, why)`. Where a name means two tensors, use the
    /// variable itself in the model. `force()` belongs behind the rule that is to overrule attributes.
    #[error("rule `{pattern}`: {why}")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it, and what to do about it.
        why: String,
    },

    /// The pattern of a rule for names matches no parameter.
    ///
    /// Cause: a misspelt name, or variables that the builder was not shown.
    ///
    /// Cure: take one of the nearest names, which the message lists, or show the builder the VarMap
    /// ([`RegularizerBuilder::vars`](crate::RegularizerBuilder::vars)).
    #[error(
        "rule `{pattern}` matches no parameter{}{hint}",
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
        /// What else may be the cause; empty if nothing is known.
        hint: String,
    },

    /// A scale, a schedule or a frozen support is of a field at or below which nothing is penalized.
    ///
    /// Cause: the path is misspelt, or is that of a field without a penalty.
    ///
    /// Cure: take one of the nearest paths, which the message lists, or declare a penalty there.
    #[error(
        "`{field}`: no penalized parameter has this path or lies below it{}",
        match nearest.as_slice() {
            [] => String::new(),
            nearest => format!("; the nearest paths: `{}`", nearest.join("`, `")),
        }
    )]
    UnknownField {
        /// The path.
        field: ParamPath,
        /// Paths of penalized parameters that may have been meant, the most likely first.
        nearest: Vec<String>,
    },

    /// The support of a parameter cannot be frozen: what its penalty makes 0 are singular values, and no entries.
    ///
    /// Cause: `group = singular`. Without the penalty the rank would grow again, however many entries are held at 0.
    ///
    /// Cure: freeze the other fields, each by its path; or go on under the penalty with another curve, such as `mcp`, which does not
    /// pull at large singular values.
    #[error(
        "{path}: its support cannot be frozen: under group = singular it is singular values that are 0, and no entries. Freeze the \
         other fields with `freeze_support_of`, or take a curve that does not pull at large values, such as mcp"
    )]
    SupportOfSingularValues {
        /// The parameter.
        path: ParamPath,
    },

    /// A schedule is none: a number or a step in it is out of its range, or what it gives at a step is.
    ///
    /// Cause: NaN, an infinity, a scale below 0, steps that do not increase from 0, 0 steps, or a `then` behind a schedule that has no
    /// end; or a function that gives such a number.
    ///
    /// Cure: correct what the message names.
    #[error("the schedule `{schedule}`{}: {why}", if place.is_empty() { String::new() } else { format!(" of {place}") })]
    InvalidSchedule {
        /// What it is for, such as `the scale`; empty if it was looked at by itself.
        place: String,
        /// The schedule.
        schedule: String,
        /// What is wrong with it.
        why: String,
    },

    /// Two schedules are given for one thing.
    ///
    /// Cause: one was added twice to [`Schedules`](crate::Schedules), or one for a field and one for what lies in it.
    ///
    /// Cure: leave one of them out, or join them with `then`.
    #[error("{path}: two schedules, for {} and for {}; leave one out, or join them with `then`", what[0], what[1])]
    TwoSchedules {
        /// The first parameter that would follow both; the model itself for the scale of all.
        path: ParamPath,
        /// What they are for, in words.
        what: [String; 2],
    },

    /// What follows a schedule was to be set by hand.
    ///
    /// Cause: a regularizer with schedules was given to something that sets its scale, or that freezes its support: the next step would
    /// undo it.
    ///
    /// Cure: change the schedule, or go on without: [`clear_schedules`](crate::Regularizer::clear_schedules).
    #[error(
        "{what} follows a schedule ({schedule}), which would undo what is set by hand; change the schedule, or `clear_schedules()` first"
    )]
    FollowsSchedule {
        /// What it is, in words.
        what: String,
        /// The schedule.
        schedule: String,
    },

    /// There is nothing that could follow the regularizer's schedules.
    ///
    /// Cause: [`Fista`](crate::Fista) solves one fixed problem; its steps are no training that a schedule could follow.
    ///
    /// Cure: set what is to hold with [`at_step`](crate::Regularizer::at_step), then
    /// [`clear_schedules`](crate::Regularizer::clear_schedules); or take `ProxSgd`, `ProxAdamW` or `FtrlProximal`.
    #[error(
        "`{place}` solves one fixed problem and follows no schedule ({schedules}): set what is to hold with `at_step(step)` and \
         `clear_schedules()`, or take `ProxSgd`, `ProxAdamW` or `FtrlProximal`"
    )]
    ScheduleUnused {
        /// The schedules.
        schedules: String,
        /// The optimizer.
        place: &'static str,
    },

    /// Variables of a VarMap are neither in the model nor matched by a rule, so that nobody has said what is to become
    /// of them; from [`Coverage::strict`](crate::Coverage::strict).
    ///
    /// Cause: a field that the visit leaves out, an `opaque` one without rules, a copy in place of the variable.
    ///
    /// Cure: declare a penalty, `skip` the field, or add a rule for the names.
    #[error(
        "{} unaccounted for:{}\n{}",
        if variables.len() == 1 { "1 variable of the VarMap is".to_owned() } else { format!("{} variables of the VarMap are", variables.len()) },
        variables.iter().map(|(name, why)| format!("\n  {name}: {why}")).collect::<String>(),
        if variables.iter().all(|(_, why)| matches!(why, LeftOut::Copy | LeftOut::View(_))) {
            "Put the VarMap's variables themselves into the model"
        } else {
            "Visit them in the model, or match them by a rule: `.rule(pattern, ..)` or `.skip(pattern, why)` of \
             `Regularizer::builder()`"
        }
    )]
    Unaccounted {
        /// Each name, with what is known of it.
        variables: Vec<(String, LeftOut)>,
    },

    /// A VarMap without variables, so that there is nothing that could be left out.
    ///
    /// Cause: another VarMap than the one that the model was built from, or a model that was read without one.
    ///
    /// Cure: give [`Regularizer::coverage`](crate::Regularizer::coverage) the VarMap behind the model's VarBuilder.
    #[error(
        "the VarMap holds no variable, so that there is nothing to cover: is it the one that the model was built from?"
    )]
    EmptyVarMap,

    /// `role = ..` stands on a field without a bare `Tensor` or `Var`.
    ///
    /// Cause: the field is a layer or a struct, and those know the roles of their own tensors.
    ///
    /// Cure: remove the key, or write it on the tensor's own field.
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

    /// Two tensors of the model have the same path.
    ///
    /// Cause: `flatten` or `rename` let two names coincide, or two models of one builder have fields of the same name.
    ///
    /// Cure: give one of the fields another name with `rename`, or remove a `flatten`; give each model of a builder a place of
    /// its own ([`RegularizerBuilder::model_at`](crate::RegularizerBuilder::model_at)).
    #[error(
        "{path}: two parameters have this path; rename one of the fields or map keys, or remove a `flatten`; of several models \
         give each a place of its own, `.model_at(\"actor\", &actor)`"
    )]
    DuplicatePath {
        /// The path that occurs twice.
        path: ParamPath,
    },

    /// One storage is declared in two different ways.
    ///
    /// Cause: tied tensors whose fields disagree.
    ///
    /// Cure: declare the same rule on both fields, or a rule on one of them only.
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

    /// Penalized parameters lie on two devices.
    ///
    /// Cause: parts of the model were built on different devices, and the penalty is one sum on one device.
    ///
    /// Cure: build the whole model on one device, or `skip` what lies elsewhere.
    #[error(
        "{second} is on {second_device:?} but {first} is on {first_device:?}; penalized parameters must share one device. \
         Build the model on one, or declare `#[l1(skip)]` on what lies elsewhere"
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
    ///
    /// Cause: no field of it is a tensor, a layer or another model, or its own `visit` does nothing; or a builder was
    /// given neither a model with parameters nor a VarMap with variables.
    ///
    /// Cure: make the layers fields of the model, visit them, or show the builder the VarMap that holds their
    /// variables.
    #[error(
        "the model holds no parameters: no field of it is a tensor, a layer or another model. Visit those that it has, or show \
         the variables: `Regularizer::builder().vars(&varmap)`"
    )]
    EmptyModel,

    /// No parameter is penalized, so there is no penalty to compute.
    ///
    /// Cause: nothing is declared, or what is declared reaches biases, norm parameters, frozen tensors or skipped
    /// fields alone. The message counts them.
    ///
    /// Cure: declare `lambda = ..` on a field or on the struct, or build frozen layers from a VarBuilder over a VarMap.
    /// To train without a penalty, for comparison: declare `decay = ..` alone, take candle's own optimizer, or declare
    /// a λ and `set_scale(0.0)`.
    #[error("none of the model's parameters ({parameters}) is penalized: {why}")]
    NothingPenalized {
        /// How many parameters were visited.
        parameters: usize,
        /// What they are instead, and what to do about it.
        why: String,
    },

    /// Gradients that hold a parameter's penalty already were given to what would charge it again: a proximal optimizer, a
    /// certificate, or `add_subgradient`.
    ///
    /// Cause: they are those of a loss with `penalty()` in it, or come from `add_subgradient`, which is for optimizers that know
    /// nothing of the penalty.
    ///
    /// Cure: give a proximal optimizer or a certificate what `loss.backward()` returns for the loss without the penalty;
    /// give the others to an optimizer of candle's.
    #[error(
        "{path}: these gradients hold its penalty already (`penalty()` in the loss, or `add_subgradient`), and here it would be charged \
         a second time: give the gradients of the loss alone, or train loss + penalty with candle's own optimizers"
    )]
    ChargedTwice {
        /// The first parameter that would be charged twice.
        path: ParamPath,
    },

    /// None of the penalized or decayed parameters is among the variables given to the optimizer.
    ///
    /// Cause: they are the variables of another model or another VarMap.
    ///
    /// Cure: pass the variables of the VarMap that the model was built from: `varmap.all_vars()`.
    #[error(
        "none of the regularized parameters ({regularized}, the first is {first}) is among the optimizer's variables \
         ({variables}); pass the variables of the model that the Regularizer was made from"
    )]
    ForeignVariables {
        /// How many parameters the regularizer penalizes or decays.
        regularized: usize,
        /// The first of them.
        first: ParamPath,
        /// How many variables the optimizer was given.
        variables: usize,
    },

    /// A declared `decay` would do nothing here.
    ///
    /// Cause: decoupled weight decay is a part of the step of `ProxSgd` and `ProxAdamW`; a loss has none, nor have the
    /// other optimizers.
    ///
    /// Cure: declare a ridge, `l2`, in its place, or take `ProxSgd` or `ProxAdamW`.
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

    /// The penalty has no usable gradient.
    ///
    /// Cause: `half`, `two_thirds` and `l0` have no finite slope at 0, and `positive` is a constraint.
    ///
    /// Cure: take a proximal optimizer, and leave the penalty out of the loss.
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

    /// A penalized parameter got no gradient: it would be shrunk by the penalty alone.
    ///
    /// Cause: it does not reach the loss, or a layer between has no backward (candle's `LayerNorm`, `RmsNorm` and
    /// `softmax_last_dim` on contiguous input); what is known of it is in [`MissingCause`].
    ///
    /// Cure: train with `candle_nn::ops::layer_norm_slow`, `RmsNorm::forward_diff` and `candle_nn::ops::softmax`;
    /// `on_missing_gradient` decides about a part that sits out some batches ([`OnMissingGradient`](crate::OnMissingGradient));
    /// `skip` what is never to be penalized.
    /// [`Regularizer::check_gradients_with`](crate::Regularizer::check_gradients_with) finds out whether it takes part in the loss.
    #[error(
        "{path}: penalized, but the loss gave it no gradient{}, so that the penalty alone would shrink it. {cause}",
        nor(others)
    )]
    MissingGradient {
        /// The parameter.
        path: ParamPath,
        /// What is known of the cause.
        cause: MissingCause,
        /// The other penalized parameters without one (of `check_gradients_with`: those for which the same was found).
        others: Vec<ParamPath>,
    },

    /// A normalization got no gradient, though a parameter before it got one; from
    /// [`Regularizer::check_gradients`](crate::Regularizer::check_gradients). What lies before it is trained by that part of the loss
    /// alone that does not flow through it.
    ///
    /// Cause: candle's `LayerNorm` and `RmsNorm` have no backward on contiguous input. In a residual network all other parameters
    /// have gradients all the same.
    ///
    /// Cure: train with `candle_nn::ops::layer_norm_slow` and `RmsNorm::forward_diff`. Where the loss does not use the norm at all,
    /// nothing is amiss; a norm that is not to be trained can be built without a VarMap.
    #[error(
        "{norm}: a norm that the loss gives no gradient, though it gives one to a parameter before it: if the loss uses the norm, what \
         lies before it learns by a part of the loss alone. {NORMS}"
    )]
    NormWithoutBackward {
        /// The layer.
        norm: ParamPath,
    },

    /// A gradient holds NaN or an infinity. What was changed is said by `guard`: nothing at all with [`Guard::Before`],
    /// all coordinates but those with such a gradient (under groups all tensors but those) with [`Guard::InPass`].
    ///
    /// Cause: training has diverged, the data hold NaN, or the loss has no derivative where it was evaluated (a `sqrt`
    /// or `log` of 0).
    ///
    /// Cure: lower the learning rate, clip the gradients, or pass over such a batch.
    #[error(
        "{path}: its gradient holds {value} at flat index {index}; {}. \
         Do the data hold NaN, or has training diverged? Lower the learning rate, or clip the gradients",
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
    ///
    /// Cause: it was inserted by hand.
    ///
    /// Cure: insert one of the variable's shape; `backward` gives such.
    #[error(
        "{path}: its gradient has shape {found:?} (expected {expected:?}); one that is inserted by hand has the shape of its variable"
    )]
    GradientShape {
        /// The parameter.
        path: ParamPath,
        /// The gradient's shape.
        found: Shape,
        /// The variable's shape.
        expected: Shape,
    },

    /// A gradient has another dtype than its variable.
    ///
    /// Cause: it was inserted by hand, as after accumulating or scaling in another precision.
    ///
    /// Cure: cast it with `to_dtype` before it is inserted.
    #[error("{path}: its gradient has dtype {found:?} (expected {expected:?}); cast it with `to_dtype`")]
    GradientDType {
        /// The parameter.
        path: ParamPath,
        /// The gradient's dtype.
        found: DType,
        /// The variable's dtype.
        expected: DType,
    },

    /// A gradient is on another device than its variable.
    ///
    /// Cause: it was inserted by hand, as after a reduction over devices.
    ///
    /// Cure: move it with `to_device` before it is inserted.
    #[error("{path}: its gradient is on {found:?} (expected {expected:?}); move it with `to_device`")]
    GradientDevice {
        /// The parameter.
        path: ParamPath,
        /// Where the gradient is.
        found: DeviceLocation,
        /// Where the variable is.
        expected: DeviceLocation,
    },

    /// A tensor argument has another shape than the tensor it belongs to.
    ///
    /// Cause: a step for each entry, or a gradient, was made for another tensor.
    ///
    /// Cure: give it the shape that the message states; `broadcast_as` repeats one along a dimension.
    #[error("`{argument}` has shape {found:?} (expected {expected:?}, as the tensor it belongs to)")]
    ShapeMismatch {
        /// The argument's name.
        argument: &'static str,
        /// Its shape.
        found: Shape,
        /// The shape expected.
        expected: Shape,
    },

    /// A tensor has no such groups as are declared for it.
    ///
    /// Cause: a block that does not divide a matrix, `output` on a tensor whose dimensions no layer explains, or
    /// `singular` on a vector.
    ///
    /// Cure: declare other groups on this field, such as `group = element`, or `lambda = 0` on it.
    #[error(
        "{path}: group = {group} does not fit shape {:?} (expected {expected}). Choose other groups for it, or `lambda = 0`",
        shape.dims()
    )]
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

    /// A matrix whose singular values are penalized has none that can be computed.
    ///
    /// Cause: NaN or an infinity in it, mostly because training has diverged; or too little memory for the
    /// decomposition.
    ///
    /// Cure: lower the learning rate or clip the gradients, and go on from weights that are finite.
    #[error(
        "{path}: the singular values of this {rows} × {columns} matrix cannot be computed: {why} (expected finite entries; has \
         training diverged?)"
    )]
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

    /// No bound on the distance from the minimum can be given.
    ///
    /// Cause: a penalty that is not convex, most likely, or one without any strength; or tensors that are not the
    /// model's or do not fit together. The message says which.
    ///
    /// Cure: pass the model's own tensors, as in `model.fc.weight()`; for other penalties ask how far the model is from
    /// a stationary point, [`Regularizer::stationarity`](crate::Regularizer::stationarity).
    #[error("{path}: no duality gap: {why}")]
    NoDualityGap {
        /// The parameter's path, or the argument's name.
        path: ParamPath,
        /// What was found, and what was expected.
        why: String,
    },

    /// A layer, its inputs or its penalty have no [`LinearPath`](crate::LinearPath).
    ///
    /// Cause: inputs that are no n × p matrix of finite F32 or F64 numbers, groups that reach over several inputs, a penalized
    /// intercept, or a loss that does not depend on its scores.
    ///
    /// Cure: what the message expects; `Path::run` takes any model and any penalty, with an optimizer.
    #[error("{path}: a linear path is not possible: {why}. `Path::run` takes any model and penalty, with an optimizer")]
    NoLinearPath {
        /// The parameter, or the argument.
        path: ParamPath,
        /// What was found, and what was expected.
        why: String,
    },

    /// A tensor has a dtype for which l1 has no arithmetic.
    ///
    /// Cause: an integer or 8-bit tensor was given to an operation, or an 8-bit variable to an optimizer. (A visit passes
    /// over such tensors.)
    ///
    /// Cure: cast it with `to_dtype`, or leave it out of the optimizer's variables.
    #[error(
        "`{argument}` has dtype {found:?} (expected F32, F64, BF16 or F16: cast it with `to_dtype`, or leave it out)"
    )]
    UnsupportedDType {
        /// The argument's name, or the parameter's path.
        argument: String,
        /// Its dtype.
        found: DType,
    },

    /// A half type where differences of a few digits decide.
    ///
    /// Cause: [`Fista`](crate::Fista) compares values of the loss, and in bf16 or f16 rounding hides by how much they
    /// differ.
    ///
    /// Cure: build the model in F32 or F64, or take `ProxSgd` or `ProxAdamW`.
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

    /// The loss is NaN or infinite where [`Fista`](crate::Fista) starts an iteration, or where a [`LinearPath`](crate::LinearPath) is.
    ///
    /// Cause: the data, or a loss that is not defined everywhere.
    ///
    /// Cure: look for NaN in the data and the weights, and keep a `log` or `sqrt` away from 0.
    #[error(
        "the loss is {value} at {place} (expected a finite number), so that no step can be judged; the weights are where they were \
         before this step. Is there NaN in the data, or a `log` or `sqrt` of what can be 0 or less?"
    )]
    NonFiniteLoss {
        /// The loss.
        value: f64,
        /// Where it was evaluated.
        place: &'static str,
    },

    /// Halving the step of [`Fista`](crate::Fista) has led nowhere. The weights are where they were before.
    ///
    /// Cause: the loss is not finite, or not smooth, right beside the weights, or it is another function at each call.
    ///
    /// Cure: take a smooth loss, over all examples and without dropout; what is not smooth belongs in the penalty.
    #[error(
        "no step from {} down to {} is accepted: {}; the weights are where they were before this step",
        readable(*largest),
        readable(*smallest),
        if loss.is_finite() {
            "the loss is above what its gradient promises. It has to be smooth (no `abs`, no `relu` at its kink), and the same \
             function at each call (the full batch, no dropout)"
        } else {
            "the loss is finite before the step, but NaN or infinite after the smallest one. It has to be finite all around the \
             weights: keep a `log` or `sqrt` away from 0"
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
    ///
    /// Cause: a number given to an optimizer, a certificate or an operation is negative, NaN, infinite, or does not go
    /// with the others.
    ///
    /// Cure: give it a number within the range that the message states.
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
    ///
    /// Cause: a gradient holds NaN or an infinity, as after divergence, or all are finite and their norm overflows.
    ///
    /// Cure: lower the learning rate or pass over the batch; clip each entry with `clip_grad_value`; or let it pass
    /// with [`NonFinite::Pass`](crate::NonFinite::Pass), for an optimizer that guards itself.
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
    ///
    /// Cause: the VarBuilder is over another VarMap, or over a file, whose tensors are frozen; or the layer has no
    /// tensors.
    ///
    /// Cure: give `Traced::new` the VarMap that the VarBuilder was made from.
    #[error(
        "the layer{} uses no variable of this VarMap: give `Traced::new` a VarBuilder over the same VarMap \
         (`VarBuilder::from_varmap(&varmap, ..)`)",
        if prefix.is_empty() { String::new() } else { format!(" under `{prefix}`") }
    )]
    NothingTraced {
        /// The prefix of the VarBuilder.
        prefix: String,
    },

    /// A step cannot be written down in a [`History`](crate::History).
    ///
    /// Cause: its number is not above that of the last one there, as after going back to a checkpoint; or the regularizer penalizes other
    /// parameters or other groups than the one that the history was made from.
    ///
    /// Cure: number the steps upwards, and call [`History::forget_after`](crate::History::forget_after) after going back; with another
    /// regularizer begin a new history.
    #[error("step {step} is not recorded in the history: {why}")]
    NotRecorded {
        /// The step.
        step: u64,
        /// What was found, and what to do about it.
        why: String,
    },

    /// A picture cannot be drawn; from the functions of `plot`.
    ///
    /// Cause: a result without points, or a tensor that is no layer over images of the stated sides.
    ///
    /// Cure: what the message says; draw a result that holds something.
    #[error("no picture of a {picture}: {why}")]
    Picture {
        /// Which one.
        picture: &'static str,
        /// What was found, and what was expected.
        why: String,
    },

    /// A checkpoint's file could not be written or read. A file that was there before is as it was.
    ///
    /// Cause: a folder that does not exist or is not yours to write, or a full disk.
    ///
    /// Cure: create the folder, or make room; then save again. Training need not stop for it: match on the error and go
    /// on.
    #[error("{}: the checkpoint cannot be {action}: {cause}", path.display())]
    CheckpointIo {
        /// The checkpoint's file.
        path: PathBuf,
        /// `written` or `read`.
        action: &'static str,
        /// The system's error. It stands in the message, and is no `source()`, so that nobody prints it twice.
        cause: std::io::Error,
    },

    /// A file is not what `Checkpoint::save` writes.
    ///
    /// Cause: it is cut off, damaged, of another origin, or of another version of the format.
    ///
    /// Cure: take an older copy; weights alone are read by `VarMap::load`.
    #[error("{}: no checkpoint of l1: {why}", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
        /// What was found, and what to do about it.
        why: String,
        /// The error below, if there was one. It stands in `why`, and is no `source()`, so that nobody prints it twice.
        cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    },

    /// A checkpoint is of another model or another optimizer.
    ///
    /// Cause: layers, shapes, dtypes or the optimizer have changed since it was saved. The message has a line for each
    /// difference.
    ///
    /// Cure: build both as in the program that saved it, or begin anew from the weights alone, which `VarMap::load`
    /// reads.
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

    /// The model or the optimizer is declared otherwise than when the checkpoint was saved, so that going on would not
    /// be what not having stopped would have been.
    ///
    /// Cause: a λ, a curve, groups, a decay, a role, a path or a hyperparameter was changed in between.
    ///
    /// Cure: declare the old numbers, or accept the new ones with
    /// [`Declarations::Accept`](crate::Declarations::Accept).
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

    /// The optimizer steps a variable for which the VarMap of the checkpoint has no name.
    ///
    /// Cause: another VarMap, or a variable made without one.
    ///
    /// Cure: pass the VarMap that the model was built from, or insert the variable into it under a name.
    #[error(
        "{path}: the optimizer steps it, but it is not in the VarMap, so that it has no name in a checkpoint; pass the VarMap that \
         the model was built from, or `varmap.data().lock().unwrap().insert(name, var)`"
    )]
    NotInVarMap {
        /// The parameter.
        path: ParamPath,
    },

    /// The name of a variable is one that a checkpoint needs for itself.
    ///
    /// Cause: the VarMap holds `__metadata__`, which safetensors keeps for its header, or a name that begins with
    /// `l1.state/`, as after reading the tensors of a checkpoint into a VarMap by hand.
    ///
    /// Cure: give the variable another name.
    #[error(
        "{name}: a checkpoint needs this name for itself (`__metadata__` and all that begins with `l1.state/`); rename the variable"
    )]
    ReservedName {
        /// The variable's name.
        name: String,
    },

    /// There is nothing that [`Stationarity::assert_below`](crate::Stationarity::assert_below) could judge.
    ///
    /// Cause: nothing is penalized (a scale of 0?), and no variable has a gradient: those of another loss?
    ///
    /// Cure: certify under the scale that was trained under, with gradients of the loss of this model.
    #[error(
        "there is nothing to certify: nothing is penalized (is a scale 0?), and no other variable has a gradient (are these the \
         gradients of this model's loss?)"
    )]
    NothingToCertify,

    /// A model is not stationary for loss + Ω up to the tolerance of
    /// [`Stationarity::assert_below`](crate::Stationarity::assert_below).
    ///
    /// Cause: training has not ended, or solves something else: a penalty in the loss, a Euclidean prox behind Adam, a
    /// decay that the certificate was not told of; or NaN.
    ///
    /// Cure: train on with a learning rate that falls; with weight decay ask the optimizer, `opt.stationarity(..)`,
    /// which takes it in; take gradients of the full batch, or [`MeanGradients`](crate::MeanGradients).
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

    /// Zeros are stationary, as all zeros are under a curve of infinite slope at 0, but a proximal gradient step of the
    /// stated length leaves them.
    ///
    /// Cause: a λ too small to hold them, or a step that is too long: it has to be at most 1/L, L being the Lipschitz
    /// constant of ∇f.
    ///
    /// Cure: train on, or test them with a shorter step: [`ParamsStationarity::step`](crate::ParamsStationarity::step).
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

    /// A grid of scales is not strictly sorted, or a scale of it is no positive number.
    ///
    /// Cause: a scale that is 0, negative, NaN or infinite, or one that is on the wrong side of the scale before it.
    ///
    /// Cure: sort the scales, remove repeated ones, and leave 0 to [`Path::ascending`](crate::Path::ascending), which begins there.
    #[error("scale {index} of the grid is {} (expected {expected})", readable(*value))]
    InvalidGrid {
        /// Its place, from 0.
        index: usize,
        /// The scale.
        value: f64,
        /// What was expected.
        expected: String,
    },

    /// What a [`Path`](crate::Path) was told cannot be.
    ///
    /// Cause: an empty grid, a number out of its range, a stopping rule that does not go with the scales' direction, or a
    /// metric that the fit does not record.
    ///
    /// Cure: what the message says.
    #[error("{rule}: {why}")]
    InvalidPath {
        /// The method of `Path`.
        rule: &'static str,
        /// What was found, and what was expected.
        why: String,
    },

    /// A path cannot descend from the scale that empties the model, since there is none.
    ///
    /// Cause: at 0 the loss has no gradient, as in a network whose layers are all 0; the curve's slope at 0 is infinite
    /// (`half`, `two_thirds`, `l0`), so that every scale keeps 0; or the fit does not keep zeros.
    ///
    /// Cure: [`Path::ascending`](crate::Path::ascending), from a dense fit upwards, or [`Path::grid`](crate::Path::grid).
    #[error("{path}: no path descends from the scale that empties it: {why}. Take `Path::ascending` or `Path::grid`")]
    NoDescent {
        /// The parameter.
        path: ParamPath,
        /// What was found.
        why: String,
    },

    /// An ascending path came to its limit of points, and the model was not empty.
    ///
    /// Cause: a first scale that is too small, or a factor too near 1; or a fit that makes no exact zeros.
    ///
    /// Cure: a larger scale, factor or [`max_points`](crate::Path::max_points); a proximal optimizer in the fit.
    #[error(
        "after {points} scales {nonzeros} penalized entries are not 0 (expected an empty model): take a larger first scale, factor or \
         `max_points`. Does the fit train with a proximal optimizer, given `fit.regularizer()`?"
    )]
    NeverEmpty {
        /// The limit.
        points: usize,
        /// Nonzero penalized entries at the last scale.
        nonzeros: usize,
    },

    /// The loss of a model is NaN or infinite after it was fitted.
    ///
    /// Cause: training has diverged at this scale, the data hold NaN, or the loss is not defined everywhere.
    ///
    /// Cure: lower the learning rate of the fit, look for NaN in the data, and keep a `log` or `sqrt` away from 0.
    #[error(
        "the loss is {value} after the fit (expected a finite number). Has training diverged, do the data hold NaN, or is there a `log` \
         or `sqrt` of what can be 0 or less?"
    )]
    NonFinitePoint {
        /// The loss.
        value: f64,
    },

    /// A path failed in the middle. What was fitted before is in `so_far`: its points can be printed, drawn and restored.
    ///
    /// Cause: the fit or the loss failed at this scale; the error is `source`, and stands in the message.
    ///
    /// Cure: that of the error. To use what there is, match on `Error::Path { so_far, .. }`.
    #[error("point {index} of the path, scale {}: {source} ({} before it fitted)", readable(*scale), so_far.points.len())]
    Path {
        /// The number of the point that failed.
        index: usize,
        /// Its scale; NaN where nothing was fitted yet.
        scale: f64,
        /// The points before it.
        so_far: Box<crate::PathRun>,
        /// What went wrong. It stands in the message, and is no `source()`, so that nobody prints it twice.
        r#source: Box<Error>,
    },

    /// A point of a path was asked for that there is not.
    ///
    /// Cause: an index beyond the last point, or a path with [`without_weights`](crate::Path::without_weights).
    ///
    /// Cure: an index below `run.points.len()`, and a run that keeps weights.
    #[error(
        "no weights of point {index}: the run has {points} points (with `without_weights` none of them has weights)"
    )]
    NoSuchPoint {
        /// The index.
        index: usize,
        /// How many points there are.
        points: usize,
    },

    /// Data cannot be split into folds like this, or the folds' results cannot be compared.
    ///
    /// Cause: fewer than 2 folds, or more than rows; a fold that holds out nothing; a class that a fold cannot train on; labels or
    /// assignments of another number; paths through different scales; a score that a fit did not record.
    ///
    /// Cure: what the message says.
    #[error("cross-validation: {why}")]
    InvalidFolds {
        /// What was found, and what was expected.
        why: String,
    },

    /// A fold of a [`CrossValidation`](crate::CrossValidation) failed.
    ///
    /// Cause: its model could not be built or fitted; the error is `source`, and stands in the message.
    ///
    /// Cure: that of the error. The runs of other folds are in `finished`; what the fold itself had fitted is in `so_far` of an
    /// [`Error::Path`](crate::Error::Path).
    #[error("fold {fold}: {source} ({} of the other folds are done)", finished.len())]
    InFold {
        /// The first fold that failed.
        fold: usize,
        /// The runs of the folds that did not.
        finished: Vec<crate::PathRun>,
        /// What went wrong. It stands in the message, and is no `source()`, so that nobody prints it twice.
        r#source: Box<Error>,
    },

    /// Stability selection cannot be done like this.
    ///
    /// Cause: a threshold that is not above ½ and at most 1, no features or too few rows, names or scales of another number, or a closure that
    /// returns a feature that does not exist, or nothing.
    ///
    /// Cure: what the message says.
    #[error("stability selection: {why}")]
    InvalidStability {
        /// What was found, and what was expected.
        why: String,
    },

    /// A half of a [`StabilitySelection`](crate::StabilitySelection) failed.
    ///
    /// Cause: its model could not be built or fitted; the error is `source`, and stands in the message.
    ///
    /// Cure: that of the error.
    #[error("subsample {subsample}: {source}")]
    InSubsample {
        /// The first subsample that failed.
        subsample: usize,
        /// What went wrong. It stands in the message, and is no `source()`, so that nobody prints it twice.
        r#source: Box<Error>,
    },

    /// A bound on the number of falsely selected features does not hold here.
    ///
    /// Cause: plain subsamples where the theorem is about complementary pairs, a θ out of its range, or a threshold that is too low
    /// for it.
    ///
    /// Cure: [`StabilitySelection::pairs`](crate::StabilitySelection::pairs), a higher threshold, a smaller θ, or another
    /// [`ErrorBound`](crate::ErrorBound).
    #[error("no bound on false selections: {why}")]
    NoBound {
        /// What was found, and what was expected.
        why: String,
    },

    /// A [`Budget`](crate::Budget) that no model of this kind can keep.
    ///
    /// Cause: a share outside (0, 1), a number of 0 or above all there are, groups where no penalty has groups, or a field without λ.
    ///
    /// Cure: what the message says. A share is no percentage: 90 % are `Budget::zeros(0.9)`.
    #[error("{budget}: {why}")]
    InvalidBudget {
        /// What was asked for.
        budget: String,
        /// What was expected.
        why: String,
    },

    /// A text is not what a [`Controller`](crate::Controller) notes.
    ///
    /// Cause: the note of a checkpoint that was saved without [`to_note`](crate::Controller::to_note), or with more than that in it.
    ///
    /// Cure: `Checkpoint::save_with_note(.., &controller.to_note())`; where the note holds more, give `resume` its part alone.
    #[error("no note of a controller: {why}. Save with `Checkpoint::save_with_note(.., &controller.to_note())`")]
    InvalidNote {
        /// What was found.
        why: String,
    },

    /// No scale that was tried keeps the [`Budget`](crate::Budget). The fits are in `so_far`.
    ///
    /// Cause: counts jump: two entries or groups leave together, or many at once where a network's layer dies; or entries whose gradient is
    /// always 0 leave at any λ. Or fits that stop early count what is not there at the solution.
    ///
    /// Cure: take a neighbour (`so_far.restore(neighbour.index, &vars)`), or allow some distance ([`Budget::within`](crate::Budget::within)); let the fits
    /// go on until they are stationary ([`Budget::certified`](crate::Budget::certified)).
    #[error("{budget}: not reached in {} fits; {}. Take one of these, or a tolerance: `within`", so_far.points.len(), Error::neighbours(*denser, *sparser))]
    BudgetUnreached {
        /// What was asked for.
        budget: String,
        /// The fit with the next larger number of living entries or groups.
        denser: Option<crate::BudgetNeighbour>,
        /// The fit with the next smaller one.
        sparser: Option<crate::BudgetNeighbour>,
        /// Every fit, sorted by scale.
        so_far: Box<crate::PathRun>,
    },

    /// candle's own error, passed on as it is.
    ///
    /// Cause: an operation of candle failed: shapes that do not go together, a device that is out of memory, a file
    /// that cannot be read.
    ///
    /// Cure: what candle's message says; with `RUST_BACKTRACE=1` it names the place.
    #[error(transparent)]
    Candle(candle_core::Error),

    /// The loss is no scalar: that given to [`Fista`](crate::Fista), to a [`History`](crate::History), or to
    /// [`Regularizer::check_gradients`](crate::Regularizer::check_gradients).
    ///
    /// Cause: it is a loss for each example, or a tensor of shape `[1]`.
    ///
    /// Cure: end it with `mean_all()?` or `sum_all()?`.
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
