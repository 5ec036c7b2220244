//! FISTA with backtracking and restart: convex problems on the full batch, solved to the last digits.

use std::{fmt, mem};

use candle_core::{DType, Result as CandleResult, Tensor, Var, backprop::GradStore};
use candle_nn::Optimizer;

use super::{
    vars::{self, Planned},
    vector::Vector,
};
use crate::{
    Error, OnMissingGradient, Param, Penalty, Regularizer, Result,
    error::readable,
    gradient::{self, Taken},
    gradient_check::check_scalar,
    kernel,
};

/// What [`Fista`] is told. There is no `Default`: nobody gets an unregularized optimizer by leaving a field out.
///
/// ```
/// # fn params(regularizer: l1_core::Regularizer, model: impl candle_core::Module, x: candle_core::Tensor, y: candle_core::Tensor) {
/// use candle_nn::loss;
/// use l1_core::ParamsFista;
///
/// let params = ParamsFista { lr: 10.0, ..ParamsFista::new(regularizer, || loss::mse(&model.forward(&x)?, &y)) };
/// # }
/// ```
#[derive(Clone)]
pub struct ParamsFista<F> {
    /// The first step s that is tried: finite and > 0. 1 at first. The method finds its step from there: too large costs one
    /// evaluation of the loss for each halving, too small some slow iterations.
    pub lr: f64,
    /// Which parameters are penalized, and how.
    pub regularizer: Regularizer,
    /// The loss f, without the penalty, at the model's weights of the moment: a scalar, F32 or F64.
    ///
    /// It has to be the same function at each call: over the same examples (all of them), without dropout. The theory asks for a
    /// convex function with a continuous gradient: a linear model under squares or cross-entropy.
    pub loss: F,
}

impl<F> ParamsFista<F> {
    /// lr 1.
    #[must_use]
    pub fn new(regularizer: Regularizer, loss: F) -> Self {
        Self { lr: 1.0, regularizer, loss }
    }
}

impl<F> fmt::Debug for ParamsFista<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lr, regularizer, loss: _ } = self;
        f.debug_struct("ParamsFista").field("lr", lr).field("regularizer", regularizer).finish_non_exhaustive()
    }
}

/// Where [`Fista::minimize`] ended, and why. Look at [`converged`](Self::converged): not to arrive is no error. Printed with `{}`
/// it says in words what it found, and what to try if it did not arrive.
#[must_use = "`converged` says whether the tolerance was reached"]
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Solution {
    /// Whether the residual came down to the tolerance: whether `stop` is `Stop::Converged`.
    pub converged: bool,
    /// Why it ended here.
    pub stop: Stop,
    /// Iterations made.
    pub iterations: usize,
    /// f + Ω at the weights.
    pub objective: f64,
    /// A bound on the distance of `−∇f` to `∂Ω` at the weights; see [`Fista::minimize`].
    pub residual: f64,
}

/// Why [`Fista::minimize`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The residual came down to the tolerance.
    Converged,
    /// It made as many iterations as it was allowed.
    IterationsRanOut,
    /// The residual's term for rounding alone was above the tolerance, and ‖y − x‖/s had found no new low for 500 iterations.
    RoundingFloor,
    /// A step without momentum left every weight where it was: the step is too small for them, or its move was lost in rounding.
    NoFurtherMove,
}

impl fmt::Display for Solution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { converged, stop, iterations, objective, residual } = self;
        let iterations = if *iterations == 1 { "1 iteration".to_owned() } else { format!("{iterations} iterations") };
        let objective = readable(*objective);
        let state = if *converged { "converged" } else { "not converged" };
        write!(f, "{state} after {iterations}: residual {residual:.1e}, loss + penalty {objective}")?;
        let advice = match stop {
            Stop::Converged => return Ok(()),
            Stop::IterationsRanOut => {
                "the iterations ran out: allow more, or a larger tolerance. If more do not help: is the loss the same function at \
                 each call (all examples, no dropout), smooth, bounded below, without the penalty? Is F32 too coarse?"
            }
            Stop::RoundingFloor => {
                "rounding alone is above the tolerance, and the residual fell no further: take a larger tolerance, or F64 for F32"
            }
            Stop::NoFurtherMove => {
                "a step moves no weight any more: it is too small (`set_learning_rate`), or the tolerance too small for F32 or F64"
            }
        };
        write!(f, "\n{advice}")
    }
}

