//! scikit-learn's lasso and elastic net on the diabetes data, found by the proximal optimizers.
//!
//! λ here is twice scikit-learn's α times its l1_ratio, since candle's mse is the mean of squares without the ½.

use candle_core::{Tensor, Var};
use candle_nn::{Module, Optimizer, loss};
use l1_core::{ParamsProxAdamW, ParamsProxSgd, ProxAdamW, ProxSgd, Regularized};

use crate::models::{Fixture, LinearModel, Single, assert_close, flat, worst, zeros};

struct Problem {
    x: Tensor,
    y: Tensor,
    lambda: f64,
    l2: f64,
    coef: Vec<f64>,
    name: String,
}

fn problems() -> Vec<Problem> {
    let f = Fixture::load("sklearn.safetensors");
    let mut problems = vec![];
    for kind in ["lasso", "enet"] {
        for (index, alpha) in f.numbers(&format!("{kind}.alpha")).into_iter().enumerate() {
            let ratio = if kind == "enet" { f.number("enet.l1_ratio") } else { 1.0 };
            problems.push(Problem {
                x: f.tensor("x").clone(),
                y: f.tensor("y").unsqueeze(1).unwrap(),
                lambda: 2.0 * alpha * ratio,
                l2: 2.0 * alpha * (1.0 - ratio),
                coef: flat(&f.tensor(&format!("{kind}.coef")).get(index).unwrap()),
                name: format!("{kind}, alpha = {alpha}"),
            });
        }
    }
    problems
}

impl Problem {
    fn model(&self) -> (LinearModel, Vec<Var>) {
        let zeros = |shape: &[usize]| Var::zeros(shape, candle_core::DType::F64, self.x.device()).unwrap();
        let (w, b) = (zeros(&[1, 10]), zeros(&[1]));
        (LinearModel::new(&w, &b, self.lambda, self.l2), vec![w, b])
    }

    fn loss(&self, model: &LinearModel) -> Tensor {
        loss::mse(&model.forward(&self.x).unwrap(), &self.y).unwrap()
    }

    fn assert_solved(&self, what: &str, weight: &Var, tolerance: f64) {
        let found = flat(weight);
        assert_close(&format!("{what} on {}", self.name), &found, &self.coef, tolerance);
        assert_eq!(zeros(&found), zeros(&self.coef), "{what} on {}: support", self.name);
    }
}

#[test]
fn prox_sgd_finds_scikit_learns_solution_at_every_momentum() {
    for problem in problems() {
        // The mse's gradient has Lipschitz constant 8.05 on these data.
        for (momentum, nesterov, lr) in [(0.0, false, 0.2), (0.9, false, 0.02), (0.9, true, 0.02)] {
            let (model, vars) = problem.model();
            let params = ParamsProxSgd { lr, momentum, nesterov, ..ParamsProxSgd::new(model.regularizer().unwrap()) };
            let mut opt = ProxSgd::new(vars.clone(), params).unwrap();
            let mut before = vec![];
            while before != flat(&vars[0]) {
                before = flat(&vars[0]);
                for _ in 0..500 {
                    opt.backward_step(&problem.loss(&model)).unwrap();
                }
            }
            problem.assert_solved(&format!("ProxSgd, momentum {momentum}, nesterov {nesterov}"), &vars[0], 1e-6);
        }
    }
}

#[test]
fn prox_adamw_finds_scikit_learns_solution_as_its_learning_rate_falls() {
    for problem in problems() {
        let (model, vars) = problem.model();
        let params = ParamsProxAdamW { lr: 0.01, ..ParamsProxAdamW::new(model.regularizer().unwrap()) };
        let mut opt = ProxAdamW::new(vars.clone(), params).unwrap();
        let steps = 6000;
        for step in 0..steps {
            opt.set_learning_rate(
                0.01 * 0.5 * (1.0 + (std::f64::consts::PI * f64::from(step) / f64::from(steps)).cos()),
            );
            opt.backward_step(&problem.loss(&model)).unwrap();
        }
        problem.assert_solved("ProxAdamW", &vars[0], 1e-5);
    }
}

#[test]
fn the_sign_constraint_finds_scikit_learns_positive_lasso() {
    let f = Fixture::load("sklearn.safetensors");
    let y = f.tensor("y").unsqueeze(1).unwrap();
    for (index, alpha) in f.numbers("lasso.positive.alpha").into_iter().enumerate() {
        let model = Single::new(&[0.0; 10], candle_core::DType::F64, l1_core::Rule::l1(2.0 * alpha).positive(true));
        let params = ParamsProxSgd { lr: 0.1, ..ParamsProxSgd::new(model.regularizer().unwrap()) };
        let mut opt = ProxSgd::new(vec![model.weight.clone()], params).unwrap();
        for _ in 0..5000 {
            let prediction = f.tensor("x").matmul(&model.weight.unsqueeze(1).unwrap()).unwrap();
            opt.backward_step(&loss::mse(&prediction, &y).unwrap()).unwrap();
        }
        let coef = flat(&f.tensor("lasso.positive.coef").get(index).unwrap());
        assert_close("positive lasso", &model.values(), &coef, 1e-6);
        assert_eq!(zeros(&model.values()), zeros(&coef));
    }
}

#[test]
fn logistic_regression_with_a_free_intercept_finds_scikit_learns_solution() {
    let f = Fixture::load("sklearn.safetensors");
    let (x, n) = (f.tensor("logistic.x"), 569.0);
    let labels = f.tensor("logistic.labels").to_dtype(candle_core::DType::F64).unwrap().unsqueeze(1).unwrap();
    for (index, c) in f.numbers("logistic.C").into_iter().enumerate() {
        let zeros_of = |shape: &[usize]| Var::zeros(shape, candle_core::DType::F64, x.device()).unwrap();
        let vars = vec![zeros_of(&[1, 30]), zeros_of(&[1])];
        let model = LinearModel::new(&vars[0], &vars[1], 1.0 / (n * c), 0.0);
        // On the support √v̂ comes to λ, so that lr = 2λ moves by 2∇f: near the longest stable step.
        let params = ParamsProxAdamW { lr: 2.0 / (n * c), ..ParamsProxAdamW::new(model.regularizer().unwrap()) };
        let mut opt = ProxAdamW::new(vars.clone(), params).unwrap();
        let mut before = vec![1e300; 30];
        while worst(&flat(&vars[0]), &before) > 1e-8 {
            before = flat(&vars[0]);
            for _ in 0..500 {
                let logits = model.forward(x).unwrap();
                opt.backward_step(&loss::binary_cross_entropy_with_logit(&logits, &labels).unwrap()).unwrap();
            }
        }
        let coef = flat(&f.tensor("logistic.coef").get(index).unwrap());
        assert_close("logistic coefficients", &flat(&vars[0]), &coef, 1e-5);
        assert_eq!(zeros(&flat(&vars[0])), zeros(&coef));
        assert_close("logistic intercept", &flat(&vars[1]), &f.numbers("logistic.intercept")[index..=index], 1e-5);
    }
}
