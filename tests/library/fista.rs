//! FISTA: other programs' solutions to their last digits, the conditions of a minimum, and what an error leaves behind.

use std::{cell::Cell, path::Path};

use candle_core::{DType, Result, Tensor, Var};
use candle_nn::{Module, Optimizer, loss};
use l1_core::{Error, Fista, ParamsFista, ParamsProxSgd, ProxSgd, Regularized, Rule, Solution, Visitor};
use tests::{device, tolerance};

use crate::models::{Fixture, LinearModel, Single, assert_close, flat, zeros};

type Loss = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// A linear model with a free intercept, from 0, on the full batch.
struct Problem {
    model: LinearModel,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    rule: Rule,
    /// Weight and intercept.
    vars: Vec<Var>,
}

impl Regularized for Problem {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("fc", self.rule, &self.model.fc)
    }
}

impl Problem {
    fn new(x: &Tensor, y: &Tensor, loss: Loss, rule: Rule) -> Self {
        let vars = [&[1, x.dim(1).unwrap()][..], &[1]].map(|shape| Var::zeros(shape, x.dtype(), x.device()).unwrap());
        let (x, y) = (x.clone(), y.to_dtype(x.dtype()).unwrap().unsqueeze(1).unwrap());
        Self { model: LinearModel::new(&vars[0], &vars[1], 0.0, 0.0), x, y, loss, rule, vars: vars.into() }
    }

    fn loss(&self) -> Result<Tensor> {
        (self.loss)(&self.model.forward(&self.x)?, &self.y)
    }

    /// `loss::mse` with a gradient by hand. candle's backward of x·w forms the gradient of x as well; on 2308 genes that takes
    /// nearly all of the time.
    fn mean_squares(&self) -> Result<Tensor> {
        let (weight, intercept) = (self.vars[0].as_tensor(), self.vars[1].as_tensor());
        let prediction = self.x.matmul(&weight.detach().t()?)?.broadcast_add(&intercept.detach())?;
        let residual = (prediction - &self.y)?;
        let slope = (residual.t()? * (2.0 / residual.elem_count() as f64))?;
        let tangent = ((weight * slope.matmul(&self.x)?)?.sum_all()? + (intercept * slope.sum(1)?)?.sum_all()?)?;
        // Of the tangent 0 is left in the value, and all in the gradient.
        residual.sqr()?.mean_all()? + (&tangent - tangent.detach())
    }

    fn fista(&self, lr: f64) -> Fista<impl Fn() -> Result<Tensor>> {
        self.fista_of(lr, || self.loss())
    }

    fn fista_of<F: Fn() -> Result<Tensor>>(&self, lr: f64, loss: F) -> Fista<F> {
        let params = ParamsFista { lr, ..ParamsFista::new(self.regularizer().unwrap(), loss) };
        Fista::new(self.vars.clone(), params).unwrap()
    }

    fn weight(&self) -> Vec<f64> {
        flat(&self.vars[0])
    }

    fn intercept(&self) -> f64 {
        flat(&self.vars[1])[0]
    }

    /// f + Ω by `Regularizer`, apart from what FISTA reports.
    fn objective(&self) -> f64 {
        flat(&self.loss().unwrap())[0] + self.regularizer().unwrap().value().unwrap()
    }

    fn start_at(&self, weight: impl Fn(usize) -> f64, intercept: f64) {
        let values: Vec<_> = (0..self.vars[0].elem_count()).map(weight).collect();
        let values = Tensor::from_vec(values, self.vars[0].shape(), self.x.device()).unwrap();
        self.vars[0].set(&values.to_dtype(self.x.dtype()).unwrap()).unwrap();
        self.vars[1]
            .set(&Tensor::new(&[intercept], self.x.device()).unwrap().to_dtype(self.x.dtype()).unwrap())
            .unwrap();
    }
}

/// Solves the problem, and compares with a reference: zeros, weights, intercept, objective.
#[track_caller]
fn assert_solved(problem: &Problem, reference: (&[f64], f64), on_cpu: f64, name: &str) -> Solution {
    let solution = problem.fista(1.0).minimize(1e-12, 20_000).unwrap();
    assert_solution(problem, solution, reference, on_cpu, name);
    solution
}

#[track_caller]
fn assert_solution(problem: &Problem, solution: Solution, reference: (&[f64], f64), on_cpu: f64, name: &str) {
    let (weight, intercept) = reference;
    assert!(solution.converged, "{name}: {solution:?}");
    let (found, found_intercept, objective) = (problem.weight(), problem.intercept(), problem.objective());
    assert_eq!(zeros(&found), zeros(weight), "{name}: zeros");
    assert_close(name, &found, weight, on_cpu);
    let scale = weight.iter().fold(intercept.abs(), |scale, w| scale.max(w.abs()));
    assert!((found_intercept - intercept).abs() <= tolerance(on_cpu) * scale, "{name}: intercept {found_intercept}");
    assert!((solution.objective - objective).abs() <= tolerance(1e-14) * objective, "{name}: {solution:?} {objective}");
    problem.start_at(|index| weight[index], intercept);
    let least = problem.objective();
    // Both are minima to nearly all digits; the objective is flat there.
    assert!((solution.objective - least).abs() <= tolerance(1e-13) * least, "{name}: {} {least}", solution.objective);
    problem.start_at(|index| found[index], found_intercept);
}

