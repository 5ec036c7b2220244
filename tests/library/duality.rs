//! The duality gap: other programs' gaps, minima found by iterating, and what is refused.

use candle_core::{DType, Tensor, Var};
use candle_nn::{Module, loss};
use l1_core::{
    Curve, Error, Gap, Grouping, LinearLoss, LinearProblem, Penalty, Regularized, Regularizer, Result, Rule, Visitor,
};
use tests::{device, tolerance};

use crate::{
    fista::khan_inputs,
    models::{Fixture, assert_close, flat, linear},
};

/// A linear layer with any rule, and the data it is to fit.
struct Problem {
    x: Tensor,
    y: Tensor,
    weight: Var,
    bias: Option<Var>,
    loss: LinearLoss,
    rule: Rule,
}

impl Regularized for Problem {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.field("fc", self.rule, &self.layer())
    }
}

impl Problem {
    fn new(x: &Tensor, y: &Tensor, loss: LinearLoss, outputs: usize, rule: Rule) -> Self {
        let zeros = |shape: &[usize]| Var::zeros(shape, DType::F64, &device()).unwrap();
        let (weight, bias) = (zeros(&[outputs, x.dim(1).unwrap()]), Some(zeros(&[outputs])));
        Self { x: x.clone(), y: y.clone(), weight, bias, loss, rule }
    }

    fn layer(&self) -> candle_nn::Linear {
        match &self.bias {
            Some(bias) => linear(&self.weight, bias),
            None => candle_nn::Linear::new(self.weight.as_tensor().clone(), None),
        }
    }

    fn set(&self, weight: &[f64], bias: &[f64]) {
        self.weight.set(&Tensor::from_slice(weight, self.weight.shape(), &device()).unwrap()).unwrap();
        if let Some(var) = &self.bias {
            var.set(&Tensor::new(bias, &device()).unwrap()).unwrap();
        }
    }

    fn linear_problem(&self) -> LinearProblem<'_> {
        let (inputs, targets, weight) = (&self.x, &self.y, self.weight.as_tensor());
        LinearProblem { inputs, targets, weight, bias: self.bias.as_deref(), loss: self.loss }
    }

    fn gap(&self) -> Gap {
        self.regularizer().unwrap().duality_gap(&self.linear_problem()).unwrap()
    }

    /// candle's loss.
    fn loss(&self) -> Tensor {
        self.loss_of(self.layer())
    }

    fn loss_of(&self, layer: candle_nn::Linear) -> Tensor {
        let scores = layer.forward(&self.x).unwrap();
        match self.loss {
            LinearLoss::Squared => loss::mse(&scores, &self.y).unwrap(),
            LinearLoss::Logistic => loss::binary_cross_entropy_with_logit(&scores, &self.y).unwrap(),
            _ => loss::cross_entropy(&scores, &self.y).unwrap(),
        }
    }

    /// Accelerated proximal gradient steps of a fixed size that start anew where they lead uphill, until they move nothing or 6000 are
    /// made; with a prox of its own: element and sign, ridge, groups.
    fn minimize(&self, groups: &[Vec<usize>], step: f64) {
        self.minimize_beside(None, groups, step);
    }

    /// With a constant in place of the bias.
    fn minimize_beside(&self, constant: Option<&Tensor>, groups: &[Vec<usize>], step: f64) {
        let regularizer = self.regularizer().unwrap();
        let trained = self.bias.as_ref().filter(|_| constant.is_none());
        let vars: Vec<_> = [Some(&self.weight), trained].into_iter().flatten().collect();
        let penalties: Vec<_> =
            vars.iter().map(|var| regularizer.get(var).unwrap().decision().penalty().copied()).collect();
        let mut before: Vec<_> = vars.iter().map(|var| flat(var)).collect();
        let mut ahead = before.clone();
        let (mut theta, mut last_uphill) = (1.0f64, 0);
        for iteration in 0..6_000 {
            let write = |values: &[Vec<f64>]| {
                for (var, values) in vars.iter().zip(values) {
                    var.set(&Tensor::from_slice(values, var.shape(), &device()).unwrap()).unwrap();
                }
            };
            write(&ahead);
            let layer = match constant {
                Some(bias) => candle_nn::Linear::new(self.weight.as_tensor().clone(), Some(bias.clone())),
                None => self.layer(),
            };
            let grads = self.loss_of(layer).backward().unwrap();
            let mut next = ahead.clone();
            for ((var, w), penalty) in vars.iter().zip(&mut next).zip(&penalties) {
                w.iter_mut().zip(flat(grads.get(var).unwrap())).for_each(|(w, g)| *w -= step * g);
                if let Some(penalty) = penalty {
                    let single: Vec<_> = (0..w.len()).map(|at| vec![at]).collect();
                    prox(w, penalty, if penalty.group() == Grouping::Element { &single } else { groups }, step);
                }
            }
            write(&next);
            let dot = |triple: [&[Vec<f64>]; 3]| -> f64 {
                let [a, b, c] = triple.map(<[_]>::concat);
                a.iter().zip(&b).zip(&c).map(|((a, b), c)| (a - b) * (b - c)).sum()
            };
            let is_uphill = dot([&ahead, &next, &before]) > 0.0;
            if next == before || (is_uphill && iteration - last_uphill < 2 && iteration > 100) {
                return;
            }
            let following = if is_uphill { 1.0 } else { (1.0 + (1.0 + 4.0 * theta * theta).sqrt()) / 2.0 };
            let momentum = if is_uphill { 0.0 } else { (theta - 1.0) / following };
            if is_uphill {
                last_uphill = iteration;
            }
            ahead = next.clone();
            for (ahead, before) in ahead.iter_mut().zip(&before) {
                ahead.iter_mut().zip(before).for_each(|(a, b)| *a += momentum * (*a - b));
            }
            (before, theta) = (next, following);
        }
    }
}

