//! FTRL-Proximal.

use super::Charge;
use crate::kernel::{number::Real, pass::Coordinate, step::FtrlStep};

/// The sums z and n, the rate τ of the coordinate, and the prox of the penalty charged so far in the metric 1/τ.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Ftrl<R> {
    lr: R,
    beta: R,
    /// `1/lr − 1/lr of the step before`: 0 while the learning rate stays.
    drift: R,
    charge: Charge<R>,
}

impl<R: Real> Ftrl<R> {
    pub(in crate::kernel) fn new(step: &FtrlStep) -> Self {
        Self {
            lr: R::of(step.lr),
            beta: R::of(step.beta),
            drift: R::of(step.drift),
            charge: Charge::new(&step.penalty),
        }
    }
}

impl<R: Real> Coordinate<R, 2> for Ftrl<R> {
    #[inline(always)]
    fn at(&self, w: R, g: R, [z, n]: &mut [R; 2]) -> R {
        let g = g.with_square();
        let root = n.sqrt();
        // An infinite n would stop the weight for good.
        *n = (*n + g * g).min(R::max_value());
        let next_root = n.sqrt();
        // 1/τ − 1/τ of the step before. The rounded roots themselves are subtracted: summed up they have to give 1/τ.
        let sigma = (next_root - root) / self.lr + (self.beta + root) * self.drift;
        *z = *z + (g - sigma * w);
        let rate = self.lr / (self.beta + next_root);
        self.charge.prox(-(rate * *z), rate)
    }

    /// The rate and the penalty charged so far change all the same: z becomes the one from which they give this w.
    #[inline(always)]
    fn pass_over(&self, w: R, [z, n]: &mut [R; 2]) {
        let of_w = w * ((self.beta + n.sqrt()) / self.lr) + self.charge.subgradient(w);
        // Any z below the threshold gives 0.
        *z = if w == R::zero() { *z } else { -of_w };
    }
}
