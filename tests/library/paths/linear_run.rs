//! The path of a linear layer as a `PathRun`: the same points, with what every path records.

use candle_core::{DType, Result as CandleResult, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer, loss};
use l1_core::{
    Curve, Ended, Error, Fista, Grouping, LinearPath, ParamsFista, Path, PathRun, Regularized, Rule, Visitor,
};
use tests::device;

use crate::{
    fista::khan_inputs,
    models::{Fixture, assert_close, flat},
};

struct Model {
    fc: Linear,
    rule: Rule,
    vars: Vec<Var>,
    x: Tensor,
    y: Tensor,
}

impl Regularized for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("fc", self.rule, &self.fc)
    }
}

impl Model {
    fn of(rule: Rule, x: &Tensor, y: &Tensor, outputs: usize) -> Self {
        let zeros = |shape: &[usize]| Var::zeros(shape, DType::F64, &device()).unwrap();
        let vars = vec![zeros(&[outputs, x.dim(1).unwrap()]), zeros(&[outputs])];
        let fc = Linear::new(vars[0].as_tensor().clone(), Some(vars[1].as_tensor().clone()));
        Self { fc, rule, vars, x: x.clone(), y: y.clone() }
    }

    /// The diabetes data.
    fn diabetes(rule: Rule) -> Self {
        let fixture = Fixture::load("sklearn.safetensors");
        Self::of(rule, fixture.tensor("x"), &fixture.tensor("y").unsqueeze(1).unwrap(), 1)
    }

    fn squares(&self, scores: &Tensor) -> CandleResult<Tensor> {
        loss::mse(scores, &self.y)
    }

    fn run(&self, path: &Path) -> l1_core::Result<PathRun> {
        let layer = LinearPath::new(&self.fc, &self.x).tolerance(1e-8);
        path.run_linear(&layer, &self.regularizer()?, |scores| self.squares(scores), |_| Ok(()))
    }
}

#[test]
fn it_has_the_points_that_a_path_by_an_optimizer_has() {
    for rule in [Rule::l1(1.0), Rule::l1(0.7).l2(0.01), Rule::l1(1.0).group(Grouping::Input)] {
        let model = Model::diabetes(rule);
        let path = Path::descending(12, 0.01);
        let fast = model.run(&path).unwrap();
        let loss = || model.squares(&model.fc.forward(&model.x)?);
        let slow = path.run(&model.regularizer().unwrap(), &model.vars, loss, |fit| {
            let params = ParamsFista::new(fit.regularizer().clone(), loss);
            let _ = Fista::new(model.vars.clone(), params)?.minimize(1e-7, 100_000)?;
            Ok(())
        });
        let slow = slow.unwrap();
        let (top, other) = (fast.scale_max.unwrap(), slow.scale_max.unwrap());
        assert!((top / other - 1.0).abs() < 1e-8, "{top} {other}");
        assert!((fast.empty_loss.unwrap() / slow.empty_loss.unwrap() - 1.0).abs() < 1e-10);
        for (fast, slow) in fast.points.iter().zip(&slow.points).skip(1) {
            assert_eq!((fast.nonzeros, fast.entries, fast.living()), (slow.nonzeros, slow.entries, slow.living()));
            assert!((fast.objective / slow.objective - 1.0).abs() < 1e-9, "{} {}", fast.objective, slow.objective);
            let (fast, slow) = (&fast.fields[0], &slow.fields[0]);
            assert_eq!((&fast.path, fast.zeros, fast.groups), (&slow.path, slow.zeros, slow.groups));
            assert!((fast.lambda / slow.lambda - 1.0).abs() < 1e-8);
        }
        assert_eq!((fast.points.len(), slow.points.len()), (12, 12));
    }
}

#[test]
fn every_point_can_be_put_back_and_is_there_when_it_is_scored() {
    let (x, y) = khan_inputs();
    let model = Model::of(Rule::l1(1.0), &x, &y, 4);
    let layer = LinearPath::new(&model.fc, &model.x);
    let cross_entropy = |scores: &Tensor| loss::cross_entropy(scores, &model.y);
    let run = Path::descending(10, 0.1).run_linear(&layer, &model.regularizer().unwrap(), cross_entropy, |fit| {
        fit.held_out(cross_entropy(&model.fc.forward(&model.x)?)?.to_scalar::<f64>()?);
        Ok(())
    });
    let run = run.unwrap();
    assert_close("the last point", &flat(&model.vars[0]), &last(&run), 0.0);
    for point in &run.points {
        // The sums of the layer's own forward are in another order.
        assert!((point.held_out().unwrap() - point.loss).abs() < 1e-12);
    }
    run.restore(4, &model.vars).unwrap();
    let loss = cross_entropy(&model.fc.forward(&x).unwrap()).unwrap().to_scalar::<f64>().unwrap();
    assert!((loss - run.points[4].loss).abs() < 1e-12);
    let alive = run.coefficients("fc.weight").unwrap().lines.iter().filter(|line| line.values[4] != 0.0).count();
    assert_eq!(alive, run.points[4].nonzeros);
}

