//! What becomes of a penalized parameter to which the loss gives no gradient.

/// What a step does about a penalized parameter without a gradient: of [`ProxSgd`](crate::ProxSgd), [`ProxAdamW`](crate::ProxAdamW),
/// [`FtrlProximal`](crate::FtrlProximal) and [`Proximal`](crate::Proximal), and of
/// [`Regularizer::add_subgradient_with`](crate::Regularizer::add_subgradient_with).
///
/// [`Fista`](crate::Fista) has no such choice: its loss is the same function at each call, so that what it does not reach sits out
/// all of training. A certificate has none either: without a gradient nothing can be certified.
///
/// A variable that is not penalized is always left alone without a gradient, as by candle's optimizers.
///
/// ```
/// # fn params(regularizer: l1_core::Regularizer) {
/// use l1_core::{OnMissingGradient, ParamsProxSgd};
///
/// // A mixture of experts: those that no token was sent to sit out the step.
/// let on_missing_gradient = OnMissingGradient::Skip;
/// let params = ParamsProxSgd { lr: 0.1, on_missing_gradient, ..ParamsProxSgd::new(regularizer) };
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnMissingGradient {
    /// Refuses the step with [`Error::MissingGradient`](crate::Error::MissingGradient), before anything is written.
    #[default]
    Error,
    /// Leaves the parameter as it is: weights, moments, and what is counted for it. It is not charged either.
    Skip,
    /// Goes on as if its gradient were 0, so that the penalty shrinks it.
    ///
    /// * [`ProxSgd`](crate::ProxSgd): by `lr·W_k·λ` a step, after the move that is left in the buffer.
    /// * [`ProxAdamW`](crate::ProxAdamW): v fades, and the step lr/(√v̂ + ε) grows as it does. A parameter that has had no gradient yet
    ///   has the step lr/ε: **it is emptied at once**.
    /// * [`FtrlProximal`](crate::FtrlProximal): by one more charge against the gradients so far; with `Charged::Once` nothing moves after
    ///   the first step.
    /// * [`Proximal`](crate::Proximal): the optimizer within is not told of it (candle's leave the parameter alone), then comes the
    ///   prox.
    /// * [`Regularizer::add_subgradient_with`](crate::Regularizer::add_subgradient_with): the subgradient alone becomes its gradient.
    Shrink,
}
