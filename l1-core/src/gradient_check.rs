//! What a Regularizer asks of gradients: does the loss reach every penalized parameter, and does it hold the penalty already?

use candle_core::{Tensor, backprop::GradStore};

use crate::{
    Error, MissingCause, Param, ParamPath, Regularizer, Result, Role,
    kernel::{self, distance::wide},
    lent::Lent,
    missing,
};

impl Regularizer {
    /// Runs `backward` on a loss once, and refuses what a step on its gradients would refuse: a penalized parameter without a gradient,
    /// with the likely cause, and a loss that holds the penalty already. Nothing is changed. Beyond that it refuses a normalization without
    /// gradients where a parameter visited before it has one: in a residual network the gradients go past the branch that is cut
    /// off, and what lies before it is trained by a part of the loss. It sees the normalizations that this Regularizer lists, not
    /// those of opaque fields that no rule matches.
    ///
    /// candle says nothing where gradients stop: `LayerNorm`, `RmsNorm` and `softmax_last_dim` have no backward on contiguous input.
    /// Layers before them learn nothing then, and a penalty in the loss shrinks them to 0.
    ///
    /// Where [schedules](Self::set_schedules) have a scale at 0 now and above 0 at some step, as in a warm-up, it asks as at that step.
    ///
    /// * `data_loss`: the loss without the penalty, a scalar, of any batch that all parameters take part in.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_nn::{LayerNorm, Linear, Module, VarBuilder, VarMap, layer_norm, linear, ops};
    /// use l1_core::{Regularized, Rule, Visitor};
    ///
    /// struct Net {
    ///     fc1: Linear,
    ///     norm: LayerNorm,
    ///     fc2: Linear,
    /// }
    /// # impl Regularized for Net {
    /// #     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
    /// #         visitor.field("fc1", Rule::l1(0.1), &self.fc1)?;
    /// #         visitor.field("norm", Rule::inherit(), &self.norm)?;
    /// #         visitor.field("fc2", Rule::l1(0.1), &self.fc2)
    /// #     }
    /// # }
    ///
    /// let varmap = VarMap::new();
    /// let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
    /// let net = Net {
    ///     fc1: linear(3, 4, vb.pp("fc1"))?,
    ///     norm: layer_norm(4, 1e-5, vb.pp("norm"))?,
    ///     fc2: linear(4, 1, vb.pp("fc2"))?,
    /// };
    /// let regularizer = net.regularizer()?;
    /// let x = Tensor::new(&[[1f32, -2.0, 3.0], [0.5, 1.0, -1.0]], &Device::Cpu)?;
    ///
    /// let hidden = net.norm.forward(&net.fc1.forward(&x)?)?;
    /// let error = regularizer.check_gradients(&net.fc2.forward(&hidden)?.sqr()?.mean_all()?).unwrap_err();
    /// assert!(error.to_string().starts_with("fc1.weight: penalized, but the loss gave it no gradient"));
    /// assert!(error.to_string().contains("Likely because of `norm`"));
    ///
    /// let (weight, bias) = (net.norm.weight(), net.norm.bias().unwrap());
    /// let hidden = ops::layer_norm_slow(&net.fc1.forward(&x)?, weight, bias, 1e-5)?;
    /// regularizer.check_gradients(&net.fc2.forward(&hidden)?.sqr()?.mean_all()?)?;
    /// # Ok::<(), l1_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NothingPenalized`], [`Error::LossShape`], [`Error::ChargedTwice`], [`Error::MissingGradient`],
    /// [`Error::NormWithoutBackward`]; candle's, where an operation of the loss refuses to go backward.
    pub fn check_gradients(&self, data_loss: &Tensor) -> Result<()> {
        let grads = self.gradients_of(data_loss)?;
        let has_gradient = |tensor: &Tensor| grads.get(tensor).is_some();
        let Some(first) = self.without_gradient(has_gradient).next() else {
            return match missing::norms(self.params(), has_gradient).next() {
                None => Ok(()),
                Some(norm) => Err(Error::NormWithoutBackward { norm: missing::layer(norm) }),
            };
        };
        let mut error = self.missing_gradient(&first.path, has_gradient);
        if let Error::MissingGradient { cause, .. } = &mut error
            && data_loss.sorted_nodes().iter().any(|node| node.id() == first.tensor.id())
        {
            *cause = MissingCause::NoDerivative;
        }
        Err(error)
    }

