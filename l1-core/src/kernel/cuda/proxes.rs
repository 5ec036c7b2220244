//! The prox of one tensor, and subgradients.

use candle_core::{DType, Tensor};

use super::{
    batch::{Batch, Operand, place},
    gpu::{Gpu, Memory, Module},
    sums::{layout_of, norms},
    table::{Args, Charge, Optimizer, Place},
};
use crate::{
    Penalty, Result,
    kernel::{
        proximal::{self, Approach},
        step::Step,
    },
    penalty::Layout,
};

/// `w ← prox(w)` of a contiguous tensor. `None` where it has no kernel.
///
/// * `step`: where it is a tensor, contiguous and of the dtype of the arithmetic.
pub(in crate::kernel) fn prox_in_place(gpu: &Gpu, w: &Tensor, penalty: &Penalty, step: Step<'_>) -> Result<Option<()>> {
    let Some(layout) = layout_of(w, penalty)? else { return Ok(None) };
    if w.elem_count() == 0 {
        return Ok(Some(()));
    }
    let groups = match layout {
        Layout::Groups(groups) => Some(groups),
        _ => None,
    };
    let mut batch = Batch::new(gpu, &[Operand { groups, ..Operand::alone(w) }])?;
    let (g, number, optimizer) = match step {
        Step::Scalar(step) => (gpu.address(w)?, Some(step), Optimizer::Stay),
        Step::Diagonal(steps) => (gpu.address(steps)?, None, Optimizer::StayInMetric),
    };
    batch.push(g, 0, Charge::of_prox(penalty, layout, number, w.dtype() == DType::F64));
    batch.send(gpu)?;
    let args = batch.args(gpu);
    match layout {
        Layout::Groups(_) => batch.on_groups(gpu, "groups", args)?,
        _ if proximal::is_plain(penalty, layout) => batch.on_chunks(gpu, Module::Steps, optimizer.kernel(), args)?,
        _ => batch.on_chunks(gpu, Module::Curves, "curve", args)?,
    }
    Ok(Some(()))
}

/// What a subgradient is made of beside the weights: its place, with the norms of the groups.
fn with_norms(gpu: &Gpu, w: &Tensor, layout: Layout) -> Result<(Place, Option<Memory>)> {
    let operand = Operand::alone(w);
    let alone = place(gpu, &operand)?;
    let Layout::Groups(groups) = layout else { return Ok((alone, None)) };
    let norms = norms(gpu, &Operand { groups: Some(groups), ..operand }, groups)?;
    let place = Place { state: [norms.address(gpu), 0, 0], ..alone };
    Ok((place.with_groups(Some(groups)), Some(norms)))
}

/// `grad ← grad + ∂Ω(w)` for many pairs of contiguous tensors, one launch for each dtype. Those that have no kernel come back.
pub(in crate::kernel) fn add_subgradients(gpu: &Gpu, work: &[(Tensor, &Tensor, Penalty)]) -> Result<Vec<usize>> {
    let mut elsewhere = Vec::new();
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let (mut places, mut lines, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (grad, w, penalty)) in work.iter().enumerate() {
            if w.dtype() != dtype || w.elem_count() == 0 {
                continue;
            }
            let Some(layout) = layout_of(w, penalty)? else {
                elsewhere.push(index);
                continue;
            };
            let (place, norms) = with_norms(gpu, w, layout)?;
            places.push(place);
            lines.push((gpu.address(grad)?, Charge::new(penalty, layout, 1.0, Approach::Exact)));
            kept.push(norms);
        }
        if places.is_empty() {
            continue;
        }
        let mut batch = Batch::of_places(gpu, dtype, &places, None)?;
        lines.into_iter().for_each(|(g, charge)| batch.push(g, 0, charge));
        batch.send(gpu)?;
        batch.on_chunks(gpu, Module::Curves, "subgradient", batch.args(gpu))?;
    }
    Ok(elsewhere)
}

/// `factor·∂Ω(w)` as a new tensor. `None` where it has no kernel.
///
/// * `w`: contiguous.
/// * `factor`: a scalar tensor; 1 where there is none.
pub(in crate::kernel) fn subgradient(
    gpu: &Gpu,
    w: &Tensor,
    penalty: &Penalty,
    factor: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    let Some(layout) = layout_of(w, penalty)? else { return Ok(None) };
    let result = w.zeros_like()?;
    if w.elem_count() == 0 {
        return Ok(Some(result));
    }
    let factor = match factor {
        Some(factor) => factor.detach().to_dtype(DType::F64)?,
        None => Tensor::ones((), DType::F64, w.device())?,
    };
    let (place, norms) = with_norms(gpu, w, layout)?;
    let [of_norms, ..] = place.state;
    let place = Place { state: [of_norms, gpu.address(&result)?, 0], ..place };
    let mut batch = Batch::of_places(gpu, w.dtype(), &[place], None)?;
    batch.push(0, 0, Charge::new(penalty, layout, 1.0, Approach::Exact));
    batch.send(gpu)?;
    let args = Args { other: gpu.address(&factor)?, ..batch.args(gpu) };
    batch.on_chunks(gpu, Module::Curves, "subgradient", args)?;
    drop(norms);
    Ok(Some(result))
}
