//! f32 copies of half weights: a training in f32, of which the model is the rounding.

use candle_core::{DType, Tensor, Var};
use candle_nn::Optimizer;
use half::{bf16, f16};
use l1_core::{
    Checkpoint, Curve, Error, Grouping, Guard, ParamsProxAdamW, ParamsProxSgd, ProxAdamW, ProxSgd, Regularized,
    Regularizer, Rule, Visitor,
    kernel::{composed, master},
};
use proptest::prelude::*;
use tests::{device, rounded};

use crate::{
    every_optimizer::{Make, stepping, told},
    models::{Single, bits, flat, gradients, zeros},
};

const HALF: [DType; 2] = [DType::BF16, DType::F16];

/// One variable under each of many rules, small ones, and one that is shared by threads.
struct Model {
    vars: Vec<Var>,
    rules: Vec<Rule>,
}

impl Model {
    /// In `dtype`, from numbers that are exact in `half`.
    fn new(half: DType, dtype: DType) -> Self {
        let l1 = Rule::l1(0.05);
        let cases: [(Rule, &[usize]); 11] = [
            (l1, &[7]),
            (l1.l2(0.3).decay(0.1), &[40_001]),
            (l1.positive(true), &[6]),
            (l1.curve(Curve::Mcp(3.0)), &[9]),
            (l1.curve(Curve::Half), &[9]),
            (l1.group(Grouping::Dim(0)).element(0.01), &[4, 5]),
            (l1.group(Grouping::Dim(1)), &[6, 3]),
            (l1.group(Grouping::Whole), &[2, 3]),
            (l1.group(Grouping::Singular), &[5, 4]),
            (Rule::inherit(), &[8]),
            (l1, &[0, 3]),
        ];
        let var = |(index, (_, dims)): (usize, &(Rule, &[usize]))| {
            Var::from_tensor(&wave(dims, 0.7, index as f64, half).to_dtype(dtype).unwrap()).unwrap()
        };
        let vars = cases.iter().enumerate().map(var).collect();
        Self { vars, rules: cases.into_iter().map(|(rule, _)| rule).collect() }
    }

    /// Rounded to `half` in any case.
    fn gradients(&self, half: DType, step: usize) -> Vec<Tensor> {
        let gradient = |(index, var): (usize, &Var)| {
            // Slow enough that many steps go the same way.
            let phase = 7.0 * index as f64 + 0.05 * step as f64;
            wave(var.dims(), 1.3, phase, half).to_dtype(var.dtype()).unwrap()
        };
        self.vars.iter().enumerate().map(gradient).collect()
    }

    fn step(&self, step: &mut crate::every_optimizer::Step, given: Vec<Tensor>) -> candle_core::Result<()> {
        step(&gradients(self.vars.iter().zip(given)))
    }
}

impl Regularized for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        let mut vars = self.vars.iter().zip(&self.rules).enumerate();
        vars.try_for_each(|(index, (var, rule))| visitor.field(&index.to_string(), *rule, var))
    }
}

fn wave(dims: &[usize], frequency: f64, phase: f64, dtype: DType) -> Tensor {
    let values: Vec<_> = (0..dims.iter().product()).map(|at| (frequency * at as f64 + phase).sin()).collect();
    rounded(values, dtype).reshape(dims).unwrap()
}

fn sgd(regularizer: Regularizer, guard: Guard) -> ParamsProxSgd {
    ParamsProxSgd { lr: 1e-3, guard, master_weights: true, ..ParamsProxSgd::new(regularizer) }
}

fn adamw(regularizer: Regularizer, guard: Guard) -> ParamsProxAdamW {
    // With an ε under which `half` does not empty its tensor at once.
    ParamsProxAdamW { lr: 1e-4, eps: 0.1, guard, master_weights: true, ..ParamsProxAdamW::new(regularizer) }
}