/// The Khan tumours: standardized genes, and classes.
pub fn khan_inputs() -> (Tensor, Tensor) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/khan.safetensors");
    let data = candle_core::safetensors::load(path, &device()).unwrap();
    let x = &data["x_train"];
    let centred = x.broadcast_sub(&x.mean_keepdim(0).unwrap()).unwrap();
    let deviation = centred.sqr().unwrap().mean_keepdim(0).unwrap().sqrt().unwrap();
    (centred.broadcast_div(&deviation).unwrap(), data["y_train"].clone())
}

/// One class of them against the rest.
fn khan() -> (Tensor, Vec<Tensor>) {
    let (x, classes) = khan_inputs();
    let target = |class: u32| {
        let is_class = classes.eq(class).unwrap().to_dtype(DType::F64).unwrap();
        ((is_class * 2.0).unwrap() - 1.0).unwrap()
    };
    (x, (0..4).map(target).collect())
}

fn breast_cancer(f: &Fixture) -> (&Tensor, &Tensor) {
    (f.tensor("logistic.x"), f.tensor("logistic.labels"))
}

#[test]
fn lasso_and_elastic_net_on_diabetes_end_at_scikit_learns_solution() {
    let (f, data) = (Fixture::load("least_squares.safetensors"), Fixture::load("sklearn.safetensors"));
    let check = |rule: Rule, coef: &Tensor, intercept: f64, objective: f64, name: &str| {
        let problem = Problem::new(data.tensor("x"), data.tensor("y"), loss::mse, rule);
        // A residual r leaves r/μ, μ being the Hessian's smallest eigenvalue on the support: 0.11 here, the largest weight 0.2.
        let solution = assert_solved(&problem, (&flat(coef), intercept), 1e-10, name);
        assert!(
            (solution.objective - objective).abs() <= tolerance(1e-13) * objective,
            "{name}: {solution:?} {objective}"
        );
    };
    let lasso = |key: &str| f.numbers(&format!("diabetes.lasso.{key}"));
    for (index, lambda) in lasso("lambda").into_iter().enumerate() {
        let coef = f.tensor("diabetes.lasso.coef").get(index).unwrap();
        let name = format!("diabetes lasso, lambda = {lambda}");
        check(Rule::l1(lambda), &coef, lasso("intercept")[index], lasso("objective")[index], &name);
    }
    let enet = |key: &str| f.number(&format!("diabetes.enet.{key}"));
    let rule = Rule::l1(enet("lambda")).l2(enet("l2"));
    check(rule, f.tensor("diabetes.enet.coef"), enet("intercept"), enet("objective"), "diabetes elastic net");
}

#[test]
fn the_lasso_on_2308_genes_ends_at_scikit_learns_solution() {
    let f = Fixture::load("least_squares.safetensors");
    let (x, targets) = khan();
    let of = |key: &str, class: usize| flat(&f.tensor(key).get(class).unwrap());
    for (class, y) in targets.iter().enumerate() {
        let mut start: Option<Problem> = None;
        for (index, lambda) in of("khan.lambda", class).into_iter().enumerate() {
            let problem = Problem::new(&x, y, loss::mse, Rule::l1(lambda));
            // From the larger λ's solution, as a path is followed.
            if let Some(start) = start {
                let weight = start.weight();
                problem.start_at(|index| weight[index], start.intercept());
            }
            let coef = flat(&f.tensor("khan.coef").get(class).unwrap().get(index).unwrap());
            let name = format!("khan, class {class}, lambda = {lambda}");
            let solution = problem.fista_of(1.0, || problem.mean_squares()).minimize(1e-12, 20_000).unwrap();
            // 1e-12/μ, μ = 0.065 at least, the largest weight 0.09 at least.
            assert_solution(&problem, solution, (&coef, of("khan.intercept", class)[index]), 1e-9, &name);
            // By candle's gradient; both are rounded.
            let violation = violation(&problem, lambda);
            assert!(violation <= 1.1e-12, "{name}: {violation:e}");
            let objective = of("khan.objective", class)[index];
            assert!(
                (solution.objective - objective).abs() <= tolerance(1e-13) * objective,
                "{name}: {solution:?} {objective}"
            );
            start = Some(problem);
        }
    }
}

