//! λ_max: from it on a fit is empty, below it not; and weights come back to the same bits.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use candle_core::{DType, Tensor, Var};
use l1_core::{Curve, Emptied, Error, Grouping, Regularized, Rule, kernel::Stays};
use tests::device;

use super::{Lasso, Network, matrix, scatter};
use crate::models::{Fixture, Single, assert_close, bits, flat};

/// ½‖w − t‖², whose gradient at 0 is −t.
fn pulled_to(model: &Single, target: &[f64]) -> candle_core::Result<Tensor> {
    let target = Tensor::new(target, &device())?.to_dtype(model.weight.dtype())?;
    model.weight.sub(&target)?.sqr()?.sum_all()? * 0.5
}

#[test]
fn it_is_that_of_other_programs() {
    let (f, peers) = (Fixture::load("sklearn.safetensors"), Fixture::load("least_squares.safetensors"));
    let problem = Lasso::new(f.tensor("x"), &f.tensor("y").unsqueeze(1).unwrap(), Rule::l1(1.0));
    let found = problem.regularizer().unwrap().lambda_max(|| problem.loss()).unwrap();
    // Sums of 442 terms in another order.
    let lambda = found.row("fc.weight").unwrap().emptied.lambda().unwrap();
    assert_close("λ_max", &[lambda], &[peers.number("diabetes.lambda_max")], 1e-13);
}

#[test]
fn at_it_a_fit_is_empty_and_just_below_it_is_not_with_any_curve_and_groups() {
    let target = [3.0, -1.0, 0.5, 2.0, 0.25, -4.0];
    let curves = [Curve::L1, Curve::Mcp(3.0), Curve::Scad(3.7), Curve::Log(0.5)];
    for curve in curves {
        for group in [Grouping::Element, Grouping::Whole] {
            for (element, l2) in [(0.0, 0.0), (0.3, 0.0), (0.0, 0.7)] {
                let mut rule = Rule::l1(0.1).curve(curve).group(group).l2(l2);
                if group == Grouping::Whole {
                    rule = rule.element(element);
                }
                let model = Single::new(&[1.0; 6], DType::F64, rule);
                let regularizer = model.regularizer().unwrap();
                let found = regularizer.lambda_max(|| pulled_to(&model, &target)).unwrap();
                let largest = found.rows[0].emptied.lambda().unwrap();
                // One prox step of length 1 solves ½‖w − t‖² + Ω; a shorter one is what stationarity speaks of under the curves that
                // are not convex.
                for (lambda, is_empty) in [(largest * (1.0 + 1e-12), true), (largest * (1.0 - 1e-9), false)] {
                    let penalty = regularizer.penalized().next().unwrap().1.with_lambda(lambda);
                    let z = Tensor::new(&target.map(|t| 0.01 * t), &device()).unwrap();
                    let u = flat(&l1_core::kernel::prox(&z, &penalty, 0.01).unwrap());
                    assert_eq!(u.iter().all(|u| *u == 0.0), is_empty, "{curve} {group} {element} {l2} {lambda}: {u:?}");
                }
            }
        }
    }
}

#[test]
fn a_group_is_held_as_one_and_the_place_tells_which_holds_out_longest() {
    let (x, y) = (matrix(40, 6, scatter), matrix(40, 1, |i, _| scatter(i, 2) - scatter(i, 3)));
    let problem = Lasso::new(&x, &y, Rule::l1(1.0).group(Grouping::Block(1, 2)));
    let found = problem.regularizer().unwrap().lambda_max(|| problem.loss()).unwrap();
    let Emptied::From { lambda, place: Some(place) } = &found.rows[0].emptied else { panic!("{found}") };
    assert_eq!(place.to_string(), "[0, 2..4]");
    let gradient = problem.loss().unwrap().backward().unwrap().get(&problem.vars[0]).map(flat).unwrap();
    // √2 is the weight of a group of two.
    assert_close("λ_max", &[*lambda], &[gradient[2].hypot(gradient[3]) / 2f64.sqrt()], 1e-14);
}

#[test]
fn other_parameters_keep_their_values_and_all_come_back_to_the_same_bits() {
    let network = Network::new(0.7);
    let special = [f64::from_bits(1), -0.0, 1e300, -1e-300];
    network.vars[2].set(&Tensor::new(&special, &device()).unwrap().reshape((1, 4)).unwrap()).unwrap();
    let before: Vec<_> = network.vars.iter().map(|var| bits(var)).collect();
    let loss = || (network.loss()? * 1e-290)?.sqrt();
    let found = network.regularizer().unwrap().lambda_max(loss).unwrap();
    assert_eq!(found.rows.len(), 2);
    assert_eq!(before, network.vars.iter().map(|var| bits(var)).collect::<Vec<_>>());

    let network = Network::new(0.7);
    let found = network.regularizer().unwrap().lambda_max(|| network.loss()).unwrap();
    network.vars[0].set(&network.vars[0].zeros_like().unwrap()).unwrap();
    let gradient = network.loss().unwrap().backward().unwrap().get(&network.vars[0]).map(flat).unwrap();
    let largest = gradient.iter().fold(0.0, |largest: f64, v| largest.max(v.abs()));
    assert_eq!(found.row("fc1.weight").unwrap().emptied.lambda(), Some(largest));
}

