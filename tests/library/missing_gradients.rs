//! A penalized parameter without a gradient: what is said of the cause, what `check_gradients` finds, what the optimizers do.

use std::cell::Cell;

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, Var, backprop::GradStore};
use candle_nn::{
    AdamW, LayerNorm, Linear, Module, Optimizer, ParamsAdamW, RmsNorm, SGD, VarBuilder, VarMap, layer_norm, linear,
    ops, rms_norm,
};
use l1_core::{
    Error, FtrlProximal, MissingCause, OnMissingGradient, ParamsFtrl, ParamsProxAdamW, ParamsProxSgd, ParamsProximal,
    ProxAdamW, ProxSgd, Proximal, Regularized, Regularizer, Rule, Visitor,
};
use tests::{device, rounded, rounded_on};

use crate::{
    boxed::boxed,
    every_optimizer::Step,
    models::{bits, flat, gradients},
};

// ------------------------------------------------------------------------------------------- residual networks

/// `fc2(h + norm(h))` with `h = fc1(x)`: gradients of `fc1` come past the norm, if not through it.
#[derive(Regularized)]
#[l1(lambda = 0.1)]
struct Residual {
    fc1: Linear,
    norm: LayerNorm,
    fc2: Linear,
}

impl Residual {
    fn new() -> Self {
        let varmap = VarMap::new();
        let vb = VarBuilder::from_varmap(&varmap, DType::F32, &device());
        let layer = |name: &str| linear(3, 3, vb.pp(name)).unwrap();
        Self { fc1: layer("fc1"), norm: layer_norm(3, 1e-5, vb.pp("norm")).unwrap(), fc2: layer("fc2") }
    }

    fn loss(&self, norm: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> candle_core::Result<Tensor> {
        let x = Tensor::new(&[[1f32, -2.0, 3.0], [0.5, 1.0, -1.0]], &device())?;
        let hidden = self.fc1.forward(&x)?;
        self.fc2.forward(&(&hidden + norm(&hidden)?)?)?.sqr()?.mean_all()
    }
}

#[test]
fn a_norm_that_cuts_one_branch_of_a_residual_network_is_noticed_before_training() {
    let net = Residual::new();
    let regularizer = net.regularizer().unwrap();
    let is_norm = |error: Error| matches!(error, Error::NormWithoutBackward { norm } if norm == "norm");
    let cut = || net.loss(|x| net.norm.forward(x));
    assert!(is_norm(regularizer.check_gradients(&cut().unwrap()).unwrap_err()));
    assert!(is_norm(regularizer.check_gradients_with(cut).unwrap_err()));

    let bias = net.norm.bias().unwrap();
    let whole = || net.loss(|x| ops::layer_norm_slow(x, net.norm.weight(), bias, 1e-5));
    regularizer.check_gradients(&whole().unwrap()).unwrap();
    regularizer.check_gradients_with(whole).unwrap();
}

#[test]
fn a_norm_that_the_loss_does_not_depend_on_cuts_nothing() {
    let net = Residual::new();
    let regularizer = net.regularizer().unwrap();
    let without = || net.loss(|x| x.zeros_like());
    assert!(regularizer.check_gradients(&without().unwrap()).is_err()); // from gradients alone it is likely
    regularizer.check_gradients_with(without).unwrap();
}

#[test]
fn a_norm_of_a_detached_backbone_is_no_reason_to_refuse() {
    #[derive(Regularized)]
    struct Tuned {
        #[l1(skip = "pretrained")]
        backbone: Residual,
        #[l1(lambda = 0.1)]
        head: Linear,
    }
    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F32, &device());
    let net = Tuned { backbone: Residual::new(), head: linear(3, 1, vb).unwrap() };
    let x = Tensor::new(&[[1f32, -2.0, 3.0], [0.5, 1.0, -1.0]], &device()).unwrap();
    let loss = || {
        let hidden = net.backbone.fc1.forward(&x)?;
        let hidden = (&hidden + net.backbone.norm.forward(&hidden)?)?;
        net.head.forward(&net.backbone.fc2.forward(&hidden)?.detach())?.sqr()?.mean_all()
    };
    let regularizer = net.regularizer().unwrap();
    regularizer.check_gradients(&loss().unwrap()).unwrap();
    regularizer.check_gradients_with(loss).unwrap();
}

