//! The prox of the groups of a tile: numbers in rows, where each group has some adjacent columns.
//!
//! A group of one row lies side by side. Groups of many rows and few columns are taken all at once, 16 columns in a vector.

use std::ops::Range;

use super::{
    fold::Fold,
    group,
    radius::{self, Begin, Climb, OnGroup, Start},
    sums,
};
use crate::{
    kernel::{chunks::Threads, lanes::LANES, number::Real, simd},
    scalar::Scalar,
};

/// Where the moves have come to, with the steps of their prox.
pub(super) struct Tile<R: Real> {
    rows: usize,
    count: usize,
    run: usize,
    /// From one row to the next: whole vectors, whose last numbers may be padding.
    stride: usize,
    z: Vec<R>,
    /// Empty where all steps are the same.
    steps: Vec<R>,
    step: R,
    /// Sums of squares down each column, where the norms of many groups follow from them.
    squares: Vec<f64>,
    finish: Finish<R>,
}

/// What is left to be done with each row.
enum Finish<R> {
    Nothing,
    /// A factor for each column.
    Scale(Vec<R>),
    /// A radius and a slope for each column.
    Shrink {
        radii: Vec<R>,
        slopes: Vec<R>,
    },
}

/// From this length of their runs on, groups are collected one by one.
const LONG_RUN: usize = 2 * LANES;

impl<R: Real> Tile<R> {
    /// * `step`: `None` if each number has its own.
    pub(super) fn new(rows: usize, count: usize, run: usize, step: Option<R>) -> Self {
        let width = count * run;
        // An odd number of vectors: else the rows of a column would compete for the same places of the cache.
        let stride = if rows == 1 { width } else { (width.div_ceil(LANES) | 1) * LANES };
        let (mut z, mut steps) = (R::take_scratch(), R::take_scratch());
        z.resize(rows * stride, R::zero());
        steps.resize(if step.is_none() { z.len() } else { 0 }, R::zero());
        if stride > width {
            // What is left there from elsewhere may be anything.
            z.chunks_mut(stride).for_each(|row| row[width..].fill(R::zero()));
        }
        let by_columns = step.is_some() && rows > 1 && run < LONG_RUN;
        let squares = vec![0.0; if by_columns { width } else { 0 }];
        let step = step.unwrap_or_else(R::zero);
        Self { rows, count, run, stride, z, steps, step, squares, finish: Finish::Nothing }
    }

    /// The numbers of a row, and their steps.
    pub(super) fn row(&mut self, row: usize) -> (&mut [R], &mut [R]) {
        let from = row * self.stride;
        let range = from..from + self.count * self.run;
        let steps = if self.steps.is_empty() { &mut [] } else { &mut self.steps[range.clone()] };
        (&mut self.z[range], steps)
    }

    /// Takes element λ, sign and ridge out of the way of a row that has been moved, and notes its squares.
    pub(super) fn moved(&mut self, row: usize, fold: Fold<R>) {
        let step = self.step;
        if !fold.is_none() {
            let (z, steps) = self.row(row);
            simd::run(FoldAll { fold, z, steps, step });
        }
        if !self.squares.is_empty() {
            let from = row * self.stride;
            sums::add_squares(&mut self.squares, &self.z[from..from + self.count * self.run]);
        }
    }

    /// The result of a row.
    pub(super) fn finished(&mut self, row: usize) -> &[R] {
        let range = row * self.stride..row * self.stride + self.count * self.run;
        let z = &mut self.z[range.clone()];
        match &self.finish {
            Finish::Nothing => {}
            Finish::Scale(factors) => simd::run(Scale { z, factors }),
            Finish::Shrink { radii, slopes } => simd::run(Shrink { z, steps: &self.steps[range], radii, slopes }),
        }
        z
    }

    /// * `group`: the penalty of each group.
    /// * `step`: what the fold has left of the step, if all are the same.
    pub(super) fn prox(&mut self, threads: Threads, group: impl Fn(usize) -> OnGroup, step: Option<f64>) {
        let is_side_by_side = self.rows == 1;
        if is_side_by_side {
            for index in 0..self.count {
                let range = index * self.run..(index + 1) * self.run;
                let z = &mut self.z[range.clone()];
                match step {
                    Some(step) => group::scalar(threads, &group(index), z, step),
                    None => group::diagonal(threads, &group(index), z, &self.steps[range]),
                }
            }
        } else if self.run >= LONG_RUN {
            (0..self.count).for_each(|index| self.one(threads, index, &group(index), step));
        } else {
            match step {
                Some(step) => self.scalar(threads, group, step),
                None => self.diagonal(threads, group),
            }
        }
    }

