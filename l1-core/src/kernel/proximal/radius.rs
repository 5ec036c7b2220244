//! The norm r of a group after its prox.
//!
//! In a diagonal metric with steps tᵢ, `min Σ(uᵢ − zᵢ)²/(2tᵢ) + κ‖u‖` has `uᵢ = zᵢ·r/(r + κtᵢ)`, where r is the root of the secular
//! equation `h(r) = Σ zᵢ²/(r + κtᵢ)² = 1`, or u = 0 where `Σ(zᵢ/(κtᵢ))² ≤ 1`. h^(−1/2) is concave and increases, so that Newton's method
//! on it climbs to the root from any point below (Moré & Sorensen 1983; Conn, Gould & Toint 2000, ch. 7).

use crate::{
    kernel::{chunks::Threads, number::Real},
    penalty::AtLambda,
};

use super::sums;

/// The penalty of one group after the fold.
#[derive(Clone, Copy)]
pub(super) struct OnGroup {
    pub(super) phi: AtLambda,
    /// c_g, times how often φ is charged.
    pub(super) weight: f64,
    /// κ = c·φ'(‖w_g‖) at the weights before the step, if the curve is met by its tangent.
    pub(super) tangent: Option<f64>,
}

impl OnGroup {
    /// The κ of a convex problem; `None` if κ depends on the result.
    pub(super) fn slope(&self) -> Option<f64> {
        let of_l1 = || self.phi.curve.is_convex().then(|| self.weight * self.phi.slope(1.0));
        self.tangent.or_else(of_l1)
    }

    /// What a group of this norm is multiplied by, in a metric that is one step; from an infinite entry the others are not told apart,
    /// and all stay.
    pub(super) fn factor(&self, norm: f64, step: f64) -> f64 {
        if norm == 0.0 || norm.is_infinite() {
            1.0
        } else if norm.is_nan() {
            f64::NAN
        } else {
            self.phi.prox(norm, self.weight * step) / norm
        }
    }
}

/// The norm, by way of the largest entry where squares overflow or vanish.
pub(super) fn norm<R: Real>(threads: Threads, z: &[R]) -> f64 {
    let [squares] = sums::of(threads, z, z, &|z: R, _| [z.wide() * z.wide()]);
    if squares.is_normal() || squares.is_nan() {
        return squares.sqrt();
    }
    match largest(z) {
        unit if unit == 0.0 || unit.is_infinite() => unit,
        unit => {
            let [squares] = sums::of(threads, z, z, &|z: R, _| [(z.wide() / unit) * (z.wide() / unit)]);
            unit * squares.sqrt()
        }
    }
}

/// The largest size of an entry.
pub(super) fn largest<R: Real>(z: &[R]) -> f64 {
    z.iter().fold(0.0, |largest, z| largest.max(z.wide().abs()))
}

/// The power of 2 below the largest size of an entry: division by it is exact. 0, ∞ where that size is.
pub(super) fn unit<R: Real>(z: &[R]) -> f64 {
    match largest(z) {
        size if size == 0.0 || size.is_infinite() => size,
        size => size.log2().floor().exp2(),
    }
}

/// What one pass over a group tells.
#[derive(Clone, Copy)]
pub(super) struct Start {
    /// `Σz²`
    pub(super) squares: f64,
    /// `Σz²t`
    pub(super) weighted: f64,
}

impl Start {
    /// The terms of the two sums, in the type of the numbers: they only say where Newton's method begins.
    #[inline(always)]
    pub(super) fn terms<R: Real>(z: R, step: R) -> [R; 2] {
        let square = z * z;
        // 0·∞ counts 0.
        [square, if square == R::zero() { square } else { square * step }]
    }

    /// Whether the squares are far from the ends of the range of numbers.
    pub(super) fn is_safe<R: Real>(&self) -> bool {
        let ends = if R::epsilon().wide() > 1e-10 { 1e-28..1e28 } else { 1e-280..1e280 };
        // Of Σz²t too: lost to underflow, the bracket would begin above the root.
        ends.contains(&self.squares) && self.weighted > ends.start * 1e-2
    }
}

/// Where Newton's method begins, or what the group becomes without it.
pub(super) enum Begin {
    /// Everything 0.
    Zero,
    /// Everything stays, for κ = 0.
    Same,
    /// It climbs to the root.
    From(Climb),
}

