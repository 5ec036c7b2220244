//! How many kernels are launched on GPUs: what a benchmark says beside times.

use std::cell::Cell;

thread_local! {
    static LAUNCHES: Cell<u64> = const { Cell::new(0) };
}

/// How many kernels l1 has launched on GPUs from this thread so far; those of candle's operations are not among them.
#[must_use]
pub fn launches() -> u64 {
    LAUNCHES.get()
}

/// One more.
#[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
pub(super) fn count() {
    LAUNCHES.set(LAUNCHES.get() + 1);
}
