//! Curves φ_λ(r): what a penalty charges for a group of norm r ≥ 0.
//!
//! Every curve is a few lines of mathematics: its value, its slope, and its prox. Everything else in the crate (subgradients, group
//! proxes, distances, λ_max, the steps of optimizers) is written once, in terms of these. To add a curve: a variant of [`Curve`], its
//! block below, an arm in each `match`.

use std::fmt;

use serde::Serialize;

use crate::scalar::Scalar;

/// How the charge grows with the size r ≥ 0 of a weight, or with the norm of a group: φ_λ(r), from φ_λ(0) = 0, non-decreasing and
/// concave.
///
/// `L1` alone is convex: one solution, and every optimizer finds it. The others bias large weights less, down to not at all, but have
/// local minima. λ is not comparable across curves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Curve {
    /// `λr` (Tibshirani 1996).
    #[default]
    L1,
    /// MCP(γ), the minimax concave penalty: `λr − r²/(2γ)` up to r = γλ, from there on flat (Zhang 2010). γ > 1: small is close to hard,
    /// large to soft thresholding; 3 is usual.
    Mcp(f64),
    /// SCAD(γ), smoothly clipped absolute deviation: slope λ up to r = λ, falling to 0 at r = γλ, from there on flat (Fan & Li 2001).
    /// γ > 2; 3.7 is theirs.
    Scad(f64),
    /// Log(ε): `λ·ln(1 + r/ε)` (Candès, Wakin & Boyd 2008). ε > 0: the size at which a weight counts as large; the slope at 0 is λ/ε.
    Log(f64),
    /// ℓ½: `λ√r` (Xu, Chang, Xu & Zhang 2012). Of infinite slope at 0: a weight that is 0 stays 0.
    Half,
    /// ℓ⅔: `λr^⅔` (Cao, Sun & Xu 2013), likewise.
    TwoThirds,
    /// ℓ0: `λ` for every r > 0, hard thresholding.
    L0,
}

/// A curve with its numbers, in the type of the arithmetic.
pub(crate) trait Phi<R: Scalar>: Copy + Send + Sync {
    /// φ(r) for r ≥ 0.
    fn value(self, r: R) -> R;
    /// φ'(r) for r > 0; at 0 its limit from above, if that is finite.
    fn slope(self, r: R) -> R;
    /// φ'(0+), which may be infinite.
    fn slope_at_zero(self) -> R {
        self.slope(R::zero())
    }
    /// The largest a ≥ 0 whose prox with step s > 0 is 0.
    fn threshold(self, s: R) -> R;
    /// The prox for an a above the threshold: the largest root r of `r − a + s·φ'(r) = 0`.
    fn above(self, a: R, s: R) -> R;
    /// `argmin_{r ≥ 0} (r − a)²/2 + s·φ(r)` for a ≥ 0 and s ≥ 0; at a tie 0.
    #[inline(always)]
    fn prox(self, a: R, s: R) -> R {
        if a <= self.threshold(s) { R::zero() } else { self.above(a, s) }
    }
}

impl AtLambda {
    /// Does something with the curve, whichever it is.
    #[inline(always)]
    pub(crate) fn with<R: Scalar, W: WithCurve<R>>(self, work: W) -> W::Output {
        let lambda = R::of(self.lambda);
        match self.curve {
            Curve::L1 => work.run(L1 { lambda }),
            Curve::Mcp(gamma) => work.run(Mcp { lambda, gamma: R::of(gamma) }),
            Curve::Scad(gamma) => work.run(Scad { lambda, gamma: R::of(gamma) }),
            Curve::Log(epsilon) => work.run(Log { lambda, epsilon: R::of(epsilon) }),
            Curve::Half => work.run(Half { lambda }),
            Curve::TwoThirds => work.run(TwoThirds { lambda }),
            Curve::L0 => work.run(L0 { lambda }),
        }
    }
}

