//! The inputs column by column in f64, and the sums over examples that the solver is made of.
//!
//! Every sum is taken in eight lanes that are joined in a tree: its bits follow from the numbers alone, whatever the threads and
//! vectors.

use candle_core::{CpuStorage, Device, Storage, Tensor};

use super::refused;
use crate::{Result, kernel::simd};

/// Numbers that a sum is gathered in.
const LANES: usize = 8;
/// Columns that share each number of what they are multiplied with.
const SIDE_BY_SIDE: usize = 4;
/// Multiplications from which on a second thread pays: waking one takes as long as some 200 000.
const WORTH_A_THREAD: usize = 1 << 20;

/// X: p columns of n numbers, and one more of ones, the intercept's.
#[derive(Debug)]
pub(super) struct Columns {
    /// n.
    pub(super) rows: usize,
    /// n, filled up with zeros to whole lanes.
    pub(super) length: usize,
    /// p.
    pub(super) count: usize,
    values: Vec<f64>,
    /// What was taken from each column; 0 where nothing was, and for the ones.
    means: Vec<f64>,
}

/// Whether the mean of each column is taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// With a free intercept, which takes them in: then weights and intercept hardly hinder each other.
    Subtracted,
    Kept,
}

impl Columns {
    /// # Errors
    /// [`Error::NoLinearPath`](crate::Error::NoLinearPath) for inputs that are no matrix of finite F32 or F64 numbers.
    pub(super) fn new(inputs: &Tensor, means: Means) -> Result<Self> {
        let &[rows, count] = inputs.dims() else {
            return Err(refused("inputs", format!("shape {:?} is not n × p", inputs.dims())));
        };
        if rows == 0 || count == 0 {
            return Err(refused("inputs", format!("shape {:?} holds no numbers", inputs.dims())));
        }
        let length = rows.next_multiple_of(LANES);
        let mut values = vec![0.0; (count + 1) * length];
        let on_cpu = inputs.to_device(&Device::Cpu)?;
        let (storage, layout) = on_cpu.storage_and_layout();
        let (start, strides) = (layout.start_offset(), layout.stride());
        let at = Strided { start, row: strides[0], column: strides[1], rows, length };
        let Storage::Cpu(storage) = &*storage else {
            return Err(refused("inputs", "it could not be read from its device".to_owned()));
        };
        match storage {
            CpuStorage::F32(from) => at.copy(from, &mut values[..count * length], |x| f64::from(*x)),
            CpuStorage::F64(from) => at.copy(from, &mut values[..count * length], |x| *x),
            _ => return Err(refused("inputs", format!("dtype {:?} (expected F32 or F64)", inputs.dtype()))),
        }
        let mut columns = Self { rows, length, count, values, means: vec![0.0; count + 1] };
        columns.values[count * length..][..rows].fill(1.0);
        columns.center(means)?;
        Ok(columns)
    }

    fn center(&mut self, means: Means) -> Result<()> {
        let (rows, count) = (self.rows as f64, self.count);
        for (index, column) in self.values.chunks_exact_mut(self.length).take(count).enumerate() {
            let column = &mut column[..self.rows];
            let mean = column.iter().sum::<f64>() / rows;
            if !mean.is_finite() {
                let bad = column.iter().position(|x| !x.is_finite());
                let what = match bad {
                    Some(row) => format!("it holds {} at row {row}, column {index}", column[row]),
                    None => format!("the sum of column {index} is beyond the largest number"),
                };
                return Err(refused("inputs", format!("{what} (expected finite numbers)")));
            }
            if means == Means::Kept {
                continue;
            }
            column.iter_mut().for_each(|x| *x -= mean);
            self.means[index] = mean;
            // A constant column is nothing beside an intercept; what rounding leaves of it is not to be taken for a signal.
            let largest = column.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
            if largest <= 8.0 * f64::EPSILON * mean.abs() * rows.sqrt() {
                column.fill(0.0);
            }
        }
        Ok(())
    }

    pub(super) fn column(&self, index: usize) -> &[f64] {
        &self.values[index * self.length..][..self.length]
    }

    /// The mean that was taken from a column.
    pub(super) fn mean(&self, index: usize) -> f64 {
        self.means[index]
    }

    /// `Xᵀθ`: at `j·k + c` the sum over column j and θ's c-th part (each of [`length`](Self::length), k of them).
    pub(super) fn correlations(&self, theta: &[f64], result: &mut [f64]) {
        let outputs = theta.len() / self.length;
        all(&self.values[..self.count * self.length], self.length, theta, &mut result[..self.count * outputs]);
    }

    /// The same for some of the columns, each at its place in `result`.
    pub(super) fn correlations_of(&self, columns: &[usize], theta: &[f64], result: &mut [f64]) {
        simd::run(Some { of: self, columns, theta, result });
    }

    /// Sums over one vector and each of some columns.
    pub(super) fn dots(&self, columns: impl Iterator<Item = usize> + Clone, with: &[f64], result: &mut Vec<f64>) {
        simd::run(Each { of: self, columns, with, result });
    }
}

/// Where the numbers of a matrix lie.
struct Strided {
    start: usize,
    row: usize,
    column: usize,
    rows: usize,
    length: usize,
}