fn prox(w: &mut [f64], penalty: &Penalty, groups: &[Vec<usize>], step: f64) {
    let shrink = 1.0 + step * penalty.l2();
    for w in w.iter_mut() {
        let size = if penalty.positive() { *w } else { w.abs() };
        *w = w.signum() * (size - step * penalty.element()).max(0.0) / shrink;
    }
    for group in groups {
        let weight = if penalty.unscaled() { 1.0 } else { (group.len() as f64).sqrt() };
        let norm = group.iter().map(|at| w[*at] * w[*at]).sum::<f64>().sqrt();
        let factor = (1.0 - step / shrink * weight * penalty.lambda() / norm).max(0.0);
        group.iter().for_each(|at| w[*at] = if norm == 0.0 { 0.0 } else { w[*at] * factor });
    }
}

/// Waves of rising frequency, so that no columns are alike.
fn waves(rows: usize, columns: usize, frequency: f64) -> Tensor {
    let entries: Vec<_> =
        (0..rows * columns).map(|at| (frequency * (at as f64 + 0.01 * (at * at) as f64) + 0.3).sin()).collect();
    Tensor::from_vec(entries, (rows, columns), &device()).unwrap()
}

/// The numbers of a series of `penalties_problems.safetensors`, unpacked.
pub struct Series<'f> {
    pub fixture: &'f Fixture,
    pub prefix: String,
}

impl Series<'_> {
    pub fn numbers(&self, key: &str) -> Vec<f64> {
        self.fixture.numbers(&format!("{}.{key}", self.prefix))
    }

    pub fn weights(&self, size: usize) -> Vec<Vec<f64>> {
        let (index, coef) = (self.numbers("index"), self.numbers("coef"));
        let mut at = 0;
        let of_count = |count: f64| {
            let mut w = vec![0.0; size];
            for _ in 0..count as usize {
                w[index[at] as usize] = coef[at];
                at += 1;
            }
            w
        };
        self.numbers("count").into_iter().map(of_count).collect()
    }
}

