//! The emulated GPU of the tests: every kernel in plain C++, on tensors in the memory of the host.

#![allow(unsafe_code)]

use std::{
    ffi::{CString, c_char, c_int, c_uint},
    sync::atomic::{AtomicBool, Ordering},
};

use candle_core::{CpuStorage, DType, Layout, Tensor};

use super::{
    gpu::{Gpu, Together},
    steps::Tables,
    table::Args,
};
use crate::{
    Error, Penalty, Result,
    kernel::{
        norm::Norm,
        pass::Source,
        step::{Counts, Step, Work},
    },
};

static IS_ON: AtomicBool = AtomicBool::new(false);

/// From now on tensors on the CPU are taken for tensors on a GPU, and what has kernels for CUDA is computed by those: for tests on
/// machines without a GPU. It cannot be turned off: what has begun on one device does not end on another.
pub fn turn_on() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// Whether it has been turned on.
#[must_use]
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

// SAFETY: the declaration is that of `emulated/emulated.cpp`.
unsafe extern "C" {
    fn l1_emulated_launch(name: *const c_char, grid: c_uint, together: c_int, args: *const Args) -> c_int;
}

pub(super) fn launch(kernel: &str, grid: u32, together: Together, args: &Args) -> Result<()> {
    let unknown = || Error::from(candle_core::Error::Msg(format!("l1: there is no kernel `{kernel}`")));
    let name = CString::new(kernel).map_err(|_| unknown())?;
    // SAFETY: name and arguments live until the call returns. The addresses in the arguments are those of storages and of `Memory` that
    // the caller keeps, each long enough for the lengths in its table. The tests read no tensor from another thread while it is written.
    let result = unsafe { l1_emulated_launch(name.as_ptr(), grid, (together == Together::Yes).into(), args) };
    if result == 0 { Ok(()) } else { Err(unknown()) }
}

/// The address of a tensor's first number.
pub(super) fn address(storage: &CpuStorage, layout: &Layout) -> Result<u64> {
    // Of the vector and not of a slice: the numbers are written through it, in C++. Who steps a tensor here has it alone.
    let (address, size) = match storage {
        CpuStorage::F32(values) => (values.as_ptr() as u64, 4),
        CpuStorage::F64(values) => (values.as_ptr() as u64, 8),
        CpuStorage::BF16(values) => (values.as_ptr() as u64, 2),
        CpuStorage::F16(values) => (values.as_ptr() as u64, 2),
        _ => return Err(crate::kernel::number::wrong_dtype()),
    };
    Ok(address + size * layout.start_offset() as u64)
}

/// [`kernel::value`](crate::kernel::value) of a contiguous tensor, whether it is turned on or not; so are all that follow. `None` for
/// singular values.
///
/// # Errors
/// As there.
pub fn value(w: &Tensor, penalty: &Penalty) -> Result<Option<f64>> {
    super::value(&Gpu::Emulated, w, penalty)
}

/// [`kernel::subgradient`](crate::kernel::subgradient)
///
/// # Errors
/// As there.
pub fn subgradient(w: &Tensor, penalty: &Penalty) -> Result<Option<Tensor>> {
    super::subgradient(&Gpu::Emulated, w, penalty, None)
}

/// `grad ← grad + ∂Ω(w)`. Returns the indices of those that have no kernel.
///
/// # Errors
/// Candle's.
pub fn add_subgradients(work: &[(Tensor, &Tensor, Penalty)]) -> Result<Vec<usize>> {
    super::add_subgradients(&Gpu::Emulated, work)
}

/// [`kernel::prox`](crate::kernel::prox) in place; a step for each entry in the dtype of the arithmetic.
///
/// # Errors
/// As there.
pub fn prox_in_place(w: &Tensor, penalty: &Penalty, step: Step<'_>) -> Result<Option<()>> {
    super::prox_in_place(&Gpu::Emulated, w, penalty, step)
}

/// Steps many variables as an optimizer does, so often. Returns the first that was passed over in the last step, where in its gradient,
/// and what was there.
///
/// # Errors
/// Candle's.
pub fn steps(work: &mut [Work], source: Source, times: usize) -> Result<Option<(usize, usize, f64)>> {
    let mut tables = Tables::default();
    let mut late = None;
    for _ in 0..times {
        tables.steps(&Gpu::Emulated, work, source)?;
        late = tables.take_late(&Gpu::Emulated)?;
    }
    Ok(late.map(|late| (late.index, late.at, late.value)))
}

/// The same by the kernels of the CPU, once.
///
/// # Errors
/// Candle's.
pub fn steps_on_cpu(work: &mut [Work], source: Source) -> Result<Option<usize>> {
    crate::kernel::steps_one_by_one(work, source)
}

/// The first variable whose gradient is not finite, where, and what is there.
///
/// # Errors
/// Candle's.
pub fn first_with_non_finite_gradient(work: &[Work]) -> Result<Option<(usize, usize, f64)>> {
    let found = Tables::default().first_with_non_finite_gradient(&Gpu::Emulated, work)?;
    Ok(found.map(|found| (found.index, found.at, found.value)))
}

/// Zeros and `‖w‖₁`.
///
/// # Errors
/// Candle's.
pub fn counts(w: &Tensor) -> Result<Counts> {
    super::counts(&Gpu::Emulated, w)
}

/// The first entry that is NaN or infinite.
///
/// # Errors
/// Candle's.
pub fn first_non_finite(tensor: &Tensor) -> Result<Option<(usize, f64)>> {
    super::first_non_finite(&Gpu::Emulated, tensor)
}

/// The norm of tensors together, in f64, after they have been multiplied by `min(1, max_norm/(norm + 1e-6))`.
///
/// # Errors
/// Candle's.
pub fn clip(tensors: &[Tensor], norm: Norm, max_norm: f64) -> Result<f64> {
    let device = candle_core::Device::Cpu;
    let (total, measured) = super::measure(&Gpu::Emulated, &device, tensors, norm.normalized(), max_norm, DType::F64)?;
    measured.scale(&Gpu::Emulated)?;
    crate::kernel::number(&total)
}