// ------------------------------------------------------------------------------------------- the cause

/// Four layers with a norm between the second and the third, and one that is seldom used.
#[derive(Regularized)]
#[l1(lambda = 0.1)]
struct Net {
    fc1: Linear,
    fc2: Linear,
    #[l1(flatten)]
    norm: Norm,
    fc3: Linear,
    spare: Linear,
    fc4: Linear,
}

#[derive(Regularized)]
enum Norm {
    None,
    Layer { norm: LayerNorm },
    Rms { rms: RmsNorm },
}

impl Net {
    fn new(norm: impl FnOnce(VarBuilder<'_>) -> Norm) -> Self {
        let varmap = VarMap::new();
        let vb = VarBuilder::from_varmap(&varmap, DType::F32, &device());
        let layer = |name: &str| linear(4, 4, vb.pp(name)).unwrap();
        let [fc1, fc2, fc3, spare, fc4] = ["fc1", "fc2", "fc3", "spare", "fc4"].map(layer);
        Self { fc1, fc2, norm: norm(vb.clone()), fc3, spare, fc4 }
    }

    fn plain() -> Self {
        Self::new(|_| Norm::None)
    }

    /// The loss with something between the second layer and the third, and behind the last.
    fn loss(
        &self,
        between: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
        behind: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
    ) -> candle_core::Result<Tensor> {
        let x = Tensor::new(&[[1f32, -2.0, 3.0, 0.5], [0.5, 1.0, -1.0, 0.25]], &device())?;
        let hidden = between(&self.fc2.forward(&self.fc1.forward(&x)?)?)?;
        let hidden = self.spare.forward(&self.fc3.forward(&hidden)?)?;
        behind(&self.fc4.forward(&hidden)?)?.sqr()?.mean_all()
    }
}

fn as_it_is(x: &Tensor) -> candle_core::Result<Tensor> {
    Ok(x.clone())
}

struct Missing {
    path: String,
    cause: MissingCause,
    others: Vec<String>,
}

#[track_caller]
fn missing(result: l1_core::Result<()>) -> Missing {
    match result {
        Err(Error::MissingGradient { path, cause, others }) => {
            Missing { path: path.to_string(), cause, others: others.iter().map(ToString::to_string).collect() }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_norm_between_that_has_no_gradient_either_is_named_with_the_way_out() {
    let net = Net::new(|vb| Norm::Layer { norm: layer_norm(4, 1e-5, vb.pp("norm")).unwrap() });
    let Norm::Layer { norm } = &net.norm else { unreachable!() };
    let regularizer = net.regularizer().unwrap();
    let cut = net.loss(|x| norm.forward(x), as_it_is).unwrap();
    let found = missing(regularizer.check_gradients(&cut));
    assert_eq!((found.path.as_str(), found.others), ("fc1.weight", vec!["fc2.weight".to_owned()]));
    assert_eq!(found.cause, MissingCause::Norm { norm: "norm".into() });
    assert_eq!(
        regularizer.check_gradients(&cut).unwrap_err().to_string(),
        "fc1.weight: penalized, but the loss gave it no gradient (nor fc2.weight), so that the penalty alone would shrink it. Likely \
         because of `norm`, which has none either: candle's LayerNorm and RmsNorm have no backward on contiguous input; train with \
         `candle_nn::ops::layer_norm_slow`, `RmsNorm::forward_diff`"
    );
    let slow = |x: &Tensor| ops::layer_norm_slow(x, norm.weight(), norm.bias().unwrap(), 1e-5);
    regularizer.check_gradients(&net.loss(slow, as_it_is).unwrap()).unwrap();

    let net = Net::new(|vb| Norm::Rms { rms: rms_norm(4, 1e-5, vb.pp("rms")).unwrap() });
    let Norm::Rms { rms } = &net.norm else { unreachable!() };
    let regularizer = net.regularizer().unwrap();
    let found = missing(regularizer.check_gradients(&net.loss(|x| rms.forward(x), as_it_is).unwrap()));
    assert_eq!(found.cause, MissingCause::Norm { norm: "rms".into() });
    regularizer.check_gradients(&net.loss(|x| rms.forward_diff(x), as_it_is).unwrap()).unwrap();
}

#[test]
fn of_several_norms_the_last_before_a_gradient_is_named() {
    // Each of them stops gradients, but the last one is the first to do so on the way back.
    #[derive(Regularized)]
    struct Deep {
        #[l1(lambda = 0.1)]
        fc1: Linear,
        ln1: LayerNorm,
        #[l1(lambda = 0.1)]
        fc2: Linear,
        ln2: LayerNorm,
        #[l1(lambda = 0.1)]
        fc3: Linear,
    }
    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F32, &device());
    let layer = |name: &str| linear(4, 4, vb.pp(name)).unwrap();
    let norm = |name: &str| layer_norm(4, 1e-5, vb.pp(name)).unwrap();
    let deep = Deep { fc1: layer("fc1"), ln1: norm("ln1"), fc2: layer("fc2"), ln2: norm("ln2"), fc3: layer("fc3") };
    let x = Tensor::ones((2, 4), DType::F32, &device()).unwrap();
    let layers: [&dyn Module; 5] = [&deep.fc1, &deep.ln1, &deep.fc2, &deep.ln2, &deep.fc3];
    let output = layers.iter().fold(x, |x, layer| layer.forward(&x).unwrap());
    let found = missing(deep.regularizer().unwrap().check_gradients(&output.mean_all().unwrap()));
    assert_eq!((found.path.as_str(), found.cause), ("fc1.weight", MissingCause::Norm { norm: "ln2".into() }));
}

#[test]
fn a_model_without_any_gradient_is_told_apart() {
    let (net, other) = (Net::plain(), Net::plain());
    let regularizer = net.regularizer().unwrap();
    for loss in [
        other.loss(as_it_is, as_it_is).unwrap(),
        net.loss(as_it_is, as_it_is).unwrap().detach(),
        net.loss(as_it_is, |x| Ok(x.detach())).unwrap(),
    ] {
        let found = missing(regularizer.check_gradients(&loss));
        assert_eq!((found.path.as_str(), found.cause, found.others.len()), ("fc1.weight", MissingCause::NoneHasOne, 4));
    }
    let message = regularizer.check_gradients(&other.loss(as_it_is, as_it_is).unwrap()).unwrap_err().to_string();
    assert!(message.contains("(nor fc2.weight, fc3.weight, spare.weight and 1 more)"), "{message}");
    assert!(message.contains("is this the loss of this model?"), "{message}");
}

#[test]
fn where_the_first_layers_have_none_the_first_parameter_that_has_one_is_named() {
    let net = Net::plain();
    let regularizer = net.regularizer().unwrap();
    for cut in [|x: &Tensor| ops::softmax_last_dim(x), |x: &Tensor| Ok(x.detach())] {
        let found = missing(regularizer.check_gradients(&net.loss(cut, as_it_is).unwrap()));
        assert_eq!((found.path.as_str(), found.others), ("fc1.weight", vec!["fc2.weight".to_owned()]));
        assert_eq!(found.cause, MissingCause::Cut { before: "fc3.weight".into() });
        assert!(found.cause.to_string().contains("`candle_nn::ops::softmax`"));
    }
    let softmax = |x: &Tensor| ops::softmax(x, candle_core::D::Minus1);
    regularizer.check_gradients(&net.loss(softmax, as_it_is).unwrap()).unwrap();
}

#[test]
fn a_layer_that_alone_has_none_is_asked_after() {
    let net = Net::plain();
    let regularizer = net.regularizer().unwrap();
    let x = Tensor::ones((2, 4), DType::F32, &device()).unwrap();
    let without = |left_out: &str| {
        let layers =
            [("fc1", &net.fc1), ("fc2", &net.fc2), ("fc3", &net.fc3), ("spare", &net.spare), ("fc4", &net.fc4)];
        let used = layers.into_iter().filter(|(name, _)| *name != left_out);
        used.fold(x.clone(), |x, (_, layer)| layer.forward(&x).unwrap()).mean_all().unwrap()
    };
    for left_out in ["fc1", "spare", "fc4"] {
        let found = missing(regularizer.check_gradients(&without(left_out)));
        assert_eq!((found.path, found.cause), (format!("{left_out}.weight"), MissingCause::Unused));
        assert!(found.others.is_empty());
    }
}

/// An operation whose author says that it has no gradient.
struct Constant;

impl CustomOp1 for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((storage.clone(), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(None)
    }
}

/// Two variables with a rule each.
struct Pair {
    first: Var,
    second: Var,
}

impl Pair {
    fn new(dtype: DType) -> Self {
        Self::on(&device(), dtype)
    }

    fn on(device: &Device, dtype: DType) -> Self {
        let of = |values: &[f64]| Var::from_tensor(&rounded_on(device, values, dtype)).unwrap();
        Self { first: of(&[1.0, -2.0, 0.5]), second: of(&[3.0, 0.5, 0.25]) }
    }
}

impl Regularized for Pair {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("first", Rule::l1(0.1), &self.first)?;
        visitor.field("second", Rule::l1(0.2), &self.second)
    }
}

#[test]
fn a_parameter_in_the_graph_whose_operation_gives_no_gradient_is_told_apart() {
    // The operation is written for the CPU alone.
    let pair = Pair::on(&Device::Cpu, DType::F64);
    let loss = (pair.first.apply_op1(Constant).unwrap() + pair.second.as_tensor()).unwrap().sum_all().unwrap();
    let found = missing(pair.regularizer().unwrap().check_gradients(&loss));
    assert_eq!((found.path.as_str(), found.cause), ("first", MissingCause::NoDerivative));
}

#[test]
fn the_optimizers_and_the_certificate_tell_the_likely_cause_too() {
    let net = Net::plain();
    let regularizer = net.regularizer().unwrap();
    let vars: Vec<_> = regularizer.params().iter().map(|param| Var::from_tensor(param.tensor()).unwrap()).collect();
    let grads = net.loss(|x| Ok(x.detach()), as_it_is).unwrap().backward().unwrap();
    let before = bits(&vars[0]);
    let errors =
        optimizers(&regularizer, &vars, OnMissingGradient::Error).map(|(_, mut step)| step(&grads).unwrap_err().into());
    let certificate = regularizer.stationarity(&grads).map(drop);
    for error in errors.into_iter().chain(certificate.err()) {
        let found = missing(Err(error));
        assert_eq!((found.path.as_str(), found.others), ("fc1.weight", vec!["fc2.weight".to_owned()]));
        assert_eq!(found.cause, MissingCause::Cut { before: "fc3.weight".into() });
    }
    assert_eq!(bits(&vars[0]), before);
}

// --------------------------------------------------------------------------------------- certain answers

/// The bits of every parameter.
fn all_bits(regularizer: &Regularizer) -> Vec<Vec<u64>> {
    regularizer.params().iter().map(|param| bits(param.tensor())).collect()
}

#[test]
fn a_layer_that_takes_part_without_a_gradient_is_told_from_one_that_does_not() {
    let net = Net::new(|vb| Norm::Layer { norm: layer_norm(4, 1e-5, vb.pp("norm")).unwrap() });
    let Norm::Layer { norm } = &net.norm else { unreachable!() };
    let regularizer = net.regularizer().unwrap();
    let before = all_bits(&regularizer);

    let found = missing(regularizer.check_gradients_with(|| net.loss(|x| norm.forward(x), as_it_is)));
    assert_eq!((found.path.as_str(), found.others), ("fc1.weight", vec!["fc2.weight".to_owned()]));
    assert_eq!(found.cause, MissingCause::NoBackward { norm: Some("norm".into()) });
    assert!(found.cause.to_string().starts_with("It takes part in the loss (changing it changes the loss)"));

    let found = missing(regularizer.check_gradients_with(|| net.loss(ops::softmax_last_dim, as_it_is)));
    assert_eq!(found.cause, MissingCause::NoBackward { norm: None });

    // Zeros in place of what the first two layers say.
    let found = missing(regularizer.check_gradients_with(|| net.loss(|x| x.zeros_like(), as_it_is)));
    assert_eq!((found.path.as_str(), found.cause), ("fc1.weight", MissingCause::NotInLoss));
    assert_eq!(found.others, ["fc2.weight"]);

    regularizer.check_gradients_with(|| net.loss(as_it_is, as_it_is)).unwrap();
    assert_eq!(all_bits(&regularizer), before);
}

#[test]
fn of_both_kinds_those_that_take_part_are_named_first() {
    let pair = Pair::new(DType::F64);
    let regularizer = pair.regularizer().unwrap();
    // `first` is not used at all; `second` without a gradient.
    let found = missing(regularizer.check_gradients_with(|| pair.second.detach().sqr()?.sum_all()));
    assert_eq!((found.path.as_str(), found.cause), ("second", MissingCause::NoBackward { norm: None }));
    assert!(found.others.is_empty());
}

#[test]
fn a_change_is_seen_through_layers_that_do_not_see_shifts_or_multiples() {
    // A layer norm takes both away, and these weights start at 0 or are all the same.
    for start in [0.0, 1.0] {
        for columns in [1, 2, 8, 55, 144] {
            let w = Var::from_tensor(&Tensor::full(start, (4, columns), &device()).unwrap()).unwrap();
            let x = Tensor::ones((1, columns), DType::F64, &device()).unwrap();
            let pair = Pair { first: w, second: Var::ones(4, DType::F64, &device()).unwrap() };
            let loss = || {
                let hidden = x.matmul(&pair.first.t()?)?;
                let centred = hidden.broadcast_sub(&hidden.mean_keepdim(1)?)?;
                let normed = centred.broadcast_div(&(centred.sqr()?.mean_keepdim(1)? + 1e-5)?.sqrt()?)?.detach();
                normed.broadcast_mul(&pair.second)?.powf(3.0)?.sum_all()
            };
            let found = missing(pair.regularizer().unwrap().check_gradients_with(loss));
            assert_eq!((found.path.as_str(), found.cause), ("first", MissingCause::NoBackward { norm: None }));
        }
    }
}

#[test]
fn a_change_is_large_enough_for_every_type_and_every_plateau() {
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let pair = Pair::new(dtype);
        // The place of the largest weight, as a number: it changes with a large change alone.
        let loss = || {
            let place = pair.first.argmax(0)?.to_dtype(dtype)?;
            (pair.second.sum_all()? * 0.0)? + (pair.second.sum_all()? + place)?
        };
        let before = bits(&pair.first);
        let found = missing(pair.regularizer().unwrap().check_gradients_with(loss));
        assert_eq!((found.path.as_str(), found.cause), ("first", MissingCause::NoBackward { norm: None }), "{dtype:?}");
        assert_eq!(bits(&pair.first), before);
    }
}

#[test]
fn weights_come_back_to_the_bit_also_where_the_loss_fails_or_panics() {
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let pair = Pair::new(dtype);
        pair.first.set(&rounded(&[f64::NAN, -0.0, 1e-300], dtype)).unwrap();
        let regularizer = pair.regularizer().unwrap();
        let before = all_bits(&regularizer);
        let loss = || pair.second.sum_all();
        assert_eq!(missing(regularizer.check_gradients_with(loss)).cause, MissingCause::NotInLoss);
        assert_eq!(all_bits(&regularizer), before);
        for last_good in 0..4 {
            let calls = Cell::new(0);
            let failing = || {
                calls.set(calls.get() + 1);
                if calls.get() > last_good { candle_core::bail!("no more data") } else { loss() }
            };
            let error = regularizer.check_gradients_with(failing).unwrap_err().to_string();
            assert!(error.contains("no more data"), "{error}");
            assert_eq!(all_bits(&regularizer), before, "{dtype:?}, after {last_good} calls");

            calls.set(0);
            let panicking = || {
                calls.set(calls.get() + 1);
                assert!(calls.get() <= last_good, "a panic of the loss");
                loss()
            };
            let panicked = std::panic::AssertUnwindSafe(|| regularizer.check_gradients_with(panicking));
            assert!(std::panic::catch_unwind(panicked).is_err());
            assert_eq!(all_bits(&regularizer), before, "{dtype:?}, after {last_good} calls");
        }
    }
}