/// The reference is a gap by numerical minimization of each row's loss, to 1e-10 of the primal value.
fn assert_peers(prefix: &str, x: &Tensor, y: &Tensor, loss: LinearLoss, outputs: usize, rule: Rule) {
    let fixture = Fixture::load("penalties_problems.safetensors");
    let size = outputs * x.dim(1).unwrap();
    let problem_of = |lambda: f64| Problem::new(x, y, loss, outputs, rule.lambda(lambda));
    let minima = Series { fixture: &fixture, prefix: prefix.to_owned() };
    let weights = minima.weights(size);
    for (k, lambda) in minima.numbers("lambda").into_iter().enumerate() {
        let problem = problem_of(lambda);
        problem.set(&weights[k], &minima.numbers("intercept")[k * outputs..][..outputs]);
        let gap = problem.gap();
        assert_close(prefix, &[gap.primal], &[minima.numbers("objective")[k]], 1e-14);
        assert!(gap.gap < tolerance(3e-13), "{prefix}: {gap}");
    }
    let points = Series { fixture: &fixture, prefix: format!("{prefix}.points") };
    let weights = points.weights(size);
    for (k, lambda) in points.numbers("lambda").into_iter().enumerate() {
        let problem = problem_of(lambda);
        problem.set(&weights[k], &points.numbers("intercept")[k * outputs..][..outputs]);
        let gap = problem.gap();
        assert_close(prefix, &[gap.primal], &[points.numbers("primal")[k]], 1e-14);
        assert!((gap.gap - points.numbers("gap")[k]).abs() < 1e-10 * gap.primal, "{prefix}: {gap}");
        assert!(points.numbers("suboptimality")[k] <= gap.gap, "{prefix}: {gap}");
        assert!(gap.of_intercept < tolerance(1e-13) * gap.primal, "{prefix}: {gap}");
    }
}

fn rows(grouping: Grouping) -> Rule {
    Rule::l1(0.0).group(grouping)
}

#[test]
fn least_squares_have_the_reference_gaps() {
    let data = Fixture::load("sklearn.safetensors");
    let (x, y) = (data.tensor("x"), data.tensor("y"));
    assert_peers("diabetes.l1", x, y, LinearLoss::Squared, 1, Rule::l1(0.0));
    assert_peers("diabetes.groups", x, y, LinearLoss::Squared, 1, rows(Grouping::Block(1, 2)));
}

#[test]
fn logistic_regression_has_the_reference_gaps() {
    let data = Fixture::load("sklearn.safetensors");
    let (x, y) = (data.tensor("logistic.x"), data.tensor("logistic.labels"));
    assert_peers("cancer.l1", x, y, LinearLoss::Logistic, 1, Rule::l1(0.0));
}

#[test]
fn multinomial_regression_has_the_reference_gaps() {
    let (x, y) = khan_inputs();
    assert_peers("khan.l1", &x, &y, LinearLoss::Multinomial, 4, Rule::l1(0.0));
    assert_peers("khan.groups", &x, &y, LinearLoss::Multinomial, 4, rows(Grouping::Input));
}

#[test]
fn an_unfinished_lasso_has_the_gap_that_scikit_learn_reports() {
    let (fixture, data) = (Fixture::load("penalties_problems.safetensors"), Fixture::load("sklearn.safetensors"));
    let early = Series { fixture: &fixture, prefix: "diabetes.l1.early".to_owned() };
    for (k, lambda) in early.numbers("lambda").into_iter().enumerate() {
        let problem = Problem::new(data.tensor("x"), data.tensor("y"), LinearLoss::Squared, 1, Rule::l1(lambda));
        problem.set(&early.numbers("coef")[10 * k..][..10], &early.numbers("intercept")[k..=k]);
        let gap = problem.gap();
        assert!((gap.gap - early.numbers("gap")[k]).abs() < tolerance(1e-13), "{gap}");
    }
}

