//! Contenders that take turns.

use std::time::{Duration, Instant};

use candle_core::{Device, Result};

use crate::Work;

/// One way to do a work: something to prepare that is not timed, and what is timed, once or several times.
pub(crate) struct Contender(Box<dyn FnMut() -> Result<(Duration, u32)>>);

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
            Ok((start.elapsed(), 1))
        }))
    }

    /// Times `work` on a device that works on while the host goes ahead: so many in a row that waiting for the last one, once, counts
    /// for little. It is done a few times at once, and fails if that fails.
    pub(crate) fn in_a_row(device: &Device, mut work: impl FnMut() -> Result<()> + 'static) -> Result<Self> {
        const WARM: u32 = 3;
        const FILLED: Duration = Duration::from_millis(20);
        let device = device.clone();
        let mut timed = move |times: u32| {
            let start = Instant::now();
            for _ in 0..times {
                work()?;
            }
            device.synchronize()?;
            Ok((start.elapsed(), times))
        };
        timed(WARM)?;
        let (took, _) = timed(WARM)?;
        let times = (FILLED.as_secs_f64() * f64::from(WARM) / took.as_secs_f64()).ceil().clamp(2.0, 1000.0) as u32;
        Ok(Self(Box::new(move || timed(times))))
    }

    /// Seconds of one run: the mean over as many as fill 2 ms, so that small works are measured too.
    fn sample(&mut self) -> Result<f64> {
        let (mut total, mut runs) = (Duration::ZERO, 0);
        while total < Duration::from_millis(2) {
            let (took, times) = (self.0)()?;
            total += took;
            runs += times;
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
