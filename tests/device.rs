//! Where the tensors of the tests live: `L1_TEST_DEVICE` says it, once for a whole program.

use std::{
    env,
    io::{self, Write},
    process,
    sync::OnceLock,
};

use candle_core::{DType, Device, NdArray, Tensor};
use l1_core::kernel::emulated;

/// The environment variable that chooses a device.
const CHOICE: &str = "L1_TEST_DEVICE";

/// What Automake and Meson take for "skipped": neither passed nor one of libtest's.
const SKIPPED: i32 = 77;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Chosen {
    Cpu,
    Cuda,
    /// The CPU, where the library runs the kernels for GPUs as C++.
    Emulated,
}

/// Read where a test first asks, so that it fails with the message if there is no such choice.
fn chosen() -> Chosen {
    static CHOSEN: OnceLock<Chosen> = OnceLock::new();
    *CHOSEN.get_or_init(|| match env::var(CHOICE).as_deref() {
        Err(env::VarError::NotPresent) | Ok("cpu") => Chosen::Cpu,
        Ok("cuda") if cfg!(feature = "cuda") => Chosen::Cuda,
        Ok("cuda") => panic!("{CHOICE}=cuda: these tests were built without CUDA; build them with `--features cuda`"),
        Ok("emulated") => {
            emulated::turn_on();
            Chosen::Emulated
        }
        other => panic!("{CHOICE} is {other:?}: it is `cpu` (as if unset), `cuda` or `emulated`"),
    })
}

/// The device of every tensor that the library works on.
///
/// Where a GPU is asked for and none is there, the whole program is skipped: it says so and ends with status 77, which is not success.
pub fn device() -> Device {
    match chosen() {
        Chosen::Cpu | Chosen::Emulated => Device::Cpu,
        Chosen::Cuda => cuda().unwrap_or_else(|| process::exit(SKIPPED)),
    }
}

/// Whether the library's kernels for GPUs run, on one or emulated.
pub fn is_on_gpu() -> bool {
    chosen() != Chosen::Cpu
}

/// The GPU, for tests of what exists on a GPU alone; where there is none, a line that says so, and nothing to test on.
///
/// It is one for all: candle takes two devices of one GPU for different ones.
pub fn cuda() -> Option<Device> {
    static CUDA: OnceLock<Option<Device>> = OnceLock::new();
    let device = CUDA.get_or_init(|| Device::new_cuda(0).ok()).clone();
    if device.is_none() {
        skipped("no CUDA device");
    }
    device
}

/// Says, past libtest's capture of what passing tests print, that a test has tested nothing.
pub fn skipped(why: &str) {
    // In one piece, for other tests write too; and where nobody listens there is nobody to tell.
    let _unheard = io::stderr().write_all(format!("skipped: {why}\n").as_bytes());
}

/// How much a number in f64 may differ from a recorded one: as much as it may on the CPU, elsewhere at least 1e-12. There sums run in
/// another order, and candle's products may be fused with them, which moves a sum of the thousands of terms that tests have by some hundred roundings
/// of 1e-16 of its terms, and by more where large terms leave a small sum.
pub fn tolerance(on_cpu: f64) -> f64 {
    match chosen() {
        Chosen::Cpu => on_cpu,
        Chosen::Cuda | Chosen::Emulated => on_cpu.max(1e-12),
    }
}

/// Numbers in a dtype, on the device. They are rounded on the CPU, so that they are the same everywhere: CUDA's casts round twice on the
/// way from f64 to bf16, and fail where there is no entry.
pub fn rounded(numbers: impl NdArray, dtype: DType) -> Tensor {
    rounded_on(&device(), numbers, dtype)
}

/// The same on a given device.
pub fn rounded_on(device: &Device, numbers: impl NdArray, dtype: DType) -> Tensor {
    Tensor::new(numbers, &Device::Cpu).unwrap().to_dtype(dtype).unwrap().to_device(device).unwrap()
}
