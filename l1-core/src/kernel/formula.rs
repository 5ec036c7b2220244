//! The formulas, one coordinate each. Loops, threads, dtypes and devices live around them.

use crate::{
    Penalty,
    kernel::{
        number::Real,
        step::{AdamWStep, SgdStep},
    },
};

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
        let threshold = step * self.lambda;
        let distance = if self.positive { z } else { z.abs() };
        // Written so that NaN fails the comparison and stays NaN.
        let shrunk = if distance <= threshold { R::zero() } else { z - threshold.copysign(z) };
        // Without a ridge the step may be as large as it likes.
        if self.l2 == R::zero() { shrunk } else { shrunk / (R::one() + step * self.l2) }
    }
}

/// The numbers of one proximal SGD step in the type of the arithmetic; see [`SgdStep`].
#[derive(Clone, Copy)]
pub(super) struct SgdCoefficients<R> {
    momentum: R,
    gradient: R,
    lookahead: Option<R>,
    lr: R,
    keep: R,
    prox_step: R,
    charge: Charge<R>,
}

impl<R: Real> SgdCoefficients<R> {
    pub(super) fn new(step: &SgdStep) -> Self {
        Self {
            momentum: R::of(step.momentum),
            gradient: R::of(step.gradient_weight),
            lookahead: step.lookahead.map(R::of),
            lr: R::of(step.lr),
            keep: R::of(step.keep),
            prox_step: R::of(step.prox_step),
            charge: Charge::new(&step.penalty),
        }
    }

    /// One coordinate without a momentum buffer.
    #[inline(always)]
    pub(super) fn plain(&self, w: R, g: R) -> R {
        self.charge.prox(self.keep * w - self.lr * g, self.prox_step)
    }

    /// One coordinate with its momentum buffer `b`.
    #[inline(always)]
    pub(super) fn with_momentum(&self, w: R, g: R, b: &mut R) -> R {
        *b = self.momentum * *b + self.gradient * g;
        let direction = match self.lookahead {
            Some(momentum) => g + momentum * *b,
            None => *b,
        };
        self.plain(w, direction)
    }
}

/// The numbers of one proximal AdamW step in the type of the arithmetic; see [`AdamWStep`].
#[derive(Clone, Copy)]
pub(super) struct AdamWCoefficients<R> {
    one_minus_beta1: R,
    beta2: R,
    one_minus_beta2: R,
    m_correction: R,
    v_correction: R,
    lr: R,
    eps: R,
    keep: R,
    charge: Charge<R>,
}

impl<R: Real> AdamWCoefficients<R> {
    pub(super) fn new(step: &AdamWStep) -> Self {
        Self {
            one_minus_beta1: R::of(1.0 - step.beta1),
            beta2: R::of(step.beta2),
            one_minus_beta2: R::of(1.0 - step.beta2),
            m_correction: R::of(step.m_correction),
            v_correction: R::of(step.v_correction),
            lr: R::of(step.lr),
            eps: R::of(step.eps),
            keep: R::of(step.keep),
            charge: Charge::new(&step.penalty),
        }
    }

    /// One coordinate: moments, the Adam move, and the prox in the metric 1/p of that move.
    #[inline(always)]
    pub(super) fn step(&self, w: R, g: R, m: &mut R, v: &mut R) -> R {
        // As an interpolation: in f32 the rounded β₁ and 1 − β₁ need not sum to 1, which would change the strength of λ.
        *m = *m + self.one_minus_beta1 * (g - *m);
        // An infinite v would never decay, and its weight never move again.
        *v = (self.beta2 * *v + self.one_minus_beta2 * g * g).min(R::max_value());
        let p = self.lr / ((*v * self.v_correction).sqrt() + self.eps);
        self.charge.prox(self.keep * w - p * (*m * self.m_correction), p)
    }
}