/// FISTA: accelerated proximal gradients with backtracking, for a convex loss f on the full batch. Exact zeros, and a solution as exact
/// as the arithmetic allows.
///
/// Ω may have any curve. Where one is not l1, Ω is not convex: then there is no momentum, every step lowers f + Ω, and where it ends is
/// stationary, a local minimum as a rule (Gong et al. 2013).
///
/// From a point y, `x = prox_{s·Ω}(y − s·∇f(y))`, where s is halved until the parabola over y lies above f at x,
///
/// `f(x) ≤ f(y) + ∇f(y)·Δ + ‖Δ‖²/(2s)`, `Δ = x − y`,
///
/// or, where the digits of f run out (‖Δ‖²/(2s) below 1000 ulps of f, or values of f that contradict its gradients),
/// until `(∇f(x) − ∇f(y))·Δ ≤ ‖Δ‖²/s`. Then
///
/// `θ⁺ = (1 + √(1 + 4θ²))/2`, `y⁺ = x + ((θ − 1)/θ⁺)·(x − x₋)`.
///
/// When `(y − x)·(x − x₋) > 0`, momentum leads uphill, and a new run starts from x with θ = 1. Within a run s never grows, which
/// is what the proof asks for; a new run starts with 2s, since s may have been halved where f curves more than at the solution.
/// The weights are at x after each step, with its exact zeros.
///
/// Beck & Teboulle, *A fast iterative shrinkage-thresholding algorithm* (2009): method, backtracking, error O(1/k²). Becker,
/// Candès & Grant, *Templates for convex cone problems* (2011): the second test. O'Donoghue & Candès, *Adaptive restart for
/// accelerated gradient schemes* (2015): restart, by the gradient scheme.
///
/// [`minimize`](Self::minimize) runs to a given exactness. As a [`candle_nn::Optimizer`] it also fits a training loop, one
/// iteration a [`step`](Optimizer::step), but pays for it: the loop's gradients are those at x, and serve only where y = x (in
/// the first two steps and after a restart).
///
/// There is no weight decay, and a declared `decay` is refused: what is minimized is f + Ω. For a ridge declare `l2`, which Ω
/// contains. Weights are F32 or F64; F64 is the choice for exact solutions.
///
/// ```
/// use candle_core::{DType, Device, Tensor, Var};
/// use candle_nn::Optimizer;
/// use l1_core::{Fista, ParamsFista, Regularized, Rule, Visitor};
///
/// struct Model(Var);
/// impl Regularized for Model {
///     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
///         visitor.field("weight", Rule::l1(1.0), &self.0)
///     }
/// }
///
/// // The columns of x are orthogonal. So the minimum of ½‖xw − y‖² + λ‖w‖₁ is S(xⱼ·y, λ)/‖xⱼ‖² in each coordinate, S being
/// // soft-thresholding: S(20, 1)/2 = 9.5, S(−18, 1)/18 = −17/18 and S(0.8, 1)/8 = 0.
/// let x = Tensor::new(&[[1f64, 3.0, 0.0], [-1.0, 3.0, 0.0], [0.0, 0.0, 8f64.sqrt()]], &Device::Cpu)?;
/// let y = Tensor::new(&[[7f64], [-13.0], [0.8 / 8f64.sqrt()]], &Device::Cpu)?;
/// let model = Model(Var::zeros((3, 1), DType::F64, &Device::Cpu)?);
/// let loss = || (x.matmul(&model.0)? - &y)?.sqr()?.sum_all()? * 0.5;
///
/// let mut opt = Fista::new(vec![model.0.clone()], ParamsFista::new(model.regularizer()?, loss))?;
/// let solution = opt.minimize(1e-12, 1000)?;
/// assert!(solution.converged);
/// let w = model.0.flatten_all()?.to_vec1::<f64>()?;
/// assert!((w[0] - 9.5).abs() < 1e-12 && (w[1] + 17.0 / 18.0).abs() < 1e-12);
/// assert_eq!(w[2], 0.0);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// After each of them the weights are at the last accepted x (before the first: untouched), and momentum starts anew.
/// * `new`: [`Error::InvalidParameter`] for lr, [`Error::HalfPrecision`] for bf16 and f16 variables, [`Error::DecayUnused`], [`Error::ScheduleUnused`], no
///   penalized parameter at all or none among the variables (penalized parameters that are not among them are left alone: pass the variables of every
///   `VarMap`).
/// * `step` and [`minimize`](Self::minimize): the loss's own error; [`Error::LossShape`] for a loss that is no scalar;
///   [`Error::NonFiniteLoss`]; [`Error::NoStep`] where halving s leads nowhere; a penalized variable without a gradient; a
///   gradient of another shape, dtype or device, or with NaN or ±∞; a loss with the penalty in it, or such gradients given to `step`. An
///   unpenalized variable without a gradient is left alone.
pub struct Fista<F> {
    vars: Vec<Var>,
    params: ParamsFista<F>,
    /// Whether a variable is F32.
    is_narrow: bool,
    /// s, to be tried next.
    step: f64,
    momentum: Momentum,
    /// For each variable of which zeros are held, where the x is 0 from which the iteration starts.
    zeros: Vec<Option<Tensor>>,
}

