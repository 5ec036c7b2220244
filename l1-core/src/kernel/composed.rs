//! The operations in candle's own tensor operations: slow, but on any device, CUDA and Metal included; and the yardstick for
//! the kernels in the tests.
//!
//! Half types are computed in f32 and rounded once, as in the kernels.

use candle_core::{DType, Device, Tensor, Var};

use super::{
    number::wide_dtype,
    step::{AdamWStep, Counts, Norm, SgdStep, Step},
};
use crate::{Penalty, Result, kernel::cpu};

fn wide(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_dtype(wide_dtype(tensor.dtype()))?)
}

/// A scalar tensor's value; waits for its device.
pub(crate) fn number(scalar: &Tensor) -> Result<f64> {
    // To the CPU first: Metal has no f64.
    Ok(scalar.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar()?)
}

/// sign(w), 0 at 0 and NaN at NaN (candle's own is 0 there).
fn sign(w: &Tensor) -> Result<Tensor> {
    Ok(w.ne(w)?.where_cond(w, &w.sign()?)?)
}

/// `Ω(w)`; see [`super::value`].
pub fn value(w: &Tensor, penalty: &Penalty) -> Result<f64> {
    let w = wide(w)?;
    if w.elem_count() == 0 {
        return Ok(0.0);
    }
    let abs = number(&w.abs()?.sum_all()?)?;
    if abs.is_nan() {
        return Ok(f64::NAN);
    }
    if penalty.positive() && number(&w.min_all()?)? < 0.0 {
        return Ok(f64::INFINITY);
    }
    let squares = if penalty.l2() == 0.0 { 0.0 } else { number(&w.sqr()?.sum_all()?)? };
    Ok(cpu::times(penalty.lambda(), abs) + 0.5 * cpu::times(penalty.l2(), squares))
}

/// `Ω(w)` as a differentiable scalar.
///
/// The gradient of `Σ sign(w)·w` with the signs held fixed is sign(w), 0 at 0; that of candle's `abs` is 1 at 0.
pub fn penalty(w: &Tensor, penalty: &Penalty, dtype: DType) -> Result<Tensor> {
    let w = w.to_dtype(dtype)?;
    let signs = sign(&w.detach())?;
    let mut total = ((signs * &w)?.sum_all()? * penalty.lambda())?;
    if penalty.l2() != 0.0 {
        total = (total + (w.sqr()?.sum_all()? * (0.5 * penalty.l2()))?)?;
    }
    Ok(total)
}

/// `∂Ω(w)`; see [`super::subgradient`].
pub fn subgradient(w: &Tensor, penalty: &Penalty) -> Result<Tensor> {
    Ok(wide_subgradient(w, penalty)?.to_dtype(w.dtype())?)
}

fn wide_subgradient(w: &Tensor, penalty: &Penalty) -> Result<Tensor> {
    let w = wide(&w.detach())?;
    let signs = (sign(&w)? * penalty.lambda())?;
    Ok(if penalty.l2() == 0.0 { signs } else { (signs + (w * penalty.l2())?)? })
}

/// `grad + ∂Ω(w)`, rounded once.
pub fn plus_subgradient(grad: &Tensor, w: &Tensor, penalty: &Penalty) -> Result<Tensor> {
    Ok((wide(grad)? + wide_subgradient(w, penalty)?)?.to_dtype(grad.dtype())?)
}

/// The prox of `z`; see [`super::prox`].
pub fn prox(z: &Tensor, penalty: &Penalty, step: Step<'_>) -> Result<Tensor> {
    let wide_z = wide(&z.detach())?;
    let steps = match step {
        Step::Scalar(step) => (wide_z.ones_like()? * step)?,
        Step::Diagonal(steps) => steps.to_dtype(wide_z.dtype())?,
    };
    Ok(wide_prox(&wide_z, penalty, &steps)?.to_dtype(z.dtype())?)
}

fn wide_prox(z: &Tensor, penalty: &Penalty, steps: &Tensor) -> Result<Tensor> {
    let threshold = (steps * penalty.lambda())?;
    // S(z, a) = z − clamp(z, −a, a) is exactly 0 inside and keeps NaN.
    let lower =
        if penalty.positive() { z.minimum(&threshold)? } else { z.maximum(&threshold.neg()?)?.minimum(&threshold)? };
    let shrunk = (z - lower)?;
    Ok(if penalty.l2() == 0.0 { shrunk } else { (shrunk / ((steps * penalty.l2())? + 1.0)?)? })
}

