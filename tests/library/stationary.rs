//! Where the optimizers end on a full batch: at the minimum of loss + Ω, or where `decay` or a Euclidean prox moves that.
//!
//! The problem is the logistic regression of `sklearn.safetensors` with an unpenalized bias; 4 of its 30 weights are not 0 at the minimum.

use candle_core::{DType, Tensor, Var};
use candle_nn::{AdamW, Linear, Module, Optimizer, ParamsAdamW, loss};
use l1_core::{
    FtrlProximal, ParamsFtrl, ParamsProxAdamW, ParamsProxSgd, ParamsProximal, ProxAdamW, ProxSgd, Proximal,
    Regularized, Regularizer,
};

use crate::models::{Fixture, LinearModel, flat};

pub const LAMBDA: f64 = 0.0875;

pub struct Logistic {
    pub x: Tensor,
    labels: Tensor,
    pub weight: Var,
    pub bias: Var,
}

impl Logistic {
    pub fn new() -> Self {
        let f = Fixture::load("sklearn.safetensors");
        let x = f.tensor("logistic.x").clone();
        let labels = f.tensor("logistic.labels").clone();
        let zeros = |shape: &[usize]| Var::zeros(shape, DType::F64, x.device()).unwrap();
        Self { weight: zeros(&[1, 30]), bias: zeros(&[1]), x, labels }
    }

    pub fn vars(&self) -> Vec<Var> {
        vec![self.weight.clone(), self.bias.clone()]
    }

    pub fn model(&self) -> LinearModel {
        LinearModel::new(&self.weight, &self.bias, LAMBDA, 0.0)
    }

    pub fn loss(&self, model: &impl Module) -> Tensor {
        // As a softmax of 0 and the logit: `binary_cross_entropy_with_logit` is NaN where a logit is large.
        let logits = model.forward(&self.x).unwrap();
        let logits = Tensor::cat(&[&logits.zeros_like().unwrap(), &logits], 1).unwrap();
        loss::cross_entropy(&logits, &self.labels).unwrap()
    }

    /// The largest violation of 0 ∈ ∇f + ∂Ω(w), relative to λ, and how many weights are not 0.
    fn violation(&self, lambda: f64) -> (f64, usize) {
        let grads = self.loss(&self.model()).backward().unwrap();
        let at = |var: &Var| flat(grads.get(var).unwrap());
        let distance = |(g, w): (&f64, &f64)| kkt(*g, *w, lambda);
        let w = flat(&self.weight);
        let bias = at(&self.bias)[0].abs();
        let worst = at(&self.weight).iter().zip(&w).map(distance).fold(bias, f64::max);
        (worst / lambda, w.iter().filter(|w| **w != 0.0).count())
    }
}

/// Distance of −g to ∂(λ|w|).
fn kkt(g: f64, w: f64, lambda: f64) -> f64 {
    if w == 0.0 { (g.abs() - lambda).max(0.0) } else { (g + lambda * w.signum()).abs() }
}

/// Steps with a learning rate that falls linearly to 0.
fn train(mut opt: impl Optimizer, steps: usize, loss: impl Fn() -> Tensor) {
    let lr = opt.learning_rate();
    for step in 0..steps {
        opt.set_learning_rate(lr * (1.0 - step as f64 / steps as f64));
        opt.backward_step(&loss()).unwrap();
    }
}

/// Trains on the full batch and asks for the conditions of a minimum to 1e-6·λ.
fn assert_stationary<O: Optimizer>(what: &str, steps: usize, optimizer: impl Fn(Regularizer, Vec<Var>) -> O) {
    let problem = Logistic::new();
    let model = problem.model();
    let opt = optimizer(model.regularizer().unwrap(), problem.vars());
    train(opt, steps, || problem.loss(&model));
    let (violation, nonzeros) = problem.violation(LAMBDA);
    assert!(violation < 1e-6 && nonzeros == 4, "{what}: {violation:e}, {nonzeros} weights are not 0");
}

#[test]
fn prox_sgd_ends_at_the_minimum_with_any_momentum() {
    // With step lr in the prox, momentum 0.9 would stay at a violation of 0.9.
    for (momentum, dampening, nesterov) in [(0.0, 0.0, false), (0.9, 0.0, false), (0.9, 0.5, false), (0.9, 0.0, true)] {
        let lr = if momentum == 0.0 { 1.0 } else { 0.5 };
        let what = format!("momentum {momentum}, dampening {dampening}, nesterov {nesterov}");
        assert_stationary(&what, if momentum == 0.0 { 4000 } else { 1500 }, |regularizer, vars| {
            let params = ParamsProxSgd { lr, momentum, dampening, nesterov, ..ParamsProxSgd::new(regularizer) };
            ProxSgd::new(vars, params).unwrap()
        });
    }
}

#[test]
fn prox_adamw_ends_at_the_minimum_with_and_without_amsgrad() {
    for amsgrad in [false, true] {
        assert_stationary(&format!("amsgrad {amsgrad}"), 2000, |regularizer, vars| {
            let params = ParamsProxAdamW { lr: 0.3, amsgrad, ..ParamsProxAdamW::new(regularizer) };
            ProxAdamW::new(vars, params).unwrap()
        });
    }
}

#[test]
fn ftrl_proximal_ends_at_the_minimum_although_its_rates_fall_by_themselves() {
    assert_stationary("FtrlProximal", 2000, |regularizer, vars| {
        FtrlProximal::new(vars, ParamsFtrl { lr: 10.0, ..ParamsFtrl::new(regularizer) }).unwrap()
    });
}

