//! The path of a linear layer: other programs' paths, `Fista`'s minima, and the conditions of a solution at every point.

use candle_core::{DType, Device, Result as CandleResult, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer, ops::log_softmax};
use l1_core::{
    Curve, Error, Fista, Grouping, LinearPath, ParamsFista, Path, PathRun, Regularized, Regularizer, Rule, Visitor,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tests::device;

use crate::{
    fista::khan_inputs,
    models::{Fixture, assert_close, flat, zeros},
};

/// A layer, at zero, under any rule.
struct Model {
    layer: Linear,
    rule: Rule,
}

impl Regularized for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("fc", self.rule, &self.layer)
    }
}

/// A point of a path, with all of its weights.
#[derive(Clone, Debug, PartialEq)]
struct Point {
    scale: f64,
    loss: f64,
    penalty: f64,
    objective: f64,
    violation: f64,
    nonzeros: usize,
    weight: Vec<f64>,
    intercept: Vec<f64>,
}

fn var(shape: &[usize], dtype: DType) -> Var {
    Var::zeros(shape, dtype, &device()).unwrap()
}

impl Model {
    fn new(outputs: usize, inputs: usize, rule: Rule) -> Self {
        Self::on(&device(), outputs, inputs, rule)
    }

    fn on(device: &Device, outputs: usize, inputs: usize, rule: Rule) -> Self {
        let [weight, bias] = [&[outputs, inputs][..], &[outputs]]
            .map(|shape| Var::zeros(shape, DType::F64, device).unwrap().into_inner());
        Self { layer: Linear::new(weight, Some(bias)), rule }
    }

    fn without_bias(outputs: usize, inputs: usize, rule: Rule) -> Self {
        let Self { layer, rule } = Self::new(outputs, inputs, rule);
        Self { layer: Linear::new(layer.weight().clone(), None), rule }
    }

    fn vars(&self) -> Vec<Var> {
        let tensors = [Some(self.layer.weight()), self.layer.bias()];
        tensors.into_iter().flatten().map(|tensor| Var::from_tensor(tensor).unwrap()).collect()
    }

    /// The points of a path, with their weights.
    fn solve(
        &self,
        layer: &LinearPath<'_>,
        path: &Path,
        loss: impl Fn(&Tensor) -> CandleResult<Tensor>,
    ) -> l1_core::Result<Vec<Point>> {
        // The intercept starts from what the layer holds, and bits follow from where it started.
        self.vars().iter().for_each(|var| var.set(&var.zeros_like().unwrap()).unwrap());
        Ok(self.points(&path.run_linear(layer, &self.regularizer()?, loss, |_| Ok(()))?))
    }

    fn points(&self, run: &PathRun) -> Vec<Point> {
        let vars = self.vars();
        let points = run.points.iter().map(|point| {
            run.restore(point.index, &vars).unwrap();
            let [scale, loss, penalty, objective] = [point.scale, point.loss, point.penalty, point.objective];
            let [weight, intercept] = [0, 1].map(|index| vars.get(index).map_or_else(Vec::new, |var| flat(var)));
            let violation = point.certificate.relative;
            Point { scale, loss, penalty, objective, violation, nonzeros: point.nonzeros, weight, intercept }
        });
        points.collect()
    }

    fn restore(&self, point: &Point) {
        for (var, numbers) in self.vars().iter().zip([&point.weight, &point.intercept]) {
            let tensor = Tensor::from_slice(numbers, var.shape(), var.device()).unwrap();
            var.set(&tensor.to_dtype(var.dtype()).unwrap()).unwrap();
        }
    }

    /// The largest relative distance that the certificate finds, which knows nothing of the solver.
    fn stationarity(&self, point: &Point, x: &Tensor, loss: &impl Fn(&Tensor) -> CandleResult<Tensor>) -> f64 {
        self.restore(point);
        let mut regularizer = self.regularizer().unwrap();
        regularizer.set_scale(point.scale).unwrap();
        let loss = loss(&self.layer.forward(x).unwrap()).unwrap();
        let value = loss.to_scalar::<f64>().unwrap();
        assert!((value - point.loss).abs() <= 1e-12 * (1.0 + value.abs()), "{value} {}", point.loss);
        let penalty = regularizer.value().unwrap();
        assert!((penalty - point.penalty).abs() <= 1e-12 * (1.0 + penalty), "{penalty} {}", point.penalty);
        regularizer.stationarity(&loss.backward().unwrap()).unwrap().largest()
    }
}

