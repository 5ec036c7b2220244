//! What exists on a GPU alone. Where there is none, each of these tests says that it is skipped.

use std::thread;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::Optimizer;
use l1_core::{Error, Guard, ParamsProxSgd, ProxSgd, Regularized, Rule, Visitor};
use tests::{cuda, rounded_on, skipped};

use crate::{
    every_optimizer::{EVERY_OPTIMIZER, Make, stepping},
    models::{Many, Single, bits, flat, gradients, zeros},
};

const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::BF16, DType::F16];

/// One, a few, around a block of threads, and many blocks.
const LENGTHS: [usize; 6] = [1, 7, 1023, 1024, 1025, 300_007];

const STEPS: usize = 5;

fn train(model: &Many, make: Make) {
    let mut step = make(model.regularizer().unwrap(), model.weights.clone(), Guard::Before);
    (0..STEPS).for_each(|index| step(&model.store(&model.gradients(index))).unwrap());
}

#[test]
fn a_cuda_device_is_there_or_its_tests_are_skipped() {
    let Some(device) = cuda() else { return };
    let w = Single { weight: Var::new(&[3f64, -0.5], &device).unwrap(), rule: Rule::l1(2.0) };
    assert!(w.weight.device().is_cuda());
    assert_eq!(w.regularizer().unwrap().value().unwrap(), 7.0);
}

#[test]
fn a_model_that_is_moved_to_the_gpu_is_stepped_to_the_weights_of_the_cpu() {
    let Some(device) = cuda() else { return };
    for (name, make) in EVERY_OPTIMIZER {
        for (dtype, tolerance) in [
            // Five steps, each of some 30 roundings of numbers around 1, where candle's products and sums may be fused.
            (DType::F64, 5.0 * 30.0 * 2f64.powi(-53)),
            (DType::F32, 5.0 * 30.0 * 2f64.powi(-24)),
            // A number beside the middle of two is rounded to either: in each step by one spacing of numbers around 1.
            (DType::BF16, 5.0 * 2f64.powi(-7)),
            (DType::F16, 5.0 * 2f64.powi(-10)),
        ] {
            let here = Many::on(&Device::Cpu, &LENGTHS, dtype);
            let moved = |var: &Var| Var::from_tensor(&var.to_device(&device).unwrap()).unwrap();
            let there = Many { weights: here.weights.iter().map(moved).collect(), lambda: here.lambda, l2: here.l2 };
            train(&here, make);
            train(&there, make);
            for (found, expected) in there.weights.iter().zip(&here.weights) {
                assert!(found.device().is_cuda());
                for (at, (found, expected)) in flat(found).into_iter().zip(flat(expected)).enumerate() {
                    let difference = (found - expected).abs();
                    let allowed = tolerance * expected.abs().max(1.0);
                    assert!(difference <= allowed, "{name}, {dtype:?}, entry {at}: {found} {expected}");
                }
            }
        }
    }
}

#[test]
fn two_runs_come_to_the_same_bits() {
    let Some(device) = cuda() else { return };
    for (name, make) in EVERY_OPTIMIZER {
        for dtype in DTYPES {
            let run = || {
                let model = Many::on(&device, &LENGTHS, dtype);
                train(&model, make);
                let value = model.regularizer().unwrap().value().unwrap().to_bits();
                (model.bits(), value)
            };
            assert!(run() == run(), "{name}, {dtype:?}");
        }
    }
}

#[test]
fn threads_with_a_stream_each_step_models_of_their_own_to_the_same_bits() {
    let Some(device) = cuda() else { return };
    for (name, make) in EVERY_OPTIMIZER {
        let alone = Many::on(&device, &LENGTHS, DType::F32);
        train(&alone, make);
        let threads = [(); 4].map(|()| {
            thread::spawn(move || {
                let device = Device::new_cuda_with_stream(0).unwrap();
                let model = Many::on(&device, &LENGTHS, DType::F32);
                train(&model, make);
                model.bits()
            })
        });
        for found in threads.map(|thread| thread.join().unwrap()) {
            assert!(found == alone.bits(), "{name}");
        }
    }
}

#[test]
fn gradients_that_are_transposed_are_taken_in_the_order_of_the_weights() {
    let Some(device) = cuda() else { return };
    for (name, make) in EVERY_OPTIMIZER {
        for dtype in DTYPES {
            let (rows, columns) = (37, 53);
            let numbers =
                |phase: f64| (0..rows * columns).map(|at| (0.7 * at as f64 + phase).sin()).collect::<Vec<_>>();
            let of = |phase| rounded_on(&device, numbers(phase), dtype).reshape((rows, columns)).unwrap();
            let after = |lies: fn(&Tensor) -> Tensor| {
                let model = Single { weight: Var::from_tensor(&of(0.0)).unwrap(), rule: Rule::l1(0.1).l2(0.01) };
                let mut step = make(model.regularizer().unwrap(), vec![model.weight.clone()], Guard::Before);
                for index in 0..STEPS {
                    step(&gradients([(&model.weight, lies(&of(1.0 + index as f64)))])).unwrap();
                }
                bits(&model.weight)
            };
            let turned = |gradient: &Tensor| {
                let turned = gradient.t().unwrap().contiguous().unwrap().t().unwrap();
                assert!(!turned.is_contiguous());
                turned
            };
            assert!(after(turned) == after(Tensor::clone), "{name}, {dtype:?}");
        }
    }
}

