//! A frozen support: zeros stay zeros under every optimizer, and what lives is stepped without the penalty.

use candle_core::{DType, Device, Result, Tensor, Var, backprop::GradStore};
use candle_nn::{AdamW, Linear, Optimizer, ParamsAdamW, SGD, VarBuilder, VarMap, loss};
use l1_core::{
    Charged, Checkpoint, Curve, Error, Fista, FtrlProximal, Grouping, Guard, LinearLoss, LinearProblem, ParamsFista,
    ParamsFtrl, ParamsProxAdamW, ParamsProxSgd, ParamsProximal, Penalty, ProxAdamW, ProxSgd, Proximal, Regularized,
    Regularizer, Rule, Stepper, kernel::composed, optim::Method,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tests::{device, rounded};

use crate::{
    every_optimizer::told,
    models::{Many, Single, bits, flat, gradients, zeros},
};

/// An optimizer of any kind, with its regularizer.
pub trait Optim: Send {
    fn step(&mut self, grads: &GradStore) -> Result<()>;
    fn regularizer_mut(&mut self) -> &mut Regularizer;
}

impl<M: Method> Optim for Stepper<M> {
    fn step(&mut self, grads: &GradStore) -> Result<()> {
        told(self, grads)
    }

    fn regularizer_mut(&mut self) -> &mut Regularizer {
        Stepper::regularizer_mut(self)
    }
}

impl<O: Optimizer + Send> Optim for Proximal<O> {
    fn step(&mut self, grads: &GradStore) -> Result<()> {
        Optimizer::step(self, grads)
    }

    fn regularizer_mut(&mut self) -> &mut Regularizer {
        Proximal::regularizer_mut(self)
    }
}

pub type Make = fn(Regularizer, Vec<Var>, Guard) -> Box<dyn Optim>;

fn sgd(regularizer: Regularizer, guard: Guard) -> ParamsProxSgd {
    ParamsProxSgd { lr: 0.05, guard, ..ParamsProxSgd::new(regularizer) }
}

fn adamw(regularizer: Regularizer, guard: Guard) -> ParamsProxAdamW {
    ParamsProxAdamW { lr: 0.01, guard, ..ParamsProxAdamW::new(regularizer) }
}

fn ftrl(regularizer: Regularizer, guard: Guard) -> ParamsFtrl {
    ParamsFtrl { lr: 0.2, guard, ..ParamsFtrl::new(regularizer) }
}

fn boxed(opt: Result<impl Optim + 'static>) -> Box<dyn Optim> {
    Box::new(opt.unwrap())
}

/// Those with state of their own first, then the one that moves weights by somebody else's.
pub const OPTIMIZERS: [(&str, Make); 11] = [
    ("ProxSgd", |r, vars, guard| boxed(ProxSgd::new(vars, sgd(r, guard)))),
    ("ProxSgd with momentum and decay", |r, vars, guard| {
        let params = ParamsProxSgd { momentum: 0.9, dampening: 0.5, weight_decay: 0.1, ..sgd(r, guard) };
        boxed(ProxSgd::new(vars, params))
    }),
    ("ProxSgd with Nesterov's momentum", |r, vars, guard| {
        boxed(ProxSgd::new(vars, ParamsProxSgd { momentum: 0.9, nesterov: true, ..sgd(r, guard) }))
    }),
    ("ProxSgd with momentum and f32 copies", |r, vars, guard| {
        boxed(ProxSgd::new(vars, ParamsProxSgd { momentum: 0.9, master_weights: true, ..sgd(r, guard) }))
    }),
    ("ProxAdamW with decay", |r, vars, guard| {
        boxed(ProxAdamW::new(vars, ParamsProxAdamW { weight_decay: 0.1, ..adamw(r, guard) }))
    }),
    ("ProxAdamW with amsgrad", |r, vars, guard| {
        boxed(ProxAdamW::new(vars, ParamsProxAdamW { amsgrad: true, ..adamw(r, guard) }))
    }),
    ("ProxAdamW with f32 copies", |r, vars, guard| {
        boxed(ProxAdamW::new(vars, ParamsProxAdamW { master_weights: true, ..adamw(r, guard) }))
    }),
    ("FtrlProximal", |r, vars, guard| boxed(FtrlProximal::new(vars, ftrl(r, guard)))),
    ("FtrlProximal, charged once", |r, vars, guard| {
        boxed(FtrlProximal::new(vars, ParamsFtrl { charged: Charged::Once, ..ftrl(r, guard) }))
    }),
    ("Proximal<SGD>", |r, vars, _| boxed(Proximal::<SGD>::new(vars, ParamsProximal::new(0.05, r)))),
    ("Proximal<AdamW>", |r, vars, _| {
        boxed(Proximal::<AdamW>::new(vars, ParamsProximal::new(ParamsAdamW { lr: 0.01, ..Default::default() }, r)))
    }),
];
const OWN: usize = 9;
const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::BF16, DType::F16];
const GUARDS: [Guard; 2] = [Guard::Before, Guard::InPass];

