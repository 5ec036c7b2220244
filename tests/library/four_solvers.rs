//! Four solvers, one answer: lasso, group lasso and multinomial regression on diabetes and Khan by `Fista`, `ProxSgd`, `ProxAdamW`, and
//! with the penalty in the loss, beside the minima of `penalties_problems.safetensors` (`fixtures/README.md`: which programs found them).

use candle_core::{DType, Result, Tensor, Var};
use candle_nn::{AdamW, Module, Optimizer, ParamsAdamW, encoding::one_hot, loss, ops::softmax};
use l1_core::{
    Fista, Gap, Grouping, LinearLoss, LinearProblem, ParamsFista, ParamsProxAdamW, ParamsProxSgd, ProxAdamW, ProxSgd,
    Regularized, Rule, Stationarity, Visitor,
};
use tests::device;

use crate::{
    duality::Series,
    fista::khan_inputs,
    models::{Fixture, flat, linear, zeros},
};

/// A linear layer, its data, and the minimum as other programs found it.
struct Problem {
    name: String,
    x: Tensor,
    y: Tensor,
    loss: LinearLoss,
    rule: Rule,
    weight: Var,
    bias: Var,
    objective: f64,
    coef: Vec<f64>,
}

impl Regularized for Problem {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("fc", self.rule, &linear(&self.weight, &self.bias))
    }
}

impl Problem {
    /// The problems of the fixture under this prefix, one for each λ; from 0.
    fn all(prefix: &str, rule: Rule) -> Vec<Self> {
        let (fixture, data) = (Fixture::load("penalties_problems.safetensors"), Fixture::load("sklearn.safetensors"));
        let (x, y, loss) = if prefix.starts_with("khan") {
            let (x, y) = khan_inputs();
            (x, y, LinearLoss::Multinomial)
        } else {
            (data.tensor("x").clone(), data.tensor("y").unsqueeze(1).unwrap(), LinearLoss::Squared)
        };
        let outputs = if loss == LinearLoss::Squared { 1 } else { 4 };
        let inputs = x.dim(1).unwrap();
        let minima = Series { fixture: &fixture, prefix: prefix.to_owned() };
        let minima =
            minima.numbers("lambda").into_iter().zip(minima.numbers("objective")).zip(minima.weights(outputs * inputs));
        let problem = |((lambda, objective), coef)| Self {
            name: format!("{prefix}, lambda = {lambda}"),
            x: x.clone(),
            y: y.clone(),
            loss,
            rule: rule.lambda(lambda),
            weight: Var::zeros((outputs, inputs), DType::F64, &device()).unwrap(),
            bias: Var::zeros(outputs, DType::F64, &device()).unwrap(),
            objective,
            coef,
        };
        minima.map(problem).collect()
    }

    fn vars(&self) -> Vec<Var> {
        vec![self.weight.clone(), self.bias.clone()]
    }

    /// candle's loss.
    fn loss(&self) -> Result<Tensor> {
        self.loss_of(&linear(&self.weight, &self.bias).forward(&self.x)?)
    }

    fn loss_of(&self, scores: &Tensor) -> Result<Tensor> {
        match self.loss {
            LinearLoss::Squared => loss::mse(scores, &self.y),
            _ => loss::cross_entropy(scores, &self.y),
        }
    }

    /// candle's loss with a gradient by hand: candle's backward of x·w forms the gradient of x as well, which on 2308 genes takes nearly
    /// all of the time. The certificate below uses candle's.
    fn fast_loss(&self) -> Result<Tensor> {
        let (weight, bias) = (self.weight.as_tensor(), self.bias.as_tensor());
        let scores = self.x.matmul(&weight.detach().t()?)?.broadcast_add(&bias.detach())?;
        let slope = match self.loss {
            LinearLoss::Squared => ((&scores - &self.y)? * (2.0 / scores.elem_count() as f64))?,
            _ => {
                let y = one_hot(self.y.clone(), scores.dim(1)?, 1f64, 0f64)?;
                ((softmax(&scores, 1)? - y)? / scores.dim(0)? as f64)?
            }
        };
        let tangent = ((weight * slope.t()?.matmul(&self.x)?)?.sum_all()? + (bias * slope.sum(0)?)?.sum_all()?)?;
        // Of the tangent 0 is left in the value, and all in the gradient.
        self.loss_of(&scores)? + (&tangent - tangent.detach())
    }

