//! The operations on CPU tensors: one pass over memory each.
//!
//! Operands are contiguous and of one dtype (moments: the dtype of the arithmetic); the callers in [`super`] see to that.

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use num_traits::Float;

use super::{
    access::{read, write},
    chunks,
    formula::{AdamWCoefficients, Charge, SgdCoefficients, Sums},
    norm::Norm,
    number::{Element, Real, for_dtype, slice, slice_mut},
    step::{AdamWStep, Counts, SgdStep, Step},
};
use crate::{Penalty, Result};

/// `Ω(w)`; see [`super::value`].
pub fn value(w: &Tensor, penalty: &Penalty) -> Result<f64> {
    read(w, |storage, layout| value_of(storage, layout, penalty))
}

pub(super) fn value_of(storage: &CpuStorage, layout: &Layout, penalty: &Penalty) -> Result<f64> {
    for_dtype!("w", storage_dtype(storage), value_typed(storage, layout, penalty))
}

fn storage_dtype(storage: &CpuStorage) -> candle_core::DType {
    use candle_core::backend::BackendStorage;
    storage.dtype()
}

fn value_typed<T: Element>(storage: &CpuStorage, layout: &Layout, penalty: &Penalty) -> Result<f64> {
    let chunk = |values: &[T]| {
        let mut sums = Sums { abs: 0.0, squares: 0.0, negative: false };
        for value in values {
            let value = value.load().wide();
            sums.abs += value.abs();
            sums.squares += value * value;
            sums.negative |= value < 0.0;
        }
        sums
    };
    let add = |a: Sums, b: Sums| Sums {
        abs: a.abs + b.abs,
        squares: a.squares + b.squares,
        negative: a.negative | b.negative,
    };
    let sums = chunks::reduce(slice::<T>(storage, layout)?, chunk, add);
    Ok(sums.map_or(0.0, |sums| sums.value(penalty)))
}

/// `grad ← grad + ∂Ω(w)` in place; both contiguous, of one dtype.
pub fn add_subgradient(grad: &Tensor, w: &Tensor, penalty: &Penalty) -> Result<()> {
    read(w, |w, w_layout| {
        write(grad, |grad, layout| {
            for_dtype!("w", storage_dtype(w), add_subgradient_typed(grad, layout, w, w_layout, penalty))
        })
    })
}

fn add_subgradient_typed<T: Element>(
    grad: &mut CpuStorage,
    layout: &Layout,
    w: &CpuStorage,
    w_layout: &Layout,
    penalty: &Penalty,
) -> Result<()> {
    let charge = Charge::<T::Real>::new(penalty);
    chunks::zip2(slice_mut::<T>(grad, layout)?, slice::<T>(w, w_layout)?, |grad, w| {
        *grad = T::store(grad.load() + charge.subgradient(w.load()));
    });
    Ok(())
}

/// A new tensor with `factor · ∂Ω(w)`, where `factor` is a scalar tensor: what `backward` asks of the penalty.
pub(super) struct Subgradient(pub(super) Penalty);

impl CustomOp2 for Subgradient {
    fn name(&self) -> &'static str {
        "l1-subgradient"
    }

    fn cpu_fwd(
        &self,
        w: &CpuStorage,
        w_layout: &Layout,
        factor: &CpuStorage,
        factor_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let factor = match factor {
            CpuStorage::F32(values) => f64::from(values[factor_layout.start_offset()]),
            CpuStorage::F64(values) => values[factor_layout.start_offset()],
            _ => candle_core::bail!("l1: the gradient of a penalty is neither f32 nor f64"),
        };
        let result = for_dtype!("w", storage_dtype(w), subgradient_typed(w, w_layout, factor, &self.0))?;
        Ok((result, w_layout.shape().clone()))
    }
}

fn subgradient_typed<T: Element + IntoStorage>(
    w: &CpuStorage,
    layout: &Layout,
    factor: f64,
    penalty: &Penalty,
) -> Result<CpuStorage> {
    let (charge, factor) = (Charge::<T::Real>::new(penalty), T::Real::of(factor));
    let w = slice::<T>(w, layout)?;
    let mut result = w.to_vec();
    chunks::each(&mut result, |w| *w = T::store(factor * charge.subgradient(w.load())));
    Ok(T::storage(result))
}

/// A vector as candle's storage.
pub(super) trait IntoStorage: Sized {
    fn storage(values: Vec<Self>) -> CpuStorage;
}