/// How the next y follows from x.
struct Momentum {
    theta: f64,
    /// y − x; `None` for y = x.
    ahead: Option<Vector>,
}

impl Default for Momentum {
    fn default() -> Self {
        Self { theta: 1.0, ahead: None }
    }
}

/// The loss where the variables are. The graph can be differentiated as long as they stay there.
struct Loss {
    graph: Tensor,
    value: f64,
}

/// Loss and gradient at a point.
struct Evaluation {
    loss: f64,
    gradient: Vector,
}

/// What a search for a step ended with; the variables are at `x`.
struct Accepted {
    step: f64,
    x: Vector,
    /// Δ = x − y and its length.
    delta: Vector,
    length: f64,
    loss: Loss,
    /// At x, where a test has needed it.
    gradient: Option<Vector>,
    /// Whether Δ is so short that no test could tell anything.
    is_rounding: bool,
}

/// One iteration.
struct Iteration {
    at_y: Evaluation,
    accepted: Accepted,
    /// Neither gradient nor momentum would ever move the variables again.
    is_stuck: bool,
}

/// A test is decided by f where the parabola differs from the tangent by this many ulps of f at least (2e-13·|f|, in f32 1e-4·|f|),
/// else by the gradients. f is a sum whose last digits are rounding, so that some 1 % of the difference may be rounding at worst.
/// A sum of terms that cancel has fewer digits than its value shows; [`accepts`](Fista::accepts) finds that out.
///
/// Becker, Candès & Grant compare |f(x) − f(y)| with 1e-10·|f| instead. Under a penalty ∇f is not small at the solution: that
/// difference still has digits where those of the curvature, which the test is about, are gone, and good steps get halved.
const DIGITS_OF_LOSS: f64 = 1000.0;

/// A point that is nearer to y than this many ulps of y's norm: gradients differ by their rounding alone, which says nothing
/// against a step.
///
/// The norm is that of all variables at once, since the rounding of one reaches all gradients: at an intercept of 100 the model's
/// outputs are off by ulps of 100, and so is the gradient of a weight near 0. Against its own norm that weight would be halved for
/// its noise.
const ULPS_OF_MOVE: f64 = 16.0;

/// So many iterations without a nearer point, and the residual is taken for all rounding (where rounding alone keeps it above
/// the tolerance). Between restarts it rises and falls in waves of half a length of π/√(μ·s), μ being the least curvature: 500
/// iterations are longer up to 1/(μ·s) = 25 000.
const PATIENCE: usize = 500;

impl<F> Fista<F> {
    /// The hyperparameters. Their `lr` is the first step; the current one is [`learning_rate`](Optimizer::learning_rate).
    #[must_use]
    pub fn params(&self) -> &ParamsFista<F> {
        &self.params
    }