fn penalties() -> [Penalty; 7] {
    let l1 = Penalty::l1(0.2);
    [
        l1,
        l1.with_l2(0.1),
        l1.with_positive(true),
        l1.with_curve(Curve::Mcp(3.0)),
        l1.with_curve(Curve::Half),
        l1.with_group(Grouping::Dim(0)).with_element(0.05),
        l1.with_group(Grouping::Whole).with_curve(Curve::Log(0.5)),
    ]
}

struct Matrix {
    weight: Var,
    penalty: Penalty,
}

impl Regularized for Matrix {
    fn visit(&self, visitor: &mut l1_core::Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("weight", Rule::from(self.penalty), &self.weight)
    }
}

impl Matrix {
    fn random(rng: &mut StdRng, dtype: DType, penalty: Penalty) -> Self {
        let tensor = random(rng, if penalty.positive() { 0.0 } else { -1.0 }).to_dtype(dtype).unwrap();
        Self { weight: Var::from_tensor(&tensor).unwrap(), penalty }
    }

    fn grads(&self, rng: &mut StdRng, size: f64) -> GradStore {
        let gradient = (random(rng, -1.0) * size).unwrap().to_dtype(self.weight.dtype()).unwrap();
        gradients([(&self.weight, gradient)])
    }
}

/// 6×3, some of them 0.
fn random(rng: &mut StdRng, least: f64) -> Tensor {
    let mut number = || if rng.random_bool(0.3) { 0.0 } else { rng.random_range(least..1.0) };
    let values: Vec<f64> = (0..18).map(|_| number()).collect();
    Tensor::from_vec(values, (6, 3), &device()).unwrap()
}

