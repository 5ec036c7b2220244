//! FTRL-Proximal.

use candle_core::{DType, Var};
use serde::{Deserialize, Serialize};

use super::{
    Stepper,
    stepper::{Method, Sealed, Shared},
    vars::{self, Planned},
};
use crate::{
    Guard, OnMissingGradient, Regularizer, Result,
    certificate::DecayFactors,
    kernel::{FtrlStep, OptimizerStep},
};

/// How often [`FtrlProximal`] charges the penalty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Charged {
    /// Once for each gradient, so that fixed points are stationary for loss + Ω (McMahan 2011).
    #[default]
    EachStep,
    /// Once against the **sum** of all losses (McMahan et al. 2013, Algorithm 1; TensorFlow's and Keras' `Ftrl`): in a long run the
    /// penalty fades as 1/k, and loss + Ω is not what is solved.
    Once,
}

/// What [`FtrlProximal`] is told. There is no `Default`: nobody gets an unregularized optimizer by leaving a field out.
///
/// ```
/// # fn params(regularizer: l1_core::Regularizer) {
/// use l1_core::ParamsFtrl;
///
/// let params = ParamsFtrl { lr: 0.5, ..ParamsFtrl::new(regularizer) };
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ParamsFtrl {
    /// α: finite and > 0. 0.1 at first.
    pub lr: f64,
    /// β: finite and ≥ 0, and > 0 where `initial_accumulator` is 0. 1 at first.
    pub beta: f64,
    /// What the sum n of squared gradients starts with: finite and ≥ 0. 0 at first (Keras: 0.1, with β = 0).
    pub initial_accumulator: f64,
    /// How often the penalty is charged. [`Charged::EachStep`] at first.
    pub charged: Charged,
    /// What is done about gradients with NaN or ±∞. [`Guard::Before`] at first.
    pub guard: Guard,
    /// What is done about penalized parameters without a gradient. [`OnMissingGradient::Error`] at first.
    pub on_missing_gradient: OnMissingGradient,
    /// Which parameters are penalized, and how.
    pub regularizer: Regularizer,
}

impl ParamsFtrl {
    /// α 0.1, β 1, n from 0, the penalty charged at each step.
    #[must_use]
    pub fn new(regularizer: Regularizer) -> Self {
        Self {
            lr: 0.1,
            beta: 1.0,
            initial_accumulator: 0.0,
            charged: Charged::default(),
            guard: Guard::default(),
            on_missing_gradient: OnMissingGradient::default(),
            regularizer,
        }
    }

    /// The largest rate τ of a coordinate, that of one without a gradient so far, in the arithmetic of its type.
    fn largest_rate(&self, round: impl Fn(f64) -> f64) -> f64 {
        round(round(self.lr) / round(round(self.beta) + round(round(self.initial_accumulator).sqrt())))
    }
}

impl ParamsFtrl {
    /// Whether a λ can be charged so many times over in the arithmetic of a type.
    fn can_charge(&self, times: f64, dtype: DType) -> bool {
        let (largest, rate) = match dtype {
            DType::F64 => (f64::MAX, self.largest_rate(|x| x)),
            _ => (f32::MAX.into(), self.largest_rate(|x| f64::from(x as f32))),
        };
        // Not so for 0/0 either.
        times * rate.max(1.0) <= largest * MARGIN
    }
}

/// How far below the largest number a rate has to stay, since it multiplies sums of gradients and of λ.
const MARGIN: f64 = 1e-9;

impl Charged {
    fn name(self) -> &'static str {
        match self {
            Self::EachStep => "each step",
            Self::Once => "once",
        }
    }
}