#[test]
fn the_sign_constraint_ends_at_scikit_learns_positive_lasso() {
    let f = Fixture::load("sklearn.safetensors");
    for (index, alpha) in f.numbers("lasso.positive.alpha").into_iter().enumerate() {
        let rule = Rule::l1(2.0 * alpha).positive(true);
        let problem = Problem::new(f.tensor("x"), f.tensor("y"), loss::mse, rule);
        problem.start_at(|_| -1.0, 0.0);
        let coef = flat(&f.tensor("lasso.positive.coef").get(index).unwrap());
        let intercept = f.numbers("lasso.positive.intercept")[index];
        // 1e-12/μ, μ = 0.72 at least.
        let _ = assert_solved(&problem, (&coef, intercept), 1e-10, &format!("positive lasso, alpha = {alpha}"));
    }
}

#[test]
fn sparse_logistic_regression_ends_at_scikit_learns_solution() {
    let f = Fixture::load("sklearn.safetensors");
    let (x, labels) = breast_cancer(&f);
    for (index, c) in f.numbers("logistic.C").into_iter().enumerate() {
        let problem = Problem::new(x, labels, loss::binary_cross_entropy_with_logit, Rule::l1(1.0 / (569.0 * c)));
        let coef = flat(&f.tensor("logistic.coef").get(index).unwrap());
        let intercept = f.numbers("logistic.intercept")[index];
        // scikit-learn's: saga stops when a pass moves no weight by more than 1e-12 of the largest. The Hessian's smallest
        // eigenvalue on the support is 0.001, so that passes contract slowly; it is 4e-10 away (as from a residual of 1e-16).
        let _ = assert_solved(&problem, (&coef, intercept), 1e-9, &format!("logistic, C = {c}"));
    }
}

/// The largest violation of 0 ∈ ∇f + ∂(λ‖w‖₁) over weights and intercept.
fn violation(problem: &Problem, lambda: f64) -> f64 {
    let grads = problem.loss().unwrap().backward().unwrap();
    let [gradient, intercept] = [0, 1].map(|index| flat(grads.get(&problem.vars[index]).unwrap()));
    let violations = gradient.iter().zip(problem.weight()).map(|(g, w)| match w {
        0.0 => (g.abs() - lambda).max(0.0),
        w => (g + lambda * w.signum()).abs(),
    });
    violations.fold(intercept[0].abs(), f64::max)
}

#[test]
fn the_conditions_of_a_minimum_hold_up_to_the_residual() {
    let f = Fixture::load("sklearn.safetensors");
    let (x, labels) = breast_cancer(&f);
    for tolerance in [1e-3, 1e-6, 1e-9, 1e-13] {
        let problem = Problem::new(x, labels, loss::binary_cross_entropy_with_logit, Rule::l1(0.02));
        let solution = problem.fista(1.0).minimize(tolerance, 20_000).unwrap();
        let violation = violation(&problem, 0.02);
        assert!(solution.converged && violation <= solution.residual, "{violation:e} {solution:?}");
        assert!(solution.residual <= tolerance);
    }
}

#[test]
fn every_start_and_every_first_step_end_at_the_same_point() {
    let f = Fixture::load("sklearn.safetensors");
    let (x, labels) = breast_cancer(&f);
    let solve = |lr: f64, far: f64| {
        let problem = Problem::new(x, labels, loss::binary_cross_entropy_with_logit, Rule::l1(0.02));
        problem.start_at(|index| far * (index as f64).sin(), -far);
        let solution = problem.fista(lr).minimize(1e-13, 20_000).unwrap();
        assert!(solution.converged, "lr = {lr}, start {far}: {solution:?}");
        problem.weight()
    };
    let expected = solve(1.0, 0.0);
    // The first steps along 1e300·∇f end where the loss is NaN; 1e-4 is a hundred thousandth of the step that suits.
    for (lr, far) in [(1e300, 0.0), (1e-4, 0.0), (1.0, 1.0), (1e300, -1.0), (1e-2, 1.0)] {
        let found = solve(lr, far);
        assert_eq!(zeros(&found), zeros(&expected), "lr = {lr}, start {far}");
        // 1e-13/μ twice, μ = 0.0029, the largest weight 2.1.
        assert_close(&format!("lr = {lr}, start {far}"), &found, &expected, 1e-10);
    }
}

/// A training loop as written for candle's optimizers.
fn train(opt: &mut impl Optimizer, loss: impl Fn() -> Result<Tensor>, steps: usize) -> Result<()> {
    for _ in 0..steps {
        opt.backward_step(&loss()?)?;
    }
    Ok(())
}

