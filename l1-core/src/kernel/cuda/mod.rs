//! The operations on NVIDIA's GPUs: many tensors in one launch, nothing that the host waits for in a step.
//!
//! | file | what |
//! |---|---|
//! | `device/` | the kernels, CUDA and C++ alike; their formulas are in `arithmetic.h` and what it includes |
//! | `ptx/` | what `scripts/cuda-ptx` makes of them |
//! | `emulated/`, `emulated.rs` | a GPU in plain C++, for tests without one |
//! | `gpu.rs` | memory, addresses and launches, of either |
//! | `nvidia.rs` | NVIDIA's, through candle |
//! | `table.rs`, `bytes.rs` | the structures that kernels are told things by |
//! | `batch.rs` | tensors that one kernel works on together |
//! | `steps.rs`, `flags.rs` | the step of an optimizer, and gradients that are not finite |
//! | `proxes.rs`, `sums.rs`, `clip.rs` | the other operations |
//!
//! What has no kernel here, the spectrum of a matrix, comes back as `None` and is computed by `composed.rs`.

use candle_core::Tensor;

mod batch;
mod bytes;
mod clip;
#[cfg(feature = "emulated-cuda")]
pub mod emulated;
mod flags;
mod gpu;
#[cfg(feature = "cuda")]
mod nvidia;
mod proxes;
mod steps;
mod sums;
mod table;

pub(crate) use clip::measure;
pub(crate) use gpu::Gpu;
pub(super) use proxes::{add_subgradients, prox_in_place, subgradient};
pub(super) use steps::Tables;
pub(super) use sums::{counts, first_non_finite, omega, value, zero_groups};

/// The GPU that all of these lie on, if it is one that has kernels.
pub(crate) fn of_all<'t>(tensors: impl Iterator<Item = &'t Tensor>) -> Option<Gpu> {
    let mut tensors = tensors.peekable();
    let first = *tensors.peek()?;
    let gpu = Gpu::of(first)?;
    tensors.all(|tensor| tensor.device().same_device(first.device())).then_some(gpu)
}
