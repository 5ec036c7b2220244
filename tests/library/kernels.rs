//! Every operation and every optimizer's step against plain loops in f64, written from the formulas and not from the library's
//! code, whatever the length, the dtype and the layout of the tensors.
//!
//! An error is measured against the sum of the absolute values that a number is made of (its size): in f64 and f32 all are
//! within [`ROUNDINGS`] of that, and half types are rounded once more, to their own precision, when they are stored.

use candle_core::{DType, Tensor, Var};
use candle_nn::Optimizer;
use l1_core::{
    Charged, FtrlProximal, Guard, ParamsFtrl, ParamsProxAdamW, ParamsProxSgd, Penalty, ProxAdamW, ProxSgd, Regularized,
    Regularizer, Rule, kernel,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tests::{device, rounded};

use crate::{
    every_optimizer::EVERY_OPTIMIZER,
    models::{flat, gradients},
};

const DTYPES: [DType; 4] = [DType::F64, DType::F32, DType::BF16, DType::F16];

/// The longest formula, three steps of FTRL, has about 30 operations, each with an error of at most half an ulp of its size.
const ROUNDINGS: f64 = 32.0;

/// Half an ulp of 1 in the arithmetic, and in the dtype itself; and half of the smallest number of the dtype.
fn precision(dtype: DType) -> (f64, f64, f64) {
    match dtype {
        DType::F64 => (2f64.powi(-53), 0.0, 0.0),
        DType::F32 => (2f64.powi(-24), 0.0, 0.0),
        DType::BF16 => (2f64.powi(-24), 2f64.powi(-8), 0.0),
        _ => (2f64.powi(-24), 2f64.powi(-11), 2f64.powi(-25)),
    }
}

/// What a formula gives at one coordinate.
#[derive(Clone, Copy)]
struct Expected {
    value: f64,
    size: f64,
    /// How far inside the threshold the argument of a prox lies: the value has to be exactly 0 there.
    inside: f64,
}

impl Expected {
    fn check(self, found: f64, dtype: DType) -> Result<(), TestCaseError> {
        let Self { value, size, inside } = self;
        let (arithmetic, stored, smallest) = precision(dtype);
        let error = ROUNDINGS * arithmetic * size;
        let tolerance = error + stored * (value.abs() + error) + smallest;
        prop_assert!((found - value).abs() <= tolerance, "{found:e} {value:e} ± {tolerance:e} in {dtype:?}");
        prop_assert!(inside <= error || found == 0.0, "{found:e} is not 0 but {inside:e} inside, in {dtype:?}");
        Ok(())
    }
}

fn check_all(found: &Tensor, dtype: DType, mut expected: impl FnMut(usize) -> Expected) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.dtype(), dtype);
    for (at, found) in flat(found).into_iter().enumerate() {
        expected(at).check(found, dtype)?;
    }
    Ok(())
}

/// argmin_u (u − z)²/2 + t·Ω(u), by folding in first the sign, then the ridge, then the threshold.
fn prox(z: f64, size: f64, t: f64, penalty: &Penalty) -> Expected {
    let a = if penalty.positive() { z.max(0.0) } else { z };
    let shrink = 1.0 / (1.0 + t * penalty.l2());
    let (a, threshold) = (a * shrink, t * shrink * penalty.lambda());
    let value = a.signum() * (a.abs() - threshold).max(0.0);
    Expected { value, size: size + t * penalty.lambda(), inside: threshold - a.abs() }
}

/// How a tensor lies in its storage.
#[derive(Clone, Copy, Debug)]
enum Lies {
    Alone,
    /// A transposed matrix.
    Strided,
    /// In the middle of a storage, with NaN around it.
    Within,
}

impl Lies {
    fn tensor(self, numbers: &[f64], (rows, columns): (usize, usize), dtype: DType) -> Tensor {
        let new = |numbers: Vec<f64>| rounded(numbers, dtype);
        match self {
            Self::Alone => new(numbers.to_vec()).reshape((rows, columns)).unwrap(),
            Self::Strided => {
                let turned = (0..rows * columns).map(|at| numbers[at % rows * columns + at / rows]);
                new(turned.collect()).reshape((columns, rows)).unwrap().t().unwrap()
            }
            Self::Within => {
                let all = new([&[f64::NAN; 3], numbers, &[f64::NAN; 5]].concat());
                all.narrow(0, 3, numbers.len()).unwrap().reshape((rows, columns)).unwrap()
            }
        }
    }
}

