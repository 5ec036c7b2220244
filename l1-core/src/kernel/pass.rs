//! One pass over a tensor, the tensor that moves it, and its state: each read once, and written once, in place.

use num_traits::{Float, Zero};

use super::{
    chunks::{Threads, cut},
    number::Element,
    simd,
};

/// A formula for one coordinate.
pub(super) trait Coordinate<R, const N: usize>: Copy + Send + Sync {
    /// The new value of `w`, from its old one, from `g` (a gradient, say) and from `N` numbers of state, which it changes.
    fn at(&self, w: R, g: R, state: &mut [R; N]) -> R;

    /// What becomes of the state where `w` stays because `g` is not finite.
    #[inline(always)]
    fn pass_over(&self, _w: R, _state: &mut [R; N]) {}
}

/// A formula for one coordinate that depends on nothing else.
pub(super) trait Map<R>: Copy + Send + Sync {
    /// The new value of `w`.
    fn at(&self, w: R) -> R;
}

/// What is known of `g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is taken as it is.
    Checked,
    /// Where it is NaN or infinite, `w` is left as it is.
    Unchecked,
}

/// Applies a formula to every coordinate. All slices have one length.
///
/// Returns whether anything was left as it was for its `g`.
pub(super) fn pass<W: Element, G: Element<Real = W::Real>, const N: usize>(
    threads: Threads,
    formula: impl Coordinate<W::Real, N>,
    w: &mut [W],
    g: &[G],
    state: [&mut [W::Real]; N],
    source: Source,
) -> bool {
    match source {
        Source::Checked => split::<W, G, _, N, false>(threads, formula, w, g, state),
        Source::Unchecked => split::<W, G, _, N, true>(threads, formula, w, g, state),
    }
}

fn split<W: Element, G: Element<Real = W::Real>, F: Coordinate<W::Real, N>, const N: usize, const GUARD: bool>(
    threads: Threads,
    formula: F,
    w: &mut [W],
    g: &[G],
    state: [&mut [W::Real]; N],
) -> bool {
    let Some(at) = cut(w.len()) else {
        return if W::IS_NARROW || G::IS_NARROW {
            in_blocks::<W, G, F, N, GUARD>(formula, w, g, state)
        } else {
            simd::run(Chunk::<W, G, F, N, GUARD> { formula, w, g, state })
        };
    };
    let (w, w_rest) = w.split_at_mut(at);
    let (g, g_rest) = g.split_at(at);
    let (state, rest) = split_state(state, at);
    let (left, right) = threads.both(
        |threads| split::<W, G, F, N, GUARD>(threads, formula, w, g, state),
        |threads| split::<W, G, F, N, GUARD>(threads, formula, w_rest, g_rest, rest),
    );
    left | right
}

/// Each slice in two at one place.
pub(super) fn split_state<R, const N: usize>(state: [&mut [R]; N], at: usize) -> ([&mut [R]; N], [&mut [R]; N]) {
    let mut state = state.map(|state| {
        let (state, rest) = state.split_at_mut(at);
        (state, Some(rest))
    });
    let rest = std::array::from_fn(|k| state[k].1.take().unwrap_or_default());
    (state.map(|(state, _)| state), rest)
}

struct Chunk<'a, W: Element, G, F, const N: usize, const GUARD: bool> {
    formula: F,
    w: &'a mut [W],
    g: &'a [G],
    state: [&'a mut [W::Real]; N],
}

impl<W: Element, G: Element<Real = W::Real>, F: Coordinate<W::Real, N>, const N: usize, const GUARD: bool> simd::Loop
    for Chunk<'_, W, G, F, N, GUARD>
{
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self { formula, w, g, state } = self;
        let mut found = false;
        // Cut to one length, which takes the bounds checks out of the loop.
        let length = w.len();
        let g = &g[..length];
        let state = state.map(|state| &mut state[..length]);
        for i in 0..length {
            let old: [W::Real; N] = std::array::from_fn(|k| state[k][i]);
            let (mut next, mut kept, from) = (old, old, w[i].load());
            let to = formula.at(from, g[i].load(), &mut next);
            // A choice and not a branch, for the sake of vectors.
            let take = !GUARD || g[i].load().is_finite();
            if GUARD {
                formula.pass_over(from, &mut kept);
            }
            found |= !take;
            w[i] = W::store(if take { to } else { from });
            for k in 0..N {
                state[k][i] = if take { next[k] } else { kept[k] };
            }
        }
        found
    }
}

/// Numbers of a half type that are converted together: a block of each operand stays in the first-level cache.
const BLOCK: usize = 256;

/// Half types go through a block of wide numbers: their conversion is not a part of every instruction set, and the loop is
/// compiled for the wide type anyhow.
fn in_blocks<W: Element, G: Element<Real = W::Real>, F: Coordinate<W::Real, N>, const N: usize, const GUARD: bool>(
    formula: F,
    w: &mut [W],
    g: &[G],
    mut state: [&mut [W::Real]; N],
) -> bool {
    let (mut wide_w, mut wide_g) = ([W::Real::zero(); BLOCK], [W::Real::zero(); BLOCK]);
    let mut found = false;
    for (block, (w, g)) in w.chunks_mut(BLOCK).zip(g.chunks(BLOCK)).enumerate() {
        let (from, length) = (block * BLOCK, w.len());
        let (wide_w, wide_g) = (&mut wide_w[..length], &mut wide_g[..length]);
        W::load_all(w, wide_w);
        G::load_all(g, wide_g);
        let state = state.each_mut().map(|state| &mut state[from..from + length]);
        found |= simd::run(Chunk::<W::Real, W::Real, F, N, GUARD> { formula, w: wide_w, g: wide_g, state });
        W::store_all(wide_w, w);
    }
    found
}

/// Applies a formula of one argument to every coordinate.
pub(super) fn map<W: Element>(threads: Threads, formula: impl Map<W::Real>, w: &mut [W]) {
    let Some(at) = cut(w.len()) else {
        return if W::IS_NARROW { map_in_blocks(formula, w) } else { simd::run(MapChunk { formula, w }) };
    };
    let (left, right) = w.split_at_mut(at);
    threads.both(|threads| map(threads, formula, left), |threads| map(threads, formula, right));
}

struct MapChunk<'a, W, F> {
    formula: F,
    w: &'a mut [W],
}

impl<W: Element, F: Map<W::Real>> simd::Loop for MapChunk<'_, W, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { formula, w } = self;
        w.iter_mut().for_each(|w| *w = W::store(formula.at(w.load())));
    }
}

/// [`in_blocks`] for a formula of one argument.
fn map_in_blocks<W: Element>(formula: impl Map<W::Real>, w: &mut [W]) {
    let mut wide = [W::Real::zero(); BLOCK];
    for w in w.chunks_mut(BLOCK) {
        let wide = &mut wide[..w.len()];
        W::load_all(w, wide);
        simd::run(MapChunk { formula, w: wide });
        W::store_all(wide, w);
    }
}
