//! Gradients that hold the penalty already, so that it cannot be charged twice.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::OnceLock,
};

use candle_core::{DType, Device, Tensor, backprop::GradStore};

use crate::{Error, Result};

/// Gradients of a loss *plus* its penalty, as [`Regularizer::add_subgradient`](crate::Regularizer::add_subgradient) returns them.
///
/// Derefs to [`GradStore`], so candle's optimizers and [`clip_grad_norm`](crate::clip_grad_norm) take it. The proximal
/// optimizers refuse it ([`Error::ChargedTwice`]): they want the gradients of the loss alone.
pub struct RegularizedGrads(GradStore);

/// A tensor whose presence among gradients says that they hold the penalty. It lives in the store itself because a reference
/// to `RegularizedGrads` turns into one to `GradStore` by itself.
fn mark() -> Result<&'static Tensor> {
    static MARK: OnceLock<Tensor> = OnceLock::new();
    if let Some(mark) = MARK.get() {
        return Ok(mark);
    }
    let mark = Tensor::zeros((), DType::U8, &Device::Cpu)?;
    Ok(MARK.get_or_init(|| mark))
}

impl RegularizedGrads {
    pub(crate) fn mark(mut grads: GradStore) -> Result<Self> {
        let mark = mark()?;
        grads.insert(mark, mark.clone());
        Ok(Self(grads))
    }

    /// Refuses gradients that hold the penalty already.
    pub(crate) fn refuse(grads: &GradStore) -> Result<()> {
        match grads.get(mark()?) {
            Some(_) => Err(Error::ChargedTwice),
            None => Ok(()),
        }
    }

    /// The gradients as candle's type. They keep the mark that tells a proximal optimizer of the penalty in them.
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
