//! The operations on tensors that everything else is made of, and which implementation runs them: `cpu.rs` on the CPU, `cuda/` on
//! NVIDIA's GPUs, `composed.rs` elsewhere.
//!
//! | operation | formula |
//! |---|---|
//! | [`value`] | `Ω(w) = Σ_g c_g·φ_λ(‖w_g‖) + element·‖w‖₁ + ½·l2·‖w‖²`, `+∞` outside a sign constraint |
//! | [`subgradient`] | `c_g·φ'(‖w_g‖)·w/‖w_g‖ + element·sign(w) + l2·w`, sign(0) = 0 |
//! | [`prox`] | `argmin_u Σ (uᵢ − zᵢ)²/(2·stepᵢ) + Ω(u)` |
//! | [`distances`] | `dist(−∇f, ∂Ω(w))` of each group |
//! | [`lambda_max`] | the smallest λ that holds each group at 0 |
//! | [`scale_max`] | the smallest factor of λ and element that does |

use std::sync::Arc;

use candle_core::{DType, Tensor, Var};

use crate::{Error, Penalty, Result, mark::Mark, penalty::Layout};

mod access;
mod chunks;
#[doc(hidden)]
pub mod composed;
#[doc(hidden)]
pub mod cpu;
#[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
mod cuda;
pub(crate) mod distance;
mod formula;
mod hold;
mod host;
mod in_loss;
mod lanes;
mod launches;
mod many;
#[doc(hidden)]
pub mod master;
mod norm;
mod number;
mod pass;
mod place;
mod proximal;
pub(crate) mod simd;
pub(crate) mod singular;
mod step;
mod tables;

pub(crate) use access::storage_key;
pub(crate) use composed::number;
#[cfg(feature = "emulated-cuda")]
#[doc(hidden)]
pub use cuda::emulated;
#[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
pub(crate) use cuda::{Gpu, measure, of_all as gpu_of_all};
pub(crate) use distance::groups;
pub use distance::{LambdaMax, Stays, distances, lambda_max, scale_max};
#[doc(hidden)]
pub use hold::Hold;
pub(crate) use hold::{hold_gradient, put_back_zeros};
#[doc(hidden)]
pub use launches::launches;
pub(crate) use master::is_half;
pub use norm::Norm;
pub(crate) use number::{is_supported, wide_dtype};
#[doc(hidden)]
pub use pass::Source;
pub use place::Place;
pub use step::Step;
#[doc(hidden)]
pub use step::{AdamWStep, Counts, FtrlStep, OptimizerStep, SgdStep, Work};
pub(crate) use tables::{Late, Tables};

fn on_cpu(tensor: &Tensor) -> bool {
    tensor.device().is_cpu()
}

/// Returns from a function with what the kernels of a tensor's GPU make of it, if it lies on one and they make something of it.
macro_rules! on_gpu {
    ($tensor:expr, |$gpu:ident| $result:expr) => {
        #[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
        if let Some($gpu) = &$crate::kernel::cuda::Gpu::of($tensor)
            && let Some(result) = $result
        {
            return Ok(result);
        }
    };
}

fn check_dtype(argument: &str, tensor: &Tensor) -> Result<()> {
    if is_supported(tensor.dtype()) { Ok(()) } else { Err(number::unsupported(argument, tensor.dtype())) }
}

/// The penalty of one tensor as a number, `Σ_g c_g·φ_λ(‖w_g‖) + element·‖w‖₁ + ½·l2·‖w‖²` (see [`Penalty`]); `+∞` if a sign constraint
/// is violated, NaN if an entry is NaN.
///
/// * `w`: any shape, F32, F64, BF16 or F16. On the CPU it is summed in f64, in an order that follows from the length alone: the
///   same bits on any number of threads.
///
/// # Errors
/// [`Error::UnsupportedDType`]; [`Error::Grouping`] where a tensor of this shape has no such groups.
pub fn value(w: &Tensor, penalty: &Penalty) -> Result<f64> {
    check_dtype("w", w)?;
    on_gpu!(w, |gpu| cuda::value(gpu, &w.detach().contiguous()?, penalty)?);
    if on_cpu(w) { cpu::value(&w.contiguous()?, penalty) } else { composed::value(w, penalty) }
}

