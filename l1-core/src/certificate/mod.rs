//! How far a model is from being stationary for loss + Ω: the certificate that training has ended.

use candle_core::Tensor;
use serde::Serialize;

use crate::{
    Error, Param, ParamPath, Penalty, Regularizer, Result,
    kernel::{
        self, Place, Stays,
        distance::{Part, is_worse, wide},
    },
};

mod gradients;
mod table;

pub(crate) use gradients::Gradient;
pub use gradients::{DataGradients, MeanGradients};
pub(crate) use table::small;

/// What a certificate is told.
///
/// ```
/// use l1_core::ParamsStationarity;
///
/// let params = ParamsStationarity { step: 0.1, ..Default::default() };
/// # assert_eq!(params.z, 2.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ParamsStationarity {
    /// Length of the proximal gradient step by which zeros are tested under a curve of infinite slope at 0 (ℓ½, ℓ⅔, ℓ0): finite and
    /// \> 0. 1 at first.
    ///
    /// A minimum passes the test at every step up to 1/L, L being the Lipschitz constant of ∇f (Beck & Eldar 2013); the longer the
    /// step, the harder the test.
    pub step: f64,
    /// How many standard errors wide the noise of [`MeanGradients`] is taken to be: finite and ≥ 0. 2 at first.
    pub z: f64,
}

impl Default for ParamsStationarity {
    fn default() -> Self {
        Self { step: 1.0, z: 2.0 }
    }
}

impl ParamsStationarity {
    fn check(&self) -> Result<()> {
        let Self { step, z } = *self;
        if !(step > 0.0 && step.is_finite()) {
            return Err(Error::InvalidParameter { name: "step", value: step, expected: "finite and > 0" });
        }
        if !crate::penalty::is_strength(z) {
            return Err(Error::InvalidParameter { name: "z", value: z, expected: crate::penalty::STRENGTH });
        }
        Ok(())
    }
}

/// How far a model is from being stationary for f + Ω, parameter by parameter; made by
/// [`Regularizer::stationarity`] and [`Stepper::stationarity`](crate::Stepper::stationarity).
///
/// Weights are stationary where −∇f lies in the subdifferential ∂Ω(w). For each group of weights that a penalty charges together (single
/// entries, if there are no groups) the distance of the one to the other is, with v = ∇f, r = ‖w_g‖, S(x, a) = sign(x)·max(|x| − a, 0),
/// c the weight of the group and e = element,
///
/// * `‖q‖` where r > 0: `qᵢ = vᵢ + cφ'(r)·wᵢ/r + e·sign(wᵢ) + l2·wᵢ`, and `(|vᵢ| − e)₊` where wᵢ = 0;
/// * `(‖S(v, e)‖ − cφ'(0+))₊` where r = 0;
/// * with `positive`, `(−vᵢ − e)₊` at zeros, and ∞ for a negative weight;
/// * `|v|` for a parameter without penalty that has a gradient, and at the living entries of a [frozen
///   support](Regularizer::freeze_support), whose zeros have the distance 0.
///
/// A **relative** distance is divided by the strength with which the penalty pulls at the group:
///
/// | | divided by |
/// |---|---|
/// | finite slope at 0 (l1, mcp, scad, log) | cφ'(0+) + e |
/// | infinite slope at 0 (half, two_thirds, l0) | cφ'(r) + e; where that is 0, what holds a zero in a step of length [`step`](ParamsStationarity::step) |
/// | no λ, no element, not penalized | the smallest of those above in the model; 1 if there are none |
///
/// What a distance of 0 says:
/// * With a convex f and the curve l1: this is a minimum.
/// * With other curves: a condition that every minimum fulfils, and other points too ([`nonconvex`](StationarityRow::nonconvex)).
/// * With an infinite slope at 0 every zero is stationary, whatever ∇f. So zeros are tested for themselves: whether a proximal gradient
///   step of a stated length leaves them at 0 ([`zero_test`](StationarityRow::zero_test)).
///
/// NaN and infinities are no errors but reported: a parameter with NaN in its weights or gradient has the distance NaN there, which is
/// the largest of all, and never passes [`assert_below`](Self::assert_below).
///
/// `Display` prints a table; through serde it becomes JSON (NaN and ∞ as `null`).
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use l1_core::{Regularized, Rule, Visitor};
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
/// let model = Model(Var::new(&[2f64, 0.0], &Device::Cpu)?);
/// let loss = ((model.0.as_tensor() - &target)?.sqr()?.sum_all()? * 0.5)?;
///
/// let stationarity = model.regularizer()?.stationarity(&loss.backward()?)?;
/// println!("{stationarity}");
/// assert!(stationarity.to_string().ends_with("largest relative distance 0 at weight [0]"));
/// stationarity.assert_below(1e-12)?;
/// # Ok::<(), l1_core::Error>(())
/// ```
///
/// Subdifferentials: Rockafellar & Wets, *Variational Analysis* (1998), ch. 8. The test of zeros: Beck & Eldar, *Sparsity constrained
/// nonlinear optimization: optimality conditions and algorithms* (2013).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
#[must_use = "print it, or `assert_below` a tolerance"]
pub struct Stationarity {
    /// One row for each penalized parameter, and for each other that has a gradient or is decayed, in the order of the visit.
    pub rows: Vec<StationarityRow>,
    /// The step and z that it was made with.
    pub params: ParamsStationarity,
    /// How many batches the gradients are a mean of, if they are [`MeanGradients`].
    pub batches: Option<usize>,
}

