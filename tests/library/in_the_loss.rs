//! The penalty as a term of the loss, and its subgradient added in place.

use candle_core::{DType, Tensor, Var};
use candle_nn::{AdamW, Module, Optimizer, ParamsAdamW, SGD, loss};
use l1_core::{Error, Regularized, Rule, Visitor};
use tests::device;

use crate::models::{LinearModel, Single, flat};

const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::BF16, DType::F16];

#[test]
fn the_gradient_is_the_sign_and_0_at_0() {
    for dtype in DTYPES {
        let model = Single::new(&[1.5, 0.0, -0.0, -2.0], dtype, Rule::l1(0.5).l2(0.25));
        let penalty = model.penalty().unwrap();
        assert_eq!(penalty.dtype(), if dtype == DType::F64 { DType::F64 } else { DType::F32 });
        assert!(penalty.dims().is_empty());
        assert_eq!(flat(&penalty), [0.5 * 3.5 + 0.125 * 6.25]);
        let grads = penalty.backward().unwrap();
        let grad = grads.get(&model.weight).unwrap();
        assert_eq!((grad.dtype(), flat(grad)), (dtype, vec![0.875, 0.0, 0.0, -1.0]));
    }
}

#[test]
fn the_gradient_is_multiplied_by_what_comes_from_above() {
    let model = Single::new(&[1.5, 0.0, -2.0], DType::F32, Rule::l1(0.5));
    let squared = model.penalty().unwrap().sqr().unwrap(); // gradient 2·Ω·∂Ω with Ω = 1.75
    assert_eq!(flat(squared.backward().unwrap().get(&model.weight).unwrap()), [1.75, 0.0, -1.75]);
}

#[test]
fn a_graph_can_be_used_twice() {
    let model = Single::new(&[1.5, -2.0], DType::F64, Rule::l1(0.5));
    let penalty = model.penalty().unwrap();
    let twice = (&penalty + &penalty).unwrap();
    for _ in 0..2 {
        assert_eq!(flat(twice.backward().unwrap().get(&model.weight).unwrap()), [1.0, -1.0]);
    }
}

#[test]
fn adding_the_subgradient_afterwards_gives_the_gradients_of_the_penalty_in_the_loss() {
    for dtype in DTYPES {
        let model = Single::new(&[1.5, 0.0, -2.0, 0.25], dtype, Rule::l1(0.5).l2(0.25));
        let data = || (model.weight.as_tensor() * 3.0).unwrap().sqr().unwrap().sum_all().unwrap();
        let regularizer = model.regularizer().unwrap();
        let in_loss = (data() + regularizer.penalty_like(&data()).unwrap()).unwrap().backward().unwrap();
        let added = regularizer.add_subgradient(data().backward().unwrap()).unwrap();
        assert_eq!(flat(added.get(&model.weight).unwrap()), flat(in_loss.get(&model.weight).unwrap()), "{dtype:?}");
    }
}

#[test]
fn a_strided_gradient_is_replaced_and_not_written_through() {
    let model = Single::new(&[1.0, -1.0], DType::F64, Rule::l1(0.5));
    let shared = Tensor::new(&[[1f64, 10.0], [2.0, 20.0]], &device()).unwrap();
    let mut grads = model.weight.sum_all().unwrap().backward().unwrap();
    grads.insert(&model.weight, shared.t().unwrap().get(0).unwrap().broadcast_as(2).unwrap());
    let strided = shared.narrow(1, 0, 1).unwrap().squeeze(1).unwrap();
    grads.insert(&model.weight, strided);
    let grads = model.regularizer().unwrap().add_subgradient(grads).unwrap();
    assert_eq!(flat(grads.get(&model.weight).unwrap()), [1.5, 1.5]);
    assert_eq!(flat(&shared), [1.0, 10.0, 2.0, 20.0]);
}

#[test]
fn a_gradient_that_two_variables_share_is_not_charged_twice_and_a_weights_own_storage_is_not_written() {
    struct Pair(Var, Var);
    impl Regularized for Pair {
        fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
            visitor.field("a", Rule::l1(0.5), &self.0)?;
            visitor.field("b", Rule::l1(0.5), &self.1)
        }
    }
    let of = |value: f64| Var::new(&[value], &device()).unwrap();
    let pair = Pair(of(1.0), of(2.0));
    let mut grads = (pair.0.sum_all().unwrap() + pair.1.sum_all().unwrap()).unwrap().backward().unwrap();
    let shared = Tensor::new(&[10f64], &device()).unwrap();
    grads.insert(&pair.0, shared.clone());
    grads.insert(&pair.1, shared);
    let grads = pair.regularizer().unwrap().add_subgradient(grads).unwrap();
    assert_eq!([flat(grads.get(&pair.0).unwrap()), flat(grads.get(&pair.1).unwrap())], [[10.5], [10.5]]);

    let mut grads = (pair.0.sum_all().unwrap() + pair.1.sum_all().unwrap()).unwrap().backward().unwrap();
    grads.insert(&pair.0, pair.1.as_tensor().clone());
    let grads = pair.regularizer().unwrap().add_subgradient(grads).unwrap();
    assert_eq!((flat(grads.get(&pair.0).unwrap()), flat(&pair.1)), (vec![2.5], vec![2.0]));
}