/// The weights of the last point.
fn last(run: &PathRun) -> Vec<f64> {
    let coefficients = run.coefficients("fc.weight").unwrap();
    let mut all = vec![0.0; coefficients.shape.iter().product()];
    for line in &coefficients.lines {
        all[line.entry] = *line.values.last().unwrap();
    }
    all
}

#[test]
fn rules_end_it() {
    let model = Model::diabetes(Rule::l1(1.0));
    let run = model.run(&Path::descending(50, 0.001).max_nonzeros(4)).unwrap();
    assert_eq!(run.ended, Ended::Nonzeros { limit: 4 });
    let (last, before) = run.points.split_last().unwrap();
    assert!(last.nonzeros > 4 && before.iter().all(|point| point.nonzeros <= 4) && run.points.len() < 50);
}

#[test]
fn the_scale_of_a_field_multiplies_beside_that_of_the_whole() {
    let model = Model::diabetes(Rule::l1(1.0));
    let mut regularizer = model.regularizer().unwrap();
    let layer = LinearPath::new(&model.fc, &model.x).tolerance(1e-8);
    let squares = |scores: &Tensor| model.squares(scores);
    regularizer.set_scale(2.0).unwrap();
    let of_field = Path::grid([10.0]).of("fc").run_linear(&layer, &regularizer, squares, |_| Ok(())).unwrap();
    let of_whole = Path::grid([20.0]).run_linear(&layer, &regularizer, squares, |_| Ok(())).unwrap();
    assert_eq!((of_field.points[0].fields[0].lambda, of_whole.points[0].fields[0].lambda), (20.0, 20.0));
    assert_eq!(of_field.points[0].objective, of_whole.points[0].objective);
    let error = Path::grid([1.0]).of("nowhere").run_linear(&layer, &regularizer, squares, |_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::UnknownField { .. }), "{error}");
}

#[test]
fn what_fails_in_the_middle_keeps_the_points_before() {
    let model = Model::diabetes(Rule::l1(1.0));
    let layer = LinearPath::new(&model.fc, &model.x);
    let squares = |scores: &Tensor| model.squares(scores);
    let error = Path::descending(10, 0.1).run_linear(&layer, &model.regularizer().unwrap(), squares, |fit| {
        if fit.index() == 3 { Err(Error::LossShape { found: (2, 3).into() }) } else { Ok(()) }
    });
    match error.unwrap_err() {
        Error::Path { index: 3, so_far, .. } => assert_eq!(so_far.points.len(), 3),
        error => panic!("{error}"),
    }
    let error = model.run(&Path::ascending(0.1, 1.5)).unwrap_err();
    assert!(error.to_string().contains("Path::descending"), "{error}");
}

fn matrix<const N: usize>(rows: &[[f64; N]]) -> Tensor {
    Tensor::from_vec(rows.concat(), (rows.len(), N), &device()).unwrap()
}

/// Four examples of two inputs, both of which matter.
fn small() -> (Tensor, Tensor) {
    let x = matrix(&[[1.0, 3.0], [-1.0, 3.0], [0.0, -2.0], [2.0, 0.0]]);
    (x, matrix(&[[7.0], [-13.0], [0.8], [4.0]]))
}

#[test]
fn a_zero_that_a_curve_holds_with_infinite_slope_leaves_where_a_step_does() {
    let (x, y) = small();
    for curve in [Curve::Half, Curve::TwoThirds, Curve::L0] {
        for group in [Grouping::Element, Grouping::Input] {
            let with_bias = Model::of(Rule::l1(1.0).curve(curve).group(group), &x, &y, 1);
            let mut without = Model::of(with_bias.rule, &x, &y, 1);
            without.fc = Linear::new(without.vars[0].as_tensor().clone(), None);
            for model in [with_bias, without] {
                let run = model.run(&Path::grid([1e4, 1e-3])).unwrap();
                let nonzeros: Vec<usize> = run.points.iter().map(|point| point.nonzeros).collect();
                assert_eq!(nonzeros, [0, 2], "{curve:?}");
                assert!(run.points.iter().all(|point| point.certificate.relative <= 1e-8), "{curve:?}");
            }
        }
    }
}