macro_rules! into_storage {
    ($($type:ty => $variant:ident),*) => {$(
        impl IntoStorage for $type {
            fn storage(values: Vec<Self>) -> CpuStorage {
                CpuStorage::$variant(values)
            }
        }
    )*};
}

into_storage!(f32 => F32, f64 => F64, half::bf16 => BF16, half::f16 => F16);

/// `w ← prox(w)` in place; see [`super::prox`].
pub fn prox_in_place(w: &Tensor, penalty: &Penalty, step: Step<'_>) -> Result<()> {
    match step {
        Step::Scalar(step) => write(w, |storage, layout| {
            for_dtype!("w", storage_dtype(storage), prox_scalar(storage, layout, penalty, step))
        }),
        Step::Diagonal(steps) => read(steps, |steps, steps_layout| {
            write(w, |storage, layout| {
                for_dtype!("w", storage_dtype(storage), prox_diagonal(storage, layout, penalty, steps, steps_layout))
            })
        }),
    }
}

fn prox_scalar<T: Element>(w: &mut CpuStorage, layout: &Layout, penalty: &Penalty, step: f64) -> Result<()> {
    let (charge, step) = (Charge::<T::Real>::new(penalty), T::Real::of(step));
    chunks::each(slice_mut::<T>(w, layout)?, |w| *w = T::store(charge.prox(w.load(), step)));
    Ok(())
}

fn prox_diagonal<T: Element>(
    w: &mut CpuStorage,
    layout: &Layout,
    penalty: &Penalty,
    steps: &CpuStorage,
    steps_layout: &Layout,
) -> Result<()> {
    let charge = Charge::<T::Real>::new(penalty);
    chunks::zip2(slice_mut::<T>(w, layout)?, slice::<T::Real>(steps, steps_layout)?, |w, step| {
        *w = T::store(charge.prox(w.load(), *step));
    });
    Ok(())
}

/// One step of proximal SGD in place; see [`SgdStep`].
pub fn sgd_step(w: &Tensor, grad: &Tensor, buffer: Option<&Tensor>, step: &SgdStep) -> Result<()> {
    read(grad, |grad, grad_layout| {
        write(w, |w, layout| {
            let dtype = storage_dtype(w);
            match buffer {
                None => for_dtype!("w", dtype, sgd_plain(w, layout, grad, grad_layout, step)),
                Some(buffer) => write(buffer, |buffer, buffer_layout| {
                    let buffer = (buffer, buffer_layout);
                    for_dtype!("w", dtype, sgd_with_momentum((w, layout), (grad, grad_layout), buffer, step))
                }),
            }
        })
    })
}

fn sgd_plain<T: Element>(
    w: &mut CpuStorage,
    layout: &Layout,
    grad: &CpuStorage,
    grad_layout: &Layout,
    step: &SgdStep,
) -> Result<()> {
    let coefficients = SgdCoefficients::<T::Real>::new(step);
    chunks::zip2(slice_mut::<T>(w, layout)?, slice::<T>(grad, grad_layout)?, |w, g| {
        *w = T::store(coefficients.plain(w.load(), g.load()));
    });
    Ok(())
}

fn sgd_with_momentum<T: Element>(
    w: (&mut CpuStorage, &Layout),
    grad: (&CpuStorage, &Layout),
    buffer: (&mut CpuStorage, &Layout),
    step: &SgdStep,
) -> Result<()> {
    let coefficients = SgdCoefficients::<T::Real>::new(step);
    let buffer = slice_mut::<T::Real>(buffer.0, buffer.1)?;
    chunks::zip3(slice_mut::<T>(w.0, w.1)?, slice::<T>(grad.0, grad.1)?, buffer, |w, g, b| {
        *w = T::store(coefficients.with_momentum(w.load(), g.load(), b));
    });
    Ok(())
}

/// One step of proximal AdamW in place; see [`AdamWStep`].
pub fn adamw_step(w: &Tensor, grad: &Tensor, m: &Tensor, v: &Tensor, step: &AdamWStep) -> Result<()> {
    read(grad, |grad, grad_layout| {
        write(w, |w, w_layout| {
            write(m, |m, m_layout| {
                write(v, |v, v_layout| {
                    let (dtype, grad) = (storage_dtype(w), (grad, grad_layout));
                    for_dtype!("w", dtype, adamw_typed((w, w_layout), grad, (m, m_layout), (v, v_layout), step))
                })
            })
        })
    })
}

