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

/// The threads that a piece of work may be shared by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Threads {
    /// Any of rayon's, one of which is at it now.
    Pool,
    /// The one that asks, which is none of rayon's, and as many others as make this number.
    Asking(usize),
}

impl Threads {
    /// All that there are.
    pub(super) fn all() -> Self {
        match rayon::current_thread_index() {
            Some(_) => Self::Pool,
            None => Self::Asking(rayon::current_num_threads()),
        }
    }

    /// Runs both halves of a piece of work, on two threads if there are.
    ///
    /// The thread that asks does its share. If it only waited, one more thread would have to be woken, which takes as long as some
    /// 100 k coordinates do.
    pub(super) fn both<A, B: Send>(
        self,
        left: impl FnOnce(Self) -> A + Send,
        right: impl FnOnce(Self) -> B + Send,
    ) -> (A, B)
    where
        A: Send,
    {
        let (mut left, mut right) = (Some(left), Some(right));
        let (mut of_left, mut of_right) = (None, None);
        self.run_both(&mut |threads| of_left = left.take().map(|left| left(threads)), &mut |threads| {
            of_right = right.take().map(|right| right(threads))
        });
        match (of_left, of_right) {
            (Some(of_left), Some(of_right)) => (of_left, of_right),
            _ => unreachable!("both have run"),
        }
    }

    /// Not generic: what rayon makes of a closure is much code, and there are hundreds of kernels.
    fn run_both(self, left: &mut (dyn FnMut(Self) + Send), right: &mut (dyn FnMut(Self) + Send)) {
        match self {
            Self::Pool => {
                rayon::join(|| left(Self::Pool), || right(Self::Pool));
            }
            Self::Asking(0 | 1) => {
                left(self);
                right(self);
            }
            Self::Asking(threads) => rayon::in_place_scope(|scope| {
                scope.spawn(|_| right(Self::Pool));
                left(Self::Asking(threads.div_ceil(2)));
            }),
        }
    }
}

/// Reduces every chunk and combines the results in a tree whose shape follows from the length alone.
pub(super) fn reduce<T: Sync, A: Send>(
    values: &[T],
    chunk: &(impl Fn(&[T]) -> A + Sync),
    combine: &(impl Fn(A, A) -> A + Sync),
) -> A {
    reduce_on(Threads::all(), values, chunk, combine)
}

fn reduce_on<T: Sync, A: Send>(
    threads: Threads,
    values: &[T],
    chunk: &(impl Fn(&[T]) -> A + Sync),
    combine: &(impl Fn(A, A) -> A + Sync),
) -> A {
    let Some(at) = cut(values.len()) else { return chunk(values) };
    let (left, right) = values.split_at(at);
    let (left, right) = threads
        .both(|threads| reduce_on(threads, left, chunk, combine), |threads| reduce_on(threads, right, chunk, combine));
    combine(left, right)
}

/// Runs something for each of many tensors.
///
/// The threads share the tensors by their lengths, so that many small ones are one job; a long one is shared in turn by `run`.
/// What fits in a chunk altogether is done at once on the thread that asks.
pub(super) fn many<I: Send>(
    threads: Threads,
    items: &mut [I],
    length: &(impl Fn(&I) -> usize + Sync),
    run: &(impl Fn(Threads, &mut I) + Sync),
) {
    let total: usize = items.iter().map(length).sum();
    if items.len() <= 1 || total <= CHUNK {
        return items.iter_mut().for_each(|item| run(threads, item));
    }
    let at = half(items, total, length);
    let (left, right) = items.split_at_mut(at);
    threads.both(|threads| many(threads, left, length, run), |threads| many(threads, right, length, run));
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
