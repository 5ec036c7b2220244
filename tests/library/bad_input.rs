//! What bad input gets at a step: an error that names the parameter and the value, and nothing changed.

use candle_core::{DType, Tensor, Var, backprop::GradStore};
use candle_nn::{AdamW, Module, Optimizer, ParamsAdamW, SGD};
use l1_core::{
    Error, Guard, MissingCause, ParamsProxAdamW, ParamsProxSgd, ParamsProximal, ProxAdamW, ProxSgd, Proximal,
    Regularized, Rule, Visitor,
};
use tests::{device, rounded};

use crate::{
    boxed::boxed,
    every_optimizer::{EVERY_OPTIMIZER, Step},
    models::{Single, flat},
};

/// Two penalized variables and one that is not.
struct Model {
    first: Var,
    second: Var,
    bias: Var,
}

impl Model {
    fn new(dtype: DType) -> Self {
        let of = |values: &[f64]| Var::from_tensor(&rounded(values, dtype)).unwrap();
        Self { first: of(&[1.0, -2.0]), second: of(&[3.0, 0.5, 0.25]), bias: of(&[4.0]) }
    }

    fn vars(&self) -> Vec<Var> {
        vec![self.first.clone(), self.second.clone(), self.bias.clone()]
    }

    fn values(&self) -> Vec<Vec<f64>> {
        self.vars().iter().map(|var| flat(var)).collect()
    }

    fn loss(&self) -> Tensor {
        let squares = |var: &Var| var.sqr().unwrap().sum_all().unwrap().to_dtype(DType::F64).unwrap();
        ((squares(&self.first) + squares(&self.second)).unwrap() + squares(&self.bias)).unwrap()
    }

    fn grads(&self) -> GradStore {
        self.loss().backward().unwrap()
    }
}

impl Regularized for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("first", Rule::l1(0.1), &self.first)?;
        visitor.field("second", Rule::l1(0.2), &self.second)?;
        visitor.field("bias", Rule::inherit(), &self.bias)
    }
}

fn optimizers(model: &Model) -> Vec<(&'static str, Step)> {
    let regularizer = model.regularizer().unwrap();
    let sgd = ParamsProximal::new(0.1, regularizer.clone());
    // candle keeps the state in the variable's dtype, and the usual ε of 1e-8 is 0 in f16.
    let adamw = ParamsProximal::new(ParamsAdamW { eps: 1e-3, ..Default::default() }, regularizer.clone());
    let mut optimizers: Vec<_> = EVERY_OPTIMIZER
        .into_iter()
        .map(|(name, make)| (name, make(regularizer.clone(), model.vars(), Guard::Before)))
        .collect();
    optimizers.push(("Proximal<SGD>", boxed(Proximal::<SGD>::new(model.vars(), sgd))));
    optimizers.push(("Proximal<AdamW>", boxed(Proximal::<AdamW>::new(model.vars(), adamw))));
    optimizers
}

/// Every optimizer refuses these gradients with this message, changes nothing, and then goes on as if nothing had been.
#[track_caller]
fn assert_refused(spoil: impl Fn(&Model, &mut GradStore), message: &str) {
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let (model, untouched) = (Model::new(dtype), Model::new(dtype));
        for ((name, mut step), (_, mut good_step)) in optimizers(&model).into_iter().zip(optimizers(&untouched)) {
            let before = model.values();
            let mut grads = model.grads();
            spoil(&model, &mut grads);
            let error = step(&grads).unwrap_err().to_string();
            assert_eq!(error, message, "{name}, {dtype:?}");
            assert_eq!(model.values(), before, "{name}, {dtype:?}");
            step(&model.grads()).unwrap();
            good_step(&untouched.grads()).unwrap();
            assert_eq!(model.values(), untouched.values(), "{name}, {dtype:?}: the optimizer's state has changed");
        }
    }
}

fn like(var: &Var, values: &[f64]) -> Tensor {
    rounded(values, var.dtype())
}