    /// Which parameters are penalized, and how.
    #[must_use]
    pub fn regularizer(&self) -> &Regularizer {
        &self.params.regularizer
    }

    /// To change λ's scale, or the regularizer as a whole, from the next step on.
    pub fn regularizer_mut(&mut self) -> &mut Regularizer {
        &mut self.params.regularizer
    }

    fn check(&self) -> Result<()> {
        check_lr(self.step, self.is_narrow)?;
        // Again at each step: the regularizer may have been replaced.
        self.params.regularizer.refuse_decay("Fista")?;
        self.params.regularizer.refuse_schedules("Fista")?;
        vars::check_covers(&self.params.regularizer, self.vars.iter())
    }

    fn penalties(&self) -> Vec<Penalty> {
        let regularizer = &self.params.regularizer;
        let penalty = |var: &Var| regularizer.get(var).and_then(|param| regularizer.penalty_of(param));
        self.vars.iter().map(|var| penalty(var).unwrap_or(Penalty::NONE)).collect()
    }

    /// A loss's gradient after all checks; zeros for an unpenalized variable that it does not reach.
    fn gradient(&self, grads: &GradStore) -> Result<Vector> {
        let regularizer = &self.params.regularizer;
        let taken = Taken::by(self.vars.iter().map(|var| var.as_tensor()));
        // The loss is the same function at each call: what it does not reach now, it never reaches.
        let plan = |index, var: &Var| vars::plan(index, var, grads, regularizer, &taken, OnMissingGradient::Error);
        let gradient_of = |(index, var): (usize, &Var)| match plan(index, var)? {
            Some(Planned { grad, .. }) => {
                gradient::check_finite(|| vars::path(index, var, regularizer), &grad)?;
                Ok(grad)
            }
            None => Ok(var.as_detached_tensor().zeros_like()?),
        };
        Vector::new(self.vars.iter().enumerate().map(gradient_of).collect::<Result<_>>()?).holding(&self.zeros)
    }

    /// Takes the zeros of x that are to be held from now on.
    fn hold_zeros_of(&mut self, x: &Vector) -> Result<()> {
        let regularizer = &self.params.regularizer;
        let is_held = |var: &Var| regularizer.get(var).is_some_and(Param::support_is_frozen);
        self.zeros = x.zeros(self.vars.iter().map(is_held))?;
        Ok(())
    }

    /// The distance of neighbouring numbers at 1, in the coarser of the loss's and the variables' types.
    fn ulp(&self, loss: &Loss) -> f64 {
        if self.is_narrow || loss.graph.dtype() != DType::F64 { f32::EPSILON.into() } else { f64::EPSILON }
    }
}

impl<F: Fn() -> CandleResult<Tensor>> Fista<F> {
    /// Iterates from where the weights are until the residual is at most `tolerance`, or `max_iterations` times. It can be called
    /// again: momentum starts anew, weights and step are where they were (a warm start, at a smaller λ say).
    ///
    /// * `tolerance`: ≥ 0, in the units of the loss's gradient, which are those of λ: not relative to anything. The
    ///   residual is the norm over all variables of an element of ∇f(x) + ∂Ω(x): `(y − x)/s + ∇f(x) − ∇f(y)` where a variable is
    ///   penalized, ∇f(x) where it is not; plus `ulp·‖x‖/s` for the rounding of the penalized ones. At residual τ, |∇f| is λ up
    ///   to τ at each nonzero weight and at most λ + τ at each zero, and for convex f and Ω f + Ω is at most τ·‖x − x*‖ above its minimum, the one at
    ///   x*. 1e-9·λ is exact for most purposes. F32 ends near 1e-6·λ_max on well-scaled data, whatever λ is: at λ_max/100
    ///   that is 1e-4·λ.
    /// * `max_iterations`: ≥ 1. It ends before where only rounding is left; [`Solution::stop`] says so.
    ///
    /// An iteration takes two evaluations of the loss and one backward pass, or one of each where y = x (what is known of x is
    /// used again); an evaluation and a backward pass whenever s is halved; and one backward pass more where the digits of f run
    /// out, and near the end, where ∇f(x) decides whether to stop.
    ///
    /// # Errors
    /// See [`Fista`]; [`Error::InvalidParameter`] for the arguments.
    pub fn minimize(&mut self, tolerance: f64, max_iterations: usize) -> Result<Solution> {
        vars::check_strength("tolerance", tolerance)?;
        vars::check("max_iterations", max_iterations as f64, max_iterations > 0, "≥ 1")?;
        self.check()?;
        self.momentum = Momentum::default();
        let solution = self.run(tolerance, max_iterations);
        if solution.is_err() {
            self.momentum = Momentum::default();
        }
        solution
    }

