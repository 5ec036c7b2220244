//! A tensor's storage under its lock. candle hands out mutable storage only inside in-place operations; these wrap a closure
//! into one, and nest for steps that write several tensors.

use std::cell::Cell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Storage, Tensor};

use crate::{Error, Result};

/// A key that is equal for two tensors iff they share their storage.
pub(crate) fn storage_key(tensor: &Tensor) -> usize {
    let (storage, _) = tensor.storage_and_layout();
    std::ptr::from_ref::<Storage>(&storage).addr()
}

pub(super) fn not_on_cpu() -> Error {
    candle_core::Error::Msg("l1: a CPU kernel was given a tensor of another device".to_owned()).into()
}

/// Reads a CPU tensor.
pub(super) fn read<R>(tensor: &Tensor, reader: impl FnOnce(&CpuStorage, &Layout) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => reader(storage, layout),
        _ => Err(not_on_cpu()),
    }
}

/// Changes a CPU tensor in place. The closure must not touch the same storage through another tensor: it is locked.
pub(super) fn write<R>(tensor: &Tensor, writer: impl FnOnce(&mut CpuStorage, &Layout) -> Result<R>) -> Result<R> {
    let access = Access { writer: Cell::new(Some(writer)), result: Cell::new(None) };
    tensor.inplace_op1(&access)?;
    access.result.take().unwrap_or_else(|| Err(not_on_cpu()))
}

struct Access<F, R> {
    writer: Cell<Option<F>>,
    result: Cell<Option<Result<R>>>,
}

impl<R, F: FnOnce(&mut CpuStorage, &Layout) -> Result<R>> InplaceOp1 for Access<F, R> {
    fn name(&self) -> &'static str {
        "l1"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        if let Some(writer) = self.writer.take() {
            self.result.set(Some(writer(storage, layout)));
        }
        Ok(())
    }
}