proptest! {
    #[test]
    fn frozen_zeros_stay_exactly_0_whatever_was_gathered_before_and_do_not_leap_when_they_are_released(
        seed in any::<u64>(),
        optimizer in 0..OPTIMIZERS.len(),
        dtype in 0..DTYPES.len(),
        guard in 0..GUARDS.len(),
        penalty in 0..penalties().len(),
        before in 0..6usize,
    ) {
        let (name, make) = OPTIMIZERS[optimizer];
        let mut rng = StdRng::seed_from_u64(seed);
        let model = Matrix::random(&mut rng, DTYPES[dtype], penalties()[penalty]);
        let mut opt = make(model.regularizer().unwrap(), vec![model.weight.clone()], GUARDS[guard]);
        for _ in 0..before {
            opt.step(&model.grads(&mut rng, 1.0)).unwrap();
        }
        opt.regularizer_mut().freeze_support().unwrap();
        for _ in 0..5 {
            let was = flat(&model.weight);
            opt.step(&model.grads(&mut rng, 10.0)).unwrap();
            let is = flat(&model.weight);
            for (was, is) in was.iter().zip(&is) {
                prop_assert!(*was != 0.0 || *is == 0.0, "{name}: {is} where a zero is held");
            }
        }
        if optimizer < OWN {
            let was = zeros(&flat(&model.weight));
            opt.regularizer_mut().release_support().unwrap();
            opt.regularizer_mut().set_scale(0.0).unwrap();
            opt.step(&gradients([(&model.weight, model.weight.zeros_like().unwrap())])).unwrap();
            for (was, is) in was.iter().zip(flat(&model.weight)) {
                prop_assert!(!was || is == 0.0, "{name}: {is} by what a zero had gathered");
            }
        }
    }

    #[test]
    fn what_lives_is_stepped_with_the_bits_of_an_optimizer_without_penalty(
        seed in any::<u64>(),
        optimizer in 0..OPTIMIZERS.len(),
        dtype in 0..DTYPES.len(),
        penalty in 0..penalties().len(),
    ) {
        let (name, make) = OPTIMIZERS[optimizer];
        let after = |freeze: bool| {
            let mut rng = StdRng::seed_from_u64(seed);
            let model = Matrix::random(&mut rng, DTYPES[dtype], penalties()[penalty]);
            let is_living: Vec<_> = flat(&model.weight).iter().map(|w| *w != 0.0).collect();
            let mut opt = make(model.regularizer().unwrap(), vec![model.weight.clone()], Guard::Before);
            if freeze {
                opt.regularizer_mut().freeze_support().unwrap();
            } else {
                opt.regularizer_mut().set_scale(0.0).unwrap();
            }
            // One: with `positive` an entry that has come to 0 is held from then on.
            opt.step(&model.grads(&mut rng, 1.0)).unwrap();
            let all = bits(&model.weight);
            all.into_iter().zip(is_living).filter(|(_, lives)| *lives).map(|(w, _)| w).collect::<Vec<_>>()
        };
        prop_assert_eq!(after(true), after(false), "{}", name);
    }
}

/// Trained on their own numbers, 200 steps under a penalty, so that FTRL has charged much.
#[test]
fn freezing_moves_no_weight_by_itself() {
    for charged in [Charged::EachStep, Charged::Once] {
        for penalty in penalties() {
            let mut rng = StdRng::seed_from_u64(3);
            let model = Matrix::random(&mut rng, DType::F64, penalty);
            let target = model.weight.as_detached_tensor().copy().unwrap();
            let params = ParamsFtrl { charged, lr: 1.0, ..ParamsFtrl::new(model.regularizer().unwrap()) };
            let mut opt = FtrlProximal::new(vec![model.weight.clone()], params).unwrap();
            for _ in 0..200 {
                let gradient = ((model.weight.as_tensor() - &target).unwrap() * 2.0).unwrap();
                Optimizer::step(&mut opt, &gradients([(&model.weight, gradient)])).unwrap();
            }
            let before = flat(&model.weight);
            opt.regularizer_mut().freeze_support().unwrap();
            for _ in 0..3 {
                Optimizer::step(&mut opt, &gradients([(&model.weight, model.weight.zeros_like().unwrap())])).unwrap();
            }
            // w is made from z = −w/τ: two roundings of f64.
            for (before, after) in before.iter().zip(flat(&model.weight)) {
                assert!(
                    (before - after).abs() <= 4.0 * f64::EPSILON * before.abs(),
                    "{charged:?} {penalty}: {before} {after}"
                );
            }
        }
    }
}

#[test]
fn ftrl_crosses_zero_after_freezing_where_old_charges_would_hold_it() {
    let model = Single::new(&[1.0, 0.0], DType::F64, Rule::l1(0.3));
    let mut opt =
        FtrlProximal::new(vec![model.weight.clone()], ftrl(model.regularizer().unwrap(), Guard::Before)).unwrap();
    let train = |opt: &mut FtrlProximal, target: f64, steps: usize| {
        for _ in 0..steps {
            let gradient = (model.weight.as_tensor() - target).unwrap();
            Optimizer::step(opt, &gradients([(&model.weight, gradient)])).unwrap();
        }
        model.values()
    };
    train(&mut opt, 1.0, 50);
    opt.regularizer_mut().freeze_support().unwrap();
    let values = train(&mut opt, -1.0, 3000);
    // A rate that falls as 1/√k has come within a thousandth.
    assert!((values[0] + 1.0).abs() < 1e-3, "{values:?}");
}

