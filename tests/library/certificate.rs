//! The certificate against closed forms, numbers worked out by hand, and the definition of a subdifferential.

use candle_core::{DType, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer};
use l1_core::{
    Curve, Error, Grouping, MeanGradients, ParamsProxAdamW, ParamsProxSgd, ParamsStationarity, Penalty, ProxAdamW,
    ProxSgd, Regularized, Rule, Stationarity,
    kernel::{self, Stays},
};
use proptest::prelude::*;
use tests::{device, rounded, tolerance};

use crate::{
    models::{LinearModel, Single, gradients},
    stationary::{Groups, LAMBDA, Logistic},
};

fn vector(values: &[f64]) -> Tensor {
    Tensor::new(values, &device()).unwrap()
}

fn matrix<const C: usize>(rows: &[[f64; C]]) -> Tensor {
    Tensor::new(rows.concat(), &device()).unwrap().reshape((rows.len(), C)).unwrap()
}

fn distances(w: &Tensor, gradient: &Tensor, penalty: Penalty) -> Vec<f64> {
    kernel::distances(w, gradient, &penalty).unwrap()
}

fn soft(x: f64, a: f64) -> f64 {
    x.signum() * (x.abs() - a).max(0.0)
}

const CURVES: [Curve; 6] = [Curve::L1, Curve::Mcp(3.0), Curve::Scad(3.7), Curve::Log(0.5), Curve::TwoThirds, Curve::L0];

/// Those with a finite slope at 0, and that slope for λ = 1.
const FINITE: [(Curve, f64); 4] =
    [(Curve::L1, 1.0), (Curve::Mcp(3.0), 1.0), (Curve::Scad(3.7), 1.0), (Curve::Log(0.5), 2.0)];

/// φ'_λ(r) by the table of curves.
fn slope(curve: Curve, lambda: f64, r: f64) -> f64 {
    match curve {
        Curve::L1 => lambda,
        Curve::Mcp(gamma) => (lambda - r / gamma).max(0.0),
        Curve::Scad(gamma) => ((gamma * lambda - r) / (gamma - 1.0)).clamp(0.0, lambda),
        Curve::Log(epsilon) => lambda / (epsilon + r),
        Curve::Half => 0.5 * lambda / r.sqrt(),
        Curve::TwoThirds => 2.0 / 3.0 * lambda * r.powf(-1.0 / 3.0),
        _ => 0.0,
    }
}

// ---------------------------------------------------------------------------------------- solutions in closed form

/// The loss ½‖w − b‖², that of an orthogonal design: ∇f = w − b, and the solution is the prox at b.
fn assert_solves(what: &str, w: &Tensor, b: &Tensor, penalty: Penalty) {
    let gradient = (w - b).unwrap();
    let worst = distances(w, &gradient, penalty).into_iter().fold(0.0, f64::max);
    // Numbers of size 1, each sum rounded a few times.
    assert!(worst <= tolerance(1e-15), "{what}: {worst:e}");
}

const B: [f64; 6] = [2.0, -0.7, 0.2, -0.5, 1.25, -3.0];

#[test]
fn closed_forms_of_single_entries_are_stationary() {
    let (lambda, ridge) = (0.5, 0.25);
    let b = vector(&B);
    let of = |f: &dyn Fn(f64) -> f64| vector(&B.map(f));
    assert_solves("lasso", &of(&|b| soft(b, lambda)), &b, Penalty::l1(lambda));
    let elastic_net = Penalty::l1(lambda).with_l2(ridge);
    assert_solves("elastic net", &of(&|b| soft(b, lambda) / (1.0 + ridge)), &b, elastic_net);
    let positive = elastic_net.with_positive(true);
    assert_solves("positive", &of(&|b| (b - lambda).max(0.0) / (1.0 + ridge)), &b, positive);
    assert_solves("constraint alone", &of(&|b| b.max(0.0)), &b, Penalty::non_negative());
    assert_solves("ridge", &of(&|b| b / (1.0 + ridge)), &b, Penalty::ridge(ridge));
    // Firm thresholding (Gao & Bruce 1997).
    let gamma = 3.0;
    let firm = |b: f64| if b.abs() <= gamma * lambda { soft(b, lambda) / (1.0 - 1.0 / gamma) } else { b };
    assert_solves("mcp", &of(&firm), &b, Penalty::l1(lambda).with_curve(Curve::Mcp(gamma)));
    // Fan & Li 2001, (2.8).
    let a = 3.7;
    let scad = |b: f64| match b.abs() {
        size if size <= 2.0 * lambda => soft(b, lambda),
        size if size <= a * lambda => ((a - 1.0) * b - b.signum() * a * lambda) / (a - 2.0),
        _ => b,
    };
    assert_solves("scad", &of(&scad), &b, Penalty::l1(lambda).with_curve(Curve::Scad(a)));
}

#[test]
fn closed_forms_of_groups_are_stationary() {
    let b = matrix(&[[2.0, -0.7, 0.2], [-0.5, 1.25, -3.0], [0.1, 0.2, -0.3]]);
    let shrunk = |rows: Vec<Vec<f64>>, kappa: f64| -> Tensor {
        let shrink = |row: Vec<f64>| {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            let factor = if norm > kappa { 1.0 - kappa / norm } else { 0.0 };
            row.into_iter().map(|x| x * factor).collect::<Vec<_>>()
        };
        Tensor::new(rows.into_iter().map(shrink).collect::<Vec<_>>(), &device()).unwrap()
    };
    let rows: Vec<Vec<f64>> = b.to_vec2().unwrap();
    let penalty = Penalty::l1(0.5).with_group(Grouping::Dim(0));
    assert_solves("scaled", &shrunk(rows.clone(), 0.5 * 3f64.sqrt()), &b, penalty);
    assert_solves("unscaled", &shrunk(rows.clone(), 0.5), &b, penalty.with_unscaled(true));
    // Simon et al. 2013: entries first, then groups.
    let soft_rows = rows.iter().map(|row| row.iter().map(|b| soft(*b, 0.25)).collect()).collect();
    let sparse = penalty.with_unscaled(true).with_element(0.25);
    assert_solves("sparse group", &shrunk(soft_rows, 0.5), &b, sparse);
}