#[test]
fn weights_come_back_after_an_error_and_after_a_panic_of_the_loss() {
    let network = Network::new(0.7);
    let before: Vec<_> = network.vars.iter().map(|var| bits(var)).collect();
    for fails_at in 1..=5 {
        let calls = Cell::new(0);
        let is_due = || {
            calls.set(calls.get() + 1);
            calls.get() == fails_at
        };
        let regularizer = network.regularizer().unwrap();
        let error = || {
            regularizer.lambda_max(|| if is_due() { candle_core::bail!("no data") } else { network.loss() }).map(drop)
        };
        assert!(error().unwrap_err().to_string().contains("no data"));
        assert_eq!(before, network.vars.iter().map(|var| bits(var)).collect::<Vec<_>>(), "error at call {fails_at}");
        calls.set(0);
        let panic = || regularizer.lambda_max(|| if is_due() { panic!("no data") } else { network.loss() }).map(drop);
        assert!(catch_unwind(AssertUnwindSafe(panic)).is_err());
        assert_eq!(before, network.vars.iter().map(|var| bits(var)).collect::<Vec<_>>(), "panic at call {fails_at}");
    }
}

#[test]
fn where_the_gradient_vanishes_there_is_no_number() {
    let network = Network::new(0.0);
    let found = network.regularizer().unwrap().lambda_max(|| network.loss()).unwrap();
    // Behind a hidden layer that is 0, and before an output layer that is 0.
    for row in &found.rows {
        assert_eq!(row.emptied, Emptied::NoGradient { exactly: true }, "{found}");
    }
    assert!(found.to_string().contains("none: its gradient at 0 is 0"), "{found}");
}

#[test]
fn a_gradient_that_is_all_rounding_is_told_from_a_small_one() {
    // A constant target, fitted by the intercept but for rounding.
    let x = matrix(50, 4, scatter);
    let of = |y: &Tensor, intercept: f64, weight: f64| {
        let problem = Lasso::new(&x, y, Rule::l1(1.0));
        problem.vars[0].set(&matrix(1, 4, |_, _| weight)).unwrap();
        problem.vars[1].set(&Tensor::new(&[intercept], &device()).unwrap()).unwrap();
        problem.regularizer().unwrap().lambda_max(|| problem.loss()).unwrap().rows[0].emptied.clone()
    };
    let constant = matrix(50, 1, |_, _| 0.1 + 0.2);
    assert_eq!(of(&constant, 0.3, 0.5), Emptied::NoGradient { exactly: false });
    // Targets in tiny units are no rounding, wherever the weights are.
    for size in [1.0, 1e-9, 1e-40] {
        let y = matrix(50, 1, |i, _| size * scatter(i, 1));
        let lambda = of(&y, 0.0, 0.0).lambda().unwrap();
        assert!(lambda > 0.01 * size && lambda < 10.0 * size, "{lambda}");
    }
}

#[test]
fn a_gradient_of_unscaled_inputs_is_no_rounding_wherever_the_weights_are() {
    // The loss before is 1e6 times that at 0, and far above what a coarse type tells at 0.
    for dtype in [DType::F64, DType::F32, DType::BF16] {
        let x = matrix(50, 2, |i, j| 1e3 * scatter(i, j)).to_dtype(dtype).unwrap();
        let y = matrix(50, 1, |i, _| scatter(i, 0) + scatter(i, 7)).to_dtype(dtype).unwrap();
        let problem = Lasso::new(&x, &y, Rule::l1(1.0));
        let of = |weight: f64| {
            problem.vars[0].set(&matrix(1, 2, |_, _| weight).to_dtype(dtype).unwrap()).unwrap();
            problem.regularizer().unwrap().lambda_max(|| problem.loss()).unwrap().rows[0].emptied.clone()
        };
        assert!(of(0.0).lambda().unwrap() > 100.0, "{dtype:?}");
        assert_eq!(of(1.0), of(0.0), "{dtype:?}");
    }
}

