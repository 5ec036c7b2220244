//! Many CPU tensors as one job, in which no worker ever waits for a lock.
//!
//! candle keeps a tensor's numbers under a lock, and its own operations wait for workers while they hold one: a matrix product
//! reads a weight and is shared by all threads. A worker that waited for that weight would never let it end. So the thread that
//! asks takes the locks, and the workers get slices. It may hold any number of read locks, but like candle's operations only one
//! for writing, else two threads could wait for each other: new numbers are made beside the old ones, and then change places
//! with them.

use std::{array, mem};

use candle_core::{CpuStorage, Layout, Storage, StorageRef, Tensor, Var};

use super::{
    access::{not_on_cpu, write},
    chunks::{self, CHUNK, Threads},
    cpu::{self, IntoStorage, storage_dtype},
    number::{Element, for_dtype, slice, slice_mut},
    pass::Source,
    step::{OptimizerStep, Work},
};
use crate::{Penalty, Result};

/// How many tensors are locked at a time; their locks lie on the stack.
const BATCH: usize = 256;

/// Up to here a tensor is stepped beside others. Longer ones keep all threads busy one after the other, in place.
const SMALL: usize = 64 * 1024;

/// A tensor's numbers and where they are.
type View<'s> = (&'s CpuStorage, &'s Layout);

/// A tensor under its read lock.
struct Locked<'t>(StorageRef<'t>, &'t Layout);

impl<'t> Locked<'t> {
    fn new(tensor: &'t Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self(storage, layout)
    }

    fn view(&self) -> Result<View<'_>> {
        match &*self.0 {
            Storage::Cpu(storage) => Ok((storage, self.1)),
            _ => Err(not_on_cpu()),
        }
    }
}

struct Reading<'j, I, A, const K: usize> {
    item: &'j I,
    views: [View<'j>; K],
    result: Option<Result<A>>,
}

