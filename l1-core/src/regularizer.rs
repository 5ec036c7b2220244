//! The collected list of parameters: everything to the right of it works on this list and never on the model.

use std::collections::HashMap;

use candle_core::{DType, Tensor, TensorId, backprop::GradStore};
use candle_nn::VarMap;

use crate::{
    Coverage, Error, OnMissingGradient, Param, ParamPath, Penalty, Reason, Regularized, RegularizedGrads,
    RegularizerBuilder, Report, Result, explain, gradient, kernel,
    mark::Mark,
    resolve,
    schedule::Carried,
    visitor::{Found, Unvisited},
};

/// Every parameter of a model, in the order of the visit, with what was decided about it; and the scales: one of the whole, one of each
/// field.
///
/// It is a plain value: it holds the model's tensors (shared, not copied), so weights that are trained later are seen by it.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use l1_core::{Regularized, Regularizer, Result, Rule, Visitor};
///
/// struct Model {
///     weight: Var,
///     bias: Var,
/// }
///
/// impl Regularized for Model {
///     fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
///         visitor.field("weight", Rule::l1(0.5), &self.weight)?;
///         visitor.field("bias", Rule::inherit(), &self.bias)
///     }
/// }
///
/// let model = Model {
///     weight: Var::new(&[1f32, 0.0, -3.0], &Device::Cpu)?,
///     bias: Var::new(&[7f32], &Device::Cpu)?,
/// };
/// let mut regularizer = model.regularizer()?;
/// assert_eq!(regularizer.value()?, 2.0); // 0.5 · (1 + 0 + 3)
/// regularizer.set_scale(2.0)?;
/// assert_eq!(regularizer.value()?, 4.0);
/// # Ok::<(), l1_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Regularizer {
    pub(crate) params: Vec<Param>,
    by_id: HashMap<TensorId, usize>,
    unvisited: Vec<Unvisited>,
    /// See `scales.rs`.
    pub(crate) scale: f64,
    /// See `schedule/carried.rs`.
    pub(crate) schedules: Option<Carried>,
}

impl Regularizer {
    /// Visits a model and settles what is to be done with each of its parameters.
    ///
    /// Tied tensors count once; a declaration at one of their places beats "nothing declared" at another.
    ///
    /// # Errors
    /// * [`Error::InvalidValue`]: a λ, element, l2, decay or scale, or the number of a curve, that is negative, NaN or infinite.
    /// * [`Error::Unreached`]: a penalty or decay declared on a field below which nothing can be penalized (a norm layer without
    ///   `norm`, a frozen tensor, integers, a type without parameters, …). Those on a struct may pass over fields.
    /// * [`Error::ConflictingRules`]: one storage under two different rules.
    /// * [`Error::DuplicatePath`], [`Error::UnusedRole`], [`Error::TwoDevices`], [`Error::EmptyModel`].
    pub fn new<M: ?Sized + Regularized>(model: &M) -> Result<Self> {
        Self::builder().model(model).build()
    }

    /// Puts a Regularizer together from models, a `VarMap`, and rules for names; see [`RegularizerBuilder`].
    pub fn builder<'m>() -> RegularizerBuilder<'m> {
        RegularizerBuilder::new()
    }

    pub(crate) fn from_found(mut found: Found) -> Result<Self> {
        let params = resolve::params(&mut found)?;
        let by_id = params.iter().enumerate().map(|(index, param)| (param.tensor.id(), index)).collect();
        Ok(Self { params, by_id, unvisited: found.unvisited, scale: 1.0, schedules: None })
    }

    /// What becomes of each variable of a `VarMap`, so that nothing is left out unnoticed.
    ///
    /// Variables are told by their identity where the model shows them, and by their names where it does not (a skipped field of a
    /// foreign type). One line makes it a test of your own: `net.regularizer()?.coverage(&varmap).strict()?`.
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use candle_nn::{Linear, VarBuilder, VarMap, linear};
    /// use l1_core::{Regularized, Rule, Visitor};
    ///
    /// struct Net {
    ///     fc1: Linear,
    ///     fc2: Linear,
    /// }
    ///
    /// impl Regularized for Net {
    ///     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
    ///         visitor.field("fc1", Rule::l1(0.01), &self.fc1) // and fc2?
    ///     }
    /// }
    ///
    /// let varmap = VarMap::new();
    /// let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
    /// let net = Net { fc1: linear(4, 3, vb.pp("fc1"))?, fc2: linear(3, 2, vb.pp("fc2"))? };
    /// let coverage = net.regularizer()?.coverage(&varmap);
    /// println!("{coverage}");
    /// let error = coverage.strict().unwrap_err().to_string();
    /// assert!(error.contains("fc2.weight") && error.contains("fc2.bias"));
    /// # Ok::<(), l1_core::Error>(())
    /// ```
    #[must_use]
    pub fn coverage(&self, varmap: &VarMap) -> Coverage {
        Coverage::new(self, varmap)
    }