fn mse(y: &Tensor) -> impl Fn(&Tensor) -> CandleResult<Tensor> {
    |scores| candle_nn::loss::mse(scores, y)
}

/// Mean cross-entropy.
fn cross_entropy(y: &Tensor) -> impl Fn(&Tensor) -> CandleResult<Tensor> {
    |scores| candle_nn::loss::cross_entropy(scores, y)
}

/// Weights of each point, and whether they are 0, as those of another program; one row of `expected` a point.
fn assert_same(points: &[Point], expected: &Tensor, what: &str) {
    assert_eq!(points.len(), expected.dim(0).unwrap());
    for (index, point) in points.iter().enumerate() {
        let (found, expected) = (&point.weight, flat(&expected.get(index).unwrap()));
        assert_close(&format!("{what}, scale {}", point.scale), found, &expected, 1e-6);
        assert_eq!(zeros(found), zeros(&expected), "{what}, scale {}: support", point.scale);
    }
}

fn squares(rule: Rule) -> (Fixture, Vec<Point>) {
    let fixture = Fixture::load("paths.safetensors");
    let (x, y) = (fixture.tensor("squares.x"), fixture.tensor("squares.y"));
    let model = Model::new(1, 150, rule);
    let layer = LinearPath::new(&model.layer, x).tolerance(1e-10);
    let points = model.solve(&layer, &Path::grid(fixture.numbers("squares.scales")), mse(y)).unwrap();
    (fixture, points)
}

#[test]
fn the_lassos_path_is_scikit_learns_and_celers() {
    let (fixture, points) = squares(Rule::l1(1.0));
    assert!(points.iter().all(|point| point.violation <= 1e-10));
    for program in ["lasso", "celer"] {
        assert_same(&points, fixture.tensor(&format!("{program}.coef")), program);
    }
}

#[test]
fn the_elastic_nets_path_is_scikit_learns() {
    let ratio = Fixture::load("paths.safetensors").number("enet.ratio");
    let (fixture, points) = squares(Rule::l1(ratio).l2(1.0 - ratio));
    assert!(points.iter().all(|point| point.violation <= 1e-10));
    assert_same(&points, fixture.tensor("enet.coef"), "enet");
}

#[test]
fn the_multi_task_lassos_path_is_scikit_learns() {
    let fixture = Fixture::load("paths.safetensors");
    let (x, y) = (fixture.tensor("multitask.x"), fixture.tensor("multitask.y"));
    let model = Model::new(3, 90, Rule::l1(1.0).group(Grouping::Input).unscaled(true));
    let layer = LinearPath::new(&model.layer, x).tolerance(1e-10);
    let points = model.solve(&layer, &Path::grid(fixture.numbers("multitask.scales")), mse(y)).unwrap();
    assert!(points.iter().all(|point| point.violation <= 1e-10));
    assert_same(&points, fixture.tensor("multitask.coef"), "multi-task lasso");
}

/// Objectives of a multinomial path on Khan's genes, beside another program's.
fn assert_objectives(rule: Rule, kind: &str) {
    let fixture = Fixture::load("paths.safetensors");
    let (x, y) = khan_inputs();
    let model = Model::new(4, 2308, rule);
    let layer = LinearPath::new(&model.layer, &x).tolerance(1e-7);
    let points =
        model.solve(&layer, &Path::grid(fixture.numbers(&format!("{kind}.scales"))), cross_entropy(&y)).unwrap();
    for (point, expected) in points.iter().zip(fixture.numbers(&format!("{kind}.objective"))) {
        assert!(point.violation <= 1e-7, "{kind}, scale {}: {:e}", point.scale, point.violation);
        // The other program is exact up to its own tolerance, and only ever above the minimum.
        let excess = point.objective - expected;
        assert!((-1e-6..1e-10).contains(&excess), "{kind}, scale {}: {excess:e}", point.scale);
    }
}

#[test]
fn the_multinomial_path_is_glmnets() {
    assert_objectives(Rule::l1(1.0), "entries");
}

