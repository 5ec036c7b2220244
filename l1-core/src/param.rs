//! One tensor of a model: where it is, what it is for, and what was decided about it.

use std::{fmt, sync::Arc};

use candle_core::{DType, Tensor};
use serde::{Serialize, Serializer};

use crate::{Penalty, mark::Mark};

/// A dotted path such as `encoder.fc1.weight`: the name that `VarBuilder::pp` gives a tensor when fields and prefixes agree.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParamPath(Arc<str>);

impl ParamPath {
    /// The path as text. The path of a model's root is empty.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment: `weight` of `encoder.fc1.weight`.
    #[must_use]
    pub fn last_segment(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or_default()
    }
}

impl AsRef<str> for ParamPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ParamPath {
    fn from(path: &str) -> Self {
        Self(path.into())
    }
}

impl fmt::Display for ParamPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if self.0.is_empty() { "(the model itself)" } else { &self.0 })
    }
}

impl fmt::Debug for ParamPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl PartialEq<str> for ParamPath {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for ParamPath {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl Serialize for ParamPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What a tensor is for. It decides whether a penalty or decay applies: weights and embeddings are penalized, biases and
/// normalization parameters only where `bias` or `norm` asks for it, buffers never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// A weight, with the dimensions that run over output and input features where they are known.
    Weight {
        /// The dimension of output features: 0 for `Linear` and convolutions.
        output: Option<usize>,
        /// The dimension of input features: 1 for `Linear` and ungrouped convolutions.
        input: Option<usize>,
    },
    /// An additive bias.
    Bias,
    /// The scale or shift of a normalization layer.
    Norm,
    /// An embedding table, one row for each token.
    Embedding,
    /// Running statistics: not trained by gradients.
    Buffer,
}

impl Role {
    /// A weight whose dimensions have no known meaning.
    pub const WEIGHT: Self = Self::Weight { output: None, input: None };
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Weight => Self::WEIGHT,
            RoleName::Bias => Self::Bias,
            RoleName::Norm => Self::Norm,
            RoleName::Embedding => Self::Embedding,
            RoleName::Buffer => Self::Buffer,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Weight { .. } => "weight",
            Self::Bias => "bias",
            Self::Norm => "norm",
            Self::Embedding => "embedding",
            Self::Buffer => "buffer",
        })
    }
}

/// A role as `#[l1(role = ..)]` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoleName {
    /// [`Role::Weight`] with unknown dimensions.
    Weight,
    /// [`Role::Bias`].
    Bias,
    /// [`Role::Norm`].
    Norm,
    /// [`Role::Embedding`].
    Embedding,
    /// [`Role::Buffer`].
    Buffer,
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Role::from(*self).fmt(f)
    }
}

/// What came of the rules for one parameter.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// Penalized, with the strengths after every `scale` on the path, before the Regularizer's own scales.
    Penalized(Penalty),
    /// Left alone, and why.
    Unpenalized(Reason),
}

impl Decision {
    /// The penalty, if there is one.
    #[must_use]
    pub fn penalty(&self) -> Option<&Penalty> {
        match self {
            Self::Penalized(penalty) => Some(penalty),
            Self::Unpenalized(_) => None,
        }
    }

    pub(crate) fn of(outcome: Result<Penalty, Reason>) -> Self {
        outcome.map_or_else(Self::Unpenalized, Self::Penalized)
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Penalized(penalty) => write!(f, "penalized ({penalty})"),
            Self::Unpenalized(reason) => write!(f, "not penalized ({reason})"),
        }
    }
}

