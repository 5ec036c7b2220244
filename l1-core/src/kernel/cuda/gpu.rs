//! A GPU: its memory, the addresses of tensors in it, and launches. Either NVIDIA's, through candle, or the emulated one of the tests.

use candle_core::{DType, Storage, Tensor};

#[cfg(feature = "emulated-cuda")]
use super::emulated;
#[cfg(feature = "cuda")]
use super::nvidia;
use super::table::{Args, Plain};
use crate::{Error, Result, kernel::launches};

/// Where kernels run.
#[derive(Clone, Debug)]
pub(crate) enum Gpu {
    #[cfg(feature = "cuda")]
    Nvidia(nvidia::Nvidia),
    #[cfg(feature = "emulated-cuda")]
    Emulated,
}

/// The sources that kernels are compiled from, one PTX text each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Module {
    Curves,
    Groups,
    Steps,
    Sums,
}

impl Gpu {
    /// The GPU that a tensor lies on, if it is one that has kernels.
    pub(crate) fn of(tensor: &Tensor) -> Option<Self> {
        match tensor.device() {
            #[cfg(feature = "cuda")]
            candle_core::Device::Cuda(device) => Some(Self::Nvidia(nvidia::Nvidia::new(device))),
            #[cfg(feature = "emulated-cuda")]
            candle_core::Device::Cpu if emulated::is_on() => Some(Self::Emulated),
            _ => None,
        }
    }

    /// Threads of a block.
    pub(super) fn threads(&self) -> usize {
        match self {
            #[cfg(feature = "cuda")]
            Self::Nvidia(_) => 256,
            #[cfg(feature = "emulated-cuda")]
            Self::Emulated => 16,
        }
    }

    /// Threads of a warp.
    pub(super) fn warp(&self) -> usize {
        match self {
            #[cfg(feature = "cuda")]
            Self::Nvidia(_) => 32,
            #[cfg(feature = "emulated-cuda")]
            Self::Emulated => 4,
        }
    }

    /// Coordinates that a block works on at a time: `CHUNK` of `launch.h`.
    pub(super) fn chunk(&self) -> usize {
        32 * self.threads()
    }

    /// How many blocks of a kernel are resident at once.
    pub(super) fn resident_blocks(&self, module: Module, kernel: &str) -> Result<usize> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Nvidia(gpu) => gpu.resident_blocks(module, kernel, self.threads()),
            #[cfg(feature = "emulated-cuda")]
            Self::Emulated => {
                let _ = (module, kernel);
                Ok(3)
            }
        }
    }

    /// * `together`: all blocks are resident at once, so that they may wait for each other.
    pub(super) fn launch(
        &self,
        module: Module,
        kernel: &str,
        grid: usize,
        together: Together,
        args: &Args,
    ) -> Result<()> {
        if grid == 0 {
            return Ok(());
        }
        launches::count();
        // Kernels go on to further jobs where there are more than blocks.
        let grid = u32::try_from(grid).unwrap_or(u32::MAX).min(1 << 30);
        match self {
            #[cfg(feature = "cuda")]
            Self::Nvidia(gpu) => gpu.launch(module, kernel, grid, self.threads() as u32, together, args),
            #[cfg(feature = "emulated-cuda")]
            Self::Emulated => {
                let _ = module;
                emulated::launch(kernel, grid, together, args)
            }
        }
    }

    /// Memory of the device with this in it.
    pub(super) fn upload<T: Plain>(&self, values: &[T]) -> Result<Memory> {
        let mut memory = self.zeros(size_of_val(values))?;
        memory.write(self, values)?;
        Ok(memory)
    }

    /// Memory of the device, all 0.
    pub(super) fn zeros(&self, bytes: usize) -> Result<Memory> {
        // Never of length 0, which has no address.
        let bytes = bytes.next_multiple_of(8).max(8);
        match self {
            #[cfg(feature = "cuda")]
            Self::Nvidia(gpu) => Ok(Memory::Nvidia(gpu.zeros(bytes)?)),
            #[cfg(feature = "emulated-cuda")]
            Self::Emulated => Ok(Memory::Emulated(vec![0; bytes / 8])),
        }
    }

    /// Where a tensor's numbers are. They may be written there: the lock that is taken for a moment is of the handle, not of the memory of
    /// the device, whose work is done in the order of its stream.
    pub(super) fn address(&self, tensor: &Tensor) -> Result<u64> {
        let (storage, layout) = tensor.storage_and_layout();
        if layout.contiguous_offsets().is_none() {
            return Err(candle_core::Error::Msg("l1: an operand is not contiguous".to_owned()).into());
        }
        match (self, &*storage) {
            #[cfg(feature = "cuda")]
            (Self::Nvidia(gpu), Storage::Cuda(storage)) => gpu.address(storage, layout),
            #[cfg(feature = "emulated-cuda")]
            (Self::Emulated, Storage::Cpu(storage)) => emulated::address(storage, layout),
            _ => Err(elsewhere()),
        }
    }
}

