//! The losses of linear models and their conjugates, without overflow and with 0·ln 0 = 0.
//!
//! | loss of one row | θ = −∂ℓ/∂η | −ℓ*(−u) |
//! |---|---|---|
//! | `(y − η)²` | `2(y − η)` | `uy − u²/4` |
//! | `ln Σ_k e^η_k − Σ_k y_k·η_k` | `y − softmax(η)` | `−Σ_k q_k ln q_k`, `q = y − u` |
//!
//! A logistic output is two classes of the scores 0 and η.

use candle_core::{DType, Tensor};

use super::{LinearLoss, column_sums, entries, in_f64, refused};
use crate::Result;

/// What the scores should be.
pub(super) enum Targets {
    Squares {
        y: Vec<f64>,
        outputs: usize,
    },
    /// One problem for each output, of the classes "not" and "yes".
    Logistic(Vec<Classes>),
    Multinomial(Classes),
}

impl Targets {
    pub(super) fn new(loss: LinearLoss, targets: &Tensor, rows: usize, outputs: usize) -> Result<Self> {
        if loss == LinearLoss::Multinomial {
            return Self::multinomial(targets, rows, outputs);
        }
        if targets.dims() != [rows, outputs] && !(outputs == 1 && targets.dims() == [rows]) {
            let expected = format!("{:?} for {rows} examples and {outputs} outputs", [rows, outputs]);
            return Err(refused("targets", format!("shape {:?} (expected {expected})", targets.dims())));
        }
        let y = entries(&in_f64("targets", targets)?)?;
        if loss == LinearLoss::Squared {
            return Ok(Self::Squares { y, outputs });
        }
        if let Some(index) = y.iter().position(|y| !(0.0..=1.0).contains(y)) {
            let why =
                format!("it holds {} at flat index {index} (expected 0, 1, or a probability between them)", y[index]);
            return Err(refused("targets", why));
        }
        let of_output = |output| {
            let y = y.iter().skip(output).step_by(outputs);
            Classes { count: 2, y: y.flat_map(|y| [1.0 - y, *y]).collect() }
        };
        Ok(Self::Logistic((0..outputs).map(of_output).collect()))
    }

    fn multinomial(targets: &Tensor, rows: usize, outputs: usize) -> Result<Self> {
        if targets.dims() != [rows] || !matches!(targets.dtype(), DType::U8 | DType::U32 | DType::I64) {
            let found = format!("shape {:?}, dtype {:?}", targets.dims(), targets.dtype());
            return Err(refused("targets", format!("{found} (expected {rows} class numbers in U8, U32 or I64)")));
        }
        let mut y = vec![0.0; rows * outputs];
        for (row, label) in entries(&in_f64("targets", targets)?)?.into_iter().enumerate() {
            if !(0.0..outputs as f64).contains(&label) {
                let why = format!("it holds class {label} at index {row} (expected 0 to {})", outputs - 1);
                return Err(refused("targets", why));
            }
            y[row * outputs + label as usize] = 1.0;
        }
        Ok(Self::Multinomial(Classes { count: outputs, y }))
    }

    /// By how much the sum over all rows is divided.
    pub(super) fn terms(&self) -> f64 {
        match self {
            Self::Squares { y, .. } => y.len() as f64,
            Self::Logistic(outputs) => outputs.iter().map(|output| output.rows() as f64).sum(),
            Self::Multinomial(classes) => classes.rows() as f64,
        }
    }

    /// The loss. Scores and whatever else goes with them are rows × outputs.
    pub(super) fn value(&self, scores: &[f64]) -> f64 {
        let sum: f64 = match self {
            Self::Squares { y, .. } => y.iter().zip(scores).map(|(y, score)| (y - score) * (y - score)).sum(),
            Self::Logistic(outputs) => {
                let of_output = |(at, output): (usize, &Classes)| output.value(&two_classes(scores, outputs.len(), at));
                outputs.iter().enumerate().map(of_output).sum()
            }
            Self::Multinomial(classes) => classes.value(scores),
        };
        sum / self.terms()
    }

    /// Moves the scores of every output by the intercept that makes the loss smallest, −∞ for a class without an example.
    pub(super) fn fit_intercept(&self, scores: &mut [f64]) {
        match self {
            Self::Squares { y, outputs } => {
                let residuals: Vec<_> = y.iter().zip(&*scores).map(|(y, score)| y - score).collect();
                let means = column_means(&residuals, *outputs);
                scores.iter_mut().zip(means.iter().cycle()).for_each(|(score, mean)| *score += mean);
            }
            Self::Logistic(outputs) => {
                for (at, output) in outputs.iter().enumerate() {
                    let mut pairs = two_classes(scores, outputs.len(), at);
                    output.fit_intercept(&mut pairs);
                    let scores = scores.iter_mut().skip(at).step_by(outputs.len());
                    // −∞ − −∞ does not occur: one of two classes has an example.
                    scores.zip(pairs.chunks(2)).for_each(|(score, pair)| *score = pair[1] - pair[0]);
                }
            }
            Self::Multinomial(classes) => classes.fit_intercept(scores),
        }
    }