#[test]
fn a_half_weight_at_0_is_held_where_its_f32_copy_is_not_quite_0() {
    let model = Single::new(&[0.5, 2e-8], DType::F16, Rule::l1(0.001)); // 2e-8 rounds to 0 in f16
    let params = ParamsProxSgd { lr: 1.0, master_weights: true, ..ParamsProxSgd::new(model.regularizer().unwrap()) };
    let mut opt = ProxSgd::new(vec![model.weight.clone()], params).unwrap();
    opt.regularizer_mut().set_scale(0.0).unwrap();
    let step = |opt: &mut ProxSgd, gradient: [f32; 2]| {
        let gradient = rounded(&gradient, DType::F16);
        Optimizer::step(opt, &gradients([(&model.weight, gradient)])).unwrap();
    };
    step(&mut opt, [0.0, -2.5e-8]); // the smallest f16 is 6e-8: the gradient rounds to 0
    step(&mut opt, [0.0, 6e-8]);
    step(&mut opt, [0.0, -4e-8]);
    opt.regularizer_mut().freeze_support().unwrap();
    for _ in 0..10 {
        step(&mut opt, [0.1, -1.0]);
        assert_eq!(model.values()[1], 0.0);
    }
    opt.regularizer_mut().release_support().unwrap();
    step(&mut opt, [0.0, 0.0]);
    assert_eq!(model.values()[1], 0.0);
}

#[test]
fn the_callers_gradients_keep_their_bits() {
    for (name, make) in OPTIMIZERS {
        for dtype in DTYPES {
            let mut rng = StdRng::seed_from_u64(5);
            let model = Matrix::random(&mut rng, dtype, Penalty::l1(0.1));
            let mut opt = make(model.regularizer().unwrap(), vec![model.weight.clone()], Guard::Before);
            opt.regularizer_mut().freeze_support().unwrap();
            let grads = model.grads(&mut rng, 1.0);
            let before = bits(grads.get(&model.weight).unwrap());
            opt.step(&grads).unwrap();
            assert_eq!(bits(grads.get(&model.weight).unwrap()), before, "{name}");
        }
    }
}

#[test]
fn a_gradient_that_is_no_number_is_reported_at_a_held_zero_too() {
    for (name, make) in OPTIMIZERS {
        for (guard, bad) in [(Guard::Before, f64::NAN), (Guard::InPass, f64::INFINITY)] {
            let model = Single::new(&[1.0, 0.0, -2.0], DType::F32, Rule::l1(0.1));
            let mut opt = make(model.regularizer().unwrap(), vec![model.weight.clone()], guard);
            let store = |values: [f64; 3]| gradients([(&model.weight, rounded(&values, DType::F32))]);
            opt.regularizer_mut().freeze_support().unwrap();
            let before = model.values();
            let error = Error::from(opt.step(&store([0.1, bad, 0.1])).unwrap_err());
            assert!(matches!(error, Error::NonFiniteGradient { index: 1, .. }), "{name}: {error}");
            assert_eq!(model.values()[1], 0.0, "{name}");
            if guard == Guard::Before {
                assert_eq!(model.values(), before, "{name}: a refused step wrote");
            }
            opt.step(&store([0.1, 5.0, 0.1])).unwrap();
            assert_eq!(model.values()[1], 0.0, "{name}");
        }
    }
}

