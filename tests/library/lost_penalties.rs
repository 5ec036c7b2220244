//! A penalty whose move rounding takes back: one warning, with the numbers, and none where enough moves.

use candle_core::{DType, Tensor, Var};
use candle_nn::{Optimizer, SGD};
use l1_core::{
    Curve, FtrlProximal, Grouping, ParamsFtrl, ParamsProxAdamW, ParamsProxSgd, ParamsProximal, ProxAdamW, ProxSgd,
    Proximal, Regularized, Regularizer, Rule,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tests::{device, rounded};
use tracing::{
    Event, Level, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

use crate::{
    models::{Single, flat, gradients as store},
    warned::{Said, warnings},
};

const HALF: [DType; 2] = [DType::BF16, DType::F16];

/// Weights whose half ulp towards 0 is 2⁻⁸ in bf16 and 2⁻¹¹ in f16; that of the 1 is half of it.
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
    for (dtype, name, half_ulp) in [(DType::BF16, "bf16", 2f64.powi(-9)), (DType::F16, "f16", 2f64.powi(-12))] {
        let model = Single::new(&WEIGHTS, dtype, Rule::l1(LOST));
        let said = warnings_of_sgd(&model, sgd);
        let [said] = said.as_slice() else { panic!("{said:?}") };
        assert_eq!((said.text("parameter"), said.text("dtype")), ("weight", name));
        assert_eq!((said.number("step"), said.number("lambda")), (0.1, LOST));
        assert_eq!(said.text("penalty"), "lambda = 0.0001");
        // From 1 to the next smaller number.
        assert_eq!((said.number("smallest_weight"), said.number("half_ulp")), (1.0, half_ulp));
        // The 0 is no weight that it moves.
        assert_eq!(said.number("stuck"), 1.0);
        let message = said.text("message");
        let start = "weight: the penalty by itself does next to nothing: of the weights that it moves at a step of 0.1, 100 % move by";
        assert!(message.starts_with(start), "{message}");
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
fn a_random_layer_warns_although_its_tiniest_weights_move() {
    let mut rng = StdRng::seed_from_u64(11);
    let bound = 1.0 / 784f64.sqrt();
    let weights: Vec<f64> = (0..256 * 784).map(|_| rng.random_range(-bound..bound)).collect();
    let model = Single::new(&weights, DType::BF16, Rule::l1(1e-5));
    let before = model.values();
    let mut opt = None;
    let said = warnings(|| {
        let params = sgd(model.regularizer().unwrap());
        opt = Some(ProxSgd::new(vec![model.weight.clone()], params).unwrap());
    });
    let [said] = said.as_slice() else { panic!("{said:?}") };
    // What it says is what a step does.
    steps(opt.as_mut().unwrap(), &model.weight, 1);
    let unmoved = before.iter().zip(model.values()).filter(|(before, after)| **before == *after).count();
    let share = unmoved as f64 / before.len() as f64;
    assert!(share > 0.98 && share < 0.99, "{share}");
    // Arithmetic in f32 and in f64 tells a few ties apart that the other does not.
    assert!((said.number("stuck") - share).abs() < 1e-4, "{share}, {said:?}");
    assert!(said.text("message").contains(" 98.6 % "), "{said:?}");
}

#[test]
fn one_in_twenty_of_the_weights_that_move_is_enough() {
    for dtype in HALF {
        for (small, stuck) in [(0, Some(1.0)), (40, Some(0.96)), (49, Some(0.951)), (50, None), (100, None)] {
            // Pieces of 65536 are looked at: zeros count in none of them, and what moves lies in the last.
            for (zeros, times) in [(0, 1), (9_000, 1), (0, 70), (69_000, 70)] {
                let ones = vec![1.0; (1000 - small) * times];
                let weights = [ones, vec![0.0; zeros], vec![1e-3; small * times]].concat();
                let said = warnings_of_sgd(&Single::new(&weights, dtype, Rule::l1(LOST)), sgd);
                let said: Vec<f64> = said.iter().map(|said| said.number("stuck")).collect();
                // Looked at after steps 1 and 10 too, by when the small ones have moved but are there.
                assert_eq!(said, Vec::from_iter(stuck), "{dtype:?}: {small} in 1000 are small, {zeros} zeros");
            }
        }
    }
}

#[test]
fn one_in_twenty_of_the_entries_of_groups_is_enough_wherever_they_are() {
    // More than is looked at together: pieces are of 21 columns here, and of 2184 rows.
    for (group, enough, too_few) in
        [(Grouping::Dim(1), 3, 1), (Grouping::Dim(0), 300, 100), (Grouping::Block(2, 30), 300, 100)]
    {
        let model = |small: u32| {
            let matrix = Tensor::ones((3000, 30), DType::F64, &device()).unwrap();
            let is_small = match group {
                Grouping::Dim(1) => Tensor::arange(0u32, 30, &device()).unwrap().ge(30 - small).unwrap(),
                _ => Tensor::arange(0u32, 3000, &device()).unwrap().ge(3000 - small).unwrap().unsqueeze(1).unwrap(),
            };
            let tiny = (matrix.ones_like().unwrap() * 1e-4).unwrap();
            let matrix = is_small.broadcast_as((3000, 30)).unwrap().where_cond(&tiny, &matrix).unwrap();
            let weight = Var::from_tensor(&matrix.to_dtype(DType::BF16).unwrap()).unwrap();
            Single { weight, rule: Rule::l1(LOST).group(group) }
        };
        assert_eq!(warnings_of_sgd(&model(0), sgd).len(), 1, "{group:?}");
        assert_eq!(warnings_of_sgd(&model(too_few), sgd).len(), 1, "{group:?}");
        assert!(warnings_of_sgd(&model(enough), sgd).is_empty(), "{group:?}");
    }
}

#[test]
fn half_an_ulp_is_where_a_move_begins_to_survive() {
    for dtype in HALF {
        for weight in [1.0, 1.5, 0.75, 0.125] {
            let warnings = |threshold: f64| {
                let model = Single::new(&[weight], dtype, Rule::l1(threshold / 0.1));
                warnings(|| drop(ProxSgd::new(vec![model.weight.clone()], sgd(model.regularizer().unwrap())).unwrap()))
            };
            let half_ulp = warnings(1e-6)[0].number("half_ulp");
            // A hundredth is more than what f32 rounds of either.
            assert_eq!(warnings(0.99 * half_ulp).len(), 1, "{dtype:?}: {weight}");
            assert!(warnings(1.01 * half_ulp).is_empty(), "{dtype:?}: {weight}");
        }
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
            let matrix = Tensor::new(&[[1f64, 0.5, 0.0], [-0.75, 1.25, 0.5]], &device()).unwrap();
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
            let matrix = (Tensor::eye(3, DType::F64, &device()).unwrap() + 1.0).unwrap().to_dtype(dtype).unwrap();
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
        let matrix = rounded(&matrix.map(|[a, b, c, d]| [c, a, d, b]), dtype);
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

/// Takes so many steps at a learning rate.
type Steps = Box<dyn FnMut(f64, usize)>;

/// The optimizers that look when they are made.
const LOOKING_WHEN_MADE: [fn(&Single, f64) -> Steps; 2] = [prox_sgd, sgd_and_prox];

fn prox_sgd(model: &Single, lr: f64) -> Steps {
    let params = ParamsProxSgd { lr, ..ParamsProxSgd::new(model.regularizer().unwrap()) };
    stepping(ProxSgd::new(vec![model.weight.clone()], params).unwrap(), model)
}

fn sgd_and_prox(model: &Single, lr: f64) -> Steps {
    let params = ParamsProximal::new(lr, model.regularizer().unwrap());
    stepping(Proximal::<SGD>::new(vec![model.weight.clone()], params).unwrap(), model)
}

fn stepping(mut opt: impl Optimizer + 'static, model: &Single) -> Steps {
    let weight = model.weight.clone();
    Box::new(move |lr, count| {
        opt.set_learning_rate(lr);
        steps(&mut opt, &weight, count);
    })
}

/// What is warned of while an optimizer is made, and the optimizer.
fn made(make: fn(&Single, f64) -> Steps, model: &Single, lr: f64) -> (Vec<Said>, Steps) {
    let mut take: Option<Steps> = None;
    let said = warnings(|| take = Some(make(model, lr)));
    (said, take.unwrap())
}

#[test]
fn a_penalty_that_was_effective_in_between_is_warned_of_anew() {
    for dtype in HALF {
        for make in LOOKING_WHEN_MADE {
            // A warm-up, and a rate that falls to where it came from.
            let (said, mut take) = made(make, &Single::new(&WEIGHTS, dtype, Rule::l1(1e-2)), 1e-4);
            assert_eq!(said.len(), 1, "{dtype:?}");
            assert!(warnings(|| take(1e-4, 1)).is_empty(), "{dtype:?}: lost as it was");
            assert!(warnings(|| take(1.0, 9)).is_empty(), "{dtype:?}: effective after 10 steps");
            assert_eq!(warnings(|| take(1e-4, 90)).len(), 1, "{dtype:?}: lost again after 100");
            assert!(warnings(|| take(1e-4, 900)).is_empty(), "{dtype:?}: and still after 1000");
        }
    }
}

#[test]
fn a_pause_without_a_penalty_is_no_reason_to_warn_anew() {
    for make in LOOKING_WHEN_MADE {
        let (said, mut take) = made(make, &Single::new(&WEIGHTS, DType::BF16, Rule::l1(1e-2)), 1e-4);
        assert_eq!(said.len(), 1);
        // At a rate of 0 it moves nothing, at the looks after 1 and 10 steps.
        assert!(warnings(|| take(0.0, 10)).is_empty());
        assert!(warnings(|| take(1e-4, 90)).is_empty());
    }
}

#[test]
fn weights_that_are_loaded_later_are_looked_at_as_they_are_then() {
    for make in LOOKING_WHEN_MADE {
        let model = Single::new(&[1e-3; 4], DType::BF16, Rule::l1(1e-3));
        let (said, mut take) = made(make, &model, 1e-2);
        assert!(said.is_empty(), "{said:?}");
        model.weight.set(&rounded(&WEIGHTS, DType::BF16)).unwrap();
        assert_eq!(warnings(|| take(1e-2, 1)).len(), 1);
    }
}

#[test]
fn a_warning_that_nobody_hears_is_not_used_up() {
    for make in LOOKING_WHEN_MADE {
        // Neither without a subscriber, nor with one that wants errors only.
        let mut take = make(&Single::new(&WEIGHTS, DType::BF16, Rule::l1(1e-2)), 1e-4);
        tracing::subscriber::with_default(Deaf, || take(1e-4, 1));
        assert_eq!(warnings(|| take(1e-4, 9)).len(), 1);
        assert!(warnings(|| take(1e-4, 90)).is_empty());
    }
}

/// Wants to hear of errors only.
struct Deaf;

impl Subscriber for Deaf {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::ERROR
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        panic!("{event:?}");
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
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