/// What can be asked of every problem: bounds at many points, and a gap of 0 at the minimum.
#[track_caller]
fn assert_bounds(name: &str, problem: &Problem, groups: &[Vec<usize>], step: f64) {
    let points: Vec<_> = [1.7, 2.3, 3.1]
        .into_iter()
        .flat_map(|frequency| [0.0, 0.1, 1.0, 10.0].map(|size| (frequency, size)))
        .map(|(frequency, size)| {
            let wave = |var: &Var| -> Vec<f64> {
                let wave = flat(&waves(1, var.elem_count(), frequency));
                wave.iter()
                    .map(|w| size * if problem.rule == problem.rule.positive(true) { w.abs() } else { *w })
                    .collect()
            };
            let (weight, bias) = (wave(&problem.weight), problem.bias.as_ref().map(wave).unwrap_or_default());
            problem.set(&weight, &bias);
            problem.gap()
        })
        .collect();
    // From 0: candle's logistic loss is NaN at large scores.
    problem.set(
        &vec![0.0; problem.weight.elem_count()],
        &problem.bias.as_ref().map_or(vec![], |bias| vec![0.0; bias.elem_count()]),
    );
    problem.minimize(groups, step);
    let minimum = problem.gap();
    assert!(minimum.relative < tolerance(1e-13), "{name}: {minimum:?}");
    let w = flat(&problem.weight);
    assert!(w.iter().any(|w| *w != 0.0), "{name}: nothing is left, which shows nothing");
    // candle's own numbers.
    let regularizer = problem.regularizer().unwrap();
    if matches!(regularizer.penalized().next(), Some((_, penalty)) if penalty.group() == Grouping::Element) {
        let objective = flat(&problem.loss())[0] + regularizer.value().unwrap();
        assert_close(name, &[minimum.primal], &[objective], 1e-14);
    }
    for point in points {
        let suboptimality = point.primal - minimum.primal;
        assert!(suboptimality >= -minimum.gap && suboptimality <= point.gap, "{name}: {suboptimality:e}, {point}");
        assert!(
            point.dual <= minimum.primal * (1.0 + tolerance(1e-15)) && point.of_intercept <= point.gap,
            "{name}: {point}"
        );
    }
}

/// What a linear model can explain in part.
fn targets(loss: LinearLoss, x: &Tensor, outputs: usize) -> Tensor {
    let (rows, inputs) = x.dims2().unwrap();
    let explained = x.matmul(&waves(inputs, outputs, 2.9)).unwrap();
    let scores = (explained + waves(rows, outputs, 1.1)).unwrap();
    match loss {
        LinearLoss::Squared => scores.affine(3.0, 5.0).unwrap(),
        LinearLoss::Logistic => scores.ge(0.2).unwrap().to_dtype(DType::F64).unwrap(),
        _ => scores.argmax(1).unwrap(),
    }
}

const LOSSES: [LinearLoss; 3] = [LinearLoss::Squared, LinearLoss::Logistic, LinearLoss::Multinomial];