impl Curve {
    /// The parameter out of its range, if it is: its value and what was expected.
    pub(crate) fn invalid(self) -> Option<(f64, &'static str)> {
        let unless = |in_range: bool, value, expected| (!in_range).then_some((value, expected));
        match self {
            Self::L1 | Self::Half | Self::TwoThirds | Self::L0 => None,
            Self::Mcp(gamma) => unless(gamma.is_finite() && gamma > 1.0, gamma, "γ finite and > 1 in mcp(γ)"),
            Self::Scad(gamma) => unless(gamma.is_finite() && gamma > 2.0, gamma, "γ finite and > 2 in scad(γ)"),
            Self::Log(epsilon) => unless(epsilon.is_finite() && epsilon > 0.0, epsilon, "ε finite and > 0 in log(ε)"),
        }
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::L1 => f.pad("l1"),
            Self::Mcp(gamma) => write!(f, "mcp({gamma})"),
            Self::Scad(gamma) => write!(f, "scad({gamma})"),
            Self::Log(epsilon) => write!(f, "log({epsilon})"),
            Self::Half => f.pad("half"),
            Self::TwoThirds => f.pad("two_thirds"),
            Self::L0 => f.pad("l0"),
        }
    }
}

/// `λr`
#[derive(Clone, Copy)]
struct L1<R> {
    lambda: R,
}

impl<R: Scalar> Phi<R> for L1<R> {
    #[inline(always)]
    fn value(self, r: R) -> R {
        self.lambda * r
    }
    #[inline(always)]
    fn slope(self, _: R) -> R {
        self.lambda
    }
    #[inline(always)]
    fn threshold(self, s: R) -> R {
        s * self.lambda
    }
    #[inline(always)]
    fn above(self, a: R, s: R) -> R {
        a - s * self.lambda
    }
}

/// `λr − r²/(2γ)` up to γλ, then `γλ²/2`. Its prox is firm thresholding (Gao & Bruce 1997; Breheny & Huang 2011), for s ≥ γ hard
/// thresholding.
#[derive(Clone, Copy)]
struct Mcp<R> {
    lambda: R,
    gamma: R,
}

impl<R: Scalar> Phi<R> for Mcp<R> {
    #[inline(always)]
    fn value(self, r: R) -> R {
        let Self { lambda, gamma } = self;
        let r = r.min(gamma * lambda);
        r * (lambda - r / (gamma + gamma))
    }
    #[inline(always)]
    fn slope(self, r: R) -> R {
        (self.lambda - r / self.gamma).max(R::zero())
    }
    #[inline(always)]
    fn threshold(self, s: R) -> R {
        let Self { lambda, gamma } = self;
        if s < gamma { s * lambda } else { lambda * (gamma * s).sqrt() }
    }
    #[inline(always)]
    fn above(self, a: R, s: R) -> R {
        let Self { lambda, gamma } = self;
        let firm = ((a - s * lambda) / (R::one() - s / gamma)).min(a);
        if s < gamma && a <= gamma * lambda { firm } else { a }
    }
}

/// `λr` up to λ, `(2γλr − r² − λ²)/(2(γ−1))` up to γλ, then `λ²(γ+1)/2`. Candidates of the prox: Gong et al. 2013, appendix.
#[derive(Clone, Copy)]
struct Scad<R> {
    lambda: R,
    gamma: R,
}