/// FTRL-Proximal: a learning rate for each coordinate that falls as its gradients add up, and exact zeros decided by the **sum**
/// of all gradients, for sparse and online problems.
///
/// `σ = (√(n + g²) − √n)/α`, `z ← z + g − σw`, `n ← n + g²`, `τ = α/(β + √n)`,
///
/// `w ← prox of A_k·Ω in the metric 1/τ, at −τz`, for an elastic net `S(−τz, A_kτλ)/(1 + A_kτ·l2)`.
///
/// Curves meet the metric 1/τ as in [`ProxAdamW`](super::ProxAdamW): `mcp`, `scad` and `log` by their tangent at the weights before the
/// step, `half`, `two_thirds` and `l0` by their prox; `singular` keeps one n for a tensor, the sum of the means of its squared gradients.
///
/// With [`Charged::EachStep`] `A_k` is the number of gradients so far, and fixed points are stationary for loss + Ω. (Where λ, l2 or
/// the scale change on the way, `A_kλ` and `A_k·l2` are the sums of what they were. With `mcp` and
/// `scad`, whose λ also moves a knee, all that has been charged so far follows the new λ; where a schedule brings λ so near to 0 that
/// the charges so far are no finite multiple of it, it counts as 0.) With [`Charged::Once`], the paper's, `A_k = 1`.
/// Without a penalty both are gradient descent with the rate τ.
///
/// What to know:
/// * It starts from the weights as they are: the first step counts as one from them. (The paper starts from 0, where both are the
///   same; Keras' forgets other weights by and by.) Do not change weights by hand after the first step: z remembers the old ones, and
///   where the gradients are small they come back. Make a new optimizer instead.
/// * Where λ falls, a coordinate that has long been 0 wakes up late: what was charged before still holds it.
/// * A [frozen support](Regularizer::freeze_support) makes z anew from the weights, without what was charged: else old charges would hold
///   weights that are to be fitted without them.
/// * The learning rate can be changed at any step: σ is then the change of 1/τ.
/// * It has no weight decay; a ridge is `l2`.
/// * In bf16 and f16 no threshold is lost, and there is no f32 copy to ask for: weights are made anew at each step from z, n and the
///   charges so far, which are f32 and add up, however far below half an ulp of a weight each of them is. σw takes the weight as it
///   is stored, for that is where its gradient was taken. So a step takes back a part of what the unrounded weight is away from
///   the stored one: στ, about `1/(2k)` in step k and nothing where the gradient is 0, where other optimizers lose all of it.
/// * z grows with the number of steps where the penalty is charged each time, and loses digits: in f32 a step after k others is
///   rounded by about `6e-8·k·λ`, which is 0.6 % of λ after 100 000. Take f64 for long runs.
///
/// Gradients of the loss alone go in; no penalty in the loss. McMahan et al., *Ad Click Prediction: a View from the Trenches*
/// (2013), Algorithm 1; A_k: McMahan, *Follow-the-Regularized-Leader and Mirror Descent* (2011).
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_nn::Optimizer;
/// use l1_core::{FtrlProximal, ParamsFtrl, Regularized, Rule, Visitor};
///
/// struct Model(Var);
/// impl Regularized for Model {
///     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
///         visitor.field("weight", Rule::l1(1.0), &self.0)
///     }
/// }
///
/// // The minimum of ½‖w − t‖² + ‖w‖₁ is t, soft-thresholded at 1.
/// let target = Tensor::new(&[3f64, 0.5], &Device::Cpu)?;
/// let model = Model(Var::zeros(2, candle_core::DType::F64, &Device::Cpu)?);
/// let params = ParamsFtrl { lr: 1.0, ..ParamsFtrl::new(model.regularizer()?) };
/// let mut opt = FtrlProximal::new(vec![model.0.clone()], params)?;
/// for _ in 0..1000 {
///     let loss = ((model.0.as_tensor() - &target)?.sqr()?.sum_all()? * 0.5)?;
///     opt.backward_step(&loss)?;
/// }
/// let w = model.0.to_vec1::<f64>()?;
/// assert!((w[0] - 2.0).abs() < 1e-6);
/// assert_eq!(w[1], 0.0);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// * `new`: a hyperparameter out of its range, no penalized parameter at all or none among the variables (penalized parameters that are
///   not among them are left alone: pass the variables of every `VarMap`).
/// * `step`, before anything is written: a penalized variable without a gradient (see
///   [`OnMissingGradient`](crate::OnMissingGradient)), a gradient of another shape, dtype or device,
///   a gradient with NaN or ±∞ (with [`Guard::InPass`] only its own coordinates are left alone), a learning rate out of its range,
///   gradients that hold the penalty already. An unpenalized variable without a gradient is left alone.
pub type FtrlProximal = Stepper<ParamsFtrl>;

/// What [`FtrlProximal`] keeps of a variable's history.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// `A_kλ` if the penalty is charged at each step, λ of the step before if once.
    #[serde(with = "crate::exact")]
    lambda: f64,
    /// `A_k·l2` likewise.
    #[serde(with = "crate::exact")]
    l2: f64,
    /// `A_k·element` likewise.
    #[serde(with = "crate::exact")]
    element: f64,
    /// 1/α of the step before, 0 before the first: then σ is all of 1/τ, and the step starts from the weights as they are.
    #[serde(with = "crate::exact")]
    inverse_lr: f64,
}

impl Sealed for ParamsFtrl {}

impl Method for ParamsFtrl {
    type Progress = Progress;

    const NAME: &'static str = "FtrlProximal";