    /// All parameters, each once, in the order of the visit.
    #[must_use]
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The parameter that this tensor is, by identity.
    #[must_use]
    pub fn get(&self, tensor: &Tensor) -> Option<&Param> {
        self.by_id.get(&tensor.id()).map(|&index| &self.params[index])
    }

    /// The parameter at a path, or at an alias of it.
    #[must_use]
    pub fn param(&self, path: &str) -> Option<&Param> {
        self.params.iter().find(|param| *param.path() == path || param.aliases().iter().any(|alias| *alias == path))
    }

    /// The fields that were not looked into (`opaque`, or `skip` on a foreign type), with the reason. An opaque field of which rules for
    /// names reach every variable is none.
    pub fn unvisited(&self) -> impl Iterator<Item = (&ParamPath, &Reason)> {
        let fields = self.unvisited.iter().filter(|field| field.reason != Reason::Opaque || !field.is_reached);
        fields.map(|field| (&field.path, &field.reason))
    }

    /// All fields that were not looked into.
    pub(crate) fn fields_not_looked_into(&self) -> &[Unvisited] {
        &self.unvisited
    }

    /// The penalized parameters with their penalties, every scale included.
    pub fn penalized(&self) -> impl Iterator<Item = (&Param, Penalty)> {
        self.params.iter().filter_map(|param| Some((param, self.penalty_of(param)?)))
    }

    /// The penalty `Σ Ω(w)` over all penalized parameters as one differentiable scalar; Ω: see [`Penalty`].
    ///
    /// Its gradient is the subgradient of smallest norm: 0 where a weight or a group is 0 (candle's own `sqrt` has NaN there). Its dtype is F64 if any penalized parameter is,
    /// else F32 ([`penalty_like`](Self::penalty_like) takes the dtype of a bf16 loss); its device is that of the parameters.
    ///
    /// A parameter that the loss gives no gradient (behind candle's `LayerNorm`, `RmsNorm` or `softmax_last_dim`, say) is shrunk
    /// to nothing by a penalty in the loss, unnoticed; [`check_gradients`](Self::check_gradients) finds it before training, and
    /// [`add_subgradient`](Self::add_subgradient) and the proximal optimizers refuse it.
    ///
    /// What is charged here must not be charged again: beside the gradients of the weights `backward` leaves a mark for each, a scalar,
    /// and a proximal optimizer or a certificate that penalizes one of these parameters refuses such gradients
    /// ([`Error::ChargedTwice`]). A joint loss may hold the penalty of another model, and with a scale of 0 nothing is charged.
    ///
    /// ```
    /// use candle_core::{Device, Var};
    /// use l1_core::{Regularized, Rule, Visitor};
    /// # struct Model(Var);
    /// # impl Regularized for Model {
    /// #     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
    /// #         visitor.field("weight", Rule::l1(0.5), &self.0)
    /// #     }
    /// # }
    /// # let model = Model(Var::new(&[1f32, 0.0, -3.0], &Device::Cpu)?);
    /// let grads = model.regularizer()?.penalty()?.backward()?;
    /// # let weight = &model.0;
    /// assert_eq!(grads.get(weight).unwrap().to_vec1::<f32>()?, [0.5, 0.0, -0.5]);
    /// # Ok::<(), l1_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NothingPenalized`], [`Error::NotInLoss`] where a parameter has a `positive` constraint or a curve of infinite slope at 0 (`half`,
    /// `two_thirds`, `l0`), and [`Error::DecayUnused`] where
    /// a `decay` is declared: a loss has no decoupled decay. The number alone is [`value`](Self::value).
    pub fn penalty(&self) -> Result<Tensor> {
        self.check_in_loss()?;
        let wide = self.penalized().any(|(param, _)| param.tensor.dtype() == DType::F64);
        let dtype = if wide { DType::F64 } else { DType::F32 };
        let terms = self.penalized().map(|(param, penalty)| {
            let mark = param.mark.clone().unwrap_or_else(|| Mark::of(&param.tensor));
            kernel::penalty(&param.tensor, &penalty, dtype, &mark)
        });
        let mut terms = terms.collect::<Result<Vec<_>>>()?;
        // In a tree: `backward` walks the graph by recursion, and a chain of thousands of sums would overflow its stack.
        while terms.len() > 1 {
            let pairs = terms.chunks(2).map(|pair| match pair {
                [a, b] => Ok((a + b)?),
                rest => Ok(rest[0].clone()),
            });
            terms = pairs.collect::<Result<Vec<_>>>()?;
        }
        terms.pop().ok_or_else(|| self.nothing_penalized())
    }

    /// [`penalty`](Self::penalty) in the dtype and on the device of `loss`, so that they can be added. In f16 it is ∞ from
    /// 65 520 on.
    ///
    /// # Errors
    /// As [`penalty`](Self::penalty).
    pub fn penalty_like(&self, loss: &Tensor) -> Result<Tensor> {
        Ok(self.penalty()?.to_dtype(loss.dtype())?.to_device(loss.device())?)
    }