#[test]
fn a_loss_that_differs_from_call_to_call_or_is_not_finite_gets_the_likely_cause() {
    let pair = Pair::new(DType::F64);
    let regularizer = pair.regularizer().unwrap();
    let calls = Cell::new(0.0);
    let random = || {
        calls.set(calls.get() + 1.0);
        pair.second.sum_all()? * calls.get()
    };
    assert_eq!(missing(regularizer.check_gradients_with(random)).cause, MissingCause::Unused);
    assert_eq!(calls.get(), 2.0, "it was evaluated with changed weights, which tell nothing");
    let infinite = || pair.second.sum_all()? / 0.0;
    assert_eq!(missing(regularizer.check_gradients_with(infinite)).cause, MissingCause::Unused);
}

#[test]
fn a_loss_that_is_no_scalar_and_a_model_without_penalty_are_refused() {
    let pair = Pair::new(DType::F64);
    let regularizer = pair.regularizer().unwrap();
    let vector = || (pair.first.as_tensor() + pair.second.as_tensor())?.sqr();
    let message = "the loss has shape [3] (expected a scalar: end it with `mean_all()?` or `sum_all()?`)";
    assert_eq!(regularizer.check_gradients(&vector().unwrap()).unwrap_err().to_string(), message);
    assert_eq!(regularizer.check_gradients_with(vector).unwrap_err().to_string(), message);
    let bare = crate::models::Single::new(&[1.0], DType::F64, Rule::inherit());
    let loss = bare.weight.sum_all().unwrap();
    let error = bare.regularizer().unwrap().check_gradients(&loss).unwrap_err();
    assert!(matches!(error, Error::NothingPenalized { .. }));
}

