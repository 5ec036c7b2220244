//! How work is spread over threads: in chunks whose bounds follow from lengths alone, so that what is computed does not depend
//! on the number of threads.

/// Elements below which a loop is not worth a second thread.
pub(super) const CHUNK: usize = 16 * 1024;

/// Cuts lie at multiples of this many elements, so that hardly a line of the cache is written by two threads.
const ALIGN: usize = 64;

/// Where a slice is cut in two, or `None` if it is one chunk.
pub(super) fn cut(length: usize) -> Option<usize> {
    (length > CHUNK).then(|| (length / 2).next_multiple_of(ALIGN))
}

/// Reduces every chunk and combines the results in a tree whose shape follows from the length alone.
pub(super) fn reduce<T: Sync, A: Send>(
    values: &[T],
    chunk: &(impl Fn(&[T]) -> A + Sync),
    combine: &(impl Fn(A, A) -> A + Sync),
) -> A {
    let Some(at) = cut(values.len()) else { return chunk(values) };
    let (left, right) = values.split_at(at);
    let (left, right) = rayon::join(|| reduce(left, chunk, combine), || reduce(right, chunk, combine));
    combine(left, right)
}

/// Runs something for each of many tensors.
///
/// The threads share the tensors by their lengths, so that many small ones are one job; a long one is shared in turn by `run`.
/// What fits in a chunk altogether is done at once on the thread that asks.
pub(super) fn many<I: Send>(items: &mut [I], length: &(impl Fn(&I) -> usize + Sync), run: &(impl Fn(&mut I) + Sync)) {
    let total: usize = items.iter().map(length).sum();
    if items.len() <= 1 || total <= CHUNK {
        return items.iter_mut().for_each(run);
    }
    let at = half(items, total, length);
    let (left, right) = items.split_at_mut(at);
    rayon::join(|| many(left, length, run), || many(right, length, run));
}

/// How many of the items make about half of the total; at least one, and not all.
fn half<I>(items: &[I], total: usize, length: &impl Fn(&I) -> usize) -> usize {
    let mut sum = 0;
    let reaches_half = |item: &I| {
        sum += length(item);
        2 * sum >= total
    };
    let at = items.iter().position(reaches_half).unwrap_or(0);
    (at + 1).min(items.len() - 1)
}
