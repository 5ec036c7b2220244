//! What has to hold of a gradient before a step may write anything.

use candle_core::{Tensor, backprop::GradStore};

use super::{first_non_finite, storage_key};
use crate::{Error, ParamPath, Result};

/// Shape, dtype and device are the variable's.
pub(crate) fn check_layout(path: &ParamPath, var: &Tensor, grad: &Tensor) -> Result<()> {
    let path = || path.clone();
    if grad.shape() != var.shape() {
        let (found, expected) = (grad.shape().clone(), var.shape().clone());
        return Err(Error::GradientShape { path: path(), found, expected });
    }
    if grad.dtype() != var.dtype() {
        return Err(Error::GradientDType { path: path(), found: grad.dtype(), expected: var.dtype() });
    }
    if !grad.device().same_device(var.device()) {
        let (found, expected) = (grad.device().location(), var.device().location());
        return Err(Error::GradientDevice { path: path(), found, expected });
    }
    Ok(())
}

/// No entry is NaN or infinite.
pub(crate) fn check_finite(path: &ParamPath, grad: &Tensor) -> Result<()> {
    match first_non_finite(grad)? {
        None => Ok(()),
        Some((index, value)) => Err(Error::NonFiniteGradient { path: path.clone(), value, index }),
    }
}

/// The gradient as a contiguous tensor that does not share the variable's storage: a copy only where it must be.
pub(crate) fn owned(grad: &Tensor, var: &Tensor) -> Result<Tensor> {
    if !grad.is_contiguous() || storage_key(grad) == storage_key(var) {
        return Ok(grad.force_contiguous()?);
    }
    Ok(grad.clone())
}

/// The checked gradient of a variable, ready for a step, or `None` if the store has none.
pub(crate) fn get(path: &ParamPath, var: &Tensor, grads: &GradStore) -> Result<Option<Tensor>> {
    let Some(grad) = grads.get(var) else { return Ok(None) };
    check_layout(path, var, grad)?;
    check_finite(path, grad)?;
    owned(grad, var).map(Some)
}