/// One parameter of a [`Stationarity`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StationarityRow {
    /// Where it is.
    pub path: ParamPath,
    /// Its penalty, every scale included; none if it is not penalized, or with strengths that are all 0.
    pub penalty: Option<Penalty>,
    /// Whether its support is frozen: zeros are held, and no penalty is charged.
    pub support_is_frozen: bool,
    /// Of −∇f to ∂Ω(w): the largest of all groups.
    pub distance: Distance,
    /// The same for f + Ω and the optimizer's decay; none where nothing is decayed.
    pub with_decay: Option<Distance>,
    /// Groups; entries if there are none, for `singular` singular values.
    pub groups: usize,
    /// Those of them that are 0.
    pub zeros: usize,
    /// Whether the curve is not convex, so that a distance of 0 is necessary for a minimum, but not sufficient.
    pub nonconvex: bool,
    /// What became of the zeros in a step, where the curve's slope at 0 is infinite and there are any.
    pub zero_test: Option<ZeroTest>,
}

/// The largest distance in a tensor.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Distance {
    /// The largest; 0 for a tensor without entries.
    pub value: f64,
    /// The largest relative distance, at `place`. (Only with a curve of infinite slope at 0 that need not be where `value` is.)
    pub relative: f64,
    /// Where the relative distance is largest: the first such group.
    pub place: Option<Place>,
    /// How much of the distance at `place` may be noise of minibatches, with two of them or more: see [`MeanGradients`].
    pub noise: Option<f64>,
}

/// Whether zeros of a curve with infinite slope at 0 stay at 0 in a step `prox_t(0 − t∇f)`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ZeroTest {
    /// How many of the zeros would leave.
    pub leaving: usize,
    /// The largest `‖S(v, e)‖` among the zeros over the largest that stays: ≤ 1 if all stay.
    pub ratio: f64,
    /// Where that is.
    pub place: Option<Place>,
}

impl Regularizer {
    /// How far the model is from being stationary for loss + Ω, the declared penalty: a certificate that training has ended, or by how
    /// much it has not. What it computes is said at [`Stationarity`].
    ///
    /// * `grads`: gradients of the **data loss alone** at the weights as they are now: of the full batch
    ///   (`loss.backward()?`), or [`MeanGradients`] of many. [`RegularizedGrads`](crate::RegularizedGrads)
    ///   do not compile here, and those of a loss with the penalty in it are refused.
    ///
    /// A declared `decay` is no part of Ω. With an optimizer that applies it,
    /// [`Stepper::stationarity`](crate::Stepper::stationarity) says how far the model is from what that optimizer solves.
    ///
    /// # Errors
    /// [`Error::NothingPenalized`], [`Error::MissingGradient`] where the loss gave a penalized parameter no gradient,
    /// [`Error::ChargedTwice`], [`Error::GradientShape`], [`Error::GradientDType`], [`Error::GradientDevice`];
    /// [`Error::InvalidParameter`] for [`MeanGradients`] of no batch.
    pub fn stationarity<G: DataGradients>(&self, grads: &G) -> Result<Stationarity> {
        self.stationarity_with(grads, &ParamsStationarity::default())
    }