#[test]
fn the_gap_bounds_the_suboptimality_everywhere_and_closes_at_the_minimum() {
    let (n, p, k) = (40, 6, 3);
    let by_input: Vec<Vec<usize>> = (0..p).map(|input| (0..k).map(|output| output * p + input).collect()).collect();
    let by_output: Vec<Vec<usize>> = (0..k).map(|output| (0..p).map(|input| output * p + input).collect()).collect();
    let whole = vec![(0..p * k).collect::<Vec<_>>()];
    for loss in LOSSES {
        // Squares are larger, and so are their gradients.
        let unit = if loss == LinearLoss::Squared { 0.1 } else { 0.01 };
        let rules = [
            ("lasso", Rule::l1(unit), &vec![]),
            ("elastic net", Rule::l1(unit).l2(unit), &vec![]),
            ("ridge", Rule::inherit().l2(unit), &vec![]),
            ("positive", Rule::l1(unit).positive(true), &vec![]),
            ("positive elastic net", Rule::l1(unit).l2(unit).positive(true), &vec![]),
            ("inputs", Rule::l1(unit).group(Grouping::Input), &by_input),
            ("outputs", Rule::l1(unit).group(Grouping::Output).unscaled(true), &by_output),
            ("whole", Rule::l1(unit).group(Grouping::Whole), &whole),
            ("sparse groups", Rule::l1(unit).group(Grouping::Input).element(unit), &by_input),
            ("sparse groups, ridge", Rule::l1(unit).group(Grouping::Input).element(unit).l2(unit), &by_input),
            ("positive groups", Rule::l1(unit).group(Grouping::Input).element(unit).positive(true), &by_input),
            ("penalized bias", Rule::l1(unit).bias(true), &vec![]),
            ("scaled", Rule::l1(4.0 * unit).scale(0.25), &vec![]),
        ];
        let x = waves(n, p, 0.7);
        let y = targets(loss, &x, k);
        // Below 1/L: the trace of [x 1]ᵀ[x 1]/n is 4, the losses curve by 2/k, 1/(4k) and ½.
        let step = match loss {
            LinearLoss::Squared => 0.37,
            LinearLoss::Logistic => 3.0,
            _ => 0.5,
        };
        for (name, rule, groups) in rules {
            let problem = Problem::new(&x, &y, loss, k, rule);
            assert_bounds(&format!("{loss:?}, {name}"), &problem, groups, step);
        }
        let problem = Problem { bias: None, ..Problem::new(&x, &y, loss, k, Rule::l1(unit)) };
        assert_bounds(&format!("{loss:?}, no bias"), &problem, &[], step);
    }
}

#[test]
fn another_free_intercept_changes_the_loss_but_not_the_bound() {
    let x = waves(30, 4, 0.7);
    for loss in LOSSES {
        let problem = Problem::new(&x, &targets(loss, &x, 3), loss, 3, Rule::l1(0.05));
        let gaps = [0.0, 1.0, -30.0].map(|shift| {
            problem.set(&[0.1; 12], &[shift, 2.0 * shift, 0.0]);
            problem.gap()
        });
        for gap in &gaps {
            assert_close("dual", &[gap.dual], &[gaps[0].dual], 1e-13);
            // Without the intercept's part all are the same.
            let rest = gap.gap - gap.of_intercept;
            assert_close("gap", &[rest], &[gaps[0].gap - gaps[0].of_intercept], 1e-12);
        }
        assert!(gaps[2].of_intercept > gaps[0].of_intercept);
    }
}

#[test]
fn a_bias_that_is_no_variable_is_a_constant() {
    let x = waves(40, 6, 0.7);
    for loss in LOSSES {
        let free = Problem::new(&x, &targets(loss, &x, 3), loss, 3, Rule::l1(0.02));
        free.minimize(&[], 1.0);
        let (minimum, best) = (free.gap(), flat(free.bias.as_ref().unwrap()));
        // At the best constant the minimum is the same; beside another one it is above, with a gap that closes all the same.
        let constant = Tensor::new(&*best, &device()).unwrap();
        let regularizer = free.regularizer().unwrap();
        let gap = |bias: &Tensor| {
            regularizer.duality_gap(&LinearProblem { bias: Some(bias), ..free.linear_problem() }).unwrap()
        };
        assert_close("primal", &[gap(&constant).primal], &[minimum.primal], 1e-15);
        assert!(gap(&constant).relative < 1e-12 && gap(&constant).of_intercept == 0.0, "{loss:?}: {}", gap(&constant));
        let other = (constant * 0.5).unwrap();
        free.minimize_beside(Some(&other), &[], 1.0);
        assert!(gap(&other).relative < 1e-12, "{loss:?}: {}", gap(&other));
        assert!(gap(&other).primal > minimum.primal * 1.0001);
    }
}