// --------------------------------------------------------------------------------------- error, skip, shrink

/// Each method once, in the order: exact shrinking, with a buffer, Adam, AMSGrad, FTRL, and behind two of candle's.
fn optimizers(
    regularizer: &Regularizer,
    vars: &[Var],
    on_missing_gradient: OnMissingGradient,
) -> [(&'static str, Step); 7] {
    let regularizer = || regularizer.clone();
    let vars = || vars.to_vec();
    let sgd = || ParamsProxSgd { lr: 0.05, on_missing_gradient, ..ParamsProxSgd::new(regularizer()) };
    let adamw = || ParamsProxAdamW { lr: 0.01, on_missing_gradient, ..ParamsProxAdamW::new(regularizer()) };
    let ftrl = ParamsFtrl { lr: 0.2, on_missing_gradient, ..ParamsFtrl::new(regularizer()) };
    let behind_sgd = ParamsProximal { on_missing_gradient, ..ParamsProximal::new(0.05, regularizer()) };
    // candle keeps the state in the variable's dtype, and the usual ε of 1e-8 is 0 in f16.
    let params = ParamsAdamW { eps: 1e-3, ..Default::default() };
    let behind_adamw = ParamsProximal { on_missing_gradient, ..ParamsProximal::new(params, regularizer()) };
    [
        ("ProxSgd", boxed(ProxSgd::new(vars(), sgd()))),
        ("ProxSgd with momentum", boxed(ProxSgd::new(vars(), ParamsProxSgd { momentum: 0.9, ..sgd() }))),
        ("ProxAdamW", boxed(ProxAdamW::new(vars(), ParamsProxAdamW { weight_decay: 0.1, ..adamw() }))),
        ("ProxAdamW with amsgrad", boxed(ProxAdamW::new(vars(), ParamsProxAdamW { amsgrad: true, ..adamw() }))),
        ("FtrlProximal", boxed(FtrlProximal::new(vars(), ftrl))),
        ("Proximal<SGD>", boxed(Proximal::<SGD>::new(vars(), behind_sgd))),
        ("Proximal<AdamW>", boxed(Proximal::<AdamW>::new(vars(), behind_adamw))),
    ]
}

/// A penalized pair and an unpenalized variable.
struct Model {
    pair: Pair,
    bias: Var,
}

impl Model {
    fn new(dtype: DType) -> Self {
        Self { pair: Pair::new(dtype), bias: Var::ones(2, dtype, &device()).unwrap() }
    }

    fn vars(&self) -> Vec<Var> {
        vec![self.pair.first.clone(), self.pair.second.clone(), self.bias.clone()]
    }

    fn bits(&self) -> Vec<Vec<u64>> {
        self.vars().iter().map(|var| bits(var)).collect()
    }

    /// Gradients of one step, for the variables at these places.
    fn gradients(&self, step: usize, of: &[usize]) -> GradStore {
        let vars = self.vars();
        gradients(of.iter().map(|&index| {
            let gradient =
                (0..vars[index].elem_count()).map(|i| (1.3 * i as f64 + (7 * index + 3 * step) as f64).cos());
            let gradient = rounded(gradient.collect::<Vec<_>>(), vars[index].dtype());
            (&vars[index], gradient)
        }))
    }
}

impl Regularized for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("pair", Rule::inherit(), &self.pair)?;
        visitor.field("bias", Rule::inherit(), &self.bias)
    }
}

