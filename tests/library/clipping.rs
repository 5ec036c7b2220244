//! Clipping against `torch.nn.utils`.

use candle_core::{DType, Tensor, Var, backprop::GradStore};
use l1_core::{Error, NonFinite, Norm, clip_grad_norm, clip_grad_norm_with, clip_grad_value};
use tests::device;

use crate::models::{Fixture, assert_close, flat};

/// Variables whose gradients are the given tensors: the gradient of Σ v·g is g.
fn with_gradients(gradients: &[Tensor]) -> (Vec<Var>, GradStore) {
    let vars: Vec<_> = gradients.iter().map(|g| Var::from_tensor(&g.zeros_like().unwrap()).unwrap()).collect();
    let dtype = gradients[0].dtype();
    let mut loss = Tensor::zeros((), dtype, gradients[0].device()).unwrap();
    for (var, gradient) in vars.iter().zip(gradients) {
        loss = (loss + (var.as_tensor() * gradient).unwrap().sum_all().unwrap().to_dtype(dtype).unwrap()).unwrap();
    }
    (vars, loss.backward().unwrap())
}

fn fixture_gradients(f: &Fixture) -> Vec<Tensor> {
    (0..3).map(|index| f.tensor(&format!("norms.g{index}")).clone()).collect()
}

#[test]
fn norms_and_clipped_gradients_are_pytorchs_for_p_1_2_3_and_infinity() {
    let f = Fixture::load("pytorch.safetensors");
    let orders = [("p1", Norm::L1), ("p2", Norm::L2), ("p3", Norm::P(3.0)), ("pinf", Norm::Inf)];
    for (name, norm) in orders.into_iter().chain([("p1", Norm::P(1.0)), ("pinf", Norm::P(f64::INFINITY))]) {
        for bound in ["tight", "loose"] {
            let (vars, mut grads) = with_gradients(&fixture_gradients(&f));
            let total = clip_grad_norm(&mut grads, &vars, f.number(&format!("norms.{bound}")), norm).unwrap();
            assert_close(name, &flat(&total), &f.numbers(&format!("norms.{name}.total")), 1e-12);
            for (index, var) in vars.iter().enumerate() {
                let expected = f.numbers(&format!("norms.{name}.{bound}.g{index}"));
                assert_close(name, &flat(grads.get(var).unwrap()), &expected, 1e-12);
            }
        }
    }
}

#[test]
fn clipping_by_value_is_pytorchs() {
    let f = Fixture::load("pytorch.safetensors");
    let (vars, mut grads) = with_gradients(&fixture_gradients(&f));
    clip_grad_value(&mut grads, &vars, f.number("norms.value")).unwrap();
    for (index, var) in vars.iter().enumerate() {
        assert_eq!(flat(grads.get(var).unwrap()), f.numbers(&format!("norms.clip_value.g{index}")));
    }
}

fn gradients_of(values: &[f64], dtype: DType) -> (Vec<Var>, GradStore) {
    with_gradients(&[Tensor::new(values, &device()).unwrap().to_dtype(dtype).unwrap()])
}

#[test]
fn a_variable_that_is_listed_twice_counts_once() {
    let (vars, mut grads) = gradients_of(&[3.0, -4.0], DType::F64);
    let twice = [vars[0].clone(), vars[0].clone()];
    assert_eq!(clip_grad_norm(&mut grads, &twice, 10.0, Norm::L2).unwrap().to_scalar::<f64>().unwrap(), 5.0);
}

#[test]
fn a_variable_without_a_gradient_counts_nothing() {
    let (mut vars, mut grads) = gradients_of(&[3.0, -4.0], DType::F32);
    vars.push(vars[0].zeros_like().and_then(|zeros| Var::from_tensor(&zeros)).unwrap());
    assert_eq!(clip_grad_norm(&mut grads, &vars, 10.0, Norm::L1).unwrap().to_scalar::<f32>().unwrap(), 7.0);
    assert_eq!(clip_grad_norm(&mut grads, &vars[1..], 10.0, Norm::L1).unwrap().to_scalar::<f32>().unwrap(), 0.0);
}

