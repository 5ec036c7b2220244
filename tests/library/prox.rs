//! The proximal operator and the value: against PyTorch and PyProximal, and their defining properties.

use candle_core::{DType, Tensor};
use l1_core::{Error, Penalty, kernel};
use proptest::prelude::*;
use tests::{device, tolerance};

use crate::models::{Fixture, flat};

fn tensor(values: &[f64]) -> Tensor {
    Tensor::new(values, &device()).unwrap()
}

fn prox(z: &[f64], penalty: Penalty, step: f64) -> Vec<f64> {
    flat(&kernel::prox(&tensor(z), &penalty, step).unwrap())
}

#[test]
fn the_prox_is_pytorchs_softshrink_and_pyproximals_l1_at_thresholds_subnormals_and_huge_values() {
    let f = Fixture::load("prox_points.safetensors");
    let z = f.numbers("z");
    let row = |table: &str, index: usize| flat(&f.tensor(table).get(index).unwrap());
    for index in 0..5 {
        let at = |name: &str| f.numbers(name)[index];
        let (lambda, l2, step) = (at("lambda"), at("l2"), at("step"));
        let l1 = Penalty::l1(lambda);
        // The same subtraction of the same product: equal to the last bit (−0 = 0).
        assert_eq!(prox(&z, l1, step), row("soft", index));
        assert_eq!(prox(&z, l1, step), row("pyproximal.l1", index));
        assert_eq!(prox(&z, l1.with_l2(l2), step), row("elastic_net", index));
        assert_eq!(prox(&z, l1.with_l2(l2).with_positive(true), step), row("positive", index));
        // PyProximal divides before it thresholds, which may move the result by a rounding of z.
        let peer = row("pyproximal.elastic_net", index);
        for ((z, found), expected) in z.iter().zip(prox(&z, l1.with_l2(l2), step)).zip(peer) {
            assert!((found - expected).abs() <= z.abs() * f64::EPSILON, "{found} {expected} at {z}");
        }
    }
}

#[test]
fn a_diagonal_step_is_the_scalar_prox_at_every_coordinate() {
    let (z, steps) = ([3.0, -3.0, 0.2, -0.7, 0.0], [0.1, 1.0, 5.0, 0.0, 2.0]);
    let penalty = Penalty::l1(0.5).with_l2(0.3);
    let together = flat(&kernel::prox(&tensor(&z), &penalty, &tensor(&steps)).unwrap());
    let apart: Vec<_> = z.iter().zip(steps).map(|(z, step)| prox(&[*z], penalty, step)[0]).collect();
    assert_eq!(together, apart);
}

#[test]
fn a_step_of_another_shape_or_out_of_range_is_refused() {
    let z = tensor(&[1.0, 2.0]);
    let error = kernel::prox(&z, &Penalty::l1(1.0), &tensor(&[1.0])).unwrap_err();
    assert_eq!(error.to_string(), "`step` has shape [1] (expected [2], as the tensor it belongs to)");
    for step in [-1.0, f64::NAN, f64::INFINITY] {
        let error = kernel::prox(&z, &Penalty::l1(1.0), step).unwrap_err();
        assert_eq!(error.to_string(), format!("step = {step} (expected finite and ≥ 0)"));
    }
}

#[test]
fn a_penalty_out_of_its_range_is_refused() {
    let error = kernel::prox(&tensor(&[1.0]), &Penalty::l1(-0.5), 1.0).unwrap_err();
    assert_eq!(error.to_string(), "lambda = -0.5 (expected finite and ≥ 0)");
}

#[test]
fn the_steps_of_half_types_are_not_rounded_to_them() {
    let z = tensor(&[1.0, 100.0]).to_dtype(DType::F16).unwrap();
    let steps = |step: f64| tensor(&[step, step]).to_dtype(DType::F32).unwrap();
    // 1e5 is beyond f16, and 1e-8 is 0 in it.
    assert_eq!(flat(&kernel::prox(&z, &Penalty::l1(1e-4), &steps(1e5)).unwrap()), [0.0, 90.0]);
    let found = flat(&kernel::prox(&z, &Penalty::l1(1e7), &steps(1e-8)).unwrap());
    assert!((found[0] - 0.9).abs() < 5e-4, "{found:?}");
}

#[test]
fn integers_are_refused() {
    let z = Tensor::new(&[1u32, 2], &device()).unwrap();
    let error = kernel::prox(&z, &Penalty::l1(1.0), 1.0).unwrap_err();
    assert!(matches!(error, Error::UnsupportedDType { .. }));
    assert_eq!(
        error.to_string(),
        "`z` has dtype U32 (expected F32, F64, BF16 or F16: cast it with `to_dtype`, or leave it out)"
    );
}

