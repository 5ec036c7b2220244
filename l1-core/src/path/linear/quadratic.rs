//! The problem inside a Newton step: a parabola in place of the loss, and the penalty as it is.
//!
//! `q·d + ½·dᵀGd + Ω(w + d)` by coordinate descent (Friedman, Hastie & Tibshirani 2010), which every few passes is extrapolated
//! (Anderson's way: Bertrand & Massias 2021), on the coordinates in use.

use super::{charge::Charge, gram::Gram};
use crate::kernel::simd;

/// Passes between extrapolations.
const MEMORY: usize = 5;

/// What is moved at once.
#[derive(Clone, Copy, Debug)]
struct Unit {
    slot: usize,
    size: usize,
    is_free: bool,
    /// No less than the largest curvature within it.
    curvature: f64,
}

/// Numbers of every slot.
#[derive(Clone, Debug, Default)]
struct Point {
    w: Vec<f64>,
    /// The gradient of the parabola.
    u: Vec<f64>,
}

/// The inner problem, and where its solution has come to.
#[derive(Debug, Default)]
pub(super) struct Quadratic {
    units: Vec<Unit>,
    /// Where it began.
    start: Point,
    now: Point,
    past: Vec<Point>,
    scratch: Vec<f64>,
}

impl Quadratic {
    /// Begins anew from the weights and the gradients of the matrix's slots.
    pub(super) fn begin(&mut self, gram: &Gram, w: &[f64], gradients: Vec<f64>) {
        self.units.clear();
        self.start.w.clear();
        self.start.w.extend(gram.coordinates.iter().map(|coordinate| w[*coordinate]));
        self.start.u = gradients;
        self.now.clone_from(&self.start);
    }

    /// The slots that are new since.
    pub(super) fn extend(&mut self, gram: &Gram, w: &[f64], gradients: Vec<f64>) {
        let moved: Vec<f64> = self.now.w.iter().zip(&self.start.w).map(|(now, start)| now - start).collect();
        let first = moved.len();
        for (slot, gradient) in (first..gram.len()).zip(gradients) {
            let w = w[gram.coordinates[slot]];
            let change: f64 = moved.iter().zip(gram.row(slot)).map(|(moved, g)| moved * g).sum();
            self.start.w.push(w);
            self.start.u.push(gradient);
            self.now.w.push(w);
            self.now.u.push(gradient + change);
        }
    }

    pub(super) fn use_unit(&mut self, gram: &Gram, slot: usize, size: usize, is_free: bool) {
        let block = |a: usize, b: usize| gram.at(slot + a, slot + b);
        let curvature = if size == 1 {
            block(0, 0)
        } else {
            let row = |a| (0..size).map(|b| block(a, b).abs()).sum::<f64>();
            let rows = (0..size).map(row).fold(0.0, f64::max);
            let squares = (0..size).flat_map(|a| (0..size).map(move |b| block(a, b) * block(a, b))).sum::<f64>();
            rows.min(squares.sqrt())
        };
        self.units.push(Unit { slot, size, is_free, curvature });
    }

    /// Passes until none moves a weight by as much as this changes its gradient. Returns the passes made.
    pub(super) fn solve(&mut self, gram: &Gram, charge: &Charge, tolerance: f64, most: usize) -> usize {
        self.past.clear();
        for pass in 1..=most {
            let Self { units, now, scratch, .. } = self;
            let moved = simd::run(Pass { gram, charge, units, now, scratch });
            if moved <= tolerance {
                return pass;
            }
            self.past.push(self.now.clone());
            if self.past.len() > MEMORY {
                self.extrapolate(charge);
                self.past.clear();
                self.past.push(self.now.clone());
            }
        }
        most
    }

