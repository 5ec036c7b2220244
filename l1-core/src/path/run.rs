//! What a path found: one point for each scale.

use std::{collections::HashMap, fmt};

use candle_core::{TensorId, Var};
use serde::Serialize;

use super::{
    Direction,
    fit::HELD_OUT,
    weights::{Head, Snapshot},
};
use crate::{Error, GroupCounts, ParamPath, Place, Result, Stationarity};

/// The points of a [`Path`](crate::Path), in the order in which they were fitted.
///
/// `Display` prints a table, [`to_csv`](Self::to_csv) gives one row for each point, and serde JSON (without the weights; NaN and ∞ as
/// `null`).
///
/// The weights of every point are kept as sparse snapshots: a tensor of which less than half (of F64: two thirds) is nonzero takes 8
/// bytes for each nonzero entry (F64: 12), any other all of its entries. [`Path::without_weights`](crate::Path::without_weights) keeps
/// none.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct PathRun {
    /// One for each scale.
    pub points: Vec<PathPoint>,
    /// Which way the scales go.
    pub direction: Direction,
    /// Why there are no further points.
    pub ended: Ended,
    /// The field whose scale was moved; none if it was that of the whole.
    pub field: Option<String>,
    /// The smallest scale that empties the model, where it was computed: of a descending path.
    pub scale_max: Option<f64>,
    /// The loss with everything penalized at 0 and the rest fitted, where it was computed.
    pub empty_loss: Option<f64>,
    /// The tensors whose weights were kept.
    #[serde(skip)]
    pub(crate) heads: Vec<Head>,
}

/// One fit of a [`PathRun`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PathPoint {
    /// Its number, from 0.
    pub index: usize,
    /// What every λ, element and l2 (of the field) was multiplied by.
    pub scale: f64,
    /// The loss without the penalty, over all training examples.
    pub loss: f64,
    /// Ω(w).
    pub penalty: f64,
    /// Loss + Ω(w).
    pub objective: f64,
    /// What the fit recorded, in the order of the first recording.
    pub metrics: Vec<(String, f64)>,
    /// Entries of penalized parameters that are not exactly 0.
    pub nonzeros: usize,
    /// Entries of penalized parameters.
    pub entries: usize,
    /// One for each penalized parameter, in the order of the visit.
    pub fields: Vec<PathField>,
    /// How far the weights are from stationary for loss + Ω.
    pub certificate: Certificate,
    /// The same for every parameter, if it was [asked for](crate::Path::with_stationarity).
    pub stationarity: Option<Stationarity>,
    /// The weights, unless they were not to be kept.
    #[serde(skip)]
    pub(crate) weights: Option<Vec<Snapshot>>,
}

/// One penalized parameter at one point.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PathField {
    /// Where it is.
    pub path: ParamPath,
    /// λ, every scale included.
    pub lambda: f64,
    /// The λ of single entries under groups, every scale included.
    pub element: f64,
    /// The ridge, every scale included.
    pub l2: f64,
    /// Its entries.
    pub entries: usize,
    /// Those that are exactly 0.
    pub zeros: usize,
    /// Its groups or singular values, if its penalty has such.
    pub groups: Option<GroupCounts>,
}

/// The largest relative distance from a stationary point, of all parameters: see [`Stationarity`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Certificate {
    /// The distance of −∇f to ∂Ω over the strength of the penalty; NaN if a weight or gradient is NaN.
    pub relative: f64,
    /// The parameter; none where nothing has a gradient.
    pub path: Option<ParamPath>,
    /// The entry or group of it.
    pub place: Option<Place>,
}

/// Why a path has no further points.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The grid was at its end.
    GridEnd,
    /// Everything penalized was 0: the end of an ascending path.
    Empty,
    /// More nonzeros than [`max_nonzeros`](crate::Path::max_nonzeros).
    Nonzeros {
        /// The limit.
        limit: usize,
    },
    /// As much of the loss was explained as [`max_explained`](crate::Path::max_explained) asks.
    Explained {
        /// The share reached.
        share: f64,
    },
    /// The last point gained less than [`min_gain`](crate::Path::min_gain).
    Gain {
        /// What it gained.
        gain: f64,
    },
    /// [`patience`](crate::Path::patience) with a metric ran out.
    Patience {
        /// The metric.
        metric: String,
        /// The point at which it was lowest.
        best: usize,
    },
    /// A search came to what was asked for: [`Budget`](crate::Budget).
    Budget,
    /// An error came in between: [`Error::Path`].
    Failed,
}