    /// [`check_gradients`](Self::check_gradients) with a certain answer: it changes each parameter that has no gradient, and looks
    /// whether the loss changes with it.
    ///
    /// Where several have none, the error names those that take part in the loss, or if there are none of these, those that do not.
    ///
    /// * `data_loss`: computes the loss without the penalty, a scalar; the same function at each call (one batch, no dropout).
    ///   Where it is not, or is not finite, the likely cause is given.
    ///
    /// It is evaluated once if nothing is missing; else twice, and up to three times more for each parameter without a gradient (with small
    /// and large changes). Those weights are put back to the same bits, also when the loss fails; other threads should not use the model meanwhile. A part that a
    /// forward pass changes by itself, as running statistics in training mode, is changed by it here too.
    ///
    /// ```
    /// use candle_core::{Device, Tensor, Var};
    /// use l1_core::{Error, MissingCause, Regularized, Rule, Visitor};
    ///
    /// struct Model {
    ///     scores: Var,
    ///     spare: Var,
    /// }
    /// # impl Regularized for Model {
    /// #     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
    /// #         visitor.field("scores", Rule::l1(0.1), &self.scores)?;
    /// #         visitor.field("spare", Rule::l1(0.1), &self.spare)
    /// #     }
    /// # }
    ///
    /// let var = |values: [f32; 3]| Var::new(&[values], &Device::Cpu);
    /// let model = Model { scores: var([1.0, 2.0, 3.0])?, spare: var([4.0, 5.0, 6.0])? };
    /// let values = Tensor::new(&[[1f32], [0.0], [2.0]], &Device::Cpu)?;
    /// // No backward in `softmax_last_dim`.
    /// let loss = || candle_nn::ops::softmax_last_dim(&model.scores)?.matmul(&values)?.sum_all();
    ///
    /// match model.regularizer()?.check_gradients_with(loss) {
    ///     Err(Error::MissingGradient { path, cause, .. }) => {
    ///         assert_eq!(path, "scores");
    ///         assert_eq!(cause, MissingCause::NoBackward { norm: None });
    ///     }
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), l1_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`check_gradients`](Self::check_gradients), and the loss's own.
    pub fn check_gradients_with(&self, mut data_loss: impl FnMut() -> candle_core::Result<Tensor>) -> Result<()> {
        let graph = data_loss()?;
        let grads = self.gradients_of(&graph)?;
        let value = kernel::number(&graph)?;
        drop(graph);
        let has_gradient = |tensor: &Tensor| grads.get(tensor).is_some();
        let missing: Vec<_> = self.without_gradient(has_gradient).collect();
        let norms: Vec<_> = missing::norms(self.params(), has_gradient).collect();
        if missing.is_empty() && norms.is_empty() {
            return Ok(());
        }
        let again = number(&data_loss()?)?;
        let is_same = value.is_finite() && value.to_bits() == again.to_bits();
        let Some(first) = missing.first() else {
            for norm in norms {
                if !is_same || depends_on(norm, value, &mut data_loss)? {
                    return Err(Error::NormWithoutBackward { norm: missing::layer(norm) });
                }
            }
            return Ok(());
        };
        if !is_same {
            return Err(self.missing_gradient(&first.path, has_gradient));
        }
        let (mut take_part, mut do_not) = (Vec::new(), Vec::new());
        for param in missing {
            let depends = depends_on(param, value, &mut data_loss)?;
            if depends { take_part.push(param) } else { do_not.push(param) }
        }
        match (take_part.as_slice(), do_not.as_slice()) {
            ([first, others @ ..], _) => {
                let norm = match missing::likely(self.params(), &first.path, has_gradient) {
                    MissingCause::Norm { norm } => self.taking_part(norm, value, &mut data_loss)?,
                    _ => None,
                };
                Err(error(first, MissingCause::NoBackward { norm }, others))
            }
            (_, [first, others @ ..]) => Err(error(first, MissingCause::NotInLoss, others)),
            _ => Ok(()),
        }
    }

    /// The normalization, if the loss changes with it.
    fn taking_part(
        &self,
        norm: ParamPath,
        value: f64,
        data_loss: &mut impl FnMut() -> candle_core::Result<Tensor>,
    ) -> Result<Option<ParamPath>> {
        let is_of_norm =
            |param: &&Param| param.role == Role::Norm && param.tensor.is_variable() && missing::layer(param) == norm;
        let of_norm = self.params().iter().find(is_of_norm);
        let takes_part = of_norm.map(|param| depends_on(param, value, data_loss)).transpose()?;
        Ok((takes_part == Some(true)).then_some(norm))
    }

    /// The error for the first penalized parameter without a gradient, which has to be among these.
    pub(crate) fn missing_gradient(&self, path: &ParamPath, has_gradient: impl Fn(&Tensor) -> bool) -> Error {
        let cause = missing::likely(self.params(), path, &has_gradient);
        let others = self.without_gradient(has_gradient).map(|param| param.path.clone());
        Error::MissingGradient { path: path.clone(), cause, others: others.filter(|other| other != path).collect() }
    }

    /// The parameters that are charged, now or by a schedule at another step, without having a gradient.
    pub(crate) fn without_gradient(&self, has_gradient: impl Fn(&Tensor) -> bool) -> impl Iterator<Item = &Param> {
        self.params().iter().filter(move |param| self.is_charged(param) && !has_gradient(&param.tensor))
    }

    /// Refuses gradients that hold the penalty of a parameter which this charges too.
    pub(crate) fn refuse_charged(&self, grads: &GradStore) -> Result<()> {
        let mut charged = self.params().iter().filter(|param| self.is_charged(param));
        charged.try_for_each(|param| param.refuse_charged(grads))
    }

    fn gradients_of(&self, loss: &Tensor) -> Result<GradStore> {
        self.check_not_empty()?;
        check_scalar(loss)?;
        let grads = loss.backward()?;
        self.refuse_charged(&grads)?;
        Ok(grads)
    }
}