const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::BF16, DType::F16];

#[test]
fn skipped_parameters_keep_weights_moments_and_counts_while_the_others_are_stepped() {
    for dtype in DTYPES {
        for method in 0..7 {
            let (model, reference) = (Model::new(dtype), Model::new(dtype));
            let start = |model: &Model, on_missing_gradient| {
                let of = optimizers(&model.regularizer().unwrap(), &model.vars(), on_missing_gradient);
                of.into_iter().nth(method).unwrap()
            };
            let (name, mut step) = start(&model, OnMissingGradient::Skip);
            let (_, mut good_step) = start(&reference, OnMissingGradient::Error);
            // `second` sits out steps 1 and 2. Without it nothing differs from a variable that was never asked.
            let mut others = vec![];
            for index in 0..4 {
                let of: &[usize] = if index == 1 || index == 2 { &[0, 2] } else { &[0, 1, 2] };
                let before = bits(&model.pair.second);
                step(&model.gradients(index, of)).unwrap();
                if of.len() == 2 {
                    assert_eq!(bits(&model.pair.second), before, "{name}, {dtype:?}, step {index}");
                }
                others.push((bits(&model.pair.first), bits(&model.bias)));
            }
            for index in [0, 3] {
                good_step(&reference.gradients(index, &[0, 1, 2])).unwrap();
            }
            // candle's AdamW counts its steps for all variables at once.
            if name != "Proximal<AdamW>" {
                assert_eq!(bits(&model.pair.second), bits(&reference.pair.second), "{name}, {dtype:?}");
            }
            // And the others were stepped as ever.
            let full = Model::new(dtype);
            let (_, mut full_step) = start(&full, OnMissingGradient::Error);
            for (index, expected) in others.iter().enumerate() {
                full_step(&full.gradients(index, &[0, 1, 2])).unwrap();
                assert_eq!((bits(&full.pair.first), bits(&full.bias)), *expected, "{name}, {dtype:?}, step {index}");
            }
        }
    }
}

