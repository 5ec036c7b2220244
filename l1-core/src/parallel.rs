//! Independent pieces of work on threads of their own, with results that do not depend on how many.
//!
//! Threads, not tasks of rayon: a piece trains models, whose own loops are rayon's. A task that waits for such a loop may be
//! given another piece to do meanwhile, on the same thread, and hold what that one needs.

use std::{
    num::NonZero,
    panic,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::{Result, progress::Progress};

/// As many threads as there are cores.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// `work(0)`, …, `work(number − 1)`. After an error no further piece is begun; then it is the error of the first piece that has one, whatever
/// the number of threads, with all results before and after it that there are. A panic goes on in the caller.
pub(crate) fn each<T: Send>(
    number: usize,
    threads: usize,
    progress: &Progress,
    work: impl Fn(usize) -> Result<T> + Sync,
) -> std::result::Result<Vec<T>, (usize, crate::Error, Vec<T>)> {
    let next = AtomicUsize::new(0);
    let has_failed = AtomicBool::new(false);
    let done = Mutex::new(Vec::new());
    let run = || {
        Progress::as_part(|| {
            while !has_failed.load(Ordering::Acquire) {
                // Pieces are begun in their order: below one that fails all others are begun, and end.
                let index = next.fetch_add(1, Ordering::AcqRel);
                if index >= number {
                    break;
                }
                let result = work(index);
                has_failed.fetch_or(result.is_err(), Ordering::AcqRel);
                progress.step(String::new);
                done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
            }
        });
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(number)).map(|_| scope.spawn(run)).collect();
        run();
        for other in others {
            if let Err(payload) = other.join() {
                panic::resume_unwind(payload);
            }
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    let (mut results, mut failed) = (Vec::new(), None);
    for (index, result) in done {
        match result {
            Ok(result) => results.push(result),
            Err(error) => failed = failed.or(Some((index, error))),
        }
    }
    match failed {
        None => Ok(results),
        Some((index, error)) => Err((index, error, results)),
    }
}
