//! The prox of one group whose numbers lie side by side.

use super::{
    radius::{self, Begin, OnGroup, Start},
    sums,
};
use crate::{
    kernel::{
        chunks::{Threads, cut},
        number::Real,
        simd,
    },
    scalar::Scalar,
};

/// The prox of a group with one step. What is NaN stays so.
pub(super) fn scalar<R: Real>(threads: Threads, group: &OnGroup, z: &mut [R], step: f64) {
    scale(threads, z, group.factor(radius::norm(threads, z), step));
}

fn scale<R: Real>(threads: Threads, z: &mut [R], factor: f64) {
    if factor == 0.0 {
        z.fill(R::zero());
    } else if factor != 1.0 {
        let factor = R::of(factor);
        each(threads, z, &[], &move |z: R, _| z * factor);
    }
}

/// The prox of a group with a step of its own for each entry.
pub(super) fn diagonal<R: Real>(threads: Threads, group: &OnGroup, z: &mut [R], steps: &[R]) {
    let start = |z: &[R]| {
        let [squares, weighted] = sums::of(threads, z, steps, &|z: R, step| Start::terms(z, step));
        Start { squares, weighted }
    };
    let mut sums = start(z);
    // A power of 2 near the largest entry is the unit where squares would overflow or vanish.
    let mut unit = 1.0;
    if !sums.is_safe::<R>() {
        unit = radius::unit(z);
        if sums.squares.is_nan() {
            return z.fill(R::nan());
        }
        if unit == 0.0 || unit.is_infinite() {
            return;
        }
        each(threads, z, &[], &|z: R, _| R::of(z.wide() / unit));
        sums = start(z);
    }
    let problem = Problem { threads, start: sums, z, steps };
    let found = match group.slope() {
        Some(slope) => problem.root(slope / unit),
        None => problem.lowest(group, unit),
    };
    match found {
        None => z.fill(R::zero()),
        Some((radius, slope)) if radius::fits::<R>(radius) && radius::fits::<R>(slope) => {
            let (radius, slope) = (R::of(radius), R::of(slope));
            each(threads, z, steps, &move |z: R, step| radius::entry(z, step, radius, slope));
        }
        // The norm of f32 numbers may be beyond f32.
        Some((radius, slope)) if slope > 0.0 => {
            each(threads, z, steps, &move |z: R, step| R::of(radius::entry(z.wide(), step.wide(), radius, slope)));
        }
        Some(_) => {}
    }
    scale(threads, z, unit);
}

/// One group in its metric, in units of the largest entry where that was needed.
struct Problem<'z, R> {
    threads: Threads,
    start: Start,
    z: &'z [R],
    steps: &'z [R],
}

impl<R: Real> Problem<'_, R> {
    /// r and κ of the solution with `κ‖u‖`; `None` if it is 0.
    fn root(&self, slope: f64) -> Option<(f64, f64)> {
        let entries = || self.z.iter().copied().zip(self.steps.iter().copied());
        let mut climb = match radius::begin(self.start, slope, entries) {
            Begin::Zero => return None,
            Begin::Same => return Some((self.start.squares.sqrt(), 0.0)),
            Begin::From(climb) => climb,
        };
        for _ in 0..radius::STEPS {
            if climb.next::<R>(self.secular(climb.radius, slope)) {
                break;
            }
        }
        Some((climb.radius, slope))
    }

    fn secular(&self, radius: f64, slope: f64) -> [f64; 2] {
        let Self { threads, z, steps, .. } = self;
        let is_far = radius::is_far_from_zero(radius, self.start.squares.sqrt());
        if is_far && radius::fits::<R>(radius) && radius::fits::<R>(slope) {
            let (radius, slope) = (R::of(radius), R::of(slope));
            sums::of(*threads, z, steps, &move |z, step| radius::secular(z, step, radius, slope))
        } else {
            sums::of(*threads, z, steps, &move |z, step| radius::secular_wide(z, step, radius, slope))
        }
    }

    /// The lower of the minima that majorization leads to, from the largest radius downwards and from 0 upwards; 0 at a tie. In units of
    /// the largest entry: the curve is asked at the true radius.
    fn lowest(&self, group: &OnGroup, unit: f64) -> Option<(f64, f64)> {
        let slope = |radius: f64| group.weight * group.phi.slope(radius * unit) / unit;
        let settle = |mut radius: f64, mut kappa: f64| {
            let mut last = 0.0;
            for pass in 0..1000 {
                let (next, _) = self.root(kappa)?;
                let change = next - radius;
                radius = next;
                if change.abs() <= 4.0 * R::epsilon().wide() * radius {
                    break;
                }
                // Near the end the changes are a geometric sequence, a slow one where the problem is hardly convex: to its limit.
                let ratio = change / last;
                let limit = radius + change * ratio / (1.0 - ratio);
                let is_near = change.abs() < 1e-3 * radius && (0.0..1.0).contains(&ratio);
                if pass % 4 == 3 && is_near && (0.5 * radius..2.0 * radius).contains(&limit) {
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
        let [at_zero] = sums::of(self.threads, self.z, self.steps, &|z: R, step: R| {
            let z = z.wide();
            [if z == 0.0 { 0.0 } else { 0.5 * z * z / step.wide() }]
        });
        let mut best = (at_zero, None);
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
        let charge = group.weight * group.phi.value((radius * unit).min(f64::VAST)) / unit / unit;
        if slope == 0.0 {
            return charge; // u = z, whatever the steps: 0·∞ would be NaN
        }
        // u − z = −z·κt/(r + κt).
        let [distance] = sums::of(self.threads, self.z, self.steps, &move |z: R, step: R| {
            let (z, step) = (z.wide(), step.wide());
            let quotient = if z == 0.0 { 0.0 } else { z / (radius + slope * step) };
            [if step == 0.0 || quotient == 0.0 { 0.0 } else { 0.5 * slope * slope * step * quotient * quotient }]
        });
        distance + charge
    }
}

/// Changes every entry by itself and its step. `steps` may be empty.
fn each<R: Real>(threads: Threads, z: &mut [R], steps: &[R], change: &(impl Fn(R, R) -> R + Copy + Sync)) {
    let Some(at) = cut(z.len()) else { return simd::run(Each { z, steps, change: *change }) };
    let (z, z_rest) = z.split_at_mut(at);
    let (steps, steps_rest) = steps.split_at(at.min(steps.len()));
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
