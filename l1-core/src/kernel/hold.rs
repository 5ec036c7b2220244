//! Zeros that a frozen support holds: before a step all that would move them is taken away.
//!
//! A step that finds no gradient and nothing gathered at an entry that is 0 leaves it at 0, whatever the optimizer. So the steps
//! themselves know nothing of it.

use candle_core::{CpuStorage, Layout, Tensor, Var};

use super::{
    access::{read, write},
    chunks::Threads,
    composed, cpu, is_half,
    master::Master,
    number::{Element, Real, for_dtype, slice, slice_mut},
    on_cpu,
    pass::{Coordinate, Source, pass},
    step::Work,
};
use crate::Result;

/// What is done about the zeros of a variable before a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// Nothing: they may move.
    #[default]
    Nothing,
    /// They are held.
    Zeros,
    /// They are held, and the first tensor of the state is cleared as a whole.
    ZerosAnew,
}

/// Holds the zeros of the variables that say so. Their gradients are replaced by copies: a gradient belongs to the caller.
pub(super) fn hold(work: &mut [Work]) -> Result<()> {
    for work in work {
        if work.hold == Hold::Nothing {
            work.held_gradient = None;
        } else if work.next.is_some() && work.var.elem_count() > 0 {
            hold_one(work)?;
        }
    }
    Ok(())
}

fn hold_one(work: &mut Work) -> Result<()> {
    let Work { var, state, next, master, held_gradient, hold, .. } = work;
    let Some((grad, _)) = next else { return Ok(()) };
    let gathered = state.first();
    if let (Hold::ZerosAnew, Some(gathered)) = (*hold, gathered) {
        gathered.set(&gathered.zeros_like()?)?;
    }
    // An f32 copy has been given a gradient of its own.
    let also = [gathered.cloned(), master.as_ref().map(|master| master.weights().clone())];
    let of_copy = master.as_mut().map(Master::gradient_mut);
    if !on_cpu(var) {
        let w = var.as_detached_tensor();
        for tensor in also.into_iter().flatten() {
            tensor.set(&composed::cleared(&tensor.as_detached_tensor(), &w)?)?;
        }
        let grad = of_copy.unwrap_or(grad);
        *grad = composed::held(grad, &w)?;
        return Ok(());
    }
    let also = also.each_ref().map(Option::as_ref);
    if let Some(of_copy) = of_copy {
        return hold_in_place(of_copy, var, also);
    }
    let is_room = held_gradient.as_ref().is_some_and(|held| held.shape() == grad.shape());
    if !is_room {
        *held_gradient = Some(Tensor::zeros(grad.shape(), grad.dtype(), grad.device())?);
    }
    if let Some(held) = held_gradient {
        copy_into(grad, held)?;
        hold_in_place(held, var, also)?;
        *grad = held.clone();
    }
    Ok(())
}

/// The gradient with 0 where `w` is 0 and it is finite: in place on the CPU, else as a new tensor.
pub(crate) fn hold_gradient(grad: Tensor, w: &Tensor) -> Result<Tensor> {
    if grad.elem_count() == 0 {
        return Ok(grad);
    }
    if !on_cpu(&grad) {
        return composed::held(&grad, w);
    }
    hold_in_place(&grad, w, [None, None])?;
    Ok(grad)
}

/// `w ← 0` where `before` is 0, whatever it has become.
pub(crate) fn put_back_zeros(w: &Var, before: &Tensor) -> Result<()> {
    if w.elem_count() == 0 {
        return Ok(());
    }
    if !on_cpu(w) {
        return Ok(w.set(&composed::cleared(&w.as_detached_tensor(), before)?)?);
    }
    read(before, |before, before_layout| {
        write(w, |w, layout| for_dtype!("w", cpu::storage_dtype(w), put_back_typed(w, layout, before, before_layout)))
    })
}

fn put_back_typed<T: Element>(
    w: &mut CpuStorage,
    layout: &Layout,
    before: &CpuStorage,
    before_layout: &Layout,
) -> Result<()> {
    let (w, before) = (slice_mut::<T>(w, layout)?, slice::<T>(before, before_layout)?);
    pass::<T, T, 0>(Threads::all(), Cleared, w, before, [], Source::Checked);
    Ok(())
}