    /// To the limit of the last passes, if that is lower.
    fn extrapolate(&mut self, charge: &Charge) {
        let differences: Vec<Vec<f64>> = self
            .past
            .windows(2)
            .map(|pair| pair[1].w.iter().zip(&pair[0].w).map(|(after, before)| after - before).collect())
            .collect();
        let count = differences.len();
        let mut system = vec![0.0; count * (count + 1)];
        let mut trace = 0.0;
        for a in 0..count {
            for b in 0..count {
                system[a * (count + 1) + b] = differences[a].iter().zip(&differences[b]).map(|(a, b)| a * b).sum();
            }
            trace += system[a * (count + 1) + a];
            system[a * (count + 1) + count] = 1.0;
        }
        (0..count).for_each(|a| system[a * (count + 1) + a] += 1e-12 * trace);
        let Some(mut factors) = solved(system, count) else { return };
        let sum: f64 = factors.iter().sum();
        factors.iter_mut().for_each(|factor| *factor /= sum);
        if !factors.iter().all(|factor| factor.is_finite()) {
            return;
        }
        let mix = |of: &dyn Fn(&Point) -> &Vec<f64>| {
            let mut mixed = vec![0.0; of(&self.now).len()];
            for (factor, point) in factors.iter().zip(&self.past[1..]) {
                super::columns::add(&mut mixed, *factor, of(point));
            }
            mixed
        };
        let candidate = Point { w: mix(&|point| &point.w), u: mix(&|point| &point.u) };
        if self.value(&candidate, charge) < self.value(&self.now, charge) {
            self.now = candidate;
        }
    }

    /// The objective of a point, less what the loss is where it began.
    fn value(&self, point: &Point, charge: &Charge) -> f64 {
        self.units
            .iter()
            .map(|unit| {
                let slots = unit.slot..unit.slot + unit.size;
                let parabola = slots
                    .clone()
                    .map(|slot| 0.5 * (self.start.u[slot] + point.u[slot]) * (point.w[slot] - self.start.w[slot]));
                parabola.sum::<f64>() + if unit.is_free { 0.0 } else { charge.value(&point.w[slots]) }
            })
            .sum()
    }

    /// By how much the objective has fallen since the beginning.
    pub(super) fn decrease(&self, charge: &Charge) -> f64 {
        self.value(&self.start, charge) - self.value(&self.now, charge)
    }

    /// Slots, and what they hold now.
    pub(super) fn weights(&self) -> &[f64] {
        &self.now.w
    }
}

struct Pass<'a> {
    gram: &'a Gram,
    charge: &'a Charge,
    units: &'a [Unit],
    now: &'a mut Point,
    scratch: &'a mut Vec<f64>,
}

impl simd::Loop for Pass<'_> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let Self { gram, charge, units, now: Point { w, u }, scratch } = self;
        let mut largest = 0.0_f64;
        for unit in units {
            let Unit { slot, size, is_free, curvature } = *unit;
            if curvature <= 0.0 || curvature.is_nan() {
                continue;
            }
            let step = 1.0 / curvature;
            if size == 1 {
                let old = w[slot];
                let z = old - step * u[slot];
                let new = if is_free { z } else { charge.entry(z, step) };
                let change = new - old;
                if change != 0.0 {
                    w[slot] = new;
                    super::columns::add(u, change, gram.row(slot));
                    largest = largest.max(change.abs() * curvature);
                }
                continue;
            }
            scratch.clear();
            scratch.extend((slot..slot + size).map(|slot| w[slot] - step * u[slot]));
            charge.group(scratch, step);
            let mut squares = 0.0;
            for (slot, new) in (slot..).zip(scratch.iter()) {
                let change = new - w[slot];
                if change != 0.0 {
                    w[slot] = *new;
                    super::columns::add(u, change, gram.row(slot));
                    squares += change * change;
                }
            }
            largest = largest.max(squares.sqrt() * curvature);
        }
        largest
    }
}

/// Gauss's elimination; rows of `count` numbers and the right side.
fn solved(mut system: Vec<f64>, count: usize) -> Option<Vec<f64>> {
    let width = count + 1;
    for column in 0..count {
        let pivot = (column..count)
            .max_by(|a, b| system[a * width + column].abs().total_cmp(&system[b * width + column].abs()))?;
        if system[pivot * width + column] == 0.0 {
            return None;
        }
        (0..width).for_each(|at| system.swap(column * width + at, pivot * width + at));
        for row in column + 1..count {
            let factor = system[row * width + column] / system[column * width + column];
            (column..width).for_each(|at| system[row * width + at] -= factor * system[column * width + at]);
        }
    }
    let mut solution = vec![0.0; count];
    for row in (0..count).rev() {
        let known: f64 = (row + 1..count).map(|at| system[row * width + at] * solution[at]).sum();
        solution[row] = (system[row * width + count] - known) / system[row * width + row];
    }
    Some(solution)
}
