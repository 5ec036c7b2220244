//! What the proximal optimizers promise: exact zeros, changes at any step. Fixed points: `stationary.rs`.

use candle_core::{DType, Tensor, Var};
use candle_nn::{Optimizer, SGD};
use l1_core::{
    ParamsProxAdamW, ParamsProxSgd, ParamsProximal, ProxAdamW, ProxSgd, Proximal, Regularized, Regularizer, Rule,
};
use tests::device;

use crate::models::{LinearModel, Single, flat, gradients};

/// ½‖w − target‖² in the variable's dtype.
fn distance(w: &Var, target: &[f64]) -> Tensor {
    let target = Tensor::new(target, w.device()).unwrap().to_dtype(w.dtype()).unwrap();
    ((w.as_tensor() - target).unwrap().sqr().unwrap().sum_all().unwrap() * 0.5).unwrap()
}

fn sgd(model: &Single, lr: f64) -> ProxSgd {
    let params = ParamsProxSgd { lr, ..ParamsProxSgd::new(model.regularizer().unwrap()) };
    ProxSgd::new(vec![model.weight.clone()], params).unwrap()
}

fn adamw(model: &Single, lr: f64) -> ProxAdamW {
    let params = ParamsProxAdamW { lr, ..ParamsProxAdamW::new(model.regularizer().unwrap()) };
    ProxAdamW::new(vec![model.weight.clone()], params).unwrap()
}

const TARGET: [f64; 4] = [3.0, 0.5, -2.0, -0.25];
const LASSO: [f64; 4] = [2.0, 0.0, -1.0, 0.0];

#[test]
fn weights_end_at_exact_zeros_in_every_dtype() {
    fn train(mut opt: impl Optimizer, model: &Single, lr: f64) {
        for step in 0..400 {
            opt.set_learning_rate(lr * (1.0 - f64::from(step) / 400.0));
            opt.backward_step(&distance(&model.weight, &TARGET)).unwrap();
        }
    }
    // Half types are rounded after each step; the others end as near as 400 steps bring them.
    for (dtype, tolerance) in [(DType::F64, 1e-7), (DType::F32, 5e-6), (DType::BF16, 4e-2), (DType::F16, 1e-2)] {
        let model = || Single::new(&[0.7, 0.7, 0.7, 0.7], dtype, Rule::l1(1.0));
        let check = |name: &str, model: Single| {
            for (found, expected) in model.values().into_iter().zip(LASSO) {
                let close = if expected == 0.0 { found == 0.0 } else { (found - expected).abs() <= tolerance };
                assert!(close, "{name}, {dtype:?}: {found} {expected}");
            }
        };
        let m = model();
        train(sgd(&m, 0.2), &m, 0.2);
        check("ProxSgd", m);
        let m = model();
        train(adamw(&m, 0.2), &m, 0.2);
        check("ProxAdamW", m);
        let m = model();
        let params = ParamsProximal::new(0.2, m.regularizer().unwrap());
        train(Proximal::<SGD>::new(vec![m.weight.clone()], params).unwrap(), &m, 0.2);
        check("Proximal<SGD>", m);
    }
}

#[test]
fn the_scale_of_lambda_can_change_at_any_step() {
    let model = Single::new(&[0.0; 4], DType::F64, Rule::l1(1.0));
    let mut opt = sgd(&model, 0.5);
    for (scale, expected) in [(1.0, LASSO), (0.25, [2.75, 0.25, -1.75, 0.0]), (0.0, TARGET), (4.0, [0.0; 4])] {
        opt.regularizer_mut().set_scale(scale).unwrap();
        for _ in 0..100 {
            opt.backward_step(&distance(&model.weight, &TARGET)).unwrap();
        }
        for (found, expected) in model.values().into_iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-12 && (found == 0.0) == (expected == 0.0),
                "{scale}: {found} {expected}"
            );
        }
    }
}

#[test]
fn the_regularizer_can_be_replaced_as_a_whole() {
    let model = Single::new(&[0.0; 4], DType::F64, Rule::l1(1.0));
    let mut opt = sgd(&model, 0.5);
    let stronger = Single { weight: model.weight.clone(), rule: Rule::l1(10.0) };
    *opt.regularizer_mut() = stronger.regularizer().unwrap();
    opt.backward_step(&distance(&model.weight, &TARGET)).unwrap();
    assert_eq!(model.values(), [0.0; 4]);
}