#[test]
fn a_training_loop_makes_the_iterations_of_minimize() {
    let f = Fixture::load("sklearn.safetensors");
    let problem = || Problem::new(f.tensor("x"), f.tensor("y"), loss::mse, Rule::l1(0.1));
    let (in_a_loop, minimized) = (problem(), problem());
    train(&mut in_a_loop.fista(1.0), || in_a_loop.loss(), 60).unwrap();
    let _ = minimized.fista(1.0).minimize(0.0, 60).unwrap();
    assert_eq!(in_a_loop.weight(), minimized.weight());
    assert_eq!(in_a_loop.intercept(), minimized.intercept());
    // 60 iterations bring the residual near 1e-9.
    let solution = minimized.fista(1.0).minimize(1e-13, 1000).unwrap();
    assert!(solution.converged);
    assert_eq!(zeros(&in_a_loop.weight()), zeros(&minimized.weight()));
    assert_close("after 60 steps", &in_a_loop.weight(), &minimized.weight(), 1e-6);
}

#[test]
fn momentum_saves_most_of_the_iterations_where_the_problem_is_ill_conditioned() {
    // The Hessian's eigenvalues are 8.05 to 0.017.
    let f = Fixture::load("sklearn.safetensors");
    let problem = || Problem::new(f.tensor("x"), f.tensor("y"), loss::mse, Rule::l1(0.02));
    let (plain, fast) = (problem(), problem());
    let solution = fast.fista(1.0).minimize(1e-8, 10_000).unwrap();
    let params = ParamsProxSgd { lr: 1.0 / 8.05, ..ParamsProxSgd::new(plain.regularizer().unwrap()) };
    let mut opt = ProxSgd::new(plain.vars.clone(), params).unwrap();
    let mut steps = 0;
    while violation(&plain, 0.02) > violation(&fast, 0.02) {
        train(&mut opt, || plain.loss(), 1).unwrap();
        steps += 1;
    }
    assert!(5 * solution.iterations < steps, "{solution:?}, {steps} steps");
}

#[test]
fn an_iteration_takes_two_evaluations_and_every_halving_one() {
    let f = Fixture::load("sklearn.safetensors");
    let problem = Problem::new(f.tensor("x"), f.tensor("y"), loss::mse, Rule::l1(0.1));
    let calls = Cell::new(0);
    let loss = || {
        calls.set(calls.get() + 1);
        problem.loss()
    };
    let params = ParamsFista { lr: 0.1, ..ParamsFista::new(problem.regularizer().unwrap(), loss) };
    let mut opt = Fista::new(problem.vars.clone(), params).unwrap();
    // 0.1 is below 1/L = 1/8.05: nothing is halved. The second point is the first's x, whose loss and gradient are known.
    for (iterations, expected) in [(1, 2), (2, 3), (3, 5), (5, 9)] {
        calls.set(0);
        problem.start_at(|_| 0.0, 0.0);
        let solution = opt.minimize(0.0, iterations).unwrap();
        assert_eq!((solution.iterations, calls.get()), (iterations, expected));
    }
    opt.set_learning_rate(1.6); // four times too large
    calls.set(0);
    let _ = opt.minimize(0.0, 1).unwrap();
    assert!(calls.get() > 2 && opt.learning_rate() == 1.6 / f64::from(1 << (calls.get() - 2)));
}

#[test]
fn a_path_of_lambdas_starts_each_solution_at_the_one_before() {
    let f = Fixture::load("sklearn.safetensors");
    let problem = || Problem::new(f.tensor("x"), f.tensor("y"), loss::mse, Rule::l1(1.0));
    let path = problem();
    let mut opt = path.fista(1.0);
    for scale in [0.9, 0.3, 0.1, 0.09, 0.03] {
        opt.regularizer_mut().set_scale(scale).unwrap();
        let along = opt.minimize(1e-12, 10_000).unwrap();
        let cold = problem();
        let mut from_zero = cold.fista(1.0);
        from_zero.regularizer_mut().set_scale(scale).unwrap();
        assert!(from_zero.minimize(1e-12, 10_000).unwrap().converged && along.converged);
        assert_close(&format!("scale {scale}"), &path.weight(), &cold.weight(), 1e-10);
        assert_eq!(zeros(&path.weight()), zeros(&cold.weight()));
    }
    let again = opt.minimize(1e-12, 10_000).unwrap();
    assert!(again.converged && again.iterations <= 2, "{again:?}");
}

#[test]
fn f32_finds_the_zeros_and_four_digits() {
    let f = Fixture::load("sklearn.safetensors");
    for (index, alpha) in f.numbers("lasso.alpha").into_iter().enumerate() {
        let x = f.tensor("x").to_dtype(DType::F32).unwrap();
        let problem = Problem::new(&x, f.tensor("y"), loss::mse, Rule::l1(2.0 * alpha));
        let solution = problem.fista(1.0).minimize(3e-6, 2000).unwrap();
        let coef = flat(&f.tensor("lasso.coef").get(index).unwrap());
        assert!(solution.converged, "{solution:?}");
        assert_eq!(zeros(&problem.weight()), zeros(&coef));
        // 3e-6/μ, μ = 0.11 at least, the largest weight 0.27 at least.
        assert_close("f32", &problem.weight(), &coef, 1e-4);
    }
}