#[test]
fn steps_of_a_frozen_support_have_the_same_bits_on_any_number_of_threads() {
    // On the CPU, whose threads these are: none, one, less than a chunk, more, and many small ones that share a job.
    const LENGTHS: [usize; 8] = [0, 1, 40_001, 7, 16 * 1024 + 1, 100_003, 1000, 2];
    for (index, (name, make)) in OPTIMIZERS.into_iter().enumerate() {
        // candle's own optimizers refuse a variable without entries.
        let lengths = if index < OWN { &LENGTHS[..] } else { &LENGTHS[1..] };
        for dtype in [DType::F32, DType::BF16] {
            let after = |threads| {
                let model = Many::on(&Device::Cpu, lengths, dtype);
                let mut opt = make(model.regularizer().unwrap(), model.weights.clone(), Guard::Before);
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    for index in 0..4 {
                        if index == 2 {
                            opt.regularizer_mut().freeze_support().unwrap();
                        }
                        opt.step(&model.store(&model.gradients(index))).unwrap();
                    }
                });
                model.bits()
            };
            let alone = after(1);
            assert!(after(3) == alone, "{name}, {dtype:?}");
        }
    }
}

#[test]
fn without_a_model_of_the_kernels_on_the_cpu_zeros_are_held_by_candles_operations_alike() {
    for dtype in DTYPES {
        let mut rng = StdRng::seed_from_u64(11);
        let model = Matrix::random(&mut rng, dtype, Penalty::l1(0.1));
        let mut regularizer = model.regularizer().unwrap();
        regularizer.freeze_support().unwrap();
        let grads = model.grads(&mut rng, 1.0);
        let gradient = grads.get(&model.weight).unwrap();
        let spoilt = {
            let mut values = flat(gradient);
            (values[0], values[5], values[7]) = (f64::NAN, f64::INFINITY, f64::NEG_INFINITY);
            rounded(values, dtype).reshape((6, 3)).unwrap()
        };
        let expected = bits(&composed::held(&spoilt, &model.weight).unwrap());
        let held = regularizer.add_subgradient(gradients([(&model.weight, spoilt)])).unwrap();
        let same = bits(held.get(&model.weight).unwrap()).into_iter().zip(expected);
        // A NaN is one whatever its bits.
        assert!(same.into_iter().all(|(a, b)| a == b || (f64::from_bits(a).is_nan() && f64::from_bits(b).is_nan())));
    }
}

#[test]
fn in_a_loss_nothing_is_charged_and_candles_optimizers_keep_zeros_without_old_moments() {
    let model = Single::new(&[1.0, 0.0, -2.0, 0.0], DType::F64, Rule::l1(0.5));
    let mut regularizer = model.regularizer().unwrap();
    regularizer.freeze_support().unwrap();
    assert_eq!(regularizer.value().unwrap(), 0.0);
    assert_eq!(regularizer.penalty().unwrap().to_scalar::<f64>().unwrap(), 0.0);
    let loss = || (model.weight.as_tensor() - 3.0)?.sqr()?.sum_all();
    let grads = || regularizer.add_subgradient(loss().unwrap().backward().unwrap()).unwrap();
    assert_eq!(flat(grads().get(&model.weight).unwrap()), [-4.0, 0.0, -10.0, 0.0]);
    let mut sgd = SGD::new(vec![model.weight.clone()], 0.1).unwrap();
    let mut adamw = AdamW::new(vec![model.weight.clone()], ParamsAdamW::default()).unwrap();
    for _ in 0..5 {
        sgd.step(&grads()).unwrap();
        adamw.step(&grads()).unwrap();
    }
    let values = model.values();
    assert_eq!([values[1], values[3]], [0.0, 0.0]);
    assert!(values[0] > 1.5 && values[2] > 0.0);
}

#[test]
fn a_parameter_that_the_loss_does_not_reach_is_left_alone_while_it_is_frozen() {
    let model = Single::new(&[1.0, 0.0], DType::F32, Rule::l1(0.5));
    let other = Var::zeros(1, DType::F32, &device()).unwrap();
    let mut opt =
        ProxSgd::new(vec![model.weight.clone(), other.clone()], sgd(model.regularizer().unwrap(), Guard::Before))
            .unwrap();
    let grads = gradients([(&other, other.ones_like().unwrap())]);
    assert!(matches!(Error::from(Optimizer::step(&mut opt, &grads).unwrap_err()), Error::MissingGradient { .. }));
    opt.regularizer_mut().freeze_support().unwrap();
    opt.regularizer().check_gradients(&other.sum_all().unwrap()).unwrap();
    Optimizer::step(&mut opt, &grads).unwrap();
    assert_eq!(model.values(), [1.0, 0.0]);
}