#[test]
fn nan_in_a_gradient_is_refused_before_anything_is_written() {
    assert_refused(
        |model, grads| drop(grads.insert(&model.second, like(&model.second, &[1.0, f64::NAN, 2.0]))),
        "second: its gradient holds NaN at flat index 1; nothing was changed. Do the data hold NaN, or has training diverged? Lower the learning rate, or clip the gradients",
    );
}

#[test]
fn infinity_in_a_gradient_is_refused_before_anything_is_written() {
    assert_refused(
        |model, grads| drop(grads.insert(&model.second, like(&model.second, &[1.0, 0.0, f64::NEG_INFINITY]))),
        "second: its gradient holds -inf at flat index 2; nothing was changed. Do the data hold NaN, or has training diverged? Lower the learning rate, or clip the gradients",
    );
}

#[test]
fn nan_in_the_gradient_of_an_unpenalized_variable_is_refused_too() {
    assert_refused(
        |model, grads| drop(grads.insert(&model.bias, like(&model.bias, &[f64::NAN]))),
        "bias: its gradient holds NaN at flat index 0; nothing was changed. Do the data hold NaN, or has training diverged? Lower the learning rate, or clip the gradients",
    );
}

#[test]
fn a_gradient_of_another_shape_is_refused() {
    assert_refused(
        |model, grads| drop(grads.insert(&model.second, like(&model.second, &[1.0, 2.0]))),
        "second: its gradient has shape [2] (expected [3]); one that is inserted by hand has the shape of its variable",
    );
}

#[test]
fn a_penalized_variable_without_a_gradient_is_refused_with_the_likely_cause() {
    assert_refused(
        |model, grads| drop(grads.remove(&model.second)),
        "second: penalized, but the loss gave it no gradient, so that the penalty alone would shrink it. Is it used in the forward \
         pass? If it is, something behind it stops gradients: candle's `softmax_last_dim` (train with `candle_nn::ops::softmax`) or \
         `rope` (`rope_slow`), `detach`, a comparison or the like. If it is never to be penalized, declare `#[l1(skip)]` (or \
         `.skip(pattern, why)` beside rules for names). If it sits out some batches, an optimizer's `on_missing_gradient` can pass \
         over it",
    );
}

#[test]
fn a_gradient_of_another_dtype_is_refused() {
    let model = Model::new(DType::F32);
    for (name, mut step) in optimizers(&model) {
        let mut grads = model.grads();
        grads.insert(&model.first, Tensor::new(&[1f64, 2.0], &device()).unwrap());
        let error = step(&grads).unwrap_err().to_string();
        assert_eq!(error, "first: its gradient has dtype F64 (expected F32); cast it with `to_dtype`", "{name}");
    }
}

#[test]
fn adding_the_subgradient_refuses_what_a_step_refuses() {
    let model = Model::new(DType::F32);
    let regularizer = model.regularizer().unwrap();
    let mut grads = model.grads();
    grads.remove(&model.second);
    assert!(matches!(regularizer.add_subgradient(grads), Err(Error::MissingGradient { path, .. }) if path == "second"));
    let mut grads = model.grads();
    let first = grads.get(&model.first).unwrap().clone();
    let before = flat(&first);
    grads.insert(&model.second, like(&model.second, &[1.0]));
    assert!(matches!(regularizer.add_subgradient(grads), Err(Error::GradientShape { path, .. }) if path == "second"));
    assert_eq!(flat(&first), before, "the first gradient was changed before the second was looked at");
}

#[test]
fn a_learning_rate_out_of_its_range_is_refused_at_the_step() {
    let model = Model::new(DType::F32);
    let before = model.values();
    let mut opt = ProxAdamW::new(model.vars(), ParamsProxAdamW::new(model.regularizer().unwrap())).unwrap();
    for lr in [-0.1, f64::NAN, f64::INFINITY] {
        opt.set_learning_rate(lr);
        let error = opt.step(&model.grads()).unwrap_err().to_string();
        assert_eq!(error, format!("lr = {lr} (expected finite and ≥ 0)"));
    }
    assert_eq!(model.values(), before);
}