#[test]
fn a_learning_rate_of_0_changes_nothing() {
    let model = Single::new(&[1.0, 1e-9], DType::F64, Rule::l1(1.0));
    sgd(&model, 0.0).backward_step(&distance(&model.weight, &[5.0, 5.0])).unwrap();
    adamw(&model, 0.0).backward_step(&distance(&model.weight, &[5.0, 5.0])).unwrap();
    assert_eq!(model.values(), [1.0, 1e-9]);
}

#[test]
fn a_variable_that_is_listed_twice_is_stepped_once() {
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.0));
    let params = ParamsProxSgd { lr: 0.5, ..ParamsProxSgd::new(model.regularizer().unwrap()) };
    let mut opt = ProxSgd::new(vec![model.weight.clone(), model.weight.clone()], params).unwrap();
    opt.backward_step(&distance(&model.weight, &[0.0])).unwrap();
    assert_eq!(model.values(), [0.5]);
}

fn with_bias(f: impl Fn(Regularizer, Vec<Var>) -> Box<dyn FnOnce(&Tensor)>) -> (Vec<f64>, Vec<f64>) {
    let device = device();
    let (w, b) = (Var::new(&[[1f64, -1.0]], &device).unwrap(), Var::new(&[1f64], &device).unwrap());
    let model = LinearModel::new(&w, &b, 1e-12, 0.0);
    let step = f(model.regularizer().unwrap(), vec![w.clone(), b.clone()]);
    // A loss whose gradient is 0: only decay moves anything.
    let loss = ((w.sum_all().unwrap() + b.sum_all().unwrap()).unwrap() * 1e-300).unwrap();
    step(&loss);
    (flat(&w), flat(&b))
}

#[test]
fn weight_decay_never_touches_a_bias() {
    let (w, b) = with_bias(|regularizer, vars| {
        let params = ParamsProxSgd { lr: 0.1, weight_decay: 0.5, ..ParamsProxSgd::new(regularizer) };
        let mut opt = ProxSgd::new(vars, params).unwrap();
        Box::new(move |loss| opt.backward_step(loss).unwrap())
    });
    assert!((w[0] - 0.95).abs() < 1e-11 && (w[1] + 0.95).abs() < 1e-11 && b == [1.0]);
    let (w, b) = with_bias(|regularizer, vars| {
        let params = ParamsProxAdamW { lr: 0.1, weight_decay: 0.5, eps: 1.0, ..ParamsProxAdamW::new(regularizer) };
        let mut opt = ProxAdamW::new(vars, params).unwrap();
        Box::new(move |loss| opt.backward_step(loss).unwrap())
    });
    assert!((w[0] - 0.95).abs() < 1e-11 && (w[1] + 0.95).abs() < 1e-11 && b == [1.0]);
}

#[test]
fn the_learning_rate_can_change_under_momentum_without_moving_the_fixed_point() {
    for nesterov in [false, true] {
        let model = Single::new(&[0.0; 4], DType::F64, Rule::l1(1.0));
        let regularizer = model.regularizer().unwrap();
        let params = ParamsProxSgd { lr: 0.05, momentum: 0.9, nesterov, ..ParamsProxSgd::new(regularizer) };
        let mut opt = ProxSgd::new(vec![model.weight.clone()], params).unwrap();
        for lr in [0.05, 0.02, 0.0, 0.001, 0.05] {
            opt.set_learning_rate(lr);
            for step in 0..400 {
                opt.backward_step(&distance(&model.weight, &TARGET)).unwrap();
                let arrived = lr != 0.05 && step > 0;
                for (found, expected) in model.values().into_iter().zip(LASSO).filter(|_| arrived) {
                    assert!((found - expected).abs() < 1e-6, "lr {lr}, step {step}: {found} {expected}");
                }
            }
        }
    }
}

#[test]
fn an_entry_without_any_gradient_so_far_is_emptied_by_prox_adamw_at_once_as_its_docs_warn() {
    let model = Single::new(&[0.8, -0.5], DType::F32, Rule::l1(1e-4));
    let mut grads = model.weight.sum_all().unwrap().backward().unwrap();
    grads.insert(&model.weight, Tensor::new(&[0.1f32, 0.0], model.weight.device()).unwrap());
    adamw(&model, 1e-3).step(&grads).unwrap();
    let w = model.values();
    assert!((w[0] - 0.799).abs() < 1e-5 && w[1] == 0.0, "{w:?}"); // threshold lr·λ/ε = 10
}