#[test]
fn what_the_arithmetic_cannot_reach_is_reported_as_not_converged() {
    let f = Fixture::load("sklearn.safetensors");
    for dtype in [DType::F32, DType::F64] {
        let x = f.tensor("x").to_dtype(dtype).unwrap();
        let problem = Problem::new(&x, f.tensor("y"), loss::mse, Rule::l1(0.1));
        let mut opt = problem.fista(1.0);
        let solution = opt.minimize(0.0, 500).unwrap();
        assert!(!solution.converged && solution.residual > 0.0, "{solution:?}");
        assert!(solution.to_string().starts_with("not converged after "), "{solution}");
        // 1000 ulps: rounding has not driven the step to nothing.
        let ulp = if dtype == DType::F32 { f32::EPSILON.into() } else { f64::EPSILON };
        assert!(solution.residual < 1000.0 * ulp, "{solution:?}");
        // Where no step would move anything, a point is no solution either.
        opt.set_learning_rate(1e-30);
        problem.start_at(|_| 1.0, 1.0);
        let solution = opt.minimize(1e-3, 500).unwrap();
        assert!(!solution.converged && solution.iterations == 1 && solution.residual > 1.0, "{solution:?}");
        assert!(solution.to_string().contains("\na step moves no weight any more: it is too small"), "{solution}");
    }
}

#[test]
fn where_only_rounding_is_left_it_stops_long_before_the_iterations_run_out() {
    let f = Fixture::load("sklearn.safetensors");
    for alpha in f.numbers("lasso.alpha") {
        let x = f.tensor("x").to_dtype(DType::F32).unwrap();
        let problem = Problem::new(&x, f.tensor("y"), loss::mse, Rule::l1(2.0 * alpha));
        let solution = problem.fista(1.0).minimize(1e-9, 20_000).unwrap();
        assert!(!solution.converged && solution.iterations < 2000, "{solution:?}");
        // As near as the arithmetic allows: what F32 is said to reach.
        assert!(solution.residual < 3e-6, "{solution:?}");
        assert!(solution.to_string().contains("rounding alone is above the tolerance"), "{solution}");
    }
}

#[test]
fn a_solution_says_in_words_what_it_found() {
    let model = in_valley();
    let mut opt = fista(&model, || valley(&model.weight));
    let solution = opt.minimize(1e-10, 1).unwrap();
    let message = solution.to_string();
    assert!(message.starts_with("not converged after 1 iteration: residual "), "{message}");
    assert!(message.contains("\nthe iterations ran out: allow more") && message.contains("no dropout"), "{message}");
    let message = opt.minimize(1e-10, 10_000).unwrap().to_string();
    assert!(message.starts_with("converged after ") && message.lines().count() == 1, "{message}");
}

#[test]
fn a_loss_whose_terms_cancel_is_solved_in_as_many_iterations() {
    let f = Fixture::load("sklearn.safetensors");
    // λ_max = 1.17: the last leaves f near f* from the start, so that nothing betrays the size of its terms.
    for lambda in [0.1, 0.02, 1.17] {
        let problem = Problem::new(f.tensor("x"), f.tensor("y"), loss::mse, Rule::l1(lambda));
        let solve = |offset: f64, is_warm: bool| {
            let params = ParamsFista::new(problem.regularizer().unwrap(), || problem.loss()? + offset);
            let mut opt = Fista::new(problem.vars.clone(), params).unwrap();
            if is_warm {
                let weight = problem.weight();
                problem.start_at(|index| 1.001 * weight[index], 0.001);
            } else {
                problem.start_at(|_| 0.0, 0.0);
            }
            let solution = opt.minimize(1e-12, 5000).unwrap();
            assert!(solution.converged, "lambda = {lambda}, offset {offset}: {solution}");
            (solution.iterations, opt.learning_rate())
        };
        for is_warm in [false, true] {
            let (iterations, step) = solve(0.0, is_warm);
            let least = flat(&problem.loss().unwrap())[0];
            for offset in [-least, -1000.0 * least, 1e6 * least] {
                let (found, its_step) = solve(offset, is_warm);
                // A test that rounding decides halves a step once at most; a few iterations more if luck ended a short run.
                let name = format!("lambda = {lambda}, offset {offset}: {found} iterations, not {iterations}");
                assert!(2 * found <= 3 * iterations + 30 && 2.0 * its_step >= step, "{name}; steps {its_step}, {step}");
            }
        }
    }
}

#[test]
fn a_large_intercept_costs_no_digits() {
    let f = Fixture::load("sklearn.safetensors");
    let solve = |intercept: f64| {
        let y = (f.tensor("y") + intercept).unwrap();
        let problem = Problem::new(f.tensor("x"), &y, loss::mse, Rule::l1(0.1));
        let solution = problem.fista(1.0).minimize(1e-13, 5000).unwrap();
        assert!(solution.converged, "intercept {intercept}: {solution}");
        // Both are rounded; outputs near 100 by 1e-14.
        assert!(violation(&problem, 0.1) <= tolerance(1.2e-13), "{:e}", violation(&problem, 0.1));
        problem.weight()
    };
    // 1e-13/μ twice, μ = 0.11, the largest weight 0.3.
    assert_close("intercept 100", &solve(100.0), &solve(0.0), 1e-11);
}