#[test]
fn the_certificate_asks_for_gradients_of_0_where_weights_live_and_for_nothing_at_zeros() {
    let model = Single::new(&[1.0, 0.0, -2.0, 0.0], DType::F64, Rule::l1(0.5));
    let mut regularizer = model.regularizer().unwrap();
    let grads = |values: [f64; 4]| gradients([(&model.weight, Tensor::new(&values, &device()).unwrap())]);
    regularizer.freeze_support().unwrap();
    let at = regularizer.stationarity(&grads([0.0, 7.0, 0.0, -9.0])).unwrap();
    assert_eq!(at.largest(), 0.0);
    assert!(at.rows[0].support_is_frozen && at.rows[0].penalty.is_none());
    assert_eq!((at.rows[0].zeros, at.rows[0].groups), (2, 4));
    assert!(at.to_string().contains("support frozen"), "{at}");
    at.assert_below(0.0).unwrap();
    let off = regularizer.stationarity(&grads([0.0, 7.0, -0.25, -9.0])).unwrap();
    assert_eq!(off.rows[0].distance.value, 0.25);
    assert!(off.assert_below(0.1).is_err());
    let spoilt = regularizer.stationarity(&grads([0.0, f64::NAN, 0.0, 0.0])).unwrap();
    assert!(spoilt.assert_below(1e9).is_err(), "a loss that is no number proves nothing");
    regularizer.release_support().unwrap();
    assert!(regularizer.stationarity(&grads([0.0, 7.0, 0.0, -9.0])).unwrap().largest() > 1.0);
}

#[test]
fn the_report_counts_zeros_and_groups_as_before_and_says_what_is_frozen() {
    let penalty = Penalty::l1(0.5).with_group(Grouping::Dim(0));
    let weight = Var::new(&[[0f32, 0.0], [1.0, 0.0]], &device()).unwrap();
    let model = Matrix { weight, penalty };
    let mut regularizer = model.regularizer().unwrap();
    let before = regularizer.report().unwrap();
    regularizer.freeze_support_of("weight").unwrap();
    let report = regularizer.report().unwrap();
    let (was, is) = (&before.totals, &report.totals);
    assert_eq!((is.penalized_entries, is.penalized_zeros), (was.penalized_entries, was.penalized_zeros));
    assert_eq!(report.rows_groups(), before.rows_groups());
    assert_eq!((is.penalty, is.frozen_entries), (0.0, 4));
    assert!(report.parameters[0].support_is_frozen && !before.parameters[0].support_is_frozen);
    let text = report.to_string();
    assert!(text.contains("– support frozen") && text.ends_with("their support is frozen"), "{text}");
    let varmap = VarMap::new();
    varmap.data().lock().unwrap().insert("weight".to_owned(), model.weight.clone());
    assert!(regularizer.coverage(&varmap).to_string().contains("support frozen"));
}

trait Groups {
    fn rows_groups(&self) -> Vec<Option<l1_core::GroupCounts>>;
}

impl Groups for l1_core::Report {
    fn rows_groups(&self) -> Vec<Option<l1_core::GroupCounts>> {
        self.parameters.iter().map(|row| row.groups).collect()
    }
}

/// A least-squares problem of 40 examples.
struct Squares {
    fc: Linear,
    x: Tensor,
    y: Tensor,
    varmap: VarMap,
}

impl Regularized for Squares {
    fn visit(&self, visitor: &mut l1_core::Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("fc", Rule::l1(0.3), &self.fc)
    }
}

