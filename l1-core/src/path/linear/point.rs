//! One solution of a path, with what is not 0 of it.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::Linear;
use serde::Serialize;

use crate::{Error, Result};

/// One solution of a [`LinearPath`](super::LinearPath).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LinearPoint {
    /// What every λ, element and l2 was multiplied by.
    pub scale: f64,
    /// The loss alone.
    pub loss: f64,
    /// Ω(W).
    pub penalty: f64,
    /// Their sum.
    pub objective: f64,
    /// The largest relative distance from the conditions of a solution, over all columns and the intercept.
    pub violation: f64,
    /// Whether that is at most the tolerance.
    pub converged: bool,
    /// The inputs in use, in their order, each with its k weights.
    pub weights: Vec<(usize, Vec<f64>)>,
    /// b: k; zeros if the layer has none.
    pub intercept: Vec<f64>,
    pub(super) shape: (usize, usize),
}

impl LinearPoint {
    /// How many entries of W are not 0.
    #[must_use]
    pub fn nonzeros(&self) -> usize {
        self.weights.iter().flat_map(|(_, w)| w).filter(|w| **w != 0.0).count()
    }

    /// W: k × p, F64 on the CPU.
    ///
    /// # Errors
    /// candle's.
    pub fn weight(&self) -> Result<Tensor> {
        let (outputs, inputs) = self.shape;
        let mut entries = vec![0.0; outputs * inputs];
        for (column, w) in &self.weights {
            w.iter().enumerate().for_each(|(output, w)| entries[output * inputs + column] = *w);
        }
        Ok(Tensor::from_vec(entries, self.shape, &Device::Cpu)?)
    }

    /// Writes W, and b if it is a variable, into a layer, rounded to its dtype.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] for another shape, candle's for a weight that is no variable.
    pub fn restore(&self, layer: &Linear) -> Result<()> {
        self.write(layer.weight(), layer.bias())
    }

    pub(super) fn write(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        set(weight, &self.weight()?)?;
        match bias {
            Some(bias) if bias.is_variable() => set(bias, &Tensor::new(&*self.intercept, &Device::Cpu)?),
            _ => Ok(()),
        }
    }
}

fn set(tensor: &Tensor, to: &Tensor) -> Result<()> {
    if tensor.shape() != to.shape() {
        let (found, expected) = (tensor.shape().clone(), to.shape().clone());
        return Err(Error::ShapeMismatch { argument: "layer", found, expected });
    }
    if !tensor.is_variable() {
        return Err(candle_core::Error::Msg("l1: the layer's weight is no variable".to_owned()).into());
    }
    debug_assert!(matches!(tensor.dtype(), DType::F32 | DType::F64 | DType::BF16 | DType::F16));
    Ok(Var::from_tensor(tensor)?.set(&to.to_dtype(tensor.dtype())?.to_device(tensor.device())?)?)
}
