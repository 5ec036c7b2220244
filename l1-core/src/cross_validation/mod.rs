//! Cross-validation: the scale whose models score best on data that they were not fitted to.

use serde::Serialize;

/// The scores of every fold along a path, and the choices they lead to; made by `CrossValidation`.
///
/// Lower scores are better. Through serde it becomes JSON.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CrossValidated {
    /// One for each scale that all folds have, in the order of the path.
    pub points: Vec<CrossValidatedPoint>,
    /// The number of folds.
    pub folds: usize,
    /// The point with the lowest mean score.
    pub best: usize,
    /// The point with the largest scale whose mean score is at most the best one plus its standard error.
    pub one_standard_error: usize,
    /// The runs of the folds.
    pub runs: Vec<crate::PathRun>,
}

/// One scale of a [`CrossValidated`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CrossValidatedPoint {
    /// Its number, from 0.
    pub index: usize,
    /// The scale.
    pub scale: f64,
    /// The score of each fold.
    pub scores: Vec<f64>,
    /// Their mean, each fold weighted by its number of held-out rows.
    pub mean: f64,
    /// The standard error of the mean.
    pub standard_error: f64,
    /// The mean number of nonzero penalized entries.
    pub nonzeros: f64,
}

impl CrossValidated {
    /// The index of the point with the lowest mean score; of equal ones that with the largest scale.
    #[must_use]
    pub fn best(&self) -> usize {
        self.best
    }

    /// The index of the point with the largest scale whose mean score is at most that of the best plus its standard error.
    #[must_use]
    pub fn one_standard_error(&self) -> usize {
        self.one_standard_error
    }
}
