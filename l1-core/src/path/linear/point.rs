//! One solution of a path, with what is not 0 of it.

use candle_core::{Device, Tensor, Var};

use super::solve::Coordinate;
use crate::{Error, Result};

#[derive(Clone, Debug)]
pub(super) struct LinearPoint {
    /// What every λ, element and l2 was multiplied by.
    pub(super) scale: f64,
    /// The loss alone.
    pub(super) loss: f64,
    /// Ω(W).
    pub(super) penalty: f64,
    /// Their sum.
    pub(super) objective: f64,
    /// The largest relative distance from the conditions of a solution, over all columns and the intercept.
    pub(super) violation: f64,
    /// Where that is; none if it is 0.
    pub(super) worst: Option<Coordinate>,
    /// The inputs in use, in their order, each with its k weights.
    pub(super) weights: Vec<(usize, Vec<f64>)>,
    /// b: k; zeros if the layer has none.
    pub(super) intercept: Vec<f64>,
    pub(super) shape: (usize, usize),
}

impl LinearPoint {
    /// How many entries of W are not 0.
    pub(super) fn nonzeros(&self) -> usize {
        self.weights.iter().flat_map(|(_, w)| w).filter(|w| **w != 0.0).count()
    }

    /// W: k × p, F64 on the CPU.
    fn weight(&self) -> Result<Tensor> {
        let (outputs, inputs) = self.shape;
        let mut entries = vec![0.0; outputs * inputs];
        for (column, w) in &self.weights {
            w.iter().enumerate().for_each(|(output, w)| entries[output * inputs + column] = *w);
        }
        Ok(Tensor::from_vec(entries, self.shape, &Device::Cpu)?)
    }

    /// Writes W, and b if it is a variable, into the layer, rounded to its dtype.
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
    Ok(Var::from_tensor(tensor)?.set(&to.to_dtype(tensor.dtype())?.to_device(tensor.device())?)?)
}
