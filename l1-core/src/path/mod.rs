//! A path: one model fitted at many λ, each fit starting from where the one before it ended.

use candle_core::{Tensor, Var};

use crate::{Error, Regularizer, Result, lent::Lent, progress::Progress};

mod coefficients;
mod empty;
mod fit;
mod grid;
pub(crate) mod linear;
mod relaxed;
mod run;
mod table;
mod walk;
mod weights;

pub use coefficients::{CoefficientLine, Coefficients};
pub use fit::Fit;
pub(crate) use fit::HELD_OUT;
pub use grid::Direction;
pub(crate) use grid::Grid;
pub use run::{Certificate, Ended, PathField, PathPoint, PathRun};
pub(crate) use table::{quoted, significant};
pub(crate) use walk::Walk;

/// Which scales a model is fitted at, and when to stop before their end. Any model, any optimizer: [`run`](Self::run) moves the
/// [scale](Regularizer::set_scale) and calls a closure that fits.
///
/// The scale multiplies every declared λ, element and l2. With one field declared `lambda = 1.0` the scale *is* λ.
///
/// | | scales | for |
/// |---|---|---|
/// | [`descending`](Self::descending) | from the one that empties the model downwards | models linear in their parameters |
/// | [`ascending`](Self::ascending) | 0, then upwards until the model is empty | networks: an all-zero network has no gradient and never comes back |
/// | [`grid`](Self::grid) | as given | comparing runs: cross-validation, stability selection |
///
/// ```
/// use candle_core::{DType, Device, Tensor, Var};
/// use candle_nn::Optimizer;
/// use l1_core::{Fista, ParamsFista, Path, Regularized, Rule, Visitor};
///
/// struct Model(Var);
/// impl Regularized for Model {
///     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
///         visitor.field("weight", Rule::l1(1.0), &self.0) // λ = 1: the scale is λ
///     }
/// }
///
/// // ½‖w − t‖²: at λ the minimum is t, soft-thresholded at λ.
/// let target = Tensor::new(&[4f64, -2.0, 1.0], &Device::Cpu)?;
/// let model = Model(Var::zeros(3, DType::F64, &Device::Cpu)?);
/// let vars = vec![model.0.clone()];
/// let loss = || model.0.sub(&target)?.sqr()?.sum_all()? * 0.5;
///
/// let run = Path::grid([4.0, 3.0, 1.5]).run(&model.regularizer()?, &vars, loss, |fit| {
///     let mut opt = Fista::new(vars.clone(), ParamsFista::new(fit.regularizer().clone(), loss))?;
///     let solution = opt.minimize(1e-10, 1000)?;
///     fit.metric("iterations", solution.iterations as f64);
///     Ok(())
/// })?;
/// let nonzeros: Vec<_> = run.points.iter().map(|point| point.nonzeros).collect();
/// assert_eq!(nonzeros, [0, 1, 2]);
///
/// run.restore(1, &vars)?; // the weights of λ = 3
/// assert!((model.0.to_vec1::<f64>()?[0] - 1.0).abs() < 1e-9);
/// # Ok::<(), l1_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a path does nothing before `run`"]
pub struct Path {
    pub(crate) grid: Grid,
    pub(crate) field: Option<String>,
    max_nonzeros: Option<usize>,
    max_explained: Option<f64>,
    min_gain: Option<f64>,
    patience: Option<(String, usize)>,
    pub(crate) keep_weights: bool,
    pub(crate) keep_stationarity: bool,
}

impl Path {
    /// `points` scales from the smallest that empties the model down to `ratio` times it, evenly spaced in their logarithm:
    /// `s_k = s_max·ratio^(k/(points − 1))`.
    ///
    /// s_max is found first: everything penalized is set to 0 and held there by a scale far above, while the closure fits what is not
    /// penalized (intercepts); then it is the largest [`scale_max`](crate::kernel::scale_max) of all fields. Fields with a ridge alone
    /// are emptied by no scale: they are fitted at s_max itself, which takes a few fits more.
    ///
    /// For models linear in their parameters. Where the gradient at 0 vanishes, as in a network whose layers are all 0, or the curve's slope at 0 is
    /// infinite, `run` says so: take [`ascending`](Self::ascending).
    ///
    /// * `points`: ≥ 2. `ratio`: in (0, 1).
    pub fn descending(points: usize, ratio: f64) -> Self {
        Self::new(Grid::Descending { points, ratio })
    }

