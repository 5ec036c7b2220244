//! The trait that hands over a model's parameters with their rules.

use candle_core::Tensor;

use crate::{Regularizer, Result, Visitor};

/// A model, or a part of one, that hands each of its parameters to a [`Visitor`] with the rule declared for it.
///
/// `#[derive(Regularized)]` writes the implementation. By hand it is one call for each field:
///
/// ```
/// use candle_nn::Linear;
/// use l1_core::{Regularized, Result, Rule, Visitor};
///
/// struct Net {
///     fc1: Linear,
///     fc2: Linear,
/// }
///
/// impl Regularized for Net {
///     fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
///         visitor.field("fc1", Rule::l1(0.001), &self.fc1)?;
///         visitor.field("fc2", Rule::inherit(), &self.fc2)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "l1 does not know the parameters of `{Self}`",
    label = "`{Self}` does not implement `Regularized`",
    note = "if the type is yours, put `#[derive(Regularized)]` on it",
    note = "if it hides its tensors (LSTM, GRU, GroupNorm, Sequential, a model of candle-transformers), make the field a `Traced<..>` of it",
    note = "if it is a trait object, let the trait require it: `trait Layer: Module + Regularized {{}}`",
    note = "if its tensors can be reached, name a function that visits them: `#[l1(with = path)]`",
    note = "if it holds no parameters or is not to be penalized, say so: `#[l1(skip = \"why\")]`"
)]
pub trait Regularized {
    /// Hands every parameter to the visitor, in a fixed order.
    ///
    /// # Errors
    /// Whatever the visitor refuses: a number out of its range, with the path of the field.
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()>;

    /// Collects the parameters with what the rules say of them now: an expression such as `lambda = self.strength` is read here.
    ///
    /// # Errors
    /// See [`Regularizer::new`].
    fn regularizer(&self) -> Result<Regularizer> {
        Regularizer::new(self)
    }

    /// The penalty of the whole model as one differentiable scalar, to be added to a loss.
    ///
    /// A parameter that the loss gives no gradient is shrunk to nothing by it, unnoticed, and a proximal optimizer refuses a loss with it;
    /// see [`Regularizer::penalty`].
    ///
    /// Visits the model anew; in a training loop collect a [`Regularizer`] once and use its
    /// [`penalty`](Regularizer::penalty).
    ///
    /// # Errors
    /// See [`Regularizer::new`] and [`Regularizer::penalty`].
    fn penalty(&self) -> Result<Tensor> {
        self.regularizer()?.penalty()
    }

    /// [`penalty`](Self::penalty) in the dtype and on the device of a loss.
    ///
    /// # Errors
    /// See [`Regularizer::new`] and [`Regularizer::penalty`].
    fn penalty_like(&self, loss: &Tensor) -> Result<Tensor> {
        self.regularizer()?.penalty_like(loss)
    }
}