/// Reads `K` tensors of every item and hands what `run` makes of them to `each`, in the order of the items.
///
/// * `tensors`: `None` passes an item over.
pub(super) fn read<'i, I: Sync, A: Send, const K: usize>(
    items: &'i [I],
    tensors: impl Fn(&'i I) -> Option<[&'i Tensor; K]>,
    run: impl Fn(&I, [View<'_>; K]) -> Result<A> + Sync,
    mut each: impl FnMut(usize, A) -> Result<()>,
) -> Result<()> {
    for (batch, items) in items.chunks(BATCH).enumerate() {
        let locked: [Option<[Locked<'_>; K]>; BATCH] =
            array::from_fn(|index| Some(tensors(items.get(index)?)?.map(Locked::new)));
        let mut jobs: [Option<Reading<'_, I, A, K>>; BATCH] = [const { None }; BATCH];
        for ((job, locked), item) in jobs.iter_mut().zip(&locked).zip(items) {
            if let Some(locked) = locked {
                let mut views = [const { None }; K];
                for (view, locked) in views.iter_mut().zip(locked) {
                    *view = Some(locked.view()?);
                }
                if let Some(views) = all(views) {
                    *job = Some(Reading { item, views, result: None });
                }
            }
        }
        chunks::many(
            Threads::all(),
            &mut jobs[..items.len()],
            &|job| job.as_ref().map_or(0, |job| job.views.iter().map(|(_, layout)| elements(layout)).sum()),
            &|_, job| {
                if let Some(Reading { item, views, result }) = job {
                    *result = Some(run(item, *views));
                }
            },
        );
        for (index, job) in jobs.into_iter().enumerate() {
            if let Some(Reading { result: Some(result), .. }) = job {
                each(batch * BATCH + index, result?)?;
            }
        }
    }
    Ok(())
}

fn all<A: Copy, const K: usize>(values: [Option<A>; K]) -> Option<[A; K]> {
    let first = values.first().copied().flatten()?;
    let mut result = [first; K];
    for (result, value) in result.iter_mut().zip(values) {
        *result = value?;
    }
    Some(result)
}

fn elements(layout: &Layout) -> usize {
    layout.shape().elem_count()
}

/// The penalties of many tensors, in their order.
pub(super) fn values(tensors: &[(&Tensor, Penalty)]) -> Result<Vec<f64>> {
    let mut values = Vec::with_capacity(tensors.len());
    read(
        tensors,
        |(w, _)| Some([*w]),
        |(_, penalty), [(w, layout)]| cpu::value_of(w, layout, penalty),
        |_, value| {
            values.push(value);
            Ok(())
        },
    )?;
    Ok(values)
}

/// The index of the first variable whose gradient holds NaN or an infinity.
pub(super) fn first_with_non_finite_gradient(work: &[Work]) -> Result<Option<usize>> {
    let mut first = None;
    read(
        work,
        |work| work.next.as_ref().map(|(grad, _)| [grad]),
        |_, [(grad, layout)]| cpu::is_any_non_finite(grad, layout),
        |index, is_bad| {
            first = first.or(is_bad.then_some(index));
            Ok(())
        },
    )?;
    Ok(first)
}

/// `grad ← grad + ∂Ω(w)` for many pairs.
pub(super) fn add_subgradients(work: &[(Tensor, &Tensor, Penalty)]) -> Result<()> {
    let is_small = |(grad, ..): &(Tensor, &Tensor, Penalty)| grad.elem_count() <= SMALL;
    let total: usize = work.iter().filter(|pair| is_small(pair)).map(|(grad, ..)| grad.elem_count()).sum();
    let in_place = |pair: &(Tensor, &Tensor, Penalty)| !is_small(pair) || total <= CHUNK;
    for (grad, w, penalty) in work.iter().filter(|pair| in_place(pair)) {
        cpu::add_subgradient(grad, w, penalty)?;
    }
    let mut sums = Vec::new();
    read(
        work,
        |pair| (!in_place(pair)).then_some([&pair.0, pair.1]),
        |(_, _, penalty), [grad, w]| cpu::plus_subgradient(grad, w, penalty),
        |index, sum| {
            sums.push((index, sum));
            Ok(())
        },
    )?;
    sums.into_iter().try_for_each(|(index, mut sum)| exchange(&work[index].0, &mut sum))
}

/// Takes the next step of every variable. Returns the index of the first with a coordinate that was left as it was for its
/// gradient.
pub(super) fn steps(work: &mut [Work], source: Source) -> Result<Option<usize>> {
    let is_small = |work: &Work| (1..=SMALL).contains(&work.length());
    let mut first = None;
    let mut passed_over = |index: usize| first = Some(first.map_or(index, |first: usize| first.min(index)));
    let mut small = work.iter_mut().enumerate().filter(|(_, work)| is_small(work));
    loop {
        let batch: [Option<(usize, &mut Work)>; BATCH] = array::from_fn(|_| small.next());
        if batch[0].is_none() {
            break;
        }
        let total: usize = batch.iter().flatten().map(|(_, work)| work.length()).sum();
        if batch[1].is_some() && total > CHUNK {
            step_together(batch, source, &mut passed_over)?;
        } else {
            for (index, work) in batch.into_iter().flatten() {
                if cpu::step(work, source)? {
                    passed_over(index);
                }
            }
        }
    }
    for (index, work) in work.iter().enumerate().filter(|(_, work)| !is_small(work)) {
        if cpu::step(work, source)? {
            passed_over(index);
        }
    }
    Ok(first)
}

/// One variable of a batch, taken apart.
struct Part<'w> {
    index: usize,
    var: &'w Var,
    state: &'w [Var],
    grad: &'w Tensor,
    step: &'w OptimizerStep,
    spare: &'w mut CpuStorage,
}

/// What a worker gets: two locked views, and what is the optimizer's alone.
struct Job<'j> {
    w: View<'j>,
    g: View<'j>,
    state: &'j [Var],
    step: &'j OptimizerStep,
    spare: &'j mut CpuStorage,
    result: Result<bool>,
}

fn step_together(
    batch: [Option<(usize, &mut Work)>; BATCH],
    source: Source,
    passed_over: &mut impl FnMut(usize),
) -> Result<()> {
    let mut parts: [Option<Part<'_>>; BATCH] = batch.map(|work| {
        let (index, Work { var, state, next, spare, .. }) = work?;
        let (grad, step) = next.as_ref()?;
        Some(Part { index, var, state, grad, step, spare })
    });
    {
        let locked: [Option<[Locked<'_>; 2]>; BATCH] = array::from_fn(|index| {
            let Part { var, grad, .. } = parts[index].as_ref()?;
            // Not from the part itself, of which the worker changes the spare numbers.
            let (var, grad): (&Var, &Tensor) = (var, grad);
            Some([Locked::new(var), Locked::new(grad)])
        });
        let mut jobs: [Option<Job<'_>>; BATCH] = [const { None }; BATCH];
        for ((job, locked), part) in jobs.iter_mut().zip(&locked).zip(&mut parts) {
            if let (Some([w, g]), Some(Part { state, step, spare, .. })) = (locked, part) {
                let (w, g) = (w.view()?, g.view()?);
                *job = Some(Job { w, g, state, step, spare, result: Ok(false) });
            }
        }
        chunks::many(
            Threads::all(),
            &mut jobs,
            &|job| job.as_ref().map_or(0, |job| elements(job.w.1)),
            &|threads, job| {
                if let Some(Job { w, g, state, step, spare, result }) = job {
                    let dtype = storage_dtype(w.0);
                    *result = for_dtype!("w", dtype, step_beside(threads, *w, *g, state, step, spare, source));
                }
            },
        );
        let mut results = [const { Ok(false) }; BATCH];
        for (result, job) in results.iter_mut().zip(jobs) {
            if let Some(job) = job {
                *result = job.result;
            }
        }
        for (part, result) in parts.iter().zip(results) {
            if let (true, Some(part)) = (result?, part) {
                passed_over(part.index);
            }
        }
    }
    parts.into_iter().flatten().try_for_each(|part| exchange(part.var, part.spare))
}

/// Steps a copy of the weights, in the spare numbers. The locks of the state are the optimizer's own: nobody else has them.
fn step_beside<T: Element + IntoStorage>(
    threads: Threads,
    w: View<'_>,
    g: View<'_>,
    state: &[Var],
    step: &OptimizerStep,
    spare: &mut CpuStorage,
    source: Source,
) -> Result<bool> {
    let dims = w.1.dims();
    let (w, g) = (slice::<T>(w.0, w.1)?, slice::<T>(g.0, g.1)?);
    let spare = cpu::room::<T>(spare, w.len())?;
    spare.copy_from_slice(w);
    cpu::step_slices(threads, dims, spare, g, state, step, source)
}

/// Puts numbers in the place of a tensor's own, which the caller gets.
fn exchange(tensor: &Tensor, numbers: &mut CpuStorage) -> Result<()> {
    write(tensor, |own, layout| {
        let dtype = storage_dtype(own);
        for_dtype!("w", dtype, exchange_typed(own, layout, numbers))
    })
}

fn exchange_typed<T: Element + IntoStorage>(
    own: &mut CpuStorage,
    layout: &Layout,
    numbers: &mut CpuStorage,
) -> Result<()> {
    let is_whole = T::slice(own).map(<[T]>::len) == T::slice(numbers).map(<[T]>::len)
        && layout.contiguous_offsets() == T::slice(own).map(|own| (0, own.len()));
    if is_whole {
        mem::swap(own, numbers);
    } else {
        let numbers = cpu::room::<T>(numbers, elements(layout))?;
        slice_mut::<T>(own, layout)?.swap_with_slice(numbers);
    }
    Ok(())
}