/// * `group`: the entries with their steps, asked for only where the sums do not suffice.
pub(super) fn begin<R: Real, I: Iterator<Item = (R, R)>>(start: Start, slope: f64, group: impl Fn() -> I) -> Begin {
    // The sums are rounded: a little more is no less than the root, and a little less no more.
    let (norm, rounding) = (start.squares.sqrt(), 64.0 * R::epsilon().wide());
    let high = norm * (1.0 + rounding);
    if slope == 0.0 {
        return Begin::Same;
    }
    if slope.is_infinite() {
        return Begin::Zero;
    }
    // Jensen's inequality, with the mean of the steps that z² weighs.
    let below = norm * (1.0 - rounding) - slope * (start.weighted / start.squares) * (1.0 + rounding);
    if below > 1e-3 * norm && below.is_finite() {
        return Begin::From(Climb { low: below, high, radius: below });
    }
    let (mut ratios, mut edge) = (0.0, 0.0_f64);
    for (z, step) in group() {
        let (z, step) = (z.wide().abs(), step.wide());
        // 0/0 counts 0.
        ratios += if z == 0.0 { 0.0 } else { (z / step) * (z / step) };
        edge = edge.max(z - slope * step);
    }
    if ratios <= slope * slope {
        return Begin::Zero;
    }
    let low = below.max(edge).min(norm);
    Begin::From(Climb { low, high, radius: low })
}

/// Newton's method on `h^(−1/2) = 1`, kept within a bracket.
#[derive(Clone, Copy)]
pub(super) struct Climb {
    low: f64,
    high: f64,
    pub(super) radius: f64,
}

impl Climb {
    /// Takes the next step, from `h(r)` and `h₃(r) = Σ z²/(r + κt)³`. Returns whether it was the last one.
    pub(super) fn next<R: Real>(&mut self, [h, h3]: [f64; 2]) -> bool {
        // A step of relative length δ leaves an error of at most 1.5·δ², since h₄/h₃ ≤ 1/r: after this one only rounding is left. (h itself
        // tells little: it is flat where r is far below κt.)
        let last = if R::epsilon().wide() > 1e-10 { 1e-4 } else { 1e-8 };
        let error = h - 1.0;
        if error.abs() <= 4.0 * f64::EPSILON {
            return true;
        }
        if error > 0.0 {
            self.low = self.radius
        } else {
            self.high = self.radius
        }
        let newton = self.radius + h * (h.sqrt() - 1.0) / h3;
        let is_inside = (self.low..=self.high).contains(&newton);
        let next = if is_inside { newton } else { 0.5 * (self.low + self.high) };
        let is_last = next == self.radius || (is_inside && (next - self.radius).abs() <= last * next);
        self.radius = next;
        is_last
    }
}

/// Whether the terms of the secular equation may be taken in the type of the numbers: near the threshold of 0 their roundings would count
/// many times in r.
pub(super) fn is_far_from_zero(radius: f64, norm: f64) -> bool {
    radius >= 1e-2 * norm
}

/// The most steps of [`Climb`]; it takes 3 as a rule.
pub(super) const STEPS: usize = 100;

/// Whether a number and its inverse are numbers of the arithmetic, so that the sums can be taken in it.
pub(super) fn fits<R: Real>(x: f64) -> bool {
    R::of(x).is_normal() && R::of(x.recip()).is_normal()
}

/// The terms of `h` and `h₃`, in the type of the numbers.
#[inline(always)]
pub(super) fn secular<R: Real>(z: R, step: R, radius: R, slope: R) -> [R; 2] {
    let inverse = (radius + slope * step).recip();
    let quotient = z * inverse;
    let square = quotient * quotient;
    [square, square * inverse]
}

/// The same where radius or slope leave the range of that type.
#[inline(always)]
pub(super) fn secular_wide<R: Real>(z: R, step: R, radius: f64, slope: f64) -> [f64; 2] {
    let [h, h3] = secular(z.wide(), step.wide(), radius, slope);
    if z == R::zero() { [0.0; 2] } else { [h, h3] }
}

/// One entry of the result.
#[inline(always)]
pub(super) fn entry<R: Real>(z: R, step: R, radius: R, slope: R) -> R {
    z * (radius / (radius + slope * step))
}
