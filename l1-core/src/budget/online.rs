//! The controller: moves λ while training, until as much is 0 as was asked for.

use candle_core::{Result as CandleResult, Tensor, Var, backprop::GradStore};
use candle_nn::Optimizer;
use serde::{Deserialize, Serialize};

use super::{Budget, BudgetReached, Goal};
use crate::{Error, Fit, Regularizer, Result, Stepper, optim::Method};

/// What a [`Controller`] is told.
///
/// ```
/// use l1_core::ParamsOnline;
///
/// let params = ParamsOnline { every: 5, ..ParamsOnline::new(3000) };
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParamsOnline {
    /// For how many steps λ is moved; from then on it stays. More than `every`.
    pub steps: u64,
    /// How many of these the target takes from the count that training begins with to the budget's, along
    /// `living(k) = living + (first − living)·(1 − k/ramp)³`. 0: it is the budget's at once. A third of `steps` at first.
    ///
    /// Zhu & Gupta, *To prune, or not to prune* (2017), eq. 1.
    pub ramp: u64,
    /// How many steps lie between two counts, each of which reads the weights once; λ moves after each. 10 at first; ≥ 1, and less
    /// than `steps`: at the last step λ does not move any more.
    pub every: u64,
    /// By how much ln λ moves at a count, for each unit by which ln(living/zeros) is above its target; it falls linearly to 0 over `steps`.
    /// 0.1 at first; finite and > 0. Less of it where weights are slow to follow: λ then swings, for many entries near 0 follow at once. In all ln λ moves by
    /// gain·steps/(2·every) at most: λ by a factor of 20 in 600 steps, by that of 1800 in 1500.
    pub gain: f64,
}

impl ParamsOnline {
    /// A ramp of a third of `steps`, a count every 10 steps, gain 0.1.
    #[must_use]
    pub fn new(steps: u64) -> Self {
        Self { steps, ramp: steps / 3, every: 10, gain: 0.1 }
    }

    fn check(&self) -> Result<()> {
        let Self { steps, ramp, every, gain } = *self;
        let refuse = |name, value, expected| Err(Error::InvalidParameter { name, value, expected });
        if steps == 0 {
            return refuse("steps", 0.0, "at least 1");
        }
        if ramp > steps {
            return refuse("ramp", ramp as f64, "at most `steps`");
        }
        if every == 0 {
            return refuse("every", 0.0, "at least 1");
        }
        if every >= steps {
            return refuse("every", every as f64, "less than `steps`: at the last step λ does not move any more");
        }
        if !(gain > 0.0 && gain.is_finite()) {
            return refuse("gain", gain, "finite and > 0");
        }
        Ok(())
    }
}

/// Keeps a [`Budget`] while a model is trained: counts every few steps, and raises λ where too much lives, lowers it where too little does.
///
/// What is moved is the logarithm of the scale (of the field, with [`Budget::of`]), by integral control whose gain falls to 0:
///
/// `ln s ← ln s + gain·(1 − k/steps)·[ln(living/living*) − ln(zeros/zeros*)]`, the bracket bounded to ±1,
///
/// where * marks the target and a count of 0 is taken as ½: as strong a pull where few are to be 0 as where few are to live. λ does not move at all
/// while the count is within the budget after the ramp. It begins at the scale that the regularizer has, which should
/// rather be too small than too large: a network that has died does not come back. A thousandth of
/// [`lambda_max`](Regularizer::lambda_max) is a start.
///
/// After [`steps`](ParamsOnline::steps) λ stays where it is, so that training ends at a stationary point for this λ. What was counted on the way was
/// counted before that end, and the count may still move: [`finish`](Self::finish) lets the model come to rest, looks at count and certificate, and
/// corrects λ where it has to.
///
/// ```
/// use candle_core::{DType, Device, Tensor, Var};
/// use candle_nn::Optimizer;
/// use l1_core::{Budget, Fista, ParamsFista, ParamsOnline, ParamsProxSgd, ProxSgd, Regularized, Rule, Visitor};
///
/// struct Model(Var);
/// impl Regularized for Model {
///     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
///         visitor.field("weight", Rule::l1(1.0), &self.0) // λ = 1: the scale is λ
///     }
/// }
///
/// // ½‖w − t‖²: at λ the minimum is t, soft-thresholded at λ. So two are left for λ in [1, 2).
/// let target = Tensor::new(&[4f64, -2.0, 1.0, 0.3, 0.2], &Device::Cpu)?;
/// let model = Model(Var::ones(5, DType::F64, &Device::Cpu)?);
/// let loss = || model.0.sub(&target)?.sqr()?.sum_all()? * 0.5;
///
/// let mut regularizer = model.regularizer()?;
/// regularizer.set_scale(0.01)?;
/// let params = ParamsProxSgd { lr: 0.1, ..ParamsProxSgd::new(regularizer) };
/// let mut opt = ProxSgd::new(vec![model.0.clone()], params)?;
/// let mut controller = Budget::nonzeros(2).online(ParamsOnline::new(1500))?;
/// for _ in 0..2000 {
///     controller.step(&mut opt, &loss()?.backward()?)?;
/// }
/// assert!(controller.is_holding() && opt.regularizer().scale() >= 1.0 && opt.regularizer().scale() < 2.0);
///
/// // At rest, certified, and with the right count:
/// let vars = vec![model.0.clone()];
/// let reached = controller.finish(opt.regularizer(), &vars, loss, |fit| {
///     let mut fista = Fista::new(vars.clone(), ParamsFista::new(fit.regularizer().clone(), loss))?;
///     let _solution = fista.minimize(1e-10, 1000)?;
///     Ok(())
/// })?;
/// assert!(reached.living == 2 && reached.certificate() < 1e-8);
/// # Ok::<(), l1_core::Error>(())
/// ```
///
/// # Checkpoints
///
/// A [`Checkpoint`](crate::Checkpoint) keeps the scale, and [`to_note`](Self::to_note) what the controller knows beside it:
/// `Checkpoint::save_with_note(path, &opt, &varmap, &controller.to_note())`, and after a load
/// `budget.resume(params, checkpoint.note(), opt.regularizer_mut())` goes on with the same bits.
#[derive(Clone, Debug)]
pub struct Controller {
    budget: Budget,
    params: ParamsOnline,
    /// Known from the first step on.
    goal: Option<Goal>,
    state: State,
}