#[test]
fn half_gradients_are_measured_in_f32_and_rounded_once() {
    for dtype in [DType::BF16, DType::F16] {
        let (vars, mut grads) = gradients_of(&[3.0, -4.0], dtype);
        let norm = clip_grad_norm(&mut grads, &vars, 2.5, Norm::L2).unwrap();
        assert_eq!(norm.to_scalar::<f32>().unwrap(), 5.0);
        let clipped = grads.get(&vars[0]).unwrap();
        assert_eq!(clipped.dtype(), dtype);
        assert_close("clipped", &flat(clipped), &[1.5, -2.0], 2e-7);
    }
}

#[test]
fn a_norm_that_is_not_finite_is_an_error_that_names_the_gradient_and_changes_nothing() {
    for (value, shown) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        for norm in [Norm::L1, Norm::L2, Norm::P(3.0), Norm::Inf] {
            let (vars, mut grads) = gradients_of(&[1.0, value, 2.0], DType::F64);
            // The gradient of v·NaN is NaN only at that entry.
            let before = flat(grads.get(&vars[0]).unwrap());
            let error = clip_grad_norm(&mut grads, &vars, 1.0, norm).unwrap_err();
            assert!(matches!(error, Error::NonFiniteNorm { .. }), "{error}");
            assert!(error.to_string().contains(&format!("holds {shown} at flat index 1")), "{error}");
            let after = flat(grads.get(&vars[0]).unwrap());
            assert_eq!(format!("{after:?}"), format!("{before:?}"));
        }
    }
}

#[test]
fn a_norm_that_is_not_finite_passes_where_the_option_says_so() {
    let (vars, mut grads) = gradients_of(&[1.0, f64::INFINITY], DType::F64);
    let norm = clip_grad_norm_with(&mut grads, &vars, 1.0, Norm::L2, NonFinite::Pass).unwrap();
    assert_eq!(norm.to_scalar::<f64>().unwrap(), f64::INFINITY);
    // As in PyTorch: finite entries are multiplied by 0, infinite ones become NaN.
    let clipped = flat(grads.get(&vars[0]).unwrap());
    assert!(clipped[0] == 0.0 && clipped[1].is_nan());
}

#[test]
fn a_bound_out_of_its_range_is_refused_with_its_value() {
    for bound in [0.0, -1.0, f64::NAN] {
        let (vars, mut grads) = gradients_of(&[3.0, -4.0], DType::F64);
        let error = clip_grad_norm(&mut grads, &vars, bound, Norm::L2).unwrap_err().to_string();
        assert_eq!(error, format!("max_norm = {bound} (expected > 0; ∞ only measures)"));
        let error = clip_grad_value(&mut grads, &vars, bound).unwrap_err().to_string();
        assert_eq!(error, format!("clip_value = {bound} (expected finite and > 0)"));
        assert_eq!(flat(grads.get(&vars[0]).unwrap()), [3.0, -4.0]);
    }
}

#[test]
fn an_infinite_bound_measures_and_changes_nothing() {
    let (vars, mut grads) = gradients_of(&[3.0, -4.0], DType::F64);
    assert_eq!(flat(&clip_grad_norm(&mut grads, &vars, f64::INFINITY, Norm::L2).unwrap()), [5.0]);
    assert_eq!(flat(grads.get(&vars[0]).unwrap()), [3.0, -4.0]);
}

#[test]
fn the_norm_has_the_same_bits_in_any_order_of_the_variables() {
    let gradients: Vec<_> =
        (0..40).map(|i| Tensor::new(&[f64::from(i).exp().recip(), 0.1], &device()).unwrap()).collect();
    for norm in [Norm::L1, Norm::L2, Norm::P(3.0)] {
        let (mut vars, mut grads) = with_gradients(&gradients);
        let mut measure = |vars: &[Var]| flat(&clip_grad_norm(&mut grads, vars, f64::INFINITY, norm).unwrap())[0];
        let forwards = measure(&vars);
        vars.reverse();
        assert_eq!(measure(&vars).to_bits(), forwards.to_bits());
    }
}

#[test]
fn an_order_below_1_is_refused() {
    for p in [0.5, -2.0, f64::NAN] {
        let (vars, mut grads) = gradients_of(&[3.0, -4.0], DType::F64);
        let error = clip_grad_norm(&mut grads, &vars, 1.0, Norm::P(p)).unwrap_err().to_string();
        assert_eq!(error, format!("p = {p} (expected ≥ 1, or ∞)"));
    }
}