fn adamw_typed<T: Element>(
    w: (&mut CpuStorage, &Layout),
    grad: (&CpuStorage, &Layout),
    m: (&mut CpuStorage, &Layout),
    v: (&mut CpuStorage, &Layout),
    step: &AdamWStep,
) -> Result<()> {
    let coefficients = AdamWCoefficients::<T::Real>::new(step);
    let (m, v) = (slice_mut::<T::Real>(m.0, m.1)?, slice_mut::<T::Real>(v.0, v.1)?);
    chunks::zip4(slice_mut::<T>(w.0, w.1)?, slice::<T>(grad.0, grad.1)?, m, v, |w, g, m, v| {
        *w = T::store(coefficients.step(w.load(), g.load(), m, v));
    });
    Ok(())
}

/// Zeros and `‖w‖₁`; see [`Counts`].
pub fn counts(w: &Tensor) -> Result<Counts> {
    read(w, |storage, layout| for_dtype!("w", storage_dtype(storage), counts_typed(storage, layout)))
}

fn counts_typed<T: Element>(storage: &CpuStorage, layout: &Layout) -> Result<Counts> {
    let chunk = |values: &[T]| {
        values.iter().fold(Counts::default(), |counts, value| {
            let value = value.load().wide();
            Counts { zeros: counts.zeros + usize::from(value == 0.0), l1_norm: counts.l1_norm + value.abs() }
        })
    };
    let add = |a: Counts, b: Counts| Counts { zeros: a.zeros + b.zeros, l1_norm: a.l1_norm + b.l1_norm };
    Ok(chunks::reduce(slice::<T>(storage, layout)?, chunk, add).unwrap_or_default())
}

/// The first entry that is NaN or infinite, with its index in row-major order.
pub fn first_non_finite(tensor: &Tensor) -> Result<Option<(usize, f64)>> {
    read(tensor, |storage, layout| {
        for_dtype!("tensor", storage_dtype(storage), first_non_finite_typed(storage, layout))
    })
}

fn first_non_finite_typed<T: Element>(storage: &CpuStorage, layout: &Layout) -> Result<Option<(usize, f64)>> {
    let values = slice::<T>(storage, layout)?;
    let at = chunks::find_first(values, |value| !value.load().is_finite());
    Ok(at.map(|at| (at, values[at].load().wide())))
}

/// `(Σ|xᵢ|ᵖ)^(1/p)`, NaN if an entry is NaN.
pub fn norm(tensor: &Tensor, norm: Norm) -> Result<f64> {
    read(tensor, |storage, layout| for_dtype!("tensor", storage_dtype(storage), norm_typed(storage, layout, norm)))
}

fn norm_typed<T: Element>(storage: &CpuStorage, layout: &Layout, norm: Norm) -> Result<f64> {
    let values = slice::<T>(storage, layout)?;
    Ok(match norm {
        Norm::L1 => sum(values, f64::abs),
        Norm::L2 => power_norm(values, 2.0, |x| x * x),
        Norm::Inf => largest(values),
        Norm::P(p) => power_norm(values, p, |x| x.abs().powf(p)),
    })
}

/// `(Σ power(x))^(1/p)`, by way of `x/max|x|` where the powers overflow or vanish.
fn power_norm<T: Element>(values: &[T], p: f64, power: impl Fn(f64) -> f64 + Sync) -> f64 {
    let root = |sum: f64| if p == 2.0 { sum.sqrt() } else { sum.powf(p.recip()) };
    let plain = sum(values, &power);
    if plain.is_normal() || plain.is_nan() {
        return root(plain);
    }
    match largest(values) {
        unit if unit == 0.0 || !unit.is_finite() => unit,
        unit => unit * root(sum(values, |x| power(x / unit))),
    }
}

/// `max|x|`, NaN if an entry is.
fn largest<T: Element>(values: &[T]) -> f64 {
    // f64::max would drop a NaN.
    let larger = |a: f64, b: f64| if a > b || a.is_nan() { a } else { b };
    let chunk = |values: &[T]| values.iter().map(|value| value.load().wide().abs()).fold(0.0, larger);
    chunks::reduce(values, chunk, larger).unwrap_or(0.0)
}

fn sum<T: Element>(values: &[T], term: impl Fn(f64) -> f64 + Sync) -> f64 {
    let chunk = |values: &[T]| values.iter().map(|value| term(value.load().wide())).sum::<f64>();
    chunks::reduce(values, chunk, |a, b| a + b).unwrap_or(0.0)
}
