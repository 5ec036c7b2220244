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

/// What an optimizer does with a coordinate before the prox.
pub(super) trait Move<R: Real, const N: usize>: Copy + Send + Sync {
    /// Whether each coordinate has a step of its own.
    const ADAPTIVE: bool;

    /// Where the gradient takes `w`, and the step of the prox that follows there; from `N` numbers of state, which it changes.
    fn at(&self, w: R, g: R, state: &mut [R; N]) -> (R, R);

    /// The step of the prox, where it is the same for all coordinates.
    fn scalar_step(&self) -> Option<R> {
        None
    }

    /// What becomes of the state where `w` stays because `g` is not finite; with a subgradient of the penalty at `w`.
    #[inline(always)]
    fn pass_over(&self, _w: R, _subgradient: R, _state: &mut [R; N]) {}
}

/// What an adaptive metric learns from a gradient.
pub(super) trait Square<R>: Copy + Send + Sync {
    /// `factor·g²`
    fn times(&self, factor: R, g: R) -> R;
}

/// The coordinate's own square: a metric with a number for each coordinate.
#[derive(Clone, Copy)]
pub(super) struct OwnSquare;

impl<R: Real> Square<R> for OwnSquare {
    #[inline(always)]
    fn times(&self, factor: R, g: R) -> R {
        factor * g * g
    }
}

/// The mean over the tensor: one number for all. Singular values have no prox in any other metric.
#[derive(Clone, Copy)]
pub(super) struct MeanSquare<R>(pub(super) R);

impl<R: Real> Square<R> for MeanSquare<R> {
    #[inline(always)]
    fn times(&self, factor: R, _: R) -> R {
        factor * self.0
    }
}

/// A move and the prox of an elementwise l1 penalty behind it, in one formula.
#[derive(Clone, Copy)]
pub(super) struct Fused<M, R> {
    pub(super) to: M,
    pub(super) charge: Charge<R>,
}

impl<R: Real, M: Move<R, N>, const N: usize> Coordinate<R, N> for Fused<M, R> {
    #[inline(always)]
    fn at(&self, w: R, g: R, state: &mut [R; N]) -> R {
        let (z, step) = self.to.at(w, g, state);
        self.charge.prox(z, step)
    }

    #[inline(always)]
    fn pass_over(&self, w: R, state: &mut [R; N]) {
        self.to.pass_over(w, self.charge.subgradient(w), state);
    }
}

/// No move: the argument of a prox with one step.
#[derive(Clone, Copy)]
pub(super) struct Stay<R>(pub(super) R);

impl<R: Real> Move<R, 0> for Stay<R> {
    const ADAPTIVE: bool = false;

    #[inline(always)]
    fn at(&self, w: R, _: R, _: &mut [R; 0]) -> (R, R) {
        (w, self.0)
    }

    fn scalar_step(&self) -> Option<R> {
        Some(self.0)
    }
}

/// No move: the argument of a prox with a step for each coordinate, which comes in the place of its gradient.
#[derive(Clone, Copy)]
pub(super) struct StayInMetric;

impl<R: Real> Move<R, 0> for StayInMetric {
    const ADAPTIVE: bool = true;

    #[inline(always)]
    fn at(&self, w: R, step: R, _: &mut [R; 0]) -> (R, R) {
        (w, step)
    }
}

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
            times(penalty.lambda() + penalty.element(), self.abs) + 0.5 * times(penalty.l2(), self.squares)
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
        // On single entries both strengths do the same.
        let lambda = penalty.lambda() + penalty.element();
        Self { lambda: R::of(lambda), l2: R::of(penalty.l2()), positive: penalty.positive() }
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

/// The sum of both.
#[derive(Clone, Copy)]
pub(super) struct Plus;

impl<R: Real> Coordinate<R, 0> for Plus {
    #[inline(always)]
    fn at(&self, w: R, g: R, _: &mut [R; 0]) -> R {
        w + g
    }
}

/// `factor·g`, in place of whatever was there.
#[derive(Clone, Copy)]
pub(super) struct Times<R>(pub(super) R);

impl<R: Real> Coordinate<R, 0> for Times<R> {
    #[inline(always)]
    fn at(&self, _: R, g: R, _: &mut [R; 0]) -> R {
        self.0 * g
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
