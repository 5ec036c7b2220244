//! What either guard does about gradients that are not finite, down to the bits.

use candle_core::{DType, Device, Var};
use candle_nn::Optimizer;
use l1_core::{
    Error, Guard, ParamsProxSgd, Penalty, ProxSgd, Regularized,
    kernel::{OptimizerStep, Source, Work, cpu},
};
use tests::rounded_on;

use crate::{
    every_optimizer::{EVERY_OPTIMIZER, Make, Step},
    every_step::kernels,
    models::{Many, bits},
};

const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::BF16, DType::F16];
const BAD: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

/// Short ones, an empty one, and a long one that is shared by threads and ends in the middle of a vector.
const LENGTHS: [usize; 4] = [5, 40_001, 0, 3];
/// The place of a bad gradient: a variable, and a coordinate of it.
const LAST: (usize, usize) = (1, 40_000);

fn start(make: Make, dtype: DType, guard: Guard) -> (Many, Step) {
    let model = Many::new(&LENGTHS, dtype);
    let step = make(model.regularizer().unwrap(), model.weights.clone(), guard);
    (model, step)
}

fn spoilt(model: &Many, step: usize, places: &[((usize, usize), f64)]) -> Vec<Vec<f64>> {
    let mut gradients = model.gradients(step);
    for ((variable, at), value) in places {
        gradients[*variable][*at] = *value;
    }
    gradients
}

fn refusal(step: &mut Step, model: &Many, gradients: &[Vec<f64>]) -> Error {
    step(&model.store(gradients)).unwrap_err().into()
}

#[test]
fn before_a_step_nothing_at_all_is_written_neither_weights_nor_moments_nor_counts() {
    for (name, make) in EVERY_OPTIMIZER {
        for dtype in DTYPES {
            let (model, mut step) = start(make, dtype, Guard::Before);
            let (untouched, mut good_step) = start(make, dtype, Guard::Before);
            for index in 0..4 {
                if index == 0 || index == 2 {
                    let before = model.bits();
                    refusal(&mut step, &model, &spoilt(&model, 9, &[(LAST, f64::NAN)]));
                    assert!(model.bits() == before, "{name}, {dtype:?}: a refused step changed a weight");
                }
                step(&model.store(&model.gradients(index))).unwrap();
                good_step(&untouched.store(&untouched.gradients(index))).unwrap();
                assert!(model.bits() == untouched.bits(), "{name}, {dtype:?}, step {index}");
            }
        }
    }
}

#[test]
fn in_the_pass_the_bad_coordinates_keep_their_weights_and_all_others_are_stepped_as_ever() {
    let places = [((0, 0), f64::NEG_INFINITY), ((1, 17), f64::NAN), (LAST, f64::INFINITY)];
    for (name, make) in EVERY_OPTIMIZER {
        for dtype in DTYPES {
            let (model, mut step) = start(make, dtype, Guard::InPass);
            let (reference, mut good_step) = start(make, dtype, Guard::Before);
            let mut kept = vec![];
            for index in 0..4 {
                // Twice, so that the second step shows what the first did to the moments of the other coordinates.
                if index == 1 || index == 2 {
                    let before = model.bits();
                    refusal(&mut step, &model, &spoilt(&model, index, &places));
                    for ((variable, at), _) in places {
                        assert_eq!(model.bits()[variable][at], before[variable][at], "{name}, {dtype:?}, {at}");
                        kept.push(before[variable][at]);
                    }
                } else {
                    step(&model.store(&model.gradients(index))).unwrap();
                }
                good_step(&reference.store(&reference.gradients(index))).unwrap();
                let (mut found, mut expected) = (model.bits(), reference.bits());
                for ((variable, at), _) in places.iter().filter(|_| index > 0) {
                    found[*variable][*at] = 0;
                    expected[*variable][*at] = 0;
                }
                assert!(found == expected, "{name}, {dtype:?}, step {index}");
            }
            assert_eq!(kept[..3], kept[3..]);
        }
    }
}

#[test]
fn in_the_pass_the_moments_of_the_bad_coordinates_keep_their_bits_too() {
    // Of the CPU's kernel, called by its name.
    for dtype in DTYPES {
        let arithmetic = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        for length in [1, 7, 257, 40_001] {
            // The first and the last, and every 13th between.
            let is_bad = |at: usize| at.is_multiple_of(13) || at == length - 1;
            for (kernel, states) in kernels(Penalty::l1(0.1).with_l2(0.01)) {
                let tensor = |number: &dyn Fn(usize) -> f64, dtype| {
                    let numbers: Vec<_> = (0..length).map(number).collect();
                    rounded_on(&Device::Cpu, numbers, dtype)
                };
                let good = |at: usize| (0.3 * at as f64).cos();
                let bad = |at: usize| if is_bad(at) { BAD[at % 3] } else { good(at) };
                let work = |gradient: &dyn Fn(usize) -> f64| {
                    let var = Var::from_tensor(&tensor(&|at| (0.7 * at as f64).sin(), dtype)).unwrap();
                    // Positive, since some are sums of squares.
                    let state = (0..states)
                        .map(|k| tensor(&|at| 1.5 + (at as f64 + k as f64).sin(), arithmetic))
                        .map(|state| Var::from_tensor(&state).unwrap())
                        .collect();
                    Work::new(var, state, Some((tensor(gradient, dtype), kernel)))
                };
                let all = |work: &Work| -> Vec<Vec<u64>> {
                    std::iter::once(&work.var).chain(&work.state).map(|var| bits(var)).collect()
                };
                let (stepped, reference) = (work(&bad), work(&good));
                let before = all(&stepped);
                assert!(cpu::step(&stepped, Source::Unchecked).unwrap());
                assert!(!cpu::step(&reference, Source::Checked).unwrap());
                let numbers = all(&stepped).into_iter().zip(before).zip(all(&reference));
                for (tensor, ((found, before), good)) in numbers.enumerate() {
                    // FTRL's z follows the rate and the charges, so that the weight stays: ftrl.rs.
                    if matches!(kernel, OptimizerStep::Ftrl(_)) && tensor == 1 {
                        continue;
                    }
                    let expected: Vec<_> =
                        (0..length).map(|at| if is_bad(at) { before[at] } else { good[at] }).collect();
                    assert!(found == expected, "{kernel:?}, {dtype:?}, {length} coordinates");
                }
            }
        }
    }
}

