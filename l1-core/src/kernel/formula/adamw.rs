//! Proximal AdamW, and AMSGrad's variant of it.

use super::{Move, Square};
use crate::kernel::{number::Real, step::AdamWStep};

/// Moments and the Adam move; the prox that follows is in the metric 1/p of that move.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct AdamW<R, S> {
    one_minus_beta1: R,
    beta2: R,
    one_minus_beta2: R,
    m_correction: R,
    v_correction: R,
    lr: R,
    eps: R,
    keep: R,
    square: S,
}

/// The same with the largest v so far in place of v (Reddi, Kale & Kumar 2018).
#[derive(Clone, Copy)]
pub(in crate::kernel) struct AmsGrad<R, S>(AdamW<R, S>);

impl<R: Real, S: Square<R>> AdamW<R, S> {
    pub(in crate::kernel) fn new(step: &AdamWStep, square: S) -> Self {
        Self {
            one_minus_beta1: R::of(1.0 - step.beta1),
            beta2: R::of(step.beta2),
            one_minus_beta2: R::of(1.0 - step.beta2),
            m_correction: R::of(step.m_correction),
            v_correction: R::of(step.v_correction),
            lr: R::of(step.lr),
            eps: R::of(step.eps),
            keep: R::of(step.keep),
            square,
        }
    }

    #[inline(always)]
    fn moments(&self, g: R, m: &mut R, v: &mut R) {
        // Without a square v would be infinite for long, and a weight whose v is infinite does not move.
        let g = g.with_square();
        // As an interpolation: in f32 the rounded β₁ and 1 − β₁ need not sum to 1, which would change the strength of λ.
        *m = *m + self.one_minus_beta1 * (g - *m);
        *v = self.beta2 * *v + self.square.times(self.one_minus_beta2, g);
    }

    #[inline(always)]
    fn step(&self, w: R, m: R, v: R) -> (R, R) {
        let p = self.lr / ((v * self.v_correction).sqrt() + self.eps);
        (self.keep * w - p * (m * self.m_correction), p)
    }
}

impl<R: Real, S: Square<R>> Move<R, 2> for AdamW<R, S> {
    const ADAPTIVE: bool = true;

    #[inline(always)]
    fn at(&self, w: R, g: R, [m, v]: &mut [R; 2]) -> (R, R) {
        self.moments(g, m, v);
        self.step(w, *m, *v)
    }
}

impl<R: Real, S: Square<R>> AmsGrad<R, S> {
    pub(in crate::kernel) fn new(step: &AdamWStep, square: S) -> Self {
        Self(AdamW::new(step, square))
    }
}

impl<R: Real, S: Square<R>> Move<R, 3> for AmsGrad<R, S> {
    const ADAPTIVE: bool = true;

    #[inline(always)]
    fn at(&self, w: R, g: R, [m, v, largest_v]: &mut [R; 3]) -> (R, R) {
        self.0.moments(g, m, v);
        *largest_v = largest_v.max(*v);
        self.0.step(w, *m, *largest_v)
    }
}
