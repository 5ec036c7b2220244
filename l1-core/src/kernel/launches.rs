//! How many kernels are launched on GPUs: what a benchmark says beside times.

use std::sync::atomic::{AtomicU64, Ordering};

static LAUNCHES: AtomicU64 = AtomicU64::new(0);

/// How many kernels l1 has launched on GPUs so far; those of candle's operations are not among them.
#[must_use]
pub fn launches() -> u64 {
    LAUNCHES.load(Ordering::Relaxed)
}

/// One more.
#[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
pub(super) fn count() {
    LAUNCHES.fetch_add(1, Ordering::Relaxed);
}
