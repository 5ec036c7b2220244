//! Gradients of the data loss: of one batch, or the mean of many.

use std::collections::HashMap;

use candle_core::{Tensor, TensorId, backprop::GradStore};

use crate::{Error, Param, ParamPath, Regularizer, Result, gradient, kernel::distance::wide};

/// Gradients of the data loss alone: candle's [`GradStore`], or [`MeanGradients`].
///
/// [`RegularizedGrads`](crate::RegularizedGrads) are none: they hold the penalty already. The trait cannot be implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "`{Self}` are no gradients of the data loss alone",
    label = "not the gradients of a loss without its penalty",
    note = "pass what `loss.backward()?` returns for the loss without the penalty, or `MeanGradients` of many batches",
    note = "`RegularizedGrads` hold the penalty already: a certificate would count it twice. Take it before `add_subgradient`"
)]
pub trait DataGradients: sealed::Source {}

impl DataGradients for GradStore {}
impl DataGradients for MeanGradients {}

/// The gradient of one tensor in row-major order.
#[derive(Clone, Debug)]
pub struct Gradient {
    pub(crate) mean: Vec<f64>,
    /// Of the mean, if it is one of many.
    pub(crate) standard_error: Option<Vec<f64>>,
}

impl Gradient {
    /// The same with 0 where `w` is 0. NaN stays: it says that the loss is no number.
    pub(crate) fn at_living(self, w: &[f64]) -> Self {
        let living = |mut gradient: Vec<f64>| {
            for (gradient, w) in gradient.iter_mut().zip(w) {
                if *w == 0.0 && !gradient.is_nan() {
                    *gradient = 0.0;
                }
            }
            gradient
        };
        Self { mean: living(self.mean), standard_error: self.standard_error.map(living) }
    }
}

mod sealed {
    use super::{Gradient, Param, ParamPath, Result, Tensor};

    /// Keeps the trait to this crate.
    pub trait Source {
        /// Refuses what is no source of a certificate at all.
        fn check(&self) -> Result<()>;
        /// Refuses gradients that hold this parameter's penalty already.
        fn refuse_charged(&self, param: &Param) -> Result<()>;
        /// Whether the loss gave it a gradient.
        fn has(&self, tensor: &Tensor) -> bool;
        /// None if the loss gave it no gradient.
        fn get(&self, path: &ParamPath, tensor: &Tensor) -> Result<Option<Gradient>>;
        /// How many batches it is a mean of.
        fn batches(&self) -> Option<usize>;
    }
}

impl sealed::Source for GradStore {
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn refuse_charged(&self, param: &Param) -> Result<()> {
        param.refuse_charged(self)
    }

    fn has(&self, tensor: &Tensor) -> bool {
        self.get(tensor).is_some()
    }

    fn get(&self, path: &ParamPath, tensor: &Tensor) -> Result<Option<Gradient>> {
        let Some(grad) = self.get(tensor) else { return Ok(None) };
        gradient::check_layout(|| path.clone(), tensor, grad)?;
        Ok(Some(Gradient { mean: wide(grad)?, standard_error: None }))
    }

    fn batches(&self) -> Option<usize> {
        None
    }
}

/// The mean gradient of many batches at the same weights, with the noise that is left in it: for data that do not fit one batch, and for
/// losses that differ from call to call (dropout, augmentation).
///
/// For each coordinate, over batches b = 1 … B of n_b samples with mean gradients g_b, N = Σ n_b (Welford's recurrence in f64; weights:
/// West 1979):
///
/// `v = Σ n_b·g_b / N`, standard error `s = √( Σ n_b(g_b − v)² / ((B − 1)·N) )`.
///
/// A distance to a convex set moves by no more than the point does, so the distance d of a group at the true gradient lies in the band
///
/// `d(v) ± z·√(Σ_{i ∈ g} sᵢ²)`, z = 2 ([`ParamsStationarity::z`](crate::ParamsStationarity::z)),
///
/// for a single coordinate with 95 % probability (where the mean is nearly normal), for a group with 75 % at the least (Chebyshev). What
/// is below [`noise`](crate::Distance::noise) cannot be told from 0; one batch alone shows no noise. Of many groups a few are outside of their bands by chance, and the
/// largest distance is the first to be.
///
/// s is the noise of batches drawn at random, with the loss as expected over the data's source. If the batches are one whole epoch and
/// the loss is the same at each call, v is the gradient of the training loss up to rounding, whatever s is.
///
/// ```
/// # use candle_core::{Device, Tensor, Var};
/// # use l1_core::{Regularized, Rule, Visitor};
/// # struct Model(Var);
/// # impl Regularized for Model {
/// #     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
/// #         visitor.field("weight", Rule::l1(0.5), &self.0)
/// #     }
/// # }
/// # fn main() -> l1_core::Result<()> {
/// # let model = Model(Var::new(&[0f64], &Device::Cpu)?);
/// # let batches = [vec![1f64, -1.0, 0.5], vec![0.0, 0.5]];
/// # let mean_loss = |batch: &Vec<f64>| -> candle_core::Result<Tensor> {
/// #     let data = Tensor::new(batch.as_slice(), &Device::Cpu)?;
/// #     model.0.broadcast_sub(&data)?.sqr()?.mean_all()
/// # };
/// use l1_core::MeanGradients;
///
/// let regularizer = model.regularizer()?;
/// let mut grads = MeanGradients::new(&regularizer);
/// for batch in &batches {
///     grads.add(&mean_loss(batch)?.backward()?, batch.len())?;
/// }
/// let stationarity = regularizer.stationarity(&grads)?;
/// println!("{stationarity}");
/// assert_eq!(stationarity.rows[0].distance.value, 0.0);
/// assert!(stationarity.rows[0].distance.noise.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct MeanGradients {
    subjects: Vec<Param>,
    sums: HashMap<TensorId, Running>,
    batches: usize,
    samples: f64,
}