#[test]
fn shrunk_parameters_go_on_as_with_a_gradient_of_zeros() {
    for dtype in DTYPES {
        let (model, reference) = (Model::new(dtype), Model::new(dtype));
        let start = |model: &Model, on_missing_gradient| {
            optimizers(&model.regularizer().unwrap(), &model.vars(), on_missing_gradient).into_iter()
        };
        let pairs = start(&model, OnMissingGradient::Shrink).zip(start(&reference, OnMissingGradient::Error));
        // candle's AdamW moves by its momentum on a gradient of zeros, and leaves alone what has none.
        for ((name, mut step), (_, mut good_step)) in pairs.filter(|((name, _), _)| *name != "Proximal<AdamW>") {
            for index in 0..4 {
                let is_missing = index > 0 && index < 3;
                let of: &[usize] = if is_missing { &[0, 2] } else { &[0, 1, 2] };
                let mut grads = reference.gradients(index, of);
                step(&model.gradients(index, of)).unwrap();
                if is_missing {
                    grads.insert(&reference.pair.second, reference.pair.second.zeros_like().unwrap());
                }
                good_step(&grads).unwrap();
                assert_eq!(model.bits(), reference.bits(), "{name}, {dtype:?}, step {index}");
            }
        }
    }
}

#[test]
fn behind_candles_adamw_shrinking_is_the_prox_alone() {
    let model = Model::new(DType::F64);
    let params = ParamsProximal {
        on_missing_gradient: OnMissingGradient::Shrink,
        ..ParamsProximal::new(ParamsAdamW { lr: 0.5, ..Default::default() }, model.regularizer().unwrap())
    };
    let mut opt = Proximal::<AdamW>::new(model.vars(), params).unwrap();
    opt.step(&model.gradients(0, &[0, 2])).unwrap();
    assert_eq!(flat(&model.pair.second), [2.9, 0.4, 0.15]); // less 0.5·0.2
}

