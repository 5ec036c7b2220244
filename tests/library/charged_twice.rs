//! A penalty that is in the gradients already is not charged a second time, by nobody and nowhere.

use std::thread;

use candle_core::{DType, Tensor, Var, backprop::GradStore};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, SGD};
use l1_core::{
    Error, Fista, Guard, MeanGradients, Norm, ParamsFista, ParamsProxSgd, ParamsProximal, ProxSgd, Proximal,
    Regularized, Regularizer, Rule, Visitor, clip_grad_norm, kernel,
};
use proptest::prelude::*;
use tests::{device, rounded, tolerance};

use crate::{
    boxed::boxed,
    every_optimizer::{EVERY_OPTIMIZER, Step},
    models::{Single, bits, flat},
};

/// Two penalized variables and a bias.
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

    fn data(&self) -> Tensor {
        let squares = |var: &Var| var.sqr().unwrap().sum_all().unwrap();
        ((squares(&self.first) + squares(&self.second)).unwrap() + squares(&self.bias)).unwrap()
    }

    fn with_penalty(&self) -> Tensor {
        (self.data() + self.penalty_like(&self.data()).unwrap()).unwrap()
    }
}

impl Regularized for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("first", Rule::l1(0.1), &self.first)?;
        visitor.field("second", Rule::l1(0.2), &self.second)?;
        visitor.field("bias", Rule::inherit(), &self.bias)
    }
}

/// Every optimizer that steps on gradients alone.
fn optimizers(regularizer: &Regularizer, vars: &[Var]) -> Vec<(&'static str, Step)> {
    let make = EVERY_OPTIMIZER.into_iter();
    let mut optimizers: Vec<_> =
        make.map(|(name, make)| (name, make(regularizer.clone(), vars.to_vec(), Guard::Before))).collect();
    let sgd = ParamsProximal::new(0.1, regularizer.clone());
    optimizers.push(("Proximal<SGD>", boxed(Proximal::<SGD>::new(vars.to_vec(), sgd))));
    let adamw = ParamsProximal::new(ParamsAdamW { eps: 1e-3, ..Default::default() }, regularizer.clone());
    optimizers.push(("Proximal<AdamW>", boxed(Proximal::<AdamW>::new(vars.to_vec(), adamw))));
    optimizers
}

#[track_caller]
fn assert_charged(result: Result<(), impl Into<Error>>, parameter: &str) {
    let error = result.err().map(Into::into);
    assert!(matches!(&error, Some(Error::ChargedTwice { path }) if *path == *parameter), "{error:?}");
}

fn is_charged(regularizer: &Regularizer, grads: &GradStore) -> bool {
    match regularizer.stationarity(grads) {
        Ok(_) => false,
        Err(Error::ChargedTwice { .. }) => true,
        Err(error) => panic!("another error: {error}"),
    }
}

#[test]
fn every_proximal_optimizer_refuses_a_loss_with_the_penalty_in_it_and_writes_nothing() {
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let (model, reference) = (Model::new(dtype), Model::new(dtype));
        let before = model.values();
        let fresh = optimizers(&reference.regularizer().unwrap(), &reference.vars());
        for ((_, mut step), (name, mut good_step)) in
            optimizers(&model.regularizer().unwrap(), &model.vars()).into_iter().zip(fresh)
        {
            let at = model.values();
            let error = Error::from(step(&model.with_penalty().backward().unwrap()).unwrap_err());
            assert_eq!(
                error.to_string(),
                "first: these gradients hold its penalty already (`penalty()` in the loss, or `add_subgradient`), and here it \
                 would be charged a second time: give the gradients of the loss alone, or train loss + penalty with candle's \
                 own optimizers",
                "{name}"
            );
            assert_eq!(model.values(), at, "{name}, {dtype:?}");
            // Nothing was counted either: the first real step is a first step.
            step(&model.data().backward().unwrap()).unwrap();
            good_step(&reference.data().backward().unwrap()).unwrap();
            assert_eq!(model.values(), reference.values(), "{name}, {dtype:?}");
        }
        assert_ne!(model.values(), before);
    }
}

#[test]
fn fista_refuses_it_in_its_own_loss_and_in_given_gradients() {
    let model = Model::new(DType::F64);
    let before = model.values();
    let regularizer = model.regularizer().unwrap();
    let with_penalty = || Ok(model.with_penalty());
    let mut opt = Fista::new(model.vars(), ParamsFista::new(regularizer.clone(), with_penalty)).unwrap();
    assert_charged(opt.minimize(1e-6, 10).map(drop), "first");
    let alone = || Ok(model.data());
    let mut opt = Fista::new(model.vars(), ParamsFista::new(regularizer, alone)).unwrap();
    assert_charged(opt.step(&model.with_penalty().backward().unwrap()), "first");
    assert_eq!(model.values(), before);
}