#[test]
fn the_grouped_multinomial_path_is_adelies() {
    assert_objectives(Rule::l1(1.0).group(Grouping::Input), "inputs");
}

#[test]
fn every_point_of_khans_path_is_certified() {
    let (x, y) = khan_inputs();
    let model = Model::new(4, 2308, Rule::l1(1.0));
    let layer = LinearPath::new(&model.layer, &x);
    let points = model.solve(&layer, &Path::descending(100, 0.01), cross_entropy(&y)).unwrap();
    assert_eq!(points.len(), 100);
    assert!((points[99].scale / points[0].scale - 0.01).abs() < 1e-12);
    for point in &points {
        // What the certificate adds is the rounding of another order of sums.
        let found = model.stationarity(point, &x, &cross_entropy(&y));
        assert!(point.violation <= 1e-4 && found <= 1.0001e-4, "scale {}: {found:e}", point.scale);
    }
}

#[test]
fn a_path_begins_where_the_first_weight_leaves() {
    let (x, y) = khan_inputs();
    for rule in [
        Rule::l1(0.3),
        Rule::l1(0.3).positive(true),
        Rule::l1(0.3).group(Grouping::Input),
        Rule::l1(0.3).group(Grouping::Input).element(0.2),
        Rule::l1(2.0).curve(Curve::Log(0.5)),
    ] {
        let model = Model::new(4, 2308, rule);
        let layer = LinearPath::new(&model.layer, &x).tolerance(1e-6);
        let points = model.solve(&layer, &Path::descending(2, 0.5), cross_entropy(&y)).unwrap();
        let top = points[0].scale;
        assert_eq!(points[0].nonzeros, 0);
        // Above what certificates of this tolerance may leave.
        let around = Path::grid([top * 1.0001, top * 0.999]);
        let points = model.solve(&layer, &around, cross_entropy(&y)).unwrap();
        assert_eq!(points[0].nonzeros, 0, "{rule:?}");
        assert!(points[1].nonzeros > 0, "{rule:?}");
    }
}

#[test]
fn the_intercept_may_be_absent_or_a_constant() {
    let fixture = Fixture::load("paths.safetensors");
    let (x, y) = (fixture.tensor("squares.x"), fixture.tensor("squares.y"));
    let constant = Tensor::new(&[2.5f64], &device()).unwrap();
    let weight = || var(&[1, 150], DType::F64).into_inner();
    for bias in [None, Some(constant)] {
        let model = Model { layer: Linear::new(weight(), bias.clone()), rule: Rule::l1(1.0) };
        let layer = LinearPath::new(&model.layer, x);
        let points = model.solve(&layer, &Path::descending(10, 0.05), mse(y)).unwrap();
        for point in &points {
            assert_eq!(point.intercept, Vec::from_iter(bias.as_ref().map(|_| 2.5)));
            assert!(model.stationarity(point, x, &mse(y)) <= 1.0001e-4);
        }
        assert!(points[9].nonzeros > 10);
    }
}

#[test]
fn inputs_and_targets_may_be_f32() {
    let fixture = Fixture::load("paths.safetensors");
    let (x, y) = (fixture.tensor("squares.x"), fixture.tensor("squares.y"));
    let exact = Model::new(1, 150, Rule::l1(1.0));
    let exact = exact.solve(&LinearPath::new(&exact.layer, x), &Path::descending(10, 0.1), mse(y));
    let (x, y) = (x.to_dtype(DType::F32).unwrap(), y.to_dtype(DType::F32).unwrap());
    let bias = Some(var(&[1], DType::F32).into_inner());
    let model = Model { layer: Linear::new(var(&[1, 150], DType::F32).into_inner(), bias), rule: Rule::l1(1.0) };
    let layer = LinearPath::new(&model.layer, &x);
    let points = model.solve(&layer, &Path::descending(10, 0.1), mse(&y)).unwrap();
    for (point, exact) in points.iter().zip(&exact.unwrap()) {
        assert!(point.violation <= 1e-4, "{:e}", point.violation);
        // The inputs are rounded to 6e-8, and a solution at 1e-4·λ is within some 1e-4 of the minimum's weights.
        assert_close("f32", &point.weight, &exact.weight, 1e-3);
    }
    assert_eq!(model.layer.weight().dtype(), DType::F32);
}