/// What goes on in a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Steps taken.
    steps: u64,
    /// The count that training began with.
    first: Option<usize>,
    /// The last count.
    last: Option<usize>,
    /// The scale that was set last.
    scale: Option<Exact>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Exact(#[serde(with = "crate::exact")] f64);

/// A gap in ln(living/zeros) counts as this at most: a dense network is no emergency.
const WIDEST: f64 = 1.0;

impl Budget {
    /// A controller that keeps this budget while a model is trained.
    ///
    /// # Errors
    /// [`Error::InvalidBudget`] for what can be told without the model (the rest at the first step), [`Error::InvalidParameter`].
    pub fn online(&self, params: ParamsOnline) -> Result<Controller> {
        self.check()?;
        params.check()?;
        let state = State { steps: 0, first: None, last: None, scale: None };
        Ok(Controller { budget: self.clone(), params, goal: None, state })
    }

    /// A controller that goes on from a [note](Controller::to_note), and gives the regularizer the scale of that moment.
    ///
    /// # Errors
    /// As [`online`](Self::online), and as at the first step; [`Error::InvalidNote`] for a text that is no such note.
    pub fn resume(&self, params: ParamsOnline, note: &str, regularizer: &mut Regularizer) -> Result<Controller> {
        let state = serde_json::from_str(note).map_err(|error| Error::InvalidNote { why: error.to_string() })?;
        let mut controller = Controller { state, ..self.online(params)? };
        // Before the first step there was nothing to go on from: that step is still to count and to look at the scale.
        let goal = self.goal(regularizer)?;
        controller.goal = controller.state.first.is_some().then_some(goal);
        if let Some(Exact(scale)) = controller.state.scale {
            controller.set_scale(regularizer, scale)?;
        }
        Ok(controller)
    }
}

impl Controller {
    /// A step of the optimizer, then [`update`](Self::update) of its regularizer.
    ///
    /// * `grads`: of the loss alone.
    ///
    /// # Errors
    /// Those of the optimizer's step, and of [`update`](Self::update).
    pub fn step<M: Method>(&mut self, optimizer: &mut Stepper<M>, grads: &GradStore) -> Result<()> {
        self.begin(optimizer.regularizer())?;
        optimizer.step(grads)?;
        self.update(optimizer.regularizer_mut())
    }

    /// To be called after each step of training: counts and moves the scale, when it is time to.
    ///
    /// * `regularizer`: the one that the optimizer has.
    ///
    /// # Errors
    /// At the first step [`Error::InvalidBudget`], [`Error::UnknownField`], [`Error::NothingPenalized`], and
    /// [`Error::InvalidParameter`] for a scale of 0, from which no factor leads anywhere. Later those of [`Regularizer::set_scale`].
    pub fn update(&mut self, regularizer: &mut Regularizer) -> Result<()> {
        self.begin(regularizer)?;
        self.state.steps += 1;
        let is_due = self.state.steps.is_multiple_of(self.params.every) && self.state.steps <= self.params.steps;
        let Some(goal) = self.goal.as_ref().filter(|_| is_due) else { return Ok(()) };
        let living = goal.living_now(&self.budget, regularizer)?;
        let change = self.change(goal, living);
        self.state.last = Some(living);
        if change != 0.0 {
            let scale = self.scale_of(regularizer)? * change.exp();
            self.set_scale(regularizer, scale)?;
            self.state.scale = Some(Exact(scale));
        }
        Ok(())
    }

    /// By how much ln s moves at a count.
    fn change(&self, goal: &Goal, living: usize) -> f64 {
        let ParamsOnline { steps, ramp, gain, .. } = self.params;
        if self.state.steps >= ramp && goal.side(living).is_eq() {
            return 0.0;
        }
        // No entry counts as half an entry.
        let log = |count: f64| count.max(0.5).ln();
        let log_odds = |living: f64| log(living) - log(goal.total as f64 - living);
        let gap = log_odds(living as f64) - log_odds(self.target(goal));
        gain * (1.0 - self.state.steps as f64 / steps as f64) * gap.clamp(-WIDEST, WIDEST)
    }

    /// How many are to live at this step.
    fn target(&self, goal: &Goal) -> f64 {
        let ParamsOnline { ramp, .. } = self.params;
        let first = self.state.first.map_or(goal.living, |first| (first as f64).max(goal.living));
        if self.state.steps >= ramp {
            return goal.living;
        }
        let left = 1.0 - self.state.steps as f64 / ramp as f64;
        goal.living + (first - goal.living) * left.powi(3)
    }

    fn begin(&mut self, regularizer: &Regularizer) -> Result<()> {
        if self.goal.is_some() {
            return Ok(());
        }
        let goal = self.budget.goal(regularizer)?;
        let scale = self.scale_of(regularizer)?;
        if scale == 0.0 {
            let expected = "> 0 at the first step: a start, rather too small than too large";
            return Err(Error::InvalidParameter { name: "scale", value: scale, expected });
        }
        self.state.first = Some(goal.living_now(&self.budget, regularizer)?);
        self.state.scale = Some(Exact(scale));
        self.goal = Some(goal);
        Ok(())
    }

    /// The scale that is moved. Where the parameters of a field have several, the largest.
    fn scale_of(&self, regularizer: &Regularizer) -> Result<f64> {
        let Some(field) = &self.budget.field else { return Ok(regularizer.scale()) };
        let expected = "one scale for all of the field: `set_scale_of` gives it";
        let several = Error::InvalidParameter { name: "scale", value: f64::NAN, expected };
        regularizer.scale_of(field)?.ok_or(several)
    }

    fn set_scale(&self, regularizer: &mut Regularizer, scale: f64) -> Result<()> {
        match &self.budget.field {
            Some(field) => regularizer.set_scale_of(field, scale),
            None => regularizer.set_scale(scale),
        }
    }

    /// The scale of the moment; none before the first step.
    #[must_use]
    pub fn scale(&self) -> Option<f64> {
        self.state.scale.map(|Exact(scale)| scale)
    }

    /// Whether λ stays where it is from now on.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.state.steps >= self.params.steps
    }

    /// How many entries or groups lived at the last count.
    #[must_use]
    pub fn living(&self) -> Option<usize> {
        self.state.last
    }

    /// What the controller knows, as JSON for the note of a [`Checkpoint`](crate::Checkpoint).
    #[must_use]
    pub fn to_note(&self) -> String {
        serde_json::to_string(&self.state).unwrap_or_default()
    }

    /// Lets the model come to rest at the scale that was found, and corrects the scale where the count has left the budget:
    /// [`Budget::search`] [near](Budget::near) it, from the weights as they are. Afterwards the variables hold the weights of the answer.
    ///
    /// * `regularizer`, `vars`, `loss`, `fit`: as in [`Budget::search`]; `fit` trains on all examples, until it is stationary.
    ///
    /// # Errors
    /// As [`Budget::search`]; [`Error::InvalidParameter`] before the first step.
    pub fn finish<L, F>(&self, regularizer: &Regularizer, vars: &[Var], loss: L, fit: F) -> Result<BudgetReached>
    where
        L: Fn() -> CandleResult<Tensor>,
        F: FnMut(&mut Fit<'_>) -> Result<()>,
    {
        if self.state.first.is_none() {
            let expected = "at least one step before `finish`; without training, `Budget::search` finds the scale";
            return Err(Error::InvalidParameter { name: "steps", value: 0.0, expected });
        }
        let scale = self.scale_of(regularizer)?;
        self.budget.clone().near(scale).search(regularizer, vars, loss, fit)
    }
}
