//! The operations on CPU tensors: one pass over memory each, on all cores.
//!
//! Operands are contiguous and of one dtype (state: the dtype of the arithmetic); the callers in [`super`] see to that.

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor, Var};
use num_traits::Float;

use super::{
    access::{read, write},
    chunks::{self, Threads},
    formula::{
        AdamW, AmsGrad, Charge, DiagonalProx, Ftrl, Fused, MeanSquare, Momentum, Move, OwnSquare, Plus,
        PlusSubgradient, Prox, Sgd, Square, Stay, StayInMetric, Subgradient, Sums, Times,
    },
    lanes::{self, Fold, LANES},
    norm::Norm,
    number::{Element, Real, for_dtype, slice, slice_mut},
    pass::{Source, map, pass},
    proximal::{self, Approach},
    simd,
    step::{Counts, OptimizerStep, Step, Work},
};
use crate::{Error, Grouping, Penalty, Result, scalar::Scalar};

/// `Ω(w)`; see [`super::value`].
pub fn value(w: &Tensor, penalty: &Penalty) -> Result<f64> {
    read(w, |storage, layout| value_of(storage, layout, penalty))
}

pub(super) fn value_of(storage: &CpuStorage, layout: &Layout, penalty: &Penalty) -> Result<f64> {
    for_dtype!("w", storage_dtype(storage), value_typed(storage, layout, penalty))
}

/// Whether a penalty has a prox fused into every formula, on a tensor of this shape.
fn is_plain(penalty: &Penalty, dims: &[usize]) -> Result<bool> {
    Ok(proximal::is_plain(penalty, proximal::layout("w", penalty, dims)?))
}

pub(super) fn storage_dtype(storage: &CpuStorage) -> candle_core::DType {
    use candle_core::backend::BackendStorage;
    storage.dtype()
}

fn value_typed<T: Element>(storage: &CpuStorage, layout: &Layout, penalty: &Penalty) -> Result<f64> {
    let values = slice::<T>(storage, layout)?;
    if !is_plain(penalty, layout.dims())? {
        // The curve, and then what is left of the penalty.
        let rest = value_typed::<T>(storage, layout, &penalty.with_lambda(0.0))?;
        return Ok(rest + proximal::of_curve(penalty, layout.dims(), values)?);
    }
    // What the penalty does not ask for is not summed.
    let sums = match (penalty.l2() != 0.0, penalty.positive()) {
        (false, false) => sums::<T, false, false>(values),
        (true, false) => sums::<T, true, false>(values),
        (false, true) => sums::<T, false, true>(values),
        (true, true) => sums::<T, true, true>(values),
    };
    Ok(sums.value(penalty))
}

fn sums<T: Element, const SQUARES: bool, const SIGNS: bool>(values: &[T]) -> Sums {
    let chunk = |values: &[T]| simd::run(SumsOf::<T, SQUARES, SIGNS>(values));
    chunks::reduce(values, &chunk, &|a: Sums, b| Sums {
        abs: a.abs + b.abs,
        squares: a.squares + b.squares,
        negative: a.negative | b.negative,
    })
}

struct SumsOf<'a, T, const SQUARES: bool, const SIGNS: bool>(&'a [T]);

impl<T: Element, const SQUARES: bool, const SIGNS: bool> simd::Loop for SumsOf<'_, T, SQUARES, SIGNS> {
    type Output = Sums;

    #[inline(always)]
    fn run(self) -> Sums {
        let mut lanes = Lanes::<SQUARES, SIGNS> { abs: [0.0; LANES], squares: [0.0; LANES], least: [0.0; LANES] };
        lanes::fold(self.0, &mut lanes);
        let negative = SIGNS && lanes::joined(lanes.least, f64::min) < 0.0;
        Sums { abs: lanes::total(lanes.abs), squares: lanes::total(lanes.squares), negative }
    }
}

struct Lanes<const SQUARES: bool, const SIGNS: bool> {
    abs: [f64; LANES],
    squares: [f64; LANES],
    least: [f64; LANES],
}