#[test]
fn regularized_gradients_can_be_clipped() {
    let model = Single::new(&[3.0, -4.0], DType::F64, Rule::l1(1.0));
    let loss = (model.weight.sqr().unwrap().sum_all().unwrap() * 0.5).unwrap();
    let mut grads = model.regularizer().unwrap().add_subgradient(loss.backward().unwrap()).unwrap();
    let norm =
        l1_core::clip_grad_norm(&mut grads, std::slice::from_ref(&model.weight), 1.0, l1_core::Norm::L1).unwrap();
    assert_eq!(flat(&norm), [9.0]); // |3 + 1| + |−4 − 1|
}

#[test]
fn a_model_of_tens_of_thousands_of_tensors_has_a_penalty_with_a_gradient() {
    // A chain of as many additions would overflow the stack of candle's `backward`.
    let model: Vec<Var> = (0..30_000).map(|_| Var::ones((), DType::F32, &device()).unwrap()).collect();
    struct Many(Vec<Var>);
    impl Regularized for Many {
        fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
            visitor.field("weights", Rule::l1(0.5), &self.0)
        }
    }
    let many = Many(model);
    let penalty = many.penalty().unwrap();
    assert_eq!(flat(&penalty), [15_000.0]);
    assert_eq!(flat(penalty.backward().unwrap().get(&many.0[29_999]).unwrap()), [0.5]);
}

#[test]
fn one_rounding_or_two_half_types_differ_by_an_ulp_at_most() {
    let values: Vec<f64> = (1..500).map(|i| (f64::from(i) * 0.7).sin()).collect();
    for (dtype, ulp) in [(DType::BF16, 7.9e-3), (DType::F16, 9.8e-4)] {
        let model = Single::new(&values, dtype, Rule::l1(0.3).l2(0.7));
        let data = || (model.weight.as_tensor() * 3.0).unwrap().sqr().unwrap().sum_all().unwrap();
        let regularizer = model.regularizer().unwrap();
        let in_loss = (data() + regularizer.penalty_like(&data()).unwrap()).unwrap().backward().unwrap();
        let added = regularizer.add_subgradient(data().backward().unwrap()).unwrap();
        let pairs = flat(added.get(&model.weight).unwrap()).into_iter().zip(flat(in_loss.get(&model.weight).unwrap()));
        for (found, expected) in pairs {
            assert!((found - expected).abs() <= ulp * expected.abs(), "{dtype:?}: {found} {expected}");
        }
    }
}

#[test]
fn a_global_scale_multiplies_value_penalty_and_subgradient() {
    let model = Single::new(&[1.5, -2.0], DType::F64, Rule::l1(0.5));
    let mut regularizer = model.regularizer().unwrap();
    regularizer.set_scale(4.0).unwrap();
    assert_eq!(regularizer.value().unwrap(), 7.0);
    assert_eq!(flat(&regularizer.penalty().unwrap()), [7.0]);
    let grads = regularizer.add_subgradient(model.weight.sum_all().unwrap().backward().unwrap()).unwrap();
    assert_eq!(flat(grads.get(&model.weight).unwrap()), [3.0, -1.0]);
}

#[test]
fn the_penalty_is_f64_if_any_parameter_is() {
    struct Mixed(Var, Var, Var);
    impl Regularized for Mixed {
        fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
            visitor.field("half", Rule::l1(1.0), &self.0)?;
            visitor.field("double", Rule::l1(1.0), &self.1)?;
            visitor.field("single", Rule::l1(1.0), &self.2)
        }
    }
    let of = |dtype| Var::ones(3, dtype, &device()).unwrap();
    let mixed = Mixed(of(DType::BF16), of(DType::F64), of(DType::F32));
    let penalty = mixed.penalty().unwrap();
    assert_eq!((penalty.dtype(), flat(&penalty)), (DType::F64, vec![9.0]));
    let grads = penalty.backward().unwrap();
    assert_eq!(grads.get(&mixed.0).unwrap().dtype(), DType::BF16);
    assert_eq!(flat(grads.get(&mixed.2).unwrap()), [1.0; 3]);
}

