//! Which rows a fold holds out.

use candle_core::Tensor;

use crate::{Result, sampling::select};

/// One fold of a [`CrossValidation`](crate::CrossValidation): rows to train on, and rows held out.
#[derive(Clone, Debug, PartialEq)]
pub struct Fold {
    pub(super) index: usize,
    pub(super) train: Vec<usize>,
    pub(super) test: Vec<usize>,
}

impl Fold {
    /// Its number, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The rows of a tensor to train on, in their order.
    ///
    /// * `tensor`: of all rows, in its first dimension.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch) for another number of rows.
    pub fn train(&self, tensor: &Tensor) -> Result<Tensor> {
        select(tensor, &self.train, self.train.len() + self.test.len())
    }

    /// The rows of a tensor that are held out.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn test(&self, tensor: &Tensor) -> Result<Tensor> {
        select(tensor, &self.test, self.train.len() + self.test.len())
    }

    /// The numbers of the rows to train on, rising.
    #[must_use]
    pub fn train_rows(&self) -> &[usize] {
        &self.train
    }

    /// The numbers of the rows that are held out, rising.
    #[must_use]
    pub fn test_rows(&self) -> &[usize] {
        &self.test
    }
}
