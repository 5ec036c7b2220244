//! The operations in candle's own tensor operations: slow, but on any device, CUDA and Metal included; and the yardstick for
//! the kernels in the tests.
//!
//! Half types are computed in f32 and rounded once, as in the kernels. What is more than l1 on single entries (other curves, groups,
//! singular values) is left to `host.rs`.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};

use super::{
    formula::Sums,
    host,
    norm::Norm,
    number::{Real, wide_dtype},
    pass::Source,
    proximal,
    step::{AdamWStep, Counts, FtrlStep, OptimizerStep, SgdStep, Step, Work},
};
use crate::{Penalty, Result, kernel::cpu, mark::Mark};

fn wide(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_dtype(wide_dtype(tensor.dtype()))?)
}

/// Whether a penalty charges single entries of a tensor by l1, or not at all.
fn is_plain(tensor: &Tensor, penalty: &Penalty) -> Result<bool> {
    Ok(proximal::is_plain(penalty, proximal::layout("w", penalty, tensor.dims())?))
}

/// The strength on single entries.
fn strength(penalty: &Penalty) -> f64 {
    penalty.lambda() + penalty.element()
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
    if w.elem_count() == 0 {
        return Ok(0.0);
    }
    if !is_plain(w, penalty)? {
        return host::value(w, penalty);
    }
    let w = wide(w)?;
    let sums = Sums {
        abs: number(&w.abs()?.sum_all()?)?,
        squares: if penalty.l2() == 0.0 { 0.0 } else { number(&w.sqr()?.sum_all()?)? },
        negative: penalty.positive() && number(&w.min_all()?)? < 0.0,
    };
    Ok(sums.value(penalty))
}

/// `Ω(w)` as a differentiable scalar.
///
/// The gradient of `Σ sign(w)·w` with the signs held fixed is sign(w), 0 at 0; that of candle's `abs` is 1 at 0.
pub fn penalty(w: &Tensor, penalty: &Penalty, dtype: DType) -> Result<Tensor> {
    if !is_plain(w, penalty)? {
        return host::penalty(w, penalty, dtype);
    }
    let w = w.to_dtype(dtype)?;
    // A strength of 0 charges 0 even for infinite weights.
    let abs = || -> Result<Tensor> { Ok(((sign(&w.detach())? * &w)?.sum_all()? * strength(penalty))?) };
    let squares = || -> Result<Tensor> { Ok((w.sqr()?.sum_all()? * (0.5 * penalty.l2()))?) };
    match (strength(penalty) != 0.0, penalty.l2() != 0.0) {
        (true, true) => Ok((abs()? + squares()?)?),
        (false, true) => squares(),
        // With λ = 0 a term of its own all the same: the result has to stay a function of w.
        (_, false) => abs(),
    }
}

/// The same scalar with the mark in its graph.
pub(crate) fn marked(term: &Tensor, mark: &Arc<Mark>, w: &Tensor) -> Result<Tensor> {
    Ok((term + mark.node(mark.variable(w)?)?.to_dtype(term.dtype())?)?)
}

/// `∂Ω(w)`; see [`super::subgradient`].
pub fn subgradient(w: &Tensor, penalty: &Penalty) -> Result<Tensor> {
    Ok(wide_subgradient(w, penalty)?.to_dtype(w.dtype())?)
}

fn wide_subgradient(w: &Tensor, penalty: &Penalty) -> Result<Tensor> {
    if !is_plain(w, penalty)? {
        return wide(&host::subgradient(w, penalty)?);
    }
    let w = wide(&w.detach())?;
    let signs = (sign(&w)? * strength(penalty))?;
    Ok(if penalty.l2() == 0.0 { signs } else { (signs + (w * penalty.l2())?)? })
}

/// `grad + ∂Ω(w)`, rounded once.
pub fn plus_subgradient(grad: &Tensor, w: &Tensor, penalty: &Penalty) -> Result<Tensor> {
    Ok((wide(grad)? + wide_subgradient(w, penalty)?)?.to_dtype(grad.dtype())?)
}

/// The prox of `z`; see [`super::prox`].
pub fn prox(z: &Tensor, penalty: &Penalty, step: Step<'_>) -> Result<Tensor> {
    if !is_plain(z, penalty)? {
        return host::prox(z, penalty, step);
    }
    let wide_z = wide(&z.detach())?;
    let steps = match step {
        Step::Scalar(step) => (wide_z.ones_like()? * step)?,
        Step::Diagonal(steps) => steps.to_dtype(wide_z.dtype())?,
    };
    Ok(wide_prox(&wide_z, penalty, &steps)?.to_dtype(z.dtype())?)
}