#[test]
fn a_euclidean_prox_behind_adam_leaves_the_support_all_but_unpenalized() {
    // As the docs of `Proximal` say: where it ends |∇f| is ελ/(1 − λ) on the support instead of λ, and no more at a zero.
    let problem = Logistic::new();
    let model = problem.model();
    let eps = 0.1;
    let adam = ParamsAdamW { lr: 2.0, weight_decay: 0.0, eps, beta2: 0.99, ..Default::default() };
    let params = ParamsProximal::new(adam, model.regularizer().unwrap());
    let opt = Proximal::<AdamW>::new(problem.vars(), params).unwrap();
    train(opt, 3000, || problem.loss(&model));
    let left = eps * LAMBDA / (1.0 - LAMBDA);
    let (violation, nonzeros) = problem.violation(left);
    assert!(violation < 1e-6 && nonzeros > 4, "{violation:e}, {nonzeros} weights are not 0");
    let (of_lambda, _) = problem.violation(LAMBDA);
    assert!((of_lambda - (1.0 - left / LAMBDA)).abs() < 1e-6, "{of_lambda}");
}

/// The same regression with its inputs in three groups, one for each way to be decayed.
#[derive(Regularized)]
#[l1(lambda = Groups::LAMBDA)]
pub struct Groups {
    #[l1(decay = 0.03)]
    declared: Linear,
    #[l1(decay = 0)]
    spared: Linear,
    undeclared: Linear,
}

impl Groups {
    /// Weaker than above, so that every group has a support.
    const LAMBDA: f64 = 0.02;
    /// The optimizer's own.
    pub const WEIGHT_DECAY: f64 = 0.1;

    pub fn new(device: &candle_core::Device) -> Self {
        let zeros = |shape: &[usize]| Var::zeros(shape, DType::F64, device).unwrap().as_tensor().clone();
        let layer = |bias: Option<Tensor>| Linear::new(zeros(&[1, 10]), bias);
        Self { declared: layer(Some(zeros(&[1]))), spared: layer(None), undeclared: layer(None) }
    }

    fn layers(&self) -> [(&Linear, f64); 3] {
        [(&self.declared, 0.03), (&self.spared, 0.0), (&self.undeclared, Self::WEIGHT_DECAY)]
    }

    pub fn vars(&self) -> Vec<Var> {
        let params = self.regularizer().unwrap();
        params.params().iter().map(|param| Var::from_tensor(param.tensor()).unwrap()).collect()
    }

    /// The distance of −∇f to ∂(λ|w| + `excess`) for every weight, relative to λ; the bias is held to ∇f = 0.
    fn violation(&self, problem: &Logistic, excess: impl Fn(f64, f64) -> f64) -> f64 {
        let grads = problem.loss(self).backward().unwrap();
        let at = |tensor: &Tensor| flat(grads.get(tensor).unwrap());
        let mut worst = at(self.declared.bias().unwrap())[0].abs();
        for (layer, decay) in self.layers() {
            let w = flat(layer.weight());
            assert!(w.iter().any(|w| *w != 0.0) && w.contains(&0.0), "a group without a support shows nothing: {w:?}");
            for (g, w) in at(layer.weight()).into_iter().zip(w) {
                worst = worst.max(kkt(g, w, Self::LAMBDA + excess(decay, w.abs())));
            }
        }
        worst / Self::LAMBDA
    }
}

impl Module for Groups {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let part = |index: usize, layer: &Linear| layer.forward(&x.narrow(1, 10 * index, 10)?.contiguous()?);
        part(0, &self.undeclared)? + (part(1, &self.spared)? + part(2, &self.declared)?)?
    }
}

#[test]
fn decay_under_prox_sgd_is_a_ridge_of_decay_over_the_total_weight() {
    for (momentum, nesterov, total) in [(0.0, false, 1.0), (0.9, false, 10.0), (0.9, true, 10.0)] {
        let problem = Logistic::new();
        let model = Groups::new(problem.x.device());
        let params = ParamsProxSgd {
            lr: if momentum == 0.0 { 1.0 } else { 0.5 },
            momentum,
            nesterov,
            weight_decay: Groups::WEIGHT_DECAY,
            ..ParamsProxSgd::new(model.regularizer().unwrap())
        };
        let steps = if momentum == 0.0 { 2000 } else { 1500 };
        train(ProxSgd::new(model.vars(), params).unwrap(), steps, || problem.loss(&model));
        let violation = model.violation(&problem, |decay, w| decay / total * w);
        assert!(violation < 1e-6, "momentum {momentum}: {violation:e}");
    }
}

#[test]
fn decay_under_prox_adamw_exceeds_lambda_by_what_the_theory_gives() {
    // On the full batch √v̂ = |∇f|: |∇f| = (λ + decay·ε|w|)/(1 − decay·|w|) on the support.
    let problem = Logistic::new();
    let model = Groups::new(problem.x.device());
    let eps = 1e-2;
    let params = ParamsProxAdamW {
        lr: 0.3,
        beta2: 0.99, // v̂ has to have arrived as well
        eps,
        weight_decay: Groups::WEIGHT_DECAY,
        ..ParamsProxAdamW::new(model.regularizer().unwrap())
    };
    train(ProxAdamW::new(model.vars(), params).unwrap(), 4000, || problem.loss(&model));
    let violation =
        model.violation(&problem, |decay, w| (Groups::LAMBDA + decay * eps * w) / (1.0 - decay * w) - Groups::LAMBDA);
    assert!(violation < 1e-6, "{violation:e}");
}
