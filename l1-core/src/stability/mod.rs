//! Stability selection: the features that are selected again and again on halves of the data.

use candle_core::Tensor;
use serde::Serialize;

use crate::{
    Error, Result,
    parallel::{self, cores},
    progress::Progress,
    sampling::{Sampler, select},
};

mod bound;
mod table;

pub use bound::ErrorBound;

/// Selects features on many halves of the rows, and keeps those that are selected in most of them.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use l1_core::{ErrorBound, StabilitySelection};
///
/// // Here the target is the second of five inputs, and a feature is selected at λ where its covariance with the target is above λ: the
/// // lasso of inputs that are orthogonal.
/// let x = (Tensor::arange(0f64, 400.0, &Device::Cpu)? * 2.3)?.sin()?.reshape((80, 5))?;
/// let y = x.narrow(1, 1, 1)?.contiguous()?;
/// let lambdas = [0.4, 0.2];
///
/// let stable = StabilitySelection::pairs(25).seed(1).threshold(0.9).run(80, 5, |half| {
///     let covariance = half.select(&x)?.t()?.matmul(&half.select(&y)?)?.flatten_all()?.to_vec1::<f64>()?;
///     let rows = half.rows().len() as f64;
///     let selected = |lambda: f64| (0..5).filter(|j| (covariance[*j] / rows).abs() > lambda).collect();
///     Ok(lambdas.iter().map(|lambda| selected(*lambda)).collect())
/// })?;
/// println!("{stable}");
/// assert_eq!(stable.selected, [1]);
/// // At most this many of those selected are expected to be ones that a half selects with a chance below average.
/// assert!(stable.expected_false(ErrorBound::WorstCase { theta: None })? <= 1.0);
/// # Ok::<(), l1_core::Error>(())
/// ```
///
/// Meinshausen & Bühlmann, *Stability selection* (2010); Shah & Samworth, *Variable selection with error control: another look at
/// stability selection* (2013).
#[derive(Clone, Debug)]
#[must_use = "it does nothing before `run`"]
pub struct StabilitySelection {
    samples: Samples,
    seed: u64,
    threads: Option<usize>,
    threshold: f64,
    scales: Option<Vec<f64>>,
    names: Option<Vec<String>>,
}

/// How halves are drawn.
#[derive(Clone, Copy, Debug)]
enum Samples {
    Pairs(usize),
    Plain(usize),
}

/// One half of the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Subsample {
    index: usize,
    rows: Vec<usize>,
    all: usize,
}

impl Subsample {
    /// Its number, from 0. With [pairs](StabilitySelection::pairs) 2k and 2k + 1 are the halves of one pair.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The numbers of its rows, rising: ⌊n/2⌋ of n.
    #[must_use]
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// Its rows of a tensor.
    ///
    /// * `tensor`: of all rows, in its first dimension.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] for another number of rows.
    pub fn select(&self, tensor: &Tensor) -> Result<Tensor> {
        select(tensor, &self.rows, self.all)
    }
}

impl StabilitySelection {
    /// Complementary pairs (Shah & Samworth 2013): `number` times the rows are split at random into two halves without a common row. Of
    /// an odd number one row sits out. 50 is what they advise.
    pub fn pairs(number: usize) -> Self {
        Self::by(Samples::Pairs(number))
    }

    /// `number` halves, each drawn for itself without replacement (Meinshausen & Bühlmann 2010). 100 is what they used.
    pub fn subsamples(number: usize) -> Self {
        Self::by(Samples::Plain(number))
    }

    fn by(samples: Samples) -> Self {
        Self { samples, seed: 0, threads: None, threshold: 0.75, scales: None, names: None }
    }

