//! Vectors that are spread over tensors, one for each variable: what a method needs that compares whole points.

use candle_core::{DType, Device, Result as CandleResult, Tensor, Var};

use crate::{Penalty, Result, kernel};

/// One tensor for each variable, in the order of the variables, each of its variable's shape, dtype and device; never part of a
/// graph.
#[derive(Clone)]
pub(super) struct Vector(Vec<Tensor>);

impl Vector {
    pub(super) fn new(tensors: Vec<Tensor>) -> Self {
        Self(tensors)
    }

    /// A copy of where the variables are.
    pub(super) fn of(vars: &[Var]) -> Result<Self> {
        Ok(Self(vars.iter().map(|var| var.as_detached_tensor().copy()).collect::<CandleResult<_>>()?))
    }

    /// Moves the variables here.
    pub(super) fn write(&self, vars: &[Var]) -> Result<()> {
        Ok(vars.iter().zip(&self.0).try_for_each(|(var, tensor)| var.set(tensor))?)
    }

    /// `prox_{step·Ω}(self − step·gradient)`, with a penalty for each variable.
    pub(super) fn proximal_step(&self, gradient: &Self, step: f64, penalties: &[Penalty]) -> Result<Self> {
        let moved = self.minus(&gradient.times(step)?)?.0.into_iter().zip(penalties);
        let prox =
            |(z, penalty): (Tensor, &Penalty)| if penalty.is_none() { Ok(z) } else { kernel::prox(&z, penalty, step) };
        Ok(Self(moved.map(prox).collect::<Result<_>>()?))
    }

    pub(super) fn plus(&self, other: &Self) -> Result<Self> {
        Ok(Self(self.pairs(other).map(|(a, b)| a + b).collect::<CandleResult<_>>()?))
    }

    pub(super) fn minus(&self, other: &Self) -> Result<Self> {
        Ok(Self(self.pairs(other).map(|(a, b)| a - b).collect::<CandleResult<_>>()?))
    }

    pub(super) fn times(&self, factor: f64) -> Result<Self> {
        Ok(Self(self.0.iter().map(|a| a * factor).collect::<CandleResult<_>>()?))
    }

    /// The tensors of some of the variables.
    pub(super) fn among(&self, is_chosen: &[bool]) -> Self {
        Self(self.0.iter().zip(is_chosen).filter(|(_, is_chosen)| **is_chosen).map(|(a, _)| a.clone()).collect())
    }

    /// The tensors of the chosen variables, those of `other` for the rest.
    pub(super) fn or(&self, other: &Self, is_chosen: &[bool]) -> Self {
        let either = |((a, b), is_chosen): ((&Tensor, &Tensor), &bool)| if *is_chosen { a.clone() } else { b.clone() };
        Self(self.pairs(other).zip(is_chosen).map(either).collect())
    }

    /// For each variable of which zeros are held, where it is 0.
    pub(super) fn zeros(&self, is_held: impl Iterator<Item = bool>) -> Result<Vec<Option<Tensor>>> {
        let zeros = |(a, is_held): (&Tensor, bool)| is_held.then(|| a.eq(0.0)).transpose();
        Ok(self.0.iter().zip(is_held).map(zeros).collect::<CandleResult<_>>()?)
    }

    /// The same with 0 at these zeros.
    pub(super) fn holding(self, zeros: &[Option<Tensor>]) -> Result<Self> {
        let hold = |(a, zeros): (Tensor, &Option<Tensor>)| match zeros {
            Some(zeros) => zeros.where_cond(&a.zeros_like()?, &a),
            None => Ok(a),
        };
        Ok(Self(self.0.into_iter().zip(zeros).map(hold).collect::<CandleResult<_>>()?))
    }

    /// Summed in f64 (on Metal, which has none, in f32), variable by variable.
    pub(super) fn dot(&self, other: &Self) -> Result<f64> {
        let product = |(a, b): (&Tensor, &Tensor)| {
            let dtype = widest(a.device());
            kernel::number(&(a.to_dtype(dtype)? * b.to_dtype(dtype)?)?.sum_all()?)
        };
        self.pairs(other).map(product).sum()
    }

    pub(super) fn norm(&self) -> Result<f64> {
        Ok(self.dot(self)?.sqrt())
    }

    fn pairs<'v>(&'v self, other: &'v Self) -> impl Iterator<Item = (&'v Tensor, &'v Tensor)> {
        self.0.iter().zip(&other.0)
    }
}

fn widest(device: &Device) -> DType {
    if device.is_metal() { DType::F32 } else { DType::F64 }
}
