//! Gradients that hold the penalty already, so that it cannot be charged twice.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use candle_core::backprop::GradStore;

/// Gradients of a loss *plus* its penalty, as [`Regularizer::add_subgradient`](crate::Regularizer::add_subgradient) returns them.
///
/// Derefs to [`GradStore`], so candle's optimizers and [`clip_grad_norm`](crate::clip_grad_norm) take it. The proximal
/// optimizers refuse it ([`Error::ChargedTwice`](crate::Error::ChargedTwice)): they want the gradients of the loss alone.
pub struct RegularizedGrads(GradStore);

impl RegularizedGrads {
    /// The caller has marked them.
    pub(crate) fn new(grads: GradStore) -> Self {
        Self(grads)
    }

    /// The gradients as candle's type. They keep the marks that tell a proximal optimizer of the penalty in them.
    #[must_use]
    pub fn into_inner(self) -> GradStore {
        self.0
    }
}

impl Deref for RegularizedGrads {
    type Target = GradStore;

    fn deref(&self) -> &GradStore {
        &self.0
    }
}

impl DerefMut for RegularizedGrads {
    fn deref_mut(&mut self) -> &mut GradStore {
        &mut self.0
    }
}

impl fmt::Debug for RegularizedGrads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegularizedGrads").finish_non_exhaustive()
    }
}