impl<const SQUARES: bool, const SIGNS: bool> Fold for Lanes<SQUARES, SIGNS> {
    #[inline(always)]
    fn add(&mut self, lane: usize, value: f64) {
        self.abs[lane] += value.abs();
        if SQUARES {
            self.squares[lane] += value * value;
        }
        if SIGNS {
            self.least[lane] = self.least[lane].min(value);
        }
    }
}

/// Whether there is nothing to write. candle refuses to write to a shape such as 2×0, whose strides hold a 0.
fn is_empty(tensor: &Tensor) -> bool {
    tensor.elem_count() == 0
}

/// `grad ← grad + ∂Ω(w)` in place; both contiguous, of one dtype.
pub fn add_subgradient(grad: &Tensor, w: &Tensor, penalty: &Penalty) -> Result<()> {
    if is_empty(grad) {
        return Ok(());
    }
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
    add_to::<T>(slice_mut::<T>(grad, layout)?, slice::<T>(w, w_layout)?, layout.dims(), penalty)
}

fn add_to<T: Element>(grad: &mut [T], w: &[T], dims: &[usize], penalty: &Penalty) -> Result<()> {
    if is_plain(penalty, dims)? {
        let formula = PlusSubgradient(Charge::<T::Real>::new(penalty));
        pass::<T, T, 0>(Threads::all(), formula, grad, w, [], Source::Checked);
    } else {
        let subgradient = proximal::subgradient::<T>(penalty, dims, w)?;
        pass::<T, T::Real, 0>(Threads::all(), Plus, grad, &subgradient, [], Source::Checked);
    }
    Ok(())
}

/// `grad + ∂Ω(w)` in new numbers.
pub(super) fn plus_subgradient(
    grad: (&CpuStorage, &Layout),
    w: (&CpuStorage, &Layout),
    penalty: &Penalty,
) -> Result<CpuStorage> {
    for_dtype!("w", storage_dtype(w.0), plus_subgradient_typed(grad, w, penalty))
}

fn plus_subgradient_typed<T: Element + IntoStorage>(
    grad: (&CpuStorage, &Layout),
    w: (&CpuStorage, &Layout),
    penalty: &Penalty,
) -> Result<CpuStorage> {
    let mut sum = slice::<T>(grad.0, grad.1)?.to_vec();
    add_to::<T>(&mut sum, slice::<T>(w.0, w.1)?, w.1.dims(), penalty)?;
    Ok(T::storage(sum))
}

/// `∂Ω(w)` of a contiguous tensor, as a new one.
pub(super) fn subgradient(w: &Tensor, penalty: &Penalty) -> Result<Tensor> {
    let factor = Tensor::ones((), candle_core::DType::F64, w.device())?;
    Ok(w.apply_op2_no_bwd(&factor, &ScaledSubgradient(*penalty))?)
}

/// A new tensor with `factor · ∂Ω(w)`, where `factor` is a scalar tensor: what `backward` asks of the penalty.
pub(super) struct ScaledSubgradient(pub(super) Penalty);

impl CustomOp2 for ScaledSubgradient {
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
    let factor = T::Real::of(factor);
    let w = slice::<T>(w, layout)?;
    let mut result = vec![T::default(); w.len()];
    if is_plain(penalty, layout.dims())? {
        let formula = Subgradient { charge: Charge::new(penalty), factor };
        pass::<T, T, 0>(Threads::all(), formula, &mut result, w, [], Source::Checked);
    } else {
        let subgradient = proximal::subgradient::<T>(penalty, layout.dims(), w)?;
        pass::<T, T::Real, 0>(Threads::all(), Times(factor), &mut result, &subgradient, [], Source::Checked);
    }
    Ok(T::storage(result))
}