    fn shared(&self) -> Shared<'_> {
        let &Self { lr, guard, on_missing_gradient, ref regularizer, .. } = self;
        Shared { lr, guard, on_missing_gradient, regularizer }
    }

    fn shared_mut(&mut self) -> (&mut f64, &mut Regularizer) {
        (&mut self.lr, &mut self.regularizer)
    }

    fn check(&self) -> Result<()> {
        self.regularizer.refuse_decay(Self::NAME)?;
        let is_step = self.lr > 0.0 && self.lr.is_finite() && self.lr.recip().is_finite();
        vars::check("lr", self.lr, is_step, "finite and > 0; stop before a schedule reaches 0")?;
        vars::check_strength("beta", self.beta)?;
        vars::check_strength("initial_accumulator", self.initial_accumulator)?;
        let bounded = self.beta > 0.0 || self.initial_accumulator > 0.0;
        vars::check("beta", self.beta, bounded, "> 0 where initial_accumulator is 0")?;
        let in_range = self.largest_rate(|x| x) <= f64::MAX * MARGIN;
        vars::check("lr", self.lr, in_range, "at most 1.8e299·(beta + √initial_accumulator)")
    }

    fn check_narrow(&self) -> Result<()> {
        let largest = self.largest_rate(|x| f64::from(x as f32));
        let in_range = largest <= f64::from(f32::MAX) * MARGIN && self.lr.recip() <= f32::MAX.into();
        let expected = "in 3e-39 to 3.4e29·(beta + √initial_accumulator) where the arithmetic is f32";
        vars::check("lr", self.lr, in_range, expected)
    }

    fn hyperparameters(&self) -> Vec<(&'static str, String)> {
        vec![
            ("beta", self.beta.to_string()),
            ("initial_accumulator", self.initial_accumulator.to_string()),
            ("charged", self.charged.name().to_owned()),
        ]
    }

    fn state(&self) -> Vec<(&'static str, f64)> {
        vec![("z", 0.0), ("n", self.initial_accumulator)]
    }

    fn next(&self, progress: Progress, planned: &Planned) -> (OptimizerStep, Progress) {
        let inverse_lr = self.lr.recip();
        let charge = planned.penalty;
        let (lambda, l2) = (progress.lambda + charge.lambda(), progress.l2 + charge.l2());
        let element = progress.element + charge.element();
        let (penalty, times) = match self.charged {
            Charged::Once => (charge, 1.0),
            Charged::EachStep => {
                let so_far = charge.with_l2(l2).with_element(element);
                // k charges are one of k times the λ, unless λ also moves a knee.
                if charge.curve().is_linear_in_lambda() {
                    (so_far.with_lambda(lambda), 1.0)
                } else {
                    let times = lambda / charge.lambda();
                    // λ and its knee have all but vanished then: in the limit nothing is charged.
                    let in_range = self.can_charge(times, planned.grad.dtype());
                    if in_range { (so_far, times) } else { (so_far.with_lambda(0.0), 1.0) }
                }
            }
        };
        // Where the penalty is charged once, all that is to be known of the past is what the step before charged.
        let (lambda, l2, element) = match self.charged {
            Charged::Once => (charge.lambda(), charge.l2(), charge.element()),
            Charged::EachStep => (lambda, l2, element),
        };
        let drift = inverse_lr - progress.inverse_lr;
        let step = FtrlStep { lr: self.lr, beta: self.beta, drift, penalty, times };
        (OptimizerStep::Ftrl(step), Progress { lambda, l2, element, inverse_lr })
    }

    fn uncharged(&self, progress: Progress, step: &OptimizerStep) -> OptimizerStep {
        let OptimizerStep::Ftrl(step) = *step else { return *step };
        if progress.inverse_lr == 0.0 {
            return OptimizerStep::Ftrl(step).without_charge();
        }
        // Every step's weights carry the charges of all steps before it: those stay.
        let before = match self.charged {
            Charged::Once => {
                let penalty = step.penalty.with_lambda(progress.lambda).with_l2(progress.l2);
                FtrlStep { penalty: penalty.with_element(progress.element), ..step }
            }
            Charged::EachStep => {
                let penalty = step.penalty.with_l2(progress.l2).with_element(progress.element);
                if penalty.curve().is_linear_in_lambda() {
                    FtrlStep { penalty: penalty.with_lambda(progress.lambda), ..step }
                } else if penalty.lambda() == 0.0 {
                    FtrlStep { penalty, ..step }
                } else {
                    FtrlStep { penalty, times: progress.lambda / penalty.lambda(), ..step }
                }
            }
        };
        OptimizerStep::Ftrl(before)
    }

    fn on_freezing(&self, progress: Progress) -> Option<Progress> {
        // z holds weights less what was charged. Without the charges it has to be made anew from the weights as they are, as in a first
        // step; and again where n knows of no gradient, nothing was charged.
        let Progress { lambda, l2, element, .. } = progress;
        (lambda > 0.0 || l2 > 0.0 || element > 0.0).then(Progress::default)
    }

    fn decay_factors(&self, _: Progress, _: f64, _: &[Var]) -> Result<DecayFactors> {
        Ok(DecayFactors::None)
    }

    fn weight_decay(&self) -> f64 {
        0.0
    }
}
