//! The loss as a function of the scores alone: its value and gradient by candle, and its curvature from differences of gradients.

use candle_core::{DType, Device, Tensor, Var};

use super::refused;
use crate::{Error, Result};

/// A user's loss of n × k scores.
pub(super) struct Loss<'f> {
    of_scores: &'f dyn Fn(&Tensor) -> candle_core::Result<Tensor>,
    rows: usize,
    /// n filled up to whole lanes: the length of one output's scores.
    length: usize,
    outputs: usize,
    device: Device,
    dtype: DType,
    row_major: Vec<f64>,
    /// Calls so far.
    pub(super) calls: usize,
}

impl std::fmt::Debug for Loss<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loss").field("rows", &self.rows).field("outputs", &self.outputs).finish_non_exhaustive()
    }
}

impl<'f> Loss<'f> {
    /// The scores are given in f64 if the loss takes them so (its targets may be in f32), else in the dtype of the inputs.
    pub(super) fn new(
        of_scores: &'f dyn Fn(&Tensor) -> candle_core::Result<Tensor>,
        (rows, length, outputs): (usize, usize, usize),
        inputs: &Tensor,
    ) -> Result<Self> {
        let (device, dtype) = (inputs.device().clone(), inputs.dtype());
        let takes_f64 = || of_scores(&Tensor::zeros((rows, outputs), DType::F64, &device)?);
        let dtype = if dtype == DType::F64 || takes_f64().is_ok() { DType::F64 } else { dtype };
        Ok(Self { of_scores, rows, length, outputs, device, dtype, row_major: Vec::new(), calls: 0 })
    }

    /// The relative spacing of its numbers.
    pub(super) fn ulp(&self) -> f64 {
        if self.dtype == DType::F64 { f64::EPSILON } else { f32::EPSILON.into() }
    }

    /// The value, and the gradient in place of what `gradient` held. Both k parts of [`length`](Self::length).
    pub(super) fn evaluate(&mut self, scores: &[f64], gradient: &mut Vec<f64>) -> Result<f64> {
        let (rows, outputs, length) = (self.rows, self.outputs, self.length);
        self.calls += 1;
        let mut row_major = std::mem::take(&mut self.row_major);
        row_major.clear();
        if outputs == 1 {
            row_major.extend_from_slice(&scores[..rows]);
        } else {
            row_major.extend((0..rows).flat_map(|row| (0..outputs).map(move |output| scores[output * length + row])));
        }
        let tensor = match self.dtype {
            DType::F64 => Tensor::from_slice(&row_major, (rows, outputs), &self.device)?,
            dtype => Tensor::from_slice(&row_major, (rows, outputs), &Device::Cpu)?
                .to_dtype(dtype)?
                .to_device(&self.device)?,
        };
        self.row_major = row_major;
        let scores = Var::from_tensor(&tensor)?;
        let loss = (self.of_scores)(scores.as_tensor())?;
        if loss.rank() != 0 {
            return Err(Error::LossShape { found: loss.shape().clone() });
        }
        let value = match loss.dtype() {
            DType::F64 => loss.to_scalar::<f64>()?,
            _ => loss.to_dtype(DType::F64)?.to_scalar::<f64>()?,
        };
        let grads = loss.backward()?;
        let Some(grad) = grads.get(&scores) else {
            return Err(refused("loss", "it has no gradient at the scores that it is given".to_owned()));
        };
        let grad = match grad.dtype() {
            DType::F64 => grad.flatten_all()?.to_vec1::<f64>()?,
            _ => grad.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?,
        };
        gradient.clear();
        gradient.resize(outputs * length, 0.0);
        for (row, grad) in grad.chunks_exact(outputs).enumerate() {
            for (output, grad) in grad.iter().enumerate() {
                gradient[output * length + row] = *grad;
            }
        }
        // Where the value is a number, a gradient that is none would be taken for one by nothing that follows.
        let is_finite = grad.iter().all(|grad| grad.is_finite());
        Ok(if is_finite { value } else { f64::NAN })
    }
}

/// The curvature of the loss: for each example a k × k block, if examples enter the loss one by one. Else an estimate, which makes the
/// solver slower but not its answer another.
#[derive(Debug)]
pub(super) struct Curvature {
    outputs: usize,
    length: usize,
    rows: usize,
    /// As found: k·k parts, or k if outputs do not mix.
    found: Vec<f64>,
    /// The same, positive and damped.
    values: Vec<f64>,
    is_diagonal: bool,
    /// The largest of the diagonals.
    largest: f64,
    /// Share of the largest that was added to each diagonal.
    damping: f64,
}

