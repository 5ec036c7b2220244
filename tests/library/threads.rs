//! The same bits on any number of threads, which are the CPU's.

use candle_core::{DType, Device, Tensor};
use l1_core::{
    Guard, Norm, Penalty, Regularized,
    kernel::{self, cpu},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    every_optimizer::EVERY_OPTIMIZER,
    models::{Many, bits},
};

/// Numbers of very different sizes, so that every order of additions rounds in its own way.
fn numbers(count: usize) -> Vec<f64> {
    let mut rng = StdRng::seed_from_u64(7);
    (0..count).map(|_| rng.random_range(-1.0..1.0f64) * 10f64.powi(rng.random_range(-8..8))).collect()
}

fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn the_value_has_the_same_bits_on_any_number_of_threads() {
    for count in [1, 1000, 16 * 1024 + 1, 1_000_003] {
        let w = Tensor::new(numbers(count), &Device::Cpu).unwrap();
        let value = |threads| on_threads(threads, || kernel::value(&w, &Penalty::l1(0.3).with_l2(0.7)).unwrap());
        let alone = value(1);
        for threads in [2, 3, 8] {
            assert_eq!(value(threads).to_bits(), alone.to_bits());
        }
    }
}

#[test]
fn norms_and_counts_have_the_same_bits_on_any_number_of_threads() {
    let w = Tensor::new(numbers(300_007), &Device::Cpu).unwrap();
    for norm in [Norm::L1, Norm::L2, Norm::P(3.0), Norm::Inf] {
        let measure = |threads| on_threads(threads, || cpu::norm(&w, norm).unwrap());
        let alone = measure(1);
        for threads in [2, 3, 8] {
            assert_eq!(measure(threads).to_bits(), alone.to_bits(), "{norm:?}");
        }
    }
    let count = |threads| on_threads(threads, || cpu::counts(&w).unwrap().l1_norm);
    assert_eq!(count(5).to_bits(), count(1).to_bits());
}

/// Very different lengths: none, one, less than a chunk, more, and many small ones that share a job.
const LENGTHS: [usize; 12] = [0, 1, 40_001, 7, 3, 0, 16 * 1024, 16 * 1024 + 1, 5, 100_003, 1000, 2];

#[test]
fn steps_have_the_same_bits_on_any_number_of_threads() {
    for (name, make) in EVERY_OPTIMIZER {
        for guard in [Guard::Before, Guard::InPass] {
            // bf16 has f32 copies where the optimizer keeps any.
            let dtype = if name.contains("f32 copies") { DType::BF16 } else { DType::F32 };
            let after = |threads| {
                let model = Many::on(&Device::Cpu, &LENGTHS, dtype);
                let mut step = make(model.regularizer().unwrap(), model.weights.clone(), guard);
                let gradients = [0, 1].map(|index| model.gradients(index));
                on_threads(threads, || gradients.iter().for_each(|gradients| step(&model.store(gradients)).unwrap()));
                model.bits()
            };
            let alone = after(1);
            for threads in [2, 3, 8] {
                assert!(after(threads) == alone, "{name}, {guard:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn the_penalty_of_a_model_and_its_subgradient_have_the_same_bits_on_any_number_of_threads() {
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let model = Many::on(&Device::Cpu, &LENGTHS, dtype);
        let regularizer = model.regularizer().unwrap();
        let gradients = model.gradients(0);
        let compute = |threads| {
            on_threads(threads, || {
                let value = regularizer.value().unwrap();
                let grads = regularizer.add_subgradient(model.store(&gradients)).unwrap();
                let sums: Vec<_> = model.weights.iter().map(|var| bits(grads.get(var).unwrap())).collect();
                (value.to_bits(), sums)
            })
        };
        let alone = compute(1);
        for threads in [2, 3, 8] {
            assert!(compute(threads) == alone, "{dtype:?}, {threads} threads");
        }
    }
}
