//! Tiles of whole groups: moved into scratch numbers where each group lies side by side, taken to their prox there, written back.

use ndarray::{ArrayView4, ArrayViewMut4, Axis};

use super::{
    Prox,
    fold::Fold,
    moved::{Mover, Operands, room, widened},
    radius::{self, OnGroup},
    sums,
    tile::Tile,
};
use crate::{
    kernel::{
        chunks::{CHUNK, Threads},
        number::{Element, Real},
    },
    penalty::Groups,
    scalar::Scalar,
};

/// Entries that are worked on together, where groups lie side by side: their scratch numbers stay in the second-level cache.
const TILE: usize = CHUNK;

/// Where groups lie across each other, tiles are wide: a row of few entries costs a page of memory, and as much time as one of many.
const WIDE_TILE: usize = 1 << 19;

/// The narrowest tile that is cut from one of many rows: a few lines of the cache.
const STRIP: usize = 64;

/// See [`super::run`].
pub(super) fn run<W: Element, G: Element<Real = W::Real>, const N: usize>(
    threads: Threads,
    to: &dyn Mover<W::Real, N>,
    prox: &Prox,
    groups: Groups,
    w: &mut [W],
    g: &[G],
    state: [&mut [W::Real]; N],
) {
    let shape = (groups.slabs, groups.rows, groups.count, groups.run);
    let (Ok(w), Ok(g)) = (ArrayViewMut4::from_shape(shape, w), ArrayView4::from_shape(shape, g)) else { return };
    let mut views = state.map(|state| ArrayViewMut4::from_shape(shape, state).ok());
    if views.iter().any(Option::is_none) {
        return;
    }
    let empty = || ArrayViewMut4::from_shape((0, 0, 0, 0), &mut []).ok();
    let state = std::array::from_fn(|k| views[k].take().or_else(empty));
    // All of them are there, as was seen above.
    let Some(state) = all(state) else { return };
    tiles(threads, to, prox, w, g, state);
}

fn all<A, const N: usize>(values: [Option<A>; N]) -> Option<[A; N]> {
    let is_whole = values.iter().all(Option::is_some);
    is_whole.then(|| values.map(|value| value.unwrap_or_else(|| unreachable!("every one is there"))))
}

