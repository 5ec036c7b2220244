//! Stability selection: the features that are selected again and again on halves of the data.

use serde::Serialize;

/// How often each feature was selected on subsamples; made by `StabilitySelection`.
///
/// Meinshausen & Bühlmann, *Stability selection* (2010); Shah & Samworth, *Variable selection with error control* (2013).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StabilitySelected {
    /// The number of features.
    pub features: usize,
    /// How many subsamples there were.
    pub subsamples: usize,
    /// The number of complementary pairs that they are of; none for plain subsamples.
    pub pairs: Option<usize>,
    /// The scales of the path, if they were stated.
    pub scales: Option<Vec<f64>>,
    /// The names of the features, if they were stated.
    pub names: Option<Vec<String>>,
    /// For each scale the share of subsamples that selected each feature: `proportions[scale][feature]`.
    pub proportions: Vec<Vec<f64>>,
    /// For each feature the largest of its proportions over all scales.
    pub highest: Vec<f64>,
    /// For each feature the share of pairs whose halves both selected it, at the scale where that is largest; none for plain subsamples.
    pub simultaneous: Option<Vec<f64>>,
    /// q: the mean number of features that a subsample selects at any of its scales.
    pub selected_on_average: f64,
    /// π: the share from which on a feature counts as stable.
    pub threshold: f64,
    /// The features whose highest proportion is at least π, in order.
    pub selected: Vec<usize>,
}
