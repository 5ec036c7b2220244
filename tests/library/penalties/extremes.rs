//! NaN, infinities, subnormal and huge numbers, steps of 0 and of ∞.

use candle_core::DType;
use l1_core::{Curve, Grouping, Penalty, kernel};
use tests::tolerance;

use super::{CURVES, DTYPES, naive, numbers, prox, prox_in, rng, spread_steps, tensor, wide};
use crate::models::{bits, flat};

/// Rows, columns and blocks of a 6 × 10 matrix.
const GROUPINGS: [Grouping; 3] = [Grouping::Dim(0), Grouping::Dim(1), Grouping::Block(3, 5)];
const DIMS: [usize; 2] = [6, 10];

/// The group of entry `at`.
fn group_of(at: usize, grouping: Grouping) -> Vec<usize> {
    naive::groups(grouping, &DIMS).into_iter().find(|group| group.contains(&at)).unwrap()
}

/// The prox with one step, and with a step for each entry.
fn proxes(z: &[f64], penalty: &Penalty, steps: &[f64], dtype: DType) -> [Vec<f64>; 2] {
    let z = tensor(z, &DIMS, dtype);
    let steps = tensor(steps, &DIMS, wide(dtype));
    [kernel::prox(&z, penalty, 0.5).unwrap(), kernel::prox(&z, penalty, &steps).unwrap()].map(|u| flat(&u))
}