fn error(first: &Param, cause: MissingCause, others: &[&Param]) -> Error {
    let others: Vec<ParamPath> = others.iter().map(|param| param.path.clone()).collect();
    Error::MissingGradient { path: first.path.clone(), cause, others }
}

/// Refuses a loss that is no scalar.
pub(crate) fn check_scalar(loss: &Tensor) -> Result<()> {
    if loss.rank() == 0 { Ok(()) } else { Err(Error::LossShape { found: loss.shape().clone() }) }
}

/// The value of a loss, which has to be a scalar.
pub(crate) fn number(loss: &Tensor) -> Result<f64> {
    check_scalar(loss)?;
    kernel::number(loss)
}

/// Sizes of the changes, relative to the weights: a small one, since a large one may lead where the loss fails; large ones, there and
/// back, since a small one may be lost in rounding or on a plateau (a dead ReLU, a maximum).
const CHANGES: [f64; 3] = [0.01, 1.0, -4.0];

/// Whether the loss is another one with other weights.
fn depends_on(param: &Param, value: f64, data_loss: &mut impl FnMut() -> candle_core::Result<Tensor>) -> Result<bool> {
    if param.tensor.elem_count() == 0 {
        return Ok(false);
    }
    let lent = Lent::new(&param.tensor)?;
    let mut depends = false;
    for change in CHANGES {
        lent.set(&moved(lent.weights(), change)?)?;
        depends = number(&data_loss()?)?.to_bits() != value.to_bits();
        if depends {
            break;
        }
    }
    lent.give_back()?;
    Ok(depends)
}

/// Other weights nearby. No two entries move alike: many a layer does not see a move that is the same for all of them, or that
/// is a multiple of the weights.
fn moved(weights: &Tensor, change: f64) -> Result<Tensor> {
    let numbers = wide(weights)?;
    let mean_square = numbers.iter().map(|w| w * w).sum::<f64>() / numbers.len() as f64;
    let size = if mean_square > 0.0 && mean_square.is_finite() { mean_square.sqrt() } else { 0.1 };
    let direction = |index: usize| (index as f64 * index as f64 + 1.0).sin();
    let moved = numbers.iter().enumerate().map(|(index, w)| w + change * size * direction(index));
    let moved = Tensor::from_iter(moved, &candle_core::Device::Cpu)?.reshape(weights.shape())?;
    Ok(moved.to_dtype(weights.dtype())?.to_device(weights.device())?)
}
