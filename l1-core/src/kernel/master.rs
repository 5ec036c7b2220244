//! The f32 copy of a variable in bf16 or f16: the copy is what is stepped, and the variable is its rounding.
//!
//! For the length of a step the copy and the widened gradient stand in the places of the variable and its gradient, so that no kernel
//! knows of it: a step of the copy is a step of an f32 model.

use std::mem;

use candle_core::{CpuStorage, DType, Layout, Tensor, Var};

use super::{
    access::{read, write},
    chunks::{Threads, cut},
    composed,
    cpu::storage_dtype,
    number::{Element, for_dtype, slice, slice_mut},
    on_cpu, simd,
    step::Work,
};
use crate::Result;

/// The f32 copy of a half variable, and where its gradient is widened to.
#[derive(Debug)]
pub struct Master {
    weights: Var,
    gradient: Tensor,
}

impl Master {
    /// A copy of a variable in bf16 or f16; none of another, which is stepped as it is.
    ///
    /// # Errors
    /// Candle's.
    pub fn of(var: &Var) -> Result<Option<Self>> {
        if !is_half(var.dtype()) {
            return Ok(None);
        }
        let weights = Var::from_tensor(&wide(var)?)?;
        let gradient = Tensor::zeros(var.shape(), DType::F32, var.device())?;
        Ok(Some(Self { weights, gradient }))
    }

    /// The copy.
    #[must_use]
    pub fn weights(&self) -> &Var {
        &self.weights
    }

    /// Where its gradient is.
    pub(super) fn gradient_mut(&mut self) -> &mut Tensor {
        &mut self.gradient
    }

    /// Begins anew from a variable as it is.
    pub(crate) fn restart(&self, var: &Var) -> Result<()> {
        if var.elem_count() > 0 {
            self.weights.set(&wide(var)?)?;
        }
        Ok(())
    }
}

pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::BF16 | DType::F16)
}

fn wide(var: &Var) -> Result<Tensor> {
    Ok(var.as_detached_tensor().to_dtype(DType::F32)?)
}

impl Work {
    /// Keeps an f32 copy of a half variable from now on.
    ///
    /// # Errors
    /// Candle's.
    pub fn with_master(self) -> Result<Self> {
        let master = Master::of(&self.var)?;
        Ok(Self { master, ..self })
    }

    /// The f32 copy, if one is kept.
    #[must_use]
    pub fn copy(&self) -> Option<&Var> {
        self.master.as_ref().map(Master::weights)
    }

    /// Puts the copy in the place of the variable, and back.
    pub(super) fn change_places(&mut self) {
        if let (Some(master), Some((grad, _))) = (&mut self.master, &mut self.next) {
            mem::swap(&mut self.var, &mut master.weights);
            mem::swap(grad, &mut master.gradient);
        }
    }
}

/// Makes the copies ready for a step: entries that others have changed since the last one (a model that was loaded, say) are taken
/// from the variable, and the gradients are widened.
pub(super) fn take_up(work: &mut [Work]) -> Result<()> {
    for Work { var, next, master, .. } in work {
        if let (Some(master), Some((grad, _))) = (master, next)
            && var.elem_count() > 0
        {
            follow(&master.weights, var)?;
            if on_cpu(grad) {
                widen(grad, &master.gradient)?;
            } else {
                master.gradient = grad.to_dtype(DType::F32)?;
            }
        }
    }
    Ok(())
}

/// Rounds the copies into their variables after a step.
pub(super) fn hand_out(work: &[Work]) -> Result<()> {
    for Work { var, next, master, .. } in work {
        if let (Some(master), Some(_)) = (master, next)
            && var.elem_count() > 0
        {
            round(&master.weights, var)?;
        }
    }
    Ok(())
}

/// Takes the entries of which a copy is not the source: where its rounding is not what the variable holds, or that is NaN.
///
/// # Errors
/// Candle's.
pub fn follow(copy: &Var, var: &Var) -> Result<()> {
    if on_cpu(var) { on_slices(var, copy, Job::Follow) } else { composed::follow(copy, var) }
}