// ---------------------------------------------------------------------------------------- numbers by hand

#[test]
fn distances_of_entries_are_those_worked_out_by_hand() {
    let w = vector(&[2.0, -2.0, 0.0, 0.0, 0.0]);
    let v = vector(&[-0.75, 0.5, 0.25, -0.5, 1.25]);
    assert_eq!(distances(&w, &v, Penalty::l1(0.5)), [0.25, 0.0, 0.0, 0.0, 0.75]);
    assert_eq!(distances(&w, &v, Penalty::l1(0.5).with_l2(0.25)), [0.25, 0.5, 0.0, 0.0, 0.75]);
    // Entries charged twice are charged with the sum.
    assert_eq!(distances(&w, &v, Penalty::l1(0.25).with_element(0.25)), [0.25, 0.0, 0.0, 0.0, 0.75]);
    // A gradient that pushes below 0 is held by the constraint, whatever its size.
    let positive = Penalty::l1(0.5).with_positive(true);
    let w = vector(&[0.0, 0.0, 1.0, -1e-300, -0.0]);
    let v = vector(&[-2.0, 9.0, -0.75, 0.0, 9.0]);
    assert_eq!(distances(&w, &v, positive), [1.5, 0.0, 0.25, f64::INFINITY, 0.0]);
    // Every zero is stationary under an infinite slope, and a nonzero weight under ℓ0 where ∇f = 0.
    let (w, v) = (vector(&[0.0, 1.0, 8.0]), vector(&[1e9, 0.5, -0.5]));
    assert_eq!(distances(&w, &v, Penalty::l1(1.0).with_curve(Curve::L0)), [0.0, 0.5, 0.5]);
    let two_thirds = distances(&w, &v, Penalty::l1(1.5).with_curve(Curve::TwoThirds));
    assert_eq!(two_thirds, [0.0, 1.5, 0.0]);
}

#[test]
fn distances_of_groups_are_those_worked_out_by_hand() {
    // cλ = √2·0.5; the second row is along −cλ·w/r, but for (0.3, −0.4).
    let kappa = 0.5 * 2f64.sqrt();
    let w = matrix(&[[0.0, 0.0], [3.0, 4.0], [0.0, -2.0]]);
    let v = matrix(&[[3.0, -4.0], [0.3 - 0.6 * kappa, -0.4 - 0.8 * kappa], [0.25, kappa]]);
    let penalty = Penalty::l1(0.5).with_group(Grouping::Dim(0));
    let close = |found: Vec<f64>, expected: &[f64]| {
        let off = found.iter().zip(expected).any(|(found, expected)| (found - expected).abs() > tolerance(1e-15) * 5.0);
        assert!(!off && found.len() == expected.len(), "{found:?} instead of {expected:?}");
    };
    close(distances(&w, &v, penalty), &[5.0 - kappa, 0.5, 0.25]);
    // With element, zeros in a live group are held by it; in a dead one each entry is first.
    let sparse = penalty.with_element(1.0);
    close(distances(&w, &v, sparse), &[13f64.sqrt() - kappa, (1.3f64.powi(2) + 0.6f64.powi(2)).sqrt(), 1.0]);
    // Columns.
    let v = matrix(&[[0.0, 6.0], [0.0, 0.0], [0.0, 0.0]]);
    let w = w.zeros_like().unwrap();
    close(distances(&w, &v, Penalty::l1(1.0).with_group(Grouping::Dim(1))), &[0.0, 6.0 - 3f64.sqrt()]);
    close(distances(&w, &v, Penalty::l1(1.0).with_group(Grouping::Whole).with_unscaled(true)), &[5.0]);
}

#[test]
fn a_whole_problem_times_a_power_of_two_has_distances_times_it() {
    let w = matrix(&[[0.0, 0.0], [3.0, 4.0], [0.0, -2.0]]);
    let v = matrix(&[[3.0, -4.0], [0.5, 1.0], [0.25, 0.7]]);
    let penalty = Penalty::l1(0.3).with_group(Grouping::Dim(0)).with_element(0.1);
    let expected = distances(&w, &v, penalty);
    for exponent in [-1000, -600, -10, 10, 600, 1000] {
        // Squares of these are beyond f64.
        let scale = 2f64.powi(exponent);
        let found = distances(&(&w * scale).unwrap(), &(&v * scale).unwrap(), penalty.scaled(scale));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found / scale - expected).abs() <= tolerance(1e-15) * 5.0, "{scale:e}: {found:e}");
        }
    }
}