    /// From what the halves follow; 0 at first.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many halves are fitted at once; as many as there are cores at first. 0 counts as 1.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// π, the share of halves from which on a feature counts as stable: in (½, 1]. 0.75 at first. Meinshausen & Bühlmann advise 0.6 to
    /// 0.9, and find that results differ little in between.
    pub fn threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }

    /// The scale of each set that the closure returns, for tables and pictures.
    pub fn scales(mut self, scales: impl IntoIterator<Item = f64>) -> Self {
        self.scales = Some(scales.into_iter().collect());
        self
    }

    /// The name of each feature, for tables and pictures.
    pub fn names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The halves that [`run`](Self::run) goes through.
    ///
    /// # Errors
    /// [`Error::InvalidStability`] for fewer than 2 rows, or no half at all.
    pub fn halves(&self, rows: usize) -> Result<Vec<Subsample>> {
        let (Samples::Pairs(number) | Samples::Plain(number)) = self.samples;
        if rows < 2 || number == 0 {
            let why = format!("{number} subsamples of {rows} rows (expected at least one of at least 2 rows)");
            return Err(Error::InvalidStability { why });
        }
        let mut sampler = Sampler::new(self.seed);
        let mut halves = Vec::new();
        for _ in 0..number {
            let order = sampler.order(rows);
            let of_pair = if matches!(self.samples, Samples::Pairs(_)) { 2 } else { 1 };
            for half in order.chunks_exact(rows / 2).take(of_pair) {
                let mut rows_of = half.to_vec();
                rows_of.sort_unstable();
                halves.push(Subsample { index: halves.len(), rows: rows_of, all: rows });
            }
        }
        Ok(halves)
    }

    /// Selects on every half, and counts.
    ///
    /// * `rows`, `features`: of the data; features are numbered from 0.
    /// * `fit`: fits a model of the half's own and returns the selected features at each λ, in the order of the path. Halves may stop at different
    ///   points; then the λ that all of them have are counted, and no others. Halves are fitted at the same time, so they must not
    ///   share variables.
    ///
    /// # Errors
    /// [`Error::InvalidStability`]: no features, too few rows, a threshold outside (½, 1], names or scales of another number, no λ that
    /// all halves have, a feature that does not exist. [`Error::InSubsample`] with the error of the first half that fails.
    pub fn run<F>(&self, rows: usize, features: usize, fit: F) -> Result<StabilitySelected>
    where
        F: Fn(&Subsample) -> Result<Vec<Vec<usize>>> + Sync,
    {
        self.check(features)?;
        let halves = self.halves(rows)?;
        let progress = Progress::new("halves", Some(halves.len()));
        let threads = self.threads.unwrap_or_else(cores);
        let selections = parallel::each(halves.len(), threads, &progress, |index| fit(&halves[index]));
        let selections =
            selections.map_err(|(subsample, error, _)| Error::InSubsample { subsample, source: Box::new(error) })?;
        self.count(features, &selections)
    }

    fn check(&self, features: usize) -> Result<()> {
        let refused = |why: String| Err(Error::InvalidStability { why });
        if features == 0 {
            return refused("no features (expected at least one)".to_owned());
        }
        check_threshold(self.threshold)?;
        match &self.names {
            Some(names) if names.len() != features => {
                refused(format!("{} names for {features} features (expected one for each)", names.len()))
            }
            _ => Ok(()),
        }
    }

    fn count(&self, features: usize, selections: &[Vec<Vec<usize>>]) -> Result<StabilitySelected> {
        let refused = |why: String| Err(Error::InvalidStability { why });
        let shortest = selections.iter().map(Vec::len).min().unwrap_or(0);
        if shortest == 0 {
            return refused("a subsample returned no set (expected one for each λ)".to_owned());
        }
        if let Some(scales) = self.scales.as_ref().filter(|scales| scales.len() < shortest) {
            return refused(format!("{} scales for {shortest} sets (expected one for each)", scales.len()));
        }
        let mut counts = vec![vec![0u32; features]; shortest];
        let (mut at_any, mut both, mut previous) = (vec![0u32; features], vec![0u32; features], vec![false; features]);
        let mut in_all = 0;
        for (subsample, selection) in selections.iter().enumerate() {
            let mut any = vec![false; features];
            for (point, set) in selection.iter().take(shortest).enumerate() {
                let mut is_selected = vec![false; features];
                for &feature in set {
                    if feature >= features {
                        return refused(format!(
                            "subsample {subsample} selected feature {feature} at point {point} (expected one below {features})"
                        ));
                    }
                    is_selected[feature] = true;
                }
                for (feature, _) in is_selected.iter().enumerate().filter(|(_, selected)| **selected) {
                    counts[point][feature] += 1;
                    any[feature] = true;
                }
            }
            for (feature, _) in any.iter().enumerate().filter(|(_, selected)| **selected) {
                at_any[feature] += 1;
                in_all += 1;
                both[feature] += u32::from(subsample % 2 == 1 && previous[feature]);
            }
            previous = any;
        }
        let number = selections.len() as f64;
        let share = |count: &u32| f64::from(*count) / number;
        let proportions: Vec<Vec<f64>> = counts.iter().map(|counts| counts.iter().map(share).collect()).collect();
        let highest_of = |feature: usize| proportions.iter().map(|at| at[feature]).fold(0.0, f64::max);
        let pairs = match self.samples {
            Samples::Pairs(number) => Some(number),
            Samples::Plain(_) => None,
        };
        let selected = StabilitySelected {
            features,
            subsamples: selections.len(),
            pairs,
            scales: self.scales.as_ref().map(|scales| scales[..shortest].to_vec()),
            names: self.names.clone(),
            highest: (0..features).map(highest_of).collect(),
            proportions,
            at_any_scale: at_any.iter().map(share).collect(),
            simultaneous: pairs.map(|pairs| both.iter().map(|count| f64::from(*count) / pairs as f64).collect()),
            selected_on_average: f64::from(in_all) / number,
            threshold: self.threshold,
            selected: Vec::new(),
        };
        selected.with_threshold(self.threshold)
    }
}

