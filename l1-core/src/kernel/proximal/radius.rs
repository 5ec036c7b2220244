//! The prox of one group of numbers that lie side by side: its norm r after the prox, and the numbers scaled to it.
//!
//! In a diagonal metric with steps tᵢ, `min Σ(uᵢ − zᵢ)²/(2tᵢ) + κ‖u‖` has `uᵢ = zᵢ·r/(r + κtᵢ)`, where r is the root of the secular
//! equation `h(r) = Σ zᵢ²/(r + κtᵢ)² = 1`, or u = 0 where `Σ(zᵢ/(κtᵢ))² ≤ 1`. h^(−1/2) is concave and increases, so that Newton's method
//! on it climbs to the root from any point below (Moré & Sorensen 1983; Conn, Gould & Toint 2000, ch. 7).

use crate::{
    kernel::{
        chunks::{Threads, cut},
        lanes::{self, LANES},
        number::Real,
        simd,
    },
    penalty::AtLambda,
};

/// The penalty of one group after the fold.
#[derive(Clone, Copy)]
pub(super) struct OnGroup {
    pub(super) phi: AtLambda,
    /// c_g, times how often φ is charged.
    pub(super) weight: f64,
    /// κ = c·φ'(‖w_g‖) at the weights before the step, if the curve is met by its tangent.
    pub(super) tangent: Option<f64>,
}

/// The norm, by way of the largest entry where squares overflow or vanish.
pub(super) fn norm<R: Real>(threads: Threads, z: &[R]) -> f64 {
    let [squares] = sums(threads, z, &[], &|z: R, _| [z.wide() * z.wide()]);
    if squares.is_normal() || squares.is_nan() {
        return squares.sqrt();
    }
    match largest(z) {
        unit if unit == 0.0 || unit.is_infinite() => unit,
        unit => {
            let [squares] = sums(threads, z, &[], &|z: R, _| [(z.wide() / unit) * (z.wide() / unit)]);
            unit * squares.sqrt()
        }
    }
}

fn largest<R: Real>(z: &[R]) -> f64 {
    z.iter().fold(0.0, |largest, z| largest.max(z.wide().abs()))
}

/// The prox of a group with one step. What is NaN stays so; from an infinite entry the others are not told apart, and all stay.
pub(super) fn scalar<R: Real>(threads: Threads, group: &OnGroup, z: &mut [R], step: f64) {
    let norm = norm(threads, z);
    if norm == 0.0 || norm.is_infinite() {
        return;
    }
    let radius = if norm.is_nan() { norm } else { group.phi.prox(norm, group.weight * step) };
    scale(threads, z, radius / norm);
}

fn scale<R: Real>(threads: Threads, z: &mut [R], factor: f64) {
    if factor == 0.0 {
        z.fill(R::zero());
    } else if factor != 1.0 {
        each(threads, z, &mut [], &|z: R, _| z * R::of(factor));
    }
}

/// The prox of a group with a step of its own for each entry. `steps` is used up.
pub(super) fn diagonal<R: Real>(threads: Threads, group: &OnGroup, z: &mut [R], steps: &mut [R]) {
    let Some((start, unit)) = Start::of(threads, z, steps) else { return };
    let problem = Problem { threads, start, z, steps };
    let radius = match group.tangent {
        Some(slope) => problem.root(slope / unit),
        None if group.phi.curve.is_convex() => problem.root(group.weight * group.phi.slope(1.0) / unit),
        None => problem.lowest(group, unit),
    };
    match radius {
        None => z.fill(R::zero()),
        Some((radius, slope)) if fits::<R>(radius) && fits::<R>(slope) => {
            let (radius, slope) = (R::of(radius), R::of(slope));
            each(threads, z, steps, &move |z: R, step| z * (radius / (radius + slope * step)));
        }
        Some((radius, slope)) if slope > 0.0 => {
            each(threads, z, steps, &move |z: R, step| z * R::of(radius / (radius + slope * step.wide())));
        }
        Some(_) => {}
    }
    if unit != 1.0 {
        each(threads, z, &mut [], &|z: R, _| z * R::of(unit));
    }
}

/// What one pass over a group tells.
#[derive(Clone, Copy)]
struct Start {
    /// `Σz²`
    squares: f64,
    /// `Σz²t`
    weighted: f64,
    /// `Σ(z/t)²`
    ratios: f64,
}

impl Start {
    /// `None`: every entry is 0, or the numbers are not finite, and there is nothing to do. Divides numbers whose squares are none by
    /// their largest, the unit that is also returned.
    fn of<R: Real>(threads: Threads, z: &mut [R], steps: &[R]) -> Option<(Self, f64)> {
        let start = Self::once(threads, z, steps);
        let is_safe = |sum: f64| (1e-280..1e280).contains(&sum);
        if is_safe(start.squares) {
            return Some((start, 1.0));
        }
        let unit = largest(z);
        if start.squares.is_nan() {
            z.fill(R::nan());
            return None;
        }
        if unit == 0.0 || unit.is_infinite() {
            return None;
        }
        each(threads, z, &mut [], &|z: R, _| R::of(z.wide() / unit));
        Some((Self::once(threads, z, steps), unit))
    }