impl Strided {
    /// Column by column, some rows of some columns at a time, so that what is read together lies together.
    fn copy<T>(&self, from: &[T], to: &mut [f64], wide: impl Fn(&T) -> f64) {
        const ROWS: usize = 64;
        const COLUMNS: usize = 16;
        for (block, to) in to.chunks_mut(COLUMNS * self.length).enumerate() {
            for first in (0..self.rows).step_by(ROWS) {
                let rows = first..self.rows.min(first + ROWS);
                for row in rows {
                    let start = self.start + row * self.row + block * COLUMNS * self.column;
                    for (index, column) in to.chunks_exact_mut(self.length).enumerate() {
                        column[row] = wide(&from[start + index * self.column]);
                    }
                }
            }
        }
    }
}

/// Halves until a piece is not worth another thread.
fn all(values: &[f64], length: usize, theta: &[f64], result: &mut [f64]) {
    let outputs = theta.len() / length;
    let count = values.len() / length;
    if values.len() * outputs <= WORTH_A_THREAD || count < 2 * SIDE_BY_SIDE {
        return simd::run(All { values, length, theta, result });
    }
    let at = (count / 2).next_multiple_of(SIDE_BY_SIDE);
    let (values, rest) = values.split_at(at * length);
    let (result, result_rest) = result.split_at_mut(at * outputs);
    rayon::join(|| all(values, length, theta, result), || all(rest, length, theta, result_rest));
}

type Vectors<'a> = &'a [[f64; LANES]];

fn vectors(values: &[f64]) -> Vectors<'_> {
    values.as_chunks().0
}

/// J·C sums at once.
#[inline(always)]
fn sums<const J: usize, const C: usize>(x: [Vectors<'_>; J], theta: [Vectors<'_>; C]) -> [[f64; C]; J] {
    let length = x[0].len();
    let (x, theta) = (x.map(|x| &x[..length]), theta.map(|theta| &theta[..length]));
    let mut sums = [[[0.0; LANES]; C]; J];
    for i in 0..length {
        for j in 0..J {
            for c in 0..C {
                for lane in 0..LANES {
                    sums[j][c][lane] += x[j][i][lane] * theta[c][i][lane];
                }
            }
        }
    }
    sums.map(|sums| sums.map(joined))
}

#[inline(always)]
fn joined(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// All sums of some columns.
#[inline(always)]
fn block<const J: usize>(x: [&[f64]; J], theta: &[f64], mut put: impl FnMut(usize, usize, f64)) {
    let (length, x) = (x[0].len(), x.map(vectors));
    let mut pairs = theta.chunks_exact(2 * length);
    let mut output = 0;
    for pair in &mut pairs {
        let (first, second) = pair.split_at(length);
        let sums = sums(x, [vectors(first), vectors(second)]);
        for (j, [first, second]) in sums.into_iter().enumerate() {
            put(j, output, first);
            put(j, output + 1, second);
        }
        output += 2;
    }
    if !pairs.remainder().is_empty() {
        let sums = sums(x, [vectors(pairs.remainder())]);
        sums.into_iter().enumerate().for_each(|(j, [sum])| put(j, output, sum));
    }
}

struct All<'a> {
    values: &'a [f64],
    length: usize,
    theta: &'a [f64],
    result: &'a mut [f64],
}

impl simd::Loop for All<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { values, length, theta, result } = self;
        let outputs = theta.len() / length;
        let (mut columns, mut results) =
            (values.chunks_exact(SIDE_BY_SIDE * length), result.chunks_exact_mut(SIDE_BY_SIDE * outputs));
        for (four, result) in (&mut columns).zip(&mut results) {
            let column = |j: usize| &four[j * length..][..length];
            block([column(0), column(1), column(2), column(3)], theta, |j, c, sum| result[j * outputs + c] = sum);
        }
        let rest = columns.remainder().chunks_exact(length);
        for (column, result) in rest.zip(results.into_remainder().chunks_exact_mut(outputs)) {
            block([column], theta, |_, c, sum| result[c] = sum);
        }
    }
}

struct Some<'a> {
    of: &'a Columns,
    columns: &'a [usize],
    theta: &'a [f64],
    result: &'a mut [f64],
}

impl simd::Loop for Some<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { of, columns, theta, result } = self;
        let outputs = theta.len() / of.length;
        let (fours, rest) = columns.as_chunks::<SIDE_BY_SIDE>();
        for four in fours {
            block(four.map(|j| of.column(j)), theta, |j, c, sum| result[four[j] * outputs + c] = sum);
        }
        for &index in rest {
            block([of.column(index)], theta, |_, c, sum| result[index * outputs + c] = sum);
        }
    }
}

struct Each<'a, I> {
    of: &'a Columns,
    columns: I,
    with: &'a [f64],
    result: &'a mut Vec<f64>,
}

impl<I: Iterator<Item = usize>> simd::Loop for Each<'_, I> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { of, mut columns, with, result } = self;
        result.clear();
        let with = vectors(with);
        while let Option::Some(first) = columns.next() {
            let rest = [columns.next(), columns.next(), columns.next()];
            if let [Option::Some(second), Option::Some(third), Option::Some(fourth)] = rest {
                let x = [first, second, third, fourth].map(|j| vectors(of.column(j)));
                result.extend(sums(x, [with]).map(|[sum]| sum));
            } else {
                let left = [first].into_iter().chain(rest.into_iter().flatten());
                result.extend(left.map(|j| sums([vectors(of.column(j))], [with])[0][0]));
            }
        }
    }
}

/// `to += factor·x`.
#[inline(always)]
pub(super) fn add(to: &mut [f64], factor: f64, x: &[f64]) {
    to.iter_mut().zip(x).for_each(|(to, x)| *to += factor * x);
}