impl<R: Scalar> Phi<R> for Scad<R> {
    #[inline(always)]
    fn value(self, r: R) -> R {
        let Self { lambda, gamma } = self;
        let r = r.min(gamma * lambda);
        let beyond = (r - lambda).max(R::zero());
        lambda * r - beyond * beyond / (R::of(2.0) * (gamma - R::one()))
    }
    #[inline(always)]
    fn slope(self, r: R) -> R {
        let Self { lambda, gamma } = self;
        ((gamma * lambda - r) / (gamma - R::one())).min(lambda).max(R::zero())
    }
    #[inline(always)]
    fn threshold(self, s: R) -> R {
        let Self { lambda, gamma } = self;
        if s <= gamma + R::one() { s * lambda } else { lambda * (s * (gamma + R::one())).sqrt() }
    }
    #[inline(always)]
    fn above(self, a: R, s: R) -> R {
        let Self { lambda, gamma } = self;
        let below_gamma = gamma - R::one();
        let soft = a - s * lambda;
        // ((γ − 1)a − sγλ)/(γ − 1 − s), of a form that does not cancel.
        let clipped = (a - s * (gamma * lambda - a) / (below_gamma - s)).max(soft);
        let is_smooth = s < below_gamma;
        // Where the middle piece is not convex the prox jumps over it.
        let half = R::of(0.5);
        let end_of_soft = if is_smooth { lambda * (R::one() + s) } else { lambda * half * (gamma + R::one() + s) };
        if s <= gamma + R::one() && a <= end_of_soft {
            soft
        } else if is_smooth && a <= gamma * lambda {
            clipped.min(a)
        } else {
            a
        }
    }
}

/// `λ·ln(1 + r/ε)`; the prox: Prater-Bennette, Shen & Tripp 2022.
#[derive(Clone, Copy)]
struct Log<R> {
    lambda: R,
    epsilon: R,
}

impl<R: Scalar> Log<R> {
    /// `(above(a) − a)²/2 + s·φ(above(a))` less its value at r = 0.
    #[inline(always)]
    fn gain(self, a: R, s: R) -> R {
        let r = self.above(a, s);
        // r/ε has to be a number: −∞ + ∞ would be none.
        let bounded = r.min(R::max_value() * self.epsilon.min(R::one()));
        r * (R::of(0.5) * r - a) + s * self.value(bounded)
    }

    #[inline(always)]
    fn jumps(self, s: R) -> bool {
        (s * self.lambda).sqrt() > self.epsilon
    }
}

impl<R: Scalar> Phi<R> for Log<R> {
    #[inline(always)]
    fn value(self, r: R) -> R {
        self.lambda * (r / self.epsilon).ln_1p()
    }
    #[inline(always)]
    fn slope(self, r: R) -> R {
        self.lambda / (self.epsilon + r)
    }
    fn threshold(self, s: R) -> R {
        let l = s * self.lambda;
        let soft = l / self.epsilon;
        if !self.jumps(s) {
            return soft;
        }
        // The jump is where both minima are equally low: between the first a with two, and the last with 0 as one.
        let (mut low, mut high) = (R::of(2.0) * l.sqrt() - self.epsilon, soft);
        for _ in 0..200 {
            let middle = R::of(0.5) * (low + high);
            if middle <= low || middle >= high {
                break;
            }
            if self.gain(middle, s) < R::zero() { high = middle } else { low = middle }
        }
        low
    }
    #[inline(always)]
    fn above(self, a: R, s: R) -> R {
        let Self { lambda, epsilon } = self;
        let (l, half) = (s * lambda, R::of(0.5));
        let double_root = R::of(2.0) * l.sqrt();
        // A product of two roots, since that of the numbers may overflow.
        let root = (a + epsilon - double_root).max(R::zero()).sqrt() * (a + epsilon + double_root).sqrt();
        // Two forms of one root, each where it does not cancel.
        let large = half * (a - epsilon) + half * root;
        let small = R::of(2.0) * (a * epsilon - l) / (epsilon - a + root);
        if a >= epsilon { large } else { small.max(R::zero()) }
    }
    #[inline(always)]
    fn prox(self, a: R, s: R) -> R {
        let r = self.above(a, s);
        let double_root = R::of(2.0) * (s * self.lambda).sqrt();
        let has_root = a + self.epsilon >= double_root && r > R::zero();
        if s * self.lambda == R::zero() || a >= R::VAST {
            a
        } else if has_root && (!self.jumps(s) || self.gain(a, s) < R::zero()) {
            r
        } else {
            R::zero()
        }
    }
}

