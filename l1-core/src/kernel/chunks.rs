//! Loops over slices on all cores, in fixed chunks: what is computed does not depend on the number of threads.

use rayon::prelude::*;

/// Elements of one chunk: small enough that a chunk of each array of a step stays in the second-level cache, large enough to
/// be worth a task.
pub(super) const CHUNK: usize = 16 * 1024;

/// Reduces every chunk and combines the results pairwise, in a tree whose shape follows from the length alone.
pub(super) fn reduce<T: Sync, A: Copy + Send>(
    values: &[T],
    chunk: impl Fn(&[T]) -> A + Sync + Send,
    combine: impl Fn(A, A) -> A,
) -> Option<A> {
    if values.len() <= CHUNK {
        return (!values.is_empty()).then(|| chunk(values));
    }
    let mut partial: Vec<A> = values.par_chunks(CHUNK).map(&chunk).collect();
    while partial.len() > 1 {
        partial = partial.chunks(2).map(|pair| if let [a, b] = *pair { combine(a, b) } else { pair[0] }).collect();
    }
    partial.first().copied()
}

/// Index of the first element for which `test` holds.
pub(super) fn find_first<T: Sync>(values: &[T], test: impl Fn(&T) -> bool + Sync) -> Option<usize> {
    if values.len() <= CHUNK {
        return values.iter().position(test);
    }
    let in_chunk = |(chunk, values): (usize, &[T])| values.iter().position(&test).map(|at| chunk * CHUNK + at);
    values.par_chunks(CHUNK).enumerate().find_map_first(in_chunk)
}

/// Calls `update(w, x)` on every pair of corresponding elements.
pub(super) fn zip2<W: Send, X: Sync>(w: &mut [W], x: &[X], update: impl Fn(&mut W, &X) + Sync) {
    let chunk = |w: &mut [W], x: &[X]| w.iter_mut().zip(x).for_each(|(w, x)| update(w, x));
    if w.len() <= CHUNK {
        return chunk(w, x);
    }
    w.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(w, x)| chunk(w, x));
}

/// Calls `update(w, x, s)` on every triple of corresponding elements.
pub(super) fn zip3<W: Send, X: Sync, S: Send>(
    w: &mut [W],
    x: &[X],
    s: &mut [S],
    update: impl Fn(&mut W, &X, &mut S) + Sync,
) {
    let chunk = |w: &mut [W], x: &[X], s: &mut [S]| {
        w.iter_mut().zip(x).zip(s).for_each(|((w, x), s)| update(w, x, s));
    };
    if w.len() <= CHUNK {
        return chunk(w, x, s);
    }
    let chunks = w.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(s.par_chunks_mut(CHUNK));
    chunks.for_each(|((w, x), s)| chunk(w, x, s));
}

/// Calls `update(w, x, s, t)` on every quadruple of corresponding elements.
pub(super) fn zip4<W: Send, X: Sync, S: Send>(
    w: &mut [W],
    x: &[X],
    s: &mut [S],
    t: &mut [S],
    update: impl Fn(&mut W, &X, &mut S, &mut S) + Sync,
) {
    let chunk = |w: &mut [W], x: &[X], s: &mut [S], t: &mut [S]| {
        w.iter_mut().zip(x).zip(s).zip(t).for_each(|(((w, x), s), t)| update(w, x, s, t));
    };
    if w.len() <= CHUNK {
        return chunk(w, x, s, t);
    }
    let chunks = w.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    let chunks = chunks.zip(s.par_chunks_mut(CHUNK)).zip(t.par_chunks_mut(CHUNK));
    chunks.for_each(|(((w, x), s), t)| chunk(w, x, s, t));
}

/// Calls `update` on every element.
pub(super) fn each<W: Send>(w: &mut [W], update: impl Fn(&mut W) + Sync) {
    if w.len() <= CHUNK {
        return w.iter_mut().for_each(update);
    }
    w.par_chunks_mut(CHUNK).for_each(|chunk| chunk.iter_mut().for_each(&update));
}
