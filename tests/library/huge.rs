//! Numbers at the end of their range: a step stays finite.

use candle_core::{DType, Tensor};
use candle_nn::Optimizer;
use l1_core::{Error, Guard, ParamsProxAdamW, ParamsProxSgd, Penalty, ProxAdamW, ProxSgd, Regularized, Rule, kernel};
use tests::device;

use crate::{
    every_optimizer::EVERY_OPTIMIZER,
    models::{Single, flat, gradients},
};

#[test]
fn the_largest_gradients_of_f32_again_and_again_leave_finite_weights_under_adaptive_rates() {
    let largest = f64::from(f32::MAX);
    let adaptive = EVERY_OPTIMIZER.iter().filter(|(name, _)| !name.contains("Sgd"));
    for (name, make) in adaptive {
        for gradient in [|_: i32| 1.0, |step: i32| if step % 2 == 0 { 1.0 } else { -1.0 }] {
            for guard in [Guard::Before, Guard::InPass] {
                let model = Single::new(&[0.5, -0.5], DType::F32, Rule::l1(1e-3));
                let mut step = make(model.regularizer().unwrap(), vec![model.weight.clone()], guard);
                for index in 0..50 {
                    let values = [gradient(index) * largest, 1.0];
                    let gradient = Tensor::new(&values, model.weight.device()).unwrap().to_dtype(DType::F32).unwrap();
                    step(&gradients([(&model.weight, gradient)])).unwrap();
                }
                let w = model.values();
                assert!(w.iter().all(|w| w.is_finite() && w.abs() < 100.0), "{name}, {guard:?}: {w:?}");
            }
        }
    }
}

#[test]
fn an_infinite_step_of_the_prox_is_one_only_where_there_is_a_penalty() {
    let z = Tensor::new(&[3f64, -4.0], &device()).unwrap();
    let steps = Tensor::new(&[f64::INFINITY, f64::INFINITY], z.device()).unwrap();
    for (penalty, expected) in [
        (Penalty::NONE, [3.0, -4.0]),
        (Penalty::l1(0.1), [0.0, 0.0]),
        (Penalty::ridge(0.1), [0.0, -0.0]),
        (Penalty::non_negative(), [3.0, 0.0]),
    ] {
        for prox in [kernel::prox(&z, &penalty, &steps), kernel::composed::prox(&z, &penalty, (&steps).into())] {
            assert_eq!(flat(&prox.unwrap()), expected, "{penalty}");
        }
    }
}

#[test]
fn a_decay_that_would_turn_the_sign_of_a_weight_is_refused_before_anything_is_written() {
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.0).decay(5.0));
    let regularizer = model.regularizer().unwrap();
    let message = "weight: decay = 5 (expected at most 1/lr: a step takes lr·decay of a weight)";
    let params = ParamsProxAdamW { lr: 0.5, ..ParamsProxAdamW::new(regularizer.clone()) };
    assert_eq!(ProxAdamW::new(vec![model.weight.clone()], params).unwrap_err().to_string(), message);

    let params = ParamsProxSgd { lr: 0.1, ..ParamsProxSgd::new(regularizer) };
    let mut opt = ProxSgd::new(vec![model.weight.clone()], params).unwrap();
    opt.set_learning_rate(0.3);
    let gradient = Tensor::new(&[0f64], model.weight.device()).unwrap();
    let error = Error::from(opt.step(&gradients([(&model.weight, gradient)])).unwrap_err());
    assert_eq!(error.to_string(), message);
    assert_eq!(model.values(), [1.0]);

    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.1));
    let params = ParamsProxSgd { lr: 0.5, weight_decay: 2.1, ..ParamsProxSgd::new(model.regularizer().unwrap()) };
    let error = ProxSgd::new(vec![model.weight.clone()], params).unwrap_err().to_string();
    assert_eq!(error, "weight_decay = 2.1 (expected at most 1/lr: a step takes lr·weight_decay of a weight)");
}
