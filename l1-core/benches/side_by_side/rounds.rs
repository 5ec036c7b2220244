//! Contenders that take turns.

use std::time::{Duration, Instant};

use candle_core::Result;

use crate::Work;

/// One way to do a work: something to prepare that is not timed, and what is timed.
pub(crate) struct Contender(Box<dyn FnMut() -> Result<Duration>>);

impl Contender {
    /// Times the whole of `work`.
    pub(crate) fn new(mut work: impl FnMut() -> Result<()> + 'static) -> Self {
        Self::prepared(|| Ok(()), move |()| work())
    }

    /// Times `work` on what `prepare` made.
    pub(crate) fn prepared<T>(
        mut prepare: impl FnMut() -> Result<T> + 'static,
        mut work: impl FnMut(T) -> Result<()> + 'static,
    ) -> Self {
        Self(Box::new(move || {
            let prepared = prepare()?;
            let start = Instant::now();
            work(prepared)?;
            Ok(start.elapsed())
        }))
    }

    /// Seconds of one run: the mean over as many as fill 2 ms, so that small works are measured too.
    fn sample(&mut self) -> Result<f64> {
        let (mut total, mut runs) = (Duration::ZERO, 0);
        while total < Duration::from_millis(2) {
            total += (self.0)()?;
            runs += 1;
        }
        Ok(total.as_secs_f64() / f64::from(runs))
    }
}

/// The median seconds of every contender (l1, candle, limit) of every work. All take turns in each round; the first two rounds
/// warm up and do not count.
pub(crate) fn medians(mut works: Vec<Work>, rounds: usize) -> Result<Vec<(Work, [Option<f64>; 3])>> {
    let mut samples = vec![[const { Vec::new() }; 3]; works.len()];
    for round in 0..rounds + 2 {
        for (work, samples) in works.iter_mut().zip(&mut samples) {
            let contenders = [Some(&mut work.l1), work.candle.as_mut(), work.limit.as_mut()];
            for (contender, samples) in contenders.into_iter().zip(samples) {
                let Some(contender) = contender else { continue };
                let seconds = contender.sample()?;
                if round >= 2 {
                    samples.push(seconds);
                }
            }
        }
    }
    Ok(works.into_iter().zip(samples).map(|(work, samples)| (work, samples.map(median))).collect())
}

fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}
