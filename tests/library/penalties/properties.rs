//! What a prox, a value and a subgradient are by definition, for any numbers.

use candle_core::DType;
use l1_core::{Curve, Grouping, Penalty, kernel};
use proptest::prelude::*;
use rand::{RngExt, seq::SliceRandom};
use tests::tolerance;

use super::{CURVES, groupings, naive, numbers, prox, prox_in, rng, spread_steps, tensor, value};
use crate::models::{bits, flat};

const DIMS: [usize; 2] = [6, 8];
const LENGTH: usize = 48;

fn curve() -> impl Strategy<Value = Curve> {
    let curves = CURVES.map(Just);
    prop_oneof![
        4 => prop::sample::select(CURVES.to_vec()),
        1 => (1.1..8.0f64).prop_map(Curve::Mcp),
        1 => (2.1..8.0f64).prop_map(Curve::Scad),
        1 => (0.01..3.0f64).prop_map(Curve::Log),
        1 => curves[0],
    ]
}

/// Penalties on entries and groups of a 6 × 8 matrix.
fn penalty() -> impl Strategy<Value = Penalty> {
    let strength = || prop_oneof![2 => Just(0.0), 1 => 0.0..0.5f64];
    let group = prop::sample::select(groupings(&DIMS));
    (curve(), group, 0.01..1.0f64, strength(), strength(), any::<bool>(), any::<bool>()).prop_map(
        |(curve, group, lambda, element, l2, positive, unscaled)| {
            let penalty = Penalty::l1(lambda).with_curve(curve).with_group(group).with_element(element).with_l2(l2);
            penalty.with_positive(positive).with_unscaled(unscaled)
        },
    )
}

/// One step for all, or steps that spread over a factor of 100.
fn steps(rng: &mut rand::rngs::StdRng) -> Vec<f64> {
    let one = 10f64.powf(rng.random_range(-1.5..0.8));
    if rng.random_bool(0.5) { vec![one; LENGTH] } else { spread_steps(rng, LENGTH) }
}

fn prox_of(z: &[f64], penalty: &Penalty, steps: &[f64]) -> Vec<f64> {
    if steps.iter().all(|step| *step == steps[0]) {
        prox(z, &DIMS, penalty, steps[0])
    } else {
        prox_in(z, &DIMS, penalty, steps)
    }
}

