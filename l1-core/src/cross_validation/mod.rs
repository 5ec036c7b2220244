//! Cross-validation: the scale whose models score best on data that they were not fitted to.

use serde::Serialize;

use crate::{
    Error, PathRun, Result,
    parallel::{self, cores},
    path::HELD_OUT,
    progress::Progress,
};

mod fold;
mod split;
mod table;

pub use fold::Fold;
use split::Split;

/// k-fold cross-validation of a [`Path`](crate::Path): every fold fits the path on the other folds' rows and scores each point on its own.
///
/// ```
/// use candle_core::{DType, Device, Tensor, Var};
/// use candle_nn::{Optimizer, loss};
/// use l1_core::{CrossValidation, Fista, ParamsFista, Path, Regularized, Rule, Visitor};
///
/// struct Model(Var);
/// impl Regularized for Model {
///     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
///         visitor.field("weight", Rule::l1(1.0), &self.0)
///     }
/// }
///
/// let x = (Tensor::arange(0f64, 120.0, &Device::Cpu)? * 1.7)?.sin()?.reshape((40, 3))?;
/// let y = (x.narrow(1, 0, 1)? + (Tensor::arange(0f64, 40.0, &Device::Cpu)?.cos()? * 0.1)?.unsqueeze(1)?)?;
///
/// let validated = CrossValidation::new(5).seed(1).run(40, |fold| {
///     let (train_x, train_y, test_x, test_y) = (fold.train(&x)?, fold.train(&y)?, fold.test(&x)?, fold.test(&y)?);
///     let model = Model(Var::zeros((3, 1), DType::F64, &Device::Cpu)?); // each fold has a model of its own
///     let vars = vec![model.0.clone()];
///     let training_loss = || loss::mse(&train_x.matmul(&model.0)?, &train_y);
///     Path::grid([0.5, 0.2, 0.1, 0.05, 0.01]).run(&model.regularizer()?, &vars, training_loss, |fit| {
///         let params = ParamsFista::new(fit.regularizer().clone(), training_loss);
///         let _ = Fista::new(vars.clone(), params)?.minimize(1e-8, 1000)?;
///         fit.held_out(loss::mse(&test_x.matmul(&model.0)?, &test_y)?.to_scalar()?);
///         Ok(())
///     })
/// })?;
/// println!("{validated}");
/// assert!(validated.one_standard_error() <= validated.best()); // a sparser model, or the same
/// # Ok::<(), l1_core::Error>(())
/// ```
///
/// All folds have to go through the same scales: [`Path::grid`](crate::Path::grid), with scales that a
/// [descending](crate::Path::descending) path of the whole data found, say. Their paths may stop early; then the scales that all folds
/// have are compared, and no others.
///
/// Folds are fitted in parallel, on threads of their own. The rows of every fold follow from the seed alone, and the result from the folds:
/// it is the same on any number of threads, provided that the closure's is the same at each call.
#[derive(Clone, Debug)]
#[must_use = "it does nothing before `run`"]
pub struct CrossValidation {
    split: Split,
    seed: u64,
    labels: Option<Vec<u32>>,
    threads: Option<usize>,
    metric: String,
}

impl CrossValidation {
    /// Rows are shuffled and dealt out to this many folds, 2 or more, whose sizes differ by one at most.
    pub fn new(folds: usize) -> Self {
        Self::by(Split::Shuffled(folds))
    }

    /// The fold of each row, from 0: for rows that belong together (patients with several samples), or folds of another program.
    pub fn assignments(assignments: impl IntoIterator<Item = usize>) -> Self {
        Self::by(Split::Given(assignments.into_iter().collect()))
    }

    fn by(split: Split) -> Self {
        Self { split, seed: 0, labels: None, threads: None, metric: HELD_OUT.to_owned() }
    }

    /// From what the shuffling follows; 0 at first.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Deals each class out evenly: in every fold its number of rows is that of any other fold, up to one. With [assignments](Self::assignments)
    /// it is only checked that every class is in every fold's training part.
    ///
    /// * `labels`: one for each row.
    pub fn stratified(mut self, labels: &[u32]) -> Self {
        self.labels = Some(labels.to_vec());
        self
    }

    /// How many folds are fitted at once; as many as there are cores at first. 0 counts as 1.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// The metric that is the score, lower being better; `"held out"`, which [`Fit::held_out`](crate::Fit::held_out) records, at first.
    pub fn metric(mut self, name: impl Into<String>) -> Self {
        self.metric = name.into();
        self
    }

    /// The folds that [`run`](Self::run) goes through.
    ///
    /// # Errors
    /// [`Error::InvalidFolds`]: fewer than 2 folds or more than rows, a fold that holds out nothing, a class that is missing where a
    /// fold trains, labels or assignments of another number.
    pub fn folds(&self, rows: usize) -> Result<Vec<Fold>> {
        self.split.folds(rows, self.labels.as_deref(), self.seed)
    }

    /// Fits every fold and compares the scales.
    ///
    /// * `rows`: of the data.
    /// * `fit`: builds a model of the fold's own, on tensors of the fold's rows, and runs a path whose fits record a score on the rows
    ///   held out. Folds run at the same time, so they must not share variables.
    ///
    /// # Errors
    /// As [`folds`](Self::folds); [`Error::InFold`] with the error of the first fold that fails and the runs of those that did not;
    /// [`Error::InvalidFolds`] where the folds' scales differ, or where a score is missing or none is finite.
    pub fn run<F>(&self, rows: usize, fit: F) -> Result<CrossValidated>
    where
        F: Fn(&Fold) -> Result<PathRun> + Sync,
    {
        let folds = self.folds(rows)?;
        let progress = Progress::new("folds", Some(folds.len()));
        let threads = self.threads.unwrap_or_else(cores);
        let runs = parallel::each(folds.len(), threads, &progress, |index| fit(&folds[index]));
        let runs = runs.map_err(|(fold, error, finished)| Error::InFold { fold, finished, source: Box::new(error) })?;
        let weights: Vec<_> = folds.iter().map(|fold| fold.test.len() as f64).collect();
        CrossValidated::new(runs, &weights, &self.metric)
    }
}

