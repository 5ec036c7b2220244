//! A penalty whose move rounding takes back: one warning, with the numbers, and none where something moves.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Optimizer, SGD};
use l1_core::{
    Curve, FtrlProximal, Grouping, ParamsFtrl, ParamsProxAdamW, ParamsProxSgd, ParamsProximal, ProxAdamW, ProxSgd,
    Proximal, Regularized, Regularizer, Rule,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use crate::models::{Single, flat, gradients as store};

/// An event's fields as text, its message under `message`.
#[derive(Clone, Debug, Default)]
struct Said(BTreeMap<&'static str, String>);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Said {
    fn text(&self, field: &str) -> &str {
        &self.0[field]
    }

    fn number(&self, field: &str) -> f64 {
        self.0[field].parse().unwrap()
    }
}

/// Writes down what l1 warns of on this thread.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<Said>>>);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("l1_core")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        self.0.lock().unwrap().push(said);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn warnings(run: impl FnOnce()) -> Vec<Said> {
    let listener = Listener::default();
    tracing::subscriber::with_default(listener.clone(), run);
    listener.0.lock().unwrap().clone()
}

const HALF: [DType; 2] = [DType::BF16, DType::F16];

/// Weights whose half ulp is 2⁻⁹ in bf16 and 2⁻¹² in f16, but for the first.
const WEIGHTS: [f64; 4] = [0.0, 1.0, -1.5, 1.25];

/// At a learning rate of 0.1 a threshold of 1e-5: lost in both types.
const LOST: f64 = 1e-4;

fn sgd(regularizer: Regularizer) -> ParamsProxSgd {
    ParamsProxSgd { lr: 0.1, ..ParamsProxSgd::new(regularizer) }
}

fn adamw(regularizer: Regularizer) -> ParamsProxAdamW {
    ParamsProxAdamW { lr: 0.1, ..ParamsProxAdamW::new(regularizer) }
}

/// Takes steps without a gradient.
fn steps(opt: &mut impl Optimizer, weight: &Var, count: usize) {
    steps_with(opt, weight, 0.0, count);
}

fn steps_with(opt: &mut impl Optimizer, weight: &Var, gradient: f64, count: usize) {
    let gradient = (weight.ones_like().unwrap() * gradient).unwrap();
    (0..count).for_each(|_| opt.step(&store([(weight, gradient.clone())])).unwrap());
}

/// What is warned of while `ProxSgd` is made and takes 20 steps without a gradient.
fn warnings_of_sgd(model: &Single, params: impl Fn(Regularizer) -> ParamsProxSgd) -> Vec<Said> {
    warnings(|| {
        let mut opt = ProxSgd::new(vec![model.weight.clone()], params(model.regularizer().unwrap())).unwrap();
        steps(&mut opt, &model.weight, 20);
    })
}

#[test]
fn a_lost_penalty_is_warned_of_once_with_its_path_its_numbers_and_what_helps() {
    for (dtype, name, half_ulp) in [(DType::BF16, "bf16", 2f64.powi(-8)), (DType::F16, "f16", 2f64.powi(-11))] {
        let model = Single::new(&WEIGHTS, dtype, Rule::l1(LOST));
        let said = warnings_of_sgd(&model, sgd);
        let [said] = said.as_slice() else { panic!("{said:?}") };
        assert_eq!((said.text("parameter"), said.text("dtype")), ("weight", name));
        assert_eq!((said.number("step"), said.number("lambda")), (0.1, LOST));
        assert_eq!(said.text("penalty"), "lambda = 0.0001");
        // From 1 to the next number.
        assert_eq!((said.number("smallest_weight"), said.number("half_ulp")), (1.0, half_ulp));
        let message = said.text("message");
        assert!(message.starts_with("weight: the penalty by itself does nothing"), "{message}");
        for remedy in ["learning rate", "λ", "f32", "`master_weights: true`"] {
            assert!(message.contains(remedy), "{message}");
        }
        assert_eq!(model.values(), WEIGHTS, "{dtype:?}: it was not lost");
    }
}