#[test]
fn adam_empties_at_once_what_never_had_a_gradient() {
    let model = Model::new(DType::F64);
    let params = ParamsProxAdamW {
        on_missing_gradient: OnMissingGradient::Shrink,
        ..ParamsProxAdamW::new(model.regularizer().unwrap())
    };
    let mut opt = ProxAdamW::new(model.vars(), params).unwrap();
    opt.step(&model.gradients(0, &[0])).unwrap();
    assert_eq!(flat(&model.pair.second), [0.0; 3]);
    assert!(flat(&model.pair.first).iter().all(|w| *w != 0.0));
}

#[test]
fn an_unpenalized_variable_without_a_gradient_is_left_alone_whatever_is_chosen() {
    for choice in [OnMissingGradient::Error, OnMissingGradient::Skip, OnMissingGradient::Shrink] {
        let model = Model::new(DType::F64);
        let mut off = model.regularizer().unwrap();
        for (name, mut step) in optimizers(&off, &model.vars(), choice) {
            let before = bits(&model.bias);
            step(&model.gradients(0, &[0, 1])).unwrap();
            assert_eq!(bits(&model.bias), before, "{name}, {choice:?}");
        }
        // So is one whose penalty has the scale 0.
        off.set_scale(0.0).unwrap();
        for (name, mut step) in optimizers(&off, &model.vars(), choice) {
            let before = bits(&model.pair.second);
            step(&model.gradients(0, &[0, 2])).unwrap();
            assert_eq!(bits(&model.pair.second), before, "{name}, {choice:?}");
        }
    }
}