/// Every loss of candle, with targets of the kind that it takes.
fn losses(model: &LinearModel, x: &Tensor) -> Vec<(&'static str, Tensor)> {
    let output = model.forward(x).unwrap();
    let classes = Tensor::new(&[0u32, 2, 1, 2], &device()).unwrap();
    let numbers = output.zeros_like().unwrap();
    let log_probabilities = candle_nn::ops::log_softmax(&output, 1).unwrap();
    vec![
        ("mse", loss::mse(&output, &numbers).unwrap()),
        ("cross_entropy", loss::cross_entropy(&output, &classes).unwrap()),
        ("nll", loss::nll(&log_probabilities, &classes).unwrap()),
        ("binary_cross_entropy_with_logit", loss::binary_cross_entropy_with_logit(&output, &numbers).unwrap()),
        ("huber", loss::huber(&output, &numbers, 0.5).unwrap()),
    ]
}

fn small_model() -> (LinearModel, Vec<Var>, Tensor) {
    let w = Var::new(&[[0.5f32, -0.2], [0.1, 0.0], [-0.7, 0.3]], &device()).unwrap();
    let b = Var::new(&[0.1f32, -0.1, 0.0], &device()).unwrap();
    let x = Tensor::new(&[[1f32, 2.0], [-1.0, 0.5], [0.3, -0.4], [2.0, 1.0]], &device()).unwrap();
    (LinearModel::new(&w, &b, 0.25, 0.0), vec![w, b], x)
}

#[test]
fn every_loss_of_candle_takes_the_penalty_and_its_gradient_grows_by_the_subgradient() {
    let (model, vars, x) = small_model();
    for (name, data) in losses(&model, &x) {
        let total = (&data + model.penalty().unwrap()).unwrap();
        assert!((flat(&total)[0] - flat(&data)[0] - 0.25 * 1.8).abs() < 1e-6, "{name}");
        let (with, without) = (total.backward().unwrap(), data.backward().unwrap());
        let difference = (with.get(&vars[0]).unwrap() - without.get(&vars[0]).unwrap()).unwrap();
        for (found, expected) in flat(&difference).iter().zip([0.25, -0.25, 0.25, 0.0, -0.25, 0.25]) {
            assert!((found - expected).abs() < 1e-6, "{name}: {found} {expected}");
        }
        assert_eq!(flat(with.get(&vars[1]).unwrap()), flat(without.get(&vars[1]).unwrap()), "{name}: bias");
    }
}

#[test]
fn every_optimizer_of_candle_takes_a_penalized_loss() {
    fn lowers_the_objective<O: Optimizer>(make: impl Fn(Vec<Var>) -> O) {
        for index in 0..5 {
            let (model, vars, x) = small_model();
            let objective = || (&losses(&model, &x)[index].1 + model.penalty().unwrap()).unwrap();
            let before = flat(&objective())[0];
            let mut opt = make(vars);
            for _ in 0..20 {
                opt.backward_step(&objective()).unwrap();
            }
            assert!(flat(&objective())[0] < before - 0.01);
        }
    }
    lowers_the_objective(|vars| SGD::new(vars, 0.1).unwrap());
    lowers_the_objective(|vars| AdamW::new(vars, ParamsAdamW { lr: 0.02, ..Default::default() }).unwrap());
}

#[test]
fn a_bf16_loss_takes_the_penalty_in_its_own_dtype() {
    let model = Single::new(&[1.5, -2.0], DType::BF16, Rule::l1(0.5));
    let data = model.weight.sqr().unwrap().sum_all().unwrap();
    let total = (&data + model.penalty_like(&data).unwrap()).unwrap();
    assert_eq!((total.dtype(), flat(&total)), (DType::BF16, vec![8.0]));
}

#[test]
fn a_sign_constraint_is_refused_in_the_loss_with_the_way_out() {
    let model = Single::new(&[1.5], DType::F32, Rule::l1(0.5).positive(true));
    let grads = model.weight.sum_all().unwrap().backward().unwrap();
    let regularizer = model.regularizer().unwrap();
    let errors = [regularizer.penalty().unwrap_err(), regularizer.add_subgradient(grads).unwrap_err()];
    for error in errors {
        assert!(matches!(error, Error::NotInLoss { .. }));
        assert_eq!(
            error.to_string(),
            "weight: `positive` cannot stand in the loss, it has no gradient that would do; use a proximal optimizer \
             (`ProxSgd`, `ProxAdamW`, `FtrlProximal`, `Fista` or `Proximal`) instead of `penalty()` or `add_subgradient`"
        );
    }
}

#[test]
fn a_declared_decay_is_refused_in_the_loss_where_it_would_do_nothing() {
    let model = Single::new(&[1.0, -1.0], DType::F64, Rule::l1(0.5).decay(0.1));
    let regularizer = model.regularizer().unwrap();
    let expected = "weight: `decay` does nothing in a loss, which has no decoupled weight decay: declare a ridge, `l2`, or take \
                    `ProxSgd` or `ProxAdamW`";
    assert_eq!(regularizer.penalty().unwrap_err().to_string(), expected);
    let grads = model.weight.sum_all().unwrap().backward().unwrap();
    assert_eq!(regularizer.add_subgradient(grads).unwrap_err().to_string(), expected);
    assert_eq!(regularizer.value().unwrap(), 1.0);
}