    /// [`stationarity`](Self::stationarity) with another step to test zeros by, or another width of the noise.
    ///
    /// # Errors
    /// As [`stationarity`](Self::stationarity), and [`Error::InvalidParameter`] for a step or z out of its range.
    pub fn stationarity_with<G: DataGradients>(&self, grads: &G, params: &ParamsStationarity) -> Result<Stationarity> {
        self.check_not_empty()?;
        certify(self, self.subjects(), grads, params)
    }

    /// All parameters, none of them decayed.
    pub(crate) fn subjects(&self) -> Vec<Subject<'_>> {
        let subject = |param| Subject::of(param, self);
        self.params().iter().map(subject).collect()
    }
}

/// A tensor to be certified.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) path: ParamPath,
    pub(crate) tensor: &'a Tensor,
    /// What it is to the regularizer, if that knows it.
    param: Option<&'a Param>,
    penalty: Penalty,
    pub(crate) decay: DecayFactors,
}

impl<'a> Subject<'a> {
    fn of(param: &'a Param, regularizer: &Regularizer) -> Self {
        let penalty = regularizer.penalty_of(param).unwrap_or(Penalty::NONE);
        Self { param: Some(param), penalty, ..Self::unpenalized(param.path.clone(), &param.tensor) }
    }

    fn support_is_frozen(&self) -> bool {
        self.param.is_some_and(Param::support_is_frozen)
    }

    pub(crate) fn unpenalized(path: ParamPath, tensor: &'a Tensor) -> Self {
        Self { path, tensor, param: None, penalty: Penalty::NONE, decay: DecayFactors::None }
    }
}

/// Where an optimizer with decoupled decay ends, its decay is a term `½Σ factorᵢ·wᵢ²` of what it minimizes.
#[derive(Clone, Debug, PartialEq)]
pub enum DecayFactors {
    /// It decays nothing.
    None,
    /// The same factor for all entries.
    Same(f64),
    /// One for each entry.
    Each(Vec<f64>),
}

impl DecayFactors {
    /// The gradient with that of the term.
    fn add_to(&self, gradient: &[f64], w: &[f64]) -> Option<Vec<f64>> {
        let with = |factors: &mut dyn Iterator<Item = f64>| {
            gradient.iter().zip(w).zip(factors).map(|((g, w), factor)| g + factor * w).collect()
        };
        match self {
            Self::None => None,
            Self::Same(factor) => Some(with(&mut std::iter::repeat(*factor))),
            Self::Each(factors) => Some(with(&mut factors.iter().copied())),
        }
    }
}

pub(crate) fn certify<G: DataGradients>(
    regularizer: &Regularizer,
    subjects: Vec<Subject<'_>>,
    grads: &G,
    params: &ParamsStationarity,
) -> Result<Stationarity> {
    params.check()?;
    grads.check()?;
    let mut present = Vec::new();
    for subject in subjects {
        if !kernel::is_supported(subject.tensor.dtype()) {
            continue;
        }
        if let Some(param) = subject.param.filter(|_| !subject.penalty.is_none()) {
            grads.refuse_charged(param)?;
        }
        match grads.get(&subject.path, subject.tensor)? {
            Some(gradient) => {
                let tensors = Tensors::new(&subject)?;
                let gradient = if subject.support_is_frozen() { gradient.at_living(&tensors.w) } else { gradient };
                present.push((tensors, gradient, subject));
            }
            None if subject.penalty.is_none() => {}
            None => return Err(regularizer.missing_gradient(&subject.path, |tensor| grads.has(tensor))),
        }
    }
    // What is not charged by a slope is measured by the weakest slope of the model.
    let strengths = present.iter().filter_map(|(tensors, ..)| tensors.part.strength(0.0, params.step));
    let weakest = strengths.reduce(f64::min).unwrap_or(1.0);
    let any_decay = present.iter().any(|(_, _, subject)| subject.decay != DecayFactors::None);
    let rows = present.into_iter().map(|(tensors, gradient, subject)| {
        let scale = Scale { params, weakest };
        row(&tensors, &gradient, subject, scale, any_decay)
    });
    Ok(Stationarity { rows: rows.collect::<Result<_>>()?, params: *params, batches: grads.batches() })
}