/// Why a parameter is not penalized.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A bias, and `bias` was not asked for.
    Bias,
    /// A normalization parameter, and `norm` was not asked for.
    Norm,
    /// Running statistics.
    Buffer,
    /// Not a variable: made without a `VarMap`, or read through memory-mapped safetensors.
    Frozen,
    /// Not a variable of its own: it shares the storage of another parameter.
    View(ParamPath),
    /// Integers, or another dtype without gradients.
    DType(DType),
    /// `skip`, with its reason if one was given.
    Skipped(Option<&'static str>),
    /// `opaque`: not looked into.
    Opaque,
    /// No rule reaches it.
    NothingDeclared,
    /// A penalty is declared, but all its strengths are 0.
    NoStrength,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bias => f.write_str("bias"),
            Self::Norm => f.write_str("norm"),
            Self::Buffer => f.write_str("buffer"),
            Self::Frozen => f.write_str("frozen"),
            Self::View(path) => write!(f, "a view of {path}"),
            Self::DType(dtype) => write!(f, "dtype {}", dtype.as_str()),
            Self::Skipped(None) => f.write_str("skipped"),
            Self::Skipped(Some(reason)) => write!(f, "skipped: {reason}"),
            Self::Opaque => f.write_str("opaque: not looked into"),
            Self::NothingDeclared => f.write_str("nothing declared"),
            Self::NoStrength => f.write_str("λ = 0"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is known of a variable that nobody has said anything of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeftOut {
    /// No field of a model shows it, and no rule matches it.
    NotShown,
    /// It lies in this opaque field, and no rule matches it.
    Opaque(ParamPath),
    /// The model holds only a view of it, at this path.
    View(ParamPath),
    /// The model holds another tensor at the path of its name.
    Copy,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotShown => f.write_str("no field of the model shows it, and no rule matches it"),
            Self::Opaque(path) => write!(f, "in `{path}`, which is opaque, and no rule matches it"),
            Self::View(path) => write!(f, "the model holds only a view of it, at `{path}`"),
            Self::Copy => {
                f.write_str("the model holds another tensor there (a copy?): training this one changes nothing")
            }
        }
    }
}

/// Where something was declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// On the field at this path: `#[l1(..)]`, or a [`Rule`](crate::Rule) in a visit by hand.
    Field(ParamPath),
    /// On the struct or enum at this path, as a default for its fields.
    Type(ParamPath),
    /// By the rule for names with this pattern; see [`RegularizerBuilder::rule`](crate::RegularizerBuilder::rule).
    Pattern(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(path) => write!(f, "field `{}`", path.as_str()),
            Self::Type(path) if path.as_str().is_empty() => f.write_str("the model's own struct"),
            Self::Type(path) => write!(f, "the struct at `{path}`"),
            Self::Pattern(pattern) => write!(f, "rule `{pattern}`"),
        }
    }
}

/// One tensor of the model with its path, its role and what was decided about it.
#[derive(Clone, Debug)]
pub struct Param {
    pub(crate) path: ParamPath,
    pub(crate) aliases: Vec<ParamPath>,
    pub(crate) role: Role,
    pub(crate) decision: Decision,
    pub(crate) origin: Option<Origin>,
    pub(crate) decay: Option<f64>,
    /// Whether only a rule for names knows of it, and no model shows it.
    pub(crate) hidden: bool,
    pub(crate) tensor: Tensor,
    /// The scale of its field, a factor beside the regularizer's.
    pub(crate) scale: f64,
    /// See `support.rs`.
    pub(crate) support_is_frozen: bool,
    pub(crate) mark: Option<Arc<Mark>>,
}

impl Param {
    /// Where it was found first.
    #[must_use]
    pub fn path(&self) -> &ParamPath {
        &self.path
    }

    /// The other places of a tied tensor.
    #[must_use]
    pub fn aliases(&self) -> &[ParamPath] {
        &self.aliases
    }

    /// What it is for.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Penalized or not, and why.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Where the decision comes from: the declaration of its penalty, or the `skip`. `None` where nothing was declared, and where a
    /// declaration does not reach (a bias, a norm, …).
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The decoupled weight decay declared for it (`decay = ..`), after inheritance; no scale is in it. `Some(0.0)`: it is not to
    /// be decayed at all.
    ///
    /// `None` where nothing is declared, and where a declaration does not reach: biases and norm parameters without `bias` or
    /// `norm`, buffers, what is frozen or skipped. `ProxSgd` and `ProxAdamW` decay a weight or embedding without a declaration by their
    /// own `weight_decay`, a skipped one too: `skip` turns declarations away, not what an optimizer does to all weights.
    #[must_use]
    pub fn decay(&self) -> Option<f64> {
        self.decay
    }

    /// The factor of its λ, element and l2 beside the regularizer's own scale, 1 at first; see
    /// [`Regularizer::set_scale_of`](crate::Regularizer::set_scale_of).
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Whether its zeros are held at 0 and its penalty is off; see
    /// [`Regularizer::freeze_support`](crate::Regularizer::freeze_support).
    #[must_use]
    pub fn support_is_frozen(&self) -> bool {
        self.support_is_frozen
    }

    /// The tensor itself; a clone of the model's, so it shares its storage and identity.
    #[must_use]
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }
}