    /// θ; if the intercept is free, with a sum of 0 over the rows of every output, which the scores have to be near already.
    pub(super) fn dual_point(&self, scores: &[f64], is_free: bool) -> Vec<f64> {
        match self {
            Self::Squares { y, outputs } => {
                let mut theta: Vec<_> = y.iter().zip(scores).map(|(y, score)| 2.0 * (y - score)).collect();
                if is_free {
                    center(&mut theta, *outputs);
                }
                theta
            }
            Self::Logistic(outputs) => {
                let mut theta = vec![0.0; scores.len()];
                for (at, output) in outputs.iter().enumerate() {
                    let pairs = output.dual_point(&two_classes(scores, outputs.len(), at), is_free);
                    let theta = theta.iter_mut().skip(at).step_by(outputs.len());
                    theta.zip(pairs.chunks(2)).for_each(|(theta, pair)| *theta = pair[1]);
                }
                theta
            }
            Self::Multinomial(classes) => classes.dual_point(scores, is_free),
        }
    }

    /// `−(1/n)·Σᵢ ℓᵢ*(−uᵢ)`.
    pub(super) fn dual_value(&self, u: &[f64], is_free: bool) -> f64 {
        let sum: f64 = match self {
            Self::Squares { y, outputs } => {
                let mut y = y.clone();
                if is_free {
                    // The sums of u are 0, so that this is the same, and more exact.
                    center(&mut y, *outputs);
                }
                y.iter().zip(u).map(|(y, u)| u * y - 0.25 * u * u).sum()
            }
            Self::Logistic(outputs) => {
                let of_output = |(at, output): (usize, &Classes)| {
                    let u = u.iter().skip(at).step_by(outputs.len());
                    output.dual_value(&u.flat_map(|u| [-u, *u]).collect::<Vec<_>>())
                };
                outputs.iter().enumerate().map(of_output).sum()
            }
            Self::Multinomial(classes) => classes.dual_value(u),
        };
        sum / self.terms()
    }
}

/// The scores 0 and η of one output.
fn two_classes(scores: &[f64], outputs: usize, at: usize) -> Vec<f64> {
    scores.iter().skip(at).step_by(outputs).flat_map(|score| [0.0, *score]).collect()
}

fn column_means(matrix: &[f64], columns: usize) -> Vec<f64> {
    let rows = (matrix.len() / columns) as f64;
    column_sums(matrix, columns).into_iter().map(|sum| sum / rows).collect()
}

fn center(matrix: &mut [f64], columns: usize) {
    let means = column_means(matrix, columns);
    matrix.iter_mut().zip(means.iter().cycle()).for_each(|(entry, mean)| *entry -= mean);
}

/// Rows of `count` classes, with the probabilities that they should have.
pub(super) struct Classes {
    count: usize,
    y: Vec<f64>,
}

impl Classes {
    fn rows(&self) -> usize {
        self.y.len() / self.count
    }

    fn value(&self, scores: &[f64]) -> f64 {
        let of_row = |(scores, y): (&[f64], &[f64])| {
            let (at, largest) = largest(scores);
            let others = scores.iter().enumerate().filter(|(k, _)| *k != at);
            let rest: f64 = others.map(|(_, score)| (score - largest).exp()).sum();
            // A score may be infinite: the largest is 0 below itself, and −∞ counts nothing where it should be nothing.
            let below = y.iter().zip(scores).filter(|(y, score)| **y > 0.0 && **score < largest);
            let below = below.map(|(y, score)| y * (largest - score));
            below.sum::<f64>() + rest.ln_1p()
        };
        scores.chunks(self.count).zip(self.y.chunks(self.count)).map(of_row).sum()
    }

    /// Softmax of every row.
    fn probabilities(&self, scores: &[f64]) -> Vec<f64> {
        let of_row = |scores: &[f64]| {
            let (_, largest) = largest(scores);
            let weight = |score: &f64| if *score == largest { 1.0 } else { (score - largest).exp() };
            let weights: Vec<_> = scores.iter().map(weight).collect();
            let sum: f64 = weights.iter().sum();
            weights.into_iter().map(move |weight| weight / sum)
        };
        scores.chunks(self.count).flat_map(of_row).collect()
    }

    fn dual_point(&self, scores: &[f64], is_free: bool) -> Vec<f64> {
        let mut q = self.probabilities(scores);
        if is_free {
            self.balance(&mut q);
        }
        self.y.iter().zip(q).map(|(y, q)| y - q).collect()
    }

    /// The entropy of q = y − u.
    fn dual_value(&self, u: &[f64]) -> f64 {
        let q = self.y.iter().zip(u).map(|(y, u)| y - u);
        q.filter(|q| *q > 0.0).map(|q| -q * q.ln()).sum()
    }