/// Some exactly 0, some small, some large.
fn numbers(rng: &mut StdRng, length: usize) -> Vec<f64> {
    let sizes = [0.0, 0.01, 1.0, 1.0, 30.0];
    (0..length).map(|_| rng.random_range(-1.0..1.0) * sizes[rng.random_range(0..5)]).collect()
}

fn shape() -> impl Strategy<Value = (usize, usize)> {
    // The long ones have one coordinate less than a thread's chunk of 16 Ki, as many, and one more.
    prop_oneof![20 => (0..6usize, 0..9usize), 1 => Just((3, 5461)), 1 => Just((128, 128)), 1 => Just((113, 145))]
}

fn lies() -> impl Strategy<Value = Lies> {
    prop_oneof![Just(Lies::Alone), Just(Lies::Strided), Just(Lies::Within)]
}

fn penalty() -> impl Strategy<Value = Penalty> {
    let strength = || prop_oneof![1 => Just(0.0), 3 => 0.0..1.0f64];
    (strength(), strength(), any::<bool>())
        .prop_map(|(lambda, l2, positive)| Penalty::l1(lambda).with_l2(l2).with_positive(positive))
}

/// One weight matrix under a penalty.
struct Matrix(Var, Penalty);

impl Regularized for Matrix {
    fn visit(&self, visitor: &mut l1_core::Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("weight", Rule::inherit().penalty(self.1), &self.0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn value_subgradient_and_prox_are_their_formulas(
        shape in shape(), lies in lies(), penalty in penalty(), step in 0.0..2.0f64, seed in any::<u64>(),
    ) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let length = shape.0 * shape.1;
        let [w, g, steps] = [(); 3].map(|()| numbers(rng, length));
        let (lambda, l2) = (penalty.lambda(), penalty.l2());
        for dtype in DTYPES {
            let w = lies.tensor(&w, shape, dtype);
            let rounded = flat(&w);

            let sum: f64 = rounded.iter().map(|w| lambda * w.abs() + 0.5 * l2 * w * w).sum();
            let violated = penalty.positive() && rounded.iter().any(|w| *w < 0.0);
            let value = kernel::value(&w, &penalty).unwrap();
            // Sums are in f64 whatever the dtype: 2⁻⁵³ for each of at most 16 Ki additions.
            let sum_is_right = (value - sum).abs() <= 2e-12 * sum;
            let right = if violated { value == f64::INFINITY } else { sum_is_right };
            prop_assert!(right, "{value} {sum}");

            let subgradient = |w: f64| {
                let sign = if w == 0.0 { 0.0 } else { w.signum() };
                Expected { value: lambda * sign + l2 * w, size: lambda + l2 * w.abs(), inside: 0.0 }
            };
            check_all(&kernel::subgradient(&w, &penalty).unwrap(), dtype, |at| subgradient(rounded[at]))?;

            let scalar = kernel::prox(&w, &penalty, step).unwrap();
            check_all(&scalar, dtype, |at| prox(rounded[at], rounded[at].abs(), step, &penalty))?;
            let steps: Vec<_> = steps.iter().map(|step| step.abs()).collect();
            let steps = lies.tensor(&steps, shape, if dtype == DType::F64 { DType::F64 } else { DType::F32 });
            let diagonal = kernel::prox(&w, &penalty, &steps).unwrap();
            let steps = flat(&steps);
            check_all(&diagonal, dtype, |at| prox(rounded[at], rounded[at].abs(), steps[at], &penalty))?;

            // Into gradients, which may lie anywhere.
            let model = Matrix(Var::from_tensor(&w.contiguous().unwrap()).unwrap(), penalty.with_positive(false));
            let gradient = lies.tensor(&g, shape, dtype);
            let g = flat(&gradient);
            let grads = model.regularizer().unwrap().add_subgradient(gradients([(&model.0, gradient)])).unwrap();
            check_all(grads.get(&model.0).unwrap(), dtype, |at| {
                let Expected { value, size, inside } = subgradient(rounded[at]);
                Expected { value: g[at] + value, size: g[at].abs() + size, inside }
            })?;
        }
    }
}

#[test]
fn a_matrix_of_no_columns_is_passed_over_although_candle_refuses_to_write_to_it() {
    let penalty = Penalty::l1(0.1);
    for dtype in [DType::F32, DType::BF16] {
        let model = Matrix(Var::zeros((2, 0), dtype, &device()).unwrap(), penalty);
        let given = || gradients([(&model.0, model.0.zeros_like().unwrap())]);
        assert_eq!(kernel::prox(&model.0, &penalty, 1.0).unwrap().dims(), [2, 0]);
        model.regularizer().unwrap().add_subgradient(given()).unwrap();
        for (_, make) in EVERY_OPTIMIZER {
            make(model.regularizer().unwrap(), vec![model.0.clone()], Guard::Before)(&given()).unwrap();
        }
    }
}

/// An optimizer's hyperparameters: what the library and the plain loops are both told.
#[derive(Clone, Copy, Debug)]
enum Method {
    Sgd { lr: f64, momentum: f64, dampening: f64, nesterov: bool, decay: f64 },
    AdamW { lr: f64, beta1: f64, beta2: f64, eps: f64, decay: f64, amsgrad: bool },
    Ftrl { lr: f64, beta: f64, start: f64, once: bool },
}

fn method() -> impl Strategy<Value = Method> {
    let (rate, fraction, decay) = (0.01..0.5f64, || 0.1..0.95f64, 0.0..0.5f64);
    let plain = (rate.clone(), decay.clone()).prop_map(|(lr, decay)| Method::Sgd {
        lr,
        momentum: 0.0,
        dampening: 0.5,
        nesterov: false,
        decay,
    });
    let momentum = (rate.clone(), fraction(), fraction(), any::<bool>(), decay.clone()).prop_map(
        |(lr, momentum, dampening, nesterov, decay)| {
            let dampening = if nesterov { 0.0 } else { dampening };
            Method::Sgd { lr, momentum, dampening, nesterov, decay }
        },
    );
    let adamw = (rate.clone(), fraction(), fraction(), 1e-3..0.1f64, decay, any::<bool>())
        .prop_map(|(lr, beta1, beta2, eps, decay, amsgrad)| Method::AdamW { lr, beta1, beta2, eps, decay, amsgrad });
    let ftrl = (rate, 0.1..2.0f64, prop_oneof![Just(0.0), 0.0..1.0f64], any::<bool>())
        .prop_map(|(lr, beta, start, once)| Method::Ftrl { lr, beta, start, once });
    prop_oneof![1 => plain, 2 => momentum, 2 => adamw, 2 => ftrl]
}

impl Method {
    fn optimizer(self, regularizer: Regularizer, vars: Vec<Var>) -> Box<dyn Trained> {
        match self {
            Self::Sgd { lr, momentum, dampening, nesterov, decay: weight_decay } => {
                let params = ParamsProxSgd::new(regularizer);
                let params = ParamsProxSgd { lr, momentum, dampening, nesterov, weight_decay, ..params };
                Box::new(ProxSgd::new(vars, params).unwrap())
            }
            Self::AdamW { lr, beta1, beta2, eps, decay: weight_decay, amsgrad } => {
                let params = ParamsProxAdamW::new(regularizer);
                let params = ParamsProxAdamW { lr, beta1, beta2, eps, weight_decay, amsgrad, ..params };
                Box::new(ProxAdamW::new(vars, params).unwrap())
            }
            Self::Ftrl { lr, beta, start, once } => {
                let charged = if once { Charged::Once } else { Charged::EachStep };
                let params = ParamsFtrl::new(regularizer);
                let params = ParamsFtrl { lr, beta, initial_accumulator: start, charged, ..params };
                Box::new(FtrlProximal::new(vars, params).unwrap())
            }
        }
    }
}

/// An optimizer whose λ is scaled in training.
trait Trained {
    fn step(&mut self, scale: f64, var: &Var, gradient: Tensor);
}

macro_rules! trained {
    ($($optimizer:ty),*) => {$(
        impl Trained for $optimizer {
            fn step(&mut self, scale: f64, var: &Var, gradient: Tensor) {
                self.regularizer_mut().set_scale(scale).unwrap();
                Optimizer::step(self, &gradients([(var, gradient)])).unwrap();
            }
        }
    )*};
}

trained!(ProxSgd, ProxAdamW, FtrlProximal);

/// What the plain loops remember of one coordinate: sums, each with its size.
#[derive(Clone, Copy, Default)]
struct Memory {
    /// b, m or z.
    first: f64,
    first_size: f64,
    /// v or n.
    second: f64,
    largest: f64,
}

/// What is the same for all coordinates.
#[derive(Clone, Copy, Default)]
struct Counts {
    steps: i32,
    /// W_k.
    total_weight: f64,
    /// The scales so far.
    charges: f64,
    scale: f64,
}

impl Method {
    fn count(self, counts: &mut Counts, scale: f64) {
        counts.steps += 1;
        counts.charges += scale;
        counts.scale = scale;
        if let Self::Sgd { momentum, dampening, .. } = self {
            counts.total_weight = if counts.steps == 1 || momentum == 0.0 {
                1.0
            } else {
                momentum * counts.total_weight + 1.0 - dampening
            };
        }
    }