impl fmt::Debug for PathRun {
    /// How many points there are: not each of their weights.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, direction, ended, field, .. } = self;
        let mut debug = f.debug_struct("PathRun");
        debug.field("points", &points.len()).field("direction", direction).field("ended", ended);
        debug.field("field", field).finish_non_exhaustive()
    }
}

impl PathField {
    /// Nonzero groups; nonzero entries where the penalty has no groups.
    #[must_use]
    pub fn living(&self) -> usize {
        self.groups.map_or(self.entries - self.zeros, |groups| groups.total - groups.zeros)
    }
}

impl PathPoint {
    /// A metric that the fit recorded.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// The score on held-out data, if the fit recorded one.
    #[must_use]
    pub fn held_out(&self) -> Option<f64> {
        self.metric(HELD_OUT)
    }

    /// A penalized parameter at this point.
    #[must_use]
    pub fn field(&self, path: &str) -> Option<&PathField> {
        self.fields.iter().find(|field| field.path == path)
    }

    /// Nonzero groups of all penalized parameters; entries where a penalty has no groups.
    #[must_use]
    pub fn living(&self) -> usize {
        self.fields.iter().map(PathField::living).sum()
    }
}

impl PathRun {
    /// The scales, in the order of the points.
    #[must_use]
    pub fn scales(&self) -> Vec<f64> {
        self.points.iter().map(|point| point.scale).collect()
    }

    /// Puts the weights of a point back into the variables of the run, bit for bit.
    ///
    /// * `vars`: all variables that the run was given; further ones are left alone. They are told by their identity, in any order. For the same
    ///   model built anew see [`restore_into`](Self::restore_into).
    ///
    /// # Errors
    /// All before anything is written: [`Error::NoSuchPoint`] for an index beyond the end, or without weights;
    /// [`Error::ForeignVariables`] where a variable of the run is missing among `vars`.
    pub fn restore(&self, index: usize, vars: &[Var]) -> Result<()> {
        let by_id: HashMap<TensorId, &Var> = vars.iter().map(|var| (var.id(), var)).collect();
        let found = |head: &Head| by_id.get(&head.id).map(|var| (*var).clone());
        self.put_back(index, found, vars.len())
    }

    /// [`restore`](Self::restore) into another model of the same build: its variables are told by their paths, which have to be those of
    /// the model of the run.
    ///
    /// # Errors
    /// As [`restore`](Self::restore), and [`Error::ShapeMismatch`].
    pub fn restore_into(&self, index: usize, regularizer: &crate::Regularizer) -> Result<()> {
        let found = |head: &Head| {
            let tensor = regularizer.param(head.path.as_str())?.tensor();
            Var::from_tensor(tensor).ok().filter(|_| tensor.is_variable())
        };
        self.put_back(index, found, regularizer.params().len())
    }

    fn put_back(&self, index: usize, find: impl Fn(&Head) -> Option<Var>, number: usize) -> Result<()> {
        let weights = self.weights(index)?;
        let mut work = Vec::new();
        for (head, snapshot) in self.heads.iter().zip(weights) {
            let Some(var) = find(head) else {
                let first = head.path.clone();
                return Err(Error::ForeignVariables { regularized: self.heads.len(), first, variables: number });
            };
            if var.dims() != head.dims {
                let (found, expected) = (var.shape().clone(), head.dims.clone().into());
                return Err(Error::ShapeMismatch { argument: "var", found, expected });
            }
            let tensor = snapshot.tensor(head)?.to_dtype(var.dtype())?.to_device(var.device())?;
            work.push((var, tensor));
        }
        for (var, tensor) in work.iter().filter(|(var, _)| var.elem_count() > 0) {
            var.set(tensor)?;
        }
        Ok(())
    }

    pub(crate) fn weights(&self, index: usize) -> Result<&[Snapshot]> {
        let points = self.points.len();
        let point = self.points.get(index).ok_or(Error::NoSuchPoint { index, points })?;
        point.weights.as_deref().ok_or(Error::NoSuchPoint { index, points })
    }
}
