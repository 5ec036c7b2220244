//! The series as questions and answers: windows of what is known before a year, and the number of that year.

use std::ops::RangeInclusive;

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use examples::data::Sunspots;

/// Years in a window: the inputs of the LSTM.
pub const LAGS: usize = 12;

/// Windows that the LSTM reads before it answers, each a year later than the one before.
pub const STEPS: usize = 6;

/// The series in units of its own: mean 0 and standard deviation 1 (with 1/n) over the years that are learned from.
pub struct Series {
    first: u32,
    standardized: Vec<f64>,
    mean: f64,
    deviation: f64,
    /// Of the questions.
    device: Device,
}

/// Consecutive years that are asked for.
pub struct Questions {
    /// Years × [`STEPS`] × [`LAGS`], in the series' units. The last window begins with last year, and goes back from there.
    pub windows: Tensor,
    /// Last year's number, years × 1.
    pub before: Tensor,
    /// The number, years × 1.
    pub answers: Tensor,
    /// The first of the years.
    pub first: u32,
}

/// The years from this one on have enough years before them.
pub fn first_question(data: &Sunspots) -> u32 {
    data.years[0] + (STEPS + LAGS - 1) as u32
}

impl Series {
    /// * `last`: the last year that is learned from. Held-out years are scaled alike: nothing is learned from them.
    pub fn new(data: &Sunspots, last: u32, device: &Device) -> Self {
        let learned = &data.numbers[..=(last - data.years[0]) as usize];
        let mean_of = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len() as f64;
        let mean = mean_of(learned);
        let deviation = mean_of(&learned.iter().map(|number| (number - mean).powi(2)).collect::<Vec<_>>()).sqrt();
        let standardized = data.numbers.iter().map(|number| (number - mean) / deviation).collect();
        Self { first: data.years[0], standardized, mean, deviation, device: device.clone() }
    }

    pub fn questions(&self, years: RangeInclusive<u32>) -> Result<Questions> {
        let (from, to) = ((years.start() - self.first) as usize, (years.end() - self.first) as usize);
        ensure!(from >= STEPS + LAGS - 1 && to < self.standardized.len(), "{years:?}: not all is known before them");
        let mut windows = Vec::new();
        for year in from..=to {
            for last in year - STEPS..year {
                windows.extend((0..LAGS).map(|lag| self.standardized[last - lag]));
            }
        }
        let count = to + 1 - from;
        let column = |numbers: &[f64]| Tensor::from_slice(numbers, (count, 1), &self.device);
        Ok(Questions {
            windows: Tensor::from_vec(windows, (count, STEPS, LAGS), &self.device)?,
            before: column(&self.standardized[from - 1..to])?,
            answers: column(&self.standardized[from..=to])?,
            first: *years.start(),
        })
    }

    /// Answers in the series' units as sunspot numbers.
    pub fn forecasts(&self, questions: &Questions, answers: &Tensor) -> Result<Forecasts> {
        let answers = answers.flatten_all()?.to_vec1::<f64>()?;
        let numbers = answers.iter().map(|answer| self.mean + self.deviation * answer).collect();
        Ok(Forecasts { first: questions.first, numbers })
    }
}

/// The forecasts of consecutive years, each from all that was known the year before.
pub struct Forecasts {
    pub first: u32,
    pub numbers: Vec<f64>,
}

impl Forecasts {
    /// The root of the mean square of what they were off by.
    pub fn error(&self, data: &Sunspots, years: RangeInclusive<u32>) -> f64 {
        let off = |year: u32| self.numbers[(year - self.first) as usize] - data.of(year);
        let squares: Vec<f64> = years.map(|year| off(year).powi(2)).collect();
        (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
    }
}