#[test]
fn hyperparameters_out_of_their_range_are_refused_by_name() {
    let model = Model::new(DType::F32);
    let adamw = || ParamsProxAdamW::new(model.regularizer().unwrap());
    let sgd = || ParamsProxSgd::new(model.regularizer().unwrap());
    let adamw_error = |params| ProxAdamW::new(model.vars(), params).unwrap_err().to_string();
    let sgd_error = |params| ProxSgd::new(model.vars(), params).unwrap_err().to_string();
    assert_eq!(adamw_error(ParamsProxAdamW { beta1: 1.0, ..adamw() }), "beta1 = 1 (expected in [0, 1))");
    assert_eq!(adamw_error(ParamsProxAdamW { beta2: -0.5, ..adamw() }), "beta2 = -0.5 (expected in [0, 1))");
    assert_eq!(adamw_error(ParamsProxAdamW { eps: 0.0, ..adamw() }), "eps = 0 (expected finite and > 0)");
    let eps = adamw_error(ParamsProxAdamW { eps: 1e-21, ..adamw() });
    assert!(eps.ends_with("(expected at least 1e-20 where the arithmetic is f32)"), "{eps}");
    assert_eq!(sgd_error(ParamsProxSgd { momentum: 1.5, ..sgd() }), "momentum = 1.5 (expected in [0, 1))");
    assert_eq!(sgd_error(ParamsProxSgd { nesterov: true, ..sgd() }), "momentum = 0 (expected > 0 with `nesterov`)");
    let damped = ParamsProxSgd { nesterov: true, momentum: 0.9, dampening: 0.1, ..sgd() };
    assert_eq!(sgd_error(damped), "dampening = 0.1 (expected 0 with `nesterov`)");
    assert_eq!(sgd_error(ParamsProxSgd { weight_decay: -1.0, ..sgd() }), "weight_decay = -1 (expected finite and ≥ 0)");
}

#[test]
fn a_scale_out_of_its_range_is_refused_and_the_old_one_stays() {
    let mut regularizer = Model::new(DType::F32).regularizer().unwrap();
    regularizer.set_scale(2.0).unwrap();
    for scale in [-1.0, f64::NAN, f64::INFINITY] {
        let error = regularizer.set_scale(scale).unwrap_err().to_string();
        assert_eq!(error, format!("scale = {scale} (expected finite and ≥ 0)"));
    }
    let large = Single::new(&[1.0], DType::F64, Rule::l1(1e300));
    let error = large.regularizer().unwrap().set_scale(1e300).unwrap_err().to_string();
    assert_eq!(error, "weight: lambda times the new scale = inf (expected finite and ≥ 0)");
    assert_eq!(regularizer.scale(), 2.0);
}

#[test]
fn an_optimizer_without_any_penalized_variable_is_refused() {
    let (model, other) = (Model::new(DType::F32), Model::new(DType::F32));
    let error = ProxAdamW::new(other.vars(), ParamsProxAdamW::new(model.regularizer().unwrap())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "none of the regularized parameters (2, the first is first) is among the optimizer's variables (3); pass the variables \
         of the model that the Regularizer was made from"
    );
}

#[test]
fn a_model_in_which_nothing_is_penalized_has_no_penalty_and_no_proximal_optimizer() {
    let model = Single::new(&[1.0], DType::F32, Rule::inherit());
    let regularizer = model.regularizer().unwrap();
    let message = "none of the model's parameters (1) is penalized: nothing declared (1). Declare `#[l1(lambda = ..)]` on a \
                   field or on the struct, or add a rule for names. To train without a penalty, for comparison: declare `decay = ..` \
                   alone, take candle's own optimizer, or declare a λ and `set_scale(0.0)`";
    assert_eq!(model.penalty().unwrap_err().to_string(), message);
    assert_eq!(regularizer.value().unwrap_err().to_string(), message);
    let error = ProxSgd::new(vec![model.weight.clone()], ParamsProxSgd::new(regularizer)).unwrap_err();
    assert_eq!(error.to_string(), message);
}

