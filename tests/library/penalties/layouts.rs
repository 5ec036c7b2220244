//! Value, subgradient and prox against the definitions, whatever the dtype, the length, the groups and the layout of a tensor.

use candle_core::{DType, Tensor, Var};
use candle_nn::Linear;
use l1_core::{Curve, Grouping, Penalty, Regularized, kernel};
use rand::RngExt;
use tests::{device, tolerance};

use super::{CURVES, DTYPES, F32, groupings, naive, numbers, rng, spread_steps, tensor, wide};
use crate::models::{bits, flat};

/// None, one, and around a block of numbers, a thread's share, several shares.
const LENGTHS: [usize; 9] = [0, 1, 511, 512, 513, 16_383, 16_384, 16_385, 40_000];

/// After this many entries the numbers begin anew, at another place of every vector and block.
const PERIOD: usize = 97;

/// All that can be folded into a curve.
fn folds(penalty: Penalty) -> [Penalty; 3] {
    [penalty, penalty.with_element(0.1).with_l2(0.4), penalty.with_l2(0.4).with_positive(true)]
}

/// The largest magnitude.
fn size(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |size, number| f64::max(size, number.abs()))
}

#[test]
fn an_entry_comes_to_the_same_bits_wherever_it_stands_in_a_tensor_of_any_length() {
    let rng = &mut rng(1);
    let (z, steps) = (numbers(rng, PERIOD), spread_steps(rng, PERIOD));
    for curve in CURVES {
        for penalty in folds(Penalty::l1(0.4).with_curve(curve)) {
            for dtype in DTYPES {
                let repeated = |numbers: &[f64], length, dtype| {
                    let numbers: Vec<_> = numbers.iter().copied().cycle().take(length).collect();
                    tensor(&numbers, &[length], dtype)
                };
                let all = |length: usize| {
                    let (z, steps) = (repeated(&z, length, dtype), repeated(&steps, length, wide(dtype)));
                    let results = [
                        kernel::prox(&z, &penalty, 0.8).unwrap(),
                        kernel::prox(&z, &penalty, &steps).unwrap(),
                        kernel::subgradient(&z, &penalty).unwrap(),
                    ];
                    results.map(|result| bits(&result))
                };
                let first = all(PERIOD);
                for length in LENGTHS {
                    for (found, first) in all(length).iter().zip(&first) {
                        assert_eq!(found.len(), length);
                        let mut pairs = found.iter().zip(first.iter().cycle());
                        assert!(pairs.all(|(found, first)| found == first), "{penalty}, {dtype:?}, {length} entries");
                    }
                }
            }
        }
    }
}

#[test]
fn the_value_of_a_long_tensor_is_the_sum_over_its_entries() {
    let w = numbers(&mut rng(2), PERIOD);
    for curve in CURVES {
        let penalty = Penalty::l1(0.4).with_curve(curve).with_l2(0.1);
        for dtype in DTYPES {
            let single = flat(&tensor(&w, &[PERIOD], dtype));
            for length in LENGTHS {
                let repeated: Vec<_> = single.iter().copied().cycle().take(length).collect();
                let expected = naive::value(&penalty, &[length], &repeated);
                let found = kernel::value(&tensor(&repeated, &[length], dtype), &penalty).unwrap();
                // Summed in f64 whatever the dtype.
                assert!(
                    (found - expected).abs() <= 1e-12 * expected,
                    "{penalty}, {dtype:?}, {length}: {found:e} {expected:e}"
                );
            }
        }
    }
}

/// Shapes with groups of one entry, of few, and of many; the larger ones are cut into several tiles.
const SHAPES: [&[usize]; 9] =
    [&[7], &[1, 5], &[5, 1], &[6, 9], &[2, 3, 4], &[3, 2, 2, 5], &[5, 130], &[520, 5], &[12, 10, 9]];

fn check(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let right = (found - expected).abs() <= tolerance && (*found == 0.0) == (*expected == 0.0);
        assert!(right, "{what}, entry {at}: {found:e}, not {expected:e} ± {tolerance:e}");
    }
}

