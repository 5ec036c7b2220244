//! A curve on single entries, block by block.

use num_traits::{Float, Zero};

use super::{
    Prox,
    fold::Fold,
    moved::{self, Mover, Operands},
};
use crate::{
    kernel::{
        chunks::{Threads, cut},
        number::{Element, Real},
        pass::Source,
        simd,
    },
    penalty::{Phi, WithCurve},
};

/// Coordinates that are moved before they meet their curve: a block of each operand stays in the first-level cache.
const BLOCK: usize = 512;

/// A curve on a block of numbers. What is compiled for each curve is this; what is compiled for each optimizer calls it.
trait OnBlock<R>: Sync {
    /// The prox at `z`, in place. `w`: the weights before the move; `steps`: empty if all are the same.
    fn prox(&self, w: &[R], z: &mut [R], steps: &[R]);
    /// The subgradient of the penalty of smallest norm.
    fn subgradient(&self, w: &[R], result: &mut [R]);
}

/// See [`super::run`].
pub(super) fn run<W: Element, G: Element<Real = W::Real>, const N: usize>(
    threads: Threads,
    to: &dyn Mover<W::Real, N>,
    prox: &Prox,
    w: &mut [W],
    g: &[G],
    state: [&mut [W::Real]; N],
    source: Source,
) -> bool {
    let step = to.one_step();
    prox.phi.with(OnTensor {
        prox,
        step,
        then: |curve: &dyn OnBlock<W::Real>| split(threads, to, curve, w, g, state, source),
    })
}

/// The subgradient of smallest norm at `w`.
pub(super) fn subgradient<R: Real>(prox: &Prox, w: &[R], result: &mut [R]) {
    prox.phi.with(OnTensor {
        prox,
        step: Some(R::zero()),
        then: |curve: &dyn OnBlock<R>| curve.subgradient(w, result),
    });
}

/// Makes the curve ready for the blocks of a tensor.
struct OnTensor<'p, R, F> {
    prox: &'p Prox,
    step: Option<R>,
    then: F,
}

impl<R: Real, A, F: FnOnce(&dyn OnBlock<R>) -> A> WithCurve<R> for OnTensor<'_, R, F> {
    type Output = A;

    fn run(self, curve: impl Phi<R>) -> A {
        let Self { prox, step, then } = self;
        let (fold, times) = (Fold::new(prox), R::of(prox.weight));
        let is_linearized = prox.is_linearized;
        let step = step.map(|step| {
            let left = fold.step(step) * times;
            // In f64, once for all: some thresholds take logarithms and powers.
            let threshold = if left > R::zero() { R::of(prox.phi.threshold(left.wide())) } else { R::zero() };
            ScalarStep { step, left, threshold }
        });
        then(&OnCurve { curve, fold, times, step, is_linearized })
    }
}

/// What the fold leaves of a step that is the same for all entries, times the curve's factor, and the curve's threshold for it; both
/// rounded to the type of the arithmetic.
#[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
pub(super) fn one_step<R: Real>(prox: &Prox, step: f64) -> (f64, f64) {
    let left = Fold::<R>::new(prox).step(R::of(step)) * R::of(prox.weight);
    let threshold = if left > R::zero() { R::of(prox.phi.threshold(left.wide())) } else { R::zero() };
    (left.wide(), threshold.wide())
}

fn split<W: Element, G: Element<Real = W::Real>, const N: usize>(
    threads: Threads,
    to: &dyn Mover<W::Real, N>,
    curve: &dyn OnBlock<W::Real>,
    w: &mut [W],
    g: &[G],
    state: [&mut [W::Real]; N],
    source: Source,
) -> bool {
    let Some(at) = cut(w.len()) else { return blocks(to, curve, w, g, state, source) };
    let (w, w_rest) = w.split_at_mut(at);
    let (g, g_rest) = g.split_at(at);
    let (state, rest) = crate::kernel::pass::split_state(state, at);
    let (left, right) = threads.both(
        |threads| split(threads, to, curve, w, g, state, source),
        |threads| split(threads, to, curve, w_rest, g_rest, rest, source),
    );
    left | right
}