/// A vector as candle's storage.
pub(super) trait IntoStorage: Clone + Default {
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

/// A storage as a slice of this many numbers; made anew where it is none.
pub(super) fn room<T: Element + IntoStorage>(storage: &mut CpuStorage, length: usize) -> Result<&mut [T]> {
    if T::slice(storage).is_none_or(|values| values.len() != length) {
        *storage = T::storage(vec![T::default(); length]);
    }
    T::slice_mut(storage).ok_or_else(super::number::wrong_dtype)
}

/// `w ← prox(w)` in place; see [`super::prox`].
pub fn prox_in_place(w: &Tensor, penalty: &Penalty, step: Step<'_>) -> Result<()> {
    if is_empty(w) {
        return Ok(());
    }
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
    let (w, step) = (slice_mut::<T>(w, layout)?, T::Real::of(step));
    if is_plain(penalty, layout.dims())? {
        map(Threads::all(), Prox { charge: Charge::new(penalty), step }, w);
        return Ok(());
    }
    let prox = proximal::Prox::new(penalty, layout.dims(), 1.0, Approach::Exact)?;
    // Nothing is read in the place of a gradient.
    let g = w.to_vec();
    proximal::run::<T, T, 0>(Threads::all(), &Stay(step), &prox, w, &g, [], Source::Checked)?;
    Ok(())
}

fn prox_diagonal<T: Element>(
    w: &mut CpuStorage,
    layout: &Layout,
    penalty: &Penalty,
    steps: &CpuStorage,
    steps_layout: &Layout,
) -> Result<()> {
    let (w, steps) = (slice_mut::<T>(w, layout)?, slice::<T::Real>(steps, steps_layout)?);
    if is_plain(penalty, layout.dims())? {
        let formula = DiagonalProx(Charge::<T::Real>::new(penalty));
        pass::<T, T::Real, 0>(Threads::all(), formula, w, steps, [], Source::Checked);
        return Ok(());
    }
    let prox = proximal::Prox::new(penalty, layout.dims(), 1.0, Approach::Exact)?;
    proximal::run::<T, T::Real, 0>(Threads::all(), &StayInMetric, &prox, w, steps, [], Source::Checked)?;
    Ok(())
}

/// Takes the next step of one variable. Returns whether a coordinate was left as it was for its gradient.
pub fn step(work: &Work, source: Source) -> Result<bool> {
    let Some((grad, step)) = &work.next else { return Ok(false) };
    if is_empty(&work.var) {
        return Ok(false);
    }
    read(grad, |grad, grad_layout| {
        write(&work.var, |w, layout| {
            for_dtype!("w", storage_dtype(w), step_typed((w, layout), (grad, grad_layout), &work.state, step, source))
        })
    })
}

fn step_typed<T: Element>(
    w: (&mut CpuStorage, &Layout),
    g: (&CpuStorage, &Layout),
    state: &[Var],
    step: &OptimizerStep,
    source: Source,
) -> Result<bool> {
    let dims = w.1.dims();
    step_slices(Threads::all(), dims, slice_mut::<T>(w.0, w.1)?, slice::<T>(g.0, g.1)?, state, step, source)
}

/// A step on slices of one length: the numbers of a tensor of this shape.
pub(super) fn step_slices<T: Element>(
    threads: Threads,
    dims: &[usize],
    w: &mut [T],
    g: &[T],
    state: &[Var],
    step: &OptimizerStep,
    source: Source,
) -> Result<bool> {
    let penalty = step.penalty();
    let then = if is_plain(penalty, dims)? {
        Behind::Plain(penalty)
    } else {
        Behind::Prox(proximal::Prox::new(penalty, dims, step.times(), Approach::Adaptive)?)
    };
    // Also while a scale of 0 takes the charge away: one second moment has to stay one.
    if penalty.group() == Grouping::Singular {
        let squares = MeanSquare(T::Real::of(mean_square(g)));
        step_by(threads, squares, then, w, g, state, step, source)
    } else {
        step_by(threads, OwnSquare, then, w, g, state, step, source)
    }
}

/// What follows the move of a step.
#[derive(Clone, Copy)]
enum Behind<'p> {
    /// The prox of l1 on single entries, fused into one formula with the move.
    Plain(&'p Penalty),
    Prox(proximal::Prox),
}

impl Behind<'_> {
    fn run<T: Element, const N: usize>(
        self,
        threads: Threads,
        to: impl Move<T::Real, N>,
        w: &mut [T],
        g: &[T],
        state: [&mut [T::Real]; N],
        source: Source,
    ) -> Result<bool> {
        match self {
            Self::Plain(penalty) => {
                let formula = Fused { to, charge: Charge::new(penalty) };
                Ok(pass(threads, formula, w, g, state, source))
            }
            Self::Prox(prox) => proximal::run(threads, &to, &prox, w, g, state, source),
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn step_by<T: Element>(
    threads: Threads,
    square: impl Square<T::Real>,
    then: Behind<'_>,
    w: &mut [T],
    g: &[T],
    state: &[Var],
    step: &OptimizerStep,
    source: Source,
) -> Result<bool> {
    with_state(state, [const { None }; 3], 0, |state| match (step, state) {
        (OptimizerStep::Sgd(step), [None, ..]) => then.run(threads, Sgd::new(step), w, g, [], source),
        (OptimizerStep::Sgd(step), [Some(b), ..]) => then.run(threads, Momentum::new(step), w, g, [b], source),
        (OptimizerStep::AdamW(step), [Some(m), Some(v), None]) => {
            then.run(threads, AdamW::new(step, square), w, g, [m, v], source)
        }
        (OptimizerStep::AdamW(step), [Some(m), Some(v), Some(largest)]) => {
            then.run(threads, AmsGrad::new(step, square), w, g, [m, v, largest], source)
        }
        (OptimizerStep::Ftrl(step), [Some(z), Some(n), ..]) => {
            then.run(threads, Ftrl::new(step, square), w, g, [z, n], source)
        }
        _ => Err(wrong_state()),
    })
}

/// The mean of the squares, of gradients that have one.
fn mean_square<T: Element>(g: &[T]) -> f64 {
    let largest = T::Real::LARGEST_WITH_SQUARE.wide();
    let clamped = move |g: f64| g.clamp(-largest, largest);
    sum(g, move |g| clamped(g) * clamped(g)) / g.len() as f64
}

/// Locks the tensors of a state one after the other and hands over their slices.
fn with_state<R: Real, A>(
    state: &[Var],
    locked: [Option<&mut [R]>; 3],
    count: usize,
    then: impl FnOnce([Option<&mut [R]>; 3]) -> Result<A>,
) -> Result<A> {
    let Some((first, rest)) = state.split_first() else { return then(locked) };
    write(first, |storage, layout| {
        let mut locked: [Option<&mut [R]>; 3] = locked;
        *locked.get_mut(count).ok_or_else(wrong_state)? = Some(slice_mut::<R>(storage, layout)?);
        with_state(rest, locked, count + 1, then)
    })
}

pub(super) fn wrong_state() -> Error {
    candle_core::Error::Msg("l1: a step was given another number of state tensors than it has".to_owned()).into()
}

/// Zeros and `‖w‖₁`; see [`Counts`].
pub fn counts(w: &Tensor) -> Result<Counts> {
    read(w, |storage, layout| for_dtype!("w", storage_dtype(storage), counts_typed(storage, layout)))
}

fn counts_typed<T: Element>(storage: &CpuStorage, layout: &Layout) -> Result<Counts> {
    let chunk = |values: &[T]| simd::run(CountsOf(values));
    let add = |a: Counts, b: Counts| Counts { zeros: a.zeros + b.zeros, l1_norm: a.l1_norm + b.l1_norm };
    Ok(chunks::reduce(slice::<T>(storage, layout)?, &chunk, &add))
}

struct CountsOf<'a, T>(&'a [T]);

impl<T: Element> simd::Loop for CountsOf<'_, T> {
    type Output = Counts;

    #[inline(always)]
    fn run(self) -> Counts {
        let mut lanes = CountLanes { zeros: [0; LANES], abs: [0.0; LANES] };
        lanes::fold(self.0, &mut lanes);
        Counts { zeros: lanes.zeros.iter().sum(), l1_norm: lanes::total(lanes.abs) }
    }
}

struct CountLanes {
    zeros: [usize; LANES],
    abs: [f64; LANES],
}

impl Fold for CountLanes {
    #[inline(always)]
    fn add(&mut self, lane: usize, value: f64) {
        self.zeros[lane] += usize::from(value == 0.0);
        self.abs[lane] += value.abs();
    }
}

/// The first entry that is NaN or infinite, with its index in row-major order.
pub fn first_non_finite(tensor: &Tensor) -> Result<Option<(usize, f64)>> {
    read(tensor, |storage, layout| {
        for_dtype!("tensor", storage_dtype(storage), first_non_finite_typed(storage, layout))
    })
}

/// Whether an entry is NaN or infinite.
pub(super) fn is_any_non_finite(storage: &CpuStorage, layout: &Layout) -> Result<bool> {
    for_dtype!("tensor", storage_dtype(storage), is_any_non_finite_typed(storage, layout))
}

fn is_any_non_finite_typed<T: Element>(storage: &CpuStorage, layout: &Layout) -> Result<bool> {
    Ok(any_non_finite(slice::<T>(storage, layout)?))
}

/// Whether a number is NaN or infinite.
pub(super) fn any_non_finite<T: Element>(values: &[T]) -> bool {
    chunks::reduce(values, &|values: &[T]| simd::run(AnyNonFinite(values)), &|a, b| a | b)
}

fn first_non_finite_typed<T: Element>(storage: &CpuStorage, layout: &Layout) -> Result<Option<(usize, f64)>> {
    if !is_any_non_finite_typed::<T>(storage, layout)? {
        return Ok(None);
    }
    let values = slice::<T>(storage, layout)?;
    let at = values.iter().position(|value| !value.load().is_finite());
    Ok(at.map(|at| (at, values[at].load().wide())))
}

/// Whether a number of the slice is NaN or infinite.
struct AnyNonFinite<'a, T>(&'a [T]);