/// Cuts along slabs and groups, at places that follow from the shape alone.
fn tiles<W: Element, G: Element<Real = W::Real>, const N: usize>(
    threads: Threads,
    to: &dyn Mover<W::Real, N>,
    prox: &Prox,
    w: ArrayViewMut4<'_, W>,
    g: ArrayView4<'_, G>,
    state: [ArrayViewMut4<'_, W::Real>; N],
) {
    let (slabs, rows, count, run) = w.dim();
    let cut = if slabs > 1 {
        Some((Axis(0), slabs / 2))
    } else if count > 1
        && rows * count * run > if rows == 1 { TILE } else { WIDE_TILE }
        && (rows == 1 || count * run > STRIP)
    {
        let middle = count / 2;
        // At a whole line of the cache, where a group is less.
        let aligned = middle.next_multiple_of(STRIP.div_ceil(run));
        Some((Axis(2), if aligned < count { aligned } else { middle }))
    } else {
        None
    };
    let Some((axis, at)) = cut else { return tile(threads, to, prox, w, g, state) };
    let (w, w_rest) = w.split_at(axis, at);
    let (g, g_rest) = g.split_at(axis, at);
    let mut rest = [const { None }; N];
    let mut index = 0;
    let state = state.map(|state| {
        let (state, state_rest) = state.split_at(axis, at);
        rest[index] = Some(state_rest);
        index += 1;
        state
    });
    let Some(rest) = all(rest) else { return };
    threads.both(
        |threads| tiles(threads, to, prox, w, g, state),
        |threads| tiles(threads, to, prox, w_rest, g_rest, rest),
    );
}

/// Groups of one slab.
fn tile<W: Element, G: Element<Real = W::Real>, const N: usize>(
    threads: Threads,
    to: &dyn Mover<W::Real, N>,
    prox: &Prox,
    mut w: ArrayViewMut4<'_, W>,
    g: ArrayView4<'_, G>,
    mut state: [ArrayViewMut4<'_, W::Real>; N],
) {
    let (_, rows, count, run) = w.dim();
    let width = count * run;
    let scalar = to.one_step();
    let mut tile = Tile::new(rows, count, run, scalar);
    let (mut room_w, mut room_g) = (room::<W>(width), room::<G>(width));
    let fold = Fold::new(prox);
    let mut norms_before = Vec::new();
    let mut squares_before = vec![0.0; if prox.is_linearized && rows > 1 { width } else { 0 }];
    let mut rows_of_state = state.each_mut().map(|state| state.axis_iter_mut(Axis(1)));
    for (row, (w, g)) in w.axis_iter(Axis(1)).zip(g.axis_iter(Axis(1))).enumerate() {
        let (Some(w), Some(g)) = (w.to_slice(), g.to_slice()) else { return };
        let state = rows_of_state.each_mut().map(|rows| rows.next()?.into_slice());
        let Some(state) = all(state) else { return };
        let (w, g) = (widened(w, &mut room_w), widened(g, &mut room_g));
        if rows == 1 && prox.is_linearized {
            norms_before.extend(w.chunks(run).map(|run| radius::norm(threads, run)));
        } else if prox.is_linearized {
            sums::add_squares(&mut squares_before, w);
        }
        let (z, steps) = tile.row(row);
        to.moved(Operands { w, g, subgradients: &[] }, z, steps, state);
        tile.moved(row, fold);
    }
    let exact = |index| {
        let entries: Vec<_> = w.index_axis(Axis(2), index).iter().map(|w| w.load()).collect();
        radius::norm(threads, &entries)
    };
    norms_before.extend(sums::norms::<W::Real>(&squares_before, run, exact));
    let tangent = |index: usize| norms_before.get(index).map(|norm| prox.weight * prox.phi.slope(*norm));
    let group = |index| OnGroup { phi: prox.phi, weight: prox.weight, tangent: tangent(index) };
    tile.prox(threads, group, scalar.map(|step| fold.step(step).wide()));
    for (row, w) in w.axis_iter_mut(Axis(1)).enumerate() {
        let Some(w) = w.into_slice() else { return };
        W::store_all(tile.finished(row), w);
    }
}

/// The norm of every group.
pub(in crate::kernel) fn norms<T: Element>(groups: Groups, values: &[T]) -> Vec<f64> {
    let width = groups.count * groups.run;
    let mut room = room::<T>(width.max(groups.size()));
    if groups.rows == 1 {
        // Side by side.
        return values.chunks(groups.run).map(|run| radius::norm(Threads::all(), widened(run, &mut room))).collect();
    }
    let mut norms = Vec::with_capacity(groups.number());
    for slab in values.chunks(groups.rows * width) {
        let mut squares = vec![0.0; width];
        slab.chunks(width).for_each(|row| sums::add_squares(&mut squares, widened(row, &mut room)));
        norms.extend(sums::norms::<T::Real>(&squares, groups.run, |group| {
            let entries: Vec<_> =
                groups.runs(group).flat_map(|from| &slab[from..from + groups.run]).map(|w| w.load()).collect();
            radius::norm(Threads::all(), &entries)
        }));
    }
    norms
}

/// `c·φ'(r)/r` of every group, 0 where r is.
pub(in crate::kernel) fn slopes(prox: &Prox, norms: &[f64]) -> Vec<f64> {
    let slope = |norm: &f64| if *norm > 0.0 { prox.weight * prox.phi.slope(*norm) / norm } else { 0.0 };
    norms.iter().map(slope).collect()
}

/// The subgradient of smallest norm at `w`.
pub(super) fn subgradient<R: Real>(prox: &Prox, groups: Groups, w: &[R], result: &mut [R]) {
    let fold = Fold::new(prox);
    let norms = norms(groups, w);
    let slopes = slopes(prox, &norms);
    for (group, (slope, norm)) in slopes.into_iter().zip(norms).enumerate() {
        let factor = R::of(slope);
        for run in groups.runs(group) {
            let at = run..run + groups.run;
            for (result, w) in result[at.clone()].iter_mut().zip(&w[at]) {
                // Of subnormal numbers c·φ'(r)/r may be too large for a number; c·φ'(r) and w/r are none the less.
                let of_curve = if factor.is_finite() {
                    factor * *w
                } else {
                    R::of(prox.weight * prox.phi.slope(norm) * (w.wide() / norm))
                };
                *result = of_curve + fold.subgradient(*w);
            }
        }
    }
}
