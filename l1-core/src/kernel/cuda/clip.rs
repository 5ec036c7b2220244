//! The norm of many gradients together, and their common factor: nothing comes back to the host.

use candle_core::{DType, Device, Tensor};

use super::{
    fleet::{Fleet, Ship},
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
    fleets: Vec<Fleet>,
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
    let mut fleets = Vec::new();
    let norms = gpu.zeros(8 * tensors.len())?;
    let mut number = 0;
    for kind in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let of_kind: Vec<_> =
            tensors.iter().filter(|tensor| tensor.dtype() == kind && tensor.elem_count() > 0).collect();
        if of_kind.is_empty() {
            continue;
        }
        let ships: Vec<_> = of_kind.iter().map(|tensor| Ship::alone(tensor)).collect();
        let mut fleet = Fleet::new(gpu, &ships)?;
        for tensor in of_kind {
            fleet.push(gpu.address(tensor)?, 0, Charge::default());
        }
        fleet.send(gpu)?;
        let output = norms.address(gpu) + 8 * number as u64;
        // In f64 no square of an f32 overflows or vanishes.
        let is_scaled = norming == Norming::Powers || (norming == Norming::Squares && kind == DType::F64);
        if is_scaled {
            let units = gpu.zeros(8 * fleet.number)?;
            of_fleet(gpu, &fleet, (Norming::Largest, p), 0, units.address(gpu))?;
            of_fleet(gpu, &fleet, (norming, p), units.address(gpu), output)?;
        } else {
            of_fleet(gpu, &fleet, (norming, p), 0, output)?;
        }
        number += fleet.number;
        fleets.push(fleet);
    }
    let sorted = gpu.zeros(8 * tensors.len())?;
    let (total, factor) = (Tensor::zeros((), dtype, device)?, gpu.zeros(8)?);
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
    Ok((total, Measured { fleets, factor }))
}

/// The norm of each tensor of a fleet.
fn of_fleet(gpu: &Gpu, fleet: &Fleet, (norming, p): (Norming, u64), units: u64, output: u64) -> Result<()> {
    let parts = gpu.zeros(8 * fleet.chunks.count)?;
    let args = Args { input: p, other: units, output: parts.address(gpu), mode: norming as u32, ..fleet.args(gpu) };
    fleet.on_chunks(gpu, Module::Sums, "powers", args)?;
    let first = gpu.upload(&fleet.chunks.first)?;
    let args = Args {
        input: parts.address(gpu),
        other: first.address(gpu),
        charges: p,
        turns: units,
        output,
        count: fleet.number as u64,
        mode: norming as u32,
        ..Args::default()
    };
    gpu.launch(Module::Sums, "gather_powers", fleet.number, Together::No, &args)
}

impl Measured {
    /// Multiplies the gradients by the factor, in place; one launch for each dtype.
    pub(crate) fn scale(&self, gpu: &Gpu) -> Result<()> {
        for fleet in &self.fleets {
            let args = Args { input: self.factor.address(gpu), ..fleet.args(gpu) };
            fleet.on_chunks(gpu, Module::Sums, "scale", args)?;
        }
        Ok(())
    }
}