#[test]
fn nan_stays_nan_and_is_never_taken_for_a_zero() {
    for penalty in [Penalty::l1(1.0), Penalty::l1(1.0).with_positive(true), Penalty::ridge(1.0)] {
        assert!(prox(&[f64::NAN], penalty, 1.0)[0].is_nan());
        assert!(kernel::value(&tensor(&[0.0, f64::NAN, -1.0]), &penalty).unwrap().is_nan());
    }
    assert!(flat(&kernel::subgradient(&tensor(&[f64::NAN]), &Penalty::l1(1.0)).unwrap())[0].is_nan());
}

#[test]
fn infinities_keep_their_sign() {
    assert_eq!(prox(&[f64::INFINITY, f64::NEG_INFINITY], Penalty::l1(1.0), 1.0), [f64::INFINITY, f64::NEG_INFINITY]);
}

#[test]
fn the_value_outside_a_sign_constraint_is_infinite() {
    let penalty = Penalty::l1(0.5).with_positive(true);
    assert_eq!(kernel::value(&tensor(&[1.0, 0.0, 3.0]), &penalty).unwrap(), 2.0);
    assert_eq!(kernel::value(&tensor(&[1.0, -1e-300, 3.0]), &penalty).unwrap(), f64::INFINITY);
}

#[test]
fn a_strength_of_zero_charges_nothing_even_for_infinite_weights() {
    assert_eq!(kernel::value(&tensor(&[f64::INFINITY]), &Penalty::l1(0.0)).unwrap(), 0.0);
}

#[test]
fn tensors_without_entries_and_scalars_have_a_value_and_a_prox() {
    let (empty, scalar) = (tensor(&[]), Tensor::new(-3f64, &device()).unwrap());
    assert_eq!(kernel::value(&empty, &Penalty::l1(1.0)).unwrap(), 0.0);
    assert_eq!(kernel::prox(&empty, &Penalty::l1(1.0), 1.0).unwrap().dims(), [0]);
    assert_eq!(kernel::value(&scalar, &Penalty::l1(2.0)).unwrap(), 6.0);
    assert_eq!(kernel::prox(&scalar, &Penalty::l1(2.0), 0.5).unwrap().to_scalar::<f64>().unwrap(), -2.0);
}

#[test]
fn a_transposed_tensor_is_read_in_its_own_order() {
    let z = tensor(&[1.0, -2.0, 3.0, -4.0, 5.0, -6.0]).reshape((2, 3)).unwrap().t().unwrap();
    let steps = tensor(&[0.0, 1.0, 0.0, 1.0, 0.0, 1.0]).reshape((2, 3)).unwrap().t().unwrap();
    let found = kernel::prox(&z, &Penalty::l1(1.0), &steps).unwrap();
    assert_eq!(flat(&found), [1.0, -3.0, -1.0, 5.0, 3.0, -5.0]);
    assert_eq!(kernel::value(&z, &Penalty::l1(1.0)).unwrap(), 21.0);
}

fn penalties() -> impl Strategy<Value = Penalty> {
    let strength = prop_oneof![Just(0.0), 0.0..5.0f64];
    (strength.clone(), strength, any::<bool>())
        .prop_map(|(lambda, l2, positive)| Penalty::l1(lambda).with_l2(l2).with_positive(positive))
}

/// Points of every size, 0 among them.
fn points() -> impl Strategy<Value = f64> {
    prop_oneof![-10.0..10.0f64, Just(0.0), Just(1.0), Just(-1.0), -1e-300..1e-300f64, -1e12..1e12f64]
}