impl<T: Element> simd::Loop for AnyNonFinite<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        // Through to the end without a branch: what is sought is hardly ever there.
        self.0.iter().fold(false, |found, value| found | value.is_non_finite())
    }
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
        Norm::P(p) => power_norm(values, p, move |x| x.abs().powf(p)),
    })
}

/// `(Σ power(x))^(1/p)`, by way of `x/max|x|` where the powers overflow or vanish.
fn power_norm<T: Element>(values: &[T], p: f64, power: impl Fn(f64) -> f64 + Copy + Sync) -> f64 {
    let root = |sum: f64| if p == 2.0 { sum.sqrt() } else { sum.powf(p.recip()) };
    let plain = sum(values, power);
    if plain.is_normal() || plain.is_nan() {
        return root(plain);
    }
    match largest(values) {
        unit if unit == 0.0 || !unit.is_finite() => unit,
        unit => unit * root(sum(values, move |x| power(x / unit))),
    }
}

/// `max|x|`, NaN if an entry is.
fn largest<T: Element>(values: &[T]) -> f64 {
    chunks::reduce(values, &|values: &[T]| simd::run(Gather(values, f64::abs, larger)), &larger)
}

fn larger(a: f64, b: f64) -> f64 {
    // f64::max would drop a NaN.
    if a > b || a.is_nan() { a } else { b }
}

fn sum<T: Element>(values: &[T], term: impl Fn(f64) -> f64 + Copy + Sync) -> f64 {
    let add = |a, b| a + b;
    chunks::reduce(values, &|values: &[T]| simd::run(Gather(values, term, add)), &add)
}

/// `term(x)` of every number, joined by an operation whose neutral element is 0.
struct Gather<'a, T, F, J>(&'a [T], F, J);

impl<T: Element, F: Fn(f64) -> f64 + Copy, J: Fn(f64, f64) -> f64 + Copy> simd::Loop for Gather<'_, T, F, J> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let Self(values, term, join) = self;
        let mut lanes = GatherLanes { lanes: [0.0; LANES], term, join };
        lanes::fold(values, &mut lanes);
        lanes::joined(lanes.lanes, join)
    }
}

struct GatherLanes<F, J> {
    lanes: [f64; LANES],
    term: F,
    join: J,
}

impl<F: Fn(f64) -> f64, J: Fn(f64, f64) -> f64> Fold for GatherLanes<F, J> {
    #[inline(always)]
    fn add(&mut self, lane: usize, value: f64) {
        self.lanes[lane] = (self.join)(self.lanes[lane], (self.term)(value));
    }
}