const WITH_COPIES: [(&str, Make); 5] = [
    ("ProxSgd", |regularizer, vars, guard| stepping(ProxSgd::new(vars, sgd(regularizer, guard)))),
    ("ProxSgd with momentum", |regularizer, vars, guard| {
        stepping(ProxSgd::new(vars, ParamsProxSgd { momentum: 0.9, dampening: 0.2, ..sgd(regularizer, guard) }))
    }),
    ("ProxSgd with Nesterov's momentum", |regularizer, vars, guard| {
        stepping(ProxSgd::new(vars, ParamsProxSgd { momentum: 0.9, nesterov: true, ..sgd(regularizer, guard) }))
    }),
    ("ProxAdamW", |regularizer, vars, guard| stepping(ProxAdamW::new(vars, adamw(regularizer, guard)))),
    ("ProxAdamW with amsgrad", |regularizer, vars, guard| {
        stepping(ProxAdamW::new(
            vars,
            ParamsProxAdamW { amsgrad: true, weight_decay: 0.1, ..adamw(regularizer, guard) },
        ))
    }),
];

/// The bits of each weight, rounded to a half type.
fn roundings(vars: &[Var], half: DType) -> Vec<Vec<u64>> {
    vars.iter().map(|var| bits(&var.to_dtype(half).unwrap())).collect()
}

#[test]
fn the_model_is_the_rounding_of_one_that_is_trained_in_f32_by_the_same_gradients() {
    for half in HALF {
        for (name, make) in WITH_COPIES {
            for guard in [Guard::Before, Guard::InPass] {
                let (model, wide) = (Model::new(half, half), Model::new(half, DType::F32));
                let [mut step, mut wide_step] =
                    [&model, &wide].map(|model| make(model.regularizer().unwrap(), model.vars.clone(), guard));
                let start = roundings(&model.vars, half);
                for index in 0..30 {
                    model.step(&mut step, model.gradients(half, index)).unwrap();
                    wide.step(&mut wide_step, wide.gradients(half, index)).unwrap();
                    assert!(
                        roundings(&model.vars, half) == roundings(&wide.vars, half),
                        "{name}, {half:?}, step {index}"
                    );
                }
                let end = roundings(&model.vars, half);
                assert!(start.iter().zip(&end).all(|(start, end)| start.is_empty() || start != end), "{name}: no move");
                // Zeros are exact, and as many as in f32, though most of these moves are below half an ulp.
                let count = |model: &Model| model.vars.iter().map(|var| count_zeros(var)).sum::<usize>();
                assert_eq!(count(&model), count(&wide), "{name}, {half:?}");
                assert!(count(&model) > 0, "{name}, {half:?}");
            }
        }
    }
}

fn count_zeros(tensor: &Tensor) -> usize {
    zeros(&flat(tensor)).into_iter().filter(|is_zero| *is_zero).count()
}

#[test]
fn what_others_have_written_into_the_model_is_where_the_copy_goes_on() {
    for half in HALF {
        for (name, make) in WITH_COPIES {
            let (model, wide) = (Model::new(half, half), Model::new(half, DType::F32));
            let [mut step, mut wide_step] =
                [&model, &wide].map(|model| make(model.regularizer().unwrap(), model.vars.clone(), Guard::Before));
            for index in 0..12 {
                model.step(&mut step, model.gradients(half, index)).unwrap();
                wide.step(&mut wide_step, wide.gradients(half, index)).unwrap();
                if index % 4 == 1 {
                    for (at, (var, wide)) in model.vars.iter().zip(&wide.vars).enumerate() {
                        // Every third entry is another one, unless it is the same by chance; the copy keeps its digits in all others.
                        let other = wave(var.dims(), 0.3, (at + index) as f64, half);
                        let pairs = flat(var).into_iter().zip(flat(&other)).enumerate();
                        let is_changed: Vec<_> =
                            pairs.map(|(at, (w, other))| u8::from(at % 3 == 0 && w != other)).collect();
                        let is_changed = Tensor::from_vec(is_changed, var.shape(), &device()).unwrap();
                        if var.elem_count() > 0 {
                            var.set(&is_changed.where_cond(&other, var).unwrap()).unwrap();
                            let other = other.to_dtype(DType::F32).unwrap();
                            wide.set(&is_changed.where_cond(&other, wide).unwrap()).unwrap();
                        }
                    }
                }
                assert!(roundings(&model.vars, half) == roundings(&wide.vars, half), "{name}, {half:?}, step {index}");
            }
        }
    }
}