#[test]
fn a_shrinkage_below_half_an_ulp_leaves_a_bf16_weight_where_it_is_and_empties_an_f32_one() {
    // 0.1 in bf16 has its neighbours 2⁻¹¹ = 4.9e-4 away, and lr·λ = 1e-4 is less than half of that.
    let after_1100_steps = |dtype| {
        let model = Single::new(&[0.1], dtype, Rule::l1(0.01));
        let mut opt = sgd(&model, 0.01);
        for _ in 0..1100 {
            opt.step(&gradients([(&model.weight, model.weight.zeros_like().unwrap())])).unwrap();
        }
        model.values()[0]
    };
    assert_eq!(after_1100_steps(DType::F32), 0.0);
    assert_eq!(after_1100_steps(DType::BF16), f64::from(half::bf16::from_f64(0.1)));
}

#[test]
fn a_penalty_of_strength_0_asks_for_no_gradient() {
    let device = device();
    let (w, b) = (Var::new(&[[1f64]], &device).unwrap(), Var::new(&[1f64], &device).unwrap());
    let model = LinearModel::new(&w, &b, 1.0, 0.0);
    let mut opt = ProxSgd::new(vec![w.clone(), b.clone()], ParamsProxSgd::new(model.regularizer().unwrap())).unwrap();
    opt.regularizer_mut().set_scale(0.0).unwrap(); // a warm-up that trains the bias alone
    opt.backward_step(&b.sum_all().unwrap()).unwrap();
    assert_eq!((flat(&w), flat(&b)), (vec![1.0], vec![0.99]));
}

#[test]
fn weight_decay_is_off_unless_asked_for() {
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.0));
    let regularizer = model.regularizer().unwrap();
    assert_eq!(ParamsProxSgd::new(regularizer.clone()).weight_decay, 0.0);
    assert_eq!(ParamsProxAdamW::new(regularizer).weight_decay, 0.0);
}

#[test]
fn an_unpenalized_variable_without_a_gradient_is_left_alone_and_counts_its_own_steps() {
    let device = device();
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.0));
    let late = Var::new(&[1f64], &device).unwrap();
    let params = ParamsProxAdamW { lr: 0.1, ..ParamsProxAdamW::new(model.regularizer().unwrap()) };
    let mut opt = ProxAdamW::new(vec![model.weight.clone(), late.clone()], params).unwrap();
    for _ in 0..5 {
        opt.backward_step(&distance(&model.weight, &[0.0])).unwrap();
    }
    assert_eq!(flat(&late), [1.0]);
    opt.backward_step(&(distance(&model.weight, &[0.0]) + late.sum_all().unwrap()).unwrap()).unwrap();
    // The first Adam step moves by lr whatever the gradient.
    assert!((flat(&late)[0] - 0.9).abs() < 1e-8);
}

#[test]
fn integer_variables_are_passed_over_as_candles_optimizers_do() {
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.5));
    let counter = Var::new(&[7u32], &device()).unwrap();
    let params = ParamsProxSgd::new(model.regularizer().unwrap());
    let mut opt = ProxSgd::new(vec![counter.clone(), model.weight.clone()], params).unwrap();
    opt.backward_step(&distance(&model.weight, &[0.0])).unwrap();
    assert_eq!(counter.to_vec1::<u32>().unwrap(), [7]);
}

#[test]
fn a_gradient_that_is_the_variable_itself_is_no_deadlock() {
    let model = Single::new(&[1.0, -1.0], DType::F64, Rule::l1(0.5));
    let mut grads = model.weight.sum_all().unwrap().backward().unwrap();
    grads.insert(&model.weight, model.weight.as_tensor().clone());
    sgd(&model, 0.5).step(&grads).unwrap();
    assert_eq!(model.values(), [0.25, -0.25]);
}

#[test]
fn a_strided_gradient_is_taken_in_its_own_order() {
    let device = device();
    struct Matrix(Var);
    impl Regularized for Matrix {
        fn visit(&self, visitor: &mut l1_core::Visitor<'_>) -> l1_core::Result<()> {
            visitor.field("weight", Rule::l1(0.0), &self.0)
        }
    }
    let model = Matrix(Var::zeros((2, 2), DType::F64, &device).unwrap());
    let mut grads = model.0.sum_all().unwrap().backward().unwrap();
    grads.insert(&model.0, Tensor::new(&[[1f64, 2.0], [3.0, 4.0]], &device).unwrap().t().unwrap());
    let params = ParamsProxSgd { lr: 1.0, ..ParamsProxSgd::new(model.regularizer().unwrap()) };
    ProxSgd::new(vec![model.0.clone()], params).unwrap().step(&grads).unwrap();
    assert_eq!(flat(&model.0), [-1.0, -3.0, -2.0, -4.0]);
}