#[test]
fn scores_of_a_thousand_and_classes_without_examples_have_a_gap() {
    let x = waves(20, 3, 0.7);
    for size in [1e3, 1e6, 1e150] {
        for loss in LOSSES {
            let problem = Problem::new(&x, &targets(loss, &x, 3), loss, 3, Rule::l1(0.1));
            problem.set(&[size; 9], &[size, -size, 0.0]);
            let gap = problem.gap();
            assert!(gap.primal >= 0.1 * 9.0 * size && gap.gap <= gap.primal * 1.001, "{loss:?}: {gap}");
            assert!((-20.0..20.0).contains(&gap.dual), "{loss:?}: {gap:?}");
        }
    }
    // One class alone: the infimum is 0, with an intercept that goes to infinity.
    let ones = Tensor::ones((20, 1), DType::F64, &device()).unwrap();
    for (loss, y, outputs) in [
        (LinearLoss::Logistic, ones.clone(), 1),
        (LinearLoss::Logistic, ones.zeros_like().unwrap(), 1),
        (LinearLoss::Multinomial, ones.squeeze(1).unwrap().to_dtype(DType::U32).unwrap(), 3),
    ] {
        let problem = Problem::new(&x, &y, loss, outputs, Rule::l1(0.1));
        problem.set(&vec![0.5; 3 * outputs], &vec![0.0; outputs]);
        let gap = problem.gap();
        assert_eq!((gap.dual, gap.gap), (0.0, gap.primal));
    }
    // Class 1 has no example.
    let y = Tensor::from_iter((0..20u32).map(|row| row % 2 * 2), &device()).unwrap();
    let problem = Problem::new(&x, &y, LinearLoss::Multinomial, 3, Rule::l1(0.02));
    let without = Tensor::from_iter((0..20u32).map(|row| row % 2), &device()).unwrap();
    let two = Problem::new(&x, &without, LinearLoss::Multinomial, 2, Rule::l1(0.02));
    two.minimize(&[], 1.0);
    let (w, b) = (flat(&two.weight), flat(two.bias.as_ref().unwrap()));
    assert!(two.gap().relative < tolerance(1e-13), "{}", two.gap());
    problem.set(&[&w[..3], &[0.0; 3], &w[3..]].concat(), &[b[0], -800.0, b[1]]);
    assert!(problem.gap().relative < tolerance(1e-13), "{}", problem.gap());
}

#[test]
fn separable_labels_have_a_gap_that_closes() {
    // Without a penalty the weights would grow for ever.
    let x = waves(40, 3, 0.7);
    let y = x.narrow(1, 0, 1).unwrap().ge(0.0).unwrap().to_dtype(DType::F64).unwrap();
    let problem = Problem::new(&x, &y, LinearLoss::Logistic, 1, Rule::l1(1e-3));
    problem.minimize(&[], 8.0);
    assert!(problem.gap().relative < 1e-12, "{}", problem.gap());
}

#[test]
fn other_dtypes_and_shapes_of_the_targets_are_the_same_problem() {
    let data = Fixture::load("sklearn.safetensors");
    let (x, y) = (data.tensor("logistic.x"), data.tensor("logistic.labels"));
    let gap = |x: &Tensor, y: &Tensor, dtype: DType| {
        let problem = Problem::new(x, y, LinearLoss::Logistic, 1, Rule::l1(0.0875));
        let weight = Var::zeros((1, 30), dtype, &device()).unwrap();
        Problem { weight, bias: Some(Var::zeros(1, dtype, &device()).unwrap()), ..problem }.gap()
    };
    let expected = gap(x, y, DType::F64);
    for y in [y.to_dtype(DType::F64).unwrap(), y.to_dtype(DType::U8).unwrap(), y.unsqueeze(1).unwrap()] {
        for dtype in [DType::F64, DType::F32, DType::BF16] {
            assert_eq!(gap(x, &y, dtype), expected);
        }
    }
    // f32 data are other numbers.
    let narrow = gap(&x.to_dtype(DType::F32).unwrap(), y, DType::F32);
    assert_close("f32", &[narrow.gap], &[expected.gap], 1e-6);
}