fn copy_into(from: &Tensor, to: &Tensor) -> Result<()> {
    read(from, |from, from_layout| {
        write(to, |to, layout| {
            for_dtype!("gradient", cpu::storage_dtype(to), copy_typed(from, from_layout, to, layout))
        })
    })
}

fn copy_typed<T: Element>(from: &CpuStorage, from_layout: &Layout, to: &mut CpuStorage, layout: &Layout) -> Result<()> {
    slice_mut::<T>(to, layout)?.copy_from_slice(slice::<T>(from, from_layout)?);
    Ok(())
}

/// * `grad`: of the dtype of `w`, or in f32 for the copy of a half variable.
/// * `also`: what is cleared at zeros whatever it is.
fn hold_in_place(grad: &Tensor, w: &Tensor, also: [Option<&Var>; 2]) -> Result<()> {
    let is_of_copy = is_half(w.dtype()) && !is_half(grad.dtype());
    read(w, |w, w_layout| {
        write(grad, |grad, layout| {
            let dtype = cpu::storage_dtype(w);
            if is_of_copy {
                for_dtype!("w", dtype, hold_copy_typed(grad, layout, w, w_layout, also))
            } else {
                for_dtype!("w", dtype, hold_typed(grad, layout, w, w_layout, also))
            }
        })
    })
}

fn hold_copy_typed<T: Element>(
    grad: &mut CpuStorage,
    layout: &Layout,
    w: &CpuStorage,
    w_layout: &Layout,
    also: [Option<&Var>; 2],
) -> Result<()> {
    hold_slices::<T::Real, T>(slice_mut::<T::Real>(grad, layout)?, slice::<T>(w, w_layout)?, also)
}

fn hold_typed<T: Element>(
    grad: &mut CpuStorage,
    layout: &Layout,
    w: &CpuStorage,
    w_layout: &Layout,
    also: [Option<&Var>; 2],
) -> Result<()> {
    hold_slices::<T, T>(slice_mut::<T>(grad, layout)?, slice::<T>(w, w_layout)?, also)
}

fn hold_slices<G: Element, W: Element<Real = G::Real>>(grad: &mut [G], w: &[W], also: [Option<&Var>; 2]) -> Result<()> {
    let held = |grad: &mut [G], state: [Option<&mut [G::Real]>; 2]| {
        match state {
            [Some(one), Some(other)] => pass::<G, W, 2>(Threads::all(), Held, grad, w, [one, other], Source::Checked),
            [Some(one), None] | [None, Some(one)] => {
                pass::<G, W, 1>(Threads::all(), Held, grad, w, [one], Source::Checked)
            }
            [None, None] => pass::<G, W, 0>(Threads::all(), Held, grad, w, [], Source::Checked),
        };
    };
    let [one, other] = also;
    with_slice::<G::Real, _>(one, |one| {
        with_slice::<G::Real, _>(other, |other| {
            held(grad, [one, other]);
            Ok(())
        })
    })
}

/// Locks a tensor, if there is one, and hands its slice over.
fn with_slice<R: Element, A>(tensor: Option<&Var>, then: impl FnOnce(Option<&mut [R]>) -> Result<A>) -> Result<A> {
    match tensor {
        None => then(None),
        Some(tensor) => write(tensor, |storage, layout| then(Some(slice_mut::<R>(storage, layout)?))),
    }
}

/// One entry: its gradient and what it has gathered, with the weight in the place of a gradient.
#[derive(Clone, Copy)]
struct Held;

impl<R: Real, const N: usize> Coordinate<R, N> for Held {
    #[inline(always)]
    fn at(&self, grad: R, w: R, gathered: &mut [R; N]) -> R {
        let is_zero = w == R::zero();
        for gathered in gathered {
            *gathered = if is_zero { R::zero() } else { *gathered };
        }
        // NaN and ∞ stay, so that a guard finds them.
        if is_zero & grad.is_finite() { R::zero() } else { grad }
    }
}

/// One entry: 0 where it was 0 before.
#[derive(Clone, Copy)]
struct Cleared;

impl<R: Real> Coordinate<R, 0> for Cleared {
    #[inline(always)]
    fn at(&self, w: R, before: R, _: &mut [R; 0]) -> R {
        if before == R::zero() { R::zero() } else { w }
    }
}
