//! How many of the selected features may be false: bounds, and when they hold.

use crate::{Error, Result, StabilitySelected};

/// Which bound on the number of falsely selected features, and under which assumptions.
///
/// q is the mean number of features that a half selects (at any λ), p the number of features, π the threshold, B the number of pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ErrorBound {
    /// `E[selected noise features] ≤ q²/((2π − 1)·p)`.
    ///
    /// Assumes that noise features are exchangeable (each of them is as likely to be selected as any other), and that the selection is no worse
    /// than guessing. Of pairs and plain halves. Meinshausen & Bühlmann 2010, Theorem 1.
    Exchangeable,
    /// `E[selected features of a low selection probability] ≤ θ·q/(2π − 1)`: those that a half selects with probability θ at most.
    ///
    /// Assumes nothing. Of complementary pairs. Shah & Samworth 2013, Theorem 1.
    WorstCase {
        /// θ in (0, 1]; q/p, the average, if none.
        theta: Option<f64>,
    },
    /// The same features: `≤ C(π, B)·θ·q` with `C = 1/(2(2π − 1 − 1/(2B)))` for π ≤ ¾ and `4(1 − π + 1/(2B))/(1 + 1/B)` above: several times
    /// sharper.
    ///
    /// Assumes that the distribution of each such feature's [simultaneous proportion](StabilitySelected::simultaneous) is unimodal.
    /// Holds for θ ≤ 1/√3 and `min(½ + θ², ½ + 1/(2B) + ¾θ²) < π`, π ≥ ½ + 1/B. Of complementary pairs. (A proportion is a multiple
    /// of 1/(2B), so π counts as the next such multiple.) Shah & Samworth 2013, Theorem 2.
    Unimodal {
        /// θ in (0, 1/√3]; q/p, the average, if none.
        theta: Option<f64>,
    },
}

impl StabilitySelected {
    /// A bound on the expected number of falsely selected features at the threshold. The sets at the single λ count as one procedure that
    /// selects what it selects at any λ: whatever exceeds π by its [`highest`](Self::highest) proportion exceeds it by that one's.
    ///
    /// # Errors
    /// [`Error::NoBound`] where the bound does not hold: for plain subsamples, another θ, or a threshold that is too low.
    pub fn expected_false(&self, bound: ErrorBound) -> Result<f64> {
        let (q, p, threshold) = (self.selected_on_average, self.features as f64, self.threshold);
        match bound {
            ErrorBound::Exchangeable => Ok(q * q / ((2.0 * threshold - 1.0) * p)),
            ErrorBound::WorstCase { theta } => {
                self.pairs("WorstCase")?;
                let theta = self.theta(theta, 1.0, "1")?;
                Ok(theta * q / (2.0 * threshold - 1.0))
            }
            ErrorBound::Unimodal { theta } => {
                let pairs = self.pairs("Unimodal")? as f64;
                let theta = self.theta(theta, 1.0 / 3f64.sqrt(), "1/√3")?;
                let half = 0.5 / pairs;
                // Up to rounding of a threshold that is meant as a multiple.
                let reached = (threshold / half - 1e-9).ceil() * half;
                let least = f64::min(0.5 + theta * theta, 0.5 + half + 0.75 * theta * theta);
                if reached <= least || reached < 0.5 + 1.5 * half {
                    let least = least.max(0.5 + 2.0 * half);
                    let why = format!(
                        "the threshold is {threshold} (expected above {least:.4} for θ = {theta:.4} and {pairs} pairs)"
                    );
                    return Err(Error::NoBound { why });
                }
                let constant = if reached <= 0.75 {
                    0.5 / (2.0 * reached - 1.0 - half)
                } else {
                    4.0 * (1.0 - reached + half) / (1.0 + 2.0 * half)
                };
                Ok(constant * theta * q)
            }
        }
    }

    fn pairs(&self, bound: &str) -> Result<usize> {
        self.pairs.ok_or_else(|| Error::NoBound {
            why: format!(
                "`{bound}` is for complementary pairs (`StabilitySelection::pairs`), and these are plain subsamples"
            ),
        })
    }

    fn theta(&self, theta: Option<f64>, largest: f64, name: &str) -> Result<f64> {
        let average = self.selected_on_average / self.features as f64;
        let value = theta.unwrap_or(average);
        if value > 0.0 && value <= largest || theta.is_none() && value == 0.0 {
            return Ok(value);
        }
        let of = if theta.is_none() { " (q/p, the average)" } else { "" };
        Err(Error::NoBound { why: format!("θ = {value}{of} (expected above 0 and at most {name})") })
    }
}
