//! Where a program computes: on the CPU unless it is told otherwise.

use anyhow::{Context, Result, bail};
use candle_core::{Device, utils::cuda_is_available};
use clap::ValueEnum;

/// What `--device` takes.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq)]
pub enum On {
    #[default]
    Cpu,
    /// The first NVIDIA GPU, in a program built with `--features cuda`
    Cuda,
    /// `cuda` if it can be had, or else `cpu`; it says which
    Auto,
}

impl On {
    /// The device. What `auto` has chosen goes to standard error, so that results stay comparable.
    pub fn device(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda => cuda(),
            Self::Auto => {
                let (device, why) = cuda().map_or_else(
                    |error| (Device::Cpu, format!("the CPU, for CUDA is out of reach: {error:#}")),
                    |device| (device, "CUDA, the first GPU".to_owned()),
                );
                eprintln!("Device: {why}");
                Ok(device)
            }
        }
    }
}

/// candle's `cuda_if_available` asks how candle was built, not whether there is a GPU.
fn cuda() -> Result<Device> {
    if !cuda_is_available() {
        bail!("built without the feature `cuda`: add `-p examples --features cuda` to the command");
    }
    Device::new_cuda(0).context("no GPU answers: ask `nvidia-smi` whether the driver sees one, or take `--device cpu`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_compute_on_the_cpu_unless_told_otherwise() -> Result<()> {
        assert!(On::default().device()?.is_cpu());
        Ok(())
    }

    #[test]
    fn without_the_feature_cuda_is_an_error_that_names_it() {
        if !cuda_is_available() {
            let error = On::Cuda.device().map_or_else(|error| error.to_string(), |_| String::new());
            assert!(error.contains("--features cuda"), "{error}");
        }
    }

    #[test]
    fn auto_finds_a_device_on_every_machine() -> Result<()> {
        assert_eq!(On::Auto.device()?.is_cpu(), On::Cuda.device().is_err());
        Ok(())
    }
}