#[test]
fn the_subgradient_is_added_to_nothing_left_out_or_refused_as_it_is_chosen() {
    let model = Model::new(DType::F64);
    let regularizer = model.regularizer().unwrap();
    let missing_one = || model.gradients(0, &[0, 2]);
    let add = |choice| regularizer.add_subgradient_with(missing_one(), choice);
    assert!(matches!(add(OnMissingGradient::Error), Err(Error::MissingGradient { path, .. }) if path == "pair.second"));

    let skipped = add(OnMissingGradient::Skip).unwrap();
    assert!(skipped.get(&model.pair.second).is_none());
    let shrunk = add(OnMissingGradient::Shrink).unwrap();
    assert_eq!(flat(shrunk.get(&model.pair.second).unwrap()), [0.2; 3]);
    for grads in [&skipped, &shrunk] {
        let of_first = flat(missing_one().get(&model.pair.first).unwrap());
        let signs = [1.0, -1.0, 1.0];
        let expected: Vec<_> = of_first.iter().zip(signs).map(|(gradient, sign)| gradient + 0.1 * sign).collect();
        assert_eq!(flat(grads.get(&model.pair.first).unwrap()), expected);
    }
    // What was left out is not charged, so that an optimizer of that variable alone may have it.
    let second = |grads: &GradStore| {
        let params =
            ParamsProxSgd { on_missing_gradient: OnMissingGradient::Skip, ..ParamsProxSgd::new(regularizer.clone()) };
        ProxSgd::new(vec![model.pair.second.clone()], params).unwrap().step(grads)
    };
    second(&skipped).unwrap();
    assert!(matches!(Error::from(second(&shrunk).unwrap_err()), Error::ChargedTwice { path } if path == "pair.second"));
}