/// Rounds a copy into its variable.
///
/// # Errors
/// Candle's.
pub fn round(copy: &Var, var: &Var) -> Result<()> {
    if !on_cpu(var) {
        return Ok(var.set(&copy.as_detached_tensor().to_dtype(var.dtype())?)?);
    }
    read(copy, |copy, copy_layout| {
        write(var, |var, layout| for_dtype!("w", storage_dtype(var), round_typed(copy, copy_layout, var, layout)))
    })
}

/// A gradient in f32, written in place.
fn widen(grad: &Tensor, to: &Tensor) -> Result<()> {
    on_slices(grad, to, Job::Widen)
}

/// What is written into f32 numbers from half ones.
#[derive(Clone, Copy)]
enum Job {
    Follow,
    Widen,
}

fn on_slices(half: &Tensor, wide: &Tensor, job: Job) -> Result<()> {
    read(half, |half, half_layout| {
        write(wide, |wide, layout| {
            for_dtype!("w", storage_dtype(half), on_slices_typed(half, half_layout, wide, layout, job))
        })
    })
}

fn on_slices_typed<T: Element>(
    half: &CpuStorage,
    half_layout: &Layout,
    wide: &mut CpuStorage,
    layout: &Layout,
    job: Job,
) -> Result<()> {
    let (half, wide) = (slice::<T>(half, half_layout)?, slice_mut::<T::Real>(wide, layout)?);
    match job {
        Job::Follow => zip(Threads::all(), half, wide, &follow_slice::<T>),
        Job::Widen => zip(Threads::all(), half, wide, &T::load_all),
    }
    Ok(())
}

fn round_typed<T: Element>(copy: &CpuStorage, copy_layout: &Layout, w: &mut CpuStorage, layout: &Layout) -> Result<()> {
    let (copy, w) = (slice::<T::Real>(copy, copy_layout)?, slice_mut::<T>(w, layout)?);
    zip(Threads::all(), copy, w, &T::store_all);
    Ok(())
}

/// Runs a loop over two slices of one length, on all threads.
fn zip<A: Sync, B: Send>(threads: Threads, from: &[A], to: &mut [B], run: &(impl Fn(&[A], &mut [B]) + Sync)) {
    let Some(at) = cut(to.len()) else { return run(from, to) };
    let (from, from_rest) = from.split_at(at);
    let (to, to_rest) = to.split_at_mut(at);
    threads.both(|threads| zip(threads, from, to, run), |threads| zip(threads, from_rest, to_rest, run));
}

/// Numbers that are rounded together: they stay in the first-level cache.
const BLOCK: usize = 256;

fn follow_slice<T: Element>(w: &[T], copy: &mut [T::Real]) {
    let mut rounded = [T::store(T::Real::default()); BLOCK];
    let (mut of_w, mut of_copy) = ([T::Real::default(); BLOCK], [T::Real::default(); BLOCK]);
    for (w, copy) in w.chunks(BLOCK).zip(copy.chunks_mut(BLOCK)) {
        let (rounded, of_w, of_copy) = (&mut rounded[..w.len()], &mut of_w[..w.len()], &mut of_copy[..w.len()]);
        T::store_all(copy, rounded);
        T::load_all(rounded, of_copy);
        T::load_all(w, of_w);
        simd::run(Take { of_w, of_copy, copy });
    }
}

struct Take<'a, R> {
    of_w: &'a [R],
    of_copy: &'a [R],
    copy: &'a mut [R],
}

impl<R: Copy + PartialEq> simd::Loop for Take<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { of_w, of_copy, copy } = self;
        for ((w, rounded), copy) in of_w.iter().zip(of_copy).zip(copy) {
            // Without a branch; NaN equals nothing.
            *copy = if rounded == w { *copy } else { *w };
        }
    }
}
