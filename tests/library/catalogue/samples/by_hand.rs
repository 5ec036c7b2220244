//! Errors that no test gets on a machine without a GPU, made by hand.

use candle_core::DeviceLocation;
use l1_core::Error;

/// Made by hand: its program needs two devices. `l1-core/src/resolve.rs` tests what it comes from.
pub fn two_devices() -> anyhow::Result<Error> {
    Ok(Error::TwoDevices {
        first: "fc1.weight".into(),
        first_device: DeviceLocation::Cuda { gpu_id: 0 },
        second: "fc2.weight".into(),
        second_device: DeviceLocation::Cpu,
    })
}

/// Made by hand: its program needs two devices.
pub fn gradient_device() -> anyhow::Result<Error> {
    Ok(Error::GradientDevice {
        path: "fc.weight".into(),
        found: DeviceLocation::Cpu,
        expected: DeviceLocation::Cuda { gpu_id: 0 },
    })
}