#[test]
fn certificates_means_of_gradients_and_the_subgradient_refuse_it_too() {
    let model = Model::new(DType::F64);
    let grads = || model.with_penalty().backward().unwrap();
    let regularizer = model.regularizer().unwrap();
    let opt = ProxSgd::new(model.vars(), ParamsProxSgd::new(regularizer.clone())).unwrap();
    assert_charged(regularizer.stationarity(&grads()).map(drop), "first");
    assert_charged(opt.stationarity(&grads()).map(drop), "first");
    assert_charged(MeanGradients::new(&regularizer).add(&grads(), 1), "first");
    assert_charged(regularizer.add_subgradient(grads()).map(drop), "first");
    assert_charged(regularizer.check_gradients(&model.with_penalty()), "first");
    assert_charged(regularizer.check_gradients_with(|| Ok(model.with_penalty())), "first");
}

#[test]
fn a_regularizer_that_is_collected_after_the_loss_is_gone_knows_of_its_penalty() {
    let model = Model::new(DType::F64);
    let grads = model.with_penalty().backward().unwrap();
    assert_charged(model.regularizer().unwrap().stationarity(&grads).map(drop), "first");
    let added = model.regularizer().unwrap().add_subgradient(model.data().backward().unwrap()).unwrap().into_inner();
    assert_charged(model.regularizer().unwrap().stationarity(&added).map(drop), "first");
}

#[test]
fn gradients_that_are_accumulated_over_batches_still_tell() {
    let model = Model::new(DType::F64);
    let mut opt = ProxSgd::new(model.vars(), ParamsProxSgd::new(model.regularizer().unwrap())).unwrap();
    for with_penalty in [[true, true], [true, false], [false, true]] {
        let [first, second] =
            with_penalty.map(|with| if with { model.with_penalty() } else { model.data() }.backward().unwrap());
        let mut sum = first;
        sum.extend(second).unwrap();
        assert_charged(opt.step(&sum), "first");
    }
}

#[test]
fn the_parameter_that_is_named_is_one_which_the_loss_charges() {
    struct Second<'m>(&'m Model);
    impl Regularized for Second<'_> {
        fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
            visitor.field("alone", Rule::l1(0.3), &self.0.second)
        }
    }
    let model = Model::new(DType::F64);
    let grads = (model.data() + Second(&model).penalty().unwrap()).unwrap().backward().unwrap();
    for (name, mut step) in optimizers(&model.regularizer().unwrap(), &model.vars()) {
        let error = Error::from(step(&grads).unwrap_err());
        assert!(matches!(&error, Error::ChargedTwice { path } if *path == "second"), "{name}: {error:?}");
    }
    // One that steps only what the loss does not charge may go on.
    let params = ParamsProxSgd::new(model.regularizer().unwrap());
    ProxSgd::new(vec![model.first.clone()], params).unwrap().step(&grads).unwrap();
}