#[test]
fn a_negative_weight_under_a_sign_constraint_is_infinitely_far() {
    let x = waves(10, 3, 0.7);
    let y = targets(LinearLoss::Squared, &x, 1);
    let problem = Problem::new(&x, &y, LinearLoss::Squared, 1, Rule::l1(0.1).positive(true));
    problem.set(&[0.0, -1e-9, 0.0], &[0.0]);
    let gap = problem.gap();
    assert_eq!((gap.primal, gap.gap, gap.relative), (f64::INFINITY, f64::INFINITY, f64::INFINITY));
    assert!(gap.dual > 0.0);
}

#[test]
fn the_scale_of_the_regularizer_counts() {
    let x = waves(30, 4, 0.7);
    let y = targets(LinearLoss::Squared, &x, 2);
    let problem = Problem::new(&x, &y, LinearLoss::Squared, 2, Rule::l1(0.05));
    problem.minimize(&[], 1.0);
    let mut regularizer = Problem { rule: Rule::l1(0.1), ..problem }.regularizer().unwrap();
    let problem = |weight, bias| LinearProblem { inputs: &x, targets: &y, weight, bias, loss: LinearLoss::Squared };
    let tensors: Vec<_> = regularizer.params().iter().map(|param| param.tensor().clone()).collect();
    let relative =
        |regularizer: &Regularizer| regularizer.duality_gap(&problem(&tensors[0], Some(&tensors[1]))).unwrap().relative;
    assert!(relative(&regularizer) > 1e-3);
    regularizer.set_scale(0.5).unwrap();
    assert!(relative(&regularizer) < tolerance(1e-13));
}

#[test]
fn a_gap_is_printed_in_a_line_and_goes_through_serde() {
    let x = Tensor::new(&[[1f64], [-1.0]], &device()).unwrap();
    let y = Tensor::new(&[2f64, 4.0], &device()).unwrap();
    let problem = Problem::new(&x, &y, LinearLoss::Squared, 1, Rule::l1(2.0));
    // λ is λ_max = 2: the minimum is w = 0, b = 3, of loss 1.
    problem.set(&[0.0], &[3.0]);
    assert_eq!(problem.gap().to_string(), "suboptimality ≤ 2.2e-16 (relative 2.2e-16), loss + penalty 1");
    problem.set(&[0.5], &[3.0]);
    // Residuals −1.5 and 1.5: loss 2.25, penalty 1; u = s·(−3, 3), s = ⅔, D = 1.
    assert_eq!(problem.gap().to_string(), "suboptimality ≤ 2.2e0 (relative 6.9e-1), loss + penalty 3.25");
    problem.set(&[0.0], &[1.0]);
    let line = "suboptimality ≤ 4.0e0 (relative 8.0e-1), loss + penalty 5; 4.0e0 of it is the intercept's";
    assert_eq!(problem.gap().to_string(), line);
    let json = serde_json::to_value(problem.gap()).unwrap();
    let expected = serde_json::json!({"primal": 5.0, "dual": 1.0, "gap": 4.0, "relative": 0.8, "of_intercept": 4.0});
    assert_eq!(json, expected);
}