impl Squares {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let mut matrix = |rows: usize, columns: usize| {
            let values: Vec<f64> = (0..rows * columns).map(|_| rng.random_range(-1.0..1.0)).collect();
            Tensor::from_vec(values, (rows, columns), &device()).unwrap()
        };
        let (x, noise) = (matrix(40, 6), matrix(40, 1));
        let truth = Tensor::new(&[[2f64], [0.0], [-1.5], [0.0], [0.1], [0.0]], &device()).unwrap();
        let y = (x.matmul(&truth).unwrap() + (noise * 0.1).unwrap()).unwrap();
        let varmap = VarMap::new();
        let vb = VarBuilder::from_varmap(&varmap, DType::F64, &device());
        Self { fc: candle_nn::linear_no_bias(6, 1, vb.pp("fc")).unwrap(), x, y, varmap }
    }

    fn loss(&self) -> Result<Tensor> {
        loss::mse(&candle_nn::Module::forward(&self.fc, &self.x)?, &self.y)
    }

    /// Of the mean squared error, in closed form over the living columns: the gradient at them.
    fn gradient(&self) -> Vec<f64> {
        flat(self.loss().unwrap().backward().unwrap().get(self.fc.weight()).unwrap())
    }
}

#[test]
fn fista_fits_what_lives_without_the_penalty_and_holds_the_rest() {
    for by_steps in [false, true] {
        let model = Squares::new();
        let params = ParamsFista::new(model.regularizer().unwrap(), || model.loss());
        let mut opt = Fista::new(model.varmap.all_vars(), params).unwrap();
        let minimize = |opt: &mut Fista<_>| {
            if by_steps {
                (0..300).for_each(|_| opt.backward_step(&model.loss().unwrap()).unwrap());
            } else {
                assert!(opt.minimize(1e-12, 2000).unwrap().converged);
            }
        };
        if by_steps {
            // Stopped on the way, with momentum that leads from weights that are 0 now.
            (0..7).for_each(|_| opt.backward_step(&model.loss().unwrap()).unwrap());
        } else {
            minimize(&mut opt);
        }
        let was = flat(model.fc.weight());
        let is_zero = zeros(&was);
        assert!(is_zero.iter().filter(|zero| **zero).count() >= 2, "{was:?}");
        opt.regularizer_mut().freeze_support().unwrap();
        minimize(&mut opt);
        let is = flat(model.fc.weight());
        assert_eq!(zeros(&is), is_zero);
        assert!(is[0].abs() > was[0].abs() || by_steps, "the penalty's pull is gone");
        for (gradient, zero) in model.gradient().iter().zip(is_zero) {
            // The tolerance of the minimization is 1e-12; 300 steps come to the rounding of f64 as well.
            assert!(zero || gradient.abs() < 1e-11, "{gradient}");
        }
        opt.regularizer()
            .stationarity(&model.loss().unwrap().backward().unwrap())
            .unwrap()
            .assert_below(1e-11)
            .unwrap();
        let problem = LinearProblem {
            inputs: &model.x,
            targets: &model.y,
            weight: model.fc.weight(),
            bias: None,
            loss: LinearLoss::Squared,
        };
        let error = opt.regularizer().duality_gap(&problem).unwrap_err();
        assert!(error.to_string().contains("frozen"), "{error}");
    }
}

#[test]
fn fields_are_frozen_each_for_itself_and_what_cannot_be_is_refused() {
    struct Two(Matrix, Matrix);
    impl Regularized for Two {
        fn visit(&self, visitor: &mut l1_core::Visitor<'_>) -> l1_core::Result<()> {
            visitor.field("a", Rule::inherit(), &self.0)?;
            visitor.field("b", Rule::inherit(), &self.1)
        }
    }
    let mut rng = StdRng::seed_from_u64(2);
    let mut matrix = |penalty| Matrix::random(&mut rng, DType::F32, penalty);
    let model = Two(matrix(Penalty::l1(0.1)), matrix(Penalty::l1(0.1).with_group(Grouping::Singular)));
    let mut regularizer = model.regularizer().unwrap();
    let error = regularizer.freeze_support().unwrap_err();
    assert!(matches!(&error, Error::SupportOfSingularValues { path } if *path == "b.weight"), "{error}");
    assert_eq!(regularizer.support_is_frozen("a").unwrap(), Some(false), "nothing is frozen by an error");
    regularizer.freeze_support_of("a").unwrap();
    assert_eq!(regularizer.support_is_frozen("").unwrap(), None);
    assert_eq!(regularizer.support_is_frozen("a").unwrap(), Some(true));
    assert!(regularizer.params()[0].support_is_frozen() && !regularizer.params()[1].support_is_frozen());
    assert!(matches!(regularizer.freeze_support_of("c"), Err(Error::UnknownField { .. })));
    regularizer.release_support_of("a").unwrap();
    assert_eq!(regularizer.support_is_frozen("a").unwrap(), Some(false));
    let free = Single::new(&[1.0], DType::F32, Rule::inherit());
    assert!(matches!(free.regularizer().unwrap().freeze_support(), Err(Error::NothingPenalized { .. })));
}