#[test]
fn wide_types_and_copies_lose_nothing_and_warn_of_nothing() {
    for dtype in [DType::F32, DType::F64] {
        assert!(warnings_of_sgd(&Single::new(&WEIGHTS, dtype, Rule::l1(LOST)), sgd).is_empty());
    }
    for dtype in HALF {
        let model = Single::new(&WEIGHTS, dtype, Rule::l1(LOST));
        let with_copy = |regularizer| ParamsProxSgd { master_weights: true, ..sgd(regularizer) };
        assert!(warnings_of_sgd(&model, with_copy).is_empty());
    }
}

#[test]
fn one_weight_that_moves_is_enough() {
    for dtype in HALF {
        // The last of many, so that it is in the second piece that is looked at.
        let mut weights = vec![1.0; 70_000];
        assert_eq!(warnings_of_sgd(&Single::new(&weights, dtype, Rule::l1(LOST)), sgd).len(), 1);
        weights[69_999] = 1e-3;
        assert!(warnings_of_sgd(&Single::new(&weights, dtype, Rule::l1(LOST)), sgd).is_empty());
    }
}

#[test]
fn one_group_that_moves_is_enough_wherever_it_is() {
    // More than is looked at together: pieces are of 21 columns here, and of 2184 rows.
    for (group, dims) in
        [(Grouping::Dim(1), [3000, 30]), (Grouping::Dim(0), [3000, 30]), (Grouping::Block(2, 30), [3000, 30])]
    {
        let model = |last: f64| {
            let matrix = Tensor::ones(&dims, DType::F64, &Device::Cpu).unwrap();
            let is_last = match group {
                Grouping::Dim(1) => Tensor::arange(0u32, 30, &Device::Cpu).unwrap().eq(29u32).unwrap(),
                _ => Tensor::arange(0u32, 3000, &Device::Cpu).unwrap().ge(2998u32).unwrap().unsqueeze(1).unwrap(),
            };
            let last = (matrix.ones_like().unwrap() * last).unwrap();
            let matrix = is_last.broadcast_as(&dims).unwrap().where_cond(&last, &matrix).unwrap();
            let weight = Var::from_tensor(&matrix.to_dtype(DType::BF16).unwrap()).unwrap();
            Single { weight, rule: Rule::l1(LOST).group(group) }
        };
        assert_eq!(warnings_of_sgd(&model(1.0), sgd).len(), 1, "{group:?}");
        assert!(warnings_of_sgd(&model(1e-4), sgd).is_empty(), "{group:?}");
    }
}

#[test]
fn a_penalty_that_would_move_nothing_is_not_lost() {
    for dtype in HALF {
        let rules = [
            // Beyond the knee at γλ.
            Rule::l1(LOST).curve(Curve::Mcp(3.0)),
            Rule::l1(0.0),
        ];
        for rule in rules {
            assert!(warnings_of_sgd(&Single::new(&WEIGHTS, dtype, rule), sgd).is_empty());
        }
        // A spectrum and a norm come back with roundings of f64, which are none of the penalty's.
        for group in [Grouping::Singular, Grouping::Whole] {
            let rule = Rule::l1(LOST).curve(Curve::Mcp(3.0)).group(group);
            let matrix = Tensor::new(&[[1f64, 0.5, 0.0], [-0.75, 1.25, 0.5]], &Device::Cpu).unwrap();
            let model = Single { weight: Var::from_tensor(&matrix.to_dtype(dtype).unwrap()).unwrap(), rule };
            assert!(warnings_of_sgd(&model, sgd).is_empty(), "{group:?}");
        }
        assert!(warnings_of_sgd(&Single::new(&[0.0, -0.0], dtype, Rule::l1(LOST)), sgd).is_empty());
        let model = Single::new(&WEIGHTS, dtype, Rule::l1(LOST));
        assert!(warnings_of_sgd(&model, |regularizer| ParamsProxSgd { lr: 0.0, ..sgd(regularizer) }).is_empty());
    }
}