/// The objective of each group, since one number for all would hide the small ones.
fn objectives(u: &[f64], z: &[f64], penalty: &Penalty, steps: &[f64]) -> Vec<f64> {
    let of_group = |group: &Vec<usize>| {
        let moved: f64 = group.iter().map(|i| (u[*i] - z[*i]) * (u[*i] - z[*i]) / (2.0 * steps[*i])).sum();
        let u: Vec<_> = group.iter().map(|i| u[*i]).collect();
        moved + naive::value(&penalty.with_group(Grouping::Whole), &[u.len()], &u)
    };
    naive::groups(penalty.group(), &DIMS).iter().map(of_group).collect()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_point_is_lower_than_the_prox(penalty in penalty(), seed in any::<u64>()) {
        let rng = &mut rng(seed);
        let (z, steps) = (numbers(rng, LENGTH), steps(rng));
        let u = prox_of(&z, &penalty, &steps);
        let lowest = objectives(&u, &z, &penalty, &steps);
        let mut others = vec![vec![0.0; LENGTH], z.clone(), numbers(rng, LENGTH)];
        others.extend([1e-6, 1e-3, 0.1].map(|near| u.iter().map(|u| u * (1.0 + near * rng.random_range(-1.0..1.0))).collect()));
        others.extend([1e-6, 1e-3, 0.1].map(|near| u.iter().map(|u| u + near * rng.random_range(-1.0..1.0)).collect()));
        others.push(u.iter().zip(&z).map(|(u, z)| 0.5 * (u + z)).collect());
        others.push(u.iter().map(|u| 0.5 * u).collect());
        for other in others {
            let other: Vec<_> = other.iter().map(|u: &f64| if penalty.positive() { u.max(0.0) } else { *u }).collect();
            for (group, (low, other)) in lowest.iter().zip(objectives(&other, &z, &penalty, &steps)).enumerate() {
                // Roundings of a sum of at most 48 terms.
                prop_assert!(*low <= other * (1.0 + tolerance(1e-13)) + tolerance(1e-15), "{penalty}, group {group}: {low:e} {other:e}");
            }
        }
    }

    #[test]
    fn the_prox_is_that_of_the_scan(penalty in penalty(), seed in any::<u64>()) {
        let rng = &mut rng(seed);
        let (z, steps) = (numbers(rng, LENGTH), steps(rng));
        let u = prox_of(&z, &penalty, &steps);
        let expected = naive::prox(&penalty, &DIMS, &z, &steps, 1.0, naive::Met::ByItsProx);
        let (low, expected_low) = (objectives(&u, &z, &penalty, &steps), objectives(&expected, &z, &penalty, &steps));
        for (low, expected) in low.iter().zip(&expected_low) {
            prop_assert!((low - expected).abs() <= 1e-12 * (1.0 + expected), "{penalty}: {low:e} {expected:e}");
        }
    }

    #[test]
    fn a_norm_never_grows_with_lambda(penalty in penalty(), factor in 1.0..3.0f64, seed in any::<u64>()) {
        let rng = &mut rng(seed);
        let (z, steps) = (numbers(rng, LENGTH), steps(rng));
        let stronger = penalty.with_lambda(factor * penalty.lambda());
        let (u, v) = (prox_of(&z, &penalty, &steps), prox_of(&z, &stronger, &steps));
        for group in naive::groups(penalty.group(), &DIMS) {
            let of = |u: &[f64]| norm(&group.iter().map(|i| u[*i]).collect::<Vec<_>>());
            prop_assert!(of(&v) <= of(&u) * (1.0 + 1e-12) + tolerance(1e-14), "{penalty}, λ times {factor}: {} {}", of(&u), of(&v));
        }
    }

    #[test]
    fn with_l1_the_prox_is_non_expansive_in_its_metric(penalty in penalty(), seed in any::<u64>()) {
        let rng = &mut rng(seed);
        let penalty = penalty.with_curve(Curve::L1);
        let (z, steps) = (numbers(rng, LENGTH), steps(rng));
        let near = rng.random_range(0.0..1.0);
        let y: Vec<_> = z.iter().map(|z| z + near * rng.random_range(-1.0..1.0)).collect();
        let (u, v) = (prox_of(&z, &penalty, &steps), prox_of(&y, &penalty, &steps));
        let distance = |a: &[f64], b: &[f64]| norm(&(0..LENGTH).map(|i| (a[i] - b[i]) / steps[i].sqrt()).collect::<Vec<_>>());
        prop_assert!(distance(&u, &v) <= distance(&z, &y) * (1.0 + 1e-12) + tolerance(1e-13), "{penalty}");
    }

    #[test]
    fn no_entry_changes_its_sign_or_grows(penalty in penalty(), seed in any::<u64>()) {
        let rng = &mut rng(seed);
        let (z, steps) = (numbers(rng, LENGTH), steps(rng));
        for (u, z) in prox_of(&z, &penalty, &steps).iter().zip(&z) {
            prop_assert!(u * z >= 0.0 && u.abs() <= z.abs() * (1.0 + tolerance(1e-15)), "{penalty}: {u:e} {z:e}");
        }
    }

    #[test]
    fn rows_may_be_taken_in_any_order(penalty in penalty(), seed in any::<u64>()) {
        let rng = &mut rng(seed);
        let penalty = penalty.with_group(if rng.random_bool(0.5) { Grouping::Dim(0) } else { Grouping::Dim(1) });
        let (z, steps) = (numbers(rng, LENGTH), steps(rng));
        let mut order: Vec<_> = (0..DIMS[0]).collect();
        order.shuffle(rng);
        let turned = |values: &[f64]| order.iter().flat_map(|row| &values[8 * row..8 * row + 8]).copied().collect::<Vec<_>>();
        let (found, expected) = (prox_of(&turned(&z), &penalty, &turned(&steps)), turned(&prox_of(&z, &penalty, &steps)));
        for (found, expected) in found.iter().zip(&expected) {
            if penalty.group() == Grouping::Dim(0) {
                // Groups: the same bits.
                prop_assert_eq!(found.to_bits(), expected.to_bits(), "{}", penalty);
            } else {
                // Entries of a group: another order of additions, and in a metric a steep prox may make more of it.
                prop_assert!((found - expected).abs() <= 1e-10, "{penalty}: {found:e} {expected:e}");
            }
        }
        let (found, expected) = (value(&turned(&z), &DIMS, &penalty), value(&z, &DIMS, &penalty));
        prop_assert!(found == expected || (found - expected).abs() <= tolerance(1e-13) * expected);
    }

    #[test]
    fn scaling_the_argument_and_the_penalty_scales_the_prox(penalty in penalty(), exponent in -3i32..4, seed in any::<u64>()) {
        let rng = &mut rng(seed);
        let (z, steps) = (numbers(rng, LENGTH), steps(rng));
        let factor = 64f64.powi(exponent);
        // φ(c·r) with the λ and the ε that make it c²·φ(r).
        let lambda = penalty.lambda() * match penalty.curve() {
            Curve::Half => factor.powf(1.5),
            Curve::TwoThirds => factor.powf(4.0 / 3.0),
            Curve::Log(_) | Curve::L0 => factor * factor,
            _ => factor,
        };
        let curve = if let Curve::Log(epsilon) = penalty.curve() { Curve::Log(factor * epsilon) } else { penalty.curve() };
        let scaled = penalty.with_lambda(lambda).with_curve(curve).with_element(factor * penalty.element());
        let large: Vec<_> = z.iter().map(|z| factor * z).collect();
        for (found, u) in prox_of(&large, &scaled, &steps).iter().zip(prox_of(&z, &penalty, &steps)) {
            // Powers of 2; the roots alone are rounded anew.
            prop_assert!((found / factor - u).abs() <= 1e-11, "{penalty} times {factor}: {found:e} {u:e}");
        }
    }

    #[test]
    fn the_subgradient_is_the_slope_of_the_value(penalty in penalty(), seed in any::<u64>()) {
        let rng = &mut rng(seed);
        let penalty = penalty.with_positive(false);
        // Away from 0 on every entry.
        let w: Vec<_> = (0..LENGTH).map(|_| rng.random_range(0.3..2.0) * if rng.random_bool(0.5) { 1.0 } else { -1.0 }).collect();
        let slopes = flat(&kernel::subgradient(&tensor(&w, &DIMS, DType::F64), &penalty).unwrap());
        let groups = naive::groups(penalty.group(), &DIMS);
        for _ in 0..4 {
            let at = rng.random_range(0..LENGTH);
            let r = norm(&groups.iter().find(|group| group.contains(&at)).unwrap().iter().map(|i| w[*i]).collect::<Vec<_>>());
            if naive::knees(penalty.curve(), penalty.lambda()).iter().any(|knee| (r - knee).abs() < 1e-3) {
                continue;
            }
            let near = |step: f64| {
                let mut w = w.clone();
                w[at] += step;
                value(&w, &DIMS, &penalty)
            };
            let expected = (near(1e-5) - near(-1e-5)) / 2e-5;
            // The third derivative times 1e-10, and the roundings of a value of about 50 over 2e-5.
            prop_assert!((slopes[at] - expected).abs() <= 2e-8, "{penalty}: {:e} {expected:e}", slopes[at]);
        }
    }

    #[test]
    fn singular_values_are_shrunk_whatever_the_shape(
        curve in curve(), rows in 1..9usize, columns in 1..9usize, lambda in 0.01..1.0f64, l2 in 0.0..0.5f64, seed in any::<u64>(),
    ) {
        let rng = &mut rng(seed);
        let dims = [rows, columns];
        let penalty = Penalty::l1(lambda).with_curve(curve).with_group(Grouping::Singular).with_l2(l2);
        let z = numbers(rng, rows * columns);
        let u = prox(&z, &dims, &penalty, 0.8);
        let expected = naive::prox(&penalty, &dims, &z, &vec![0.8; z.len()], 1.0, naive::Met::ByItsProx);
        // The singular values have 1e-15 of the largest, and a prox is up to 1/(1 − s/γ) as steep, away from its jumps.
        let steepness = match curve {
            Curve::Mcp(gamma) => (1.0 / (1.0 - 0.8 / gamma)).abs(),
            Curve::Scad(gamma) => ((gamma - 1.0) / (gamma - 1.8)).abs(),
            _ => 10.0,
        };
        for (found, expected) in u.iter().zip(&expected) {
            prop_assert!((found - expected).abs() <= tolerance(1e-13) * norm(&z).max(1.0) * steepness, "{penalty}: {found:e} {expected:e}");
        }
    }
}

#[test]
fn zero_groups_have_the_subgradient_0_and_come_back_as_they_are() {
    for curve in CURVES {
        for group in groupings(&DIMS).into_iter().chain([Grouping::Singular]) {
            let penalty = Penalty::l1(0.3).with_curve(curve).with_group(group);
            let zeros = tensor(&[0.0; LENGTH], &DIMS, DType::F64);
            assert_eq!(bits(&kernel::subgradient(&zeros, &penalty).unwrap()), [0; LENGTH], "{penalty}");
            assert_eq!(flat(&kernel::prox(&zeros, &penalty, 1.0).unwrap()), [0.0; LENGTH], "{penalty}");
        }
    }
}