#[test]
fn what_has_no_gap_is_refused_with_a_reason() {
    let x = waves(10, 3, 0.7);
    let (y, labels) = (targets(LinearLoss::Squared, &x, 2), targets(LinearLoss::Multinomial, &x, 2));
    let refusal = |problem: Result<Gap>| match problem.unwrap_err() {
        error @ Error::NoDualityGap { .. } => error.to_string(),
        error => panic!("{error}"),
    };
    let of_rule = |rule: Rule| {
        let problem = Problem::new(&x, &y, LinearLoss::Squared, 2, rule);
        refusal(problem.regularizer().unwrap().duality_gap(&problem.linear_problem()))
    };
    assert_eq!(
        of_rule(Rule::l1(0.1).curve(Curve::Mcp(3.0))),
        "fc.weight: no duality gap: curve = mcp(3) is not convex, and then no bound is known (expected l1)"
    );
    assert_eq!(
        of_rule(Rule::l1(0.1).group(Grouping::Singular)),
        "fc.weight: no duality gap: group = singular is not supported here (expected entries or groups of entries)"
    );
    assert_eq!(
        of_rule(Rule::inherit().positive(true)),
        "fc.weight: no duality gap: `positive` has neither lambda, element nor l2 above 0, and then no bound is known"
    );
    assert_eq!(
        of_rule(Rule::inherit()),
        "fc.weight: no duality gap: it is not penalized (nothing declared), and then no bound is known"
    );

    let problem = Problem::new(&x, &y, LinearLoss::Squared, 2, Rule::l1(0.1));
    let regularizer = problem.regularizer().unwrap();
    let with = |change: &dyn Fn(&mut LinearProblem<'_>)| {
        let mut linear = problem.linear_problem();
        change(&mut linear);
        refusal(regularizer.duality_gap(&linear))
    };
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F64, &device()).unwrap();
    let leak = |tensor: Tensor| -> &'static Tensor { Box::leak(Box::new(tensor)) };
    let (other, wide, flat_inputs, bias) = (zeros(&[2, 3]), zeros(&[10, 4]), zeros(&[30]), zeros(&[3]));
    let (other, wide, flat_inputs, bias) = (leak(other), leak(wide), leak(flat_inputs), leak(bias));
    assert_eq!(
        with(&|problem| problem.weight = other),
        "weight: no duality gap: it is no parameter of the model that this Regularizer was made from: pass the model's own \
         tensor, as in `model.fc.weight()`"
    );
    assert_eq!(
        with(&|problem| problem.inputs = wide),
        "inputs: no duality gap: shape [10, 4] (expected n × 3, n > 0, beside a weight of 2 × 3)"
    );
    assert_eq!(with(&|problem| problem.inputs = flat_inputs), "inputs: no duality gap: shape [30] is not n × p");
    assert_eq!(with(&|problem| problem.bias = Some(bias)), "bias: no duality gap: shape [3] (expected [2])");
    assert_eq!(
        with(&|problem| problem.targets = flat_inputs),
        "targets: no duality gap: shape [30] (expected [10, 2] for 10 examples and 2 outputs)"
    );
    assert_eq!(
        with(&|problem| problem.loss = LinearLoss::Multinomial),
        "targets: no duality gap: shape [10, 2], dtype F64 (expected 10 class numbers in U8, U32 or I64)"
    );
    let message = with(&|problem| problem.loss = LinearLoss::Logistic);
    assert!(
        message.starts_with("targets: no duality gap: it holds 5.38")
            && message.ends_with(" at flat index 0 (expected 0, 1, or a probability between them)"),
        "{message}"
    );
    let labels = leak((labels + 1.0).unwrap());
    let message = with(&|problem| (problem.targets, problem.loss) = (labels, LinearLoss::Multinomial));
    assert_eq!(message, "targets: no duality gap: it holds class 2 at index 0 (expected 0 to 1)");
    let broken = leak((&x * f64::NAN).unwrap());
    assert_eq!(with(&|problem| problem.inputs = broken), "inputs: no duality gap: it holds NaN at flat index 0");
    problem.set(&[0.0, f64::INFINITY, 0.0, 0.0, 0.0, 0.0], &[0.0; 2]);
    assert_eq!(with(&|_| {}), "fc.weight: no duality gap: it holds inf at flat index 1");
}