/// Whether the blocks of a launch may wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Together {
    Yes,
    No,
}

fn elsewhere() -> Error {
    candle_core::Error::Msg("l1: operands of one step lie on different devices".to_owned()).into()
}

/// Memory of the device.
#[derive(Debug)]
pub(super) enum Memory {
    #[cfg(feature = "cuda")]
    Nvidia(nvidia::Bytes),
    #[cfg(feature = "emulated-cuda")]
    Emulated(Vec<u64>),
}

impl Memory {
    pub(super) fn address(&self, gpu: &Gpu) -> u64 {
        match (self, gpu) {
            #[cfg(feature = "cuda")]
            (Self::Nvidia(bytes), Gpu::Nvidia(gpu)) => gpu.address_of(bytes),
            #[cfg(feature = "emulated-cuda")]
            (Self::Emulated(words), _) => words.as_ptr() as u64,
            #[allow(unreachable_patterns)]
            _ => 0,
        }
    }

    /// How many bytes there is room for.
    pub(super) fn room(&self) -> usize {
        match self {
            #[cfg(feature = "cuda")]
            Self::Nvidia(bytes) => nvidia::length(bytes),
            #[cfg(feature = "emulated-cuda")]
            Self::Emulated(words) => 8 * words.len(),
        }
    }

    /// Puts values at the beginning, in the order of the device's work; the host does not wait.
    pub(super) fn write<T: Plain>(&mut self, gpu: &Gpu, values: &[T]) -> Result<()> {
        let bytes = super::bytes::of(values);
        match (self, gpu) {
            #[cfg(feature = "cuda")]
            (Self::Nvidia(memory), Gpu::Nvidia(gpu)) => gpu.write(memory, bytes),
            #[cfg(feature = "emulated-cuda")]
            (Self::Emulated(words), _) => {
                super::bytes::of_mut(words)[..bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            #[allow(unreachable_patterns)]
            _ => Err(elsewhere()),
        }
    }

    /// All 0 again.
    pub(super) fn clear(&mut self, gpu: &Gpu) -> Result<()> {
        match (self, gpu) {
            #[cfg(feature = "cuda")]
            (Self::Nvidia(memory), Gpu::Nvidia(gpu)) => gpu.clear(memory),
            #[cfg(feature = "emulated-cuda")]
            (Self::Emulated(words), _) => {
                words.fill(0);
                Ok(())
            }
            #[allow(unreachable_patterns)]
            _ => Err(elsewhere()),
        }
    }

    /// The first values in it. Waits for the device.
    pub(super) fn read<T: Plain>(&self, gpu: &Gpu, count: usize) -> Result<Vec<T>> {
        let mut values = vec![T::default(); count];
        let to = super::bytes::of_mut(&mut values);
        match (self, gpu) {
            #[cfg(feature = "cuda")]
            (Self::Nvidia(memory), Gpu::Nvidia(gpu)) => gpu.read(memory, to)?,
            #[cfg(feature = "emulated-cuda")]
            (Self::Emulated(words), _) => to.copy_from_slice(&super::bytes::of(words)[..to.len()]),
            #[allow(unreachable_patterns)]
            _ => return Err(elsewhere()),
        }
        Ok(values)
    }
}

/// What kernels of a dtype are called by, behind their names.
pub(super) fn suffix(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::F64 => Ok("f64"),
        DType::BF16 => Ok("bf16"),
        DType::F16 => Ok("f16"),
        dtype => Err(crate::kernel::number::unsupported("w", dtype)),
    }
}
