//! What the closure of a path is given at each scale.

use crate::Regularizer;

/// The metric that [`Fit::held_out`] records.
pub(crate) const HELD_OUT: &str = "held out";

/// One fit of a [`Path`](crate::Path): at which scale, and what it is to record.
#[derive(Debug)]
pub struct Fit<'r> {
    pub(crate) regularizer: &'r Regularizer,
    pub(crate) index: usize,
    pub(crate) scale: f64,
    pub(crate) metrics: Vec<(String, f64)>,
}

impl<'r> Fit<'r> {
    /// The regularizer at this fit's scale: what the optimizer is to be given (a clone of it).
    #[must_use]
    pub fn regularizer(&self) -> &'r Regularizer {
        self.regularizer
    }

    /// The number of this point, from 0. The fit that finds where a [descending](crate::Path::descending) path begins has 0 too.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The scale that everything (with [`of`](crate::Path::of): the field) is penalized at.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Records a number with this point, under a name. A second one of the same name takes the place of the first.
    pub fn metric(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        match self.metrics.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.metrics.push((name, value)),
        }
    }

    /// Records the score on held-out data, lower being better: what [`CrossValidation`](crate::CrossValidation) compares. It is the
    /// metric `"held out"`.
    pub fn held_out(&mut self, score: f64) {
        self.metric(HELD_OUT, score);
    }
}
