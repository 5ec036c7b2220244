//! The norm of many gradients together, and their common factor: nothing comes back to the host.

use candle_core::{DType, Device, Tensor};

use super::{
    batch::{Batch, Operand},
    gpu::{Gpu, Memory, Module, Together},
    table::{Args, Charge},
};
use crate::{Result, kernel::Norm};

/// `Norming` of `sums.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Norming {
    Largest,
    Absolute,
    Squares,
    Powers,
}

impl From<Norm> for Norming {
    fn from(norm: Norm) -> Self {
        match norm {
            Norm::L1 => Self::Absolute,
            Norm::L2 => Self::Squares,
            Norm::Inf => Self::Largest,
            Norm::P(_) => Self::Powers,
        }
    }
}

/// Gradients that are measured together, and multiplied by a factor later.
#[derive(Debug)]
pub(crate) struct Measured {
    batches: Vec<Batch>,
    /// The factor, as f64.
    factor: Memory,
}

/// * `tensors`: contiguous; on this device.
/// * `dtype`: of the norm, F64 or F32.
pub(crate) fn measure(
    gpu: &Gpu,
    device: &Device,
    tensors: &[Tensor],
    norm: Norm,
    max_norm: f64,
    dtype: DType,
) -> Result<(Tensor, Measured)> {
    let p = norm.p().to_bits();
    let norming = Norming::from(norm);
    let mut batches = Vec::new();
    let norms = gpu.zeros(8 * tensors.len())?;
    let mut number = 0;
    for kind in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let of_kind: Vec<_> =
            tensors.iter().filter(|tensor| tensor.dtype() == kind && tensor.elem_count() > 0).collect();
        if of_kind.is_empty() {
            continue;
        }
        let operands: Vec<_> = of_kind.iter().map(|tensor| Operand::alone(tensor)).collect();
        let mut batch = Batch::new(gpu, &operands)?;
        for tensor in of_kind {
            batch.push(gpu.address(tensor)?, 0, Charge::default());
        }
        batch.send(gpu)?;
        let output = norms.address(gpu) + 8 * number as u64;
        // In f64 no square of an f32 overflows or vanishes.
        let is_scaled = norming == Norming::Powers || (norming == Norming::Squares && kind == DType::F64);
        if is_scaled {
            let units = gpu.zeros(8 * batch.number)?;
            of_batch(gpu, &batch, (Norming::Largest, p), 0, units.address(gpu))?;
            of_batch(gpu, &batch, (norming, p), units.address(gpu), output)?;
        } else {
            of_batch(gpu, &batch, (norming, p), 0, output)?;
        }
        number += batch.number;
        batches.push(batch);
    }
    let sorted = gpu.zeros(8 * tensors.len())?;
    let (total, factor) = (Tensor::zeros((), dtype, device)?, gpu.zeros(8)?);
    let args = Args { input: norms.address(gpu), output: sorted.address(gpu), count: number as u64, ..Args::default() };
    gpu.launch(Module::Sums, "rank", number.div_ceil(gpu.threads()), Together::No, &args)?;
    let is_narrow = dtype == DType::F32;
    let args = Args {
        input: norms.address(gpu),
        other: sorted.address(gpu),
        charges: p,
        turns: max_norm.to_bits(),
        places: gpu.address(&total)?,
        output: factor.address(gpu),
        count: number as u64,
        mode: norming as u32 + if is_narrow { 8 } else { 0 },
        ..Args::default()
    };
    gpu.launch(Module::Sums, "total", 1, Together::No, &args)?;
    Ok((total, Measured { batches, factor }))
}

/// The norm of each tensor of a batch.
fn of_batch(gpu: &Gpu, batch: &Batch, (norming, p): (Norming, u64), units: u64, output: u64) -> Result<()> {
    let parts = gpu.zeros(8 * batch.chunks.count)?;
    let args = Args { input: p, other: units, output: parts.address(gpu), mode: norming as u32, ..batch.args(gpu) };
    batch.on_chunks(gpu, Module::Sums, "powers", args)?;
    let first = gpu.upload(&batch.chunks.first)?;
    let args = Args {
        input: parts.address(gpu),
        other: first.address(gpu),
        charges: p,
        turns: units,
        output,
        count: batch.number as u64,
        mode: norming as u32,
        ..Args::default()
    };
    gpu.launch(Module::Sums, "gather_powers", batch.number, Together::No, &args)
}

impl Measured {
    /// Multiplies the gradients by the factor, in place; one launch for each dtype.
    pub(crate) fn scale(&self, gpu: &Gpu) -> Result<()> {
        for batch in &self.batches {
            let args = Args { input: self.factor.address(gpu), ..batch.args(gpu) };
            batch.on_chunks(gpu, Module::Sums, "scale", args)?;
        }
        Ok(())
    }
}