#[test]
fn two_runs_give_the_same_bits() {
    let f = Fixture::load("sklearn.safetensors");
    let (x, labels) = breast_cancer(&f);
    let run = || {
        let problem = Problem::new(x, labels, loss::binary_cross_entropy_with_logit, Rule::l1(0.01));
        let solution = problem.fista(1.0).minimize(1e-10, 10_000).unwrap();
        (solution, problem.weight(), problem.intercept())
    };
    assert_eq!(run(), run());
}

#[test]
fn multinomial_regression_is_solved_too() {
    // Three classes of numbers on a line, 2 features each; ∇f is checked against λ by hand.
    let x =
        Tensor::new(&[[0f64, 1.0], [1.0, 0.5], [2.0, -1.0], [3.0, 0.0], [4.0, 1.0], [5.0, -0.5]], &device()).unwrap();
    let y = Tensor::new(&[0u32, 0, 1, 1, 2, 2], &device()).unwrap();
    let vars = vec![Var::zeros((3, 2), DType::F64, &device()).unwrap(), Var::zeros(3, DType::F64, &device()).unwrap()];
    let model = LinearModel::new(&vars[0], &vars[1], 0.05, 0.0);
    let loss = || loss::cross_entropy(&model.forward(&x)?, &y);
    let mut opt = Fista::new(vars.clone(), ParamsFista::new(model.regularizer().unwrap(), loss)).unwrap();
    let solution = opt.minimize(1e-10, 50_000).unwrap();
    assert!(solution.converged, "{solution:?}");
    let grads = loss().unwrap().backward().unwrap();
    for (g, w) in flat(grads.get(&vars[0]).unwrap()).into_iter().zip(flat(&vars[0])) {
        let violation = if w == 0.0 { g.abs() - 0.05 } else { (g + 0.05 * w.signum()).abs() };
        assert!(violation <= 1e-10, "{g} {w}");
    }
    assert!(flat(&vars[0]).contains(&0.0));
}

/// ½‖w − target‖² as a loss.
fn distance(w: &Tensor, target: f64) -> Result<Tensor> {
    (w - target)?.sqr()?.sum_all()? * 0.5
}

/// An ill-conditioned quadratic, so that a run has halvings, momentum and restarts.
fn valley(w: &Tensor) -> Result<Tensor> {
    let curvature = Tensor::new(&[10f64, 1.0, 0.1, 0.01], w.device())?;
    ((w - 1.0)?.sqr()? * curvature)?.sum_all()? * 0.5
}

fn in_valley() -> Single {
    Single::new(&[0.0; 4], DType::F64, Rule::l1(1e-3))
}

/// Fista on a `Single`.
fn fista<F: Fn() -> Result<Tensor>>(model: &Single, loss: F) -> Fista<F> {
    Fista::new(vec![model.weight.clone()], ParamsFista::new(model.regularizer().unwrap(), loss)).unwrap()
}

/// Every point that a run accepts, the start included.
fn accepted_points(iterations: usize) -> Vec<Vec<f64>> {
    let after = |iterations| {
        let model = in_valley();
        if iterations > 0 {
            let _ = fista(&model, || valley(&model.weight)).minimize(0.0, iterations).unwrap();
        }
        model.values()
    };
    (0..=iterations).map(after).collect()
}

/// Spoils the loss from the k-th call on, for every k: each time an error of the expected kind, and the weights at a point that an
/// undisturbed run accepts, later for later k.
#[track_caller]
fn assert_restored(spoil: impl Fn(Tensor, &Tensor) -> Result<Tensor>, is_expected: impl Fn(&Error) -> bool) {
    let points = accepted_points(20);
    let mut last = 0;
    for first_bad in 0..30 {
        let model = in_valley();
        let calls = Cell::new(0);
        let loss = || {
            calls.set(calls.get() + 1);
            let loss = valley(&model.weight)?;
            if calls.get() > first_bad { spoil(loss, &model.weight) } else { Ok(loss) }
        };
        let mut opt = fista(&model, &loss);
        let error = opt.minimize(0.0, 1000).unwrap_err();
        assert!(is_expected(&error), "bad from call {first_bad} on: {error:?}");
        let at = points.iter().position(|point| *point == model.values());
        let at = at.unwrap_or_else(|| panic!("bad from call {first_bad} on: {:?}", model.values()));
        assert!(at >= last);
        last = at;
        // It goes on from there as if nothing had been.
        let mut next = fista(&model, || valley(&model.weight));
        assert!(next.minimize(1e-10, 10_000).unwrap().converged);
    }
    assert!(last > 8, "only {last} points were reached");
}

