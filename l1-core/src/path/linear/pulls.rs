//! How hard each column pulls at its weights: found anew only where what is known of it does not suffice.
//!
//! If a column x was last asked at θ₀, then at θ, whatever a, `|x·θ| ≤ |a|·|x·θ₀| + ‖x‖·‖θ − aθ₀‖` (Cauchy & Schwarz; a as makes the last
//! norm least). Where the bound is below what the penalty holds, the condition of a zero is proved without a look at the column. Nine columns of
//! ten on a path are left out so.

use std::collections::VecDeque;

use super::columns::Columns;
use crate::scalar::exceeds;

/// Gradients that are remembered.
const REMEMBERED: usize = 64;
/// No gradient that is remembered.
const NONE: u64 = u64::MAX;
/// Relative to ‖x‖·‖θ‖, more than what a sum's rounding takes from a bound.
const ROUNDING: f64 = 1e-12;

#[derive(Debug)]
pub(super) struct Pulls {
    outputs: usize,
    /// Whether the k numbers of a column are bounded together, by their norm, or each.
    is_grouped: bool,
    /// The gradients at which columns were asked, the latest last.
    past: VecDeque<Past>,
    /// The number of the first of them.
    first: u64,
    /// At which of them each column was asked.
    asked_at: Vec<u64>,
    /// No less than what each column pulls with now.
    bounds: Vec<f64>,
    /// Whether the last of the past is the present.
    is_present: bool,
    list: Vec<usize>,
    answers: Vec<f64>,
    /// How often a column was asked.
    pub(super) asked: usize,
}

