//! The walk along a path: one fit at one scale after the other, and what is measured after each.

use std::collections::HashSet;

use candle_core::{Tensor, Var};

use super::{
    Certificate, Direction, Ended, Fit, Path, PathField, PathPoint, PathRun,
    table::significant,
    weights::{Head, Snapshot},
};
use crate::{
    Error, GroupCounts, Param, Penalty, Regularizer, Result, gradient_check::check_scalar, kernel, optim::vars,
    progress::Progress,
};

/// A path on its way. Everything that fits a model at one scale after the other goes through here.
pub(crate) struct Walk<'v, L, F> {
    pub(crate) regularizer: Regularizer,
    pub(crate) field: Option<String>,
    pub(crate) vars: Vec<&'v Var>,
    pub(crate) loss: L,
    pub(crate) fit: F,
    keep_weights: bool,
    keep_stationarity: bool,
    /// The points so far.
    pub(crate) run: PathRun,
    /// The scale of the moment.
    scale: f64,
    /// The loss with everything penalized at 0, before the rest was fitted.
    pub(crate) start_loss: f64,
    /// What is told of each point, if anything.
    pub(crate) progress: Option<Progress>,
}

impl<'v, L, F> Walk<'v, L, F>
where
    L: Fn() -> candle_core::Result<Tensor>,
    F: FnMut(&mut Fit<'_>) -> Result<()>,
{
    /// # Errors
    /// Nothing has been fitted or changed then.
    pub(crate) fn new(
        regularizer: &Regularizer,
        path: &Path,
        vars: &'v [Var],
        direction: Direction,
        loss: L,
        fit: F,
    ) -> Result<Self> {
        let mut regularizer = regularizer.clone();
        // Where the support is frozen no λ does anything.
        regularizer.release_support()?;
        if let Some(field) = &path.field {
            regularizer.below(field)?;
        }
        vars::check_covers(&regularizer, vars.iter())?;
        let mut seen = HashSet::new();
        let vars: Vec<_> = vars.iter().filter(|var| var.dtype().is_float() && seen.insert(var.id())).collect();
        if let Some((index, var)) = vars.iter().enumerate().find(|(_, var)| !kernel::is_supported(var.dtype())) {
            let argument = vars::path(index, var, &regularizer).to_string();
            return Err(Error::UnsupportedDType { argument, found: var.dtype() });
        }
        let head = |(index, var): (usize, &&Var)| Head::new(var, vars::path(index, var, &regularizer));
        let run = PathRun {
            points: Vec::new(),
            direction,
            ended: Ended::Failed,
            field: path.field.clone(),
            scale_max: None,
            empty_loss: None,
            heads: vars.iter().enumerate().map(head).collect(),
        };
        let (keep_weights, keep_stationarity) = (path.keep_weights, path.keep_stationarity);
        let field = path.field.clone();
        Ok(Self {
            regularizer,
            field,
            vars,
            loss,
            fit,
            keep_weights,
            keep_stationarity,
            run,
            scale: f64::NAN,
            start_loss: 0.0,
            progress: None,
        })
    }

    /// Moves the scale of the whole or of the field.
    pub(crate) fn set_scale(&mut self, scale: f64) -> Result<()> {
        self.scale = scale;
        match &self.field {
            Some(field) => self.regularizer.set_scale_of(field, scale),
            None => self.regularizer.set_scale(scale),
        }
    }

    /// Runs the closure at a scale; the metrics that it recorded.
    pub(crate) fn fit_at(&mut self, scale: f64) -> Result<Vec<(String, f64)>> {
        self.set_scale(scale)?;
        self.fit_here(self.run.points.len(), scale)
    }

    /// The same at the scale as it is.
    pub(crate) fn fit_here(&mut self, index: usize, scale: f64) -> Result<Vec<(String, f64)>> {
        let regularizer = &self.regularizer;
        let mut fit = Fit { regularizer, index, scale, metrics: Vec::new() };
        (self.fit)(&mut fit)?;
        Ok(fit.metrics)
    }

    /// Fits at a scale, from where the variables are, and adds the point.
    pub(crate) fn point(&mut self, scale: f64) -> Result<()> {
        let metrics = self.fit_at(scale)?;
        let point = self.measure(scale, metrics)?;
        if let Some(progress) = &self.progress {
            progress.step(|| format!("scale {}, {} nonzeros", significant(scale), point.nonzeros));
        }
        self.run.points.push(point);
        Ok(())
    }

    /// What there is to say about the weights as they are.
    pub(crate) fn measure(&self, scale: f64, metrics: Vec<(String, f64)>) -> Result<PathPoint> {
        let graph = (self.loss)()?;
        check_scalar(&graph)?;
        let loss = kernel::number(&graph)?;
        if !loss.is_finite() {
            return Err(Error::NonFinitePoint { value: loss });
        }
        let stationarity = self.regularizer.stationarity(&graph.backward()?)?;
        let worst = stationarity.worst();
        let certificate = Certificate {
            relative: stationarity.largest(),
            path: worst.map(|row| row.path.clone()),
            place: worst.and_then(|row| row.distance.place.clone()),
        };
        let charged = self.regularizer.params().iter().filter_map(|param| Some((param, declared(param)?)));
        let fields = charged.map(|(param, penalty)| self.field(param, &penalty)).collect::<Result<Vec<_>>>()?;
        let penalty = self.regularizer.value()?;
        let weights = if self.keep_weights {
            Some(self.vars.iter().map(|var| Snapshot::of(var)).collect::<Result<_>>()?)
        } else {
            None
        };
        Ok(PathPoint {
            index: self.run.points.len(),
            scale,
            loss,
            penalty,
            objective: loss + penalty,
            metrics,
            nonzeros: fields.iter().map(|field| field.entries - field.zeros).sum(),
            entries: fields.iter().map(|field| field.entries).sum(),
            fields,
            certificate,
            stationarity: self.keep_stationarity.then_some(stationarity),
            weights,
        })
    }

    fn field(&self, param: &Param, declared: &Penalty) -> Result<PathField> {
        let penalty = self.regularizer.penalty_of(param).unwrap_or(Penalty::NONE);
        let tensor = param.tensor();
        // As it is declared: at a scale of 0 there would be no groups.
        let groups = kernel::groups(tensor, declared)?;
        Ok(PathField {
            path: param.path().clone(),
            lambda: penalty.lambda(),
            element: penalty.element(),
            l2: penalty.l2(),
            entries: tensor.elem_count(),
            zeros: kernel::counts(tensor)?.zeros,
            groups: groups.map(|(total, zeros)| GroupCounts { total, zeros }),
        })
    }

    /// The entries at the last point that are not 0 though some scale of this path empties them.
    pub(crate) fn nonzeros(&self) -> usize {
        let Some(last) = self.run.points.last() else { return 0 };
        let fields = self.emptied().filter_map(|(param, _)| last.field(param.path().as_str()));
        fields.map(|field| field.entries - field.zeros).sum()
    }

    pub(crate) fn into_run(self, ended: Ended) -> PathRun {
        PathRun { ended, ..self.run }
    }

    /// The error of a fit, with the points before it.
    pub(crate) fn into_error(self, error: Error) -> Error {
        let (index, scale) = (self.run.points.len(), self.scale);
        let so_far = Box::new(self.into_run(Ended::Failed));
        Error::Path { index, scale, so_far, source: Box::new(error) }
    }
}

/// The penalty of a parameter as it is declared, if that charges anything.
pub(crate) fn declared(param: &Param) -> Option<Penalty> {
    param.decision().penalty().copied().filter(|penalty| !penalty.is_none())
}
