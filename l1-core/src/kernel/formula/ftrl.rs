//! FTRL-Proximal.

use super::{Move, Square};
use crate::kernel::{number::Real, step::FtrlStep};

/// The sums z and n, and the rate τ of the coordinate; the prox of the penalty charged so far, in the metric 1/τ, follows.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Ftrl<R, S> {
    lr: R,
    beta: R,
    /// `1/lr − 1/lr of the step before`: 0 while the learning rate stays.
    drift: R,
    square: S,
}

impl<R: Real, S: Square<R>> Ftrl<R, S> {
    pub(in crate::kernel) fn new(step: &FtrlStep, square: S) -> Self {
        Self { lr: R::of(step.lr), beta: R::of(step.beta), drift: R::of(step.drift), square }
    }
}

impl<R: Real, S: Square<R>> Move<R, 2> for Ftrl<R, S> {
    const ADAPTIVE: bool = true;

    #[inline(always)]
    fn at(&self, w: R, g: R, [z, n]: &mut [R; 2]) -> (R, R) {
        let g = g.with_square();
        let root = n.sqrt();
        // An infinite n would stop the weight for good.
        *n = (*n + self.square.times(R::one(), g)).min(R::max_value());
        let next_root = n.sqrt();
        // 1/τ − 1/τ of the step before. The rounded roots themselves are subtracted: summed up they have to give 1/τ.
        let sigma = (next_root - root) / self.lr + (self.beta + root) * self.drift;
        *z = *z + (g - sigma * w);
        let rate = self.lr / (self.beta + next_root);
        (-(rate * *z), rate)
    }

    /// The rate and the penalty charged so far change all the same: z becomes the one from which they give this w.
    #[inline(always)]
    fn pass_over(&self, w: R, subgradient: R, [z, n]: &mut [R; 2]) {
        let of_w = w * ((self.beta + n.sqrt()) / self.lr) + subgradient;
        // Any z below the threshold gives 0.
        *z = if w == R::zero() { *z } else { -of_w };
    }
}