/// One tensor as the formulas see it.
struct Tensors {
    part: Part,
    w: Vec<f64>,
    dims: Vec<usize>,
}

impl Tensors {
    fn new(subject: &Subject<'_>) -> Result<Self> {
        let part = Part::of(subject.tensor, &subject.penalty).map_err(|expected| Error::Grouping {
            path: subject.path.clone(),
            group: subject.penalty.group(),
            shape: subject.tensor.shape().clone(),
            expected,
        })?;
        Ok(Self { part, w: wide(subject.tensor)?, dims: subject.tensor.dims().to_vec() })
    }

    fn place(&self, group: usize) -> Place {
        self.part.place(&self.dims, group)
    }

    /// The largest distances of all groups.
    fn distance(&self, gradient: &[f64], noise: Option<&[f64]>, scale: Scale<'_>) -> Result<Distance> {
        let (mut value, mut relative, mut worst) = (0.0, 0.0, None);
        self.part.each(&self.w, gradient, |group, (w, v)| {
            let (r, distance) = self.part.distance(w, v);
            let ratio = distance / self.part.strength(r, scale.params.step).unwrap_or(scale.weakest);
            if is_worse(distance, value) {
                value = distance;
            }
            if worst.is_none() || is_worse(ratio, relative) {
                (relative, worst) = (ratio, Some(group));
            }
        })?;
        let mut at_worst = None;
        if let (Some(noise), Some(worst)) = (noise, worst) {
            // The distance to a convex set moves by no more than the gradient does.
            self.part.each(noise, noise, |group, (errors, _)| {
                if group == worst {
                    at_worst = Some(scale.params.z * kernel::distance::norm(errors));
                }
            })?;
        }
        Ok(Distance { value, relative, place: worst.map(|group| self.place(group)), noise: at_worst })
    }

    /// What becomes of the zeros in a step.
    fn zero_test(&self, gradient: &[f64], step: f64) -> Result<Option<ZeroTest>> {
        if self.part.slope_at_zero().is_finite() {
            return Ok(None);
        }
        let held = self.part.held(step);
        let mut test: Option<(ZeroTest, usize)> = None;
        self.part.each(&self.w, gradient, |group, (w, v)| {
            for pull in self.part.pulls_at_zeros(w, v) {
                let ratio = if pull == 0.0 { 0.0 } else { pull / held };
                let leaving = usize::from(!self.part.holds(pull, Stays::AfterStep(step)));
                let (test, worst) =
                    test.get_or_insert((ZeroTest { leaving: 0, ratio: f64::NEG_INFINITY, place: None }, group));
                test.leaving += leaving;
                if is_worse(ratio, test.ratio) {
                    (test.ratio, *worst) = (ratio, group);
                }
            }
        })?;
        Ok(test.map(|(test, group)| ZeroTest { place: Some(self.place(group)), ..test }))
    }
}

#[derive(Clone, Copy)]
struct Scale<'a> {
    params: &'a ParamsStationarity,
    weakest: f64,
}

fn row(
    tensors: &Tensors,
    gradient: &Gradient,
    subject: Subject<'_>,
    scale: Scale<'_>,
    any_decay: bool,
) -> Result<StationarityRow> {
    let noise = gradient.standard_error.as_deref();
    let distance = tensors.distance(&gradient.mean, noise, scale)?;
    let decayed = subject.decay.add_to(&gradient.mean, &tensors.w);
    let with_decay = match decayed {
        Some(decayed) => Some(tensors.distance(&decayed, noise, scale)?),
        None => any_decay.then(|| distance.clone()),
    };
    let mut zeros = 0;
    tensors.part.each(&tensors.w, &tensors.w, |_, (w, _)| {
        zeros += tensors.part.zeros(w);
    })?;
    Ok(StationarityRow {
        support_is_frozen: subject.support_is_frozen(),
        path: subject.path,
        penalty: (!subject.penalty.is_none()).then_some(subject.penalty),
        distance,
        with_decay,
        groups: tensors.part.number(),
        zeros,
        nonconvex: !subject.penalty.is_convex(),
        zero_test: tensors.zero_test(&gradient.mean, scale.params.step)?,
    })
}