fn wide_prox(z: &Tensor, penalty: &Penalty, steps: &Tensor) -> Result<Tensor> {
    // A step of a user's own may be infinite, and ∞·0 is no threshold.
    let threshold = if strength(penalty) == 0.0 { steps.zeros_like()? } else { (steps * strength(penalty))? };
    // S(z, a) = z − clamp(z, −a, a) is exactly 0 inside and keeps NaN.
    let shrunk = if penalty.positive() {
        z.le(&threshold)?.where_cond(&z.zeros_like()?, &(z - &threshold)?)?
    } else {
        (z - z.maximum(&threshold.neg()?)?.minimum(&threshold)?)?
    };
    Ok(if penalty.l2() == 0.0 { shrunk } else { (shrunk / ((steps * penalty.l2())? + 1.0)?)? })
}

/// Takes the next step of one variable. Returns whether a coordinate was left as it was for its gradient.
pub fn step(work: &Work, source: Source) -> Result<bool> {
    let Some((grad, step)) = &work.next else { return Ok(false) };
    if work.var.elem_count() == 0 {
        return Ok(false); // candle's operations return their argument there, which `Var::set` refuses
    }
    // One second moment for a matrix under `singular`, also while a scale of 0 takes the charge away.
    if !is_plain(&work.var, step.penalty())? || step.penalty().group() == crate::Grouping::Singular {
        return host::step(work, source);
    }
    let w = wide(&work.var.as_detached_tensor())?;
    let state: Vec<_> = work.state.iter().map(Var::as_detached_tensor).collect();
    let g = wide(grad)?;
    let (next_w, next_state) = match step {
        OptimizerStep::Sgd(step) => sgd(&w, &g, &state, step)?,
        OptimizerStep::AdamW(step) => adamw(&w, &g, &state, step)?,
        OptimizerStep::Ftrl(step) => ftrl(&w, &g, &state, step)?,
    };
    if source == Source::Checked {
        return write(work, &next_w, &next_state).map(|()| false);
    }
    // 0·g is 0 for finite numbers only.
    let finite = (&g * 0.0)?.eq(0.0)?;
    let take = |next: &Tensor, kept: &Tensor| finite.where_cond(next, kept);
    let kept = match step {
        OptimizerStep::Ftrl(step) => ftrl_passed_over(&w, &state, step)?,
        _ => state,
    };
    let next_state = next_state.iter().zip(&kept).map(|(next, kept)| take(next, kept));
    write(work, &take(&next_w, &w)?, &next_state.collect::<candle_core::Result<Vec<_>>>()?)?;
    Ok(number(&finite.min_all()?)? == 0.0)
}

fn write(work: &Work, w: &Tensor, state: &[Tensor]) -> Result<()> {
    work.state.iter().zip(state).try_for_each(|(var, next)| var.set(next))?;
    Ok(work.var.set(&w.to_dtype(work.var.dtype())?)?)
}

/// Takes the entries of which an f32 copy is not the source; see [`master::follow`](super::master::follow).
pub fn follow(copy: &Var, w: &Var) -> Result<()> {
    let (kept, w) = (copy.as_detached_tensor(), w.as_detached_tensor());
    let (rounded, wide_w) = (wide(&kept.to_dtype(w.dtype())?)?, wide(&w)?);
    Ok(copy.set(&rounded.eq(&wide_w)?.where_cond(&kept, &wide_w)?)?)
}

/// A tensor with 0 where `w` is 0.
pub fn cleared(tensor: &Tensor, w: &Tensor) -> Result<Tensor> {
    Ok(w.eq(0.0)?.where_cond(&tensor.zeros_like()?, tensor)?)
}

/// A gradient with 0 where `w` is 0 and it is finite.
pub fn held(grad: &Tensor, w: &Tensor) -> Result<Tensor> {
    // 0·g is 0 for finite numbers only.
    let is_held = (w.eq(0.0)? * wide(grad)?.affine(0.0, 0.0)?.eq(0.0)?)?;
    Ok(is_held.where_cond(&grad.zeros_like()?, grad)?)
}

type Next = (Tensor, Vec<Tensor>);

