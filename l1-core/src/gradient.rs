//! What has to hold of a gradient before anything may be written.

use std::collections::HashSet;

use candle_core::{Tensor, backprop::GradStore};

use crate::{
    Error, Guard, ParamPath, Result,
    kernel::{first_non_finite, storage_key},
};

/// The gradient of a variable, ready for a step, or `None` if the store has none. Whether it is finite is not asked.
///
/// * `path`: asked for only where an error needs it.
pub(crate) fn get(
    path: impl Fn() -> ParamPath,
    var: &Tensor,
    grads: &GradStore,
    taken: &Taken,
) -> Result<Option<Tensor>> {
    let Some(grad) = grads.get(var) else { return Ok(None) };
    check_layout(&path, var, grad)?;
    taken.read(grad).map(Some)
}

/// Refuses NaN and infinities, before anything is written.
pub(crate) fn check_finite(path: impl Fn() -> ParamPath, grad: &Tensor) -> Result<()> {
    match first_non_finite(grad)? {
        None => Ok(()),
        Some((index, value)) => Err(Error::NonFiniteGradient { path: path(), value, index, guard: Guard::Before }),
    }
}

/// Shape, dtype and device are the variable's.
pub(crate) fn check_layout(path: impl Fn() -> ParamPath, var: &Tensor, grad: &Tensor) -> Result<()> {
    if grad.shape() != var.shape() {
        let (found, expected) = (grad.shape().clone(), var.shape().clone());
        return Err(Error::GradientShape { path: path(), found, expected });
    }
    if grad.dtype() != var.dtype() {
        let (found, expected) = (grad.dtype(), var.dtype());
        return Err(Error::GradientDType { path: path(), found, expected });
    }
    if !grad.device().same_device(var.device()) {
        let (found, expected) = (grad.device().location(), var.device().location());
        return Err(Error::GradientDevice { path: path(), found, expected });
    }
    Ok(())
}

/// Storages that a gradient must not share: those that a step writes, and those of gradients that were changed before it.
#[derive(Debug)]
pub(crate) struct Taken(HashSet<usize>);

impl Taken {
    pub(crate) fn by<'t>(tensors: impl Iterator<Item = &'t Tensor>) -> Self {
        Self(tensors.map(storage_key).collect())
    }

    /// The gradient as a contiguous tensor that shares no taken storage: a copy only where it must be.
    pub(crate) fn read(&self, grad: &Tensor) -> Result<Tensor> {
        let copy = !grad.is_contiguous() || self.0.contains(&storage_key(grad));
        Ok(if copy { grad.force_contiguous()? } else { grad.clone() })
    }

    /// [`read`](Self::read) for a gradient that is going to be changed in place: its storage is taken from now on.
    pub(crate) fn write(&mut self, grad: &Tensor) -> Result<Tensor> {
        let grad = self.read(grad)?;
        self.0.insert(storage_key(&grad));
        Ok(grad)
    }
}
