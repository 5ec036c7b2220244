//! What a penalty charges: a few orthogonal choices in one small plain value.

use std::fmt;

use candle_core::DType;
use serde::Serialize;

mod curve;
mod grouping;

pub use curve::Curve;
pub(crate) use curve::{AtLambda, Phi, WithCurve};
pub use grouping::Grouping;
pub(crate) use grouping::{Groups, Layout};

use crate::Role;

/// The penalty of one parameter,
///
/// `Ω(w) = Σ_g c_g·φ_λ(‖w_g‖₂) + element·‖w‖₁ + ½·l2·‖w‖²`, and `+∞` outside `w ≥ 0` if it is [`positive`](Self::positive).
///
/// | choice | method | at first |
/// |---|---|---|
/// | strength λ | [`with_lambda`](Self::with_lambda) | 0 |
/// | curve φ | [`with_curve`](Self::with_curve) | [`Curve::L1`] |
/// | groups g | [`with_group`](Self::with_group) | [`Grouping::Element`] |
/// | weight c_g: √size, or 1 | [`with_unscaled`](Self::with_unscaled) | √size |
/// | ridge | [`with_l2`](Self::with_l2) | 0 |
/// | λ of single entries under the groups | [`with_element`](Self::with_element) | 0 |
/// | sign | [`with_positive`](Self::with_positive) | free |
///
/// λ multiplies a **sum** over all groups, not a mean. With nothing but λ this is the lasso (Tibshirani 1996), with `l2` the elastic net
/// (Zou & Hastie 2005), with groups the group lasso (Yuan & Lin 2006), with groups and `element` the sparse group lasso (Simon et al.
/// 2013). c_g is 1 for groups of one entry and for singular values. c_g stands outside φ: for MCP and SCAD `c·φ_λ` is not `φ_{cλ}`.
///
/// The constructors take any number; they are checked where the path is known, in [`Visitor::field`](crate::Visitor::field).
///
/// ```
/// use l1_core::{Curve, Grouping, Penalty};
///
/// let lasso = Penalty::l1(0.01);
/// let elastic_net = lasso.with_l2(0.1);
/// assert_eq!(elastic_net.to_string(), "lambda = 0.01, l2 = 0.1");
/// assert_eq!(elastic_net.scaled(2.0), Penalty::l1(0.02).with_l2(0.2));
///
/// let rows = lasso.with_curve(Curve::Mcp(3.0)).with_group(Grouping::Dim(0));
/// assert_eq!(rows.to_string(), "lambda = 0.01, curve = mcp(3), group = dim(0)");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Penalty {
    lambda: f64,
    curve: Curve,
    group: Grouping,
    unscaled: bool,
    l2: f64,
    element: f64,
    positive: bool,
}

impl Penalty {
    /// Charges nothing.
    pub const NONE: Self = Self {
        lambda: 0.0,
        curve: Curve::L1,
        group: Grouping::Element,
        unscaled: false,
        l2: 0.0,
        element: 0.0,
        positive: false,
    };

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

    /// The same with another curve φ.
    #[must_use]
    pub const fn with_curve(self, curve: Curve) -> Self {
        Self { curve, ..self }
    }

    /// The same with other groups.
    #[must_use]
    pub const fn with_group(self, group: Grouping) -> Self {
        Self { group, ..self }
    }

    /// The same with c_g = 1 (`true`), or c_g = √size (`false`).
    #[must_use]
    pub const fn with_unscaled(self, unscaled: bool) -> Self {
        Self { unscaled, ..self }
    }

    /// The same with another ridge coefficient: `½·l2·‖w‖²`.
    #[must_use]
    pub const fn with_l2(self, l2: f64) -> Self {
        Self { l2, ..self }
    }

    /// The same with another `element·‖w‖₁` under the groups.
    #[must_use]
    pub const fn with_element(self, element: f64) -> Self {
        Self { element, ..self }
    }

    /// The same with or without the constraint `w ≥ 0`.
    #[must_use]
    pub const fn with_positive(self, positive: bool) -> Self {
        Self { positive, ..self }
    }

    /// λ, the strength of the charge on groups (single entries, if there are no groups).
    #[must_use]
    pub const fn lambda(&self) -> f64 {
        self.lambda
    }