#[test]
fn a_frozen_model_is_said_to_be_frozen() {
    struct Frozen(Tensor);
    impl Regularized for Frozen {
        fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
            visitor.field("weight", Rule::l1(0.1).as_default(), &self.0)
        }
    }
    let error = Frozen(Tensor::new(&[1f32], &device()).unwrap()).penalty().unwrap_err();
    assert_eq!(
        error.to_string(),
        "none of the model's parameters (1) is penalized: frozen (1). Build frozen layers from a VarBuilder over a VarMap \
         (`VarBuilder::from_varmap`) to train them"
    );
}

#[test]
fn gradients_that_hold_the_penalty_already_are_refused_by_every_proximal_optimizer() {
    let model = Model::new(DType::F32);
    let before = model.values();
    let regularizer = model.regularizer().unwrap();
    for (name, mut step) in optimizers(&model) {
        let grads = regularizer.add_subgradient(model.grads()).unwrap();
        assert!(matches!(Error::from(step(&grads).unwrap_err()), Error::ChargedTwice { .. }), "{name}");
        assert!(matches!(Error::from(step(&grads.into_inner()).unwrap_err()), Error::ChargedTwice { .. }), "{name}");
    }
    let once = regularizer.add_subgradient(model.grads()).unwrap();
    assert!(matches!(regularizer.add_subgradient(once.into_inner()), Err(Error::ChargedTwice { .. })));
    assert_eq!(model.values(), before);
}

#[test]
fn a_regularizer_of_another_model_is_refused_at_the_next_step() {
    let (model, other) = (Model::new(DType::F32), Model::new(DType::F32));
    let mut opt = ProxSgd::new(model.vars(), ParamsProxSgd::new(model.regularizer().unwrap())).unwrap();
    *opt.regularizer_mut() = other.regularizer().unwrap();
    assert!(matches!(Error::from(opt.step(&model.grads()).unwrap_err()), Error::ForeignVariables { .. }));
}

#[test]
fn strengths_and_learning_rates_beyond_f32_are_refused_where_the_arithmetic_is_f32() {
    let error = Single::new(&[1.0], DType::F32, Rule::l1(1e39)).regularizer().unwrap_err().to_string();
    assert!(error.starts_with("weight: lambda = 1e39 (expected at most 3.4e38"), "{error}");
    assert!(Single::new(&[1.0], DType::F64, Rule::l1(1e39)).regularizer().is_ok());
    for dtype in [DType::F32, DType::BF16] {
        let model = Model::new(dtype);
        let before = model.values();
        let regularizer = model.regularizer().unwrap();
        let too_fast = ParamsProxSgd { lr: 1e38, momentum: 0.9, ..ParamsProxSgd::new(regularizer.clone()) };
        let error = ProxSgd::new(model.vars(), too_fast).unwrap_err().to_string();
        assert!(error.contains("at most 3.4e38·(1 − momentum)"), "{error}");
        let mut adamw = ProxAdamW::new(model.vars(), ParamsProxAdamW::new(regularizer)).unwrap();
        adamw.set_learning_rate(1e31);
        assert!(adamw.step(&model.grads()).unwrap_err().to_string().contains("at most 3.4e38·eps"));
        assert_eq!(model.values(), before);
    }
}

