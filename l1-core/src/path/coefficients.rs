//! One tensor's weights along a path, as lines over the scale.

use serde::Serialize;

use super::{PathRun, weights::Snapshot};
use crate::{ParamPath, Place, Result, nearest::nearest, penalty::Groups};

/// The entries of one tensor along a [`PathRun`]: those that are nonzero at some point.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Coefficients {
    /// The tensor.
    pub path: ParamPath,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// The scale of each point.
    pub scales: Vec<f64>,
    /// One for each entry that is nonzero at some point, in row-major order.
    pub lines: Vec<CoefficientLine>,
}

/// One entry along a path.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CoefficientLine {
    /// Its index in row-major order.
    pub entry: usize,
    /// The same in each dimension.
    pub place: Place,
    /// Its value at each point.
    pub values: Vec<f64>,
}

impl CoefficientLine {
    /// The largest |value| along the path; NaN counts for nothing.
    #[must_use]
    pub fn largest(&self) -> f64 {
        self.values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
    }
}

impl PathRun {
    /// The weights of one tensor at every point: what a coefficient path draws.
    ///
    /// * `path`: of a variable of the run, as in `fc.weight`.
    ///
    /// # Errors
    /// [`Error::UnknownField`](crate::Error::UnknownField) for another path; [`Error::NoSuchPoint`](crate::Error::NoSuchPoint) where the
    /// weights were not kept.
    pub fn coefficients(&self, path: &str) -> Result<Coefficients> {
        let Some(at) = self.heads.iter().position(|head| head.path == path) else {
            let nearest = nearest(path, self.heads.iter().map(|head| head.path.as_str()));
            return Err(crate::Error::UnknownField { field: path.into(), nearest });
        };
        let head = &self.heads[at];
        let mut snapshots = Vec::new();
        for index in 0..self.points.len() {
            snapshots.extend(self.weights(index)?.get(at));
        }
        let lines = lines(&snapshots, &head.dims);
        Ok(Coefficients { path: head.path.clone(), shape: head.dims.clone(), scales: self.scales(), lines })
    }
}

fn lines(snapshots: &[&Snapshot], dims: &[usize]) -> Vec<CoefficientLine> {
    let entries: usize = dims.iter().product();
    let mut is_alive = vec![false; entries];
    for snapshot in snapshots {
        snapshot.each(|entry, value| {
            if let Some(alive) = is_alive.get_mut(entry) {
                *alive |= value != 0.0;
            }
        });
    }
    let mut line_of = vec![usize::MAX; entries];
    let mut lines = Vec::new();
    let groups = Groups { slabs: 1, rows: 1, count: entries, run: 1 };
    for entry in (0..entries).filter(|entry| is_alive[*entry]) {
        line_of[entry] = lines.len();
        let values = vec![0.0; snapshots.len()];
        lines.push(CoefficientLine { entry, place: Place::of_group(dims, groups, entry), values });
    }
    for (point, snapshot) in snapshots.iter().enumerate() {
        snapshot.each(|entry, value| {
            if let Some(line) = line_of.get(entry).and_then(|line| lines.get_mut(*line)) {
                line.values[point] = value;
            }
        });
    }
    lines
}
