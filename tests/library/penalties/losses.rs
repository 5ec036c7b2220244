//! Curves, groups and singular values as a term of the loss.

use candle_core::{DType, Tensor, Var};
use l1_core::{Curve, Error, Grouping, Penalty, Regularized, Rule, Visitor, kernel};
use tests::tolerance;

use super::{CURVES, DTYPES, groupings, naive, numbers, rng, tensor, wide};
use crate::models::{flat, gradients};

/// One weight under a penalty.
pub(super) struct Model {
    pub weight: Var,
    pub penalty: Penalty,
}

impl Model {
    pub(super) fn new(weight: &Tensor, penalty: Penalty) -> Self {
        Self { weight: Var::from_tensor(weight).unwrap(), penalty }
    }
}

impl Regularized for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("weight", Rule::inherit().penalty(self.penalty), &self.weight)
    }
}

const DIMS: [usize; 2] = [6, 10];

/// Curves that can stand in a loss.
fn in_losses() -> impl Iterator<Item = Curve> {
    CURVES.into_iter().filter(|curve| !matches!(curve, Curve::Half | Curve::TwoThirds | Curve::L0))
}

fn all_groupings() -> impl Iterator<Item = Grouping> {
    groupings(&DIMS).into_iter().chain([Grouping::Singular])
}

/// Numbers with a row, a column and a block of zeros.
fn with_zero_groups() -> Vec<f64> {
    let mut numbers = numbers(&mut rng(31), 60);
    for (at, number) in numbers.iter_mut().enumerate() {
        let (row, column) = (at / 10, at % 10);
        if row == 2 || column == 4 || row < 3 && column < 5 {
            *number = 0.0;
        }
    }
    numbers
}