#[test]
fn what_is_not_a_number_certifies_nothing() {
    let penalties = [
        Penalty::NONE.with_l2(0.1),
        Penalty::non_negative(),
        Penalty::l1(0.5).with_element(0.1),
        Penalty::l1(0.5).with_group(Grouping::Whole).with_element(0.1),
        Penalty::l1(0.5).with_positive(true).with_group(Grouping::Whole),
    ];
    let curves = CURVES.map(|curve| Penalty::l1(0.5).with_curve(curve));
    let groups = CURVES.map(|curve| Penalty::l1(0.5).with_curve(curve).with_group(Grouping::Dim(0)));
    for penalty in penalties.into_iter().chain(curves).chain(groups) {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            // A positive entry that is pushed down without end is as far as can be, but at 0 it is held.
            let held = penalty.positive() && bad == f64::INFINITY;
            for (w, v) in [([bad, 1.0], [0.0, 0.0]), ([1.0, 0.0], [bad, 0.0]), ([0.0, 0.0], [0.0, bad])] {
                let certifies = distances(&matrix(&[w]), &matrix(&[v]), penalty).iter().all(|d| d.is_finite());
                assert!(!certifies || held, "{penalty}: {w:?}, {v:?}");
            }
        }
    }
}

// ---------------------------------------------------------------------------------------- the definition

fn any_penalty() -> impl Strategy<Value = Penalty> {
    let curve = prop::sample::select(CURVES.to_vec());
    let group = prop::sample::select(vec![Grouping::Element, Grouping::Dim(0), Grouping::Dim(1), Grouping::Whole]);
    let strengths = (0.01..3.0, prop::sample::select(vec![0.0, 0.4]), prop::sample::select(vec![0.0, 0.7]));
    (curve, group, strengths, any::<bool>(), any::<bool>()).prop_map(|(curve, group, strengths, unscaled, positive)| {
        let (lambda, element, l2) = strengths;
        let penalty = Penalty::l1(lambda).with_curve(curve).with_group(group).with_unscaled(unscaled);
        penalty.with_element(element).with_l2(l2).with_positive(positive)
    })
}

const ROWS: usize = 2;
const COLUMNS: usize = 3;

/// Weights with zeros among them.
fn weights() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop_oneof![Just(0.0), -4.0..4.0], ROWS * COLUMNS)
}

fn numbers() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-4.0..4.0, ROWS * COLUMNS)
}

fn tensor(values: &[f64]) -> Tensor {
    vector(values).reshape((ROWS, COLUMNS)).unwrap()
}

/// The entries of each group.
fn members(group: Grouping) -> Vec<Vec<usize>> {
    let at = |row, column| row * COLUMNS + column;
    match group {
        Grouping::Dim(0) => (0..ROWS).map(|row| (0..COLUMNS).map(|column| at(row, column)).collect()).collect(),
        Grouping::Dim(_) => (0..COLUMNS).map(|column| (0..ROWS).map(|row| at(row, column)).collect()).collect(),
        Grouping::Whole => vec![(0..ROWS * COLUMNS).collect()],
        _ => (0..ROWS * COLUMNS).map(|entry| vec![entry]).collect(),
    }
}

/// An element of ∂Ω at a group, from numbers in [−1, 1]: where w is 0 they choose it.
fn subgradient(penalty: &Penalty, w: &[f64], choice: &[f64]) -> Vec<f64> {
    let c = if penalty.unscaled() { 1.0 } else { (w.len() as f64).sqrt() };
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let r = norm(w);
    // A point of the ball where the group is 0; any point of space stands for a ball without end.
    let finite = FINITE.iter().find(|(curve, _)| *curve == penalty.curve());
    let radius = finite.map_or(1e3, |(_, at_zero)| at_zero * penalty.lambda());
    let ball = |i: usize| c * radius * choice[i] / norm(choice).max(1.0);
    (0..w.len())
        .map(|i| {
            let along = if r > 0.0 { c * slope(penalty.curve(), penalty.lambda(), r) * w[i] / r } else { ball(i) };
            let sign = if w[i] == 0.0 { choice[w.len() - 1 - i] } else { w[i].signum() };
            let cone = if penalty.positive() && w[i] == 0.0 { (10.0 * choice[i]).min(0.0) } else { 0.0 };
            along + penalty.element() * sign + penalty.l2() * w[i] + cone
        })
        .collect()
}

/// The shortest v + s over ∂Ω at a group of zeros with a finite slope, by projecting onto one part after the other.
fn shortest_at_zero(penalty: &Penalty, at_zero: f64, v: &[f64]) -> f64 {
    let c = if penalty.unscaled() { 1.0 } else { (v.len() as f64).sqrt() };
    let radius = c * at_zero * penalty.lambda();
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let (mut ball, mut cube, mut cone) = (vec![0.0; v.len()], vec![0.0; v.len()], vec![0.0; v.len()]);
    for _ in 0..2000 {
        for i in 0..v.len() {
            cube[i] = (-v[i] - ball[i] - cone[i]).clamp(-penalty.element(), penalty.element());
            cone[i] = if penalty.positive() { (-v[i] - ball[i] - cube[i]).min(0.0) } else { 0.0 };
        }
        let target: Vec<_> = (0..v.len()).map(|i| -v[i] - cube[i] - cone[i]).collect();
        let shrink = (radius / norm(&target)).min(1.0);
        ball = target.iter().map(|x| if norm(&target) == 0.0 { 0.0 } else { shrink * x }).collect();
    }
    norm(&(0..v.len()).map(|i| v[i] + ball[i] + cube[i] + cone[i]).collect::<Vec<_>>())
}

fn pick(values: &[f64], group: &[usize]) -> Vec<f64> {
    group.iter().map(|index| values[*index]).collect()
}

