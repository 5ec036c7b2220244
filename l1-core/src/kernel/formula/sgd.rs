//! Proximal SGD.

use super::Move;
use crate::kernel::{number::Real, step::SgdStep};

/// A step without a momentum buffer: to `keep·w − lr·g`.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Sgd<R> {
    lr: R,
    keep: R,
    prox_step: R,
}

/// A step with a momentum buffer b: `b ← μb + γg`, and `d = b`, or `g + μ'b` with Nesterov, in place of g.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Momentum<R> {
    momentum: R,
    gradient: R,
    lookahead: Option<R>,
    plain: Sgd<R>,
}

impl<R: Real> Sgd<R> {
    pub(in crate::kernel) fn new(step: &SgdStep) -> Self {
        let SgdStep { lr, keep, prox_step, .. } = step;
        Self { lr: R::of(*lr), keep: R::of(*keep), prox_step: R::of(*prox_step) }
    }
}

impl<R: Real> Move<R, 0> for Sgd<R> {
    const ADAPTIVE: bool = false;

    #[inline(always)]
    fn at(&self, w: R, d: R, _: &mut [R; 0]) -> (R, R) {
        (self.keep * w - self.lr * d, self.prox_step)
    }

    fn scalar_step(&self) -> Option<R> {
        Some(self.prox_step)
    }
}

impl<R: Real> Momentum<R> {
    pub(in crate::kernel) fn new(step: &SgdStep) -> Self {
        Self {
            momentum: R::of(step.momentum),
            gradient: R::of(step.gradient_weight),
            lookahead: step.lookahead.map(R::of),
            plain: Sgd::new(step),
        }
    }
}

impl<R: Real> Move<R, 1> for Momentum<R> {
    const ADAPTIVE: bool = false;

    #[inline(always)]
    fn at(&self, w: R, g: R, [b]: &mut [R; 1]) -> (R, R) {
        *b = self.momentum * *b + self.gradient * g;
        let direction = match self.lookahead {
            Some(momentum) => g + momentum * *b,
            None => *b,
        };
        self.plain.at(w, direction, &mut [])
    }

    fn scalar_step(&self) -> Option<R> {
        self.plain.scalar_step()
    }
}