fn small_model() -> Model {
    let (x, y) = small();
    Model::of(Rule::l1(1.0), &x, &y, 1)
}

#[test]
fn without_a_slope_the_unit_of_the_targets_does_not_matter() {
    let (x, y) = small();
    for rule in [Rule::l1(0.0).l2(0.5), Rule::l1(0.0).positive(true)] {
        let weights = |unit: f64| {
            let model = Model::of(rule, &x, &(&y * unit).unwrap(), 1);
            let layer = LinearPath::new(&model.fc, &model.x).tolerance(1e-6);
            let squares = |scores: &Tensor| model.squares(scores);
            Path::grid([1.0]).run_linear(&layer, &model.regularizer().unwrap(), squares, |_| Ok(())).unwrap();
            flat(&(model.vars[0].as_tensor() / unit).unwrap())
        };
        // Both are at 1e-6 of the largest gradient from the minimum.
        assert_close("weights", &weights(1e-8), &weights(1.0), 1e-5);
        assert!(weights(1.0).iter().any(|w| *w != 0.0));
    }
}

#[test]
fn what_no_scale_has_to_hold_begins_no_grid() {
    let descent = |model: &Model| match model.run(&Path::descending(5, 0.1)).unwrap_err() {
        Error::NoDescent { why, .. } => assert!(why.contains("it is 0 (expected a number > 0)"), "{why}"),
        error => panic!("{error}"),
    };
    // Every weight would have to be negative.
    let x = matrix(&[[1.0], [2.0], [4.0]]);
    descent(&Model::of(Rule::l1(1.0).positive(true), &x, &x.neg().unwrap(), 1));
    // The intercept is the whole answer, and rounding the rest.
    let wave = |at: usize| (at as f64 * 1.7).sin() + 0.3;
    let x = Tensor::from_iter((0..70).map(wave), &device()).unwrap().reshape((14, 5)).unwrap();
    for constant in [0.1, 1e6 / 3.0] {
        let y = Tensor::full(constant, (14, 1), &device()).unwrap();
        let model = Model::of(Rule::l1(1.0), &x, &y, 1);
        descent(&model);
        // Also when the layer has it already.
        descent(&model);
    }
}

#[test]
fn layers_of_half_numbers_are_refused() {
    let x = small().0.to_dtype(DType::F32).unwrap();
    for dtype in [DType::BF16, DType::F16] {
        let fc = Linear::new(Var::zeros((1, 2), dtype, &device()).unwrap().into_inner(), None);
        let model = Model { fc, x: x.clone(), vars: Vec::new(), ..small_model() };
        let error = model.run(&Path::grid([1.0])).unwrap_err();
        assert!(matches!(error, Error::NoLinearPath { .. }), "{error}");
        assert!(error.to_string().contains(&format!("{dtype:?}")), "{error}");
    }
}

#[test]
fn a_certificate_names_where_the_worst_is() {
    let model = small_model();
    let at = |run: &PathRun| {
        let certificate = &run.points[0].certificate;
        (certificate.path.clone().unwrap().to_string(), certificate.place.clone().unwrap().to_string())
    };
    // One step of many: what is left is somewhere, and the certificate that knows nothing of the solver finds it there.
    let hard = |scores: &Tensor| scores.sub(&model.y)?.sqr()?.powf(0.75)?.mean_all();
    let layer = LinearPath::new(&model.fc, &model.x).tolerance(1e-12).max_iterations(1);
    let mut regularizer = model.regularizer().unwrap();
    regularizer.set_scale(0.01).unwrap();
    let run = Path::grid([0.01]).run_linear(&layer, &regularizer, hard, |_| Ok(())).unwrap();
    let loss = hard(&model.fc.forward(&model.x).unwrap()).unwrap();
    let found = regularizer.stationarity(&loss.backward().unwrap()).unwrap();
    let worst = found.worst().unwrap();
    let expected = (worst.path.to_string(), worst.distance.place.clone().unwrap().to_string());
    assert!(run.points[0].certificate.relative > 1e-6);
    assert_eq!(at(&run), expected);
}
