//! The penalty as a node of candle's graph.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Shape, Tensor};

use super::cpu;
use crate::{Penalty, mark::Mark};

/// A scalar of the weights and of their mark, with a gradient of its own: candle's `abs` has +1 at 0.
pub(super) struct InLoss {
    pub(super) penalty: Penalty,
    pub(super) dtype: DType,
    pub(super) mark: Arc<Mark>,
}

impl CustomOp2 for InLoss {
    fn name(&self) -> &'static str {
        "l1-penalty"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let value = cpu::value_of(storage, layout, &self.penalty)?;
        let storage = match self.dtype {
            DType::F64 => CpuStorage::F64(vec![value]),
            _ => CpuStorage::F32(vec![value as f32]),
        };
        Ok((storage, ().into()))
    }

    fn bwd(
        &self,
        w: &Tensor,
        mark: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let of_w = w.detach().apply_op2_no_bwd(&grad.detach(), &cpu::ScaledSubgradient(self.penalty))?;
        // A penalty of strength 0 charges nothing.
        let of_mark = if self.penalty.is_none() { None } else { Some(self.mark.node(mark)?) };
        Ok((Some(of_w), of_mark))
    }
}

/// The same on a GPU: the value is computed beforehand, since an operation of candle's graph sees no tensors but storages.
#[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
pub(super) fn on_gpu(
    gpu: &super::cuda::Gpu,
    w: &Tensor,
    penalty: &Penalty,
    dtype: DType,
    mark: &Arc<Mark>,
) -> crate::Result<Option<Tensor>> {
    let w = w.contiguous()?;
    let Some(value) = super::cuda::omega(gpu, &w.detach(), penalty, dtype)? else { return Ok(None) };
    let in_loss = OnGpu { value, penalty: *penalty, mark: mark.clone() };
    Ok(Some(w.apply_op2(mark.variable(&w)?, in_loss)?))
}

#[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
struct OnGpu {
    value: Tensor,
    penalty: Penalty,
    mark: Arc<Mark>,
}

#[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
impl CustomOp2 for OnGpu {
    fn name(&self) -> &'static str {
        "l1-penalty"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (storage, _) = self.value.storage_and_layout();
        match &*storage {
            candle_core::Storage::Cpu(value) => Ok((value.clone(), ().into())),
            _ => Err(super::access::not_on_cpu().into()),
        }
    }

    fn cuda_fwd(
        &self,
        _: &candle_core::CudaStorage,
        _: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let (storage, layout) = self.value.storage_and_layout();
        match &*storage {
            candle_core::Storage::Cuda(value) => Ok((value.try_clone(layout)?, ().into())),
            _ => candle_core::bail!("l1: the value of a penalty lies on another device than its weights"),
        }
    }

    fn bwd(
        &self,
        w: &Tensor,
        mark: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let w = w.detach();
        let of_w = match super::cuda::Gpu::of(&w) {
            Some(gpu) => super::cuda::subgradient(&gpu, &w, &self.penalty, Some(grad))?,
            None => None,
        };
        // A penalty of strength 0 charges nothing.
        let of_mark = if self.penalty.is_none() { None } else { Some(self.mark.node(mark)?) };
        Ok((of_w, of_mark))
    }
}