#[test]
fn curves_groups_and_ridges_are_lost_too() {
    let rules = [
        Rule::l1(LOST).curve(Curve::Mcp(1e5)),
        Rule::l1(LOST).curve(Curve::Half),
        Rule::l1(LOST).group(Grouping::Dim(0)),
        Rule::l1(LOST).group(Grouping::Dim(1)).curve(Curve::Log(1.0)),
        Rule::l1(LOST).group(Grouping::Block(3, 1)).element(LOST),
        Rule::l1(LOST).group(Grouping::Whole),
        Rule::l1(LOST).group(Grouping::Singular),
        Rule::inherit().l2(LOST),
    ];
    for dtype in HALF {
        for rule in rules {
            let matrix = (Tensor::eye(3, DType::F64, &Device::Cpu).unwrap() + 1.0).unwrap().to_dtype(dtype).unwrap();
            let model = Single { weight: Var::from_tensor(&matrix).unwrap(), rule };
            let said = warnings_of_sgd(&model, sgd);
            assert_eq!(said.len(), 1, "{dtype:?}: {said:?}");
            assert_eq!(flat(&model.weight), flat(&matrix));
        }
    }
}

#[test]
fn what_a_spectrum_makes_of_zeros_by_rounding_is_no_move() {
    // The prox leaves the zeros beside the two blocks 0, but comes to them by sums of numbers that are not.
    let matrix = [[1f64, 0.5, 0.0, 0.0], [0.75, 1.25, 0.0, 0.0], [0.0, 0.0, 1.0, 0.75], [0.0, 0.0, -0.5, 1.5]];
    for dtype in HALF {
        // The columns mixed, so that no routine sees the blocks.
        let matrix =
            Tensor::new(&matrix.map(|[a, b, c, d]| [c, a, d, b]), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let weight = Var::from_tensor(&matrix).unwrap();
        let model = Single { weight, rule: Rule::l1(LOST).group(Grouping::Singular) };
        assert_eq!(warnings_of_sgd(&model, sgd).len(), 1, "{dtype:?}");
    }
}

#[test]
fn momentum_is_looked_at_where_it_leads() {
    // 0.1·λ is lost and 1·λ is not, which the first steps come to by and by.
    let model = Single::new(&WEIGHTS, DType::BF16, Rule::l1(5e-3));
    assert!(warnings_of_sgd(&model, |regularizer| ParamsProxSgd { momentum: 0.9, ..sgd(regularizer) }).is_empty());
    assert_eq!(warnings_of_sgd(&Single::new(&WEIGHTS, DType::BF16, model.rule), sgd).len(), 1);
}

#[test]
fn adamw_is_looked_at_in_the_metric_of_its_gradients() {
    for dtype in HALF {
        for amsgrad in [false, true] {
            for (gradient, expected) in [(10.0, 1), (1e-3, 0)] {
                let model = Single::new(&WEIGHTS, dtype, Rule::l1(LOST));
                let params = ParamsProxAdamW { amsgrad, ..adamw(model.regularizer().unwrap()) };
                let mut opt = None;
                let made = warnings(|| opt = Some(ProxAdamW::new(vec![model.weight.clone()], params).unwrap()));
                assert!(made.is_empty(), "there is no metric before the first gradient");
                let said = warnings(|| steps_with(opt.as_mut().unwrap(), &model.weight, gradient, 20));
                // The threshold is 0.1·λ/|g|.
                assert_eq!(said.len(), expected, "{dtype:?}, {gradient}: {said:?}");
                if let [said] = said.as_slice() {
                    // v is f32.
                    assert!((said.number("step") / 0.01 - 1.0).abs() < 1e-6, "{said:?}");
                }
            }
        }
    }
}

#[test]
fn under_adam_it_is_the_tangents_move_that_is_lost() {
    // The first step takes 1/8, to 1e-4 before the knee: there the slope is 2e-5, and p is 5. The prox in that metric, which no step
    // takes, would set the weight to 0.
    let rule = Rule::l1(0.2995).curve(Curve::Mcp(3.0));
    let model = Single::new(&[0.8984375 + 0.125], DType::BF16, rule);
    let params = ParamsProxAdamW { lr: 0.125, ..ParamsProxAdamW::new(model.regularizer().unwrap()) };
    let mut opt = ProxAdamW::new(vec![model.weight.clone()], params).unwrap();
    assert_eq!(warnings(|| steps_with(&mut opt, &model.weight, 0.025, 1)).len(), 1);
    assert_eq!(model.values(), [0.8984375]);
}

#[test]
fn a_scale_that_falls_is_noticed_at_the_next_look() {
    for dtype in HALF {
        let model = Single::new(&WEIGHTS, dtype, Rule::l1(0.01));
        let params = ParamsProxSgd { lr: 1.0, ..ParamsProxSgd::new(model.regularizer().unwrap()) };
        let mut opt = ProxSgd::new(vec![model.weight.clone()], params).unwrap();
        assert!(warnings(|| steps(&mut opt, &model.weight, 12)).is_empty());
        opt.regularizer_mut().set_scale(1e-3).unwrap();
        assert!(warnings(|| steps(&mut opt, &model.weight, 87)).is_empty(), "looked at after every step");
        let said = warnings(|| steps(&mut opt, &model.weight, 1));
        assert_eq!(said.len(), 1, "{dtype:?}, after 100 steps");
        assert_eq!(said[0].number("lambda"), 1e-5);
        assert!(warnings(|| steps(&mut opt, &model.weight, 1900)).is_empty(), "said twice");
    }
}

#[test]
fn any_optimizer_before_a_prox_is_looked_at() {
    for (dtype, expected) in [(DType::BF16, 1), (DType::F16, 1), (DType::F32, 0)] {
        let model = Single::new(&WEIGHTS, dtype, Rule::l1(LOST));
        let said = warnings(|| {
            let params = ParamsProximal::new(0.1, model.regularizer().unwrap());
            let mut opt = Proximal::<SGD>::new(vec![model.weight.clone()], params).unwrap();
            steps(&mut opt, &model.weight, 20);
        });
        assert_eq!(said.len(), expected, "{dtype:?}");
        assert!(said.iter().all(|said| said.text("message").contains("`ProxSgd`")), "{said:?}");
    }
}

#[test]
fn ftrl_adds_up_thresholds_that_are_far_below_half_an_ulp() {
    for dtype in HALF {
        let model = Single::new(&[1.0, -1.5], dtype, Rule::l1(0.1));
        let params = ParamsFtrl { lr: 1e-3, ..ParamsFtrl::new(model.regularizer().unwrap()) };
        let mut opt = FtrlProximal::new(vec![model.weight.clone()], params).unwrap();
        // 1e-4 each, and half an ulp of 1 is 2e-3 in bf16; without a gradient the rate stays.
        let said = warnings(|| steps(&mut opt, &model.weight, 9_900));
        assert!(said.is_empty());
        let w = model.values();
        assert!(w[0] > 0.005 && w[0] < 0.02, "{dtype:?}: {w:?}");
        steps(&mut opt, &model.weight, 200);
        assert_eq!(model.values()[0], 0.0, "{dtype:?}");
        // With a gradient σw pulls back, but only in part: the zero comes all the same, and at the same step as in f32 but for a
        // twentieth.
        let until_zero = |dtype| {
            let model = Single::new(&[1.0], dtype, Rule::l1(0.1));
            let params = ParamsFtrl { lr: 2e-2, ..ParamsFtrl::new(model.regularizer().unwrap()) };
            let mut opt = FtrlProximal::new(vec![model.weight.clone()], params).unwrap();
            let mut sign = 1.0;
            (1..200_000)
                .find(|_| {
                    sign = -sign;
                    steps_with(&mut opt, &model.weight, 0.25 * sign, 1);
                    model.values()[0] == 0.0
                })
                .unwrap() as f64
        };
        let (half, wide) = (until_zero(dtype), until_zero(DType::F32));
        assert!((half / wide - 1.0).abs() < 0.05, "{dtype:?}: {half} steps, {wide} in f32");
    }
}