    /// Collects a group, takes its prox, and puts it back.
    fn one(&mut self, threads: Threads, index: usize, on_group: &OnGroup, step: Option<f64>) {
        let mut z = self.collected(&self.z, index);
        match step {
            Some(step) => group::scalar(threads, on_group, &mut z, step),
            None => group::diagonal(threads, on_group, &mut z, &self.collected(&self.steps, index)),
        }
        for (row, z) in z.chunks(self.run).enumerate() {
            let from = row * self.stride + index * self.run;
            self.z[from..from + self.run].copy_from_slice(z);
        }
    }

    fn collected(&self, values: &[R], index: usize) -> Vec<R> {
        let from = |row: usize| row * self.stride + index * self.run;
        (0..self.rows).flat_map(|row| &values[from(row)..from(row) + self.run]).copied().collect()
    }

    /// Sums down each column of some groups, joined for each group. The first column is the first of a vector; `of_columns`: none, or two
    /// numbers for each column, in whole vectors.
    fn sums<A: Scalar, const M: usize>(
        &self,
        groups: Range<usize>,
        of_columns: [&[R]; 2],
        terms: impl Fn(R, R, [R; 2]) -> [A; M] + Copy,
    ) -> Vec<[f64; M]> {
        let mut sums = vec![[0.0; M]; groups.len()];
        let columns = groups.start * self.run..groups.end * self.run;
        for from in columns.clone().step_by(LANES) {
            let steps = if self.steps.is_empty() { &self.z } else { &self.steps };
            let of_vector = from - columns.start;
            let chunk = |values: &[R]| values.get(of_vector..)?.first_chunk::<LANES>().copied();
            let of_columns = of_columns.map(|values| chunk(values).unwrap_or([R::zero(); LANES]));
            let lanes = sums::columns(&self.z[from..], &steps[from..], self.stride, of_columns, terms);
            for lane in 0..LANES.min(columns.end - from) {
                let group = &mut sums[(of_vector + lane) / self.run];
                (0..M).for_each(|k| group[k] += lanes[k][lane]);
            }
        }
        sums
    }

    /// A number for each column, from one for each group; the padding up to whole vectors gets 0.
    fn spread(&self, of_group: impl Iterator<Item = R>) -> Vec<R> {
        let mut columns = Vec::with_capacity(self.stride);
        of_group.for_each(|value| columns.resize(columns.len() + self.run, value));
        columns.resize(columns.len().next_multiple_of(LANES), R::zero());
        columns
    }

    fn scalar(&mut self, threads: Threads, group: impl Fn(usize) -> OnGroup, step: f64) {
        let exact = |index| radius::norm(threads, &self.collected(&self.z, index));
        let norms = sums::norms::<R>(&self.squares, self.run, exact);
        let factors = norms.into_iter().enumerate().map(|(index, norm)| R::of(group(index).factor(norm, step)));
        self.finish = Finish::Scale(self.spread(factors));
    }

    fn diagonal(&mut self, threads: Threads, group: impl Fn(usize) -> OnGroup) {
        let count = self.count;
        let (mut radii, mut slopes) = (vec![R::zero(); count], vec![R::zero(); count]);
        let mut alone = Vec::new();
        // As many groups as fill vectors, one lot after the other: their numbers stay in the cache from one Newton step to the next.
        for from in (0..count).step_by(LANES) {
            let groups = from..count.min(from + LANES);
            let (radii, slopes) = (&mut radii[groups.clone()], &mut slopes[groups.clone()]);
            self.climb(groups, &group, radii, slopes, &mut alone);
        }
        for index in alone {
            self.one(threads, index, &group(index), None);
            // And there it stays.
            (radii[index], slopes[index]) = (R::one(), R::zero());
        }
        self.finish = Finish::Shrink { radii: self.spread(radii.into_iter()), slopes: self.spread(slopes.into_iter()) };
    }