/// The scores of every fold along a path, and the choices they lead to; made by [`CrossValidation::run`].
///
/// With K folds, n_k rows held out by fold k and its score s_k, as in glmnet:
///
/// * mean `m = Σ n_k·s_k / Σ n_k`,
/// * standard error `√( Σ n_k·(s_k − m)² / Σ n_k / (K − 1) )`.
///
/// The folds share most of their training rows, so their scores are not independent, and the standard error is no more than a rule of
/// thumb (Hastie, Tibshirani & Friedman, *The Elements of Statistical Learning* (2009), §7.10).
///
/// `Display` prints a table, [`to_csv`](Self::to_csv) gives a row for each point, and serde JSON.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CrossValidated {
    /// One for each scale that all folds have, in the order of the path.
    pub points: Vec<CrossValidatedPoint>,
    /// The number of folds.
    pub folds: usize,
    /// The metric that is the score.
    pub metric: String,
    /// The point with the lowest mean score; of equal ones that with the largest scale.
    pub best: usize,
    /// The point with the largest scale whose mean score is at most the best one plus its standard error.
    pub one_standard_error: usize,
    /// The runs of the folds.
    pub runs: Vec<PathRun>,
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

fn refused(why: String) -> Error {
    Error::InvalidFolds { why }
}

impl CrossValidated {
    fn new(runs: Vec<PathRun>, weights: &[f64], metric: &str) -> Result<Self> {
        check_same_scales(&runs)?;
        let shortest = runs.iter().map(|run| run.points.len()).min().unwrap_or(0);
        let points = (0..shortest).map(|index| point(&runs, weights, metric, index));
        let points = points.collect::<Result<Vec<_>>>()?;
        let is_sparser = |a: &CrossValidatedPoint, b: &CrossValidatedPoint| a.scale > b.scale;
        let finite = points.iter().filter(|point| point.mean.is_finite());
        let best = finite.reduce(|best, point| {
            let is_better = point.mean < best.mean || point.mean == best.mean && is_sparser(point, best);
            if is_better { point } else { best }
        });
        let Some(best) = best else {
            let why = if shortest == 0 {
                "a fold's path has no point (expected at least one scale that all folds have)".to_owned()
            } else {
                format!("no scale has a finite mean of `{metric}`: is there NaN in the held-out data?")
            };
            return Err(refused(why));
        };
        let bound = best.mean + best.standard_error;
        let within = points.iter().filter(|point| point.mean <= bound);
        let sparsest = within.reduce(|kept, point| if is_sparser(point, kept) { point } else { kept }).unwrap_or(best);
        let (best, one_standard_error) = (best.index, sparsest.index);
        Ok(Self { points, folds: runs.len(), metric: metric.to_owned(), best, one_standard_error, runs })
    }

    /// The index of the point with the lowest mean score; of equal ones that with the largest scale.
    #[must_use]
    pub fn best(&self) -> usize {
        self.best
    }

    /// The index of the point with the largest scale whose mean score is at most that of the best plus its standard error: the sparsest
    /// model that cannot be told from the best.
    #[must_use]
    pub fn one_standard_error(&self) -> usize {
        self.one_standard_error
    }

    /// The scales, in the order of the points.
    #[must_use]
    pub fn scales(&self) -> Vec<f64> {
        self.points.iter().map(|point| point.scale).collect()
    }
}

/// All runs go through the same scales, as far as they go.
fn check_same_scales(runs: &[PathRun]) -> Result<()> {
    let Some(first) = runs.first() else { return Ok(()) };
    for (fold, run) in runs.iter().enumerate() {
        for (index, (here, there)) in run.points.iter().zip(&first.points).enumerate() {
            if here.scale != there.scale {
                let (here, there) = (here.scale, there.scale);
                return Err(refused(format!(
                    "at point {index} the scale is {here} in fold {fold} and {there} in fold 0 (expected the same: run \
                     `Path::grid` with scales that do not depend on the fold)"
                )));
            }
        }
    }
    Ok(())
}

fn point(runs: &[PathRun], weights: &[f64], metric: &str, index: usize) -> Result<CrossValidatedPoint> {
    let mut scores = Vec::new();
    for (fold, run) in runs.iter().enumerate() {
        let Some(score) = run.points[index].metric(metric) else {
            let how = if metric == HELD_OUT {
                "fit.held_out(score)".to_owned()
            } else {
                format!("fit.metric(\"{metric}\", score)")
            };
            return Err(refused(format!(
                "fold {fold} recorded no `{metric}` at point {index}: call `{how}` in each fit"
            )));
        };
        scores.push(score);
    }
    let all: f64 = weights.iter().sum();
    let weighted = |value: &dyn Fn(f64) -> f64| {
        scores.iter().zip(weights).map(|(score, weight)| weight * value(*score)).sum::<f64>() / all
    };
    let mean = weighted(&|score| score);
    let variance = weighted(&|score| (score - mean) * (score - mean));
    let nonzeros = runs.iter().map(|run| run.points[index].nonzeros as f64).sum::<f64>() / runs.len() as f64;
    Ok(CrossValidatedPoint {
        index,
        scale: runs[0].points[index].scale,
        mean,
        standard_error: (variance / (runs.len() as f64 - 1.0)).sqrt(),
        scores,
        nonzeros,
    })
}
