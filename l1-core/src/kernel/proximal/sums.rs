//! Sums of a few terms of every entry, in an order that follows from lengths alone.

use std::array;

use crate::{
    kernel::{
        chunks::{Threads, cut},
        lanes::{self, LANES},
        number::Real,
        simd,
    },
    scalar::Scalar,
};

/// Terms that are added up in their own type before the sum is taken on in f64.
const BLOCK: usize = 8;

/// Sums of `terms(z, step, [a, b])` down each of 16 adjacent columns of a matrix whose rows begin `stride` numbers apart.
///
/// * `steps`: as long as `z`, or any numbers where the terms do not ask for them.
/// * `of_columns`: two numbers for each column, a and b. (In arrays, whose bounds need no check in the loop.)
pub(super) fn columns<R: Real, A: Scalar, const M: usize>(
    z: &[R],
    steps: &[R],
    stride: usize,
    of_columns: [[R; LANES]; 2],
    terms: impl Fn(R, R, [R; 2]) -> [A; M],
) -> [[f64; LANES]; M] {
    simd::run(Columns { z, steps, stride, of_columns, terms })
}

struct Columns<'a, R, F> {
    z: &'a [R],
    steps: &'a [R],
    stride: usize,
    of_columns: [[R; LANES]; 2],
    terms: F,
}

impl<R: Real, A: Scalar, F: Fn(R, R, [R; 2]) -> [A; M], const M: usize> simd::Loop for Columns<'_, R, F> {
    type Output = [[f64; LANES]; M];

    #[inline(always)]
    fn run(self) -> Self::Output {
        let Self { z, steps, stride, of_columns: [a, b], terms } = self;
        let mut sums = [[0.0; LANES]; M];
        let mut from = 0;
        while from + LANES <= z.len() {
            let mut block = [[A::zero(); LANES]; M];
            let end = (from + BLOCK * stride).min(z.len() - LANES + 1);
            while from < end {
                let (z, steps) = (&z[from..from + LANES], &steps[from..from + LANES]);
                for lane in 0..LANES {
                    let terms = terms(z[lane], steps[lane], [a[lane], b[lane]]);
                    for k in 0..M {
                        block[k][lane] = block[k][lane] + terms[k];
                    }
                }
                from += stride;
            }
            for k in 0..M {
                for lane in 0..LANES {
                    sums[k][lane] += block[k][lane].wide();
                }
            }
        }
        sums
    }
}

/// Adds the squares of a row to the sums of its columns.
pub(super) fn add_squares<R: Real>(sums: &mut [f64], row: &[R]) {
    simd::run(AddSquares { sums, row });
}

struct AddSquares<'a, R> {
    sums: &'a mut [f64],
    row: &'a [R],
}

impl<R: Real> simd::Loop for AddSquares<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { sums, row } = self;
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x.wide() * x.wide());
    }
}

/// The norms of groups of `run` columns each, from the sums of squares of the columns.
///
/// * `exact`: the norm of a group whose squares have overflowed or vanished.
pub(super) fn norms<R: Real>(squares: &[f64], run: usize, exact: impl Fn(usize) -> f64) -> Vec<f64> {
    let norm = |(group, squares): (usize, &[f64])| {
        let squares: f64 = squares.iter().sum();
        // Squares of f32 numbers do neither in f64.
        let is_wide = R::epsilon().wide() < 1e-10;
        let is_safe = squares.is_normal() || squares.is_nan() || !is_wide;
        if is_safe { squares.sqrt() } else { exact(group) }
    };
    squares.chunks(run).enumerate().map(norm).collect()
}

/// Sums of `terms(z, step)` of numbers that lie side by side; a term of zeros has to be 0.
pub(super) fn of<R: Real, A: Scalar, const M: usize>(
    threads: Threads,
    z: &[R],
    steps: &[R],
    terms: &(impl Fn(R, R) -> [A; M] + Copy + Sync),
) -> [f64; M] {
    if let Some(at) = cut(z.len()) {
        let ((z, z_rest), (steps, steps_rest)) = (z.split_at(at), steps.split_at(at));
        let (left, right) =
            threads.both(|threads| of(threads, z, steps, terms), |threads| of(threads, z_rest, steps_rest, terms));
        return array::from_fn(|k| left[k] + right[k]);
    }
    let whole = z.len() / LANES * LANES;
    let none = [[R::zero(); LANES]; 2];
    let lanes = columns(&z[..whole], &steps[..whole], LANES, none, |z, step, _| terms(z, step));
    let (mut z_rest, mut steps_rest) = ([R::zero(); LANES], [R::zero(); LANES]);
    z_rest[..z.len() - whole].copy_from_slice(&z[whole..]);
    steps_rest[..z.len() - whole].copy_from_slice(&steps[whole..]);
    let rest = columns(&z_rest, &steps_rest, LANES, none, |z, step, _| terms(z, step));
    array::from_fn(|k| lanes::total(array::from_fn(|lane| lanes[k][lane] + rest[k][lane])))
}