    fn start_at_zero(&self) {
        for var in self.vars() {
            var.set(&var.zeros_like().unwrap()).unwrap();
        }
    }

    fn weights(&self) -> Vec<f64> {
        flat(&self.weight)
    }

    /// How far loss + Ω is above the reference, relative to it.
    fn excess(&self) -> f64 {
        let found = flat(&self.loss().unwrap())[0] + self.regularizer().unwrap().value().unwrap();
        found / self.objective - 1.0
    }

    fn stationarity(&self) -> Stationarity {
        self.regularizer().unwrap().stationarity(&self.loss().unwrap().backward().unwrap()).unwrap()
    }

    fn gap(&self) -> Gap {
        let Self { x: inputs, y: targets, weight, bias, loss, .. } = self;
        let problem = LinearProblem { inputs, targets, weight, bias: Some(bias), loss: *loss };
        self.regularizer().unwrap().duality_gap(&problem).unwrap()
    }

    /// For `--nocapture`: what each solver reached.
    fn print(&self, solver: &str, steps: usize) {
        let (distance, gap) = (self.stationarity().largest(), self.gap().relative);
        let zeros = self.weights().iter().filter(|w| **w == 0.0).count();
        let (name, excess) = (&self.name, self.excess());
        println!(
            "{name}: {solver}, {steps} steps: {excess:+.1e}, distance {distance:.1e}, gap {gap:.1e}, {zeros} zeros"
        );
    }

    /// The objective is known to 1e-13. The distances seen are at most 2e-12, and for `Fista`, which stops at 1e-12, that over λ: 3e-11.
    #[track_caller]
    fn assert_solved(&self, solver: &str, steps: usize) {
        self.print(solver, steps);
        let excess = self.excess().abs();
        assert!(excess <= 1e-12, "{}: {solver} is {excess:e} from the minimum", self.name);
        self.stationarity().assert_below(1e-10).unwrap();
        assert!(self.gap().relative <= 1e-10, "{}: {solver}: {}", self.name, self.gap());
        assert_eq!(zeros(&self.weights()), zeros(&self.coef), "{}: {solver}: zeros", self.name);
    }

    fn by_fista(&self) {
        self.start_at_zero();
        let params = ParamsFista::new(self.regularizer().unwrap(), || self.fast_loss());
        let solution = Fista::new(self.vars(), params).unwrap().minimize(1e-12, 5000).unwrap();
        assert!(solution.converged, "{}: {solution}", self.name);
        self.assert_solved("Fista", solution.iterations);
    }

    /// On the full batch, while the learning rate falls to 0 along half a cosine.
    fn by_prox<O: Optimizer>(&self, solver: &str, steps: usize, optimizer: impl FnOnce(&Self) -> O) {
        self.start_at_zero();
        let fall = |done: f64| 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        train(optimizer(self), steps, fall, || self.fast_loss());
        self.assert_solved(solver, steps);
    }

    fn by_prox_sgd(&self, lr: f64, steps: usize) {
        self.by_prox("ProxSgd", steps, |problem| {
            let regularizer = problem.regularizer().unwrap();
            let params = ParamsProxSgd { lr, momentum: 0.9, nesterov: true, ..ParamsProxSgd::new(regularizer) };
            ProxSgd::new(problem.vars(), params).unwrap()
        });
    }

    fn by_prox_adamw(&self, lr: f64, steps: usize) {
        self.by_prox("ProxAdamW", steps, |problem| {
            let params = ParamsProxAdamW { lr, ..ParamsProxAdamW::new(problem.regularizer().unwrap()) };
            ProxAdamW::new(problem.vars(), params).unwrap()
        });
    }