#[test]
fn weights_without_entries_are_passed_over_beside_others() {
    let Some(device) = cuda() else { return };
    for (name, make) in EVERY_OPTIMIZER {
        for dtype in DTYPES {
            let with = Many::on(&device, &[3, 0, 5, 0], dtype);
            let copied = [0, 2].map(|at| Var::from_tensor(&with.weights[at].copy().unwrap().detach()).unwrap());
            let without = Many { weights: copied.into(), ..Many::on(&device, &[], dtype) };
            let [first, second] = [[0.5, -1.0, 2.0].to_vec(), [1.0, 0.25, -0.5, 3.0, 0.125].to_vec()];
            let take = |model: &Many, given: &[Vec<f64>]| {
                let mut step = make(model.regularizer().unwrap(), model.weights.clone(), Guard::Before);
                step(&model.store(given)).unwrap_or_else(|error| panic!("{name}, {dtype:?}: {error}"));
            };
            take(&with, &[first.clone(), vec![], second.clone(), vec![]]);
            take(&without, &[first, second]);
            let [found, expected] = [with.bits(), without.bits()];
            assert!([&found[0], &found[2]] == [&expected[0], &expected[1]], "{name}, {dtype:?}");
            assert!(found[1].is_empty() && found[3].is_empty());
        }
    }
}

/// In bytes, as far as a driver says.
#[cfg(feature = "cuda")]
fn free_memory(device: &Device) -> usize {
    device.as_cuda_device().unwrap().cuda_stream().context().mem_get_info().unwrap().0
}

#[cfg(not(feature = "cuda"))]
fn free_memory(_: &Device) -> usize {
    0
}

#[test]
fn a_tensor_of_more_than_2_to_the_31_entries_is_stepped_up_to_its_last() {
    let Some(device) = cuda() else { return };
    // Weights and gradient take 4 GiB each; where a step is made of candle's operations, so do some results between, in f32.
    if free_memory(&device) < 24 << 30 {
        return skipped("no room for a tensor of more than 2³¹ entries");
    }
    const LENGTH: usize = (1 << 31) + 1027;
    const ENDS: [usize; 3] = [0, 1 << 31, LENGTH - 2];
    let weight = Var::zeros(LENGTH, DType::BF16, &device).unwrap();
    let gradient = Tensor::zeros(LENGTH, DType::BF16, &device).unwrap();
    let two = rounded_on(&device, &[-1.0, 1.0], DType::BF16);
    ENDS.iter().for_each(|at| gradient.slice_set(&two, 0, *at).unwrap());
    let model = Single { weight, rule: Rule::l1(0.25) };
    let params = ParamsProxSgd { lr: 1.0, ..ParamsProxSgd::new(model.regularizer().unwrap()) };
    let mut step = stepping(ProxSgd::new(vec![model.weight.clone()], params));
    step(&gradients([(&model.weight, gradient)])).unwrap();
    let two_at = |at: usize| flat(&model.weight.narrow(0, at, 2).unwrap().force_contiguous().unwrap());
    for at in ENDS {
        assert_eq!(two_at(at), [0.75, -0.75], "{at}");
    }
    for at in [2, (1 << 31) - 2, (1 << 31) + 2, LENGTH - 4] {
        assert_eq!(zeros(&two_at(at)), [true, true], "{at}");
    }
}

/// Two weights, wherever they lie.
struct Pair {
    first: Var,
    second: Var,
}

impl Regularized for Pair {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("first", Rule::l1(0.1), &self.first)?;
        visitor.field("second", Rule::l1(0.1), &self.second)
    }
}

#[test]
fn a_model_on_two_devices_is_refused_by_the_paths_of_both() {
    let Some(device) = cuda() else { return };
    let [first, second] = [&device, &Device::Cpu].map(|device| Var::ones(3, DType::F32, device).unwrap());
    let error = Pair { first, second }.regularizer().map(drop).unwrap_err();
    assert!(matches!(error, Error::TwoDevices { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("first") && message.contains("second"), "{message}");
}

#[test]
fn a_gradient_on_another_device_is_refused_before_anything_is_written() {
    let Some(device) = cuda() else { return };
    for (name, make) in EVERY_OPTIMIZER {
        let model = Single { weight: Var::new(&[1f32, -2.0], &device).unwrap(), rule: Rule::l1(0.1) };
        let mut step = make(model.regularizer().unwrap(), vec![model.weight.clone()], Guard::Before);
        let gradient = Tensor::new(&[1f32, 1.0], &Device::Cpu).unwrap();
        let error = Error::from(step(&gradients([(&model.weight, gradient)])).unwrap_err());
        assert!(matches!(&error, Error::GradientDevice { path, .. } if path == "weight"), "{name}: {error}");
        assert_eq!(model.values(), [1.0, -2.0], "{name}");
    }
}