/// `λ√r`. Above the threshold the prox is `a·x²` for the largest root x of `x³ − x + β = 0`, `β = L/(2·a^1.5)`, L = sλ.
#[derive(Clone, Copy)]
struct Half<R> {
    lambda: R,
}

impl<R: Scalar> Half<R> {
    #[inline(always)]
    fn beta(self, a: R, s: R) -> R {
        let root = a.inverse_sqrt();
        R::of(0.5) * (s * self.lambda) * root * root * root
    }

    #[inline(always)]
    fn root(self, a: R, beta: R) -> R {
        // A polynomial on [0, (2/3)^1.5/2] within 4.7e-5, then Newton.
        let start = polynomial(beta, [0.999_953_2, -0.492_603_9, -0.559_530_2, 1.026_725, -5.211_004]);
        let x = R::newton(start, |x| {
            let square = x * x;
            x - (x * square - x + beta) / (R::of(3.0) * square - R::one())
        });
        if a < R::VAST { a * x * x } else { a }
    }
}

impl<R: Scalar> Phi<R> for Half<R> {
    #[inline(always)]
    fn value(self, r: R) -> R {
        self.lambda * r.sqrt()
    }
    #[inline(always)]
    fn slope(self, r: R) -> R {
        R::of(0.5) * self.lambda / r.sqrt()
    }
    #[inline(always)]
    fn threshold(self, s: R) -> R {
        R::of(1.5) * (s * self.lambda).powf(R::of(2.0 / 3.0))
    }
    #[inline(always)]
    fn above(self, a: R, s: R) -> R {
        self.root(a, self.beta(a, s))
    }
    #[inline(always)]
    fn prox(self, a: R, s: R) -> R {
        // At the threshold r = (2/3)·a, and β = (2/3)^1.5/2.
        let beta = self.beta(a, s);
        let is_above = beta < R::of(0.272_165_526_975_908_7) || a >= R::VAST;
        if s * self.lambda == R::zero() {
            a
        } else if is_above {
            self.root(a, beta)
        } else {
            R::zero()
        }
    }
}

/// By Horner's rule, written out: a loop would keep the one around it from becoming vectors.
#[inline(always)]
fn polynomial<R: Scalar, const N: usize>(x: R, coefficients: [f64; N]) -> R {
    coefficients.into_iter().rev().fold(R::zero(), |sum, coefficient| sum * x + R::of(coefficient))
}

/// `λr^⅔`. Above the threshold the prox is `a·x³` for the largest root x of `x⁴ − x + β = 0`, `β = (2L/3)·a^(−4/3)`, L = sλ.
#[derive(Clone, Copy)]
struct TwoThirds<R> {
    lambda: R,
}

impl<R: Scalar> TwoThirds<R> {
    #[inline(always)]
    fn beta(self, a: R, s: R) -> R {
        let root = a.inverse_cbrt();
        R::of(2.0 / 3.0) * (s * self.lambda) * root * root * root * root
    }

    #[inline(always)]
    fn root(self, a: R, beta: R) -> R {
        // A polynomial on [0, 2^(−4/3)] within 8.2e-5, then Newton.
        let start = polynomial(beta, [1.000_082, -0.345_779_4, 0.082_409_62, -2.881_592, 9.166_1, -13.136_47]);
        let x = R::newton(start, |x| {
            let cube = x * x * x;
            x - (x * cube - x + beta) / (R::of(4.0) * cube - R::one())
        });
        if a < R::VAST { a * x * x * x } else { a }
    }
}