#[test]
fn a_nan_and_a_zero_of_others_go_into_the_copy_too() {
    for half in HALF {
        let model = Single::new(&[1.0, 1.0, 1.0], half, Rule::l1(0.1));
        let params = sgd(model.regularizer().unwrap(), Guard::Before);
        let mut opt = ProxSgd::new(vec![model.weight.clone()], params).unwrap();
        let mut step = |model: &Single| {
            opt.step(&gradients([(&model.weight, model.weight.zeros_like().unwrap())])).unwrap();
        };
        step(&model);
        let others = rounded(&[f64::NAN, 0.0, 1.0], half);
        model.weight.set(&others).unwrap();
        for _ in 0..200 {
            step(&model);
        }
        let w = model.values();
        assert!(w[0].is_nan() && w[1] == 0.0, "{half:?}: {w:?}");
        // 201 thresholds of 1e-4 from 1; within half an ulp of the smaller type.
        assert!((w[2] - 0.9799).abs() < 2e-3, "{half:?}: {w:?}");
    }
}

#[test]
fn coordinates_that_are_passed_over_keep_the_digits_of_their_copies() {
    for half in HALF {
        let single = |dtype| Single::new(&[1.0, -0.75, 0.5], dtype, Rule::l1(0.1));
        let (model, wide) = (single(half), single(DType::F32));
        let opt = |model: &Single| {
            ProxSgd::new(vec![model.weight.clone()], sgd(model.regularizer().unwrap(), Guard::InPass)).unwrap()
        };
        let (mut half_opt, mut wide_opt) = (opt(&model), opt(&wide));
        for index in 0..40 {
            let values = [0.25, if index % 4 == 3 { f64::NAN } else { 0.5 }, 0.125];
            let step = |opt: &mut ProxSgd, weight: &Var| {
                let gradient = rounded(&values, weight.dtype());
                told(opt, &gradients([(weight, gradient)])).map_err(Error::from)
            };
            let outcomes = [step(&mut half_opt, &model.weight), step(&mut wide_opt, &wide.weight)];
            assert_eq!(outcomes[0].is_err(), index % 4 == 3);
            let [found, expected] = outcomes.map(|outcome| outcome.err().map(|error| error.to_string()));
            assert_eq!(found, expected);
            assert_eq!(bits(&model.weight), bits(&wide.weight.to_dtype(half).unwrap()), "{half:?}, step {index}");
        }
    }
}

#[test]
fn what_is_too_small_for_f16_is_zero_in_the_model_and_comes_back_if_the_copy_grows() {
    let model = Single::new(&[1.0], DType::F16, Rule::l1(0.0));
    let params = ParamsProxSgd { lr: 1.0, master_weights: true, ..ParamsProxSgd::new(model.regularizer().unwrap()) };
    let mut params = params;
    params.regularizer = Single { weight: model.weight.clone(), rule: Rule::l1(1e-9) }.regularizer().unwrap();
    let mut opt = ProxSgd::new(vec![model.weight.clone()], params).unwrap();
    let mut step = |gradient: f64| {
        let gradient = rounded(&[gradient], DType::F16);
        opt.step(&gradients([(&model.weight, gradient)])).unwrap();
        model.values()[0]
    };
    // To 6e-8, the smallest number of f16, twice: each within a half of it.
    let smallest = 2f64.powi(-24);
    model.weight.set(&rounded(&[2.0 * smallest], DType::F16)).unwrap();
    assert_eq!(step(smallest), smallest);
    let mut steps = 0;
    while step(0.0) != 0.0 {
        steps += 1;
    }
    assert!((25..35).contains(&steps), "half of {smallest:e} in thresholds of 1e-9: {steps}");
    // The copy still has the other half.
    assert_eq!(step(-smallest), smallest);
}