#[test]
fn after_an_error_of_the_loss_the_weights_are_at_the_last_accepted_point() {
    assert_restored(|_, _| candle_core::bail!("no more data"), |error| error.to_string().contains("no more data"));
}

#[test]
fn after_a_loss_of_nan_the_weights_are_at_the_last_accepted_point() {
    assert_restored(
        |loss, _| loss * f64::NAN,
        |error| {
            matches!(error, Error::NonFiniteLoss { value, .. } if value.is_nan())
                || matches!(error, Error::NoStep { .. })
        },
    );
}

#[test]
fn after_a_gradient_of_nan_the_weights_are_at_the_last_accepted_point() {
    // √(Σ(w − w)²) is 0, its gradient 0·∞.
    assert_restored(
        |loss, w| loss + (w - w)?.sqr()?.sum_all()?.sqrt()?,
        |error| matches!(error, Error::NonFiniteGradient { path, .. } if *path == *"weight"),
    );
}

#[test]
fn after_a_missing_gradient_the_weights_are_at_the_last_accepted_point() {
    assert_restored(
        |loss, _| Var::from_tensor(&loss.detach())?.as_tensor() * 1.0,
        |error| matches!(error, Error::MissingGradient { path, .. } if *path == *"weight"),
    );
}

#[test]
fn a_loss_of_nan_after_one_step_only_is_a_step_too_far() {
    // ln is NaN left of 0: the steps that end there are halved.
    let model = Single::new(&[1.0], DType::F64, Rule::l1(2.0));
    let solution = {
        let loss = || model.weight.log()?.sum_all()?.neg();
        let mut opt = fista(&model, loss);
        opt.set_learning_rate(100.0);
        opt.minimize(1e-12, 100).unwrap()
    };
    // The minimum of 2w − ln w.
    assert!(solution.converged && (model.values()[0] - 0.5).abs() < 1e-12);
}

#[test]
fn a_kink_in_the_loss_is_an_error_that_says_so() {
    let model = Single::new(&[0.0], DType::F64, Rule::l1(0.1));
    // candle's abs has slope 1 at 0.
    let mut opt = fista(&model, || model.weight.abs()?.sum_all());
    let error = opt.minimize(1e-6, 10).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, Error::NoStep { largest: 1.0, .. }), "{error:?}");
    assert!(message.starts_with("no step from 1 down to ") && message.contains("It has to be smooth"), "{message}");
    assert_eq!((model.values(), opt.learning_rate()), (vec![0.0], 1.0));
}

#[test]
fn a_loss_that_is_finite_at_the_weights_alone_is_an_error_that_says_so() {
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.1));
    let loss = || {
        let at_start = model.weight.sum_all()?.to_scalar::<f64>()? == 1.0;
        distance(&model.weight, 0.0)? * if at_start { 1.0 } else { f64::INFINITY }
    };
    let message = fista(&model, loss).minimize(1e-6, 10).unwrap_err().to_string();
    assert!(message.contains("NaN or infinite after the smallest one"), "{message}");
    assert_eq!(model.values(), [1.0]);
}

#[test]
fn a_learning_rate_out_of_its_range_is_refused() {
    for (dtype, lr) in [
        (DType::F64, 0.0),
        (DType::F64, -1.0),
        (DType::F64, f64::NAN),
        (DType::F64, f64::INFINITY),
        (DType::F64, 1e-200),
        (DType::F32, 1e39),
    ] {
        let model = Single::new(&[1.0], dtype, Rule::l1(0.1));
        let loss = || distance(&model.weight, 0.0);
        let params = ParamsFista { lr, ..ParamsFista::new(model.regularizer().unwrap(), loss) };
        let error = Fista::new(vec![model.weight.clone()], params).unwrap_err().to_string();
        assert!(error.starts_with("lr = "), "{error}");
        let mut opt = fista(&model, loss);
        opt.set_learning_rate(lr);
        let error = opt.backward_step(&loss().unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("lr = "), "{error}");
        assert!(opt.minimize(1e-6, 10).is_err());
        assert_eq!(model.values(), [1.0]);
    }
}

#[test]
fn arguments_out_of_their_range_are_refused() {
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.1));
    let mut opt = fista(&model, || distance(&model.weight, 0.0));
    for (tolerance, iterations, expected) in [
        (-1.0, 10, "tolerance = -1 (expected finite and ≥ 0)"),
        (f64::NAN, 10, "tolerance = NaN (expected finite and ≥ 0)"),
        (1e-6, 0, "max_iterations = 0 (expected ≥ 1)"),
    ] {
        assert_eq!(opt.minimize(tolerance, iterations).unwrap_err().to_string(), expected);
    }
    assert_eq!(model.values(), [1.0]);
}

