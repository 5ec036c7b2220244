//! Proximal SGD.

use super::Charge;
use crate::kernel::{number::Real, pass::Coordinate, step::SgdStep};

/// A step without a momentum buffer: `w ← prox(keep·w − lr·g)`.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Sgd<R> {
    lr: R,
    keep: R,
    prox_step: R,
    charge: Charge<R>,
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
        let SgdStep { lr, keep, prox_step, penalty, .. } = step;
        Self { lr: R::of(*lr), keep: R::of(*keep), prox_step: R::of(*prox_step), charge: Charge::new(penalty) }
    }
}

impl<R: Real> Coordinate<R, 0> for Sgd<R> {
    #[inline(always)]
    fn at(&self, w: R, d: R, _: &mut [R; 0]) -> R {
        self.charge.prox(self.keep * w - self.lr * d, self.prox_step)
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

impl<R: Real> Coordinate<R, 1> for Momentum<R> {
    #[inline(always)]
    fn at(&self, w: R, g: R, [b]: &mut [R; 1]) -> R {
        *b = self.momentum * *b + self.gradient * g;
        let direction = match self.lookahead {
            Some(momentum) => g + momentum * *b,
            None => *b,
        };
        self.plain.at(w, direction, &mut [])
    }
}