/// A weighted mean that is on its way.
#[derive(Clone, Debug)]
struct Running {
    mean: Vec<f64>,
    /// `Σ n_b(g_b − v)²`.
    squares: Vec<f64>,
}

impl MeanGradients {
    /// Of no batch so far.
    #[must_use]
    pub fn new(regularizer: &Regularizer) -> Self {
        Self { subjects: regularizer.params().to_vec(), sums: HashMap::new(), batches: 0, samples: 0.0 }
    }

    /// Adds a batch.
    ///
    /// * `grads`: gradients of the batch's **mean** data loss, without the penalty.
    /// * `samples`: how many samples the batch has, > 0.
    ///
    /// The weights have to be the same at every batch. A parameter that a batch has no gradient for has the gradient 0 there; one that
    /// no batch has a gradient for has none.
    ///
    /// # Errors
    /// Before anything is changed: [`Error::ChargedTwice`], [`Error::GradientShape`], [`Error::GradientDType`],
    /// [`Error::GradientDevice`], [`Error::InvalidParameter`] for a batch without samples.
    pub fn add(&mut self, grads: &GradStore, samples: usize) -> Result<()> {
        // Whatever the scale is now: it may be another when the certificate is made.
        let mut penalized = self.subjects.iter().filter(|param| param.decision.penalty().is_some());
        penalized.try_for_each(|param| param.refuse_charged(grads))?;
        if samples == 0 {
            return Err(Error::InvalidParameter { name: "samples", value: 0.0, expected: "> 0" });
        }
        let mut batch = HashMap::new();
        for Param { path, tensor, .. } in &self.subjects {
            if let Some(grad) = grads.get(tensor) {
                gradient::check_layout(|| path.clone(), tensor, grad)?;
                batch.insert(tensor.id(), wide(grad)?);
            }
        }
        let samples = samples as f64;
        let before = self.samples;
        self.samples += samples;
        self.batches += 1;
        for (id, gradient) in &batch {
            let nothing = || Running { mean: vec![0.0; gradient.len()], squares: vec![0.0; gradient.len()] };
            self.sums.entry(*id).or_insert_with(nothing);
        }
        for (id, running) in &mut self.sums {
            running.add(batch.get(id).map(Vec::as_slice), samples, before);
        }
        Ok(())
    }

    /// How many batches it is a mean of.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.batches
    }
}

impl Running {
    fn add(&mut self, gradient: Option<&[f64]>, samples: f64, before: f64) {
        let share = samples / (before + samples);
        for (index, (mean, squares)) in self.mean.iter_mut().zip(&mut self.squares).enumerate() {
            let gradient = gradient.and_then(|gradient| gradient.get(index)).copied().unwrap_or(0.0);
            let change = gradient - *mean;
            *mean += share * change;
            *squares += before * share * change * change;
        }
    }
}

impl sealed::Source for MeanGradients {
    fn check(&self) -> Result<()> {
        if self.batches > 0 {
            return Ok(());
        }
        Err(Error::InvalidParameter {
            name: "batches",
            value: 0.0,
            expected: "≥ 1: `add` the gradients of a batch first",
        })
    }

    fn refuse_charged(&self, _: &Param) -> Result<()> {
        Ok(()) // each batch was looked at
    }

    fn has(&self, tensor: &Tensor) -> bool {
        self.sums.contains_key(&tensor.id())
    }

    fn get(&self, _: &ParamPath, tensor: &Tensor) -> Result<Option<Gradient>> {
        let Some(running) = self.sums.get(&tensor.id()) else { return Ok(None) };
        let freedom = self.batches.saturating_sub(1) as f64 * self.samples;
        let errors = || running.squares.iter().map(|squares| (squares / freedom).sqrt()).collect();
        Ok(Some(Gradient { mean: running.mean.clone(), standard_error: (self.batches > 1).then(errors) }))
    }

    fn batches(&self) -> Option<usize> {
        Some(self.batches)
    }
}