#[test]
fn inputs_may_be_a_view() {
    let fixture = Fixture::load("paths.safetensors");
    let (x, y) = (fixture.tensor("squares.x"), fixture.tensor("squares.y"));
    let columns = x.t().unwrap().contiguous().unwrap();
    let wide = Tensor::cat(&[&x.ones_like().unwrap(), x], 1).unwrap();
    let model = Model::new(1, 150, Rule::l1(1.0));
    let run = |x: &Tensor| model.solve(&LinearPath::new(&model.layer, x), &Path::descending(5, 0.1), mse(y)).unwrap();
    let expected = run(x);
    assert_eq!(run(&columns.t().unwrap()), expected);
    assert_eq!(run(&wide.narrow(1, 150, 150).unwrap()), expected);
}

#[test]
fn a_path_is_the_same_on_any_number_of_threads() {
    let mut rng = StdRng::seed_from_u64(3);
    let (n, p) = (64, 20_000); // more than one thread's worth
    // On the CPU, whose threads these are.
    let x = Tensor::from_iter((0..n * p).map(|_| rng.random_range(-1.0..1.0)), &Device::Cpu).unwrap();
    let x = x.reshape((n, p)).unwrap();
    let y = Tensor::from_iter((0..n).map(|_| rng.random_range(-1.0..1.0)), &Device::Cpu).unwrap();
    let y = y.reshape((n, 1)).unwrap();
    let model = Model::on(&Device::Cpu, 1, p, Rule::l1(1.0));
    let run = || model.solve(&LinearPath::new(&model.layer, &x), &Path::descending(8, 0.2), mse(&y));
    let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run).unwrap();
    let one = on(1);
    assert!(one[7].nonzeros > 5);
    assert_eq!(one, on(3));
}

#[test]
fn constant_columns_and_copies_do_no_harm() {
    let fixture = Fixture::load("paths.safetensors");
    let (x, y) = (fixture.tensor("squares.x").narrow(1, 0, 40).unwrap(), fixture.tensor("squares.y"));
    let constant = (x.ones_like().unwrap() * 0.3).unwrap().narrow(1, 0, 2).unwrap();
    let x = Tensor::cat(&[&constant, &x, &x], 1).unwrap();
    for rule in [Rule::l1(1.0), Rule::l1(0.5).l2(0.5)] {
        let model = Model::new(1, 82, rule);
        let layer = LinearPath::new(&model.layer, &x).tolerance(1e-6);
        let points = model.solve(&layer, &Path::descending(20, 0.001), mse(y)).unwrap();
        for point in &points {
            assert!(point.violation <= 1e-6 && point.weight[..2] == [0.0, 0.0], "{point:?}");
            assert!(model.stationarity(point, &x, &mse(y)) <= 1.01e-6);
        }
    }
}

#[test]
fn more_weights_than_one_inner_problem_takes_have_their_turns() {
    let mut rng = StdRng::seed_from_u64(4);
    let (n, p) = (12, 4500); // more than 4096
    let mut random = |rows, columns| {
        let numbers: Vec<f64> = (0..rows * columns).map(|_| rng.random_range(-1.0..1.0)).collect();
        Tensor::from_vec(numbers, (rows, columns), &device()).unwrap()
    };
    let (x, y) = (random(n, p), random(n, 1));
    let model = Model::new(1, p, Rule::l1(0.0).l2(1.0));
    let layer = LinearPath::new(&model.layer, &x).tolerance(1e-6);
    for point in model.solve(&layer, &Path::grid([30.0, 10.0]), mse(&y)).unwrap() {
        assert!(point.violation <= 1e-6 && point.nonzeros == p, "{:e}", point.violation);
        assert!(model.stationarity(&point, &x, &mse(&y)) <= 1.01e-6);
    }
}

/// Losses of scores, the last of them no sum over examples.
const LOSSES: [&str; 6] = ["squares", "logistic", "multinomial", "huber", "poisson", "root"];

struct Problem {
    x: Tensor,
    y: Tensor,
    labels: Tensor,
    outputs: usize,
    loss: &'static str,
}