#[test]
fn f32_and_f64_variables_need_no_copy() {
    for dtype in [DType::F32, DType::F64] {
        let with = |master_weights| {
            let model = Single::new(&[1.0, -0.3, 0.2], dtype, Rule::l1(0.1));
            let params = ParamsProxAdamW { master_weights, ..ParamsProxAdamW::new(model.regularizer().unwrap()) };
            let mut opt = ProxAdamW::new(vec![model.weight.clone()], params).unwrap();
            let gradient = (model.weight.ones_like().unwrap() * 0.3).unwrap();
            (0..20).for_each(|_| opt.step(&gradients([(&model.weight, gradient.clone())])).unwrap());
            bits(&model.weight)
        };
        assert_eq!(with(true), with(false));
    }
}

/// ½·Σ aᵢ(wᵢ − tᵢ)²: the second half of the entries has no part in the loss.
fn loss(weight: &Var) -> Tensor {
    let on = |values: [f64; 6]| rounded(&values, weight.dtype());
    let target = on([0.75, -0.5, 0.25, 0.0, 0.0, 0.0]);
    let curvature = on([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    let squares = (weight.as_tensor() - target).unwrap().sqr().unwrap();
    ((squares * curvature).unwrap().sum_all().unwrap() * 0.5).unwrap()
}

#[test]
fn thresholds_that_rounding_takes_back_make_zeros_by_way_of_the_copy() {
    for half in HALF {
        let trained = |dtype, master_weights| {
            // Without a part in the loss they would go to 0 in 1000 thresholds of lr·λ = 1e-4.
            let model = Single::new(&[1.0, -1.0, 0.5, 0.5, -1.0, 0.1], dtype, Rule::l1(0.002));
            let params = ParamsProxSgd { lr: 0.05, master_weights, ..ParamsProxSgd::new(model.regularizer().unwrap()) };
            let mut opt = ProxSgd::new(vec![model.weight.clone()], params).unwrap();
            for _ in 0..12_000 {
                opt.backward_step(&loss(&model.weight)).unwrap();
            }
            model.values()
        };
        let (rounded, by_copy, wide) = (trained(half, false), trained(half, true), trained(DType::F32, false));
        assert_eq!(zeros(&wide), [false, false, false, true, true, true]);
        assert_eq!(zeros(&by_copy), zeros(&wide), "{half:?}: {by_copy:?}");
        assert_eq!(rounded[4], -1.0, "{half:?}: the threshold was not lost: {rounded:?}");
        for (at, expected) in [0.748, -0.498, 0.248].into_iter().enumerate() {
            // One spacing of bf16 in [0.5, 1).
            assert!((by_copy[at] - expected).abs() < 4e-3, "{half:?}: {by_copy:?}");
        }
    }
}

#[test]
fn under_adam_too() {
    let trained = |master_weights| {
        let model = Single::new(&[0.25, -0.25], DType::BF16, Rule::l1(0.01));
        let params = ParamsProxAdamW { lr: 1e-3, master_weights, ..ParamsProxAdamW::new(model.regularizer().unwrap()) };
        let mut opt = ProxAdamW::new(vec![model.weight.clone()], params).unwrap();
        for step in 0..6000 {
            // Noise without a mean: p is lr/0.2, and a threshold 5e-5, of which 5000 are 0.25.
            let gradient = if step % 2 == 0 { 0.2 } else { -0.2 };
            let gradient = (model.weight.ones_like().unwrap() * gradient).unwrap();
            opt.step(&gradients([(&model.weight, gradient)])).unwrap();
        }
        model.values()
    };
    let (rounded, by_copy) = (trained(false), trained(true));
    assert!(rounded.iter().all(|w| w.abs() > 0.1), "{rounded:?}");
    // The noise moves a weight by about a threshold: 0 is left and met again.
    assert!(by_copy.iter().all(|w| w.abs() < 2e-4), "{by_copy:?}");
}

/// Bits of any number of a half type, the odd ones among them.
fn any_bits() -> impl Strategy<Value = u16> {
    prop_oneof![4 => any::<u16>(), 1 => Just(0x8000), 1 => Just(0), 1 => Just(0x7f80), 1 => Just(0x7c00), 1 => Just(0x7fc0)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_copy_follows_alike_on_every_device(
        entries in prop::collection::vec((any_bits(), any_bits(), -1i32..=1), 1..300),
        is_long in any::<bool>(),
    ) {
        let entries = entries.repeat(if is_long { 80 } else { 1 });
        for half in HALF {
            let value = |bits: u16| match half {
                DType::BF16 => bf16::from_bits(bits).to_f32(),
                _ => f16::from_bits(bits).to_f32(),
            };
            let w: Vec<f32> = entries.iter().map(|(bits, ..)| value(*bits)).collect();
            // Beside the weight by an f32 ulp, equal to it, or another number.
            let copy: Vec<f32> = entries.iter().map(|(bits, other, near)| match near {
                -1 => value(*other),
                0 => value(*bits),
                _ => f32::from_bits(value(*bits).to_bits() ^ 1),
            }).collect();
            let var = Var::from_tensor(&rounded(w.as_slice(), half)).unwrap();
            let [fast, slow] = [(); 2].map(|()| Var::from_tensor(&Tensor::new(copy.as_slice(), &device()).unwrap()).unwrap());
            master::follow(&fast, &var).unwrap();
            composed::follow(&slow, &var).unwrap();
            let followed = fast.to_vec1::<f32>().unwrap();
            for ((found, slow), (w, copy)) in followed.iter().zip(slow.to_vec1::<f32>().unwrap()).zip(w.iter().zip(&copy)) {
                prop_assert!(*found == slow || found.is_nan() && slow.is_nan(), "{} {}", found, slow);
                prop_assert!(found == w || found == copy || found.is_nan() && w.is_nan(), "{} {} {}", found, w, copy);
            }
            master::round(&fast, &var).unwrap();
            for (found, w) in flat(&var).into_iter().zip(w) {
                prop_assert!(found == f64::from(w) || found.is_nan() && w.is_nan(), "{} {}", found, w);
            }
        }
    }
}

#[test]
fn a_checkpoint_holds_the_copy_to_the_last_bit() {
    let (varmap, wide) = (candle_nn::VarMap::new(), Single::new(&[1.0, -0.3, 0.01], DType::F32, Rule::l1(0.1)));
    let model = Single::new(&[1.0, -0.3, 0.01], DType::BF16, Rule::l1(0.1));
    wide.weight.set(&model.weight.to_dtype(DType::F32).unwrap()).unwrap();
    varmap.data().lock().unwrap().insert("w".to_owned(), model.weight.clone());
    let opt = |model: &Single| {
        ProxSgd::new(vec![model.weight.clone()], sgd(model.regularizer().unwrap(), Guard::Before)).unwrap()
    };
    let (mut half_opt, mut wide_opt) = (opt(&model), opt(&wide));
    for _ in 0..20 {
        for (opt, weight) in [(&mut half_opt, &model.weight), (&mut wide_opt, &wide.weight)] {
            let gradient = (weight.ones_like().unwrap() * 0.125).unwrap();
            opt.step(&gradients([(weight, gradient)])).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    Checkpoint::save(&path, &half_opt, &varmap).unwrap();
    let tensors = candle_core::safetensors::load(&path, &device()).unwrap();
    assert_eq!(bits(&tensors["l1.state/w/master"]), bits(&wide.weight));
    assert_eq!(tensors["w"].dtype(), DType::BF16);
}