#[test]
fn a_nan_is_seen_in_its_group_and_does_no_harm_to_another() {
    let rng = &mut rng(11);
    for grouping in GROUPINGS {
        for curve in CURVES {
            let penalty = Penalty::l1(0.2).with_curve(curve).with_group(grouping);
            for penalty in [penalty, penalty.with_positive(true), penalty.with_element(0.1).with_l2(0.3)] {
                for dtype in DTYPES {
                    let (good, steps) = (numbers(rng, 60), spread_steps(rng, 60));
                    let mut bad = good.clone();
                    bad[34] = f64::NAN;
                    let group = group_of(34, grouping);
                    let pairs =
                        proxes(&bad, &penalty, &steps, dtype).into_iter().zip(proxes(&good, &penalty, &steps, dtype));
                    for (found, expected) in pairs {
                        assert!(found[34].is_nan(), "{penalty}, {dtype:?}: {found:?}");
                        for at in (0..60).filter(|at| !group.contains(at)) {
                            assert_eq!(found[at].to_bits(), expected[at].to_bits(), "{penalty}, {dtype:?}, entry {at}");
                        }
                    }
                    let (bad, good) = (tensor(&bad, &DIMS, dtype), tensor(&good, &DIMS, dtype));
                    assert!(kernel::value(&bad, &penalty).unwrap().is_nan(), "{penalty}, {dtype:?}");
                    let [found, expected] = [&bad, &good].map(|w| flat(&kernel::subgradient(w, &penalty).unwrap()));
                    assert!(found[34].is_nan(), "{penalty}, {dtype:?}: {found:?}");
                    for at in (0..60).filter(|at| !group.contains(at)) {
                        assert_eq!(found[at].to_bits(), expected[at].to_bits(), "{penalty}, {dtype:?}, entry {at}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_nan_on_single_entries_stays_the_only_one() {
    for curve in CURVES {
        let penalty = Penalty::l1(0.2).with_curve(curve);
        for penalty in [penalty, penalty.with_positive(true), penalty.with_element(0.1).with_l2(0.3)] {
            for dtype in DTYPES {
                let mut z = numbers(&mut rng(12), 60);
                z[34] = f64::NAN;
                for found in proxes(&z, &penalty, &spread_steps(&mut rng(13), 60), dtype) {
                    assert!(
                        found.iter().enumerate().all(|(at, u)| u.is_nan() == (at == 34)),
                        "{penalty}, {dtype:?}: {found:?}"
                    );
                }
                let z = tensor(&z, &DIMS, dtype);
                assert!(kernel::value(&z, &penalty).unwrap().is_nan());
                let found = flat(&kernel::subgradient(&z, &penalty).unwrap());
                assert!(
                    found.iter().enumerate().all(|(at, u)| u.is_nan() == (at == 34)),
                    "{penalty}, {dtype:?}: {found:?}"
                );
            }
        }
    }
}

#[test]
fn an_infinity_keeps_its_sign_and_makes_nothing_nan() {
    for grouping in [Grouping::Element].into_iter().chain(GROUPINGS) {
        for curve in CURVES {
            let penalty = Penalty::l1(0.2).with_curve(curve).with_group(grouping);
            for dtype in DTYPES {
                for infinity in [f64::INFINITY, f64::NEG_INFINITY] {
                    let (good, steps) = (numbers(&mut rng(14), 60), spread_steps(&mut rng(15), 60));
                    let mut bad = good.clone();
                    bad[34] = infinity;
                    let group = group_of(34, grouping);
                    let pairs =
                        proxes(&bad, &penalty, &steps, dtype).into_iter().zip(proxes(&good, &penalty, &steps, dtype));
                    for (found, expected) in pairs {
                        assert_eq!(found[34], infinity, "{penalty}, {dtype:?}");
                        assert!(!found.iter().any(|u| u.is_nan()), "{penalty}, {dtype:?}: {found:?}");
                        for at in (0..60).filter(|at| !group.contains(at)) {
                            assert_eq!(found[at].to_bits(), expected[at].to_bits(), "{penalty}, {dtype:?}, entry {at}");
                        }
                    }
                    let charged = kernel::value(&tensor(&bad, &DIMS, dtype), &penalty).unwrap();
                    let is_bounded = matches!(curve, Curve::Mcp(_) | Curve::Scad(_) | Curve::L0);
                    assert_eq!(charged.is_finite(), is_bounded, "{penalty}, {dtype:?}: {charged}");
                    assert!(!charged.is_nan(), "{penalty}, {dtype:?}");
                }
            }
        }
    }
}

#[test]
fn a_step_of_0_changes_nothing() {
    let rng = &mut rng(16);
    for grouping in [Grouping::Element].into_iter().chain(GROUPINGS) {
        for curve in CURVES {
            let penalty = Penalty::l1(0.2).with_curve(curve).with_group(grouping).with_element(0.1).with_l2(0.3);
            for dtype in DTYPES {
                let z = tensor(&numbers(rng, 60), &DIMS, dtype);
                let none = z.zeros_like().unwrap().to_dtype(wide(dtype)).unwrap();
                for found in [kernel::prox(&z, &penalty, 0.0).unwrap(), kernel::prox(&z, &penalty, &none).unwrap()] {
                    assert_eq!(flat(&found), flat(&z), "{penalty}, {dtype:?}");
                }
            }
        }
    }
}

#[test]
fn an_entry_with_a_step_of_0_stays_and_the_others_of_its_group_are_as_the_definition_says() {
    let rng = &mut rng(17);
    for curve in CURVES {
        for _ in 0..20 {
            let penalty = Penalty::l1(0.7).with_curve(curve).with_group(Grouping::Dim(0));
            let (z, mut steps) = (numbers(rng, 60), spread_steps(rng, 60));
            steps.iter_mut().step_by(7).for_each(|step| *step = 0.0);
            let found = prox_in(&z, &DIMS, &penalty, &steps);
            let expected = naive::prox(&penalty, &DIMS, &z, &steps, 1.0, naive::Met::ByItsProx);
            for at in 0..60 {
                assert!(steps[at] != 0.0 || found[at] == z[at], "{penalty}, entry {at}");
                assert!(
                    (found[at] - expected[at]).abs() <= tolerance(1e-13),
                    "{penalty}, entry {at}: {:e} {:e}",
                    found[at],
                    expected[at]
                );
            }
        }
    }
}

#[test]
fn an_entry_with_an_infinite_step_goes_to_0_and_leaves_the_others_to_themselves() {
    // The minimum over the entry with t = ∞ is at 0; what is left is a group without it.
    for curve in CURVES {
        let penalty = Penalty::l1(0.3).with_curve(curve).with_group(Grouping::Whole).with_unscaled(true);
        for (z, t) in [(2.0, 0.5), (10.0, 1e-3), (0.1, 0.7)] {
            for dtype in [DType::F64, DType::F32] {
                let group = tensor(&[z, 3.0, 0.0], &[3], dtype);
                let steps = tensor(&[t, f64::INFINITY, f64::INFINITY], &[3], dtype);
                let found = flat(&kernel::prox(&group, &penalty, &steps).unwrap());
                let alone = naive::radius(curve, 0.3, flat(&group)[0], flat(&steps)[0]);
                assert!((found[0] - alone).abs() <= 4e-7 * alone, "{penalty}, {dtype:?}: {found:?} {alone}");
                // Where the curve is flat the entry may be anything, at no charge.
                let is_flat = naive::slope(curve, 0.3, alone) == 0.0;
                assert!(found[1] == 0.0 || is_flat && found[1] == 3.0, "{penalty}, {dtype:?}: {found:?}");
                assert_eq!(found[2], 0.0);
            }
        }
        for dtype in [DType::F64, DType::F32] {
            let steps = tensor(&[f64::INFINITY; 2], &[2], dtype);
            for penalty in [penalty, penalty.with_group(Grouping::Element), penalty.with_l2(0.5)] {
                let found = kernel::prox(&tensor(&[2.0, -3.0], &[2], dtype), &penalty, &steps).unwrap();
                assert_eq!(flat(&found), [0.0, 0.0], "{penalty}, {dtype:?}");
            }
        }
    }
}

#[test]
fn subnormal_numbers_are_numbers() {
    let unscaled = Penalty::NONE.with_group(Grouping::Whole).with_unscaled(true);
    // ‖z‖ = 5, and 4 after the prox, in units of 1e-310.
    let (z, penalty) = ([3e-310, -4e-310], unscaled.with_lambda(1e-310));
    for found in [prox(&z, &[2], &penalty, 1.0), prox_in(&z, &[2], &penalty, &[1.0, 1.0])] {
        for (found, z) in found.iter().zip(z) {
            assert!((found / z - 0.8).abs() < 1e-12, "{found:e}"); // 5e-324 is 5e-14 of z
        }
    }
    let smallest = [f64::from_bits(1), -f64::from_bits(3), f64::MIN_POSITIVE, f64::from(f32::from_bits(1)), 0.0, -0.0];
    for curve in CURVES {
        for group in [Grouping::Element, Grouping::Whole] {
            let penalty = unscaled.with_lambda(0.3).with_curve(curve).with_group(group);
            for dtype in [DType::F64, DType::F32] {
                let z = tensor(&smallest, &[6], dtype);
                let zeros = [
                    kernel::prox(&z, &penalty, 0.5).unwrap(),
                    kernel::prox(&z, &penalty, &(z.ones_like().unwrap() * 0.5).unwrap()).unwrap(),
                ];
                for found in zeros {
                    assert_eq!(flat(&found), [0.0; 6], "{penalty}, {dtype:?}");
                }
                let value = kernel::value(&z, &penalty).unwrap();
                let expected = naive::phi(curve, 0.3, flat(&z).iter().map(|z| z.abs()).sum());
                assert!(
                    value.is_finite() && (group == Grouping::Element || value <= expected + 1e-300),
                    "{penalty}: {value:e}"
                );
                assert!(
                    flat(&kernel::subgradient(&z, &penalty).unwrap()).iter().all(|s| !s.is_nan()),
                    "{penalty}, {dtype:?}"
                );
            }
        }
    }
}

#[test]
fn huge_numbers_are_shrunk_and_neither_overflow_nor_become_nan() {
    // One group of 16 entries, and two of them across each other.
    let whole = (Grouping::Whole, vec![16]);
    let groupings = [(Grouping::Element, vec![16]), whole, (Grouping::Dim(1), vec![16, 2])];
    for (dtype, size) in [(DType::F32, 1e38), (DType::F64, 1e200), (DType::F64, 1e308)] {
        for (group, dims) in &groupings {
            let z: Vec<_> = (0..dims.iter().product()).map(|at| if at % 3 == 0 { -size } else { size }).collect();
            let z = tensor(&z, dims, dtype);
            let ones = z.ones_like().unwrap();
            for curve in CURVES {
                // A penalty of ordinary strength moves them by less than a rounding.
                let penalty = Penalty::l1(0.3).with_curve(curve).with_group(*group);
                for found in [kernel::prox(&z, &penalty, 0.5).unwrap(), kernel::prox(&z, &penalty, &ones).unwrap()] {
                    for (found, z) in flat(&found).iter().zip(flat(&z)) {
                        assert!((found / z - 1.0).abs() <= 4e-7, "{penalty}, {dtype:?}, {size:e}: {found:e}");
                    }
                }
                let value = kernel::value(&z, &penalty).unwrap();
                assert!(!value.is_nan() && value > 0.0, "{penalty}, {dtype:?}: {value:e}");
                let slopes = flat(&kernel::subgradient(&z, &penalty).unwrap());
                assert!(slopes.iter().all(|slope| slope.is_finite()), "{penalty}, {dtype:?}, {size:e}");
            }
            // ‖z‖ = 4 and κ = 1 in units of the size. (A norm beyond all numbers is left as it is.)
            let norm: f64 = if *group == Grouping::Element { 1.0 } else { 4.0 };
            let is_shrunk = norm == 1.0 || (norm * size).is_finite();
            for strength in [0.5, 0.25] {
                let expected = 1.0 - strength / norm;
                let penalty = Penalty::l1(strength * size).with_group(*group).with_unscaled(true);
                let proxes = [kernel::prox(&z, &penalty, 1.0).unwrap(), kernel::prox(&z, &penalty, &ones).unwrap()];
                for (found, is_shrunk) in proxes.iter().zip([is_shrunk, true]) {
                    for (found, z) in flat(found).iter().zip(flat(&z)) {
                        let expected = if is_shrunk { expected } else { 1.0 };
                        assert!((found / z - expected).abs() <= 4e-7, "{penalty}, {dtype:?}, {size:e}: {found:e}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_huge_strength_makes_zeros_and_spares_what_has_a_step_of_0() {
    for curve in CURVES {
        for group in [Grouping::Element, Grouping::Whole] {
            for dtype in [DType::F64, DType::F32] {
                let penalty = Penalty::l1(1e38).with_curve(curve).with_group(group);
                let z = tensor(&[1.0, -2.0, 0.0], &[3], dtype);
                assert_eq!(flat(&kernel::prox(&z, &penalty, 1.0).unwrap()), [0.0; 3], "{penalty}, {dtype:?}");
                let steps = tensor(&[0.0, 1.0, 0.0], &[3], dtype);
                let found = flat(&kernel::prox(&z, &penalty, &steps).unwrap());
                assert_eq!((found[0], found[2]), (1.0, 0.0), "{penalty}, {dtype:?}: {found:?}");
                // On the flat part nothing is charged, were it not so far away.
                let is_free = group == Grouping::Whole && curve == Curve::L0;
                assert!(found[1].abs() <= 1e-30 || is_free, "{penalty}, {dtype:?}: {found:?}");
            }
        }
    }
}

#[test]
fn both_zeros_are_0_and_have_the_subgradient_0() {
    for curve in CURVES {
        for group in [Grouping::Element, Grouping::Whole] {
            let penalty = Penalty::l1(0.3).with_curve(curve).with_group(group).with_l2(0.1);
            for dtype in DTYPES {
                let zeros = tensor(&[0.0, -0.0], &[2], dtype);
                assert_eq!(kernel::value(&zeros, &penalty).unwrap(), 0.0);
                assert_eq!(flat(&kernel::subgradient(&zeros, &penalty).unwrap()), [0.0, 0.0]);
                let bits = bits(&kernel::prox(&zeros, &penalty, 1.0).unwrap());
                assert!(bits.iter().all(|bits| f64::from_bits(*bits) == 0.0));
            }
        }
    }
}

#[test]
fn a_group_just_above_its_threshold_has_the_radius_of_its_equation() {
    // By bisection of Σ z²/(r + κt)² = 1 in 60 digits.
    let penalty = Penalty::l1(1.0).with_group(Grouping::Dim(0)).with_unscaled(true);
    for (z, t) in [([0.999_999_998, 1.3e-12], [1.0, 1e-8]), ([1.000_049_99, 2e-6], [1.0, 1e-4])] {
        let found = super::prox_in(&z, &[1, 2], &penalty, &t);
        let expected = super::naive::linear_group(&z, &t, 1.0);
        // κt = 1 beside a radius of 3e-9 or 1e-4: the roundings of z count as many times.
        let tolerance = 64.0 * f64::EPSILON / found[0].abs().max(1e-12);
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= tolerance * expected.abs(), "{found:e} {expected:e}");
        }
    }
}

#[test]
fn scad_does_not_cancel_where_its_middle_piece_is_steep() {
    let (gamma, lambda, a) = (3.7, 1.892_396_273_879_246, 7.001_866_213_353_21);
    let step = 2.699_999_999_999_999_7;
    let penalty = Penalty::l1(lambda).with_curve(Curve::Scad(gamma));
    let found = super::prox(&[a], &[1], &penalty, step)[0];
    assert!((lambda..=gamma * lambda).contains(&found), "{found}");
}