impl Problem {
    fn random(seed: u64, loss: &'static str, outputs: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let (n, p) = (rng.random_range(8..30), rng.random_range(3..25));
        let common: Vec<f64> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
        let shift: Vec<f64> = (0..p).map(|_| rng.random_range(-2.0..2.0)).collect();
        let x = (0..n * p).map(|at| rng.random_range(-1.0..1.0) + 0.7 * common[at / p] + shift[at % p]);
        let x = Tensor::from_vec(x.collect::<Vec<f64>>(), (n, p), &device()).unwrap();
        let y = (0..n * outputs).map(|at| common[at / outputs] + rng.random_range(-1.0..1.0));
        let y = Tensor::from_vec(y.collect::<Vec<f64>>(), (n, outputs), &device()).unwrap();
        let labels: Vec<u32> =
            (0..n).map(|row| if row < outputs { row as u32 } else { rng.random_range(0..outputs as u32) }).collect();
        Self { x, y, labels: Tensor::new(labels, &device()).unwrap(), outputs, loss }
    }

    fn loss(&self, scores: &Tensor) -> CandleResult<Tensor> {
        match self.loss {
            "squares" => candle_nn::loss::mse(scores, &self.y),
            "logistic" => {
                // ln(1 + e^s) − y·s, with y in 0, 1.
                let y = self.y.gt(0.0)?.to_dtype(DType::F64)?;
                let positive = scores.relu()?;
                let rest = ((scores.abs()?.neg()?.exp()? + 1.0)?.log()?).mean_all()?;
                rest + (positive - scores * y)?.mean_all()?
            }
            "multinomial" => candle_nn::loss::nll(&log_softmax(scores, 1)?, &self.labels),
            "huber" => candle_nn::loss::huber(scores, &self.y, 0.5),
            "poisson" => (scores.exp()? - (scores * self.y.abs()?)?)?.mean_all(),
            _ => ((scores - &self.y)?.sqr()?.mean_all()? + 0.02)?.sqrt(),
        }
    }
}

/// Penalties within an input.
fn rule() -> impl Strategy<Value = Rule> {
    let strength = || prop_oneof![2 => Just(0.0), 1 => 0.05..0.5f64];
    (any::<bool>(), strength(), strength(), any::<bool>(), any::<bool>()).prop_map(
        |(grouped, element, l2, positive, unscaled)| {
            let rule = Rule::l1(1.0).l2(l2).positive(positive);
            if grouped { rule.group(Grouping::Input).element(element).unscaled(unscaled) } else { rule }
        },
    )
}

