//! What a penalty charges: a few orthogonal choices in one small plain value.

use std::fmt;

use candle_core::DType;
use serde::Serialize;

/// The penalty of one parameter,
///
/// `Ω(w) = λ·‖w‖₁ + ½·l2·‖w‖²`, and `+∞` outside `w ≥ 0` if it is [`positive`](Self::positive).
///
/// λ multiplies a **sum** over all entries, not a mean. With `l2 = 0` this is the lasso (Tibshirani 1996), with both the
/// elastic net (Zou & Hastie 2005).
///
/// The constructors take any number; they are checked where the path is known, in [`Visitor::field`](crate::Visitor::field).
///
/// ```
/// use l1_core::Penalty;
///
/// let lasso = Penalty::l1(0.01);
/// let elastic_net = lasso.with_l2(0.1);
/// assert_eq!(elastic_net.to_string(), "lambda = 0.01, l2 = 0.1");
/// assert_eq!(elastic_net.scaled(2.0), Penalty::l1(0.02).with_l2(0.2));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Penalty {
    lambda: f64,
    l2: f64,
    positive: bool,
}

impl Penalty {
    /// Charges nothing.
    pub const NONE: Self = Self { lambda: 0.0, l2: 0.0, positive: false };

    /// `λ·‖w‖₁`.
    #[must_use]
    pub const fn l1(lambda: f64) -> Self {
        Self { lambda, ..Self::NONE }
    }

    /// `½·l2·‖w‖²`. Add [`with_lambda`](Self::with_lambda) for an elastic net.
    #[must_use]
    pub const fn ridge(l2: f64) -> Self {
        Self { l2, ..Self::NONE }
    }

    /// The constraint `w ≥ 0` alone.
    #[must_use]
    pub const fn non_negative() -> Self {
        Self { positive: true, ..Self::NONE }
    }

    /// The same with another λ.
    #[must_use]
    pub const fn with_lambda(self, lambda: f64) -> Self {
        Self { lambda, ..self }
    }

    /// The same with another ridge coefficient: `½·l2·‖w‖²`.
    #[must_use]
    pub const fn with_l2(self, l2: f64) -> Self {
        Self { l2, ..self }
    }

    /// The same with or without the constraint `w ≥ 0`.
    #[must_use]
    pub const fn with_positive(self, positive: bool) -> Self {
        Self { positive, ..self }
    }

    /// λ, the factor of `‖w‖₁`.
    #[must_use]
    pub const fn lambda(&self) -> f64 {
        self.lambda
    }

    /// The factor of `½‖w‖²`.
    #[must_use]
    pub const fn l2(&self) -> f64 {
        self.l2
    }

    /// Whether `w ≥ 0` is demanded.
    #[must_use]
    pub const fn positive(&self) -> bool {
        self.positive
    }

    /// λ and l2 times `scale`. The sign constraint has no strength and stays.
    #[must_use]
    pub const fn scaled(self, scale: f64) -> Self {
        Self { lambda: self.lambda * scale, l2: self.l2 * scale, ..self }
    }

    /// Whether it charges nothing and forbids nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// The first number out of its range: key, value, what was expected.
    pub(crate) fn invalid(&self) -> Option<(&'static str, f64, &'static str)> {
        [("lambda", self.lambda), ("l2", self.l2)]
            .into_iter()
            .find(|(_, value)| !is_strength(*value))
            .map(|(key, value)| (key, value, STRENGTH))
    }

    /// [`invalid`](Self::invalid) for a tensor: what is finite in f64 may not be in the f32 that narrower types compute in.
    pub(crate) fn invalid_for(&self, dtype: DType) -> Option<(&'static str, f64, &'static str)> {
        let too_large = |value: f64| dtype != DType::F64 && value > f32::MAX.into();
        let narrow = [("lambda", self.lambda), ("l2", self.l2)].into_iter().find(|(_, value)| too_large(*value));
        self.invalid().or(narrow.map(|(key, value)| (key, value, "at most 3.4e38, the largest f32")))
    }

    /// The part that has no gradient and so cannot stand in a loss.
    pub(crate) fn without_gradient(&self) -> Option<&'static str> {
        self.positive.then_some("positive")
    }
}

/// The range of λ, l2 and every scale, in words.
pub(crate) const STRENGTH: &str = "finite and ≥ 0";

pub(crate) fn is_strength(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

impl fmt::Display for Penalty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.lambda != 0.0 || self.is_none() {
            parts.push(format!("lambda = {}", self.lambda));
        }
        if self.l2 != 0.0 {
            parts.push(format!("l2 = {}", self.l2));
        }
        if self.positive {
            parts.push("positive".to_owned());
        }
        f.pad(&parts.join(", "))
    }
}