    fn once<R: Real>(threads: Threads, z: &[R], steps: &[R]) -> Self {
        let [squares, weighted, ratios] = sums(threads, z, steps, &|z: R, step: R| {
            let (is_zero, ratio) = (z == R::zero(), (z / step).wide());
            let (square, step) = (z.wide() * z.wide(), step.wide());
            // 0/0 and 0·∞ count 0.
            [square, if is_zero { 0.0 } else { square * step }, if is_zero { 0.0 } else { ratio * ratio }]
        });
        Self { squares, weighted, ratios }
    }
}

/// Whether arithmetic with a radius or a slope can be done in the type of the numbers. The norm of f32 numbers may be beyond f32.
fn fits<R: Real>(x: f64) -> bool {
    R::of(x).is_normal() && R::of(x.recip()).is_normal()
}

/// One group in its metric; in units of the largest entry where that was needed.
struct Problem<'z, R> {
    threads: Threads,
    start: Start,
    z: &'z [R],
    steps: &'z [R],
}

impl<R: Real> Problem<'_, R> {
    /// r and κ of the solution with `κ‖u‖`; `None` if it is 0.
    fn root(&self, slope: f64) -> Option<(f64, f64)> {
        let Start { squares, weighted, ratios } = self.start;
        let norm = squares.sqrt();
        if slope == 0.0 {
            return Some((norm, 0.0));
        }
        if slope.is_infinite() || ratios <= slope * slope {
            return None;
        }
        // Jensen's inequality, with the mean of the steps that z² weighs.
        let below = norm - slope * (weighted / squares);
        let edge = || self.z.iter().zip(self.steps).map(|(z, step)| z.wide().abs() - slope * step.wide());
        let below = if below > 0.0 { below } else { edge().fold(0.0, f64::max) };
        Some((self.climb(below.min(norm), norm, slope), slope))
    }

    /// Newton's method on `h^(−1/2) = 1`, kept within the bracket.
    fn climb(&self, mut low: f64, mut high: f64, slope: f64) -> f64 {
        // Beyond this the next step is right up to rounding, since the error is squared.
        let last = if R::epsilon().wide() > 1e-10 { 1e-4 } else { 1e-8 };
        let mut radius = low;
        for _ in 0..100 {
            let [h, h3] = self.secular(radius, slope);
            let error = h - 1.0;
            if error.abs() <= 4.0 * f64::EPSILON {
                break;
            }
            if error > 0.0 {
                low = radius
            } else {
                high = radius
            }
            let mut next = radius + h * (h.sqrt() - 1.0) / h3;
            if !(low..=high).contains(&next) {
                next = 0.5 * (low + high);
            } else if error.abs() < last {
                return next;
            }
            if next == radius {
                break;
            }
            radius = next;
        }
        radius
    }

    /// `h(r)` and `Σ z²/(r + κt)³`.
    fn secular(&self, radius: f64, slope: f64) -> [f64; 2] {
        let Self { threads, z, steps, .. } = self;
        if fits::<R>(radius) && fits::<R>(slope) {
            let (radius, slope) = (R::of(radius), R::of(slope));
            sums(*threads, z, steps, &move |z: R, step: R| {
                let inverse = (radius + slope * step).recip();
                let quotient = z * inverse;
                let square = quotient * quotient;
                [square.wide(), (square * inverse).wide()]
            })
        } else {
            sums(*threads, z, steps, &move |z: R, step: R| {
                let (z, inverse) = (z.wide(), (radius + slope * step.wide()).recip());
                let square = if z == 0.0 { 0.0 } else { (z * inverse) * (z * inverse) };
                [square, if square == 0.0 { 0.0 } else { square * inverse }]
            })
        }
    }

    /// The lower of the minima that majorization leads to, from the largest radius downwards and from 0 upwards (Zou & Li 2008 once,
    /// until it stays); 0 at a tie. In units of the largest entry: the curve is asked at the true radius.
    fn lowest(&self, group: &OnGroup, unit: f64) -> Option<(f64, f64)> {
        let slope = |radius: f64| group.weight * group.phi.slope(radius * unit) / unit;
        let settle = |mut radius: f64, mut kappa: f64| {
            let mut last = 0.0;
            for pass in 0..1000 {
                let Some((next, _)) = self.root(kappa) else { return None };
                let change = next - radius;
                radius = next;
                if change.abs() <= 4.0 * R::epsilon().wide() * radius {
                    break;
                }
                // Near the end the changes are a geometric sequence, a slow one where the problem is hardly convex: to its limit.
                let ratio = change / last;
                let limit = radius + change * ratio / (1.0 - ratio);
                let is_near = change.abs() < 1e-3 * radius && (0.0..1.0).contains(&ratio) && limit > 0.5 * radius;
                if pass % 4 == 3 && is_near && limit < 2.0 * radius {
                    radius = limit;
                }
                last = change;
                kappa = slope(radius);
            }
            Some((radius, kappa))
        };
        let norm = self.start.squares.sqrt();
        let from_above = settle(norm, slope(norm));
        let at_zero = group.weight * group.phi.slope_at_zero() / unit;
        let from_below = if at_zero.is_finite() { settle(0.0, at_zero) } else { None };
        let [half_ratios] = sums(self.threads, self.z, self.steps, &|z: R, step: R| {
            let z = z.wide();
            [if z == 0.0 { 0.0 } else { 0.5 * z * z / step.wide() }]
        });
        let mut best = (half_ratios, None);
        for candidate in [from_below, from_above].into_iter().flatten() {
            let objective = self.objective(group, unit, candidate);
            if objective < best.0 {
                best = (objective, Some(candidate));
            }
        }
        best.1
    }

    /// `Σ(u − z)²/(2t) + c·φ(‖u‖)`, in squared units.
    fn objective(&self, group: &OnGroup, unit: f64, (radius, slope): (f64, f64)) -> f64 {
        let charge = group.weight * group.phi.value((radius * unit).min(f64::MAX)) / unit / unit;
        if slope == 0.0 {
            return charge; // u = z, whatever the steps: 0·∞ would be NaN
        }
        // u − z = −z·κt/(r + κt).
        let [distance] = sums(self.threads, self.z, self.steps, &move |z: R, step: R| {
            let (z, step) = (z.wide(), step.wide());
            let quotient = if z == 0.0 { 0.0 } else { z / (radius + slope * step) };
            [if step == 0.0 || quotient == 0.0 { 0.0 } else { 0.5 * slope * slope * step * quotient * quotient }]
        });
        distance + charge
    }
}

