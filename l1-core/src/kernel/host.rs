//! Penalties that `composed.rs` has no tensor operations for, on other devices than the CPU: the CPU's kernels on copies.

use candle_core::{DType, Device, Tensor, Var};

use super::{
    cpu,
    pass::Source,
    step::{Step, Work},
};
use crate::{Penalty, Result};

/// A contiguous tensor on the CPU, with storage of its own.
fn copy(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.detach().to_device(&Device::Cpu)?.force_contiguous()?)
}

/// `Ω(w)`
pub(super) fn value(w: &Tensor, penalty: &Penalty) -> Result<f64> {
    cpu::value(&copy(w)?, penalty)
}

/// `Ω(w)` as a differentiable scalar.
pub(super) fn penalty(w: &Tensor, penalty: &Penalty, dtype: DType) -> Result<Tensor> {
    let value = Tensor::new(value(w, penalty)?, &Device::Cpu)?.to_dtype(dtype)?.to_device(w.device())?;
    // The gradient of `s·w − (s·w, held fixed)` is s, and its value 0.
    let slope = (subgradient(w, penalty)?.to_dtype(dtype)? * w.to_dtype(dtype)?)?.sum_all()?;
    Ok((value + (&slope - slope.detach())?)?)
}

/// `∂Ω(w)`
pub(super) fn subgradient(w: &Tensor, penalty: &Penalty) -> Result<Tensor> {
    Ok(cpu::subgradient(&copy(w)?, penalty)?.to_device(w.device())?)
}

/// The prox of `z`.
pub(super) fn prox(z: &Tensor, penalty: &Penalty, step: Step<'_>) -> Result<Tensor> {
    let result = copy(z)?;
    match step {
        Step::Scalar(_) => cpu::prox_in_place(&result, penalty, step)?,
        Step::Diagonal(steps) => {
            let steps = copy(steps)?.to_dtype(super::wide_dtype(z.dtype()))?;
            cpu::prox_in_place(&result, penalty, Step::Diagonal(&steps))?;
        }
    }
    Ok(result.to_device(z.device())?)
}

/// Takes the next step of one variable.
pub(super) fn step(work: &Work, source: Source) -> Result<bool> {
    let Some((grad, step)) = &work.next else { return Ok(false) };
    let var = |var: &Var| Ok(Var::from_tensor(&copy(var)?)?);
    let state = work.state.iter().map(var).collect::<Result<Vec<_>>>()?;
    let on_host = Work::new(var(&work.var)?, state, Some((copy(grad)?, *step)));
    let passed_over = cpu::step(&on_host, source)?;
    let back = |to: &Var, from: &Var| to.set(&from.as_detached_tensor().to_device(to.device())?);
    work.state.iter().zip(&on_host.state).try_for_each(|(to, from)| back(to, from))?;
    back(&work.var, &on_host.var)?;
    Ok(passed_over)
}