#[test]
fn variables_of_another_model_and_charged_gradients_are_refused() {
    let (model, other) =
        (Single::new(&[1.0], DType::F64, Rule::l1(0.1)), Single::new(&[1.0], DType::F64, Rule::l1(0.1)));
    let loss = || distance(&model.weight, 0.0);
    let params = ParamsFista::new(model.regularizer().unwrap(), loss);
    let error = Error::from(Fista::new(vec![other.weight.clone()], params).unwrap_err());
    assert!(matches!(error, Error::ForeignVariables { .. }), "{error}");

    let mut opt = fista(&model, loss);
    let grads = model.regularizer().unwrap().add_subgradient(loss().unwrap().backward().unwrap()).unwrap();
    assert!(matches!(Error::from(opt.step(&grads).unwrap_err()), Error::ChargedTwice { .. }));
    assert_eq!(model.values(), [1.0]);

    let bare = Single::new(&[1.0], DType::F64, Rule::inherit());
    let params = ParamsFista::new(bare.regularizer().unwrap(), || distance(&bare.weight, 0.0));
    let error = Error::from(Fista::new(vec![bare.weight.clone()], params).unwrap_err());
    assert!(matches!(error, Error::NothingPenalized { .. }), "{error}");
}

#[test]
fn a_declared_decay_is_refused() {
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.1).decay(0.01));
    let params = ParamsFista::new(model.regularizer().unwrap(), || distance(&model.weight, 0.0));
    let error = Error::from(Fista::new(vec![model.weight.clone()], params).unwrap_err());
    assert!(matches!(&error, Error::DecayUnused { path, place: "Fista" } if *path == *"weight"), "{error}");
}

#[test]
fn half_types_are_refused_with_a_way_out() {
    let model = Single::new(&[1.0], DType::BF16, Rule::l1(0.1));
    let params = ParamsFista::new(model.regularizer().unwrap(), || distance(&model.weight, 0.0));
    let error = Fista::new(vec![model.weight.clone()], params).unwrap_err().to_string();
    assert!(error.starts_with("weight has dtype BF16") && error.contains("`ProxSgd`"), "{error}");

    let model = Single::new(&[1.0], DType::F32, Rule::l1(0.1));
    let mut opt = fista(&model, || distance(&model.weight, 0.0)?.to_dtype(DType::F16));
    let error = opt.minimize(1e-6, 10).unwrap_err().to_string();
    assert!(error.starts_with("the loss has dtype F16"), "{error}");
    assert_eq!(model.values(), [1.0]);
}

#[test]
fn a_loss_that_is_no_scalar_is_an_error_that_says_so() {
    let model = in_valley();
    for (shape, expected) in [(&[4][..], "[4]"), (&[2, 2], "[2, 2]")] {
        let error = fista(&model, || model.weight.sqr()?.reshape(shape)).minimize(1e-6, 10).unwrap_err();
        let message =
            format!("the loss has shape {expected} (expected a scalar: end it with `mean_all()?` or `sum_all()?`)");
        assert!(matches!(error, Error::LossShape { .. }) && error.to_string() == message, "{error}");
        assert_eq!(model.values(), [0.0; 4]);
    }
}

/// A penalized weight and a variable of each kind that is left alone or stepped plainly.
struct Mixed {
    weight: Var,
    bias: Var,
    unused: Var,
    empty: Var,
}

impl Regularized for Mixed {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("weight", Rule::l1(1.0), &self.weight)?;
        visitor.field("bias", Rule::inherit(), &self.bias)
    }
}

#[test]
fn an_unpenalized_variable_is_stepped_plainly_or_without_a_gradient_left_alone() {
    let var = |values: &[f64]| Var::new(values, &device()).unwrap();
    let model = Mixed { weight: var(&[5.0, 5.0]), bias: var(&[5.0]), unused: var(&[7.0, 8.0]), empty: var(&[]) };
    let vars = [&model.weight, &model.bias, &model.unused, &model.empty].map(Var::clone).to_vec();
    let loss = || distance(&model.weight, 0.5)? + distance(&model.bias, -2.0)?;
    let mut opt = Fista::new(vars, ParamsFista::new(model.regularizer().unwrap(), loss)).unwrap();
    assert!(opt.minimize(1e-14, 100).unwrap().converged);
    train(&mut opt, loss, 3).unwrap();
    assert_eq!(
        (flat(&model.weight), flat(&model.bias), flat(&model.unused)),
        (vec![0.0; 2], vec![-2.0], vec![7.0, 8.0])
    );
}

#[test]
fn debug_shows_everything_but_the_loss() {
    let model = in_valley();
    let opt = fista(&model, || valley(&model.weight));
    let text = format!("{opt:?}");
    assert!(text.starts_with("Fista { vars: 1, params: ParamsFista {"), "{text}");
    assert!(text.ends_with("step: 1.0, theta: 1.0, is_ahead: false }"), "{text}");
}