/// One step of proximal SGD; see [`SgdStep`].
pub fn sgd_step(w: &Var, grad: &Tensor, buffer: Option<&Var>, step: &SgdStep) -> Result<()> {
    if w.elem_count() == 0 {
        return Ok(()); // candle's operations return their argument there, which `Var::set` refuses
    }
    let (old, g) = (wide(&w.as_detached_tensor())?, wide(grad)?);
    let direction = match buffer {
        None => g,
        Some(buffer) => {
            let next = ((buffer.as_detached_tensor() * step.momentum)? + (&g * step.gradient_weight)?)?;
            buffer.set(&next)?;
            match step.lookahead {
                Some(momentum) => (g + (next * momentum)?)?,
                None => next,
            }
        }
    };
    let z = ((old * step.keep)? - (direction * step.lr)?)?;
    let steps = (z.ones_like()? * step.prox_step)?;
    Ok(w.set(&wide_prox(&z, &step.penalty, &steps)?.to_dtype(w.dtype())?)?)
}

/// One step of proximal AdamW; see [`AdamWStep`].
pub fn adamw_step(w: &Var, grad: &Tensor, m: &Var, v: &Var, step: &AdamWStep) -> Result<()> {
    if w.elem_count() == 0 {
        return Ok(()); // candle's operations return their argument there, which `Var::set` refuses
    }
    let (old, g) = (wide(&w.as_detached_tensor())?, wide(grad)?);
    let next_m = ((m.as_detached_tensor() * step.beta1)? + (&g * (1.0 - step.beta1))?)?;
    let next_v = ((v.as_detached_tensor() * step.beta2)? + (g.sqr()? * (1.0 - step.beta2))?)?;
    let p = (((&next_v * step.v_correction)?.sqrt()? + step.eps)?.recip()? * step.lr)?;
    let z = ((old * step.keep)? - (&p * (&next_m * step.m_correction)?)?)?;
    let next_w = wide_prox(&z, &step.penalty, &p)?.to_dtype(w.dtype())?;
    m.set(&next_m)?;
    v.set(&next_v)?;
    Ok(w.set(&next_w)?)
}

/// Zeros and `‖w‖₁`; see [`Counts`].
pub fn counts(w: &Tensor) -> Result<Counts> {
    if w.elem_count() == 0 {
        return Ok(Counts::default());
    }
    let w = wide(w)?;
    let zeros = w.eq(0f64)?.to_dtype(DType::U32)?.sum_all()?.to_scalar::<u32>()?;
    Ok(Counts { zeros: zeros as usize, l1_norm: number(&w.abs()?.sum_all()?)? })
}

/// The first entry that is NaN or infinite, with its index in row-major order.
pub fn first_non_finite(tensor: &Tensor) -> Result<Option<(usize, f64)>> {
    if tensor.elem_count() == 0 {
        return Ok(None);
    }
    // 0·x is 0 for finite numbers only: one number comes back from the device, the tensor only in case of need.
    if number(&(wide(tensor)? * 0.0)?.sum_all()?)? == 0.0 {
        return Ok(None);
    }
    cpu::first_non_finite(&tensor.to_device(&Device::Cpu)?.contiguous()?)
}

/// `(Σ|xᵢ|ᵖ)^(1/p)` as a scalar on the tensor's device, in the dtype of the arithmetic.
pub fn norm(tensor: &Tensor, norm: Norm) -> Result<Tensor> {
    let x = wide(tensor)?;
    if x.elem_count() == 0 {
        return Ok(Tensor::zeros((), x.dtype(), x.device())?);
    }
    Ok(match norm {
        Norm::L1 => x.abs()?.sum_all()?,
        Norm::L2 => x.sqr()?.sum_all()?.sqrt()?,
        Norm::Inf => x.abs()?.max_all()?,
        Norm::P(p) => x.abs()?.powf(p)?.sum_all()?.powf(p.recip())?,
    })
}
