//! The same programs in PyTorch, in f64 from the same start; `fixtures/make.py`.
//!
//! Tolerances: a start that is perturbed by 1e-14 ends within 5e-13 in the worst of these programs, so 1e-10 tells every
//! wrong formula from another order of additions.

use candle_core::{Tensor, Var};
use candle_nn::{AdamW, Module, Optimizer, ParamsAdamW, SGD, loss};
use l1_core::{Norm, ParamsProxAdamW, ParamsProxSgd, ProxAdamW, ProxSgd, Regularized, clip_grad_norm};

use crate::models::{Fixture, LinearModel, MLP_PARAMETERS, Mlp, assert_close, flat, zeros};

const SAME_PROGRAM: f64 = 1e-10;

fn pytorch() -> Fixture {
    Fixture::load("pytorch.safetensors")
}

fn scalar(loss: &Tensor) -> f64 {
    loss.to_scalar().unwrap()
}

#[test]
fn linear_regression_with_the_penalty_in_the_loss_follows_pytorch_step_by_step() {
    let f = pytorch();
    let (w, b) = (f.var("linear.w0"), f.var("linear.b0"));
    let model = LinearModel::new(&w, &b, f.number("linear.lambda"), f.number("linear.l2"));
    let mut opt = SGD::new(vec![w.clone(), b.clone()], f.number("linear.lr")).unwrap();
    let (mut losses, mut weights, mut biases) = (vec![], vec![], vec![]);
    for _ in 0..100 {
        let data = loss::mse(&model.forward(f.tensor("linear.x")).unwrap(), f.tensor("linear.y")).unwrap();
        let loss = (data + model.penalty().unwrap()).unwrap();
        losses.push(scalar(&loss));
        opt.backward_step(&loss).unwrap();
        weights.extend(flat(&w));
        biases.extend(flat(&b));
    }
    assert_close("losses", &losses, &f.numbers("linear.loss"), SAME_PROGRAM);
    assert_close("weights", &weights, &f.numbers("linear.w"), SAME_PROGRAM);
    assert_close("biases", &biases, &f.numbers("linear.b"), SAME_PROGRAM);
}

#[test]
fn adding_the_subgradient_after_backward_is_the_same_program() {
    let f = pytorch();
    let (w, b) = (f.var("linear.w0"), f.var("linear.b0"));
    let model = LinearModel::new(&w, &b, f.number("linear.lambda"), f.number("linear.l2"));
    let regularizer = model.regularizer().unwrap();
    let mut opt = SGD::new(vec![w.clone(), b.clone()], f.number("linear.lr")).unwrap();
    for _ in 0..100 {
        let data = loss::mse(&model.forward(f.tensor("linear.x")).unwrap(), f.tensor("linear.y")).unwrap();
        let grads = regularizer.add_subgradient(data.backward().unwrap()).unwrap();
        opt.step(&grads).unwrap();
    }
    let end = [f.tensor("linear.w"), f.tensor("linear.b")].map(|steps| flat(&steps.get(99).unwrap())).concat();
    assert_close("weights and bias", &[flat(&w), flat(&b)].concat(), &end, SAME_PROGRAM);
}

#[test]
fn an_mlp_under_adamw_with_the_penalty_in_the_loss_ends_where_pytorch_ends() {
    let f = pytorch();
    let (model, vars) = Mlp::start(&f, (f.number("mlp.fc1.lambda"), f.number("mlp.fc2.lambda")), 0.0);
    let params = ParamsAdamW {
        lr: f.number("mlp.lr"),
        beta1: f.number("mlp.beta1"),
        beta2: f.number("mlp.beta2"),
        eps: f.number("mlp.eps"),
        weight_decay: f.number("mlp.weight_decay"),
    };
    let mut opt = AdamW::new(vars.clone(), params).unwrap();
    let mut losses = vec![];
    for _ in 0..100 {
        let data = loss::cross_entropy(&model.forward(f.tensor("mlp.x")).unwrap(), f.tensor("mlp.labels")).unwrap();
        let loss = (data + model.penalty().unwrap()).unwrap();
        losses.push(scalar(&loss));
        opt.backward_step(&loss).unwrap();
    }
    assert_close("losses", &losses, &f.numbers("mlp.loss"), SAME_PROGRAM);
    assert_end(&f, "mlp.end", &vars);
}

#[test]
fn training_with_the_gradients_l1_norm_clipped_follows_pytorch() {
    let f = pytorch();
    let (model, vars) = Mlp::start(&f, (0.0, 0.0), 0.0);
    let mut opt = SGD::new(vars.clone(), f.number("clip.lr")).unwrap();
    let (mut losses, mut norms) = (vec![], vec![]);
    for _ in 0..100 {
        let loss = loss::cross_entropy(&model.forward(f.tensor("mlp.x")).unwrap(), f.tensor("mlp.labels")).unwrap();
        losses.push(scalar(&loss));
        let mut grads = loss.backward().unwrap();
        norms.push(scalar(&clip_grad_norm(&mut grads, &vars, f.number("clip.max_norm"), Norm::L1).unwrap()));
        opt.step(&grads).unwrap();
    }
    assert_close("losses", &losses, &f.numbers("clip.loss"), SAME_PROGRAM);
    assert_close("norms", &norms, &f.numbers("clip.norm"), SAME_PROGRAM);
    assert_end(&f, "clip.end", &vars);
}

