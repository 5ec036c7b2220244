//! Gradient clipping, with PyTorch's semantics. This bounds a step; it is not regularization.

use std::collections::HashSet;

use candle_core::{DType, Device, Tensor, Var, backprop::GradStore};

use super::vars::check;
#[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
use crate::gradient::Taken;
use crate::{
    Error, Result,
    kernel::{self, Norm, wide_dtype},
};

/// PyTorch's: keeps the factor finite where the norm is 0.
const EPS: f64 = 1e-6;

/// What [`clip_grad_norm_with`] does with a norm that is NaN or infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NonFinite {
    /// Refuse it: an error, and nothing is changed. Reads the norm, so a GPU has to finish its work first.
    #[default]
    Error,
    /// Let it pass: the gradients are multiplied all the same (by NaN or 0). Nothing is read back from the device.
    Pass,
}

/// Scales all gradients by one factor so that their common norm is at most `max_norm`:
/// `g ← g·min(1, max_norm/(‖g‖_p + 1e-6))`, where `‖g‖_p` runs over the entries of all gradients together.
///
/// * `vars`: the variables whose gradients count, each once; one without a gradient counts 0.
/// * `max_norm`: > 0; ∞ measures the norm and leaves the gradients as they are.
/// * `norm`: any p ≥ 1.
///
/// Each gradient keeps its shape and dtype. Returns the norm before clipping as a scalar tensor: F64 if any gradient is, else F32; 0 if there are no gradients.
///
/// ```
/// use candle_core::{Device, Var};
/// use l1_core::{Norm, clip_grad_norm};
///
/// let w = Var::new(&[3f64, -4.0], &Device::Cpu)?;
/// let mut grads = (w.sqr()?.sum_all()? * 0.5)?.backward()?; // the gradient is w
/// let norm = clip_grad_norm(&mut grads, &[w.clone()], 1.0, Norm::L2)?;
/// assert_eq!(norm.to_scalar::<f64>()?, 5.0);
/// let clipped = grads.get(&w).unwrap().to_vec1::<f64>()?;
/// assert!((clipped[0] - 0.6).abs() < 1e-6 && (clipped[1] + 0.8).abs() < 1e-6);
/// # Ok::<(), l1_core::Error>(())
/// ```
///
/// # Errors
/// All before anything is changed (on CUDA gradients are changed in place, else replaced): [`Error::InvalidParameter`] unless `max_norm` > 0 and p ≥ 1;
/// [`Error::NonFiniteNorm`]; [`Error::UnsupportedDType`].
///
/// Pascanu, Mikolov & Bengio 2013; `torch.nn.utils.clip_grad_norm_`.
pub fn clip_grad_norm(grads: &mut GradStore, vars: &[Var], max_norm: f64, norm: Norm) -> Result<Tensor> {
    clip_grad_norm_with(grads, vars, max_norm, norm, NonFinite::Error)
}

/// [`clip_grad_norm`] with a choice of what becomes of a norm that is not finite.
///
/// # Errors
/// As [`clip_grad_norm`], but with [`NonFinite::Pass`] no [`Error::NonFiniteNorm`].
pub fn clip_grad_norm_with(
    grads: &mut GradStore,
    vars: &[Var],
    max_norm: f64,
    norm: Norm,
    non_finite: NonFinite,
) -> Result<Tensor> {
    check("max_norm", max_norm, max_norm > 0.0, "> 0; ∞ only measures")?;
    check("p", norm.p(), norm.p() >= 1.0, "≥ 1, or ∞")?;
    let norm = norm.normalized();
    let found = with_gradients(grads, vars);
    let Some((_, _, first)) = found.first() else {
        let device = vars.first().map_or(&Device::Cpu, |var| var.device());
        return Ok(Tensor::zeros((), DType::F32, device)?);
    };
    let wide = found.iter().any(|(_, _, grad)| grad.dtype() == DType::F64);
    let dtype = if wide { DType::F64 } else { DType::F32 };
    #[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
    if let Some(gpu) = kernel::gpu_of_all(found.iter().map(|(_, _, grad)| grad)) {
        return on_gpu(&gpu, grads, vars, &found, norm, max_norm, dtype, non_finite);
    }
    let total = total(&found, norm, first.device(), dtype)?;
    refuse(non_finite, &total, &found)?;
    if max_norm == f64::INFINITY {
        return Ok(total);
    }
    if first.device().is_cpu() && kernel::number(&total)? + EPS <= max_norm {
        return Ok(total); // times 1
    }
    let factor = ((&total + EPS)?.recip()? * max_norm)?;
    let factor = keep_nan(&factor, &factor.minimum(1.0)?)?;
    for (_, var, grad) in &found {
        let wide = wide_dtype(grad.dtype());
        let factor = factor.to_dtype(wide)?.to_device(grad.device())?;
        let clipped = grad.to_dtype(wide)?.broadcast_mul(&factor)?.to_dtype(grad.dtype())?;
        grads.insert(var, clipped);
    }
    Ok(total)
}

