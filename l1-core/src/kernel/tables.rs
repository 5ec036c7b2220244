//! What an optimizer keeps for the kernels of a GPU between its steps; nothing where there are none.

#[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
use super::cuda;
use crate::Result;

/// The tables of the kernels, and what their last step has left to be told.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    #[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
    on_gpu: Option<(cuda::Gpu, cuda::Tables)>,
    /// What is to be told before anything else.
    put_off: Option<Late>,
}

/// An entry of a gradient that was not finite, in a step that is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Late {
    /// Which variable.
    pub(crate) index: usize,
    /// Where in its gradient.
    pub(crate) at: usize,
    /// What was there.
    pub(crate) value: f64,
}

impl Tables {
    #[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
    pub(super) fn on_gpu(&mut self, gpu: &cuda::Gpu) -> &mut cuda::Tables {
        &mut self.on_gpu.get_or_insert_with(|| (gpu.clone(), cuda::Tables::default())).1
    }

    /// Keeps something to be told the next time.
    pub(crate) fn put_off(&mut self, late: Late) {
        self.put_off = Some(late);
    }

    /// What the last step has passed over, told once. Waits for that step, if it was one that may have, and for nothing behind it.
    pub(crate) fn take_late(&mut self) -> Result<Option<Late>> {
        let put_off = self.put_off.take();
        #[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
        if let Some((gpu, tables)) = &mut self.on_gpu {
            // Both are of one step: the first in the order of the variables is told.
            let late = put_off.into_iter().chain(tables.take_late(gpu)?);
            return Ok(late.min_by_key(|late| late.index));
        }
        Ok(put_off)
    }
}