#[test]
fn the_gradient_of_the_penalty_is_finite_at_a_zero_group_and_0_there() {
    for group in all_groupings() {
        for curve in in_losses() {
            for dtype in DTYPES {
                let penalty = Penalty::l1(0.4).with_curve(curve).with_group(group);
                let model = Model::new(&tensor(&with_zero_groups(), &DIMS, dtype), penalty);
                let total = model.penalty().unwrap();
                assert_eq!(total.dtype(), wide(dtype));
                let (found, expected) = (flat(&total)[0], kernel::value(&model.weight, &penalty).unwrap());
                assert!((found - expected).abs() <= 6e-8 * expected, "{penalty}, {dtype:?}: {found} {expected}");

                let grads = total.backward().unwrap();
                let grad = grads.get(&model.weight).unwrap();
                assert_eq!((grad.dtype(), grad.dims()), (dtype, &DIMS[..]));
                assert_eq!(
                    flat(grad),
                    flat(&kernel::subgradient(&model.weight, &penalty).unwrap()),
                    "{penalty}, {dtype:?}"
                );
                assert!(flat(grad).iter().all(|slope| slope.is_finite()), "{penalty}, {dtype:?}");
                if group != Grouping::Singular {
                    let weights = flat(&model.weight);
                    for group in
                        naive::groups(group, &DIMS).iter().filter(|group| group.iter().all(|at| weights[*at] == 0.0))
                    {
                        assert!(group.iter().all(|at| flat(grad)[*at] == 0.0), "{penalty}, {dtype:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_graph_with_groups_can_be_used_twice_and_is_multiplied_by_what_comes_from_above() {
    for group in all_groupings() {
        for curve in in_losses() {
            let penalty = Penalty::l1(0.4).with_curve(curve).with_group(group).with_l2(0.1);
            let model = Model::new(&tensor(&with_zero_groups(), &DIMS, DType::F64), penalty);
            let total = model.penalty().unwrap();
            let weighted = ((&total * 3.0).unwrap() + &total).unwrap();
            let subgradient = flat(&kernel::subgradient(&model.weight, &penalty).unwrap());
            for _ in 0..2 {
                let grads = weighted.backward().unwrap();
                for (found, slope) in flat(grads.get(&model.weight).unwrap()).into_iter().zip(&subgradient) {
                    assert!(
                        (found - 4.0 * slope).abs() <= tolerance(1e-15) * slope.abs() * 4.0,
                        "{penalty}: {found} {slope}"
                    );
                }
            }
        }
    }
}

#[test]
fn adding_the_subgradient_afterwards_gives_the_gradients_of_the_penalty_in_the_loss() {
    for group in all_groupings() {
        for curve in in_losses() {
            for dtype in [DType::F64, DType::F32] {
                let penalty = Penalty::l1(0.4).with_curve(curve).with_group(group).with_l2(0.1);
                let model = Model::new(&tensor(&with_zero_groups(), &DIMS, dtype), penalty);
                let data = || (model.weight.as_tensor() * 3.0).unwrap().sqr().unwrap().sum_all().unwrap();
                let regularizer = model.regularizer().unwrap();
                let in_loss = (data() + regularizer.penalty().unwrap()).unwrap().backward().unwrap();
                let added = regularizer.add_subgradient(data().backward().unwrap()).unwrap();
                assert_eq!(
                    flat(added.get(&model.weight).unwrap()),
                    flat(in_loss.get(&model.weight).unwrap()),
                    "{penalty}, {dtype:?}"
                );
            }
        }
    }
}

#[test]
fn a_bf16_loss_takes_groups_in_its_own_dtype() {
    let penalty = Penalty::l1(0.5).with_group(Grouping::Dim(0)).with_unscaled(true);
    // Norms 5 and 13.
    let model = Model::new(&tensor(&[3.0, 4.0, 0.0, -5.0, 12.0, 0.0], &[2, 3], DType::BF16), penalty);
    let data = model.weight.sum_all().unwrap();
    let total = (&data + model.penalty_like(&data).unwrap()).unwrap();
    assert_eq!((total.dtype(), flat(&total)), (DType::BF16, vec![23.0]));
    let grads = total.backward().unwrap();
    for (found, expected) in
        flat(grads.get(&model.weight).unwrap()).into_iter().zip([0.3, 0.4, 0.0, -2.5 / 13.0, 6.0 / 13.0, 0.0])
    {
        // Rounded to bf16 twice: the subgradient, and its sum with 1.
        assert!((found - 1.0 - expected).abs() <= 2f64.powi(-8) * 2.0, "{found} {expected}");
    }
}

#[test]
fn what_has_no_gradient_is_refused_in_the_loss_with_the_way_out() {
    let l1 = Penalty::l1(0.4);
    let refused = [
        (l1.with_curve(Curve::Half), "curve = half"),
        (l1.with_curve(Curve::TwoThirds), "curve = two_thirds"),
        (l1.with_curve(Curve::L0), "curve = l0"),
        (l1.with_positive(true), "positive"),
    ];
    for (penalty, what) in refused {
        for group in groupings(&DIMS) {
            let model = Model::new(&tensor(&with_zero_groups(), &DIMS, DType::F32), penalty.with_group(group));
            let regularizer = model.regularizer().unwrap();
            let grads = gradients([(&model.weight, model.weight.zeros_like().unwrap())]);
            for error in [regularizer.penalty().unwrap_err(), regularizer.add_subgradient(grads).unwrap_err()] {
                let text = error.to_string();
                assert!(text.starts_with(&format!("weight: `{what}` cannot stand in the loss")), "{text}");
                for way_out in ["ProxSgd", "ProxAdamW", "FtrlProximal", "Fista"] {
                    assert!(text.contains(way_out), "{text}");
                }
                let Error::NotInLoss { path, what: found } = error else { panic!("another error: {error:?}") };
                assert_eq!((path.as_str(), found.as_str()), ("weight", what));
            }
            // Its value is none the less known, and without a strength there is nothing to refuse.
            assert!(regularizer.value().unwrap() > 0.0);
        }
    }
    let free = Model::new(&tensor(&[1.0], &[1], DType::F32), Penalty::ridge(0.1).with_curve(Curve::L0));
    assert!(free.penalty().is_ok());
}
