//! Where gradients are not finite: a word for each tensor on the device, and a copy on the host that is there when it is asked for.

use super::{
    gpu::{Gpu, Memory},
    table::Args,
};
use crate::Result;

/// A word for each tensor: 0 where all is well, else as `found_at` in `device/table.h` says, with all bits turned.
#[derive(Debug)]
pub(super) struct Flags {
    number: usize,
    on_device: Memory,
    #[cfg(feature = "cuda")]
    on_host: Option<super::nvidia::Sent>,
}

/// An entry of a gradient that is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bad {
    pub(super) at: usize,
    pub(super) value: f64,
}

impl Bad {
    pub(super) fn of(flag: u64) -> Option<Self> {
        let found = !flag;
        let value = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].get((found % 4) as usize);
        // All bits set is no entry, for the fourth value is none.
        let value = value.filter(|_| flag != 0)?;
        Some(Self { at: (found / 4) as usize, value: *value })
    }
}

impl Flags {
    pub(super) fn new(gpu: &Gpu, number: usize) -> Result<Self> {
        Ok(Self {
            number,
            on_device: gpu.zeros(8 * number)?,
            #[cfg(feature = "cuda")]
            on_host: None,
        })
    }

    /// The arguments of a kernel that sets them.
    pub(super) fn args(&self, gpu: &Gpu, args: Args) -> Args {
        Args { output: self.on_device.address(gpu), ..args }
    }

    pub(super) fn clear(&mut self, gpu: &Gpu) -> Result<()> {
        self.on_device.clear(gpu)
    }

    /// Waits for all the device has to do.
    pub(super) fn read(&self, gpu: &Gpu) -> Result<Vec<u64>> {
        self.on_device.read(gpu, self.number)
    }

    /// Begins to send them to the host.
    pub(super) fn send(&mut self, gpu: &Gpu) -> Result<()> {
        match gpu {
            #[cfg(feature = "cuda")]
            Gpu::Nvidia(gpu) => {
                if self.on_host.is_none() {
                    self.on_host = Some(gpu.pinned(self.number)?);
                }
                match (&mut self.on_host, &self.on_device) {
                    (Some(on_host), Memory::Nvidia(on_device)) => gpu.copy_out(on_device, on_host),
                    _ => Ok(()),
                }
            }
            #[cfg(feature = "emulated-cuda")]
            Gpu::Emulated => Ok(()),
        }
    }

    /// What was sent last. Waits until it has come, but for nothing behind it.
    pub(super) fn received(&mut self, gpu: &Gpu) -> Result<Vec<u64>> {
        #[cfg(feature = "cuda")]
        if let Some(on_host) = &self.on_host {
            return on_host.words();
        }
        self.read(gpu)
    }
}