/// The subgradient of smallest norm: 0 where an entry or a group is 0, NaN where an entry is NaN. For l1 on single entries it is
/// `λ·sign(w) + l2·w`; for a group `c·φ'(r)·w/r`, r = ‖w_g‖; for singular values `U·diag(φ'(σ))·Vᵀ` (Watson 1992).
///
/// * `w`: any shape, F32, F64, BF16 or F16. Returns a tensor of its shape and dtype.
///
/// A sign constraint adds nothing: it has no gradient. (Parikh & Boyd, *Proximal Algorithms* (2014), §6.5.2.)
///
/// # Errors
/// [`Error::UnsupportedDType`]; [`Error::Grouping`] where a tensor of this shape has no such groups.
pub fn subgradient(w: &Tensor, penalty: &Penalty) -> Result<Tensor> {
    check_dtype("w", w)?;
    on_gpu!(w, |gpu| cuda::subgradient(gpu, &w.detach().contiguous()?, penalty, None)?);
    if !on_cpu(w) {
        return composed::subgradient(w, penalty);
    }
    cpu::subgradient(&w.detach().contiguous()?, penalty)
}

/// The proximal operator of the penalty, `argmin_u Σ (uᵢ − zᵢ)²/(2·stepᵢ) + Ω(u)`. For l1 on single entries it is
/// `sign(z)·max(|z| − step·λ, 0)/(1 + step·l2)`, and with a sign constraint `max(z − step·λ, 0)/(1 + step·l2)`.
///
/// Where two minima are equally low it takes 0. It is exact, but in one case: groups with a curve other than l1 and a step for each
/// entry have several local minima, of which majorization finds the lowest nearly always. Singular values have no prox with a step for
/// each entry; that is an error.
///
/// * `z`: any shape, F32, F64, BF16 or F16. Returns a new tensor of its shape and dtype, without gradient.
/// * `step`: a number ≥ 0, or a tensor of `z`'s shape with entries ≥ 0 (a diagonal metric, as in Adam).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use l1_core::{Penalty, kernel};
///
/// let z = Tensor::new(&[3f32, -0.5, -2.0], &Device::Cpu)?;
/// let u = kernel::prox(&z, &Penalty::l1(2.0), 0.5)?;
/// assert_eq!(u.to_vec1::<f32>()?, [2.0, 0.0, -1.0]);
/// # Ok::<(), l1_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidParameter`] for a curve's number, a λ, l2 or step (a number, not a tensor's entries) that is negative or not finite in the
/// arithmetic of `z` (f32, but for F64),
/// [`Error::ShapeMismatch`] when `step` has another shape, [`Error::UnsupportedDType`]; [`Error::Grouping`] where a tensor of this
/// shape has no such groups, or for singular values with a step for each entry; [`Error::SingularValues`] for those of a `z` with NaN
/// or ∞.
///
/// Parikh & Boyd, *Proximal Algorithms* (2014), §6.5.2 and §2.1 (ridge); Zou & Hastie 2005.
pub fn prox<'s>(z: &Tensor, penalty: &Penalty, step: impl Into<Step<'s>>) -> Result<Tensor> {
    check_dtype("z", z)?;
    let step = step.into();
    if let Some((name, value, expected)) = penalty.invalid_for(z.dtype()) {
        return Err(Error::InvalidParameter { name, value, expected });
    }
    check_step(z, &step)?;
    let layout = proximal::layout("z", penalty, z.dims())?;
    if let (Layout::Singular { .. }, Step::Diagonal(_)) = (layout, &step) {
        return Err(Error::Grouping {
            path: "z".into(),
            group: penalty.group(),
            shape: z.shape().clone(),
            expected: "one step for the whole tensor".to_owned(),
        });
    }
    if let Layout::Singular { rows, columns } = layout
        && let Some((index, value)) = first_non_finite(z)?
    {
        let why = format!("it holds {value} at flat index {index}");
        return Err(Error::SingularValues { path: "z".into(), rows, columns, why });
    }
    on_gpu!(z, |gpu| prox_on_gpu(gpu, z, penalty, step)?);
    if !on_cpu(z) {
        return composed::prox(z, penalty, step);
    }
    let result = z.detach().force_contiguous()?;
    match step {
        Step::Scalar(_) => cpu::prox_in_place(&result, penalty, step)?,
        Step::Diagonal(steps) => {
            let steps = steps.to_dtype(wide_dtype(z.dtype()))?.contiguous()?;
            cpu::prox_in_place(&result, penalty, Step::Diagonal(&steps))?;
        }
    }
    Ok(result)
}