    /// The next weight of one coordinate.
    fn step(self, w: f64, g: f64, memory: &mut Memory, counts: Counts, penalty: &Penalty) -> Expected {
        let scaled = penalty.scaled(counts.scale);
        let Memory { first, first_size, second, largest } = memory;
        match self {
            Self::Sgd { lr, momentum, dampening, nesterov, decay } => {
                let fresh = if counts.steps == 1 || momentum == 0.0 { 1.0 } else { 1.0 - dampening };
                *first = momentum * *first + fresh * g;
                *first_size = momentum * *first_size + fresh * g.abs();
                let (d, d_size, weight) = if nesterov {
                    let weight = 1.0 + momentum * counts.total_weight;
                    (g + momentum * *first, g.abs() + momentum * *first_size, weight)
                } else {
                    (*first, *first_size, counts.total_weight)
                };
                prox((1.0 - lr * decay) * w - lr * d, w.abs() + lr * d_size, lr * weight, &scaled)
            }
            Self::AdamW { lr, beta1, beta2, eps, decay, amsgrad } => {
                *first = beta1 * *first + (1.0 - beta1) * g;
                *first_size = beta1 * *first_size + (1.0 - beta1) * g.abs();
                *second = beta2 * *second + (1.0 - beta2) * g * g;
                *largest = largest.max(*second);
                let v = if amsgrad { *largest } else { *second };
                let p = lr / ((v / (1.0 - beta2.powi(counts.steps))).sqrt() + eps);
                let correction = 1.0 - beta1.powi(counts.steps);
                let z = (1.0 - lr * decay) * w - p * *first / correction;
                prox(z, w.abs() + p * *first_size / correction, p, &scaled)
            }
            Self::Ftrl { lr, beta, start, once } => {
                // The first step counts as one from the weights as they are.
                let n = start + *second;
                let before = if counts.steps == 1 { 0.0 } else { (beta + n.sqrt()) / lr };
                *second += g * g;
                let after = (beta + (n + g * g).sqrt()) / lr;
                *first += g - (after - before) * w;
                // Two roots were subtracted: their errors stay.
                *first_size += g.abs() + after * w.abs();
                let (times, penalty) = if once { (1.0, &scaled) } else { (counts.charges, penalty) };
                prox(-*first / after, *first_size / after, times / after, penalty)
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_step_of_every_optimizer_is_its_formula(
        method in method(), shape in shape(), lies in lies(), penalty in penalty(), seed in any::<u64>(),
    ) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let length = shape.0 * shape.1;
        let start = numbers(rng, length);
        let g = [(); 3].map(|()| numbers(rng, length));
        for dtype in DTYPES {
            let model = Matrix(Var::from_tensor(&Lies::Alone.tensor(&start, shape, dtype)).unwrap(), penalty);
            let mut opt = method.optimizer(model.regularizer().unwrap(), vec![model.0.clone()]);
            let mut memory = vec![Memory::default(); length];
            let mut counts = Counts::default();
            for (g, scale) in g.iter().zip([1.0, 0.5, 2.0]) {
                let gradient = lies.tensor(g, shape, dtype);
                // As they are stored, rounded to the dtype: each step starts from what the last one left.
                let (w, g) = (flat(&model.0), flat(&gradient));
                opt.step(scale, &model.0, gradient);
                method.count(&mut counts, scale);
                check_all(&model.0, dtype, |at| method.step(w[at], g[at], &mut memory[at], counts, &penalty))?;
            }
        }
    }
}
