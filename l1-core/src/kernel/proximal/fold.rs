//! What can be done coordinate by coordinate before a curve is met, exact for every curve here: φ does not decrease, so that no
//! coordinate changes its sign, and a square is completed (for l1 groups Simon et al. 2013).

use super::Prox;
use crate::scalar::Scalar;

/// Element λ, sign and ridge, in this order.
#[derive(Clone, Copy)]
pub(super) struct Fold<R> {
    element: R,
    ridge: R,
    positive: bool,
}

impl<R: Scalar> Fold<R> {
    pub(super) fn new(prox: &Prox) -> Self {
        Self { element: R::of(prox.element), ridge: R::of(prox.l2), positive: prox.positive }
    }

    /// Whether it changes nothing.
    pub(super) fn is_none(&self) -> bool {
        self.element == R::zero() && self.ridge == R::zero() && !self.positive
    }

    /// The argument and the step of the prox that is left.
    #[inline(always)]
    pub(super) fn at(&self, z: R, step: R) -> (R, R) {
        // A step of a user's own may be infinite, and ∞·0 is no threshold.
        let threshold = if self.element == R::zero() { R::zero() } else { step * self.element };
        let distance = if self.positive { z } else { z.abs() };
        // Written so that NaN fails the comparison and stays NaN.
        let shrunk = if distance <= threshold { R::zero() } else { z - threshold.copysign(z) };
        if self.ridge == R::zero() {
            (shrunk, step)
        } else {
            (shrunk / (R::one() + step * self.ridge), self.step(step))
        }
    }

    /// The step that is left.
    #[inline(always)]
    pub(super) fn step(&self, step: R) -> R {
        // Of this form, for an infinite step leaves 1/ridge.
        if self.ridge == R::zero() { step } else { (step.recip() + self.ridge).recip() }
    }

    /// Their part of the subgradient of smallest norm.
    #[inline(always)]
    pub(super) fn subgradient(&self, w: R) -> R {
        let sign = if w == R::zero() { w } else { R::one().copysign(w) };
        let ridge = if self.ridge == R::zero() { R::zero() } else { self.ridge * w };
        self.element * sign + ridge
    }
}