/// With a ridge: a curve that is flat far out holds no weight of classes that can be told apart.
fn curved() -> impl Strategy<Value = Rule> {
    let curves = [Curve::Mcp(3.0), Curve::Scad(3.7), Curve::Log(0.3), Curve::Half, Curve::TwoThirds, Curve::L0];
    (rule(), prop::sample::select(curves.to_vec())).prop_map(|(rule, curve)| rule.curve(curve).l2(0.3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_point_is_stationary(seed: u64, loss in prop::sample::select(LOSSES.to_vec()), k in 1..4usize, rule in rule(), bias: bool) {
        let k = if loss == "multinomial" { k.max(2) } else { k };
        let problem = Problem::random(seed, loss, k);
        let inputs = problem.x.dim(1).unwrap();
        let model = if bias { Model::new(k, inputs, rule) } else { Model::without_bias(k, inputs, rule) };
        let layer = LinearPath::new(&model.layer, &problem.x).tolerance(1e-5);
        let points = model.solve(&layer, &Path::descending(8, 0.05), |scores| problem.loss(scores)).unwrap();
        for point in &points {
            prop_assert!(point.violation <= 1e-5, "{loss}, {rule:?}: {:e} at {}", point.violation, point.scale);
            let found = model.stationarity(point, &problem.x, &|scores: &Tensor| problem.loss(scores));
            prop_assert!(found <= 1.01e-5, "{loss}, {rule:?}: {found:e} at {}", point.scale);
        }
    }

    #[test]
    fn points_of_other_curves_are_stationary(seed: u64, loss in prop::sample::select(vec!["squares", "logistic", "multinomial"]), k in 1..4usize, rule in curved()) {
        let k = if loss == "multinomial" { k.max(2) } else { k };
        let problem = Problem::random(seed, loss, k);
        let model = Model::new(k, problem.x.dim(1).unwrap(), rule);
        let scales = [0.3, 0.2, 0.1, 0.05, 0.02];
        let layer = LinearPath::new(&model.layer, &problem.x).tolerance(1e-5);
        let points = model.solve(&layer, &Path::grid(scales), |scores| problem.loss(scores)).unwrap();
        for point in &points {
            prop_assert!(point.violation <= 1e-5, "{loss}, {rule:?}: {:e} at {}", point.violation, point.scale);
            let found = model.stationarity(point, &problem.x, &|scores: &Tensor| problem.loss(scores));
            prop_assert!(found <= 1.01e-5, "{loss}, {rule:?}: {found:e} at {}", point.scale);
        }
    }
}

/// Fista's objective on the same problem.
fn objective_of_fista(problem: &Problem, rule: Rule, scale: f64) -> f64 {
    let model = Model::new(problem.outputs, problem.x.dim(1).unwrap(), rule);
    let mut regularizer: Regularizer = model.regularizer().unwrap();
    regularizer.set_scale(scale).unwrap();
    let loss = || problem.loss(&model.layer.forward(&problem.x)?);
    let mut opt = Fista::new(model.vars(), ParamsFista::new(regularizer, loss)).unwrap();
    let solution = opt.minimize(1e-9 * scale, 200_000).unwrap();
    assert!(solution.converged || solution.residual < 1e-6 * scale, "{solution}");
    solution.objective
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_point_is_fistas_minimum(seed: u64, loss in prop::sample::select(vec!["squares", "logistic", "multinomial", "huber"]), k in 1..4usize, rule in rule()) {
        let k = if loss == "multinomial" { k.max(2) } else { k };
        let problem = Problem::random(seed, loss, k);
        let model = Model::new(k, problem.x.dim(1).unwrap(), rule);
        let layer = LinearPath::new(&model.layer, &problem.x).tolerance(1e-7);
        let points = model.solve(&layer, &Path::descending(4, 0.1), |scores| problem.loss(scores)).unwrap();
        let point = &points[3];
        let expected = objective_of_fista(&problem, rule, point.scale);
        let difference = point.objective - expected;
        // Fista's own residual is 1e-9·λ, and the path's 1e-7·λ, times distances of some units.
        prop_assert!(difference.abs() <= 1e-6, "{loss}, {rule:?}: {difference:e}");
    }
}

/// What a path is refused with.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: l1_core::Result<T>) -> String {
    match result.unwrap_err() {
        error @ Error::NoLinearPath { .. } => error.to_string(),
        error => panic!("{error}"),
    }
}

#[test]
fn penalties_that_reach_over_inputs_are_refused() {
    let (x, y) = khan_inputs();
    for (group, name) in [
        (Grouping::Output, "dim(0)"),
        (Grouping::Whole, "whole"),
        (Grouping::Singular, "singular"),
        (Grouping::Block(2, 2), "block(2, 2)"),
    ] {
        let model = Model::new(4, 2308, Rule::l1(1.0).group(group));
        let run = model.solve(&LinearPath::new(&model.layer, &x), &Path::descending(5, 0.1), cross_entropy(&y));
        let message = refusal(run);
        assert!(message.contains("fc.weight") && message.contains(name) && message.contains("Path::run"), "{message}");
    }
    let model = Model::new(4, 2308, Rule::l1(1.0).bias(true));
    let run = model.solve(&LinearPath::new(&model.layer, &x), &Path::descending(5, 0.1), cross_entropy(&y));
    assert!(refusal(run).contains("fc.bias: a linear path is not possible: it is penalized"));
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let (x, y) = khan_inputs();
    let model = Model::new(4, 2308, Rule::l1(1.0));
    let path = Path::descending(5, 0.1);
    let run = |x: &Tensor| refusal(model.solve(&LinearPath::new(&model.layer, x), &path, cross_entropy(&y)));
    assert!(run(&x.narrow(1, 0, 100).unwrap()).contains("shape [63, 100] (expected n × 2308"));
    assert!(run(&x.unsqueeze(0).unwrap()).contains("is not n × p"));
    assert!(run(&x.narrow(0, 0, 0).unwrap()).contains("holds no numbers"));
    assert!(run(&x.to_dtype(DType::BF16).unwrap()).contains("dtype BF16 (expected F32 or F64)"));
    assert!(run(&x.to_dtype(DType::U32).unwrap()).contains("dtype U32 (expected F32 or F64)"));
    let mut numbers = flat(&x);
    numbers[2 * 2308 + 7] = f64::NAN;
    let bad = Tensor::from_vec(numbers, (63, 2308), &device()).unwrap();
    assert!(run(&bad).contains("holds NaN at row 2, column 7"));
    let stranger = Model::new(4, 2308, Rule::l1(1.0));
    let run = model.solve(&LinearPath::new(&stranger.layer, &x), &path, cross_entropy(&y));
    assert!(refusal(run).contains("it is no parameter of the model"));
}

#[test]
fn losses_that_are_none_are_refused() {
    let (x, y) = khan_inputs();
    let model = Model::new(4, 2308, Rule::l1(1.0));
    let (layer, path) = (LinearPath::new(&model.layer, &x), Path::descending(5, 0.1));
    let error = model.solve(&layer, &path, |scores| log_softmax(scores, 1)).unwrap_err();
    assert!(matches!(error, Error::LossShape { .. }), "{error}");
    let error = model.solve(&layer, &path, |_| Tensor::new(1f64, &device())).unwrap_err();
    assert!(error.to_string().contains("no gradient at the scores"), "{error}");
    let error = model.solve(&layer, &path, |scores| scores.sum_all()? / 0.0).unwrap_err();
    assert!(matches!(error, Error::NonFiniteLoss { .. }), "{error}");
    // candle's own error, as it is.
    let error = model.solve(&layer, &path, |scores| candle_nn::loss::mse(scores, &x)).unwrap_err();
    assert!(matches!(error, Error::Candle(_)), "{error}");
    // In the middle: what was fitted is there.
    let calls = std::cell::Cell::new(0);
    let loss = |scores: &Tensor| {
        calls.set(calls.get() + 1);
        let loss = candle_nn::loss::cross_entropy(scores, &y)?;
        if calls.get() > 40 { loss * f64::NAN } else { Ok(loss) }
    };
    match model.solve(&layer, &Path::descending(100, 0.01), loss).unwrap_err() {
        Error::Path { index, so_far, source, .. } => {
            assert!(matches!(*source, Error::NonFiniteLoss { .. }), "{source}");
            assert_eq!(so_far.points.len(), index);
            assert!(index > 0 && so_far.points.iter().all(|point| point.certificate.relative <= 1e-4));
        }
        error => panic!("{error}"),
    }
}

#[test]
fn grids_and_tolerances_out_of_range_are_refused() {
    let (x, y) = khan_inputs();
    let model = Model::new(4, 2308, Rule::l1(1.0));
    let layer = || LinearPath::new(&model.layer, &x);
    let path = Path::descending(5, 0.1);
    for bad in [layer().tolerance(0.0), layer().tolerance(f64::NAN), layer().max_iterations(0)] {
        let error = model.solve(&bad, &path, cross_entropy(&y)).unwrap_err();
        assert!(matches!(error, Error::InvalidParameter { .. }), "{bad:?}: {error}");
    }
    for bad in [Path::grid([0.1, 0.2, 0.15]), Path::grid([0.1, -1.0])] {
        let error = model.solve(&layer(), &bad, cross_entropy(&y)).unwrap_err();
        assert!(matches!(error, Error::InvalidGrid { .. }), "{bad:?}: {error}");
    }
    for bad in [Path::descending(5, 1.0), Path::grid([]), Path::ascending(0.1, 1.5), path.clone().with_stationarity()] {
        let error = model.solve(&layer(), &bad, cross_entropy(&y)).unwrap_err();
        assert!(matches!(error, Error::InvalidPath { .. }), "{bad:?}: {error}");
    }
    // No scale empties what a ridge alone holds, and every scale what a curve of infinite slope does.
    for rule in [Rule::l1(0.0).l2(1.0), Rule::l1(1.0).curve(Curve::Half)] {
        let model = Model::new(4, 2308, rule);
        let error = model.solve(&LinearPath::new(&model.layer, &x), &path, cross_entropy(&y)).unwrap_err();
        assert!(matches!(error, Error::NoDescent { .. }) && error.to_string().contains("Path::grid"), "{error}");
    }
}
