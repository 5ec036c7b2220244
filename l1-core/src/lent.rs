//! Variables that are changed for a moment, and put back to the same bits whatever happens meanwhile.

use candle_core::{Tensor, Var};

use crate::Result;

/// A variable whose weights are given back, also after an error or a panic of what is done meanwhile.
#[derive(Debug)]
pub(crate) struct Lent {
    var: Var,
    weights: Tensor,
}

impl Lent {
    /// * `tensor`: of a variable.
    pub(crate) fn new(tensor: &Tensor) -> Result<Self> {
        Ok(Self { var: Var::from_tensor(tensor)?, weights: tensor.detach().copy()? })
    }

    /// The weights that are going to be given back.
    pub(crate) fn weights(&self) -> &Tensor {
        &self.weights
    }

    /// Other weights for the moment.
    pub(crate) fn set(&self, weights: &Tensor) -> Result<()> {
        // candle's operations return their argument where there is nothing to do, and `Var::set` refuses that.
        if self.var.elem_count() > 0 { Ok(self.var.set(weights)?) } else { Ok(()) }
    }

    pub(crate) fn give_back(self) -> Result<()> {
        // Here an error can be told; that of `drop` cannot.
        self.set(&self.weights)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let _ = self.set(&self.weights);
    }
}