#[test]
fn a_joint_loss_with_the_penalty_of_another_model_is_no_double_charge() {
    let (trained, other) = (Model::new(DType::F64), Model::new(DType::F64));
    let joint = || (trained.data() + other.with_penalty()).unwrap();
    for (name, mut step) in optimizers(&trained.regularizer().unwrap(), &trained.vars()) {
        step(&joint().backward().unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut sgd = SGD::new(other.vars(), 0.1).unwrap();
    let before = other.values();
    sgd.backward_step(&joint()).unwrap();
    assert_ne!(other.values(), before);
}

#[test]
fn a_scale_of_0_charges_nothing_on_either_side() {
    let model = Model::new(DType::F64);
    let mut off = model.regularizer().unwrap();
    off.set_scale(0.0).unwrap();
    let on = model.regularizer().unwrap();
    // Off in the loss, on in the optimizer; then the other way round.
    let uncharged = (model.data() + off.penalty().unwrap()).unwrap().backward().unwrap();
    assert!(uncharged.get(&model.first).is_some());
    for (name, mut step) in optimizers(&on, &model.vars()) {
        step(&uncharged).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for (name, mut step) in optimizers(&off, &model.vars()) {
        step(&model.with_penalty().backward().unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let twice = off.add_subgradient(off.add_subgradient(model.data().backward().unwrap()).unwrap().into_inner());
    assert!(!is_charged(&on, &twice.unwrap()));
}

#[test]
fn a_penalty_that_is_only_printed_charges_nothing() {
    let model = Model::new(DType::F64);
    let penalty = model.penalty().unwrap();
    assert_eq!(flat(&penalty).len(), 1);
    let shown = (model.data() + penalty.detach()).unwrap();
    assert!(!is_charged(&model.regularizer().unwrap(), &shown.backward().unwrap()));
    assert!(!is_charged(&model.regularizer().unwrap(), &model.data().backward().unwrap()));
}

#[test]
fn a_penalty_that_stands_twice_in_a_graph_has_twice_the_gradient_and_is_refused() {
    let model = Model::new(DType::F64);
    let penalty = model.penalty().unwrap();
    let twice = ((&penalty + &penalty).unwrap() + model.penalty().unwrap()).unwrap();
    let grads = twice.backward().unwrap();
    for (found, sign) in flat(grads.get(&model.first).unwrap()).iter().zip([1.0, -1.0]) {
        assert!((found - 3.0 * 0.1 * sign).abs() < tolerance(1e-15), "{found}"); // three roundings of 0.3
    }
    assert!(is_charged(&model.regularizer().unwrap(), &grads));
    // Graphs can be differentiated again.
    assert!(is_charged(&model.regularizer().unwrap(), &twice.backward().unwrap()));
}

#[test]
fn clipping_and_candles_optimizers_do_not_see_the_marks() {
    let model = Model::new(DType::F64);
    let mut grads = model.with_penalty().backward().unwrap();
    let norm = clip_grad_norm(&mut grads, &model.vars(), 1.0, Norm::L1).unwrap();
    // |2w + λ·sign(w)| summed: 2·(3 + 3.75) + 2·0.1 + 3·0.2, and 8 of the bias.
    assert!((flat(&norm)[0] - 22.3).abs() < 1e-12);
    assert!(is_charged(&model.regularizer().unwrap(), &grads), "a clipped penalty is still one");

    let (marked, plain) = (Model::new(DType::F64), Model::new(DType::F64));
    let step = |model: &Model, loss: Tensor| {
        AdamW::new(model.vars(), ParamsAdamW::default()).unwrap().backward_step(&loss).unwrap();
        model.values()
    };
    // The same sum without l1: no weight is 0.
    let abs = |var: &Var, lambda: f64| (var.abs().unwrap().sum_all().unwrap() * lambda).unwrap();
    let by_candle = ((plain.data() + abs(&plain.first, 0.1)).unwrap() + abs(&plain.second, 0.2)).unwrap();
    assert_eq!(step(&marked, marked.with_penalty()), step(&plain, by_candle));
}

#[test]
fn regularizers_go_from_thread_to_thread_and_charge_the_same_marks() {
    fn goes_anywhere<T: Clone + Send + Sync>(_: &T) {}
    let model = Model::new(DType::F64);
    let regularizer = model.regularizer().unwrap();
    goes_anywhere(&regularizer);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let mine = model.regularizer().unwrap();
                    let grads = mine.penalty().unwrap().backward().unwrap();
                    assert!(is_charged(&regularizer, &grads) && is_charged(&mine, &grads));
                    assert!(!is_charged(&regularizer, &model.data().backward().unwrap()));
                }
            });
        }
    });
}

#[test]
fn a_mark_is_no_variable_of_the_model() {
    let varmap = candle_nn::VarMap::new();
    let vb = candle_nn::VarBuilder::from_varmap(&varmap, DType::F32, &device());
    let fc = candle_nn::linear(3, 2, vb.pp("fc")).unwrap();
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1)]
        fc: candle_nn::Linear,
    }
    let net = Net { fc };
    let _ = net.penalty().unwrap().backward().unwrap();
    assert_eq!(varmap.all_vars().len(), 2);
    assert_eq!(net.regularizer().unwrap().params().len(), 2);
}

proptest! {
    #[test]
    fn value_and_gradient_of_a_marked_penalty_have_the_bits_of_the_kernels(
        values in prop::collection::vec(prop_oneof![Just(0.0), Just(-0.0), -3.0..3.0f64, Just(f64::NAN)], 1..40),
        (lambda, l2) in (0.0..2.0f64, 0.0..2.0f64),
    ) {
        for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
            let model = Single::new(&values, dtype, Rule::l1(lambda).l2(l2));
            let regularizer = model.regularizer().unwrap();
            let penalty = *regularizer.params()[0].decision().penalty().unwrap();
            let term = regularizer.penalty().unwrap();
            let value = kernel::value(&model.weight, &penalty).unwrap();
            let expected = if dtype == DType::F64 { value } else { f64::from(value as f32) };
            prop_assert_eq!(bits(&term), vec![expected.to_bits()]);
            let subgradient = kernel::subgradient(&model.weight, &penalty).unwrap();
            // `backward` adds it to 0, and 0 + −0 is 0.
            let expected = bits(&(subgradient.zeros_like().unwrap() + subgradient).unwrap());
            let grads = term.backward().unwrap();
            prop_assert_eq!(bits(grads.get(&model.weight).unwrap()), expected);
        }
    }
}