    fn run(&mut self, tolerance: f64, max_iterations: usize) -> Result<Solution> {
        let is_penalized: Vec<_> = self.penalties().iter().map(|penalty| !penalty.is_none()).collect();
        let mut x = Vector::of(&self.vars)?;
        let mut at_x = None;
        let mut iterations = 0;
        let (mut nearest, mut iterations_at_nearest) = (f64::INFINITY, 0);
        loop {
            iterations += 1;
            let Iteration { at_y, accepted, is_stuck } = self.iterate(&x, at_x.take())?;
            let Accepted { step, x: next, delta, length, loss, gradient, .. } = accepted;
            // ‖Δ‖/s does without ∇f(x), and falls with the residual.
            if length / step < nearest {
                (nearest, iterations_at_nearest) = (length / step, iterations);
            }
            let rounding = self.ulp(&loss) * next.among(&is_penalized).norm()? / step;
            let stop = if is_stuck {
                Some(Stop::NoFurtherMove)
            } else if iterations == max_iterations {
                Some(Stop::IterationsRanOut)
            } else if rounding > tolerance && iterations - iterations_at_nearest >= PATIENCE {
                Some(Stop::RoundingFloor)
            } else {
                None
            };
            // Where f has no more curvature than the parabola, the residual is at most ‖Δ‖/s, and seldom much less.
            let is_near = length <= 10.0 * tolerance * step;
            let is_needed = stop.is_some() || is_near || self.momentum.ahead.is_none();
            self.hold_zeros_of(&next)?;
            let gradient = match gradient {
                None if is_needed => Some(self.gradient(&loss.graph.backward()?)?),
                gradient => gradient.map(|gradient| gradient.holding(&self.zeros)).transpose()?,
            };
            if let Some(gradient) = gradient {
                let of_penalized = gradient.minus(&at_y.gradient)?.minus(&delta.times(1.0 / step)?)?;
                let residual = of_penalized.or(&gradient, &is_penalized).norm()? + rounding;
                let converged = residual <= tolerance;
                if let Some(stop) = if converged { Some(Stop::Converged) } else { stop } {
                    let objective = loss.value + self.params.regularizer.value()?;
                    return Ok(Solution { converged, stop, iterations, objective, residual });
                }
                at_x = Some(Evaluation { loss: loss.value, gradient });
            }
            x = next;
        }
    }

    /// Moves the variables from x to the next x, or leaves them there.
    fn iterate(&mut self, x: &Vector, at_x: Option<Evaluation>) -> Result<Iteration> {
        self.try_iterate(x, at_x).or_else(|error| x.write(&self.vars).and(Err(error)))
    }

