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