#[test]
fn the_error_names_the_first_bad_gradient_and_says_what_was_written() {
    let said = [
        (Guard::Before, "nothing was changed"),
        (
            Guard::InPass,
            "coordinates with such a gradient (under `group = ..` tensors) were left as they were, all others were stepped",
        ),
    ];
    for (_, make) in EVERY_OPTIMIZER {
        for dtype in DTYPES {
            for (guard, written) in said {
                for value in BAD {
                    let (model, mut step) = start(make, dtype, guard);
                    let error = refusal(&mut step, &model, &spoilt(&model, 0, &[(LAST, value)]));
                    let expected = format!(
                        "weights.1: its gradient holds {value} at flat index 40000; {written}. Do the data hold NaN, or has training diverged? Lower the \
                         learning rate, or clip the gradients"
                    );
                    assert_eq!(error.to_string(), expected);
                    let Error::NonFiniteGradient { path, value: found, index, guard: by } = error else {
                        panic!("another error: {error:?}");
                    };
                    assert_eq!((path.as_str(), index, by), ("weights.1", 40_000, guard));
                    assert_eq!(found.to_string(), value.to_string());
                }
            }
        }
    }
}

#[test]
fn of_several_bad_gradients_the_first_in_the_order_of_the_variables_is_named() {
    // Long ones, so that the last may well be looked at first.
    let lengths = [20_000, 1, 0, 50_000, 7, 30_000];
    for guard in [Guard::Before, Guard::InPass] {
        for (name, make) in EVERY_OPTIMIZER {
            for first in [0, 1, 3, 4, 5] {
                let model = Many::new(&lengths, DType::F32);
                let mut step = make(model.regularizer().unwrap(), model.weights.clone(), guard);
                let mut gradients = model.gradients(0);
                for gradient in &mut gradients[first..] {
                    if let Some(last) = gradient.last_mut() {
                        *last = f64::INFINITY;
                    }
                }
                let error = refusal(&mut step, &model, &gradients);
                let Error::NonFiniteGradient { path, index, .. } = &error else { panic!("another error: {error:?}") };
                assert_eq!(
                    (path.as_str(), *index),
                    (format!("weights.{first}").as_str(), lengths[first] - 1),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn with_finite_gradients_both_guards_give_the_same_bits() {
    for (name, make) in EVERY_OPTIMIZER {
        for dtype in DTYPES {
            let [before, in_pass] = [Guard::Before, Guard::InPass].map(|guard| {
                let (model, mut step) = start(make, dtype, guard);
                for index in 0..3 {
                    step(&model.store(&model.gradients(index))).unwrap();
                }
                model.bits()
            });
            assert!(before == in_pass, "{name}, {dtype:?}");
        }
    }
}

/// On a GPU a step does not wait to see what it passes over.
#[test]
fn what_a_step_has_passed_over_is_told_by_itself_or_on_a_gpu_by_the_next_one_which_is_taken() {
    let model = Many::new(&[5, 3], DType::F32);
    let mut params = ParamsProxSgd::new(model.regularizer().unwrap());
    params.guard = Guard::InPass;
    let mut opt = ProxSgd::new(model.weights.clone(), params).unwrap();
    let bad = model.store(&spoilt(&model, 0, &[((1, 2), f64::INFINITY)]));
    let good = model.store(&model.gradients(1));
    let is_told = |told: candle_core::Result<()>| match told.map_err(Error::from) {
        Ok(()) => false,
        Err(Error::NonFiniteGradient { index: 2, value: f64::INFINITY, guard: Guard::InPass, .. }) => true,
        Err(error) => panic!("{error}"),
    };
    let is_late = tests::is_on_gpu();
    assert_eq!(is_told(opt.step(&bad)), !is_late);
    let before = model.bits();
    assert_eq!(is_told(opt.step(&good)), is_late);
    assert!(model.bits() != before && opt.steps() == 2, "a step that tells of another is taken");
    assert!(!is_told(opt.check_last_step().map_err(Into::into)), "told twice");
    opt.step(&bad).ok();
    assert_eq!(is_told(opt.check_last_step().map_err(Into::into)), is_late);
    assert!(!is_told(opt.step(&good)), "told twice");
}
