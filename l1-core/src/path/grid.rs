//! The scales of a path, and what is refused of them.

use serde::Serialize;

use crate::{Error, Result};

/// How many scales an ascending path tries if nothing else is said: at a factor of 1.05, over four powers of ten.
pub(crate) const MAX_POINTS: usize = 200;

/// Which way the scales of a path go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From sparse to dense.
    Descending,
    /// From dense to sparse.
    Ascending,
}

/// What a [`Path`](crate::Path) was told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Grid {
    Descending { points: usize, ratio: f64 },
    Ascending { first: f64, factor: f64, max_points: usize },
    Given(Vec<f64>),
}

impl Grid {
    /// How many scales there are at most, if that is known.
    pub(crate) fn length(&self) -> Option<usize> {
        match self {
            Self::Descending { points, .. } => Some(*points),
            Self::Given(scales) => Some(scales.len()),
            Self::Ascending { .. } => None,
        }
    }

    pub(crate) fn check(&self) -> Result<Direction> {
        match self {
            Self::Descending { points, ratio } => {
                let in_range = *ratio > 0.0 && *ratio < 1.0;
                check(*points >= 2, "descending", || format!("{points} points (expected at least 2)"))?;
                check(in_range, "descending", || format!("a ratio of {ratio} (expected one in (0, 1))"))?;
                Ok(Direction::Descending)
            }
            Self::Ascending { first, factor, max_points } => {
                let is_positive = *first > 0.0 && first.is_finite();
                let grows = *factor > 1.0 && factor.is_finite();
                check(is_positive, "ascending", || format!("a first scale of {first} (expected finite and > 0)"))?;
                check(grows, "ascending", || format!("a factor of {factor} (expected finite and > 1)"))?;
                check(*max_points >= 2, "max_points", || format!("{max_points} (expected at least 2)"))?;
                Ok(Direction::Ascending)
            }
            Self::Given(scales) => given(scales),
        }
    }

    /// All scales in their order.
    ///
    /// * `largest`: the scale that empties everything, for a descending grid.
    pub(crate) fn scales(&self, largest: f64) -> Vec<f64> {
        match self {
            Self::Given(scales) => scales.clone(),
            Self::Descending { points, ratio } => descending(largest, *points, *ratio),
            Self::Ascending { first, factor, max_points } => {
                let rising = std::iter::successors(Some(*first), |scale| Some(scale * factor));
                [0.0].into_iter().chain(rising).take(*max_points).collect()
            }
        }
    }
}

fn check(holds: bool, rule: &'static str, why: impl Fn() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::InvalidPath { rule, why: why() }) }
}

fn given(scales: &[f64]) -> Result<Direction> {
    let refused = |index: usize, expected: String| {
        let value = scales.get(index).copied().unwrap_or(f64::NAN);
        Err(Error::InvalidGrid { index, value, expected })
    };
    let Some(first) = scales.first() else {
        return Err(Error::InvalidPath { rule: "grid", why: "it is empty (expected at least one scale)".to_owned() });
    };
    if let Some(index) = scales.iter().position(|scale| !(*scale > 0.0 && scale.is_finite())) {
        return refused(index, "finite and > 0".to_owned());
    }
    let ascends = scales.get(1).is_some_and(|second| second > first);
    for (index, pair) in scales.windows(2).enumerate() {
        let (before, value) = (pair[0], pair[1]);
        if value == before || (value > before) != ascends {
            let side = if ascends { "above" } else { "below" };
            return refused(index + 1, format!("{side} {before}, the scale before it: strictly sorted"));
        }
    }
    Ok(if ascends { Direction::Ascending } else { Direction::Descending })
}

/// `largest·ratio^(k/(points − 1))`; the first is `largest` to the bit.
pub(crate) fn descending(largest: f64, points: usize, ratio: f64) -> Vec<f64> {
    let last = points.saturating_sub(1).max(1) as f64;
    (0..points).map(|index| largest * ratio.powf(index as f64 / last)).collect()
}