impl<R: Scalar> Phi<R> for TwoThirds<R> {
    #[inline(always)]
    fn value(self, r: R) -> R {
        let root = r.cbrt();
        self.lambda * root * root
    }
    #[inline(always)]
    fn slope(self, r: R) -> R {
        R::of(2.0 / 3.0) * self.lambda / r.cbrt()
    }
    #[inline(always)]
    fn threshold(self, s: R) -> R {
        R::of(2.0) * (R::of(2.0 / 3.0) * s * self.lambda).powf(R::of(0.75))
    }
    #[inline(always)]
    fn above(self, a: R, s: R) -> R {
        self.root(a, self.beta(a, s))
    }
    #[inline(always)]
    fn prox(self, a: R, s: R) -> R {
        // At the threshold r = a/2, and β = 2^(−4/3).
        let beta = self.beta(a, s);
        let is_above = beta < R::of(0.396_850_262_992_049_9) || a >= R::VAST;
        if s * self.lambda == R::zero() {
            a
        } else if is_above {
            self.root(a, beta)
        } else {
            R::zero()
        }
    }
}

/// `λ` for every r > 0.
#[derive(Clone, Copy)]
struct L0<R> {
    lambda: R,
}

impl<R: Scalar> Phi<R> for L0<R> {
    #[inline(always)]
    fn value(self, r: R) -> R {
        if r > R::zero() { self.lambda } else { R::zero() }
    }
    #[inline(always)]
    fn slope(self, _: R) -> R {
        R::zero()
    }
    #[inline(always)]
    fn slope_at_zero(self) -> R {
        if self.lambda > R::zero() { R::infinity() } else { R::zero() }
    }
    #[inline(always)]
    fn threshold(self, s: R) -> R {
        (R::of(2.0) * s * self.lambda).sqrt()
    }
    #[inline(always)]
    fn above(self, a: R, _: R) -> R {
        a
    }
}

/// Something to do with a curve, whichever it is.
pub(crate) trait WithCurve<R: Scalar> {
    type Output;

    fn run(self, curve: impl Phi<R>) -> Self::Output;
}

/// The operations in f64, one number at a time: for norms of groups, singular values, certificates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtLambda {
    /// Which curve.
    pub(crate) curve: Curve,
    /// λ, every scale included.
    pub(crate) lambda: f64,
}

macro_rules! in_f64 {
    ($($(#[$doc:meta])* $name:ident($($argument:ident),*);)*) => {$(
        impl AtLambda {
            $(#[$doc])*
            pub(crate) fn $name(self $(, $argument: f64)*) -> f64 {
                struct Call { $($argument: f64),* }
                impl WithCurve<f64> for Call {
                    type Output = f64;

                    fn run(self, curve: impl Phi<f64>) -> f64 {
                        curve.$name($(self.$argument),*)
                    }
                }
                self.with(Call { $($argument),* })
            }
        }
    )*};
}

in_f64! {
    /// φ_λ(r).
    value(r);
    /// φ'_λ(r) for r > 0.
    slope(r);
    /// φ'_λ(0+), ∞ for some curves.
    slope_at_zero();
    /// The largest a whose prox with step s is 0.
    threshold(s);
    /// The prox of a ≥ 0 with step s.
    prox(a, s);
}

impl Curve {
    /// Whether Ω is convex with it.
    pub(crate) fn is_convex(self) -> bool {
        self == Self::L1
    }

    /// Whether `φ_{aλ} = a·φ_λ`.
    pub(crate) fn is_linear_in_lambda(self) -> bool {
        !matches!(self, Self::Mcp(_) | Self::Scad(_))
    }

    /// Whether φ'(0+) is finite, so that a weight at 0 can leave it, and a subgradient exists.
    pub(crate) fn has_slope_at_zero(self) -> bool {
        AtLambda { curve: self, lambda: 1.0 }.slope_at_zero().is_finite()
    }

    /// Whether a metric that adapts to gradients takes its tangent at the weights before the step instead of its prox.
    pub(crate) fn is_linearized(self) -> bool {
        !self.is_convex() && self.has_slope_at_zero()
    }
}