    fn try_iterate(&mut self, x: &Vector, at_x: Option<Evaluation>) -> Result<Iteration> {
        // Taken, so that after an error it starts anew.
        let Momentum { theta, ahead } = mem::take(&mut self.momentum);
        let is_at_x = ahead.is_none();
        self.hold_zeros_of(x)?;
        let (y, at_y) = match (ahead, at_x) {
            (None, Some(at_x)) => (x.clone(), at_x),
            (None, None) => (x.clone(), self.evaluate("the weights")?),
            (Some(ahead), _) => {
                // It may have led on from a zero that is held since.
                let y = x.plus(&ahead.holding(&self.zeros)?)?;
                y.write(&self.vars)?;
                (y, self.evaluate("the point that momentum leads to")?)
            }
        };
        let accepted = self.search(&y, &at_y)?;
        let moved = accepted.x.minus(x)?;
        self.step = accepted.step;
        let is_convex = self.penalties().iter().all(Penalty::is_convex);
        let leads_uphill = is_convex && accepted.delta.dot(&moved)? < 0.0;
        if !is_convex {
            // Momentum proves nothing here; the steps by themselves lower f + Ω.
        } else if leads_uphill {
            if !accepted.is_rounding {
                self.step = (2.0 * accepted.step).min(steps(self.is_narrow).1);
            }
        } else {
            let next_theta = (1.0 + (1.0 + 4.0 * theta * theta).sqrt()) / 2.0;
            let factor = (theta - 1.0) / next_theta;
            let ahead = if factor == 0.0 { None } else { Some(moved.times(factor)?) };
            self.momentum = Momentum { theta: next_theta, ahead };
        }
        let is_stuck = is_at_x && accepted.length == 0.0;
        Ok(Iteration { at_y, accepted, is_stuck })
    }

    /// Halves the step until a test accepts it.
    fn search(&self, y: &Vector, at_y: &Evaluation) -> Result<Accepted> {
        let penalties = self.penalties();
        let size = y.norm()?;
        let mut step = self.step;
        let mut was_finite = true;
        loop {
            let x = y.proximal_step(&at_y.gradient, step, &penalties)?;
            let delta = x.minus(y)?;
            let length = delta.norm()?;
            x.write(&self.vars)?;
            let loss = self.loss()?;
            let is_finite = length.is_finite() && loss.value.is_finite();
            let is_rounding = length <= ULPS_OF_MOVE * self.ulp(&loss) * size;
            if step < steps(self.is_narrow).0 || (is_rounding && !was_finite) {
                let loss = if was_finite { loss.value } else { f64::NAN };
                return Err(Error::NoStep { largest: self.step, smallest: step, loss });
            }
            let mut trial = Accepted { step, x, delta, length, loss, gradient: None, is_rounding };
            if is_finite && (is_rounding || self.accepts(&mut trial, at_y)?) {
                return Ok(trial);
            }
            was_finite = is_finite;
            step *= 0.5;
        }
    }

    /// Whether the parabola over y lies above f at x, as far as f's digits tell, else whether the gradients say so.
    ///
    /// The rounding of f is of the size of its terms. Where they cancel (f less its minimum, say, to watch it go to 0), its value
    /// does not betray how many digits are left, and noise would halve every step. But a convex f has
    /// `0 ≤ f(x) − f(y) − ∇f(y)·Δ ≤ (∇f(x) − ∇f(y))·Δ`, and values that do not obey are noise. So f accepts alone, but refuses only
    /// what its gradients do not contradict: nothing with `(∇f(x) − ∇f(y))·Δ ≤ ‖Δ‖²/(2s)`, which every s up to 1/(2L) has, L being
    /// the largest curvature.
    fn accepts(&self, trial: &mut Accepted, at_y: &Evaluation) -> Result<bool> {
        let Accepted { step, delta, length, loss, gradient, .. } = trial;
        let parabola = *length * *length / (2.0 * *step);
        let digits = DIGITS_OF_LOSS * self.ulp(loss) * loss.value.abs().max(at_y.loss.abs());
        let above_tangent = loss.value - at_y.loss - at_y.gradient.dot(delta)?;
        let has_digits = parabola >= digits;
        if has_digits && (0.0..=parabola).contains(&above_tangent) {
            return Ok(true);
        }
        let at_x = match self.gradient(&loss.graph.backward()?) {
            // A step too far, as f says.
            Err(Error::NonFiniteGradient { .. }) if has_digits && above_tangent > parabola => return Ok(false),
            at_x => gradient.insert(at_x?),
        };
        let between = at_x.minus(&at_y.gradient)?.dot(delta)?;
        let is_consistent = has_digits && (0.0..=between).contains(&above_tangent);
        Ok(!is_consistent && between <= 2.0 * parabola)
    }

