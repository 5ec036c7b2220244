//! What the test programs of this package share.

mod device;

pub use device::{cuda, device, rounded, rounded_on, skipped, tolerance};