fn check_threshold(threshold: f64) -> Result<()> {
    if threshold > 0.5 && threshold <= 1.0 {
        return Ok(());
    }
    Err(Error::InvalidStability { why: format!("a threshold of {threshold} (expected above ½ and at most 1)") })
}

/// How often each feature was selected on halves of the rows; made by [`StabilitySelection::run`].
///
/// `Display` prints a table, [`to_csv`](Self::to_csv) gives a row for each feature, and serde JSON.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StabilitySelected {
    /// The number of features, p.
    pub features: usize,
    /// How many halves there were.
    pub subsamples: usize,
    /// The number of complementary pairs that they are of, B; none for plain subsamples.
    pub pairs: Option<usize>,
    /// The scales of the path, if they were stated.
    pub scales: Option<Vec<f64>>,
    /// The names of the features, if they were stated.
    pub names: Option<Vec<String>>,
    /// For each λ the share of halves that selected each feature: `proportions[point][feature]`.
    pub proportions: Vec<Vec<f64>>,
    /// For each feature the largest of its proportions over all λ: what is compared with π.
    pub highest: Vec<f64>,
    /// For each feature the share of halves that selected it at any λ: at least [`highest`](Self::highest).
    pub at_any_scale: Vec<f64>,
    /// For each feature the share of pairs of which both halves selected it, each at any λ: the simultaneous proportions whose
    /// unimodality [`ErrorBound::Unimodal`] assumes. None for plain subsamples.
    pub simultaneous: Option<Vec<f64>>,
    /// q: the mean number of features that a half selects at any λ.
    pub selected_on_average: f64,
    /// π: the share from which on a feature counts as stable.
    pub threshold: f64,
    /// The features whose highest proportion is at least π, rising.
    pub selected: Vec<usize>,
}

impl StabilitySelected {
    /// The same proportions under another threshold π in (½, 1].
    ///
    /// # Errors
    /// [`Error::InvalidStability`].
    pub fn with_threshold(mut self, threshold: f64) -> Result<Self> {
        check_threshold(threshold)?;
        self.threshold = threshold;
        self.selected = (0..self.features).filter(|feature| self.highest[*feature] >= threshold).collect();
        Ok(self)
    }

    /// The name of a feature, or its number.
    #[must_use]
    pub fn name(&self, feature: usize) -> String {
        let name = self.names.as_ref().and_then(|names| names.get(feature));
        name.map_or_else(|| feature.to_string(), Clone::clone)
    }
}
