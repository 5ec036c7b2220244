//! The path of one linear layer under any loss of its scores: exact, and fast since the loss is asked for nothing but its gradient at n × k
//! scores.
//!
//! | file | what |
//! |---|---|
//! | `columns.rs` | the inputs, and sums over examples |
//! | `loss.rs` | the loss of scores, its gradient and curvature |
//! | `charge.rs` | what is charged for an entry, or for an input |
//! | `gram.rs`, `quadratic.rs` | the problem inside a Newton step |
//! | `newton.rs` | the step |
//! | `pulls.rs` | which columns have to be looked at |
//! | `solve.rs` | the solution at one scale |
//! | `point.rs` | what is kept of it |
//! | `run.rs` | [`Path::run_linear`](crate::Path::run_linear), which makes a [`PathRun`](crate::PathRun) of it |

use std::ops::ControlFlow;

use candle_core::{DType, Tensor};
use candle_nn::Linear;

use crate::{Error, ParamPath, Penalty, Regularizer, Result};

mod charge;
mod columns;
mod gram;
mod loss;
mod newton;
mod point;
mod pulls;
mod quadratic;
mod run;
mod solve;

use charge::Charge;
use columns::{Columns, Means};
use loss::Loss;
use point::LinearPoint;
use solve::Solver;

/// One linear layer and its inputs, for [`Path::run_linear`](crate::Path::run_linear): the solutions of `loss(x·Wᵀ + b) + Ω(W)` for many
/// scales of Ω, one after the other, each from the one before.
///
/// The loss is any function of the n × k scores that candle can differentiate: least squares, cross-entropy, Huber, … It is called
/// with scores and returns a scalar; the inputs, the layer and the penalty are known here. Ω may charge single entries or
/// `group = input`, with every curve, `element`, `l2` and `positive`. The intercept b is free.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{Linear, VarBuilder, VarMap, linear, loss};
/// use l1_core::{LinearPath, Path, Regularized, Rule, Visitor};
///
/// struct Model {
///     fc: Linear,
/// }
/// # impl Regularized for Model {
/// #     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
/// #         visitor.field("fc", Rule::l1(1.0), &self.fc) // so that the scale is λ
/// #     }
/// # }
///
/// let x = Tensor::new(&[[1f64, 3.0], [-1.0, 3.0], [0.0, -2.0], [2.0, 0.0]], &Device::Cpu)?;
/// let y = Tensor::new(&[[7f64], [-13.0], [0.8], [4.0]], &Device::Cpu)?;
/// let varmap = VarMap::new();
/// let model = Model { fc: linear(2, 1, VarBuilder::from_varmap(&varmap, DType::F64, &Device::Cpu).pp("fc"))? };
///
/// let layer = LinearPath::new(&model.fc, &x).tolerance(1e-8);
/// let squares = |scores: &Tensor| loss::mse(scores, &y);
/// let run = Path::descending(20, 0.01).run_linear(&layer, &model.regularizer()?, squares, |_| Ok(()))?;
/// assert_eq!((run.points[0].nonzeros, run.points[19].nonzeros), (0, 2));
/// assert!(run.points.iter().all(|point| point.certificate.relative <= 1e-8));
/// run.restore(10, &varmap.all_vars())?;
/// # Ok::<(), l1_core::Error>(())
/// ```
///
/// # Exactness
/// Each point's [`Certificate`](crate::Certificate) is its largest relative distance from the conditions of a solution
/// ([`Stationarity`](crate::Stationarity)), over **all** columns and the intercept: at most [`tolerance`](Self::tolerance), or the fit ran out of
/// iterations. It is that of the solution in f64: a layer in F32 holds this rounded to its 24 bits. A ridge or a sign alone has no strength; then
/// distances are relative to the largest gradient with all weights at 0.
///
/// With a convex loss and the curve l1 a point is a minimum; with other curves it is stationary, reached from the one before. Where the slope at
/// 0 is infinite (`half`, `two_thirds`, `l0`) every zero is stationary: there a zero leaves if a proximal step as long as the loss's curvature
/// allows leaves it, and no scale is the smallest that empties W, so that the scales have to be [given](crate::Path::grid).
///
/// # Method
/// Proximal Newton steps (Lee, Sun & Saunders 2014) by coordinate descent on the columns that the sequential strong rule leaves (Tibshirani et al. 2012), with a
/// line search on loss + Ω. The curvature comes from k more gradients, and is used again for as long as steps with it are good. It is that
/// of a loss that is a sum over examples; for another, or where the loss is not convex, it is damped until steps lower the objective. All is
/// computed in f64 on the CPU; the loss is called with scores in f64 if it takes such, else in the dtype of the inputs.
#[derive(Clone, Debug)]
pub struct LinearPath<'a> {
    inputs: &'a Tensor,
    weight: &'a Tensor,
    bias: Option<&'a Tensor>,
    tolerance: f64,
    max_iterations: usize,
}