    /// The penalty as a number: `Σ Ω(w)`, `+∞` where a `positive` parameter has a negative entry, NaN where a weight is NaN.
    ///
    /// On the CPU it is summed in f64 in a fixed order: the same bits on any number of threads.
    ///
    /// # Errors
    /// [`Error::NothingPenalized`].
    pub fn value(&self) -> Result<f64> {
        self.check_not_empty()?;
        let penalized: Vec<_> = self.penalized().map(|(param, penalty)| (&param.tensor, penalty)).collect();
        Ok(kernel::values(&penalized)?.into_iter().sum())
    }

    /// Adds the penalty's subgradient (for l1 `λ·sign(w)`, sign(0) = 0; see [`kernel::subgradient`](crate::kernel::subgradient)) to the gradients of a loss in place: what [`penalty`](Self::penalty) in the loss does,
    /// in one pass over weights and gradients, and with a check that the loss reaches every penalized parameter.
    ///
    /// NaN in a gradient stays NaN. The store is marked as by [`penalty`](Self::penalty), so that a proximal optimizer can refuse it.
    ///
    /// ```no_run
    /// # fn step(loss: &candle_core::Tensor, regularizer: &l1_core::Regularizer, opt: &mut candle_nn::SGD) -> l1_core::Result<()> {
    /// use candle_nn::Optimizer;
    ///
    /// let grads = regularizer.add_subgradient(loss.backward()?)?;
    /// opt.step(&grads)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// All before anything is written: [`Error::NothingPenalized`], [`Error::NotInLoss`], [`Error::DecayUnused`],
    /// [`Error::ChargedTwice`] where the gradients hold the penalty already, [`Error::MissingGradient`] where the loss gave a penalized
    /// parameter no gradient, [`Error::GradientShape`], [`Error::GradientDType`], [`Error::GradientDevice`].
    pub fn add_subgradient(&self, grads: GradStore) -> Result<RegularizedGrads> {
        self.add_subgradient_with(grads, OnMissingGradient::Error)
    }

    /// [`add_subgradient`](Self::add_subgradient) with a choice of what becomes of penalized parameters without a gradient.
    ///
    /// # Errors
    /// As [`add_subgradient`](Self::add_subgradient), but [`Error::MissingGradient`] with [`OnMissingGradient::Error`] alone.
    pub fn add_subgradient_with(
        &self,
        mut grads: GradStore,
        on_missing_gradient: OnMissingGradient,
    ) -> Result<RegularizedGrads> {
        self.check_in_loss()?;
        self.refuse_charged(&grads)?;
        let mut taken = gradient::Taken::by(self.penalized().map(|(param, _)| &param.tensor));
        let (mut planned, mut charged) = (Vec::new(), Vec::new());
        for (param, penalty) in self.penalized() {
            let grad = match grads.get(&param.tensor) {
                Some(grad) => {
                    gradient::check_layout(|| param.path.clone(), &param.tensor, grad)?;
                    taken.write(grad)?
                }
                None if penalty.is_none() => continue,
                None => match on_missing_gradient {
                    OnMissingGradient::Error => {
                        return Err(self.missing_gradient(&param.path, |tensor| grads.get(tensor).is_some()));
                    }
                    OnMissingGradient::Skip => continue,
                    OnMissingGradient::Shrink => param.tensor.detach().zeros_like()?,
                },
            };
            planned.push((grad, &param.tensor, penalty));
            if !penalty.is_none() {
                charged.push(param);
            }
        }
        let sums = kernel::add_subgradients(&planned)?;
        for ((_, w, _), sum) in planned.iter().zip(sums) {
            let is_frozen = self.get(w).is_some_and(Param::support_is_frozen);
            grads.insert(w, if is_frozen { kernel::hold_gradient(sum, w)? } else { sum });
        }
        charged.into_iter().try_for_each(|param| param.mark_charged(&mut grads))?;
        Ok(RegularizedGrads::new(grads))
    }

    /// A table of every parameter: path, shape, role, decision, λ, zeros, norm.
    ///
    /// # Errors
    /// candle's, when a tensor cannot be read.
    pub fn report(&self) -> Result<Report> {
        Report::new(self)
    }

    pub(crate) fn check_not_empty(&self) -> Result<()> {
        match self.penalized().next() {
            Some(_) => Ok(()),
            None => Err(self.nothing_penalized()),
        }
    }

    fn nothing_penalized(&self) -> Error {
        let why = explain::nothing_penalized(&self.params, &self.unvisited);
        Error::NothingPenalized { parameters: self.params.len(), why }
    }

    fn check_in_loss(&self) -> Result<()> {
        self.check_not_empty()?;
        for (param, penalty) in self.penalized() {
            if let Some(what) = penalty.without_gradient() {
                return Err(Error::NotInLoss { path: param.path.clone(), what });
            }
        }
        self.refuse_decay("a loss")
    }

    /// Refuses a declared decay where there is no place for one.
    pub(crate) fn refuse_decay(&self, place: &'static str) -> Result<()> {
        let declared = |param: &&Param| param.decay.is_some_and(|decay| decay > 0.0);
        match self.params.iter().find(declared) {
            None => Ok(()),
            Some(param) => Err(Error::DecayUnused { path: param.path.clone(), place }),
        }
    }
}