proptest! {
    #[test]
    fn the_prox_satisfies_its_optimality_condition(z in points(), step in 0.0..10.0f64, penalty in penalties()) {
        let u = prox(&[z], penalty, step)[0];
        let threshold = step * penalty.lambda();
        if u == 0.0 {
            // −(u − z)/step ∈ λ[−1, 1], or ≤ λ under the sign constraint
            let distance = if penalty.positive() { z } else { z.abs() };
            prop_assert!(distance <= threshold * (1.0 + f64::EPSILON));
        } else {
            prop_assert!(!penalty.positive() || u > 0.0);
            let residual = u - z + threshold * u.signum() + step * penalty.l2() * u;
            prop_assert!(residual.abs() <= 4.0 * f64::EPSILON * (z.abs() + threshold), "residual {residual:e}");
        }
    }

    #[test]
    fn the_prox_is_a_minimum(z in points(), step in 0.01..10.0f64, penalty in penalties(), other in points()) {
        let u = prox(&[z], penalty, step)[0];
        let other = if penalty.positive() { other.abs() } else { other };
        let objective = |u: f64| {
            (u - z).powi(2) / (2.0 * step) + kernel::value(&tensor(&[u]), &penalty).unwrap()
        };
        // Rounding of the larger terms.
        let slack = tolerance(1e-14) * (objective(other).abs() + z * z / step);
        prop_assert!(objective(u) <= objective(other) + slack);
    }

    #[test]
    fn the_prox_is_non_expansive(a in points(), b in points(), step in 0.0..10.0f64, penalty in penalties()) {
        let u = prox(&[a, b], penalty, step);
        prop_assert!((u[0] - u[1]).abs() <= (a - b).abs() + 2.0 * f64::EPSILON * (a.abs() + b.abs()));
    }

    #[test]
    fn the_prox_keeps_the_sign_and_never_grows(z in points(), step in 0.0..10.0f64, penalty in penalties()) {
        let u = prox(&[z], penalty, step)[0];
        prop_assert!(u * z >= 0.0 && u.abs() <= z.abs());
    }

    #[test]
    fn the_prox_never_grows_with_lambda(z in points(), step in 0.0..10.0f64, a in 0.0..5.0f64, b in 0.0..5.0f64) {
        let at = |lambda: f64| prox(&[z], Penalty::l1(lambda), step)[0].abs();
        prop_assert!(at(a.max(b)) <= at(a.min(b)));
    }

    #[test]
    fn scaling_the_argument_and_lambda_scales_the_prox(z in points(), lambda in 0.0..5.0f64, exponent in -8i32..8) {
        // A power of two, so that scaling rounds nothing.
        let factor = 2f64.powi(exponent);
        let scaled = prox(&[factor * z], Penalty::l1(factor * lambda), 1.0)[0];
        prop_assert_eq!(scaled, factor * prox(&[z], Penalty::l1(lambda), 1.0)[0]);
    }

    #[test]
    fn the_value_is_the_plain_sum(w in prop::collection::vec(-5.0..5.0f64, 0..200), lambda in 0.0..5.0f64, l2 in 0.0..5.0f64) {
        let plain: f64 = w.iter().map(|w| lambda * w.abs() + 0.5 * l2 * w * w).sum();
        let found = kernel::value(&tensor(&w), &Penalty::l1(lambda).with_l2(l2)).unwrap();
        prop_assert!((found - plain).abs() <= tolerance(1e-13) * plain.max(1.0));
    }

    #[test]
    fn the_value_scales_with_the_weights(w in prop::collection::vec(-5.0..5.0f64, 0..50), exponent in -8i32..8) {
        let factor = 2f64.powi(exponent);
        let scaled: Vec<_> = w.iter().map(|w| factor * w).collect();
        let value = |w: &[f64]| kernel::value(&tensor(w), &Penalty::l1(0.75)).unwrap();
        prop_assert_eq!(value(&scaled), factor * value(&w));
    }

    #[test]
    fn the_subgradient_supports_the_value_from_below(w in points(), other in points(), penalty in penalties()) {
        // Ω(v) ≥ Ω(w) + g·(v − w) for convex Ω
        let penalty = penalty.with_positive(false);
        let value = |w: f64| kernel::value(&tensor(&[w]), &penalty).unwrap();
        let g = flat(&kernel::subgradient(&tensor(&[w]), &penalty).unwrap())[0];
        prop_assert!(w != 0.0 || g == 0.0);
        let slack = tolerance(1e-13) * (value(w) + value(other) + (g * (other - w)).abs());
        prop_assert!(value(other) >= value(w) + g * (other - w) - slack);
    }

    #[test]
    fn f32_bf16_and_f16_agree_with_f64_to_their_own_precision(
        z in prop::collection::vec(-10.0..10.0f64, 1..50),
        step in 0.0..4.0f64,
        penalty in penalties(),
    ) {
        for (dtype, epsilon) in [(DType::F32, 1.2e-7), (DType::BF16, 7.9e-3), (DType::F16, 9.8e-4)] {
            let narrow = tensor(&z).to_dtype(dtype).unwrap();
            let found = kernel::prox(&narrow, &penalty, step).unwrap();
            prop_assert_eq!(found.dtype(), dtype);
            let exact = kernel::prox(&narrow.to_dtype(DType::F64).unwrap(), &penalty, step).unwrap();
            for ((found, exact), z) in flat(&found).iter().zip(flat(&exact)).zip(flat(&narrow)) {
                // One rounding to the dtype, and the f32 subtraction of a rounded threshold.
                let bound = epsilon * exact.abs() + 2.4e-7 * (z.abs() + step * penalty.lambda()) + 6e-8;
                prop_assert!((found - exact).abs() <= bound, "{:?}: {} {}", dtype, found, exact);
            }
            let (value, exact) = (kernel::value(&narrow, &penalty).unwrap(),
                kernel::value(&narrow.to_dtype(DType::F64).unwrap(), &penalty).unwrap());
            prop_assert!(value == exact, "the value is summed in f64 whatever the dtype");
        }
    }
}