/// The layer with W at 0 and b fitted.
#[derive(Clone, Copy, Debug)]
struct Empty {
    /// The smallest scale that keeps W there.
    scale_max: f64,
    loss: f64,
}

/// Who goes along a path.
trait Follower {
    /// Which scales, now that the largest is known.
    fn scales(&mut self, empty: &Empty) -> Result<Vec<f64>>;
    /// The next point is that of this scale.
    fn goes_to(&mut self, scale: f64);
    fn take(&mut self, point: LinearPoint) -> Result<ControlFlow<()>>;
}

/// What b is to the problem.
#[derive(Debug)]
enum Intercept {
    None,
    /// Not a variable.
    Constant(Vec<f64>),
    Free(Vec<f64>),
}

impl<'a> LinearPath<'a> {
    /// A layer whose points are exact to 1e-4.
    ///
    /// * `layer`: the model's own, F32 or F64, W: k × p, with or without b. Its values are not looked at, but for those of an intercept.
    /// * `inputs`: n × p, F32 or F64.
    #[must_use]
    pub fn new(layer: &'a Linear, inputs: &'a Tensor) -> Self {
        Self { inputs, weight: layer.weight(), bias: layer.bias(), tolerance: 1e-4, max_iterations: 200 }
    }

    /// The largest relative distance of a point: 1e-4 at first.
    #[must_use]
    pub fn tolerance(self, tolerance: f64) -> Self {
        Self { tolerance, ..self }
    }

    /// The most Newton steps for one point: 200 at first.
    #[must_use]
    pub fn max_iterations(self, max_iterations: usize) -> Self {
        Self { max_iterations, ..self }
    }

    /// Goes through the scales that `to` asks for, and gives it the points.
    ///
    /// * `penalty`: at scale 1.
    fn walk(
        &self,
        regularizer: &Regularizer,
        penalty: Penalty,
        loss: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
        to: &mut impl Follower,
    ) -> Result<()> {
        let (path, _) = self.penalty(regularizer)?;
        let (outputs, inputs) = self.weight.dims2()?;
        let dtypes = [Some(self.weight), self.bias].into_iter().flatten().map(Tensor::dtype);
        if let Some(dtype) = dtypes.into_iter().find(|dtype| !matches!(dtype, DType::F32 | DType::F64)) {
            let why =
                format!("the layer's dtype is {dtype:?}, which cannot hold a certified solution (expected F32 or F64)");
            return Err(refused(path.as_str(), why));
        }
        if self.inputs.rank() == 2 && self.inputs.dims()[1] != inputs {
            let (found, weight) = (self.inputs.dims(), self.weight.dims());
            return Err(refused("inputs", format!("shape {found:?} (expected n × {inputs}, beside W of {weight:?})")));
        }
        let charge = |scale: f64| Charge::new(&path, self.weight, &penalty.scaled(scale));
        let unit = charge(1.0)?;
        let intercept = self.intercept(regularizer, outputs)?;
        let means = if matches!(intercept, Intercept::Free(_)) { Means::Subtracted } else { Means::Kept };
        let columns = Columns::new(self.inputs, means)?;
        let loss = Loss::new(&loss, (columns.rows, columns.length, outputs), self.inputs)?;
        let mut solver = Solver::new(columns, loss, outputs, &intercept, &unit)?;
        solver.empty(&unit, 1e-2 * self.tolerance)?;

        let v = solver.gradients();
        let largest = v.chunks_exact(unit.size).map(norm).fold(0.0, f64::max);
        let scale_max = if largest <= solver.rounding() { 0.0 } else { scale_max(&path, &unit, &charge, v)? };
        let charge = |scale: f64| Ok::<_, Error>(charge(scale)?.beside(largest));
        let mut before = scale_max;
        for scale in to.scales(&Empty { scale_max, loss: solver.loss_of_scores() })? {
            to.goes_to(scale);
            let at = charge(scale)?;
            let bold = charge((2.0 * scale - before.max(scale)).max(0.25 * scale))?;
            let outcome = solver.fit(&at, &bold, self.tolerance, self.max_iterations)?;
            let (weights, intercept) = solver.weights(&at);
            let point = LinearPoint {
                scale,
                loss: outcome.loss,
                penalty: outcome.penalty,
                objective: outcome.loss + outcome.penalty,
                violation: outcome.violation,
                worst: outcome.worst,
                weights,
                intercept,
                shape: (outputs, inputs),
            };
            before = scale;
            if to.take(point)?.is_break() {
                break;
            }
        }
        tracing::debug!("{path}: {}", solver.work());
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let invalid = |name, value, expected| Err(Error::InvalidParameter { name, value, expected });
        if !(self.tolerance > 0.0 && self.tolerance.is_finite()) {
            return invalid("tolerance", self.tolerance, "finite and > 0");
        }
        if self.max_iterations == 0 {
            return invalid("max_iterations", 0.0, "≥ 1");
        }
        Ok(())
    }