    /// Gives every class its share of the examples exactly: `(1 − ε)·q + ε·r` with the same r ≥ 0 in every row, for the smallest ε.
    ///
    /// The best intercept does that up to rounding; so does this, but from anywhere, and D holds wherever Newton's method has stopped.
    fn balance(&self, q: &mut [f64]) {
        let share = column_means(&self.y, self.count);
        let surplus: Vec<_> = column_means(q, self.count).iter().zip(&share).map(|(q, share)| q - share).collect();
        let relative = |(surplus, share): (&f64, &f64)| if *surplus > 0.0 { surplus / share } else { 0.0 };
        let most = surplus.iter().zip(&share).map(relative).fold(0.0, f64::max);
        if most == 0.0 {
            return;
        }
        let epsilon = if most.is_finite() { most / (1.0 + most) } else { 1.0 };
        let r: Vec<_> = share.iter().zip(&surplus).map(|(share, surplus)| (share - surplus / most).max(0.0)).collect();
        q.iter_mut().zip(r.iter().cycle()).for_each(|(q, r)| *q = (1.0 - epsilon) * *q + epsilon * r);
    }

    /// Newton's method in the intercepts alone, halving steps that do not lower the loss.
    fn fit_intercept(&self, scores: &mut [f64]) {
        let share = column_means(&self.y, self.count);
        scores.iter_mut().zip(share.iter().cycle()).for_each(|(score, share)| {
            if *share == 0.0 {
                *score = f64::NEG_INFINITY;
            }
        });
        let mut value = self.value(scores);
        let mut least = f64::INFINITY;
        for _ in 0..100 {
            let q = self.probabilities(scores);
            let means = column_means(&q, self.count);
            let excess: Vec<_> = means.iter().zip(&share).map(|(q, share)| q - share).collect();
            let worst = excess.iter().fold(0.0, |worst: f64, excess| worst.max(excess.abs()));
            // At the end it falls no further.
            if worst <= f64::EPSILON || (worst < 1e-12 && worst >= least) {
                return;
            }
            least = least.min(worst);
            let move_by = self.newton(&q, &means, &excess).unwrap_or_else(|| {
                // Flat or nearly so: iterative scaling never fails, only slowly succeeds.
                let toward = |(share, q): (&f64, &f64)| if *share > 0.0 { (share / q).ln() } else { 0.0 };
                share.iter().zip(&means).map(toward).collect()
            });
            let mut t = 1.0;
            loop {
                let moves = move_by.iter().map(|by| t * by.clamp(-100.0, 100.0)).collect::<Vec<_>>();
                let moved: Vec<_> = scores.iter().zip(moves.iter().cycle()).map(|(score, by)| score + by).collect();
                let at_moved = self.value(&moved);
                if at_moved <= value * (1.0 + f64::EPSILON) {
                    scores.copy_from_slice(&moved);
                    value = at_moved;
                    break;
                }
                t *= 0.5;
                if t < 1e-9 {
                    return;
                }
            }
        }
    }

    /// `−H⁻¹·excess`, H the Hessian of the mean loss in the intercepts, which is flat along (1, …, 1): there the move is 0.
    fn newton(&self, q: &[f64], means: &[f64], excess: &[f64]) -> Option<Vec<f64>> {
        let (count, rows) = (self.count, self.rows() as f64);
        let mut hessian = vec![1.0 / count as f64; count * count];
        for row in q.chunks(count) {
            for (i, a) in row.iter().enumerate() {
                for (j, b) in row[..=i].iter().enumerate() {
                    hessian[i * count + j] -= a * b / rows;
                }
            }
        }
        for (k, mean) in means.iter().enumerate() {
            // A class without an example stays where it is.
            hessian[k * count + k] += if *mean > 0.0 { *mean } else { 1.0 };
        }
        solve(hessian, count, excess).map(|solution| solution.into_iter().map(|entry| -entry).collect())
    }
}

/// The place of the largest score, and the score.
fn largest(scores: &[f64]) -> (usize, f64) {
    let larger = |best: (usize, f64), (at, score): (usize, &f64)| if *score > best.1 { (at, *score) } else { best };
    scores.iter().enumerate().fold((0, f64::NEG_INFINITY), larger)
}

/// Solves for a symmetric matrix by Cholesky's factors, its lower half being given; none if it is not positive definite to some digits.
fn solve(mut matrix: Vec<f64>, size: usize, right: &[f64]) -> Option<Vec<f64>> {
    for row in 0..size {
        for column in 0..=row {
            let dot: f64 = (0..column).map(|k| matrix[row * size + k] * matrix[column * size + k]).sum();
            let rest = matrix[row * size + column] - dot;
            matrix[row * size + column] = if row > column {
                rest / matrix[column * size + column]
            } else if rest > 1e-13 * matrix[row * size + row] {
                rest.sqrt()
            } else {
                return None;
            };
        }
    }
    let mut x = right.to_vec();
    for row in 0..size {
        let dot: f64 = (0..row).map(|k| matrix[row * size + k] * x[k]).sum();
        x[row] = (x[row] - dot) / matrix[row * size + row];
    }
    for row in (0..size).rev() {
        let dot: f64 = (row + 1..size).map(|k| matrix[k * size + row] * x[k]).sum();
        x[row] = (x[row] - dot) / matrix[row * size + row];
    }
    x.iter().all(|entry| entry.is_finite()).then_some(x)
}