impl Curvature {
    /// From one more gradient for each output.
    ///
    /// * `damping`: which share of the largest curvature is added to each.
    pub(super) fn estimate(loss: &mut Loss<'_>, scores: &[f64], gradient: &[f64], damping: f64) -> Result<Self> {
        let (rows, outputs, length) = (loss.rows, loss.outputs, loss.length);
        let is_narrow = loss.dtype != DType::F64;
        // Between rounding and curvature of the gradient.
        let (h, mixing) = if is_narrow { (2e-3, 1e-3) } else { (1e-6, 1e-6) };
        let mut found = vec![0.0; outputs * outputs * length];
        let (mut moved, mut moved_gradient) = (scores.to_vec(), Vec::new());
        for output in 0..outputs {
            let own = output * length..output * length + rows;
            for score in &mut moved[own.clone()] {
                *score += h * (1.0 + score.abs());
            }
            loss.evaluate(&moved, &mut moved_gradient)?;
            let block = &mut found[output * outputs * length..][..outputs * length];
            for other in 0..outputs {
                for row in 0..rows {
                    let step = moved[output * length + row] - scores[output * length + row];
                    let at = other * length + row;
                    let slope = (moved_gradient[at] - gradient[at]) / step;
                    block[at] = if slope.is_finite() { slope } else { 0.0 };
                }
            }
            moved[own.clone()].copy_from_slice(&scores[own]);
        }
        let (mut largest, off) = symmetric(&mut found, outputs, length);
        // A loss that is flat everywhere is as good as one of curvature 1: damping will find its size.
        if largest == 0.0 {
            largest = 1.0;
        }
        let is_diagonal = off <= mixing * largest;
        if is_diagonal {
            let part = |output| &found[output * (outputs + 1) * length..][..length];
            found = (0..outputs).flat_map(part).copied().collect();
        }
        let values = Vec::new();
        let mut curvature = Self { outputs, length, rows, found, values, is_diagonal, largest, damping };
        curvature.set_damping(damping);
        Ok(curvature)
    }

    pub(super) fn damping(&self) -> f64 {
        self.damping
    }

    /// Positive, and more so by a share of the largest curvature.
    pub(super) fn set_damping(&mut self, damping: f64) {
        let Self { outputs: k, length, rows, .. } = *self;
        self.damping = damping;
        let floor = damping * self.largest;
        self.values.clone_from(&self.found);
        if self.is_diagonal {
            for part in self.values.chunks_exact_mut(length) {
                part[..rows].iter_mut().for_each(|value| *value = value.max(0.0) + floor);
            }
            return;
        }
        let at = |a: usize, b: usize, row: usize| (a * k + b) * length + row;
        let mut block = vec![0.0; k * k];
        for row in 0..rows {
            for a in 0..k {
                let diagonal = &mut self.values[at(a, a, row)];
                *diagonal = diagonal.max(0.0) + floor;
                for b in 0..k {
                    block[a * k + b] = self.values[at(a, b, row)];
                }
            }
            if is_positive(&mut block.clone(), k) {
                continue;
            }
            // Not convex, or not a sum over examples: no less than the block anywhere, and without mixing.
            for a in 0..k {
                let size = (0..k).map(|b| block[a * k + b].abs()).sum::<f64>();
                for b in 0..k {
                    self.values[at(a, b, row)] = if a == b { size } else { 0.0 };
                }
            }
        }
    }

    /// The curvatures of outputs a and b for each example; none if they do not mix.
    #[inline(always)]
    pub(super) fn of(&self, a: usize, b: usize) -> Option<&[f64]> {
        let part = match (self.is_diagonal, a == b) {
            (true, true) => a,
            (true, false) => return None,
            (false, _) => a * self.outputs + b,
        };
        Some(&self.values[part * self.length..][..self.length])
    }

    /// `to += H·x`, x being scores.
    pub(super) fn multiply_add(&self, x: &[f64], to: &mut [f64]) {
        let length = self.length;
        for a in 0..self.outputs {
            for b in 0..self.outputs {
                let Some(values) = self.of(a, b) else { continue };
                let (x, to) = (&x[b * length..][..length], &mut to[a * length..][..length]);
                to.iter_mut().zip(x).zip(values).for_each(|((to, x), h)| *to += h * x);
            }
        }
    }
}

/// Takes the mean of a matrix and its transpose. The largest entries on the diagonal and beside it.
fn symmetric(values: &mut [f64], k: usize, length: usize) -> (f64, f64) {
    let (mut largest, mut off) = (0.0_f64, 0.0_f64);
    for a in 0..k {
        for b in 0..=a {
            for row in 0..length {
                let (one, other) = ((a * k + b) * length + row, (b * k + a) * length + row);
                let mean = 0.5 * (values[one] + values[other]);
                (values[one], values[other]) = (mean, mean);
                let size = if a == b { &mut largest } else { &mut off };
                *size = size.max(mean.abs());
            }
        }
    }
    (largest, off)
}

/// Whether a symmetric matrix has a Cholesky factor; it is overwritten.
fn is_positive(matrix: &mut [f64], k: usize) -> bool {
    for a in 0..k {
        for b in 0..=a {
            let inner = (0..b).map(|c| matrix[a * k + c] * matrix[b * k + c]).sum::<f64>();
            let left = matrix[a * k + b] - inner;
            if a != b {
                matrix[a * k + b] = left / matrix[b * k + b];
            } else if left > 0.0 {
                matrix[a * k + a] = left.sqrt();
            } else {
                return false;
            }
        }
    }
    true
}
