//! NVIDIA's GPUs, through candle.

#![allow(unsafe_code)]

use std::sync::Arc;

use candle_core::{
    CudaDevice, CudaStorage, Layout,
    cuda_backend::{
        CudaStorageSlice, WrapErr,
        cudarc::driver::{
            CudaEvent, CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig, PinnedHostSlice, PushKernelArg,
            sys::CUdevice_attribute_enum,
        },
    },
};

use super::{
    gpu::{Module, Together},
    table::Args,
};
use crate::{Result, kernel::number};

/// A device and its stream.
#[derive(Clone, Debug)]
pub(crate) struct Nvidia {
    device: CudaDevice,
    stream: Arc<CudaStream>,
}

pub(super) type Bytes = CudaSlice<u8>;

// SAFETY: `#[repr(C)]`, and the same structure as `Args` of `device/launch.h`.
unsafe impl DeviceRepr for Args {}

/// Up to this many bytes the driver copies out of pageable memory without waiting for the device (CUDA C++ Programming Guide,
/// "Asynchronous Concurrent Execution").
const PIECE: usize = 64 * 1024;

/// Words that come from the device, and the event behind the last copy of them.
#[derive(Debug)]
pub(super) struct Sent {
    pinned: PinnedHostSlice<u64>,
    is_there: Option<CudaEvent>,
}

impl Sent {
    /// Waits for the copy, but for nothing behind it.
    pub(super) fn words(&self) -> Result<Vec<u64>> {
        let Some(is_there) = &self.is_there else { return Ok(vec![0; self.pinned.len()]) };
        is_there.synchronize().w()?;
        Ok(self.pinned.as_slice().w()?.to_vec())
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        // The memory must not be given back while the device writes there. An error here is one that the next call returns too.
        if let Some(is_there) = &self.is_there {
            let _ = is_there.synchronize();
        }
    }
}

/// The name of a module on its device and its PTX text, made by `scripts/cuda-ptx`. Two versions of this crate may share a device.
fn ptx(module: Module) -> (&'static str, &'static str) {
    match module {
        Module::Curves => (concat!("l1_curves_", env!("CARGO_PKG_VERSION")), include_str!("ptx/curves.ptx")),
        Module::Groups => (concat!("l1_groups_", env!("CARGO_PKG_VERSION")), include_str!("ptx/groups.ptx")),
        Module::Steps => (concat!("l1_steps_", env!("CARGO_PKG_VERSION")), include_str!("ptx/steps.ptx")),
        Module::Sums => (concat!("l1_sums_", env!("CARGO_PKG_VERSION")), include_str!("ptx/sums.ptx")),
    }
}

pub(super) fn length(bytes: &Bytes) -> usize {
    bytes.len()
}

impl Nvidia {
    pub(super) fn new(device: &CudaDevice) -> Self {
        Self { device: device.clone(), stream: device.cuda_stream() }
    }

    pub(super) fn launch(
        &self,
        module: Module,
        kernel: &str,
        grid: u32,
        threads: u32,
        together: Together,
        args: &Args,
    ) -> Result<()> {
        let (name, text) = ptx(module);
        let function = self.device.get_or_load_custom_func(kernel, name, text)?;
        let mut builder = function.builder();
        builder.arg(args);
        let config = LaunchConfig { grid_dim: (grid, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: every kernel takes one `Args`. The addresses in it are those of tensors and of `Memory` that the caller keeps until the
        // launch, each long enough for the lengths in its table; freeing them is ordered behind it by the stream.
        let launched = unsafe {
            match together {
                Together::Yes => builder.launch_cooperative(config),
                Together::No => builder.launch(config),
            }
        };
        launched.w()?;
        Ok(())
    }

    pub(super) fn resident_blocks(&self, module: Module, kernel: &str, threads: usize) -> Result<usize> {
        let (name, text) = ptx(module);
        let function = self.device.get_or_load_custom_func(kernel, name, text)?;
        let of_one = function.occupancy_max_active_blocks_per_multiprocessor(threads as u32, 0, None).w()?;
        let count = CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let processors = self.stream.context().attribute(count).w()?;
        Ok(of_one as usize * usize::try_from(processors).unwrap_or(1).max(1))
    }

    pub(super) fn zeros(&self, bytes: usize) -> Result<Bytes> {
        Ok(self.device.alloc_zeros::<u8>(bytes)?)
    }

    pub(super) fn address_of(&self, bytes: &Bytes) -> u64 {
        bytes.device_ptr(&self.stream).0
    }

    pub(super) fn write(&self, memory: &mut Bytes, bytes: &[u8]) -> Result<()> {
        for (piece, bytes) in bytes.chunks(PIECE).enumerate() {
            let from = piece * PIECE;
            self.device.memcpy_htod(bytes, &mut memory.slice_mut(from..from + bytes.len()))?;
        }
        Ok(())
    }

    pub(super) fn clear(&self, memory: &mut Bytes) -> Result<()> {
        self.stream.memset_zeros(memory).w()?;
        Ok(())
    }

    pub(super) fn read(&self, memory: &Bytes, to: &mut [u8]) -> Result<()> {
        self.stream.memcpy_dtoh(&memory.slice(0..to.len()), to).w()?;
        self.stream.synchronize().w()?;
        Ok(())
    }

    /// Host memory that the device copies into by itself.
    pub(super) fn pinned(&self, words: usize) -> Result<Sent> {
        // SAFETY: it is written as a whole before it is read: `Sent::words` wants an event, which `copy_out` records behind a copy.
        let pinned = unsafe { self.stream.context().alloc_pinned_with_flags::<u64>(words, 0) }.w()?;
        Ok(Sent { pinned, is_there: None })
    }

    /// Begins to copy words of the device; who reads them there waits for this copy alone.
    pub(super) fn copy_out(&self, memory: &Bytes, to: &mut Sent) -> Result<()> {
        // SAFETY: all bits are valid words, and memory of the device is aligned for them.
        let words = unsafe { memory.transmute::<u64>(to.pinned.len()) };
        let Some(words) = words else { return Err(number::wrong_dtype()) };
        self.stream.memcpy_dtoh(&words, &mut to.pinned).w()?;
        // cudarc records an event of its own where a context has several streams, and only there.
        to.is_there = Some(self.stream.record_event(None).w()?);
        Ok(())
    }

    /// The address of a tensor's first number. Where other streams have worked on it, this one waits for them.
    pub(super) fn address(&self, storage: &CudaStorage, layout: &Layout) -> Result<u64> {
        let (address, size) = match &storage.slice {
            CudaStorageSlice::F32(values) => (values.device_ptr(&self.stream).0, 4),
            CudaStorageSlice::F64(values) => (values.device_ptr(&self.stream).0, 8),
            CudaStorageSlice::BF16(values) => (values.device_ptr(&self.stream).0, 2),
            CudaStorageSlice::F16(values) => (values.device_ptr(&self.stream).0, 2),
            _ => return Err(number::wrong_dtype()),
        };
        Ok(address + size * layout.start_offset() as u64)
    }
}