#[derive(Debug)]
struct Past {
    theta: Vec<f64>,
    /// Σθ and ‖θ‖² of each output.
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Pulls {
    pub(super) fn new(columns: &Columns, outputs: usize, is_grouped: bool) -> Self {
        Self {
            outputs,
            is_grouped,
            past: VecDeque::new(),
            first: 0,
            asked_at: vec![NONE; columns.count],
            bounds: vec![f64::INFINITY; columns.count],
            is_present: false,
            list: Vec::new(),
            answers: Vec::new(),
            asked: 0,
        }
    }

    /// The gradient has moved.
    pub(super) fn moved(&mut self) {
        self.is_present = false;
    }

    /// No less than what a column pulls with.
    pub(super) fn bound(&self, column: usize) -> f64 {
        self.bounds[column]
    }

    /// The gradients of some columns at θ, into their places in `v`: k numbers a column.
    pub(super) fn ask(&mut self, columns: &Columns, some: &[usize], theta: &[f64], v: &mut [f64]) {
        self.asked += some.len();
        columns.correlations(some, theta, &mut self.answers);
        let sums: Vec<f64> = theta.chunks_exact(columns.length).map(|theta| theta.iter().sum()).collect();
        for (&column, answer) in some.iter().zip(self.answers.chunks_exact(self.outputs)) {
            let mean = columns.mean(column);
            let v = &mut v[column * self.outputs..][..self.outputs];
            v.iter_mut().zip(answer).zip(&sums).for_each(|((v, answer), sum)| *v = answer + mean * sum);
            self.asked_at[column] = NONE;
        }
    }

    /// Asks every column that may pull with more than this; the gradients of others are of long ago.
    pub(super) fn ask_above(&mut self, threshold: f64, columns: &Columns, theta: &[f64], v: &mut [f64]) {
        if !self.is_present {
            self.begin(columns, theta, v);
        }
        let present = self.first + self.past.len() as u64 - 1;
        let mut list = std::mem::take(&mut self.list);
        list.clear();
        // NaN is not below.
        let is_open = |column: &usize| exceeds(self.bounds[*column], threshold) && self.asked_at[*column] != present;
        list.extend((0..columns.count).filter(is_open));
        self.ask(columns, &list, theta, v);
        for &column in &list {
            self.asked_at[column] = present;
            let v = &v[column * self.outputs..][..self.outputs];
            self.bounds[column] = self.of_column(v.iter().map(|v| v.abs()));
        }
        self.list = list;
    }

    fn of_column(&self, pulls: impl Iterator<Item = f64>) -> f64 {
        if self.is_grouped {
            pulls.map(|pull| pull * pull).sum::<f64>().sqrt()
        } else {
            pulls.fold(0.0, |largest, pull| if pull > largest || pull.is_nan() { pull } else { largest })
        }
    }

    /// Bounds at another gradient.
    fn begin(&mut self, columns: &Columns, theta: &[f64], v: &[f64]) {
        let length = columns.length;
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
            self.first += 1;
        }
        let parts = || theta.chunks_exact(length);
        let sums: Vec<f64> = parts().map(|theta| theta.iter().sum()).collect();
        let squares: Vec<f64> = parts().map(|theta| dot(theta, theta)).collect();
        // What is left of each gradient of the past, and how far the present is from that.
        let factors: Vec<(f64, f64, f64)> = self
            .past
            .iter()
            .flat_map(|past| {
                let outputs = parts().zip(past.theta.chunks_exact(length)).enumerate();
                outputs.map(|(output, (theta, old))| {
                    let square = past.squares[output];
                    let share = if square > 0.0 { dot(theta, old) / square } else { 0.0 };
                    let rest = theta.iter().zip(old).map(|(theta, old)| (theta - share * old).powi(2)).sum::<f64>();
                    let rest = rest.sqrt() + ROUNDING * squares[output].sqrt();
                    (share.abs(), rest, share.abs() * past.sums[output].abs() + sums[output].abs())
                })
            })
            .collect();
        for column in 0..columns.count {
            let at = self.asked_at[column];
            let bound = if at == NONE || at < self.first {
                f64::INFINITY
            } else {
                let factors = &factors[(at - self.first) as usize * self.outputs..][..self.outputs];
                let (norm, mean) = (columns.norm(column), columns.mean(column).abs());
                let v = &v[column * self.outputs..][..self.outputs];
                let pulls =
                    v.iter().zip(factors).map(|(v, (share, rest, sum))| share * v.abs() + norm * rest + mean * sum);
                self.of_column(pulls) * (1.0 + ROUNDING)
            };
            self.bounds[column] = bound;
        }
        self.past.push_back(Past { theta: theta.to_vec(), sums, squares });
        self.is_present = true;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::{
        Result,
        path::linear::columns::{Columns, Means},
    };

    #[test]
    fn no_column_pulls_with_more_than_its_bound() -> Result<()> {
        let (n, p, k) = (13, 40, 2);
        let wave = |at: usize| (at as f64 * 1.7).sin() + (at as f64 * 0.31).cos() + (at % p) as f64 / 20.0;
        let x = Tensor::from_vec((0..n * p).map(wave).collect::<Vec<_>>(), (n, p), &Device::Cpu)?;
        for is_grouped in [false, true] {
            let columns = Columns::new(&x, Means::Subtracted)?;
            let mut pulls = Pulls::new(&columns, k, is_grouped);
            let (mut v, mut exact) = (vec![0.0; p * k], vec![0.0; p * k]);
            let every: Vec<usize> = (0..p).collect();
            let mut left_out = 0;
            for step in 0..100 {
                // It shrinks and turns, as along a path.
                let shrink = 0.97_f64.powi(step);
                let of_row = |row: usize| shrink * wave(row) + 0.002 * f64::from(step) * shrink * wave(3 * row + 1);
                let mut theta = vec![0.0; k * columns.length];
                for (output, theta) in theta.chunks_exact_mut(columns.length).enumerate() {
                    (0..n).for_each(|row| theta[row] = of_row(row + 50 * output));
                }
                Pulls::new(&columns, k, is_grouped).ask(&columns, &every, &theta, &mut exact);
                pulls.moved();
                pulls.ask_above(10.0 * shrink, &columns, &theta, &mut v);
                for column in 0..p {
                    let (v, exact) = (&v[column * k..][..k], &exact[column * k..][..k]);
                    let pull = pulls.of_column(exact.iter().map(|v| v.abs()));
                    assert!(pull <= pulls.bound(column), "{pull} {}", pulls.bound(column));
                    if pulls.bound(column) > 10.0 * shrink {
                        assert_eq!(v, exact);
                    } else {
                        left_out += usize::from(v != exact);
                    }
                }
            }
            assert!(left_out > 100, "{left_out}");
        }
        Ok(())
    }
}