fn refuse(non_finite: NonFinite, total: &Tensor, found: &[(usize, &Var, Tensor)]) -> Result<()> {
    if non_finite == NonFinite::Error {
        let norm = kernel::number(total)?;
        if !norm.is_finite() {
            return Err(Error::NonFiniteNorm { norm, culprit: culprit(found)? });
        }
    }
    Ok(())
}

/// The same on a GPU: norm and factor stay there, and the gradients are multiplied in one launch for each dtype.
///
/// * `found`: at least one.
#[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
#[allow(clippy::too_many_arguments)]
fn on_gpu(
    gpu: &kernel::Gpu,
    grads: &mut GradStore,
    vars: &[Var],
    found: &[(usize, &Var, Tensor)],
    norm: Norm,
    max_norm: f64,
    dtype: DType,
    non_finite: NonFinite,
) -> Result<Tensor> {
    // Only what is changed needs storage of its own.
    let mut taken = Taken::by(vars.iter().map(|var| var.as_tensor()));
    let is_changed = max_norm != f64::INFINITY;
    let own =
        |(_, _, grad): &(usize, &Var, Tensor)| Ok(if is_changed { taken.write(grad)? } else { grad.contiguous()? });
    if let Some((index, var, grad)) = found.iter().find(|(_, _, grad)| !kernel::is_supported(grad.dtype())) {
        let argument = format!("the gradient of variable {index} (shape {:?})", var.dims());
        return Err(Error::UnsupportedDType { argument, found: grad.dtype() });
    }
    let tensors = found.iter().map(own).collect::<Result<Vec<_>>>()?;
    let (total, measured) = kernel::measure(gpu, found[0].2.device(), &tensors, norm, max_norm, dtype)?;
    refuse(non_finite, &total, found)?;
    if is_changed {
        measured.scale(gpu)?;
        for ((_, var, _), tensor) in found.iter().zip(tensors) {
            grads.insert(var, tensor);
        }
    }
    Ok(total)
}

/// Clamps every entry of the gradients to `[−clip_value, clip_value]`; shapes and dtypes stay. NaN stays NaN.
///
/// # Errors
/// [`Error::InvalidParameter`] unless `clip_value` is finite and > 0. Nothing is changed then.
///
/// `torch.nn.utils.clip_grad_value_`.
pub fn clip_grad_value(grads: &mut GradStore, vars: &[Var], clip_value: f64) -> Result<()> {
    check("clip_value", clip_value, clip_value.is_finite() && clip_value > 0.0, "finite and > 0")?;
    for (_, var, grad) in with_gradients(grads, vars) {
        grads.insert(var, keep_nan(&grad, &grad.clamp(-clip_value, clip_value)?)?);
    }
    Ok(())
}

/// `clamped`, but NaN where `original` is: on CUDA candle's minimum and maximum pass over NaN.
fn keep_nan(original: &Tensor, clamped: &Tensor) -> Result<Tensor> {
    Ok(original.ne(original)?.where_cond(original, clamped)?)
}

/// The norm over all gradients together, from those of each.
fn total(found: &[(usize, &Var, Tensor)], norm: Norm, device: &Device, dtype: DType) -> Result<Tensor> {
    let norms = found.iter().map(|(_, _, grad)| kernel::norm(grad, norm)).collect::<Result<Vec<_>>>()?;
    if !device.is_cpu() {
        let on_device = norms.iter().map(|norm| norm.to_dtype(dtype)?.to_device(device));
        let norms = on_device.collect::<candle_core::Result<Vec<_>>>()?;
        return kernel::norm(&Tensor::stack(&norms, 0)?, norm);
    }
    // `VarMap::all_vars` comes in another order on every run; summed in order of size, the bits stay the same.
    let mut norms = norms.iter().map(kernel::number).collect::<Result<Vec<_>>>()?;
    norms.sort_unstable_by(f64::total_cmp);
    Ok(kernel::norm(&Tensor::new(norms, device)?, norm)?.to_dtype(dtype)?)
}

/// Each variable once, with its place in the list, if it has a gradient.
fn with_gradients<'v>(grads: &GradStore, vars: &'v [Var]) -> Vec<(usize, &'v Var, Tensor)> {
    let mut seen = HashSet::new();
    let distinct = vars.iter().enumerate().filter(|(_, var)| seen.insert(var.id()));
    distinct.filter_map(|(index, var)| Some((index, var, grads.get(var)?.clone()))).collect()
}

fn culprit(found: &[(usize, &Var, Tensor)]) -> Result<String> {
    for (index, var, grad) in found {
        if let Some((at, value)) = kernel::first_non_finite(grad)? {
            let shape = var.dims();
            return Ok(format!("the gradient of variable {index} (shape {shape:?}) holds {value} at flat index {at}"));
        }
    }
    Ok("every entry is finite, but their norm overflows".to_owned())
}