#[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
fn prox_on_gpu(gpu: &cuda::Gpu, z: &Tensor, penalty: &Penalty, step: Step<'_>) -> Result<Option<Tensor>> {
    let result = z.detach().force_contiguous()?;
    let done = match step {
        Step::Scalar(_) => cuda::prox_in_place(gpu, &result, penalty, step)?,
        Step::Diagonal(steps) => {
            let steps = steps.to_dtype(wide_dtype(z.dtype()))?.contiguous()?;
            cuda::prox_in_place(gpu, &result, penalty, Step::Diagonal(&steps))?
        }
    };
    Ok(done.map(|()| result))
}

fn check_step(z: &Tensor, step: &Step<'_>) -> Result<()> {
    match step {
        Step::Scalar(step) if !crate::penalty::is_strength(*step) => {
            Err(Error::InvalidParameter { name: "step", value: *step, expected: crate::penalty::STRENGTH })
        }
        Step::Scalar(step) if z.dtype() != DType::F64 && *step > f32::MAX.into() => {
            Err(Error::InvalidParameter { name: "step", value: *step, expected: "at most 3.4e38, the largest f32" })
        }
        Step::Diagonal(steps) if steps.shape() != z.shape() => {
            Err(Error::ShapeMismatch { argument: "step", found: steps.shape().clone(), expected: z.shape().clone() })
        }
        _ => Ok(()),
    }
}

/// `w ← prox(w)` with one step for all entries.
pub(crate) fn prox_in_place(w: &Var, penalty: &Penalty, step: f64) -> Result<()> {
    check_dtype("w", w)?;
    on_gpu!(w, |gpu| cuda::prox_in_place(gpu, w, penalty, Step::Scalar(step))?);
    if on_cpu(w) {
        cpu::prox_in_place(w, penalty, Step::Scalar(step))
    } else {
        Ok(w.set(&composed::prox(w, penalty, Step::Scalar(step))?)?)
    }
}

/// The penalty of one tensor as a differentiable scalar of the given dtype. Where it charges something, `backward` leaves an entry
/// for the mark.
pub(crate) fn penalty(w: &Tensor, penalty: &Penalty, dtype: DType, mark: &Arc<Mark>) -> Result<Tensor> {
    check_dtype("w", w)?;
    on_gpu!(w, |gpu| in_loss::on_gpu(gpu, w, penalty, dtype, mark)?);
    if on_cpu(w) {
        let in_loss = in_loss::InLoss { penalty: *penalty, dtype, mark: mark.clone() };
        return Ok(w.contiguous()?.apply_op2(mark.variable(w)?, in_loss)?);
    }
    let term = composed::penalty(w, penalty, dtype)?;
    if penalty.is_none() { Ok(term) } else { composed::marked(&term, mark, w) }
}

/// `grad + ∂Ω(w)` of many tensors as one job, in place where the device allows it; each pair contiguous, of one dtype, on one
/// device. Returns the sums.
pub(crate) fn add_subgradients(work: &[(Tensor, &Tensor, Penalty)]) -> Result<Vec<Tensor>> {
    #[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
    if let Some(gpu) = cuda::of_all(work.iter().map(|(_, w, _)| *w)) {
        let elsewhere = cuda::add_subgradients(&gpu, work)?;
        let mut sums: Vec<_> = work.iter().map(|(grad, ..)| grad.clone()).collect();
        for index in elsewhere {
            let (grad, w, penalty) = &work[index];
            sums[index] = composed::plus_subgradient(grad, w, penalty)?;
        }
        return Ok(sums);
    }
    if work.iter().all(|(_, w, _)| on_cpu(w)) {
        many::add_subgradients(work)?;
        return Ok(work.iter().map(|(grad, ..)| grad.clone()).collect());
    }
    work.iter().map(|(grad, w, penalty)| composed::plus_subgradient(grad, w, penalty)).collect()
}

/// Takes the next step of every variable, all as one job. Returns the index of the first that has a coordinate which was left
/// as it was for its gradient; on a GPU the tables know of it later.
pub(crate) fn steps(work: &mut [Work], source: Source, tables: &mut Tables) -> Result<Option<usize>> {
    #[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
    if let Some(gpu) = cuda::of_all(work.iter().map(|work| work.var.as_tensor())) {
        let mut first = None;
        for index in tables.on_gpu(&gpu).steps(&gpu, work, source)? {
            let passed_over = steps_one_by_one(&mut work[index..=index], source)?;
            first = first.or(passed_over.map(|_| index));
        }
        return Ok(first);
    }
    let _ = tables;
    steps_one_by_one(work, source)
}