impl StationarityRow {
    /// The distance that is judged: with the decay, where there is one, since that is the problem which the optimizer solves.
    #[must_use]
    pub fn judged(&self) -> &Distance {
        self.with_decay.as_ref().unwrap_or(&self.distance)
    }
}

impl Stationarity {
    /// The row of a path.
    #[must_use]
    pub fn row(&self, path: &str) -> Option<&StationarityRow> {
        self.rows.iter().find(|row| row.path == path)
    }

    /// The row with the largest relative distance, the decay included where there is one: NaN is the largest, and of equal ones the first
    /// row counts.
    #[must_use]
    pub fn worst(&self) -> Option<&StationarityRow> {
        let worse = |a, b| if is_worse(relative(b), relative(a)) { b } else { a };
        self.rows.iter().reduce(worse)
    }

    /// The largest relative distance, the decay included where there is one; NaN if there is NaN anywhere.
    #[must_use]
    pub fn largest(&self) -> f64 {
        self.worst().map_or(0.0, relative)
    }

    /// Refuses a model that is not stationary up to a tolerance: every relative distance, the decay included where there is one, has to
    /// be at most `tolerance`, and all zeros have to pass their test. It returns an error and does not panic, so that a test, or a
    /// training program that runs without a person, says `?`:
    ///
    /// ```
    /// # use candle_core::{Device, Var};
    /// # use l1_core::{Regularized, Rule, Visitor};
    /// # struct Model(Var);
    /// # impl Regularized for Model {
    /// #     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
    /// #         visitor.field("weight", Rule::l1(1.0), &self.0)
    /// #     }
    /// # }
    /// # fn trained() -> l1_core::Result<(Model, candle_core::Tensor)> {
    /// #     let model = Model(Var::new(&[0f64, 0.0], &Device::Cpu)?);
    /// #     let loss = model.0.sum_all()?;
    /// #     Ok((model, loss))
    /// # }
    /// # fn main() -> l1_core::Result<()> {
    /// // #[test]
    /// fn training_ends_at_a_minimum() -> l1_core::Result<()> {
    ///     let (model, loss) = trained()?;
    ///     let stationarity = model.regularizer()?.stationarity(&loss.backward()?)?;
    ///     stationarity.assert_below(1e-6)
    /// }
    /// # training_ends_at_a_minimum()
    /// # }
    /// ```
    ///
    /// The noise of [`MeanGradients`] is not taken off.
    ///
    /// # Errors
    /// [`Error::NotStationary`] with the worst parameter, [`Error::ZerosLeave`]; [`Error::NothingToCertify`] where no parameter was
    /// looked at.
    pub fn assert_below(&self, tolerance: f64) -> Result<()> {
        // Nothing was looked at: that proves nothing.
        let row = self.worst().ok_or(Error::NothingToCertify)?;
        let Distance { value, relative, place, noise } = row.judged().clone();
        // Not `>`: NaN is refused too.
        let is_below = relative <= tolerance;
        if !is_below {
            let path = row.path.clone();
            return Err(Error::NotStationary { path, place, relative, distance: value, noise, tolerance });
        }
        let leaving = |row: &&StationarityRow| row.zero_test.as_ref().is_some_and(|test| test.leaving > 0);
        match self.rows.iter().find(leaving) {
            Some(StationarityRow { path, zero_test: Some(test), zeros, .. }) => Err(Error::ZerosLeave {
                path: path.clone(),
                leaving: test.leaving,
                zeros: *zeros,
                place: test.place.clone(),
                ratio: test.ratio,
                step: self.params.step,
            }),
            _ => Ok(()),
        }
    }
}

fn relative(row: &StationarityRow) -> f64 {
    row.judged().relative
}
