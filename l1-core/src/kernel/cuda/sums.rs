//! Numbers of whole tensors: what a penalty charges, zeros, and the first entry that is not finite.

use candle_core::{DType, Tensor};

use super::{
    batch::{Batch, Operand, Sharing, place},
    flags::{Bad, Flags},
    gpu::{Gpu, Memory, Module, Together},
    table::{Args, Charge, Place, Sums},
};
use crate::{
    Penalty, Result,
    kernel::{
        proximal::{self, Approach},
        step::Counts,
    },
    penalty::{Groups, Layout},
};

/// Whether a penalty has kernels here, on a tensor of this shape: singular values have none.
pub(super) fn layout_of(w: &Tensor, penalty: &Penalty) -> Result<Option<Layout>> {
    match proximal::layout("w", penalty, w.dims())? {
        Layout::Singular { .. } => Ok(None),
        layout => Ok(Some(layout)),
    }
}

/// The sums of every tensor of a batch whose lines have been sent.
pub(super) fn sums(gpu: &Gpu, batch: &Batch) -> Result<Memory> {
    let parts = gpu.zeros(batch.chunks.count * size_of::<Sums>())?;
    let all = gpu.zeros(batch.number * size_of::<Sums>())?;
    batch.on_chunks(gpu, Module::Sums, "sums", Args { output: parts.address(gpu), ..batch.args(gpu) })?;
    let first = gpu.upload(&batch.chunks.first)?;
    let args = Args {
        input: parts.address(gpu),
        other: first.address(gpu),
        output: all.address(gpu),
        count: batch.number as u64,
        ..Args::default()
    };
    gpu.launch(Module::Sums, "gather_sums", batch.number, Together::No, &args)?;
    Ok(all)
}

/// The norms of a tensor's groups, as f64 in the memory of the device.
pub(super) fn norms(gpu: &Gpu, operand: &Operand<'_>, groups: Groups) -> Result<Memory> {
    let norms = gpu.zeros(8 * groups.number())?;
    let place = Place { state: [norms.address(gpu), 0, 0], ..place(gpu, operand)? };
    let mut batch = Batch::of_places(gpu, operand.w.dtype(), &[place], Some(Sharing::of(groups, gpu)))?;
    batch.push(place.w, 0, Charge::default());
    batch.send(gpu)?;
    batch.on_groups(gpu, "norms", batch.args(gpu))?;
    Ok(norms)
}

/// The sums over numbers of the device, f64 each.
fn sums_of_memory(gpu: &Gpu, numbers: &Memory, count: usize, charge: Charge) -> Result<Memory> {
    let place = Place { w: numbers.address(gpu), length: count as u64, ..Place::default() };
    let mut batch = Batch::of_places(gpu, DType::F64, &[place], None)?;
    batch.push(place.w, 0, charge);
    batch.send(gpu)?;
    sums(gpu, &batch)
}

/// `Ω(w)` as a scalar tensor in f64 or f32. The host does not wait. `None` where it has no kernel.
pub(in crate::kernel) fn omega(gpu: &Gpu, w: &Tensor, penalty: &Penalty, dtype: DType) -> Result<Option<Tensor>> {
    let Some(layout) = layout_of(w, penalty)? else { return Ok(None) };
    let result = Tensor::zeros((), dtype, w.device())?;
    if w.elem_count() == 0 {
        return Ok(Some(result));
    }
    let mut batch = Batch::new(gpu, &[Operand::alone(w)])?;
    batch.push(0, 0, Charge::new(penalty, layout, 1.0, Approach::Exact));
    batch.send(gpu)?;
    let of_entries = sums(gpu, &batch)?;
    let mut of_groups = None;
    if let Layout::Groups(groups) = layout {
        let norms = norms(gpu, &Operand { groups: Some(groups), ..Operand::alone(w) }, groups)?;
        let curve = Charge::new(penalty, Layout::Elements, 1.0, Approach::Exact).curved();
        of_groups = Some(sums_of_memory(gpu, &norms, groups.number(), curve)?);
    }
    let args = Args {
        input: of_entries.address(gpu),
        other: of_groups.as_ref().map_or(0, |sums| sums.address(gpu)),
        output: gpu.address(&result)?,
        mode: u32::from(dtype == DType::F32),
        ..batch.args(gpu)
    };
    gpu.launch(Module::Sums, "omega", 1, Together::No, &args)?;
    Ok(Some(result))
}

/// See [`kernel::value`](crate::kernel::value).
pub(in crate::kernel) fn value(gpu: &Gpu, w: &Tensor, penalty: &Penalty) -> Result<Option<f64>> {
    omega(gpu, w, penalty, DType::F64)?.map(|omega| crate::kernel::number(&omega)).transpose()
}

/// Zeros and `‖w‖₁`.
pub(in crate::kernel) fn counts(gpu: &Gpu, w: &Tensor) -> Result<Counts> {
    if w.elem_count() == 0 {
        return Ok(Counts::default());
    }
    let mut batch = Batch::new(gpu, &[Operand::alone(w)])?;
    batch.push(0, 0, Charge::default());
    batch.send(gpu)?;
    let sums = sums(gpu, &batch)?.read::<Sums>(gpu, 1)?;
    let Sums { zeros, abs, .. } = sums.first().copied().unwrap_or_default();
    Ok(Counts { zeros: zeros as usize, l1_norm: abs })
}

/// How many groups of a tensor are 0.
pub(in crate::kernel) fn zero_groups(gpu: &Gpu, w: &Tensor, groups: Groups) -> Result<usize> {
    let operand = Operand { groups: Some(groups), ..Operand::alone(w) };
    let norms = norms(gpu, &operand, groups)?;
    let sums = sums_of_memory(gpu, &norms, groups.number(), Charge::default())?.read::<Sums>(gpu, 1)?;
    Ok(sums.first().map_or(0, |sums| sums.zeros as usize))
}

/// The first entry that is NaN or infinite.
pub(in crate::kernel) fn first_non_finite(gpu: &Gpu, tensor: &Tensor) -> Result<Option<(usize, f64)>> {
    if tensor.elem_count() == 0 {
        return Ok(None);
    }
    let mut batch = Batch::new(gpu, &[Operand::alone(tensor)])?;
    batch.push(gpu.address(tensor)?, 0, Charge::default());
    batch.send(gpu)?;
    let flags = Flags::new(gpu, 1)?;
    batch.on_chunks(gpu, Module::Sums, "find", flags.args(gpu, batch.args(gpu)))?;
    let found = flags.read(gpu)?;
    Ok(found.first().and_then(|flag| Bad::of(*flag)).map(|Bad { at, value }| (at, value)))
}
