//! The penalty as a node of candle's graph.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor};

use super::cpu;
use crate::Penalty;

/// A scalar with a gradient of its own: candle's `abs` has +1 at 0.
pub(super) struct InLoss {
    pub(super) penalty: Penalty,
    pub(super) dtype: DType,
}

impl CustomOp1 for InLoss {
    fn name(&self) -> &'static str {
        "l1-penalty"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let value = cpu::value_of(storage, layout, &self.penalty)?;
        let storage = match self.dtype {
            DType::F64 => CpuStorage::F64(vec![value]),
            _ => CpuStorage::F32(vec![value as f32]),
        };
        Ok((storage, ().into()))
    }

    fn bwd(&self, w: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        w.detach().apply_op2_no_bwd(&grad.detach(), &cpu::ScaledSubgradient(self.penalty)).map(Some)
    }
}
