//! Penalties that are more than l1 on single entries: every curve, all groups, singular values; alone, in the loss and in steps.
//!
//! | file | against |
//! |---|---|
//! | `naive.rs` | (no test: the definitions, minimized by scanning and bisecting) |
//! | `curves_of_peers.rs`, `groups_of_peers.rs` | skglm, PyProximal, brute force, Clarabel |
//! | `layouts.rs` | `naive.rs`, in every dtype, length, grouping and layout |
//! | `extremes.rs` | NaN, infinities, subnormal and huge numbers, steps of 0 and ∞ |
//! | `properties.rs` | what a prox, a value and a subgradient are by definition |
//! | `steps.rs` | textbook moves with the prox of `naive.rs` behind |
//! | `warm_up.rs` | what has to hold after a scale of 0 |
//! | `guards.rs` | themselves, with good gradients |
//! | `same_bits.rs` | themselves, on other numbers of threads and other devices |
//! | `losses.rs` | candle's backward, and refusals |
//! | `refusals.rs` | what groups and steps do not fit |

mod curves_of_peers;
mod extremes;
mod groups_of_peers;
mod guards;
mod layouts;
mod losses;
mod naive;
mod properties;
mod refusals;
mod same_bits;
mod steps;
mod warm_up;

use candle_core::{DType, Device, Tensor};
use l1_core::{Curve, Grouping, Penalty, kernel};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tests::{device, rounded_on};

use crate::models::flat;

const CURVES: [Curve; 7] =
    [Curve::L1, Curve::Mcp(3.0), Curve::Scad(3.7), Curve::Log(0.5), Curve::Half, Curve::TwoThirds, Curve::L0];

const DTYPES: [DType; 4] = [DType::F64, DType::F32, DType::BF16, DType::F16];

/// Half an ulp of 1 in f32.
const F32: f64 = 1.0 / (1 << 24) as f64;

fn tensor(numbers: &[f64], dims: &[usize], dtype: DType) -> Tensor {
    tensor_on(&device(), numbers, dims, dtype)
}

/// For what is asked of the CPU alone.
fn on_cpu(numbers: &[f64], dims: &[usize], dtype: DType) -> Tensor {
    tensor_on(&Device::Cpu, numbers, dims, dtype)
}

fn tensor_on(device: &Device, numbers: &[f64], dims: &[usize], dtype: DType) -> Tensor {
    rounded_on(device, numbers, dtype).reshape(dims).unwrap()
}

/// The prox of f64 numbers with one step.
fn prox(z: &[f64], dims: &[usize], penalty: &Penalty, step: f64) -> Vec<f64> {
    flat(&kernel::prox(&tensor(z, dims, DType::F64), penalty, step).unwrap())
}

/// The prox of f64 numbers with a step for each.
fn prox_in(z: &[f64], dims: &[usize], penalty: &Penalty, steps: &[f64]) -> Vec<f64> {
    flat(&kernel::prox(&tensor(z, dims, DType::F64), penalty, &tensor(steps, dims, DType::F64)).unwrap())
}

fn value(w: &[f64], dims: &[usize], penalty: &Penalty) -> f64 {
    kernel::value(&tensor(w, dims, DType::F64), penalty).unwrap()
}

/// The dtype of a tensor's arithmetic.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Numbers of several sizes, some exactly 0: groups on both sides of their thresholds.
fn numbers(rng: &mut StdRng, length: usize) -> Vec<f64> {
    let sizes = [0.0, 0.05, 0.5, 1.0, 1.0, 4.0];
    (0..length).map(|_| rng.random_range(-1.0..1.0) * sizes[rng.random_range(0..sizes.len())]).collect()
}

/// Steps that spread over a factor of 100.
fn spread_steps(rng: &mut StdRng, length: usize) -> Vec<f64> {
    (0..length).map(|_| 10f64.powf(rng.random_range(-1.7..0.3))).collect()
}

fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// Every grouping that a tensor of this shape has, singular values aside.
fn groupings(dims: &[usize]) -> Vec<Grouping> {
    let mut all = vec![Grouping::Element, Grouping::Whole];
    all.extend((0..dims.len()).map(Grouping::Dim));
    if dims.len() > 2 {
        all.push(Grouping::Kernel);
    }
    if let [rows, columns] = *dims {
        let smallest = |length: usize| (2..=length).find(|d| length.is_multiple_of(*d)).unwrap_or(1);
        all.extend([
            Grouping::Block(smallest(rows), smallest(columns)),
            Grouping::Block(1, smallest(columns)),
            Grouping::Block(smallest(rows), 1),
        ]);
    }
    all
}
