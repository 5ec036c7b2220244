//! What a search for a budget found.

use std::fmt;

use serde::Serialize;

use crate::{Error, PathPoint, PathRun, Regularizer, Result, error::readable};

/// The scale that keeps a [`Budget`](crate::Budget), with all that was fitted on the way; the variables are at the answer.
///
/// `Display` prints the scale, the count and the certificate, then the table of [`run`](Self::run).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BudgetReached {
    /// What was asked for, in words.
    pub budget: String,
    /// What every λ, element and l2 (of the field) is multiplied by.
    pub scale: f64,
    /// The entries that are not 0, or the living groups.
    pub living: usize,
    /// Entries or groups in all.
    pub total: usize,
    /// The answer's place in [`run`](Self::run).
    pub index: usize,
    /// Every fit, sorted by scale: rising where the search came from the dense side, else falling.
    pub run: PathRun,
}

/// A count that can be reached, of [`Error::BudgetUnreached`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BudgetNeighbour {
    /// The entries that are not 0, or the living groups.
    pub living: usize,
    /// Entries or groups in all.
    pub total: usize,
    /// The scale of that fit.
    pub scale: f64,
    /// The place of that fit in `so_far`.
    pub index: usize,
}

impl BudgetReached {
    /// The answer: λ of every field, loss, metrics, certificate.
    #[must_use]
    pub fn point(&self) -> Option<&PathPoint> {
        self.run.points.get(self.index)
    }

    /// The share of zeros among the entries or groups that count.
    #[must_use]
    pub fn share_of_zeros(&self) -> f64 {
        1.0 - self.living as f64 / self.total.max(1) as f64
    }

    /// The largest relative distance of the answer from a stationary point.
    #[must_use]
    pub fn certificate(&self) -> f64 {
        self.point().map_or(f64::NAN, |point| point.certificate.relative)
    }

    /// Gives a regularizer (of the field) the scale found.
    ///
    /// # Errors
    /// As [`Regularizer::set_scale_of`].
    pub fn set_scale(&self, regularizer: &mut Regularizer) -> Result<()> {
        match &self.run.field {
            Some(field) => regularizer.set_scale_of(field, self.scale),
            None => regularizer.set_scale(self.scale),
        }
    }
}

impl fmt::Display for BudgetReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { budget, scale, living, total, index, run } = self;
        let share = 100.0 * self.share_of_zeros();
        writeln!(f, "{budget}: scale {}, {living} of {total} are not 0 ({share:.2} % zeros)", five(*scale))?;
        if let Some(point) = self.point() {
            for field in &point.fields {
                writeln!(
                    f,
                    "  {}: λ = {}, {} of {} living",
                    field.path,
                    five(field.lambda),
                    field.living(),
                    of(field)
                )?;
            }
        }
        write!(
            f,
            "relative distance from stationary {:.1e}; the fits, of which {index} is the answer:\n{run}",
            self.certificate()
        )
    }
}

fn of(field: &crate::PathField) -> usize {
    field.groups.map_or(field.entries, |groups| groups.total)
}

impl fmt::Display for BudgetNeighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { living, total, scale, .. } = *self;
        let share = 100.0 * (1.0 - living as f64 / total.max(1) as f64);
        write!(f, "{living} of {total} ({share:.2} % zeros) at scale {}", readable(scale))
    }
}

/// Five digits.
fn five(value: f64) -> String {
    readable(format!("{value:.4e}").parse().unwrap_or(value))
}

impl Error {
    /// The way out of a budget that cannot be reached: what can.
    pub(crate) fn neighbours(denser: Option<BudgetNeighbour>, sparser: Option<BudgetNeighbour>) -> String {
        match (denser, sparser) {
            (Some(denser), Some(sparser)) => format!("on either side of it live {denser} and {sparser}"),
            (Some(denser), None) => format!("the sparsest of all keeps {denser}"),
            (None, Some(sparser)) => format!("the densest of all keeps {sparser}"),
            (None, None) => "nothing was fitted".to_owned(),
        }
    }
}