/// The same by the kernels of the CPU, or by candle's operations.
fn steps_one_by_one(work: &mut [Work], source: Source) -> Result<Option<usize>> {
    master::take_up(work)?;
    hold::hold(work)?;
    work.iter_mut().for_each(Work::change_places);
    let passed_over = steps_in_place(work, source);
    work.iter_mut().for_each(Work::change_places);
    // Also after an error in the middle: what has been stepped is seen.
    let handed_out = master::hand_out(work);
    passed_over.and_then(|passed_over| handed_out.map(|()| passed_over))
}

fn steps_in_place(work: &mut [Work], source: Source) -> Result<Option<usize>> {
    if work.iter().all(|work| on_cpu(&work.var)) {
        return many::steps(work, source);
    }
    let mut first = None;
    for (index, work) in work.iter().enumerate() {
        let passed_over = if on_cpu(&work.var) { cpu::step(work, source)? } else { composed::step(work, source)? };
        first = first.or(passed_over.then_some(index));
    }
    Ok(first)
}

/// The index of the first variable whose gradient holds NaN or an infinity.
pub(crate) fn first_with_non_finite_gradient(work: &[Work], tables: &mut Tables) -> Result<Option<usize>> {
    #[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
    if let Some(gpu) = cuda::of_all(work.iter().map(|work| work.var.as_tensor())) {
        return Ok(tables.on_gpu(&gpu).first_with_non_finite_gradient(&gpu, work)?.map(|late| late.index));
    }
    let _ = tables;
    if work.iter().all(|work| on_cpu(&work.var)) {
        return many::first_with_non_finite_gradient(work);
    }
    for (index, work) in work.iter().enumerate() {
        if let Some((grad, _)) = &work.next
            && first_non_finite(grad)?.is_some()
        {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// The penalties of many tensors, in their order.
pub(crate) fn values(tensors: &[(&Tensor, Penalty)]) -> Result<Vec<f64>> {
    #[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
    if let Some(gpu) = cuda::of_all(tensors.iter().map(|(w, _)| *w)) {
        return values_on_gpu(&gpu, tensors);
    }
    if tensors.iter().all(|(w, _)| on_cpu(w)) {
        return many::values(tensors);
    }
    tensors.iter().map(|(w, penalty)| value(w, penalty)).collect()
}

/// All of them before the host waits, once.
#[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
fn values_on_gpu(gpu: &Gpu, tensors: &[(&Tensor, Penalty)]) -> Result<Vec<f64>> {
    let mut values = Vec::with_capacity(tensors.len());
    for (w, penalty) in tensors {
        let w = w.detach().contiguous()?;
        values.push(match cuda::omega(gpu, &w, penalty, DType::F64)? {
            Some(value) => value,
            None => Tensor::new(composed::value(&w, penalty)?, w.device())?,
        });
    }
    Ok(if values.is_empty() { Vec::new() } else { Tensor::stack(&values, 0)?.to_vec1()? })
}

/// Zeros and `‖w‖₁` of one tensor.
pub(crate) fn counts(w: &Tensor) -> Result<Counts> {
    on_gpu!(w, |gpu| Some(cuda::counts(gpu, &w.detach().contiguous()?)?));
    if on_cpu(w) { cpu::counts(&w.contiguous()?) } else { composed::counts(w) }
}

pub(crate) fn first_non_finite(tensor: &Tensor) -> Result<Option<(usize, f64)>> {
    on_gpu!(tensor, |gpu| Some(cuda::first_non_finite(gpu, &tensor.detach().contiguous()?)?));
    if on_cpu(tensor) { cpu::first_non_finite(&tensor.contiguous()?) } else { composed::first_non_finite(tensor) }
}

/// The norm as a scalar tensor on the tensor's device: F64 for F64, else F32.
pub(crate) fn norm(tensor: &Tensor, norm: Norm) -> Result<Tensor> {
    check_dtype("gradient", tensor)?;
    if !on_cpu(tensor) {
        return composed::norm(tensor, norm);
    }
    let norm = cpu::norm(&tensor.contiguous()?, norm)?;
    Ok(Tensor::new(norm, tensor.device())?.to_dtype(wide_dtype(tensor.dtype()))?)
}