proptest! {
    #[test]
    fn a_gradient_out_of_the_subdifferential_has_distance_0(penalty in any_penalty(), w in weights(), choice in numbers()) {
        let w: Vec<_> = if penalty.positive() { w.iter().map(|w| w.abs()).collect() } else { w };
        let choice: Vec<_> = choice.iter().map(|x| x / 4.0).collect();
        let mut gradient = vec![0.0; w.len()];
        let mut size: f64 = 1.0;
        for group in members(penalty.group()) {
            for (index, s) in group.iter().zip(subgradient(&penalty, &pick(&w, &group), &pick(&choice, &group))) {
                gradient[*index] = -s;
                size = size.max(s.abs());
            }
        }
        for distance in distances(&tensor(&w), &tensor(&gradient), penalty) {
            prop_assert!(distance <= tolerance(1e-14) * size, "{}: {:e}", penalty, distance);
        }
    }

    #[test]
    fn no_subgradient_is_nearer_than_the_distance(penalty in any_penalty(), w in weights(), v in numbers(), choice in numbers()) {
        let w: Vec<_> = if penalty.positive() { w.iter().map(|w| w.abs()).collect() } else { w };
        let found = distances(&tensor(&w), &tensor(&v), penalty);
        for (group, distance) in members(penalty.group()).iter().zip(found) {
            let (w, v) = (pick(&w, group), pick(&v, group));
            let choice: Vec<_> = pick(&choice, group).iter().map(|x| x / 4.0).collect();
            let s = subgradient(&penalty, &w, &choice);
            let length = v.iter().zip(&s).map(|(v, s)| (v + s) * (v + s)).sum::<f64>().sqrt();
            prop_assert!(distance <= length * (1.0 + tolerance(1e-14)) + tolerance(1e-14), "{}: {:e} above {:e}", penalty, distance, length);
            let finite = FINITE.iter().find(|(curve, _)| *curve == penalty.curve());
            if let Some((_, at_zero)) = finite && w.iter().all(|w| *w == 0.0) {
                let shortest = shortest_at_zero(&penalty, *at_zero, &v);
                // The projections converge linearly, slowly where the parts touch.
                prop_assert!((distance - shortest).abs() < 1e-5, "{}: {} instead of {}", penalty, distance, shortest);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------- λ_max

fn with(curve: Curve, group: Grouping) -> Penalty {
    Penalty::NONE.with_curve(curve).with_group(group).with_element(0.2)
}

#[test]
fn at_lambda_max_zeros_are_stationary_and_below_it_they_are_not() {
    let v = matrix(&[[0.5, -1.0, 0.1], [2.0, 0.3, -0.7]]);
    let w = v.zeros_like().unwrap();
    for (curve, _) in FINITE {
        for group in [Grouping::Element, Grouping::Dim(0), Grouping::Dim(1), Grouping::Whole] {
            for positive in [false, true] {
                let penalty = with(curve, group).with_positive(positive);
                let found = kernel::lambda_max(&v, &penalty, Stays::Stationary).unwrap();
                let largest = |factor: f64| {
                    let at = penalty.with_lambda(factor * found.value);
                    distances(&w, &v, at).into_iter().fold(0.0, f64::max)
                };
                assert_eq!(largest(1.0 + 1e-15), 0.0, "{penalty}");
                assert!(largest(1.0 - 1e-6) > 0.0, "{penalty}");
                // Each group by itself.
                for (index, lambda) in found.groups.iter().enumerate() {
                    let above = distances(&w, &v, penalty.with_lambda(lambda * (1.0 + 1e-15)));
                    assert_eq!(above[index], 0.0, "{penalty}: group {index}");
                    let below = distances(&w, &v, penalty.with_lambda(lambda * (1.0 - 1e-6)));
                    assert!(below[index] > 0.0 || *lambda == 0.0, "{penalty}: group {index}");
                }
            }
        }
    }
}

#[test]
fn lambda_max_is_the_closed_form_of_each_curve() {
    let v = matrix(&[[0.6, -0.8], [0.0, 0.5]]);
    let (n, c) = (1.0, 2f64.sqrt());
    let of = |curve, stays| {
        let penalty = Penalty::NONE.with_curve(curve).with_group(Grouping::Dim(0)).with_l2(0.5);
        kernel::lambda_max(&v, &penalty, stays).unwrap()
    };
    let close = |found: f64, expected: f64| {
        assert!((found / expected - 1.0).abs() < tolerance(1e-14), "{found} not {expected}")
    };
    for (curve, at_zero) in FINITE {
        close(of(curve, Stays::Stationary).value, n / (c * at_zero));
    }
    assert_eq!(of(Curve::L0, Stays::Stationary).value, 0.0);
    let step: f64 = 0.8;
    let folded = step / (1.0 + 0.5 * step);
    close(of(Curve::L1, Stays::AfterStep(step)).value, n / c);
    close(of(Curve::Half, Stays::AfterStep(step)).value, (2.0 * n / 3.0).powf(1.5) * folded.sqrt() / c);
    close(of(Curve::TwoThirds, Stays::AfterStep(step)).value, 1.5 * (0.5 * n).powf(4.0 / 3.0) * folded.cbrt() / c);
    close(of(Curve::L0, Stays::AfterStep(step)).value, folded * n * n / (2.0 * c));
    // Where a step is longer than the knee.
    let long = 1.9;
    let folded = 20.0 / (1.0 + 0.5 * 20.0);
    assert!(f64::abs(folded - 20.0 / 11.0) < tolerance(1e-15) && folded < long);
    close(of(Curve::Mcp(1.5), Stays::AfterStep(20.0)).value, n * (folded / (1.5 * c)).sqrt());
    let found = of(Curve::L1, Stays::Stationary);
    assert_eq!(found.place.unwrap().to_string(), "[0, ..]");
    close(found.groups[1], 0.5 / c);
}

#[test]
fn one_scale_for_lambda_and_element_is_where_the_group_begins_to_be_held() {
    let v = vector(&[3.0, -1.0, 0.5, 0.25]);
    let w = v.zeros_like().unwrap();
    let penalty = Penalty::l1(0.3).with_group(Grouping::Whole).with_element(0.5);
    let scale = kernel::scale_max(&v, &penalty, Stays::Stationary).unwrap().value;
    assert_eq!(distances(&w, &v, penalty.scaled(scale)), [0.0]);
    assert!(distances(&w, &v, penalty.scaled(scale * (1.0 - 1e-12)))[0] > 0.0);
    // Without element it is λ_max over λ.
    let groups = Penalty::l1(0.3).with_group(Grouping::Whole);
    let lambda = kernel::lambda_max(&v, &groups, Stays::Stationary).unwrap().value;
    let scale = kernel::scale_max(&v, &groups, Stays::Stationary).unwrap().value;
    assert!((scale * 0.3 / lambda - 1.0).abs() < tolerance(1e-15));
    // Nothing holds at any scale.
    assert_eq!(kernel::scale_max(&v, &Penalty::ridge(1.0), Stays::Stationary).unwrap().value, f64::INFINITY);
}

#[test]
fn a_gradient_with_nan_has_no_lambda_max() {
    let v = vector(&[1.0, f64::NAN, 2.0]);
    for curve in CURVES {
        for stays in [Stays::Stationary, Stays::AfterStep(1.0)] {
            let penalty = Penalty::l1(1.0).with_curve(curve);
            assert!(kernel::lambda_max(&v, &penalty, stays).unwrap().value.is_nan(), "{penalty}, {stays:?}");
            assert!(kernel::scale_max(&v, &penalty, stays).unwrap().value.is_nan(), "{penalty}, {stays:?}");
        }
    }
    for step in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let refused = kernel::lambda_max(&v, &Penalty::l1(1.0), Stays::AfterStep(step));
        assert!(matches!(refused, Err(Error::InvalidParameter { name: "step", .. })), "{step}");
    }
}

// ---------------------------------------------------------------------------------------- a model's certificate

fn certify(model: &Single, gradient: &[f64]) -> Stationarity {
    let gradient = rounded(gradient, model.weight.dtype());
    model.regularizer().unwrap().stationarity(&gradients([(&model.weight, gradient)])).unwrap()
}

/// A linear layer with rows as groups, of which the second is 0, and a bias that is not penalized.
#[derive(Regularized)]
struct Layers {
    #[l1(lambda = 0.5)]
    fc1: Linear,
    fc2: Linear,
}

struct Grouped {
    weight: Var,
    bias: Var,
}

impl Regularized for Grouped {
    fn visit(&self, visitor: &mut l1_core::Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("weight", Rule::l1(0.5).group(Grouping::Dim(0)).unscaled(true), &self.weight)?;
        visitor.field("bias", Rule::inherit(), &self.bias)
    }
}

fn grouped() -> (Grouped, candle_core::backprop::GradStore) {
    let var = |tensor: Tensor| Var::from_tensor(&tensor).unwrap();
    let model = Grouped { weight: var(matrix(&[[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])), bias: var(vector(&[1.0])) };
    let weight = matrix(&[[0.6, 0.8], [-0.3, -0.4], [-0.8, 0.6]]);
    let grads = gradients([(&model.weight, weight), (&model.bias, vector(&[0.125]))]);
    (model, grads)
}

#[test]
fn a_row_names_the_first_of_the_farthest_groups_and_counts_the_zeros() {
    let (model, grads) = grouped();
    let stationarity = model.regularizer().unwrap().stationarity(&grads).unwrap();
    let row = stationarity.row("weight").unwrap();
    assert_eq!((row.groups, row.zeros, row.nonconvex), (3, 2, false));
    // Both zero rows are pulled by 1, held by 0.5.
    assert_eq!((row.distance.value, row.distance.relative), (0.5, 1.0));
    assert_eq!(row.distance.place.as_ref().unwrap().to_string(), "[0, ..]");
    // The bias is measured by the penalty of the weights.
    let bias = stationarity.row("bias").unwrap();
    assert_eq!((bias.distance.value, bias.distance.relative, &bias.penalty), (0.125, 0.25, &None));
    assert_eq!(stationarity.largest(), 1.0);
    assert!(stationarity.rows.iter().all(|row| row.with_decay.is_none() && row.zero_test.is_none()));
}

#[test]
fn the_table_ends_with_the_verdict_and_fits_100_columns() {
    let (model, grads) = grouped();
    let table = model.regularizer().unwrap().stationarity(&grads).unwrap().to_string();
    let squeezed: Vec<_> = table
        .lines()
        .map(|line| line.split([' ', '│', '┆']).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        "parameter penalty zeros distance relative where",
        "weight λ 0.5, dim(0), unscaled 2/3 0.50 1.00 [0, ..]",
        "bias – 0.12 0.25 [0]",
    ] {
        assert!(squeezed.iter().any(|found| found == line), "{line}\nis not in\n{table}");
    }
    assert!(table.ends_with("largest relative distance 1.00 at weight [0, ..]"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn through_serde_a_certificate_is_json() {
    let (model, grads) = grouped();
    let json = serde_json::to_value(model.regularizer().unwrap().stationarity(&grads).unwrap()).unwrap();
    assert_eq!(
        json["rows"][0]["distance"],
        serde_json::json!({"value": 0.5, "relative": 1.0, "place": "[0, ..]", "noise": null})
    );
    assert_eq!(json["rows"][1]["path"], "bias");
    assert_eq!(json["params"], serde_json::json!({"step": 1.0, "z": 2.0}));
}

#[test]
fn too_large_a_distance_is_an_error_that_names_the_place() {
    let (model, grads) = grouped();
    let stationarity = model.regularizer().unwrap().stationarity(&grads).unwrap();
    stationarity.assert_below(1.0).unwrap();
    let error = stationarity.assert_below(1e-6).unwrap_err();
    assert_eq!(
        error.to_string(),
        "weight [0, ..]: the relative distance from a stationary point is 1 (expected at most 0.000001); the distance is 0.5. \
         Train on with a falling learning rate; with weight decay ask the optimizer, `opt.stationarity(..)`, which takes it in"
    );
    assert!(stationarity.assert_below(f64::NAN).is_err());
}

#[test]
fn nan_is_the_largest_distance_and_below_no_tolerance() {
    for (w, v) in [([1.0, f64::NAN, 0.0], [5.0, 0.0, 0.0]), ([0.0, 1.0, 0.0], [9.0, f64::NAN, 0.0])] {
        let stationarity = certify(&Single::new(&w, DType::F32, Rule::l1(0.5)), &v);
        assert!(stationarity.largest().is_nan());
        assert!(stationarity.assert_below(f64::INFINITY).is_err());
        assert!(stationarity.to_string().ends_with("largest relative distance NaN at weight [1]"));
    }
}

#[test]
fn every_dtype_is_certified_in_f64() {
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        // Numbers that all of them have.
        let model = Single::new(&[2.0, 0.0, -1.0], dtype, Rule::l1(0.5).l2(0.25));
        let row = &certify(&model, &[-1.0, 0.75, 1.5]).rows[0];
        assert_eq!((row.distance.value, row.distance.relative), (0.75, 1.5), "{dtype:?}");
        assert_eq!(row.distance.place.as_ref().unwrap().to_string(), "[2]");
    }
}

#[test]
fn without_a_slope_anywhere_distances_are_absolute() {
    let model = Single::new(&[2.0, -1.0], DType::F64, Rule::inherit().l2(0.25));
    let distance = certify(&model, &[-0.5, 0.5]).rows[0].distance.clone();
    assert_eq!((distance.value, distance.relative), (0.25, 0.25));
    let model = Single::new(&[2.0, 0.0], DType::F64, Rule::inherit().positive(true));
    assert_eq!(certify(&model, &[0.0, 7.0]).largest(), 0.0);
}

#[test]
fn zeros_of_a_curve_with_infinite_slope_are_tested_by_a_step_of_the_stated_length() {
    // ℓ0: a zero stays if t·n²/2 ≤ λ.
    let model = Single::new(&[0.0, 0.0, 2.0], DType::F64, Rule::l1(0.5).curve(Curve::L0));
    let regularizer = model.regularizer().unwrap();
    let grads = gradients([(&model.weight, vector(&[1.0, -2.0, 0.0]))]);
    let at = |step| {
        let params = ParamsStationarity { step, ..Default::default() };
        regularizer.stationarity_with(&grads, &params).unwrap()
    };
    let (short, long) = (at(0.25), at(1.0));
    let test = short.rows[0].zero_test.as_ref().unwrap();
    assert_eq!((test.leaving, test.ratio), (0, 1.0));
    short.assert_below(0.0).unwrap();
    assert!(short.to_string().contains("weight: all 2 zeros stay in a prox step of length 0.25\n"));
    let row = &long.rows[0];
    let test = row.zero_test.as_ref().unwrap();
    assert_eq!((row.distance.value, row.zeros, row.nonconvex), (0.0, 2, true));
    assert_eq!((test.leaving, test.ratio), (1, 2.0));
    assert_eq!(test.place.as_ref().unwrap().to_string(), "[1]");
    assert!(matches!(long.assert_below(1.0), Err(Error::ZerosLeave { leaving: 1, zeros: 2, .. })));
    assert!(long.to_string().contains("* nonconvex"));
    for step in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let params = ParamsStationarity { step, ..Default::default() };
        assert!(regularizer.stationarity_with(&grads, &params).is_err(), "{step}");
    }
}

#[test]
fn groups_have_places_that_can_be_read() {
    for (group, shape, expected) in [
        (Grouping::Dim(1), vec![2, 3], "[.., 1]"),
        (Grouping::Dim(1), vec![2, 3, 2, 2], "[.., 1, .., ..]"),
        (Grouping::Kernel, vec![2, 3, 2, 2], "[1, 0, .., ..]"),
        (Grouping::Block(2, 2), vec![4, 6], "[0..2, 2..4]"),
        (Grouping::Whole, vec![2, 3], "[.., ..]"),
        (Grouping::Element, vec![2, 3], "[1, 1]"),
        (Grouping::Element, vec![], "[]"),
    ] {
        // The largest gradient is in one entry of the group.
        let count = shape.iter().product::<usize>();
        let at = match (group, shape.len()) {
            (Grouping::Dim(_), 4) | (Grouping::Element, 2) => 4,
            (Grouping::Dim(_), _) => 1,
            (Grouping::Kernel, _) => 13,
            (Grouping::Block(..), _) => 8,
            _ => 0,
        };
        let mut v = vec![0.0; count];
        v[at] = 9.0;
        let v = vector(&v).reshape(shape.as_slice()).unwrap();
        let found = kernel::lambda_max(&v, &Penalty::l1(1.0).with_group(group), Stays::Stationary).unwrap();
        assert_eq!(found.place.unwrap().to_string(), expected, "{group}, {shape:?}");
    }
}

#[test]
fn a_penalized_parameter_without_gradient_is_an_error_and_another_has_no_row() {
    let layer = |rows: usize| {
        let var = |shape: &[usize]| Var::ones(shape, DType::F64, &device()).unwrap().into_inner();
        Linear::new(var(&[rows, 2]), Some(var(&[rows])))
    };
    let model = Layers { fc1: layer(2), fc2: layer(1) };
    let regularizer = model.regularizer().unwrap();
    let x = Tensor::ones((3, 2), DType::F64, &device()).unwrap();
    let half = model.fc1.forward(&x).unwrap().sum_all().unwrap().backward().unwrap();
    let paths: Vec<_> = regularizer.stationarity(&half).unwrap().rows.iter().map(|row| row.path.to_string()).collect();
    assert_eq!(paths, ["fc1.weight", "fc1.bias"]);
    let other = model.fc2.forward(&x).unwrap().sum_all().unwrap().backward().unwrap();
    let error = regularizer.stationarity(&other).unwrap_err();
    assert!(matches!(error, Error::MissingGradient { path, .. } if path == "fc1.weight"));
}

#[test]
fn gradients_that_hold_the_penalty_are_refused_at_run_time_too() {
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.5));
    let regularizer = model.regularizer().unwrap();
    let loss = model.weight.sqr().unwrap().sum_all().unwrap();
    let grads = regularizer.add_subgradient(loss.backward().unwrap()).unwrap();
    assert!(matches!(regularizer.stationarity(&*grads), Err(Error::ChargedTwice { .. })));
    assert!(matches!(MeanGradients::new(&regularizer).add(&grads, 1), Err(Error::ChargedTwice { .. })));
}

// ---------------------------------------------------------------------------------------- minibatches

#[test]
fn the_mean_of_batches_weighs_them_by_their_samples_and_knows_its_noise() {
    let model = Single::new(&[0.0, 0.0], DType::F64, Rule::l1(0.5).group(Grouping::Whole).unscaled(true));
    let regularizer = model.regularizer().unwrap();
    let mut mean = MeanGradients::new(&regularizer);
    assert!(matches!(regularizer.stationarity(&mean), Err(Error::InvalidParameter { name: "batches", .. })));
    let batches: [([f64; 2], usize); 3] = [([1.0, 0.0], 10), ([4.0, 2.0], 20), ([-2.0, 1.0], 10)];
    for (gradient, samples) in batches {
        mean.add(&gradients([(&model.weight, vector(&gradient))]), samples).unwrap();
    }
    let stationarity = regularizer.stationarity(&mean).unwrap();
    // v = (70/40, 50/40), Σn(g − v)² = (787.5 − …): by the definition.
    let total = 40.0;
    let v = [0, 1].map(|i| batches.iter().map(|(g, n)| *n as f64 * g[i]).sum::<f64>() / total);
    let squares =
        [0, 1].map(|i| batches.iter().map(|(g, n)| *n as f64 * (g[i] - v[i]).powi(2)).sum::<f64>() / (2.0 * total));
    let distance = stationarity.rows[0].distance.clone();
    assert!((distance.value - (v[0].hypot(v[1]) - 0.5)).abs() < tolerance(1e-14));
    assert!((distance.noise.unwrap() - 2.0 * (squares[0] + squares[1]).sqrt()).abs() < tolerance(1e-14));
    assert_eq!(stationarity.batches, Some(3));
    assert!(stationarity.to_string().ends_with("by noise of 3 batches"), "{stationarity}");
    assert!(mean.add(&gradients([]), 0).is_err());
}

#[test]
fn one_batch_alone_shows_no_noise_and_equal_batches_have_none() {
    let model = Single::new(&[0.0, 1.0], DType::F64, Rule::l1(0.5));
    let regularizer = model.regularizer().unwrap();
    let mut mean = MeanGradients::new(&regularizer);
    for expected in [None, Some(0.0)] {
        mean.add(&gradients([(&model.weight, vector(&[0.25, -0.75]))]), 3).unwrap();
        let distance = regularizer.stationarity(&mean).unwrap().rows[0].distance.clone();
        assert_eq!((distance.value, distance.noise), (0.25, expected));
    }
}

#[test]
fn the_band_holds_the_distance_at_the_true_gradient() {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand::rngs::StdRng::seed_from_u64(3);
    let model = Single::new(&[0.0, 1.0, 2.0, 0.0], DType::F64, Rule::l1(0.5).group(Grouping::Whole));
    let regularizer = model.regularizer().unwrap();
    let truth = [0.5, -0.25, 1.0, 0.75];
    let exact = certify(&model, &truth).rows[0].distance.value;
    let mut outside = 0;
    for _ in 0..200 {
        let mut mean = MeanGradients::new(&regularizer);
        for _ in 0..20 {
            let noisy = truth.map(|g| g + rng.random_range(-1.0..1.0));
            mean.add(&gradients([(&model.weight, vector(&noisy))]), 8).unwrap();
        }
        let found = regularizer.stationarity(&mean).unwrap().rows[0].distance.clone();
        outside += usize::from((found.value - exact).abs() > found.noise.unwrap());
    }
    // 5 % of a normal coordinate would be 10; a norm of four is mostly narrower than its bound.
    assert!(outside <= 10, "{outside}");
}

// ---------------------------------------------------------------------------------------- optimizers

fn run(opt: &mut impl Optimizer, steps: usize, loss: impl Fn() -> Tensor) {
    let lr = opt.learning_rate();
    for step in 0..steps {
        opt.set_learning_rate(lr * (1.0 - step as f64 / steps as f64));
        opt.backward_step(&loss()).unwrap();
    }
}

fn logistic() -> (Logistic, LinearModel) {
    let problem = Logistic::new();
    let model = problem.model();
    (problem, model)
}

#[test]
fn prox_sgd_and_prox_adamw_end_at_what_is_certified() {
    let (problem, model) = logistic();
    let regularizer = model.regularizer().unwrap();
    let params = ParamsProxSgd { lr: 0.5, momentum: 0.9, ..ParamsProxSgd::new(regularizer.clone()) };
    let mut opt = ProxSgd::new(problem.vars(), params).unwrap();
    let grads = || problem.loss(&model).backward().unwrap();
    let before = opt.stationarity(&grads()).unwrap();
    assert!(before.largest() > 0.1 && before.assert_below(0.1).is_err());
    run(&mut opt, 1500, || problem.loss(&model));
    let after = opt.stationarity(&grads()).unwrap();
    after.assert_below(1e-6).unwrap();
    assert_eq!((after.rows[0].zeros, after.rows[0].groups), (26, 30));
    assert_eq!(after.rows[1].path, "fc.bias");

    let (problem, model) = logistic();
    let params = ParamsProxAdamW { lr: 0.3, ..ParamsProxAdamW::new(model.regularizer().unwrap()) };
    let mut opt = ProxAdamW::new(problem.vars(), params).unwrap();
    run(&mut opt, 2000, || problem.loss(&model));
    opt.stationarity(&problem.loss(&model).backward().unwrap()).unwrap().assert_below(1e-6).unwrap();
}

#[test]
fn a_half_of_the_declared_lambda_is_seen() {
    // What a prox of step lr behind momentum 0.5 would solve.
    let (problem, model) = logistic();
    let weaker = LinearModel::new(&problem.weight, &problem.bias, 0.5 * LAMBDA, 0.0);
    let params = ParamsProxSgd { lr: 0.5, momentum: 0.9, ..ParamsProxSgd::new(weaker.regularizer().unwrap()) };
    run(&mut ProxSgd::new(problem.vars(), params).unwrap(), 3000, || problem.loss(&model));
    let grads = problem.loss(&model).backward().unwrap();
    weaker.regularizer().unwrap().stationarity(&grads).unwrap().assert_below(1e-6).unwrap();
    let stationarity = model.regularizer().unwrap().stationarity(&grads).unwrap();
    assert!((stationarity.largest() - 0.5).abs() < 1e-6, "{stationarity}");
}

#[test]
fn decay_of_both_optimizers_is_taken_into_the_second_column() {
    let problem = Logistic::new();
    let model = Groups::new(problem.x.device());
    let params = ParamsProxSgd {
        lr: 0.5,
        momentum: 0.9,
        dampening: 0.5,
        weight_decay: Groups::WEIGHT_DECAY,
        ..ParamsProxSgd::new(model.regularizer().unwrap())
    };
    let mut opt = ProxSgd::new(model.vars(), params).unwrap();
    run(&mut opt, 3000, || problem.loss(&model));
    let stationarity = opt.stationarity(&problem.loss(&model).backward().unwrap()).unwrap();
    stationarity.assert_below(1e-6).unwrap();
    let of = |path: &str| stationarity.row(path).unwrap().distance.relative;
    assert!(of("undeclared.weight") > 0.01 && of("declared.weight") > 0.01, "{stationarity}");
    assert!(of("spared.weight") < 1e-6, "{stationarity}");
    assert!(stationarity.to_string().contains("+ decay"));

    for amsgrad in [false, true] {
        let model = Groups::new(problem.x.device());
        let params = ParamsProxAdamW {
            lr: 0.3,
            beta2: 0.99,
            eps: 1e-2,
            weight_decay: Groups::WEIGHT_DECAY,
            amsgrad,
            ..ParamsProxAdamW::new(model.regularizer().unwrap())
        };
        let mut opt = ProxAdamW::new(model.vars(), params).unwrap();
        run(&mut opt, 4000, || problem.loss(&model));
        let stationarity = opt.stationarity(&problem.loss(&model).backward().unwrap()).unwrap();
        stationarity.assert_below(1e-6).unwrap();
        let of = |path: &str| stationarity.row(path).unwrap().distance.relative;
        assert!(of("undeclared.weight") > 0.01 && of("spared.weight") < 1e-6, "{stationarity}");
    }
}

#[test]
fn a_variable_that_only_the_optimizer_knows_has_a_row_too() {
    let model = Single::new(&[0.0], DType::F64, Rule::l1(1.0));
    let other = Var::new(&[3f64], &device()).unwrap();
    let params = ParamsProxSgd::new(model.regularizer().unwrap());
    let opt = ProxSgd::new(vec![model.weight.clone(), other.clone()], params).unwrap();
    let grads = gradients([(&model.weight, vector(&[0.5])), (&other, vector(&[0.25]))]);
    let stationarity = opt.stationarity(&grads).unwrap();
    assert_eq!(stationarity.rows[1].distance.value, 0.25);
    assert!(stationarity.assert_below(0.2).is_err());
}

#[test]
fn a_certificate_of_nothing_is_no_certificate() {
    let model = Single::new(&[1.0, -2.0], DType::F64, Rule::l1(0.5));
    let mut regularizer = model.regularizer().unwrap();
    regularizer.set_scale(0.0).unwrap();
    let other = Var::new(&[1f64], &device()).unwrap();
    let grads = gradients([(&other, other.zeros_like().unwrap())]);
    let error = regularizer.stationarity(&grads).unwrap().assert_below(1.0).unwrap_err();
    assert!(matches!(error, Error::NothingToCertify), "{error:?}");
}
