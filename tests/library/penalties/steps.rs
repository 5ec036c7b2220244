//! Steps of every optimizer: the move by its textbook formula, behind it the prox of `naive.rs`, coordinate by coordinate in f64.

use candle_core::{DType, Result, Var, backprop::GradStore};
use candle_nn::Optimizer;
use l1_core::{
    Charged, Curve, FtrlProximal, Grouping, ParamsFtrl, ParamsProxAdamW, ParamsProxSgd, Penalty, ProxAdamW, ProxSgd,
    Regularized, Regularizer, Stepper,
};

use super::{CURVES, F32, losses::Model, naive, numbers, rng, tensor};
use crate::{
    every_optimizer::told,
    models::{flat, gradients},
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Method {
    Sgd { momentum: f64, nesterov: bool },
    AdamW { amsgrad: bool },
    Ftrl { once: bool },
}

pub(super) const METHODS: [Method; 7] = [
    Method::Sgd { momentum: 0.0, nesterov: false },
    Method::Sgd { momentum: 0.8, nesterov: false },
    Method::Sgd { momentum: 0.8, nesterov: true },
    Method::AdamW { amsgrad: false },
    Method::AdamW { amsgrad: true },
    Method::Ftrl { once: false },
    Method::Ftrl { once: true },
];

const SGD_LR: f64 = 0.2;
const ADAM_LR: f64 = 0.3;
const EPS: f64 = 0.1;
const BETA1: f64 = 0.7;
const BETA2: f64 = 0.8;
const FTRL_LR: f64 = 0.6;
const FTRL_BETA: f64 = 1.5;

/// What every optimizer can do.
pub(super) type Step = Box<dyn FnMut(&GradStore) -> Result<()>>;

impl Method {
    pub(super) fn optimizer(self, regularizer: Regularizer, vars: Vec<Var>, guard: l1_core::Guard) -> Step {
        fn boxed<M: l1_core::optim::Method>(mut opt: Stepper<M>) -> Step {
            Box::new(move |grads| told(&mut opt, grads))
        }
        match self {
            Self::Sgd { momentum, nesterov } => {
                let params = ParamsProxSgd { lr: SGD_LR, momentum, nesterov, guard, ..ParamsProxSgd::new(regularizer) };
                boxed(ProxSgd::new(vars, params).unwrap())
            }
            Self::AdamW { amsgrad } => {
                let params = ParamsProxAdamW::new(regularizer);
                let params =
                    ParamsProxAdamW { lr: ADAM_LR, eps: EPS, beta1: BETA1, beta2: BETA2, amsgrad, guard, ..params };
                boxed(ProxAdamW::new(vars, params).unwrap())
            }
            Self::Ftrl { once } => {
                let charged = if once { Charged::Once } else { Charged::EachStep };
                let params =
                    ParamsFtrl { lr: FTRL_LR, beta: FTRL_BETA, charged, guard, ..ParamsFtrl::new(regularizer) };
                boxed(FtrlProximal::new(vars, params).unwrap())
            }
        }
    }
}

/// What the plain loops remember.
#[derive(Clone)]
pub(super) struct Plain {
    method: Method,
    penalty: Penalty,
    dims: Vec<usize>,
    steps: i32,
    /// W_k
    total_weight: f64,
    first: Vec<f64>,
    second: Vec<f64>,
    largest: Vec<f64>,
}

impl Plain {
    pub(super) fn new(method: Method, penalty: Penalty, dims: &[usize]) -> Self {
        let zeros = vec![0.0; dims.iter().product()];
        let (first, second, largest) = (zeros.clone(), zeros.clone(), zeros);
        Self { method, penalty, dims: dims.to_vec(), steps: 0, total_weight: 0.0, first, second, largest }
    }

    /// Where the gradient takes w, and the step of the prox there.
    fn moved(&mut self, w: &[f64], g: &[f64]) -> (Vec<f64>, Vec<f64>) {
        self.steps += 1;
        let length = w.len();
        let mean = g.iter().map(|g| g * g).sum::<f64>() / length as f64;
        // One second moment for all: singular values have no prox in any other metric.
        let square = |g: f64| if self.penalty.group() == Grouping::Singular { mean } else { g * g };
        let (mut z, mut t) = (vec![0.0; length], vec![0.0; length]);
        if let Method::Sgd { momentum, .. } = self.method {
            self.total_weight = momentum * self.total_weight + 1.0;
        }
        for i in 0..length {
            let (first, second) = (&mut self.first[i], &mut self.second[i]);
            (z[i], t[i]) = match self.method {
                Method::Sgd { momentum, nesterov } => {
                    *first = momentum * *first + g[i];
                    let (d, weight) = if nesterov {
                        (g[i] + momentum * *first, 1.0 + momentum * self.total_weight)
                    } else {
                        (*first, self.total_weight)
                    };
                    (w[i] - SGD_LR * d, SGD_LR * weight)
                }
                Method::AdamW { amsgrad } => {
                    *first = BETA1 * *first + (1.0 - BETA1) * g[i];
                    *second = BETA2 * *second + (1.0 - BETA2) * square(g[i]);
                    self.largest[i] = self.largest[i].max(*second);
                    let v = if amsgrad { self.largest[i] } else { *second };
                    let p = ADAM_LR / ((v / (1.0 - BETA2.powi(self.steps))).sqrt() + EPS);
                    (w[i] - p * *first / (1.0 - BETA1.powi(self.steps)), p)
                }
                Method::Ftrl { .. } => {
                    // The first step counts as one from the weights as they are.
                    let before = if self.steps == 1 { 0.0 } else { (FTRL_BETA + second.sqrt()) / FTRL_LR };
                    *second += square(g[i]);
                    let after = (FTRL_BETA + second.sqrt()) / FTRL_LR;
                    *first += g[i] - (after - before) * w[i];
                    (-*first / after, 1.0 / after)
                }
            };
        }
        (z, t)
    }

    /// The penalty charged so far, and how often its curve is.
    pub(super) fn charged(&self) -> (Penalty, f64) {
        match self.method {
            Method::Ftrl { once: false } => {
                let times = f64::from(self.steps);
                (self.penalty.with_l2(times * self.penalty.l2()).with_element(times * self.penalty.element()), times)
            }
            _ => (self.penalty, 1.0),
        }
    }

    /// The weights after the next step, and those with z a little nearer to 0 and farther from it.
    pub(super) fn step(&mut self, w: &[f64], g: &[f64], doubt: f64) -> [Vec<f64>; 3] {
        let (z, t) = self.moved(w, g);
        let (penalty, times) = self.charged();
        let is_adaptive = !matches!(self.method, Method::Sgd { .. });
        let is_linearized = matches!(penalty.curve(), Curve::Mcp(_) | Curve::Scad(_) | Curve::Log(_));
        // Singular values have a step of their own, which is one number, but adapts all the same.
        let met = if is_adaptive && is_linearized && penalty.group() != Grouping::Singular {
            naive::Met::ByItsTangent(w)
        } else {
            naive::Met::ByItsProx
        };
        [1.0, 1.0 - doubt, 1.0 + doubt].map(|factor| {
            let z: Vec<_> = z.iter().map(|z| z * factor).collect();
            naive::prox(&penalty, &self.dims, &z, &t, times, met)
        })
    }
}

impl Plain {
    /// The same where what has a gradient that is not finite is passed over: an entry, or with groups the tensor.
    pub(super) fn guarded_step(&mut self, w: &[f64], g: &[f64]) -> Vec<f64> {
        let stays = |at: usize| match self.penalty.group() {
            Grouping::Element => !g[at].is_finite(),
            _ => g.iter().any(|g| !g.is_finite()),
        };
        let stay: Vec<_> = (0..w.len()).map(stays).collect();
        let mut kept = self.clone();
        kept.steps += 1;
        let good: Vec<_> = g.iter().zip(&stay).map(|(g, stays)| if *stays { 0.0 } else { *g }).collect();
        let [mut next, ..] = self.step(w, &good, 0.0);
        let (charged, times) = self.charged();
        let rest = naive::subgradient(&charged.with_lambda(0.0), &self.dims, w);
        let all = naive::subgradient(&charged, &self.dims, w);
        for at in (0..w.len()).filter(|at| stay[*at]) {
            next[at] = w[at];
            self.second[at] = kept.second[at];
            self.largest[at] = kept.largest[at];
            self.first[at] = match self.method {
                // The sum from which rate and penalty so far give this weight.
                Method::Ftrl { .. } if w[at] != 0.0 => {
                    let slope = times * (all[at] - rest[at]) + rest[at];
                    -(w[at] * (FTRL_BETA + kept.second[at].sqrt()) / FTRL_LR + slope)
                }
                _ => kept.first[at],
            };
        }
        next
    }
}

const DIMS: [usize; 2] = [6, 8];

fn groupings() -> impl Iterator<Item = Grouping> {
    let groups = [Grouping::Element, Grouping::Dim(0), Grouping::Dim(1), Grouping::Block(3, 2), Grouping::Whole];
    groups.into_iter().chain([Grouping::Singular])
}

/// Weights and gradients of some groups are near 0, so that every curve leaves some and takes others.
fn sized(rng: &mut rand::rngs::StdRng, scale: f64) -> Vec<f64> {
    let large = [1.0, 0.1, 1.0, 0.03, 1.0, 0.1, 1.0, 0.3];
    numbers(rng, 48).iter().enumerate().map(|(at, x)| scale * x * large[at % 8] * large[at / 8]).collect()
}

fn runs(dtype: DType, doubt: f64, steps: usize, tolerance: f64) {
    let rng = &mut rng(51);
    let (mut zeros, mut others) = (0, 0);
    for method in METHODS {
        for group in groupings() {
            for curve in CURVES {
                let penalty = Penalty::l1(0.08).with_curve(curve).with_group(group);
                let folds = [penalty, penalty.with_element(0.02).with_l2(0.1), penalty.with_positive(true)];
                for penalty in folds {
                    if group == Grouping::Singular && (penalty.element() > 0.0 || penalty.positive()) {
                        continue;
                    }
                    let model = Model::new(&tensor(&sized(rng, 1.0), &DIMS, dtype), penalty);
                    let mut opt = method.optimizer(
                        model.regularizer().unwrap(),
                        vec![model.weight.clone()],
                        l1_core::Guard::Before,
                    );
                    let mut plain = Plain::new(method, penalty, &DIMS);
                    for step in 0..steps {
                        let gradient = tensor(&sized(rng, 0.5), &DIMS, dtype);
                        let (w, g) = (flat(&model.weight), flat(&gradient));
                        opt(&gradients([(&model.weight, gradient)])).unwrap();
                        let [expected, less, more] = plain.step(&w, &g, doubt);
                        for (at, found) in flat(&model.weight).into_iter().enumerate() {
                            let near = |expected: f64| (found - expected).abs() <= tolerance;
                            let is_zero = (found == 0.0) == (expected[at] == 0.0);
                            // Where z may lie on either side of a threshold or a jump, so may w.
                            let is_doubtful =
                                (less[at] == 0.0) != (more[at] == 0.0) || (less[at] - more[at]).abs() > 50.0 * doubt;
                            let right = near(expected[at]) && (is_zero || group == Grouping::Singular)
                                || is_doubtful && (found == 0.0 || near(less[at]) || near(more[at]));
                            assert!(
                                right,
                                "{method:?}, {penalty}, {dtype:?}, step {step}, entry {at}: {found:e}, not {:e}",
                                expected[at]
                            );
                            zeros += usize::from(found == 0.0);
                            others += usize::from(found != 0.0);
                        }
                    }
                }
            }
        }
    }
    // The test would see little if all were on one side of a threshold.
    assert!(zeros > others / 10 && others > zeros / 10, "{zeros} zeros, {others} others");
}

#[test]
fn every_optimizer_moves_by_its_formula_and_takes_the_prox_of_every_curve_on_all_groups() {
    // What the sums and the scan of the plain loops lose, of numbers around 1.
    runs(DType::F64, 1e-12, 4, 1e-12);
}

#[test]
fn in_f32_the_steps_are_the_same_up_to_roundings() {
    // Three steps of about 30 roundings each, of numbers up to 4.
    runs(DType::F32, 200.0 * F32, 3, 500.0 * F32);
}
