//! The path of a linear layer as the [`PathRun`] that paths of other models are.

use std::ops::ControlFlow;

use candle_core::{Tensor, Var};

use super::{Empty, Follower, LinearPath, LinearPoint, solve::Coordinate};
use crate::{
    Certificate, Ended, Error, Fit, GroupCounts, ParamPath, Path, PathField, PathPoint, PathRun, Penalty, Place,
    Regularizer, Result,
    path::{
        grid::{self, Grid},
        weights::{Head, Snapshot},
    },
    penalty::{Groups, Layout},
};

impl Path {
    /// [`run`](Self::run) for one linear layer, without an optimizer: exact, and hundreds of times faster. See [`LinearPath`].
    ///
    /// * `layer`: the layer and its inputs. Of its own scales none is used, but this path's.
    /// * `regularizer`: of the layer's model. What else it penalizes is held where it is, and is no part of the run.
    /// * `loss`: of n × k scores, a scalar; over all examples, the same function at each call.
    /// * `each`: called at every point, when the layer's variables hold its weights; may record metrics, as
    ///   [`held_out`](Fit::held_out).
    ///
    /// Afterwards the variables hold the weights of the last point. A point whose certificate is above the layer's
    /// [`tolerance`](LinearPath::tolerance) ran out of iterations.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_nn::{Linear, VarBuilder, VarMap, linear, loss};
    /// use l1_core::{LinearPath, Path, Regularized, Rule, Visitor};
    ///
    /// struct Model {
    ///     fc: Linear,
    /// }
    /// # impl Regularized for Model {
    /// #     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
    /// #         visitor.field("fc", Rule::l1(1.0), &self.fc) // so that the scale is λ
    /// #     }
    /// # }
    ///
    /// let x = Tensor::new(&[[1f64, 3.0], [-1.0, 3.0], [0.0, -2.0], [2.0, 0.0]], &Device::Cpu)?;
    /// let y = Tensor::new(&[[7f64], [-13.0], [0.8], [4.0]], &Device::Cpu)?;
    /// let varmap = VarMap::new();
    /// let model = Model { fc: linear(2, 1, VarBuilder::from_varmap(&varmap, DType::F64, &Device::Cpu).pp("fc"))? };
    ///
    /// let layer = LinearPath::new(&model.fc, &x);
    /// let loss = |scores: &Tensor| loss::mse(scores, &y);
    /// let run = Path::descending(20, 0.01).run_linear(&layer, &model.regularizer()?, loss, |_| Ok(()))?;
    /// assert_eq!((run.points[0].nonzeros, run.points[19].nonzeros), (0, 2));
    /// assert!(run.points.iter().all(|point| point.certificate.relative <= 1e-4));
    /// # Ok::<(), l1_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Before the first point as [`run`](Self::run); [`Error::NoLinearPath`] for layers, inputs and penalties that have none, with what
    /// was found; [`Error::NoDescent`]; [`Error::InvalidPath`] for [`ascending`](Self::ascending), which begins without a penalty, and for
    /// [`with_stationarity`](Self::with_stationarity), since only the worst of a point is known; [`Error::InvalidParameter`] for a
    /// tolerance or a number of iterations out of range; [`Error::DecayUnused`]; [`Error::NonFiniteLoss`], [`Error::LossShape`] and
    /// the loss's own. What fails at a point is [`Error::Path`], which holds the points before it.
    pub fn run_linear<L, F>(
        &self,
        layer: &LinearPath<'_>,
        regularizer: &Regularizer,
        loss: L,
        each: F,
    ) -> Result<PathRun>
    where
        L: Fn(&Tensor) -> candle_core::Result<Tensor>,
        F: FnMut(&mut Fit<'_>) -> Result<()>,
    {
        let direction = self.check()?;
        layer.check()?;
        if self.keep_stationarity {
            let why = "a linear layer's path keeps the worst of each point alone, its certificate: leave the rule out, or take `Path::run`";
            return Err(Error::InvalidPath { rule: "with_stationarity", why: why.to_owned() });
        }
        let (at, penalty) = layer.penalty(regularizer)?;
        let mut follower = Recorder {
            path: self,
            layer,
            penalty: penalty.scaled(self.other_scale(&at, regularizer)?),
            regularizer: regularizer.clone(),
            each,
            scale: f64::NAN,
            run: PathRun {
                points: Vec::new(),
                direction,
                ended: Ended::GridEnd,
                field: self.field.clone(),
                scale_max: None,
                empty_loss: None,
                heads: layer.variables(regularizer, &at).map(|(var, path)| Head::new(&var, path)).collect(),
            },
            at,
        };
        let outcome = layer.walk(regularizer, follower.penalty, loss, &mut follower);
        let Recorder { mut run, scale, .. } = follower;
        match outcome {
            Ok(()) => Ok(run),
            Err(error) if scale.is_nan() => Err(error),
            Err(error) => {
                run.ended = Ended::Failed;
                Err(Error::Path { index: run.points.len(), scale, so_far: Box::new(run), source: Box::new(error) })
            }
        }
    }

    /// The scale that multiplies beside the one that is moved.
    fn other_scale(&self, at: &ParamPath, regularizer: &Regularizer) -> Result<f64> {
        let is_layers = |index: &usize| regularizer.params()[*index].path() == at;
        match &self.field {
            None => Ok(regularizer.param(at.as_str()).map_or(1.0, |param| param.scale())),
            Some(field) if regularizer.below(field)?.iter().any(is_layers) => Ok(regularizer.scale()),
            Some(field) => {
                let why = format!("`{field}` is not where the layer's weight is, `{at}`");
                Err(Error::InvalidPath { rule: "of", why })
            }
        }
    }
}

/// Makes a [`PathRun`] of a layer's points.
struct Recorder<'a, F> {
    path: &'a Path,
    layer: &'a LinearPath<'a>,
    /// Where the layer's weight is in its model.
    at: ParamPath,
    /// At scale 1.
    penalty: Penalty,
    regularizer: Regularizer,
    each: F,
    /// Where the path has come to; NaN before its first point.
    scale: f64,
    run: PathRun,
}