/// See [`SgdStep`].
fn sgd(w: &Tensor, g: &Tensor, state: &[Tensor], step: &SgdStep) -> Result<Next> {
    let buffer = match state {
        [] => None,
        [buffer, ..] => Some(((buffer * step.momentum)? + (g * step.gradient_weight)?)?),
    };
    let direction = match (&buffer, step.lookahead) {
        (Some(next), Some(momentum)) => (g + (next * momentum)?)?,
        (Some(next), None) => next.clone(),
        (None, _) => g.clone(),
    };
    let z = ((w * step.keep)? - (direction * step.lr)?)?;
    let steps = (z.ones_like()? * step.prox_step)?;
    Ok((wide_prox(&z, &step.penalty, &steps)?, buffer.into_iter().collect()))
}

/// See [`AdamWStep`].
fn adamw(w: &Tensor, g: &Tensor, state: &[Tensor], step: &AdamWStep) -> Result<Next> {
    let [m, v, largest_v @ ..] = state else { return Err(cpu::wrong_state()) };
    let g = &with_square(g)?;
    let next_m = (m + ((g - m)? * (1.0 - step.beta1))?)?;
    let squares = ((g * (1.0 - step.beta2))? * g)?;
    let next_v = ((v * step.beta2)? + squares)?;
    let mut next = vec![next_m, next_v];
    if let [largest_v, ..] = largest_v {
        next.push(largest_v.maximum(&next[1])?);
    }
    let p = (((&next[next.len() - 1] * step.v_correction)?.sqrt()? + step.eps)?.recip()? * step.lr)?;
    let z = ((w * step.keep)? - (&p * (&next[0] * step.m_correction)?)?)?;
    Ok((wide_prox(&z, &step.penalty, &p)?, next))
}

/// See [`FtrlStep`].
fn ftrl(w: &Tensor, g: &Tensor, state: &[Tensor], step: &FtrlStep) -> Result<Next> {
    let [z, n, ..] = state else { return Err(cpu::wrong_state()) };
    let g = &with_square(g)?;
    let root = n.sqrt()?;
    let largest = if g.dtype() == DType::F64 { f64::MAX } else { f32::MAX.into() };
    let next_n = (n + g.sqr()?)?.minimum(largest)?;
    let next_root = next_n.sqrt()?;
    let sigma = (((&next_root - &root)? / step.lr)? + ((root + step.beta)? * step.drift)?)?;
    let next_z = (z + (g - (sigma * w)?)?)?;
    let rate = ((next_root + step.beta)?.recip()? * step.lr)?;
    let next_w = wide_prox(&(&rate * &next_z)?.neg()?, &step.penalty, &rate)?;
    Ok((next_w, vec![next_z, next_n]))
}

/// The state from which rate and penalty of this step give the same w.
fn ftrl_passed_over(w: &Tensor, state: &[Tensor], step: &FtrlStep) -> Result<Vec<Tensor>> {
    let [z, n, ..] = state else { return Err(cpu::wrong_state()) };
    let of_w = ((w * ((n.sqrt()? + step.beta)? / step.lr)?)? + wide_subgradient(w, &step.penalty)?)?;
    Ok(vec![w.eq(0.0)?.where_cond(z, &of_w.neg()?)?, n.clone()])
}

/// Gradients whose squares are numbers; NaN may become one of them.
fn with_square(g: &Tensor) -> Result<Tensor> {
    let largest = if g.dtype() == DType::F64 { f64::LARGEST_WITH_SQUARE } else { f32::LARGEST_WITH_SQUARE.into() };
    Ok(g.minimum(largest)?.maximum(-largest)?)
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
    let x = x.abs()?;
    // `max_all` passes over NaN, in its own way on every device.
    let largest = x.max_all()?;
    let nan = (x.ne(&x)?.where_cond(&x, &x.zeros_like()?)?).sum_all()?;
    // Powers of entries divided by the largest one neither overflow nor vanish.
    let no_unit = (largest.eq(0.0)? + largest.eq(f64::INFINITY)?)?;
    let unit = no_unit.where_cond(&largest.ones_like()?, &largest)?;
    let scaled = || x.broadcast_div(&unit);
    let norm = match norm {
        Norm::L1 => x.sum_all()?,
        Norm::L2 => (scaled()?.sqr()?.sum_all()?.sqrt()? * unit)?,
        Norm::Inf => largest,
        Norm::P(p) => (scaled()?.powf(p)?.sum_all()?.powf(p.recip())? * unit)?,
    };
    Ok((norm + nan)?)
}
