//! The formulas, one coordinate each. Loops, threads, dtypes and devices live around them.

use super::{
    number::Real,
    pass::{Coordinate, Map},
};
use crate::Penalty;

mod adamw;
mod ftrl;
mod sgd;

pub(super) use adamw::{AdamW, AmsGrad};
pub(super) use ftrl::Ftrl;
pub(super) use sgd::{Momentum, Sgd};

/// What one pass over a tensor collects for its penalty.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    /// `Σ|w|`
    pub(super) abs: f64,
    /// `Σw²`
    pub(super) squares: f64,
    /// Whether an entry is below 0.
    pub(super) negative: bool,
}

impl Sums {
    /// `Ω(w) = λ·Σ|w| + ½·l2·Σw²`, `+∞` outside a sign constraint, NaN if an entry is NaN.
    pub(super) fn value(&self, penalty: &Penalty) -> f64 {
        // A strength of 0 charges 0 even for an infinite sum.
        let times = |strength: f64, sum: f64| if strength == 0.0 { 0.0 } else { strength * sum };
        if self.abs.is_nan() {
            f64::NAN
        } else if penalty.positive() && self.negative {
            f64::INFINITY
        } else {
            times(penalty.lambda(), self.abs) + 0.5 * times(penalty.l2(), self.squares)
        }
    }
}

/// A penalty's numbers in the type of the arithmetic.
#[derive(Clone, Copy)]
pub(super) struct Charge<R> {
    lambda: R,
    l2: R,
    positive: bool,
}

impl<R: Real> Charge<R> {
    pub(super) fn new(penalty: &Penalty) -> Self {
        Self { lambda: R::of(penalty.lambda()), l2: R::of(penalty.l2()), positive: penalty.positive() }
    }

    /// The element of ∂Ω(w) of smallest norm: `λ·sign(w) + l2·w`, with sign(0) = 0; NaN at NaN.
    #[inline(always)]
    pub(super) fn subgradient(&self, w: R) -> R {
        let sign = if w > R::zero() {
            R::one()
        } else if w < R::zero() {
            -R::one()
        } else {
            w // ±0, or NaN that has to be seen
        };
        let ridge = if self.l2 == R::zero() { R::zero() } else { self.l2 * w }; // 0·∞ would be NaN
        self.lambda * sign + ridge
    }

    /// `argmin_u (u − z)²/2 + step·Ω(u)`: soft-thresholding at `step·λ` (on one side under the sign constraint), then
    /// shrinkage by `1/(1 + step·l2)`.
    #[inline(always)]
    pub(super) fn prox(&self, z: R, step: R) -> R {
        self.shrink(z, step * self.lambda, step)
    }

    #[inline(always)]
    fn shrink(&self, z: R, threshold: R, step: R) -> R {
        let distance = if self.positive { z } else { z.abs() };
        // Written so that NaN fails the comparison and stays NaN.
        let shrunk = if distance <= threshold { R::zero() } else { z - threshold.copysign(z) };
        // Without a ridge the step may be as large as it likes.
        if self.l2 == R::zero() { shrunk } else { shrunk / (R::one() + step * self.l2) }
    }
}

/// `g + ∂Ω(w)`: here the gradient is what changes.
#[derive(Clone, Copy)]
pub(super) struct PlusSubgradient<R>(pub(super) Charge<R>);

impl<R: Real> Coordinate<R, 0> for PlusSubgradient<R> {
    #[inline(always)]
    fn at(&self, g: R, w: R, _: &mut [R; 0]) -> R {
        g + self.0.subgradient(w)
    }
}

/// `factor·∂Ω(w)`, in place of whatever was there.
#[derive(Clone, Copy)]
pub(super) struct Subgradient<R> {
    pub(super) charge: Charge<R>,
    pub(super) factor: R,
}

impl<R: Real> Coordinate<R, 0> for Subgradient<R> {
    #[inline(always)]
    fn at(&self, _: R, w: R, _: &mut [R; 0]) -> R {
        self.factor * self.charge.subgradient(w)
    }
}

/// The prox with one step for all coordinates.
#[derive(Clone, Copy)]
pub(super) struct Prox<R> {
    pub(super) charge: Charge<R>,
    pub(super) step: R,
}

impl<R: Real> Map<R> for Prox<R> {
    #[inline(always)]
    fn at(&self, z: R) -> R {
        self.charge.prox(z, self.step)
    }
}

/// The prox with a step of its own for each coordinate.
#[derive(Clone, Copy)]
pub(super) struct DiagonalProx<R>(pub(super) Charge<R>);

impl<R: Real> Coordinate<R, 0> for DiagonalProx<R> {
    #[inline(always)]
    fn at(&self, z: R, step: R, _: &mut [R; 0]) -> R {
        // A step of a user's own may be infinite, and ∞·0 is no threshold.
        let threshold = if self.0.lambda == R::zero() { R::zero() } else { step * self.0.lambda };
        self.0.shrink(z, threshold, step)
    }
}