impl<F: FnMut(&mut Fit<'_>) -> Result<()>> Follower for Recorder<'_, F> {
    fn scales(&mut self, empty: &Empty) -> Result<Vec<f64>> {
        (self.run.scale_max, self.run.empty_loss) = (Some(empty.scale_max), Some(empty.loss));
        match &self.path.grid {
            Grid::Given(scales) => Ok(scales.clone()),
            Grid::Descending { points, ratio } if empty.scale_max > 0.0 && empty.scale_max.is_finite() => {
                Ok(grid::descending(empty.scale_max, *points, *ratio))
            }
            Grid::Descending { .. } => {
                let why = format!(
                    "the smallest scale that empties it is {} (expected a number > 0): give the scales, `Path::grid(..)`",
                    empty.scale_max
                );
                Err(Error::NoDescent { path: self.at.clone(), why })
            }
            Grid::Ascending { .. } => {
                let why =
                    "a linear layer's path begins where it is empty: take `Path::descending(..)` or `Path::grid(..)`";
                Err(Error::InvalidPath { rule: "ascending", why: why.to_owned() })
            }
        }
    }

    fn goes_to(&mut self, scale: f64) {
        self.scale = scale;
    }

    fn take(&mut self, found: LinearPoint) -> Result<ControlFlow<()>> {
        let scale = found.scale;
        found.write(self.layer.weight, self.layer.bias)?;
        match &self.path.field {
            Some(field) => self.regularizer.set_scale_of(field, scale)?,
            None => self.regularizer.set_scale(scale)?,
        }
        let index = self.run.points.len();
        let mut fit = Fit { regularizer: &self.regularizer, index, scale, metrics: Vec::new() };
        (self.each)(&mut fit)?;
        let metrics = fit.metrics;
        self.run.points.push(self.point(found, index, metrics)?);
        Ok(match self.path.stop(&self.run)? {
            Some(ended) => {
                self.run.ended = ended;
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        })
    }
}

impl<F> Recorder<'_, F> {
    fn certificate(&self, found: &LinearPoint) -> Certificate {
        let (path, place) = match found.worst {
            None => (Some(self.at.clone()), None),
            Some(Coordinate::Intercept(output)) => {
                let param = self.layer.bias.and_then(|bias| self.regularizer.get(bias));
                let path = param.map_or_else(|| "bias".into(), |param| param.path().clone());
                let outputs = Groups { slabs: 1, rows: 1, count: found.shape.0, run: 1 };
                (Some(path), Some(Place::of_group(&[found.shape.0], outputs, output)))
            }
            Some(Coordinate::Weight { column, output }) => {
                let (outputs, inputs) = found.shape;
                let (groups, group) = match self.penalty.layout(&[outputs, inputs]) {
                    Ok(Layout::Groups(groups)) => (groups, column),
                    _ => (Groups { slabs: 1, rows: 1, count: outputs * inputs, run: 1 }, output * inputs + column),
                };
                (Some(self.at.clone()), Some(Place::of_group(&[outputs, inputs], groups, group)))
            }
        };
        Certificate { relative: found.violation, path, place }
    }

    fn point(&self, found: LinearPoint, index: usize, metrics: Vec<(String, f64)>) -> Result<PathPoint> {
        let penalty = self.penalty.scaled(found.scale);
        let (entries, nonzeros) = (self.layer.weight.elem_count(), found.nonzeros());
        let groups = match self.penalty.layout(self.layer.weight.dims()) {
            Ok(Layout::Groups(groups)) => {
                let living = found.weights.iter().filter(|(_, w)| w.iter().any(|w| *w != 0.0)).count();
                Some(GroupCounts { total: groups.number(), zeros: groups.number() - living })
            }
            _ => None,
        };
        let field = PathField {
            path: self.at.clone(),
            lambda: penalty.lambda(),
            element: penalty.element(),
            l2: penalty.l2(),
            entries,
            zeros: entries - nonzeros,
            groups,
        };
        let weights = || {
            let variables = self.layer.variables(&self.regularizer, &self.at);
            variables.map(|(var, _)| Snapshot::of(&var)).collect::<Result<Vec<_>>>()
        };
        Ok(PathPoint {
            index,
            scale: found.scale,
            loss: found.loss,
            penalty: found.penalty,
            objective: found.objective,
            metrics,
            nonzeros,
            entries,
            fields: vec![field],
            certificate: self.certificate(&found),
            stationarity: None,
            weights: if self.path.keep_weights { Some(weights()?) } else { None },
        })
    }
}

impl LinearPath<'_> {
    /// W, and b where it is a variable, with their paths.
    fn variables(&self, regularizer: &Regularizer, at: &ParamPath) -> impl Iterator<Item = (Var, ParamPath)> {
        let variable = |tensor: &Tensor| Var::from_tensor(tensor).ok().filter(|_| tensor.is_variable());
        let bias = self.bias.map(|bias| {
            let path = regularizer.get(bias).map_or_else(|| "bias".into(), |param| param.path().clone());
            (bias, path)
        });
        let tensors = [Some((self.weight, at.clone())), bias].into_iter().flatten();
        tensors.filter_map(move |(tensor, path)| Some((variable(tensor)?, path))).collect::<Vec<_>>().into_iter()
    }
}