    /// Finds radius and slope of some groups; a radius of 0 stands for a group of zeros. What has a κ that depends on the result, or
    /// numbers at the end of their range, is to be taken by itself, and is added to `alone`.
    fn climb(
        &self,
        groups: Range<usize>,
        group: &impl Fn(usize) -> OnGroup,
        radii: &mut [R],
        slopes: &mut [R],
        alone: &mut Vec<usize>,
    ) {
        let starts = self.sums(groups.clone(), [&[]; 2], |z: R, step, _| Start::terms(z, step));
        let mut climbs: Vec<(usize, Climb)> = Vec::new();
        for (at, [squares, weighted]) in starts.into_iter().enumerate() {
            let (index, start) = (groups.start + at, Start { squares, weighted });
            let slope = group(index).slope().filter(|slope| *slope == 0.0 || radius::fits::<R>(*slope));
            let Some(slope) = slope.filter(|_| start.is_safe::<R>()) else {
                alone.push(index);
                continue;
            };
            let entries = || (0..self.rows).flat_map(|row| self.entries(row, index));
            match radius::begin(start, slope, entries) {
                Begin::Zero => {}
                Begin::Same => radii[at] = R::one(),
                Begin::From(climb)
                    if radius::fits::<R>(climb.radius)
                        && radius::is_far_from_zero(climb.radius, start.squares.sqrt()) =>
                {
                    (radii[at], slopes[at]) = (R::of(climb.radius), R::of(slope));
                    climbs.push((at, climb));
                }
                Begin::From(_) => alone.push(index),
            }
        }
        let slopes = self.spread(slopes.iter().copied());
        for _ in 0..radius::STEPS {
            if climbs.is_empty() {
                break;
            }
            let columns = self.spread(radii.iter().copied());
            // A column without a radius asks for nothing, but takes part.
            let terms = |z: R, step, [radius, slope]: [R; 2]| radius::secular(z, step, radius, slope);
            let sums = self.sums(groups.clone(), [&columns, &slopes], terms);
            climbs.retain_mut(|(at, climb)| {
                let is_last = climb.next::<R>(sums[*at]);
                radii[*at] = R::of(climb.radius);
                !is_last
            });
        }
    }

    fn entries(&self, row: usize, index: usize) -> impl Iterator<Item = (R, R)> {
        let from = row * self.stride + index * self.run;
        let range = from..from + self.run;
        self.z[range.clone()].iter().copied().zip(self.steps[range].iter().copied())
    }
}

impl<R: Real> Drop for Tile<R> {
    fn drop(&mut self) {
        R::keep_scratch(std::mem::take(&mut self.steps));
        R::keep_scratch(std::mem::take(&mut self.z));
    }
}

struct FoldAll<'a, R> {
    fold: Fold<R>,
    z: &'a mut [R],
    steps: &'a mut [R],
    step: R,
}

impl<R: Real> simd::Loop for FoldAll<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { fold, z, steps, step } = self;
        if steps.is_empty() {
            z.iter_mut().for_each(|z| *z = fold.at(*z, step).0);
        } else {
            z.iter_mut().zip(steps).for_each(|(z, step)| (*z, *step) = fold.at(*z, *step));
        }
    }
}

struct Scale<'a, R> {
    z: &'a mut [R],
    factors: &'a [R],
}

impl<R: Real> simd::Loop for Scale<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { z, factors } = self;
        for (z, factor) in z.iter_mut().zip(factors) {
            // 0 whatever z is, and −0 nowhere.
            *z = if *factor == R::zero() { R::zero() } else { *z * *factor };
        }
    }
}

struct Shrink<'a, R> {
    z: &'a mut [R],
    steps: &'a [R],
    radii: &'a [R],
    slopes: &'a [R],
}

impl<R: Real> simd::Loop for Shrink<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { z, steps, radii, slopes } = self;
        let (steps, radii, slopes) = (&steps[..z.len()], &radii[..z.len()], &slopes[..z.len()]);
        for i in 0..z.len() {
            let moved = radius::entry(z[i], steps[i], radii[i], slopes[i]);
            // A radius of 0 is a group of zeros.
            z[i] = if radii[i] == R::zero() { R::zero() } else { moved };
        }
    }
}