#[test]
fn prox_adamw_follows_its_formula_written_in_torch_operations() {
    let f = pytorch();
    let at = |name: &str| f.number(&format!("prox.adamw.{name}"));
    let (model, vars) = Mlp::start(&f, (at("fc1.lambda"), at("fc2.lambda")), at("fc2.l2"));
    let regularizer = model.regularizer().unwrap();
    let mut opt =
        ProxAdamW::new(vars.clone(), ParamsProxAdamW { lr: at("lr"), ..ParamsProxAdamW::new(regularizer) }).unwrap();
    let mut losses = vec![];
    for _ in 0..60 {
        let loss = loss::cross_entropy(&model.forward(f.tensor("mlp.x")).unwrap(), f.tensor("mlp.labels")).unwrap();
        losses.push(scalar(&loss));
        opt.backward_step(&loss).unwrap();
    }
    assert_close("losses", &losses, &f.numbers("prox.adamw.loss"), SAME_PROGRAM);
    assert_end(&f, "prox.adamw.end", &vars);
    for (name, var) in MLP_PARAMETERS.iter().zip(&vars) {
        assert_eq!(zeros(&flat(var)), zeros(&f.numbers(&format!("prox.adamw.end.{name}"))), "zeros of {name}");
    }
}

#[test]
fn prox_sgd_with_momentum_follows_its_formula_written_in_torch_operations() {
    let f = pytorch();
    let (w, b) = (f.var("linear.w0"), f.var("linear.b0"));
    let model = LinearModel::new(&w, &b, f.number("prox.sgd.lambda"), 0.0);
    let params = ParamsProxSgd {
        lr: f.number("prox.sgd.lr"),
        momentum: f.number("prox.sgd.momentum"),
        ..ParamsProxSgd::new(model.regularizer().unwrap())
    };
    let mut opt = ProxSgd::new(vec![w.clone(), b.clone()], params).unwrap();
    for _ in 0..60 {
        let data = loss::mse(&model.forward(f.tensor("linear.x")).unwrap(), f.tensor("linear.y")).unwrap();
        opt.backward_step(&data).unwrap();
    }
    let end = ["w", "b"].map(|part| f.numbers(&format!("prox.sgd.{part}"))).concat();
    assert_close("weights and bias", &[flat(&w), flat(&b)].concat(), &end, SAME_PROGRAM);
    assert_eq!(zeros(&flat(&w)), zeros(&f.numbers("prox.sgd.w")));
}

/// Runs an optimizer on the unpenalized least-squares problem; the λ of 0 is there so that it is accepted.
fn unpenalized<O: Optimizer>(f: &Fixture, name: &str, make: impl Fn(l1_core::Regularizer, Vec<Var>) -> O) {
    for (suffix, steps) in [("10", 10), ("", 200)] {
        let (w, b) = (f.var("linear.w0"), f.var("linear.b0"));
        let model = LinearModel::new(&w, &b, 0.0, 0.0);
        let mut opt = make(model.regularizer().unwrap(), vec![w.clone(), b.clone()]);
        for _ in 0..steps {
            let data = loss::mse(&model.forward(f.tensor("linear.x")).unwrap(), f.tensor("linear.y")).unwrap();
            opt.backward_step(&data).unwrap();
        }
        // The targets have mean 0, so that the bias ends at 0: it is measured beside the weights.
        let end = ["w", "b"].map(|part| f.numbers(&format!("{name}.{part}{suffix}"))).concat();
        assert_close(name, &[flat(&w), flat(&b)].concat(), &end, 1e-12);
    }
}

#[test]
fn without_a_penalty_prox_sgd_is_pytorchs_sgd() {
    let f = pytorch();
    for name in ["sgd.momentum", "sgd.dampening", "sgd.nesterov"] {
        let at = |key: &str| f.number(&format!("{name}.{key}"));
        unpenalized(&f, name, |regularizer, vars| {
            let params = ParamsProxSgd {
                lr: at("lr"),
                momentum: at("momentum"),
                dampening: at("dampening"),
                nesterov: at("nesterov") == 1.0,
                ..ParamsProxSgd::new(regularizer)
            };
            ProxSgd::new(vars, params).unwrap()
        });
    }
}

#[test]
fn without_a_penalty_prox_adamw_is_pytorchs_adamw() {
    let f = pytorch();
    unpenalized(&f, "adamw", |regularizer, vars| {
        ProxAdamW::new(vars, ParamsProxAdamW { lr: f.number("adamw.lr"), ..ParamsProxAdamW::new(regularizer) }).unwrap()
    });
}

fn assert_end(f: &Fixture, part: &str, vars: &[Var]) {
    for (name, var) in MLP_PARAMETERS.iter().zip(vars) {
        assert_close(name, &flat(var), &f.numbers(&format!("{part}.{name}")), SAME_PROGRAM);
    }
}