#[test]
fn every_curve_on_every_grouping_of_every_shape_is_its_definition() {
    let rng = &mut rng(3);
    for dims in SHAPES {
        let length = dims.iter().product();
        for group in groupings(dims) {
            for curve in CURVES {
                for penalty in folds(Penalty::l1(0.4).with_curve(curve).with_group(group)) {
                    let unscaled = rng.random_bool(0.5);
                    let penalty = penalty.with_unscaled(unscaled);
                    let (given, steps) = (numbers(rng, length), spread_steps(rng, length));
                    for dtype in [DType::F64, DType::F32] {
                        let (w, steps) = (tensor(&given, dims, dtype), tensor(&steps, dims, dtype));
                        let (numbers, wide_steps) = (flat(&w), flat(&steps));
                        // In f32 the roundings of z, of the folds and of the result; in f64 what the scan loses of a radius.
                        let ulps = if dtype == DType::F64 { tolerance(2e-14) } else { 2e-6 };
                        let doubt = ulps * size(&numbers);
                        let what = format!("{penalty}, {dims:?}, {dtype:?}");

                        let expected = naive::value(&penalty, dims, &numbers);
                        let found = kernel::value(&w, &penalty).unwrap();
                        assert!(
                            found == expected || (found - expected).abs() <= tolerance(1e-13) * expected,
                            "{what}: {found:e} {expected:e}"
                        );

                        let expected = naive::subgradient(&penalty, dims, &numbers);
                        let found = flat(&kernel::subgradient(&w, &penalty).unwrap());
                        check(&what, &found, &expected, ulps * size(&expected));

                        let met = naive::Met::ByItsProx;
                        let expected = naive::prox(&penalty, dims, &numbers, &vec![0.5; length], 1.0, met);
                        let found = flat(&kernel::prox(&w, &penalty, 0.5).unwrap());
                        check(&format!("{what}, one step"), &found, &expected, doubt);

                        let at =
                            |scale: f64| naive::prox(&penalty.scaled(scale), dims, &numbers, &wide_steps, 1.0, met);
                        let found = flat(&kernel::prox(&w, &penalty, &steps).unwrap());
                        if dtype == DType::F64 {
                            check(&format!("{what}, many steps"), &found, &at(1.0), doubt);
                        } else {
                            // Every coordinate falls with λ, steeply where a curve makes the problem hardly convex.
                            let (most, least) = (at(1.0 - 8.0 * F32), at(1.0 + 8.0 * F32));
                            for (entry, found) in found.iter().enumerate() {
                                let range = least[entry].abs() - doubt..=most[entry].abs() + doubt;
                                let right = range.contains(&found.abs()) && found * numbers[entry] >= 0.0;
                                assert!(right, "{what}, many steps, entry {entry}: {found:e}, not in {range:?}");
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn groups_of_more_entries_than_one_thread_takes_are_their_definition() {
    let rng = &mut rng(4);
    let cases: [(&[usize], Grouping); 8] = [
        (&[70_001], Grouping::Whole),
        (&[300, 300], Grouping::Whole),
        (&[2, 40_000], Grouping::Dim(0)),
        (&[40_000, 2], Grouping::Dim(1)),
        (&[40_000, 2], Grouping::Dim(0)),
        (&[3, 2, 20_000], Grouping::Kernel),
        (&[3, 20_000, 2], Grouping::Dim(2)),
        (&[300, 200], Grouping::Block(150, 100)),
    ];
    for (dims, group) in cases {
        let length = dims.iter().product();
        let (given, steps) = (numbers(rng, length), spread_steps(rng, length));
        for curve in CURVES {
            // About half of a norm, so that few groups vanish.
            let penalty = Penalty::l1(0.3).with_curve(curve).with_group(group).with_element(0.01).with_l2(0.1);
            for dtype in [DType::F64, DType::F32] {
                let (w, steps) = (tensor(&given, dims, dtype), tensor(&steps, dims, dtype));
                let numbers = flat(&w);
                let what = format!("{penalty}, {dims:?}, {dtype:?}");
                let ulps = if dtype == DType::F64 { tolerance(1e-13) } else { 2e-6 };

                let (found, expected) = (kernel::value(&w, &penalty).unwrap(), naive::value(&penalty, dims, &numbers));
                assert!((found - expected).abs() <= 1e-11 * expected, "{what}: {found:e} {expected:e}");
                let expected = naive::subgradient(&penalty, dims, &numbers);
                // A norm that is summed up in another order.
                check(
                    &what,
                    &flat(&kernel::subgradient(&w, &penalty).unwrap()),
                    &expected,
                    10.0 * ulps * size(&expected),
                );

                let met = naive::Met::ByItsProx;
                let expected = naive::prox(&penalty, dims, &numbers, &vec![0.5; length], 1.0, met);
                check(&what, &flat(&kernel::prox(&w, &penalty, 0.5).unwrap()), &expected, ulps * size(&numbers));
                if curve == Curve::L1 {
                    let expected = naive::prox(&penalty, dims, &numbers, &flat(&steps), 1.0, met);
                    check(&what, &flat(&kernel::prox(&w, &penalty, &steps).unwrap()), &expected, ulps * size(&numbers));
                }
            }
        }
    }
}

#[test]
fn half_types_are_computed_in_f32_and_rounded_once() {
    let rng = &mut rng(5);
    for dims in [&[6, 9][..], &[2, 3, 4], &[5, 520]] {
        let length = dims.iter().product();
        for group in groupings(dims).into_iter().chain([Grouping::Singular]) {
            for curve in CURVES {
                let penalty = Penalty::l1(0.4).with_curve(curve).with_group(group).with_l2(0.2);
                let (given, steps) = (numbers(rng, length), tensor(&spread_steps(rng, length), dims, DType::F32));
                for dtype in [DType::BF16, DType::F16] {
                    let half = tensor(&given, dims, dtype);
                    let single = half.to_dtype(DType::F32).unwrap();
                    let rounded = |single: Tensor| bits(&single.to_dtype(dtype).unwrap());
                    let what = format!("{penalty}, {dims:?}, {dtype:?}");
                    let prox = |z: &Tensor| kernel::prox(z, &penalty, 0.5).unwrap();
                    assert_eq!(prox(&half).dtype(), dtype);
                    assert!(bits(&prox(&half)) == rounded(prox(&single)), "{what}");
                    // Which singular values are 0 is told by the spacing of the numbers as they are stored.
                    if group != Grouping::Singular || !matches!(curve, Curve::Half | Curve::TwoThirds | Curve::L0) {
                        let values = [&half, &single].map(|w| kernel::value(w, &penalty).unwrap());
                        assert_eq!(values[0], values[1], "{what}");
                    }
                    if group != Grouping::Singular {
                        let prox = |z: &Tensor| kernel::prox(z, &penalty, &steps).unwrap();
                        assert!(bits(&prox(&half)) == rounded(prox(&single)), "{what}, many steps");
                        let subgradient = |w: &Tensor| kernel::subgradient(w, &penalty).unwrap();
                        assert!(bits(&subgradient(&half)) == rounded(subgradient(&single)), "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn groups_are_seen_in_the_tensors_own_order_however_it_lies_in_memory() {
    let rng = &mut rng(6);
    let (dims, length) = ([6, 10], 60);
    for group in groupings(&dims).into_iter().chain([Grouping::Singular]) {
        for curve in CURVES {
            let penalty = Penalty::l1(0.4).with_curve(curve).with_group(group);
            for dtype in DTYPES {
                let (numbers, steps) = (numbers(rng, length), spread_steps(rng, length));
                let contiguous = |numbers: &[f64], dtype| tensor(numbers, &dims, dtype);
                let turned =
                    |numbers: &[f64], dtype| contiguous(numbers, dtype).t().unwrap().contiguous().unwrap().t().unwrap();
                let within = |numbers: &[f64], dtype| {
                    let all = [&[f64::NAN; 20], numbers, &[f64::NAN; 30]].concat();
                    tensor(&all, &[11, 10], dtype).narrow(0, 2, 6).unwrap()
                };
                let all = |lies: &dyn Fn(&[f64], DType) -> Tensor| {
                    let (w, steps) = (lies(&numbers, dtype), lies(&steps, wide(dtype)));
                    let value = kernel::value(&w, &penalty).unwrap().to_bits();
                    let mut results =
                        vec![kernel::prox(&w, &penalty, 0.5).unwrap(), kernel::subgradient(&w, &penalty).unwrap()];
                    if group != Grouping::Singular {
                        results.push(kernel::prox(&w, &penalty, &steps).unwrap());
                    }
                    (value, results.iter().map(bits).collect::<Vec<_>>())
                };
                let expected = all(&contiguous);
                assert!(all(&turned) == expected && all(&within) == expected, "{penalty}, {dtype:?}");
            }
        }
    }
}

#[test]
fn tensors_without_entries_are_charged_nothing_and_come_back_as_they_are() {
    for dims in [&[0][..], &[0, 3], &[3, 0], &[2, 0, 4], &[0, 0, 0]] {
        let mut groupings = groupings(dims);
        groupings.retain(|group| !matches!(group, Grouping::Block(..)));
        groupings.extend((dims.len() > 1).then_some(Grouping::Singular));
        for group in groupings {
            for curve in CURVES {
                let penalty = Penalty::l1(0.4).with_curve(curve).with_group(group).with_l2(0.1);
                for dtype in DTYPES {
                    let empty = Tensor::zeros(dims, dtype, &device()).unwrap();
                    assert_eq!(kernel::value(&empty, &penalty).unwrap(), 0.0);
                    assert_eq!(kernel::subgradient(&empty, &penalty).unwrap().dims(), dims);
                    assert_eq!(kernel::prox(&empty, &penalty, 1.0).unwrap().dims(), dims);
                    let steps = empty.to_dtype(wide(dtype)).unwrap();
                    assert_eq!(kernel::prox(&empty, &penalty, &steps).unwrap().dims(), dims);
                }
            }
        }
    }
}

#[derive(Regularized)]
struct Neurons {
    #[l1(lambda = 0.3, curve = mcp(3), group = output)]
    by_output: Linear,
    #[l1(lambda = 0.3, curve = mcp(3), group = input)]
    by_input: Linear,
}

#[test]
fn outputs_and_inputs_of_a_linear_layer_are_its_dimensions() {
    let rng = &mut rng(7);
    let weights = [(); 2].map(|()| numbers(rng, 35));
    let [by_output, by_input] = [0, 1].map(|k| {
        Linear::new(Var::from_tensor(&tensor(&weights[k], &[5, 7], DType::F64)).unwrap().as_tensor().clone(), None)
    });
    let model = Neurons { by_output, by_input };
    let penalty = |n| Penalty::l1(0.3).with_curve(Curve::Mcp(3.0)).with_group(Grouping::Dim(n));
    let expected: f64 = (0..2).map(|n| naive::value(&penalty(n), &[5, 7], &weights[n])).sum();
    let found = model.regularizer().unwrap().value().unwrap();
    assert!((found - expected).abs() <= tolerance(1e-14) * expected, "{found} {expected}");
}