fn blocks<W: Element, G: Element<Real = W::Real>, const N: usize>(
    to: &dyn Mover<W::Real, N>,
    curve: &dyn OnBlock<W::Real>,
    w: &mut [W],
    g: &[G],
    mut state: [&mut [W::Real]; N],
    source: Source,
) -> bool {
    let zeros = || [W::Real::zero(); BLOCK];
    let (mut room_w, mut room_g, mut z, mut steps, mut subgradients) = (zeros(), zeros(), zeros(), zeros(), zeros());
    let has_steps = to.one_step().is_none();
    let mut found = false;
    for (block, (w, g)) in w.chunks_mut(BLOCK).zip(g.chunks(BLOCK)).enumerate() {
        let (from, length) = (block * BLOCK, w.len());
        let z = &mut z[..length];
        let steps = &mut steps[..if has_steps { length } else { 0 }];
        let state = state.each_mut().map(|state| &mut state[from..from + length]);
        let (old, wide_g) = (moved::widened(w, &mut room_w), moved::widened(g, &mut room_g));
        let subgradients = match source {
            Source::Checked => &mut [][..],
            Source::Unchecked => &mut subgradients[..length],
        };
        if source == Source::Unchecked {
            curve.subgradient(old, subgradients);
        }
        let passed_over = to.moved(Operands { w: old, g: wide_g, subgradients }, z, steps, state);
        curve.prox(old, z, steps);
        if passed_over {
            let bad = |(z, (w, g)): (&mut W::Real, (&W::Real, &W::Real))| *z = if g.is_finite() { *z } else { *w };
            z.iter_mut().zip(old.iter().zip(wide_g)).for_each(bad);
        }
        found |= passed_over;
        W::store_all(z, w);
    }
    found
}

#[derive(Clone, Copy)]
struct ScalarStep<R> {
    step: R,
    /// What the fold leaves of it, times the curve's factor.
    left: R,
    threshold: R,
}

struct OnCurve<C, R> {
    curve: C,
    fold: Fold<R>,
    times: R,
    step: Option<ScalarStep<R>>,
    is_linearized: bool,
}

impl<R: Real, C: Phi<R>> OnBlock<R> for OnCurve<C, R> {
    fn prox(&self, w: &[R], z: &mut [R], steps: &[R]) {
        let &Self { curve, fold, times, step, is_linearized } = self;
        match step {
            Some(step) => simd::run(Scalar { curve, fold, step, z }),
            None if is_linearized => simd::run(Tangent { curve, fold, times, w, z, steps }),
            None => simd::run(Diagonal { curve, fold, times, z, steps }),
        }
    }

    fn subgradient(&self, w: &[R], result: &mut [R]) {
        let &Self { curve, fold, times, .. } = self;
        simd::run(Subgradient { curve, fold, times, w, result });
    }
}

struct Scalar<'a, C, R> {
    curve: C,
    fold: Fold<R>,
    step: ScalarStep<R>,
    z: &'a mut [R],
}

impl<R: Real, C: Phi<R>> simd::Loop for Scalar<'_, C, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { curve, fold, step, z } = self;
        for z in z {
            let (a, _) = fold.at(*z, step.step);
            let size = a.abs();
            let above = curve.above(size, step.left).copysign(a);
            // NaN is not below the threshold, and a step of 0 leaves everything.
            let moved = if step.left == R::zero() || size.is_nan() { a } else { above };
            *z = if size <= step.threshold { R::zero() } else { moved };
        }
    }
}

struct Diagonal<'a, C, R> {
    curve: C,
    fold: Fold<R>,
    times: R,
    z: &'a mut [R],
    steps: &'a [R],
}

impl<R: Real, C: Phi<R>> simd::Loop for Diagonal<'_, C, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { curve, fold, times, z, steps } = self;
        let steps = &steps[..z.len()];
        for (z, step) in z.iter_mut().zip(steps) {
            let (a, left) = fold.at(*z, *step);
            let left = left * times;
            let prox = curve.prox(a.abs(), left).copysign(a);
            *z = if left == R::zero() || a.is_nan() { a } else { prox };
        }
    }
}

/// Soft-thresholding with the slope of the curve at the weight before the step (one-step LLA: Zou & Li 2008).
struct Tangent<'a, C, R> {
    curve: C,
    fold: Fold<R>,
    times: R,
    w: &'a [R],
    z: &'a mut [R],
    steps: &'a [R],
}

impl<R: Real, C: Phi<R>> simd::Loop for Tangent<'_, C, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { curve, fold, times, w, z, steps } = self;
        let (w, steps) = (&w[..z.len()], &steps[..z.len()]);
        for ((z, w), step) in z.iter_mut().zip(w).zip(steps) {
            let (a, left) = fold.at(*z, *step);
            let threshold = left * (times * curve.slope(w.abs()));
            *z = if a.abs() <= threshold { R::zero() } else { a - threshold.copysign(a) };
        }
    }
}

struct Subgradient<'a, C, R> {
    curve: C,
    fold: Fold<R>,
    times: R,
    w: &'a [R],
    result: &'a mut [R],
}

impl<R: Real, C: Phi<R>> simd::Loop for Subgradient<'_, C, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { curve, fold, times, w, result } = self;
        for (result, w) in result.iter_mut().zip(w) {
            let slope = (times * curve.slope(w.abs())).copysign(*w);
            let of_curve = if *w == R::zero() { R::zero() } else { slope };
            let sum = of_curve + fold.subgradient(*w);
            *result = if w.is_nan() { *w } else { sum };
        }
    }
}