    fn loss(&self) -> Result<Loss> {
        let graph = (self.params.loss)()?;
        check_scalar(&graph)?;
        check_precision(|| "the loss".to_owned(), graph.dtype())?;
        let value = kernel::number(&graph)?;
        Ok(Loss { graph, value })
    }

    fn finite_loss(&self, place: &'static str) -> Result<Loss> {
        match self.loss()? {
            loss if loss.value.is_finite() => Ok(loss),
            loss => Err(Error::NonFiniteLoss { value: loss.value, place }),
        }
    }

    fn evaluate(&self, place: &'static str) -> Result<Evaluation> {
        let loss = self.finite_loss(place)?;
        Ok(Evaluation { loss: loss.value, gradient: self.gradient(&loss.graph.backward()?)? })
    }

    fn try_step(&mut self, grads: &GradStore) -> Result<()> {
        self.check()?;
        let x = Vector::of(&self.vars)?;
        self.hold_zeros_of(&x)?;
        let gradient = self.gradient(grads)?;
        let at_x = match self.momentum.ahead {
            None => Some(Evaluation { loss: self.finite_loss("the weights")?.value, gradient }),
            Some(_) => None,
        };
        self.iterate(&x, at_x)?;
        Ok(())
    }
}

impl<F: Fn() -> CandleResult<Tensor>> Optimizer for Fista<F> {
    type Config = ParamsFista<F>;

    fn new(vars: Vec<Var>, params: ParamsFista<F>) -> CandleResult<Self> {
        let vars = vars::distinct(vars)?;
        let is_narrow = vars::any_narrow(vars.iter());
        check_lr(params.lr, is_narrow)?;
        params.regularizer.refuse_decay("Fista")?;
        params.regularizer.refuse_schedules("Fista")?;
        vars::check_covers(&params.regularizer, vars.iter())?;
        for (index, var) in vars.iter().enumerate() {
            check_precision(|| vars::path(index, var, &params.regularizer).to_string(), var.dtype())?;
        }
        // candle's operations return their argument where there is nothing to do, and `Var::set` refuses that.
        let vars: Vec<_> = vars.into_iter().filter(|var| var.elem_count() > 0).collect();
        let zeros = vec![None; vars.len()];
        Ok(Self { vars, is_narrow, step: params.lr, params, momentum: Momentum::default(), zeros })
    }

    /// One iteration. `grads`: of the loss alone, at the weights, on the full batch.
    fn step(&mut self, grads: &GradStore) -> CandleResult<()> {
        Ok(self.try_step(grads)?)
    }

    /// The step s that is tried next.
    fn learning_rate(&self) -> f64 {
        self.step
    }

    fn set_learning_rate(&mut self, lr: f64) {
        self.step = lr;
    }
}

impl<F> fmt::Debug for Fista<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vars, params, is_narrow: _, step, momentum, zeros: _ } = self;
        let mut debug = f.debug_struct("Fista");
        // How many variables there are, and whether momentum leads anywhere: not each of their values.
        debug.field("vars", &vars.len()).field("params", params).field("step", step);
        debug.field("theta", &momentum.theta).field("is_ahead", &momentum.ahead.is_some()).finish()
    }
}

/// The smallest step and the largest: numbers of the arithmetic; and moves by the smallest still have squares.
fn steps(is_narrow: bool) -> (f64, f64) {
    if is_narrow { (f32::MIN_POSITIVE.into(), f32::MAX.into()) } else { (1e-150, f64::MAX) }
}

fn check_lr(lr: f64, is_narrow: bool) -> Result<()> {
    vars::check("lr", lr, lr.is_finite() && lr > 0.0, "finite and > 0")?;
    let (smallest, largest) = steps(is_narrow);
    let expected = "at least 1e-150, and from 1.2e-38 to 3.4e38 where the arithmetic is f32";
    vars::check("lr", lr, (smallest..=largest).contains(&lr), expected)
}

fn check_precision(argument: impl Fn() -> String, dtype: DType) -> Result<()> {
    match dtype {
        DType::F32 | DType::F64 => Ok(()),
        found => Err(Error::HalfPrecision { argument: argument(), found }),
    }
}