    /// A fit without penalty (scale 0), then at `first`, `first·factor`, `first·factor²`, … until every field that a scale empties (one
    /// with a λ or an element; with [`of`](Self::of) those of the field) is 0.
    ///
    /// Scale 0 takes away every λ, element and l2, sign constraints stay. A run that is not empty after 200 scales
    /// ([`max_points`](Self::max_points)) ends with an error; what was fitted is in it.
    ///
    /// * `first`: finite and > 0. `factor`: finite and > 1.
    ///
    /// Lemhadri, Ruan, Abraham & Tibshirani, *LassoNet* (2021), §3: from dense to sparse.
    pub fn ascending(first: f64, factor: f64) -> Self {
        Self::new(Grid::Ascending { first, factor, max_points: grid::MAX_POINTS })
    }

    /// These scales in this order: strictly rising or strictly falling, each finite and > 0.
    pub fn grid(scales: impl IntoIterator<Item = f64>) -> Self {
        Self::new(Grid::Given(scales.into_iter().collect()))
    }

    fn new(grid: Grid) -> Self {
        Self {
            grid,
            field: None,
            max_nonzeros: None,
            max_explained: None,
            min_gain: None,
            patience: None,
            keep_weights: true,
            keep_stationarity: false,
        }
    }

    /// Moves the scale of one field alone ([`Regularizer::set_scale_of`]); all others stay as they are declared and scaled.
    pub fn of(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Ends after the first point with more than `limit` nonzero entries, of the fields that a large enough scale empties: with a λ or an
    /// element, and with [`of`](Self::of) those of the field. Not for ascending scales, which begin with the most.
    pub fn max_nonzeros(mut self, limit: usize) -> Self {
        self.max_nonzeros = Some(limit);
        self
    }

    /// Ends after the first point that explains at least this share of the loss, `1 − f(w)/f(0)`, f(0) being the loss with everything penalized at
    /// 0 and the rest fitted: glmnet's `devmax`, 0.999 there. Meant for losses whose best value is 0. In (0, 1); not for ascending scales.
    pub fn max_explained(mut self, share: f64) -> Self {
        self.max_explained = Some(share);
        self
    }

    /// Ends after the first point whose explained share of the loss r_k (see [`max_explained`](Self::max_explained)) gains little,
    /// `r_k − r_{k−1} < gain·r_k`, from the fifth point on: glmnet's `fdev`, 1e-5 there. ≥ 0; not for ascending scales.
    pub fn min_gain(mut self, gain: f64) -> Self {
        self.min_gain = Some(gain);
        self
    }

    /// Ends when a metric has had no new low for `points` points (≥ 1). Every fit has to record it, with [`Fit::metric`], or for `"held out"` with
    /// [`Fit::held_out`]. NaN is no new low.
    pub fn patience(mut self, metric: impl Into<String>, points: usize) -> Self {
        self.patience = Some((metric.into(), points));
        self
    }

    /// How many scales an [ascending](Self::ascending) path may try; 200 at first. Without meaning for the others.
    pub fn max_points(mut self, points: usize) -> Self {
        if let Grid::Ascending { max_points, .. } = &mut self.grid {
            *max_points = points;
        }
        self
    }

    /// Keeps no weights: a run then takes little memory, and nothing can be [restored](PathRun::restore) or
    /// [drawn](PathRun::coefficients) from it.
    pub fn without_weights(mut self) -> Self {
        self.keep_weights = false;
        self
    }

    /// Keeps the whole [`Stationarity`](crate::Stationarity) of every point, in place of its worst row alone.
    pub fn with_stationarity(mut self) -> Self {
        self.keep_stationarity = true;
        self
    }

    /// Fits at each scale in turn. Afterwards the variables hold the weights of the last point.
    ///
    /// * `regularizer`: what is penalized. It is copied; its own scale (with [`of`](Self::of): that of the field) and what it has frozen play no part, and
    ///   stay as they are.
    /// * `vars`: the model's variables, all that `fit` trains: their weights are kept for each point.
    /// * `loss`: the loss without the penalty over **all training examples**, a scalar: value, λ_max and certificate come from it.
    /// * `fit`: trains at [`fit.regularizer()`](Fit::regularizer) from where the variables are (a warm start), and may record metrics.
    ///
    /// # Errors
    /// Before the first fit: [`Error::InvalidGrid`], [`Error::InvalidPath`], [`Error::UnknownField`], [`Error::NothingPenalized`],
    /// [`Error::ForeignVariables`]. Whatever fails later, a NaN loss too, is [`Error::Path`], which holds the points so far.
    pub fn run<L, F>(&self, regularizer: &Regularizer, vars: &[Var], loss: L, fit: F) -> Result<PathRun>
    where
        L: Fn() -> candle_core::Result<Tensor>,
        F: FnMut(&mut Fit<'_>) -> Result<()>,
    {
        let direction = self.check()?;
        let mut walk = Walk::new(regularizer, self, vars, direction, loss, fit)?;
        walk.progress = Some(Progress::new("path", self.grid.length()));
        match self.go(&mut walk) {
            Ok(ended) => Ok(walk.into_run(ended)),
            Err(error) => Err(walk.into_error(error)),
        }
    }

    /// The smallest scale (with [`of`](Self::of): of the field) that empties the model: where a [descending](Self::descending) path begins.
    /// Found as is said there; afterwards the variables hold the empty model.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`Error::NoDescent`]; none has points.
    pub fn scale_max<L, F>(&self, regularizer: &Regularizer, vars: &[Var], loss: L, fit: F) -> Result<f64>
    where
        L: Fn() -> candle_core::Result<Tensor>,
        F: FnMut(&mut Fit<'_>) -> Result<()>,
    {
        let mut walk = Walk::new(regularizer, self, vars, Direction::Descending, loss, fit)?;
        walk.scale_max()
    }

    fn check(&self) -> Result<Direction> {
        let direction = self.grid.check()?;
        let refused = |rule: &'static str, why: String| Err(Error::InvalidPath { rule, why });
        let from_empty = direction == Direction::Descending;
        for (rule, is_set) in [
            ("max_nonzeros", self.max_nonzeros.is_some()),
            ("max_explained", self.max_explained.is_some()),
            ("min_gain", self.min_gain.is_some()),
        ] {
            if is_set && !from_empty {
                let why = "the scales ascend, so that the first fit has the most nonzeros and the lowest loss: it is for descending scales";
                return refused(rule, why.to_owned());
            }
        }
        match (self.max_explained, self.min_gain, &self.patience) {
            (Some(share), ..) if !(share > 0.0 && share < 1.0) => {
                refused("max_explained", format!("{share} (expected a share in (0, 1))"))
            }
            (_, Some(gain), _) if !crate::penalty::is_strength(gain) => {
                refused("min_gain", format!("{gain} (expected {})", crate::penalty::STRENGTH))
            }
            (_, _, Some((_, 0))) => refused("patience", "0 points (expected at least 1)".to_owned()),
            _ => Ok(direction),
        }
    }

    fn go<L, F>(&self, walk: &mut Walk<'_, L, F>) -> Result<Ended>
    where
        L: Fn() -> candle_core::Result<Tensor>,
        F: FnMut(&mut Fit<'_>) -> Result<()>,
    {
        match &self.grid {
            Grid::Given(scales) => {
                if self.max_explained.is_some() || self.min_gain.is_some() {
                    // The fits start where they start without the rule: a network that was set to 0 would never come back.
                    let lent = walk.vars.iter().map(|var| Lent::new(var.as_tensor())).collect::<Result<Vec<_>>>()?;
                    walk.empty_fit()?;
                    lent.into_iter().try_for_each(Lent::give_back)?;
                    self.check_empty_loss(&walk.run)?;
                }
                self.fit_all(walk, scales)
            }
            Grid::Descending { points, ratio } => {
                let largest = walk.scale_max()?;
                self.check_empty_loss(&walk.run)?;
                self.fit_all(walk, &grid::descending(largest, *points, *ratio))
            }
            Grid::Ascending { first, factor, max_points } => {
                if walk.emptied().next().is_none() {
                    let why = "nothing that it moves has a λ or an element above 0, and a ridge or a sign constraint alone empties nothing \
                               at any scale (expected a λ > 0): declare one, or take `Path::grid`";
                    return Err(Error::InvalidPath { rule: "ascending", why: why.to_owned() });
                }
                let mut scale = 0.0;
                for _ in 0..*max_points {
                    walk.point(scale)?;
                    if walk.nonzeros() == 0 {
                        return Ok(Ended::Empty);
                    }
                    if let Some(ended) = self.stop(&walk.run)? {
                        return Ok(ended);
                    }
                    scale = if scale == 0.0 { *first } else { scale * factor };
                }
                Err(Error::NeverEmpty { points: *max_points, nonzeros: walk.nonzeros() })
            }
        }
    }

    fn fit_all<L, F>(&self, walk: &mut Walk<'_, L, F>, scales: &[f64]) -> Result<Ended>
    where
        L: Fn() -> candle_core::Result<Tensor>,
        F: FnMut(&mut Fit<'_>) -> Result<()>,
    {
        for &scale in scales {
            walk.point(scale)?;
            if let Some(ended) = self.stop_at(&walk.run, walk.nonzeros())? {
                return Ok(ended);
            }
        }
        Ok(Ended::GridEnd)
    }

    /// The explained share of a loss is a share of f(0), which has to be above 0.
    fn check_empty_loss(&self, run: &PathRun) -> Result<()> {
        let rule = match (self.max_explained, self.min_gain) {
            (Some(_), _) => "max_explained",
            (None, Some(_)) => "min_gain",
            (None, None) => return Ok(()),
        };
        match run.empty_loss {
            Some(loss) if loss <= 0.0 || loss.is_nan() => {
                let why = format!(
                    "the loss of the empty model is {loss} (expected > 0): there is no share of it to explain. Add a constant to the loss \
                     so that its best value is 0, or leave the rule out"
                );
                Err(Error::InvalidPath { rule, why })
            }
            _ => Ok(()),
        }
    }

    /// Whether a rule ends the path after its last point.
    fn stop(&self, run: &PathRun) -> Result<Option<Ended>> {
        self.stop_at(run, run.points.last().map_or(0, |last| last.nonzeros))
    }

    /// The same where only some entries count for [`max_nonzeros`](Self::max_nonzeros).
    fn stop_at(&self, run: &PathRun, nonzeros: usize) -> Result<Option<Ended>> {
        let [before @ .., last] = run.points.as_slice() else { return Ok(None) };
        if let Some(limit) = self.max_nonzeros.filter(|limit| nonzeros > *limit) {
            return Ok(Some(Ended::Nonzeros { limit }));
        }
        let explained = |point: &PathPoint| run.empty_loss.map(|empty| 1.0 - point.loss / empty);
        if let (Some(share), Some(reached)) = (self.max_explained, explained(last))
            && reached >= share
        {
            return Ok(Some(Ended::Explained { share: reached }));
        }
        if let (Some(least), Some(reached), Some(previous)) =
            (self.min_gain, explained(last), before.last().and_then(explained))
            && run.points.len() >= FIRST_JUDGED
            && reached - previous < least * reached
        {
            return Ok(Some(Ended::Gain { gain: reached - previous }));
        }
        let Some((metric, points)) = &self.patience else { return Ok(None) };
        let value = |point: &PathPoint| point.metric(metric);
        let Some(_) = value(last) else {
            let why = format!("the fit recorded no metric `{metric}`: call `fit.metric(\"{metric}\", value)` in it");
            return Err(Error::InvalidPath { rule: "patience", why });
        };
        let mut best = (f64::INFINITY, 0);
        for (index, value) in run.points.iter().filter_map(value).enumerate() {
            if value < best.0 {
                best = (value, index);
            }
        }
        let waited = before.len() - best.1;
        Ok((waited >= *points).then(|| Ended::Patience { metric: metric.clone(), best: best.1 }))
    }
}

/// How many points a gain needs before it is judged: the first ones of a path gain little (glmnet's `mnlam`).
const FIRST_JUDGED: usize = 5;
