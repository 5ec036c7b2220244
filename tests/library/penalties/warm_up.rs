//! A scale of 0 for some steps, then the penalty: what an optimizer remembers has to fit it all the same.

use candle_core::{DType, Var};
use candle_nn::Optimizer;
use l1_core::{Curve, FtrlProximal, Grouping, ParamsFtrl, ParamsProxAdamW, Penalty, ProxAdamW, Regularized, kernel};

use super::{losses::Model, tensor};
use crate::models::{flat, gradients};

const DIMS: [usize; 2] = [4, 6];

/// Numbers of both signs and many sizes, none of them 0.
fn waves(seed: f64) -> Vec<f64> {
    (0..24).map(|i| (seed + f64::from(i) * 1.7).sin()).collect()
}

fn model(penalty: Penalty) -> Model {
    Model::new(&tensor(&waves(1.0), &DIMS, DType::F64), penalty)
}

/// Steps on ever the same gradients.
fn steps(opt: &mut impl Optimizer, weight: &Var, count: usize) {
    let gradient = tensor(&waves(2.0), &DIMS, DType::F64);
    let grads = gradients([(weight, (gradient * 0.1).unwrap())]);
    (0..count).for_each(|_| opt.step(&grads).unwrap());
}

#[test]
fn what_ftrl_has_charged_keeps_its_groups_and_its_curve_while_the_scale_is_0() {
    let rows = Penalty::l1(1e3).with_group(Grouping::Dim(0));
    let beyond_the_knee = Penalty::l1(1e-9).with_curve(Curve::Mcp(1.001));
    for (penalty, stays_zero) in [(rows, true), (beyond_the_knee, false)] {
        let model = model(penalty);
        let mut opt =
            FtrlProximal::new(vec![model.weight.clone()], ParamsFtrl::new(model.regularizer().unwrap())).unwrap();
        steps(&mut opt, &model.weight, 5);
        let before = flat(&model.weight);
        opt.regularizer_mut().set_scale(0.0).unwrap();
        steps(&mut opt, &model.weight, 1);
        let after = flat(&model.weight);
        // Rows that have been charged thousands stay empty; weights beyond a knee have been charged nothing and are still near.
        let is_right =
            |(before, after): (&f64, &f64)| if stays_zero { *after == 0.0 } else { (before - after).abs() < 0.5 };
        assert!(before.iter().zip(&after).all(is_right), "{penalty}: {before:?} {after:?}");
    }
}

#[test]
fn a_matrix_has_one_second_moment_from_the_first_step_on() {
    let penalty = Penalty::l1(0.05).with_group(Grouping::Singular);
    let run = |warm_up: usize| {
        let model = model(penalty);
        let params = ParamsProxAdamW { lr: 1e-3, ..ParamsProxAdamW::new(model.regularizer().unwrap()) };
        let mut opt = ProxAdamW::new(vec![model.weight.clone()], params).unwrap();
        opt.regularizer_mut().set_scale(0.0).unwrap();
        let before = flat(&model.weight);
        steps(&mut opt, &model.weight, warm_up);
        (before, flat(&model.weight))
    };
    // With one p for all, a step without a penalty goes along the gradient.
    let (before, after) = run(1);
    let gradient = waves(2.0);
    let ratio = |i: usize| (before[i] - after[i]) / gradient[i];
    assert!((1..24).all(|i| (ratio(i) / ratio(0) - 1.0).abs() < 1e-9), "{before:?} {after:?}");
}

#[test]
fn a_matrix_that_has_no_singular_values_stays_visible_as_what_it_is() {
    let penalty = Penalty::l1(0.05).with_group(Grouping::Singular);
    let model = model(penalty);
    let mut opt =
        ProxAdamW::new(vec![model.weight.clone()], ParamsProxAdamW::new(model.regularizer().unwrap())).unwrap();
    let mut weights = flat(&model.weight);
    weights[3] = f64::NAN;
    model.weight.set(&tensor(&weights, &DIMS, DType::F64)).unwrap();
    steps(&mut opt, &model.weight, 1);
    assert!(flat(&model.weight)[3].is_nan());
    assert!(kernel::value(&model.weight, &penalty).unwrap().is_nan());
}