#[test]
fn a_gradient_of_a_target_far_from_0_is_no_rounding() {
    // In f32 the loss before the intercept is fitted is 1e6, of which the last digit is as large as all that the weights explain.
    let x = matrix(50, 2, scatter).to_dtype(DType::F32).unwrap();
    let y = matrix(50, 1, |i, _| 1e3 + 0.3 * scatter(i, 0)).to_dtype(DType::F32).unwrap();
    let problem = Lasso::new(&x, &y, Rule::l1(1.0));
    let fit = |_: &mut l1_core::Fit<'_>| {
        let mean = y.to_dtype(DType::F64)?.mean_all()?.to_dtype(DType::F32)?;
        Ok(problem.vars[1].set(&mean.reshape(1)?)?)
    };
    let path = l1_core::Path::descending(2, 0.5);
    let found = path.scale_max(&problem.regularizer().unwrap(), &problem.vars, || problem.loss(), fit).unwrap();
    assert!((0.01..1.0).contains(&found), "{found}");
}

#[test]
fn an_infinite_slope_at_0_has_a_number_for_a_stated_step_alone() {
    let target = [3.0, -5.0];
    for (curve, expected) in [
        // math.md §4 with n = 5, t = ½.
        (Curve::L0, 0.5 * 25.0 / 2.0),
        (Curve::Half, (2.0f64 * 5.0 / 3.0).powf(1.5) * 0.5f64.sqrt()),
        (Curve::TwoThirds, 1.5 * 2.5f64.powf(4.0 / 3.0) * 0.5f64.cbrt()),
    ] {
        let model = Single::new(&[1.0, 2.0], DType::F64, Rule::l1(0.1).curve(curve));
        let regularizer = model.regularizer().unwrap();
        let found = regularizer.lambda_max(|| pulled_to(&model, &target)).unwrap();
        assert_eq!(found.rows[0].emptied, Emptied::InfiniteSlope);
        let found = regularizer.lambda_max_with(Stays::AfterStep(0.5), || pulled_to(&model, &target)).unwrap();
        // The prox's own threshold, by bisection over a closed form that rounds.
        assert_close(&curve.to_string(), &[found.rows[0].emptied.lambda().unwrap()], &[expected], 1e-14);
        assert!(found.to_string().ends_with("zeros judged by a prox step of length 0.5"), "{found}");
    }
}

#[test]
fn elements_that_hold_a_group_alone_leave_a_lambda_of_0() {
    let rule = Rule::l1(0.1).group(Grouping::Whole).element(6.0);
    let model = Single::new(&[1.0, 2.0], DType::F64, rule);
    let found = model.regularizer().unwrap().lambda_max(|| pulled_to(&model, &[3.0, -5.0])).unwrap();
    assert_eq!(found.rows[0].emptied.lambda(), Some(0.0));
}

#[test]
fn a_gradient_that_is_not_finite_is_no_number() {
    let model = Single::new(&[1.0, 2.0], DType::F64, Rule::l1(0.1));
    let found = model.regularizer().unwrap().lambda_max(|| pulled_to(&model, &[f64::NAN, 1.0])).unwrap();
    assert_eq!(found.rows[0].emptied, Emptied::NotFinite);
    // The slope of a root at 0.
    let found = model.regularizer().unwrap().lambda_max(|| model.weight.sqrt()?.sum_all()).unwrap();
    assert_eq!(found.rows[0].emptied, Emptied::NotFinite);
}

#[test]
fn what_a_certificate_would_refuse_is_refused() {
    let model = Single::new(&[1.0, 2.0], DType::F64, Rule::l1(0.1));
    let regularizer = model.regularizer().unwrap();
    let refused = |loss: &dyn Fn() -> candle_core::Result<Tensor>| regularizer.lambda_max(loss).map(drop).unwrap_err();
    assert!(matches!(refused(&|| pulled_to(&model, &[1.0, 1.0])?.unsqueeze(0)), Error::LossShape { .. }));
    let with_penalty = || pulled_to(&model, &[1.0, 1.0])? + regularizer.penalty()?;
    assert!(matches!(refused(&with_penalty), Error::ChargedTwice { .. }));
    let other = Var::new(1f64, &device()).unwrap();
    assert!(matches!(refused(&|| other.sqr()), Error::MissingGradient { .. }));
    let step = regularizer.lambda_max_with(Stays::AfterStep(-1.0), || pulled_to(&model, &[1.0, 1.0]));
    assert!(matches!(step.map(drop).unwrap_err(), Error::InvalidParameter { name: "step", .. }));
    let nothing = Single::new(&[1.0], DType::F64, Rule::inherit()).regularizer().unwrap();
    assert!(matches!(nothing.lambda_max(|| other.sqr()).map(drop), Err(Error::NothingPenalized { .. })));
}

#[test]
fn half_types_and_empty_tensors_are_asked_too() {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let model = Single::new(&[1.0, 2.0], dtype, Rule::l1(0.1));
        let found = model.regularizer().unwrap().lambda_max(|| pulled_to(&model, &[3.0, -5.0])).unwrap();
        assert_eq!(found.rows[0].emptied.lambda(), Some(5.0), "{dtype:?}");
        assert_eq!(model.values(), [1.0, 2.0]);
    }
}
