//! What the test programs of this package share.

mod device;

pub use device::{cuda, device, is_on_gpu, rounded, rounded_on, skipped, tolerance};