    /// candle's AdamW on loss + penalty, while the learning rate falls to `last` times the first by the same factor at each step.
    ///
    /// SGD is no choice on Khan: here all 9232 weights move, and the longest stable step is that of all genes, a hundredth of the one
    /// which `Fista` finds for the few that are not 0. It is 2e-2 above the minimum after as many steps; Adam with β₂ = 0.999 2e-3.
    fn by_penalty_in_the_loss(&self, lr: f64, last: f64, steps: usize) {
        self.start_at_zero();
        let params = ParamsAdamW { lr, beta2: 0.9, weight_decay: 0.0, ..ParamsAdamW::default() };
        let opt = AdamW::new(self.vars(), params).unwrap();
        train(opt, steps, |done| last.powf(done), || self.fast_loss()? + self.penalty()?);
        self.print(&format!("penalty in the loss, down to lr {:e}", lr * last), steps);
    }

    fn assert_close_without_zeros(&self) {
        let (excess, weights) = (self.excess(), self.weights());
        assert!((-1e-12..1e-4).contains(&excess), "{}: penalty in the loss: {excess:e}", self.name);
        assert!(weights.iter().all(|w| *w != 0.0), "{}: the penalty in the loss makes no zeros", self.name);
    }
}

fn train(mut opt: impl Optimizer, steps: usize, fall: impl Fn(f64) -> f64, loss: impl Fn() -> Result<Tensor>) {
    let lr = opt.learning_rate();
    for step in 0..steps {
        opt.set_learning_rate(lr * fall(step as f64 / steps as f64));
        opt.backward_step(&loss().unwrap()).unwrap();
    }
}

/// The same answer from all four, on diabetes at every λ.
fn assert_four_agree_on_diabetes(prefix: &str, rule: Rule) {
    for problem in Problem::all(prefix, rule) {
        problem.by_fista();
        // The mse's gradient has Lipschitz constant 8.05.
        problem.by_prox_sgd(0.1, 1500);
        problem.by_prox_adamw(0.1, 1500);
        problem.by_penalty_in_the_loss(0.1, 1e-6, 1500);
        problem.assert_close_without_zeros();
    }
}

#[test]
fn four_solvers_find_the_lasso_on_diabetes() {
    assert_four_agree_on_diabetes("diabetes.l1", Rule::l1(0.0));
}

#[test]
fn four_solvers_find_the_group_lasso_on_diabetes() {
    assert_four_agree_on_diabetes("diabetes.groups", Rule::l1(0.0).group(Grouping::Block(1, 2)));
}

#[test]
fn four_solvers_find_the_multinomial_lasso_on_2308_genes() {
    for problem in Problem::all("khan.l1", Rule::l1(0.0)) {
        problem.by_fista();
        problem.by_prox_sgd(0.5, 3000);
        problem.by_prox_adamw(0.2, 3000);
        problem.by_penalty_in_the_loss(0.01, 1e-6, 2000);
        problem.assert_close_without_zeros();
    }
}

#[test]
fn four_solvers_find_the_multinomial_group_lasso_on_2308_genes() {
    for (index, problem) in Problem::all("khan.groups", Rule::l1(0.0).group(Grouping::Input)).iter().enumerate() {
        problem.by_fista();
        problem.by_prox_sgd(0.5, 2500);
        problem.by_prox_adamw(0.2, 2500);
        if index == 0 {
            problem.by_penalty_in_the_loss(0.01, 1e-6, 1500);
            problem.assert_close_without_zeros();
        }
    }
}

#[test]
fn with_the_penalty_in_the_loss_the_last_learning_rate_is_what_separates_from_the_minimum() {
    // Each of 9219 weights whose place is 0 swings about it by its last steps. More steps do not help, shorter last ones do; zeros come
    // of neither, so that the certificate, which asks |∇f| = λ of a weight that is not 0, is as far from 0 as at the start.
    let problem = Problem::all("khan.l1", Rule::l1(0.0)).remove(0);
    let excess = |last, steps| {
        problem.by_penalty_in_the_loss(0.01, last, steps);
        assert!(problem.stationarity().largest() > 1.0 && problem.weights().iter().all(|w| *w != 0.0));
        problem.excess()
    };
    let short = excess(1e-6, 2000);
    let long = excess(1e-6, 4000);
    let finer = excess(1e-8, 4000);
    assert!(long > 0.5 * short, "twice the steps: {short:e}, {long:e}");
    assert!((50.0..200.0).contains(&(long / finer)), "a hundredth of the last learning rate: {long:e}, {finer:e}");
}