    /// As declared, without the regularizer's scale.
    fn penalty(&self, regularizer: &Regularizer) -> Result<(ParamPath, Penalty)> {
        regularizer.refuse_decay("a path")?;
        let Some(param) = regularizer.get(self.weight) else {
            let why = "it is no parameter of the model that this Regularizer was made from: pass the model's own layer";
            return Err(refused("weight", why.to_owned()));
        };
        match param.decision.penalty() {
            Some(penalty) => Ok((param.path.clone(), *penalty)),
            None => {
                Err(refused(param.path.as_str(), format!("it is {}: there is no penalty to scale", param.decision)))
            }
        }
    }

    fn intercept(&self, regularizer: &Regularizer, outputs: usize) -> Result<Intercept> {
        let Some(bias) = self.bias else { return Ok(Intercept::None) };
        let param = regularizer.get(bias);
        let path = param.map_or("bias", |param| param.path.as_str());
        if bias.dims() != [outputs] {
            return Err(refused(path, format!("shape {:?} (expected {:?})", bias.dims(), [outputs])));
        }
        if let Some(penalty) = param.and_then(|param| param.decision.penalty()).filter(|penalty| !penalty.is_none()) {
            return Err(refused(path, format!("it is penalized (`{penalty}`; expected a free intercept)")));
        }
        let values = crate::kernel::distance::wide(bias)?;
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(refused(path, format!("it holds {value} (expected finite numbers)")));
        }
        Ok(if bias.is_variable() { Intercept::Free(values) } else { Intercept::Constant(values) })
    }
}

/// The smallest scale at which no unit leaves 0: ∞ if none holds, 0 if each does.
fn scale_max(path: &ParamPath, unit: &Charge, charge: &impl Fn(f64) -> Result<Charge>, v: &[f64]) -> Result<f64> {
    if let Some(bad) = v.iter().position(|v| v.is_nan()) {
        return Err(refused(path.as_str(), format!("the loss has the gradient NaN at flat index {bad}")));
    }
    if unit.holds_nothing() {
        return Ok(f64::INFINITY);
    }
    if unit.holds_every_zero() {
        return Ok(0.0);
    }
    // What nothing holds and stays all the same, as a sign does: no scale is too small for it.
    let nothing = charge(0.0)?;
    let mut largest = 0.0;
    let mut at_largest = None;
    for v in v.chunks_exact(unit.size) {
        let leaves = |charge: &Charge| charge.leaves(v, || 0.0, 0.0);
        if at_largest.as_ref().is_some_and(|at: &Charge| !leaves(at)) || !leaves(&nothing) {
            continue;
        }
        let (mut low, mut high) = (largest, 2.0 * norm(v) / unit.weakest() + largest);
        while leaves(&charge(high)?) {
            high *= 2.0;
        }
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if middle <= low || middle >= high {
                break;
            }
            if leaves(&charge(middle)?) { low = middle } else { high = middle }
        }
        (largest, at_largest) = (high, Some(charge(high)?));
    }
    Ok(largest)
}

fn norm(v: &[f64]) -> f64 {
    v.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn refused(path: impl Into<ParamPath>, why: String) -> Error {
    Error::NoLinearPath { path: path.into(), why }
}
