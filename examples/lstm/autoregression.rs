//! What the LSTM has to be compared with: a linear function of the years before, fitted by least squares.

use anyhow::{Context, Result};
use examples::data::Sunspots;
use faer::{Mat, prelude::*};

use crate::series::{Forecasts, LAGS, first_question};

/// A forecast that is linear in the numbers of the years before, or in their roots.
pub struct Autoregression {
    of: Of,
    /// The constant, then one coefficient for each year before, latest first.
    coefficients: Vec<f64>,
}

/// What it is linear in.
#[derive(Clone, Copy)]
pub enum Of {
    Numbers,
    /// Counts vary the more the larger they are; their roots vary alike.
    Roots,
}

impl Of {
    fn apply(self, number: f64) -> f64 {
        match self {
            Self::Numbers => number,
            Self::Roots => number.sqrt(),
        }
    }

    fn undo(self, value: f64) -> f64 {
        match self {
            Self::Numbers => value,
            Self::Roots => value.max(0.0).powi(2),
        }
    }
}

impl Autoregression {
    /// Learned from the years to `last`; from how many years before is what forecasts `tried + 1 ..= last` best when learned from the
    /// years to `tried`.
    pub fn choose(of: Of, data: &Sunspots, tried: u32, last: u32) -> Result<Self> {
        let error =
            |order| Self::fit(of, order, data, tried).forecasts(data, tried + 1, last).error(data, tried + 1..=last);
        let best = (1..=LAGS).min_by(|&a, &b| error(a).total_cmp(&error(b))).context("there are lags")?;
        Ok(Self::fit(of, best, data, last))
    }

    fn fit(of: Of, order: usize, data: &Sunspots, last: u32) -> Self {
        let years: Vec<u32> = (first_question(data)..=last).collect();
        let known = Mat::from_fn(years.len(), 1 + order, |row, column| known(of, data, years[row], column));
        let answers = Mat::from_fn(years.len(), 1, |row, _| of.apply(data.of(years[row])));
        let solution = known.qr().solve_lstsq(answers);
        Self { of, coefficients: (0..=order).map(|row| solution[(row, 0)]).collect() }
    }

    /// How many years before it looks at.
    pub fn order(&self) -> usize {
        self.coefficients.len() - 1
    }

    pub fn forecasts(&self, data: &Sunspots, from: u32, to: u32) -> Forecasts {
        let forecast = |year| {
            let terms = self.coefficients.iter().enumerate().map(|(column, c)| c * known(self.of, data, year, column));
            self.of.undo(terms.sum())
        };
        Forecasts { first: from, numbers: (from..=to).map(forecast).collect() }
    }
}

/// A 1 for the constant, then the years before, latest first.
fn known(of: Of, data: &Sunspots, year: u32, column: usize) -> f64 {
    if column == 0 { 1.0 } else { of.apply(data.of(year - column as u32)) }
}