/// Sums of a few terms of every entry, in an order that follows from the length alone. `steps` may be empty.
fn sums<R: Real, const M: usize>(
    threads: Threads,
    z: &[R],
    steps: &[R],
    terms: &(impl Fn(R, R) -> [f64; M] + Copy + Sync),
) -> [f64; M] {
    let Some(at) = cut(z.len()) else { return simd::run(Sums { z, steps, terms: *terms }) };
    let (z, z_rest) = z.split_at(at);
    let (steps, steps_rest) = steps.split_at(at.min(steps.len()));
    let (left, right) =
        threads.both(|threads| sums(threads, z, steps, terms), |threads| sums(threads, z_rest, steps_rest, terms));
    std::array::from_fn(|k| left[k] + right[k])
}

struct Sums<'a, R, F> {
    z: &'a [R],
    steps: &'a [R],
    terms: F,
}

impl<R: Real, F: Fn(R, R) -> [f64; M], const M: usize> simd::Loop for Sums<'_, R, F> {
    type Output = [f64; M];

    #[inline(always)]
    fn run(self) -> [f64; M] {
        let Self { z, steps, terms } = self;
        let mut lanes = [[0.0; LANES]; M];
        let mut add = |lane: usize, z: R, step: R| {
            let terms = terms(z, step);
            for k in 0..M {
                lanes[k][lane] += terms[k];
            }
        };
        let (whole, rest) = z.as_chunks::<LANES>();
        if steps.is_empty() {
            for z in whole {
                for lane in 0..LANES {
                    add(lane, z[lane], R::zero());
                }
            }
            for (lane, z) in rest.iter().enumerate() {
                add(lane, *z, R::zero());
            }
        } else {
            let (whole_steps, rest_steps) = steps.as_chunks::<LANES>();
            for (z, step) in whole.iter().zip(whole_steps) {
                for lane in 0..LANES {
                    add(lane, z[lane], step[lane]);
                }
            }
            for (lane, (z, step)) in rest.iter().zip(rest_steps).enumerate() {
                add(lane, *z, *step);
            }
        }
        lanes.map(lanes::total)
    }
}

/// Changes every entry by itself and its step. `steps` may be empty.
fn each<R: Real>(threads: Threads, z: &mut [R], steps: &mut [R], change: &(impl Fn(R, R) -> R + Copy + Sync)) {
    let Some(at) = cut(z.len()) else { return simd::run(Each { z, steps, change: *change }) };
    let (z, z_rest) = z.split_at_mut(at);
    let (steps, steps_rest) = steps.split_at_mut(at.min(steps.len()));
    threads.both(|threads| each(threads, z, steps, change), |threads| each(threads, z_rest, steps_rest, change));
}

struct Each<'a, R, F> {
    z: &'a mut [R],
    steps: &'a [R],
    change: F,
}

impl<R: Real, F: Fn(R, R) -> R> simd::Loop for Each<'_, R, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { z, steps, change } = self;
        if steps.is_empty() {
            z.iter_mut().for_each(|z| *z = change(*z, R::zero()));
        } else {
            z.iter_mut().zip(steps).for_each(|(z, step)| *z = change(*z, *step));
        }
    }
}