    /// φ.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        self.curve
    }

    /// The groups. In a [`Param`](crate::Param)'s penalty they are dimensions: `Output` of a `Linear` is `Dim(0)`.
    #[must_use]
    pub const fn group(&self) -> Grouping {
        self.group
    }

    /// Whether c_g is 1 instead of √size.
    #[must_use]
    pub const fn unscaled(&self) -> bool {
        self.unscaled
    }

    /// The factor of `½‖w‖²`.
    #[must_use]
    pub const fn l2(&self) -> f64 {
        self.l2
    }

    /// The factor of `‖w‖₁` under the groups.
    #[must_use]
    pub const fn element(&self) -> f64 {
        self.element
    }

    /// Whether `w ≥ 0` is demanded.
    #[must_use]
    pub const fn positive(&self) -> bool {
        self.positive
    }

    /// λ, element and l2 times `scale`; γ and ε of a curve are not scaled (for MCP and SCAD that is `φ_{scale·λ}`, not `scale·φ_λ`). The
    /// sign constraint has no strength and stays.
    #[must_use]
    pub const fn scaled(self, scale: f64) -> Self {
        Self { lambda: self.lambda * scale, l2: self.l2 * scale, element: self.element * scale, ..self }
    }

    /// Whether it charges nothing and forbids nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.lambda == 0.0 && self.l2 == 0.0 && self.element == 0.0 && !self.positive
    }

    /// The strengths by their keys.
    fn strengths(&self) -> [(&'static str, f64); 3] {
        [("lambda", self.lambda), ("l2", self.l2), ("element", self.element)]
    }

    /// The first number out of its range: key, value, what was expected.
    pub(crate) fn invalid(&self) -> Option<(&'static str, f64, &'static str)> {
        let strength = self.strengths().into_iter().find(|(_, value)| !is_strength(*value));
        let strength = strength.map(|(key, value)| (key, value, STRENGTH));
        let curve = || self.curve.invalid().map(|(value, expected)| ("curve", value, expected));
        // A matrix may be small in its singular values, or in its entries; no prox does both. λ = 0 asks for nothing.
        let in_singular = || match self.group {
            Grouping::Singular if self.lambda == 0.0 => None,
            Grouping::Singular if self.element > 0.0 => Some((
                "element",
                self.element,
                "0 beside group = singular: a matrix is held small in its singular values or in its entries",
            )),
            Grouping::Singular if self.positive => {
                Some(("positive", 1.0, "false beside group = singular: there is no prox of both"))
            }
            _ => None,
        };
        strength.or_else(curve).or_else(in_singular)
    }

    /// [`invalid`](Self::invalid) for a tensor: what is finite in f64 may not be in the f32 that narrower types compute in.
    pub(crate) fn invalid_for(&self, dtype: DType) -> Option<(&'static str, f64, &'static str)> {
        let too_large = |value: f64| dtype != DType::F64 && value > f32::MAX.into();
        let narrow = self.strengths().into_iter().find(|(_, value)| too_large(*value));
        let slope = || {
            // A curve's own number counts by the slope that it gives.
            let slope = self.on_curve().slope_at_zero();
            let expected = "such that the slope of the curve at 0 is at most 3.4e38, the largest f32";
            (slope.is_finite() && too_large(slope)).then_some(("lambda", self.lambda, expected))
        };
        let narrow = narrow.map(|(key, value)| (key, value, "at most 3.4e38, the largest f32"));
        self.invalid().or(narrow).or_else(slope)
    }

    /// The part that has no gradient, or none that would do, and so cannot stand in a loss.
    pub(crate) fn without_gradient(&self) -> Option<String> {
        if self.positive {
            Some("positive".to_owned())
        } else if self.lambda > 0.0 && !self.curve.has_slope_at_zero() {
            // Unbounded near 0, or 0 everywhere.
            Some(format!("curve = {}", self.curve))
        } else {
            None
        }
    }

    /// The same for a tensor of this role and shape: groups as dimensions, and none where they make no difference.
    ///
    /// # Errors
    /// What was expected of `group`.
    pub(crate) fn for_tensor(self, role: Role, dims: &[usize]) -> Result<Self, String> {
        // λ = 0 takes a penalty away, whatever the tensor.
        if self.lambda == 0.0 {
            return Ok(Self { group: Grouping::Element, curve: Curve::L1, unscaled: false, ..self });
        }
        let group = self.group.of_role(role)?;
        Ok(match group.layout(dims)? {
            Layout::Elements => Self { group: Grouping::Element, unscaled: false, ..self },
            Layout::Groups(_) | Layout::Singular { .. } => Self { group, ..self },
        })
    }

    /// Where its groups lie in a tensor.
    ///
    /// # Errors
    /// What was expected of `group`.
    pub(crate) fn layout(&self, dims: &[usize]) -> Result<Layout, String> {
        if self.lambda == 0.0 { Ok(Layout::Elements) } else { self.group.layout(dims) }
    }

    /// c_g of groups of this many entries.
    pub(crate) fn group_weight(&self, size: usize) -> f64 {
        if self.unscaled { 1.0 } else { (size as f64).sqrt() }
    }

    /// φ_λ.
    pub(crate) fn on_curve(&self) -> AtLambda {
        AtLambda { curve: self.curve, lambda: self.lambda }
    }

    /// Whether it is convex.
    pub(crate) fn is_convex(&self) -> bool {
        self.lambda == 0.0 || self.curve.is_convex()
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
        if self.curve != Curve::L1 {
            parts.push(format!("curve = {}", self.curve));
        }
        if self.group != Grouping::Element {
            parts.push(format!("group = {}", self.group));
        }
        if self.unscaled {
            parts.push("unscaled".to_owned());
        }
        if self.element != 0.0 {
            parts.push(format!("element = {}", self.element));
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