#[test]
fn a_layer_norm_that_cuts_the_gradients_is_noticed() {
    // candle's LayerNorm has no backward on contiguous input: fc1 gets no gradient from the loss.
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1)]
        fc1: candle_nn::Linear,
        norm: candle_nn::LayerNorm,
        fc2: candle_nn::Linear,
    }
    let varmap = candle_nn::VarMap::new();
    let vb = candle_nn::VarBuilder::from_varmap(&varmap, DType::F32, &device());
    let net = Net {
        fc1: candle_nn::linear(3, 4, vb.pp("fc1")).unwrap(),
        norm: candle_nn::layer_norm(4, 1e-5, vb.pp("norm")).unwrap(),
        fc2: candle_nn::linear(4, 1, vb.pp("fc2")).unwrap(),
    };
    let x = Tensor::new(&[[1f32, -2.0, 3.0], [0.5, 1.0, -1.0]], &device()).unwrap();
    let loss = |norm: &dyn Fn(&Tensor) -> Tensor| {
        let hidden = norm(&net.fc1.forward(&x).unwrap());
        net.fc2.forward(&hidden).unwrap().sqr().unwrap().mean_all().unwrap()
    };
    let cut = loss(&|x| net.norm.forward(x).unwrap());
    let regularizer = net.regularizer().unwrap();
    let mut opt = ProxAdamW::new(varmap.all_vars(), ParamsProxAdamW::new(regularizer.clone())).unwrap();
    let named = MissingCause::Norm { norm: "norm".into() };
    for error in [
        Error::from(opt.backward_step(&cut).unwrap_err()),
        regularizer.add_subgradient(cut.backward().unwrap()).unwrap_err(),
    ] {
        assert!(
            matches!(&error, Error::MissingGradient { path, cause, .. } if *path == "fc1.weight" && *cause == named),
            "{error}"
        );
    }
    // The way out that the message names.
    let slow =
        loss(&|x| candle_nn::ops::layer_norm_slow(x, net.norm.weight(), net.norm.bias().unwrap(), 1e-5).unwrap());
    opt.backward_step(&slow).unwrap();
}

#[test]
fn an_f8_variable_is_refused_and_not_passed_over() {
    let model = Model::new(DType::F32);
    let f8 = model.first.to_dtype(DType::F8E4M3).and_then(|tensor| Var::from_tensor(&tensor)).unwrap();
    let vars = vec![model.first.clone(), f8];
    let error = ProxSgd::new(vars, ParamsProxSgd::new(model.regularizer().unwrap())).unwrap_err().to_string();
    assert_eq!(
        error,
        "`(variable 1 of the optimizer, shape [2])` has dtype F8E4M3 (expected F32, F64, BF16 or F16: cast it with `to_dtype`, \
         or leave it out)"
    );
}

#[test]
fn an_empty_model_is_refused() {
    struct Nothing;
    impl Regularized for Nothing {
        fn visit(&self, _: &mut Visitor<'_>) -> l1_core::Result<()> {
            Ok(())
        }
    }
    assert!(matches!(Nothing.regularizer(), Err(Error::EmptyModel)));
}

#[test]
fn errors_pass_through_candles_result_and_anyhows() {
    fn candle() -> candle_core::Result<Tensor> {
        Ok(Single::new(&[1.0], DType::F32, Rule::l1(-1.0)).penalty()?)
    }
    fn anyhow() -> anyhow::Result<Tensor> {
        Ok(Single::new(&[1.0], DType::F32, Rule::l1(-1.0)).penalty()?)
    }
    fn l1() -> l1_core::Result<Tensor> {
        Ok(Tensor::new(&[1f32], &device())?.reshape(7)?)
    }
    assert!(matches!(Error::from(candle().unwrap_err()), Error::InvalidValue { key: "lambda", value: -1.0, .. }));
    assert!(anyhow().unwrap_err().downcast_ref::<Error>().is_some());
    assert_eq!(candle().unwrap_err().to_string(), "weight: lambda = -1 (expected finite and ≥ 0)");
    assert_eq!(anyhow().unwrap_err().to_string(), "weight: lambda = -1 (expected finite and ≥ 0)");
    assert!(matches!(l1(), Err(Error::Candle(_))));
}