#[test]
fn a_checkpoint_keeps_what_is_frozen_and_scales_of_fields_and_one_without_them_still_loads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let start = |model: &Squares| {
        ProxAdamW::new(
            model.varmap.all_vars(),
            ParamsProxAdamW { lr: 0.05, ..ParamsProxAdamW::new(model.regularizer().unwrap()) },
        )
        .unwrap()
    };
    let model = Squares::new();
    let mut opt = start(&model);
    let step = |opt: &mut ProxAdamW, model: &Squares| opt.backward_step(&model.loss().unwrap()).unwrap();
    (0..300).for_each(|_| step(&mut opt, &model));
    Checkpoint::save(&path, &opt, &model.varmap).unwrap();
    let text = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    assert!(!text(&path).contains("frozen"), "files are as they were where nothing is frozen");

    opt.regularizer_mut().set_scale_of("fc", 0.7).unwrap();
    opt.regularizer_mut().freeze_support().unwrap();
    step(&mut opt, &model);
    let frozen = folder.path().join("frozen.safetensors");
    Checkpoint::save(&frozen, &opt, &model.varmap).unwrap();
    (0..50).for_each(|_| step(&mut opt, &model));

    let other = Squares::new();
    let mut resumed = start(&other);
    Checkpoint::load(&frozen, &mut resumed, &other.varmap).unwrap();
    assert_eq!(resumed.regularizer().support_is_frozen("").unwrap(), Some(true));
    assert_eq!(resumed.regularizer().scale_of("fc").unwrap(), Some(0.7));
    (0..50).for_each(|_| step(&mut resumed, &other));
    assert_eq!(bits(other.fc.weight()), bits(model.fc.weight()));

    Checkpoint::load(&path, &mut resumed, &other.varmap).unwrap();
    assert_eq!(resumed.regularizer().support_is_frozen("").unwrap(), Some(false), "as it was when that was saved");
    assert_eq!(resumed.regularizer().scale_of("fc").unwrap(), Some(1.0));
}

/// Moves everything, and then fails.
struct Failing(Vec<Var>);

impl Optimizer for Failing {
    type Config = ();

    fn new(vars: Vec<Var>, (): ()) -> candle_core::Result<Self> {
        Ok(Self(vars))
    }

    fn step(&mut self, _: &GradStore) -> candle_core::Result<()> {
        self.0.iter().try_for_each(|var| var.set(&(var.as_tensor() + 1.0)?))?;
        candle_core::bail!("no more")
    }

    fn learning_rate(&self) -> f64 {
        0.1
    }

    fn set_learning_rate(&mut self, _: f64) {}
}

#[test]
fn an_inner_optimizer_that_fails_half_way_moves_no_held_zero() {
    let model = Single::new(&[1.0, 0.0], DType::F32, Rule::l1(0.1));
    let mut regularizer = model.regularizer().unwrap();
    regularizer.freeze_support().unwrap();
    let params = ParamsProximal::new((), regularizer);
    let mut opt = Proximal::<Failing>::new(vec![model.weight.clone()], params).unwrap();
    let grads = gradients([(&model.weight, model.weight.ones_like().unwrap())]);
    assert!(Optimizer::step(&mut opt, &grads).unwrap_err().to_string().contains("no more"));
    assert_eq!(flat(&model.weight), [2.0, 0.0]);
}
