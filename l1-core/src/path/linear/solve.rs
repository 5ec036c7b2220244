//! The solution at one scale, from that at the scale before: Newton steps on the columns that may be in use, until the conditions of a
//! solution hold on all columns.

use super::{
    Intercept,
    charge::Charge,
    columns::Columns,
    loss::Loss,
    newton::{Newton, Position, Step, Task},
    pulls::Pulls,
};
use crate::{Error, Result, scalar::exceeds};

/// A step that leaves more of the violation than this had a curvature that is to be renewed.
const GOOD_STEP: f64 = 0.15;
/// So many steps without a smaller violation are the last.
const PATIENCE: usize = 20;

/// Where the path has come to.
#[derive(Debug)]
pub(super) struct Solver<'f> {
    columns: Columns,
    loss: Loss<'f>,
    outputs: usize,
    is_free: bool,
    at: Position,
    newton: Newton,
    pulls: Pulls,
    /// What rounding may leave of a gradient when the intercept is fitted.
    rounding: f64,
    /// Gradients of columns with their means, k numbers each: of the columns that `pulls` has asked.
    v: Vec<f64>,
}

/// A coordinate of the problem.
#[derive(Clone, Copy, Debug)]
pub(super) enum Coordinate {
    /// The intercept's, of one output.
    Intercept(usize),
    /// The first of a unit of weights.
    Weight { column: usize, output: usize },
}

/// What a fit ended with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// The largest relative distance.
    pub(super) violation: f64,
    /// Where that is; none if it is 0.
    pub(super) worst: Option<Coordinate>,
    /// Loss without penalty.
    pub(super) loss: f64,
    pub(super) penalty: f64,
}

/// Columns that may be in use, and units that are.
#[derive(Debug)]
struct Working {
    candidates: Vec<usize>,
    is_candidate: Vec<bool>,
    active: Vec<usize>,
    is_active: Vec<bool>,
}

impl Working {
    fn admit(&mut self, column: usize) {
        if !self.is_candidate[column] {
            self.is_candidate[column] = true;
            self.candidates.push(column);
        }
    }
}

impl<'f> Solver<'f> {
    /// * `charge`: at any scale.
    ///
    /// # Errors
    /// The loss's own, and [`Error::NonFiniteLoss`] if it is none with all weights at 0.
    pub(super) fn new(
        columns: Columns,
        mut loss: Loss<'f>,
        outputs: usize,
        intercept: &Intercept,
        charge: &Charge,
    ) -> Result<Self> {
        let mut at = Position::empty(&columns, outputs);
        match intercept {
            Intercept::None => {}
            Intercept::Constant(values) => at.offsets.clone_from(values),
            Intercept::Free(values) => at.w[columns.count * outputs..].copy_from_slice(values),
        }
        at.scores = at.scores_of(&columns, charge, &[]);
        at.value = loss.evaluate(&at.scores, &mut at.theta)?;
        if !at.value.is_finite() {
            let place = "the beginning of the path, where every weight is 0";
            return Err(Error::NonFiniteLoss { value: at.value, place });
        }
        let is_free = matches!(intercept, Intercept::Free(_));
        let rounding = if is_free { rounding(&columns, &mut loss, &at, outputs)? } else { 0.0 };
        Ok(Self {
            outputs,
            is_free,
            newton: Newton::new(&columns, outputs, is_free),
            pulls: Pulls::new(&columns, outputs, charge.size > 1),
            v: vec![0.0; columns.count * outputs],
            rounding,
            at,
            columns,
            loss,
        })
    }

    /// Fits the intercept with all weights at 0, and asks all columns.
    ///
    /// * `tolerance`: of its gradient, relative to the largest of a weight's.
    pub(super) fn empty(&mut self, charge: &Charge, tolerance: f64) -> Result<()> {
        self.ask_above(f64::NEG_INFINITY);
        if !self.is_free {
            return Ok(());
        }
        let largest = |v: &[f64]| v.iter().fold(0.0_f64, |largest, v| largest.max(v.abs()));
        let mut bound = tolerance * largest(&self.v);
        for _ in 0..100 {
            if largest(&self.at.free_gradient(&self.columns)) <= bound {
                // Once more where that bound is to hold.
                self.ask_above(f64::NEG_INFINITY);
                let new = tolerance * largest(&self.v);
                if largest(&self.at.free_gradient(&self.columns)) <= new {
                    break;
                }
                bound = new;
            }
            self.newton.renew();
            if let Step::None = self.step(charge, &mut Vec::new(), &[], 0.1 * bound)? {
                break;
            }
        }
        self.ask_above(f64::NEG_INFINITY);
        Ok(())
    }

    /// Gradients up to here are what rounding has left of a loss that the intercept alone makes least.
    pub(super) fn rounding(&self) -> f64 {
        self.rounding
    }

    /// The loss where the path has come to.
    pub(super) fn loss_of_scores(&self) -> f64 {
        self.at.value
    }

    /// Gradients of the weights, column by column; of all of them after [`empty`](Self::empty).
    pub(super) fn gradients(&self) -> &[f64] {
        &self.v
    }

    /// From here to the solution under `charge`.
    ///
    /// * `bold`: the penalty at twice this scale less the one before: what it holds stays out at first (Tibshirani et al. 2012).
    pub(super) fn fit(&mut self, charge: &Charge, bold: &Charge, tolerance: f64, most: usize) -> Result<Outcome> {
        let units = self.v.len() / charge.size;
        let mut working = Working {
            candidates: Vec::new(),
            is_candidate: vec![false; self.columns.count],
            active: self.at.support.clone(),
            is_active: vec![false; units],
        };
        working.active.iter().for_each(|unit| working.is_active[*unit] = true);
        let mut violation = self.violation_of_all(charge);
        self.admit(charge, bold, &mut working);
        let (mut before, mut least, mut in_vain) = (f64::INFINITY, f64::INFINITY, 0);
        for _ in 0..most {
            if violation <= tolerance {
                // The rule may be wrong.
                violation = self.violation_of_all(charge);
                if violation <= tolerance && !self.has_more(charge, &mut working)? {
                    break;
                }
                self.admit(charge, charge, &mut working);
                (before, least) = (f64::INFINITY, f64::INFINITY);
            }
            if violation > GOOD_STEP * before {
                self.newton.renew();
            }
            self.activate(charge, &mut working);
            let inner = 0.1 * charge.weakest() * tolerance.max(1e-3 * violation.min(1.0));
            let known = working.active.len();
            let step = self.step(charge, &mut working.active, &working.candidates, inner)?;
            working.active[known..].iter().for_each(|unit| working.is_active[*unit] = true);
            before = violation;
            self.pulls.ask(&self.columns, &working.candidates, &self.at.theta, &mut self.v);
            violation = self.violation_of(charge, working.candidates.iter().copied());
            match step {
                Step::Taken => {}
                Step::Shortened => {
                    self.newton.renew();
                }
                Step::Rejected => {
                    // A curvature that was found elsewhere may be to blame.
                    self.newton.renew();
                    continue;
                }
                Step::None if violation > tolerance && self.newton.renew() => {}
                Step::None if violation > tolerance => break,
                Step::None => {}
            }
            // Where nothing but rounding is left, no step comes nearer.
            in_vain = if violation < 0.9 * least { 0 } else { in_vain + 1 };
            least = least.min(violation);
            if in_vain >= PATIENCE * self.newton.turns(working.active.len(), charge) {
                break;
            }
        }
        let (violation, worst) = self.worst_of_all(charge);
        Ok(Outcome { violation, worst, loss: self.at.value, penalty: self.at.penalty(charge, &self.at.support) })
    }

    /// Whether a step leaves a zero that is stationary, as every zero is where the slope at 0 is infinite: then the distance says nothing of it.
    /// Each unit is tried once.
    fn has_more(&mut self, charge: &Charge, working: &mut Working) -> Result<bool> {
        if !charge.holds_every_zero() {
            return Ok(false);
        }
        self.newton.refresh(&mut self.loss, &self.at)?;
        self.admit(charge, charge, working);
        let known = working.active.len();
        self.activate(charge, working);
        Ok(working.active.len() > known)
    }

    fn step(&mut self, charge: &Charge, active: &mut Vec<usize>, candidates: &[usize], tolerance: f64) -> Result<Step> {
        let task = Task { columns: &self.columns, charge, candidates, tolerance };
        let step = self.newton.step(&task, &mut self.loss, &mut self.at, active)?;
        if matches!(step, Step::Taken | Step::Shortened) {
            self.pulls.moved();
        }
        Ok(step)
    }

    fn ask_above(&mut self, threshold: f64) {
        self.pulls.ask_above(threshold, &self.columns, &self.at.theta, &mut self.v);
    }

    /// Takes in the columns with a unit in use, and those with one that `bold` does not hold.
    fn admit(&mut self, charge: &Charge, bold: &Charge, working: &mut Working) {
        self.at.support.iter().for_each(|unit| working.admit(charge.start(*unit) / self.outputs));
        let held = bold.held();
        self.ask_above(held);
        for column in 0..self.columns.count {
            let may_leave = !working.is_candidate[column] && exceeds(self.pulls.bound(column), held);
            if may_leave && charge.units_of(column).any(|unit| self.leaves(bold, unit)) {
                working.admit(column);
            }
        }
    }

    /// Takes those units of the candidates into use that leave 0.
    fn activate(&self, charge: &Charge, working: &mut Working) {
        for &column in &working.candidates {
            for unit in charge.units_of(column) {
                if !working.is_active[unit] && self.leaves(charge, unit) {
                    working.is_active[unit] = true;
                    working.active.push(unit);
                }
            }
        }
    }

    fn leaves(&self, charge: &Charge, unit: usize) -> bool {
        let start = charge.start(unit);
        let curvature = || self.newton.curvature_along(&self.columns, start..start + charge.size);
        charge.leaves(&self.v[start..start + charge.size], curvature, 0.0)
    }

    /// The largest relative distance of the intercept and of all columns.
    fn violation_of_all(&mut self, charge: &Charge) -> f64 {
        self.worst_of_all(charge).0
    }

    /// The same, and where it is.
    fn worst_of_all(&mut self, charge: &Charge) -> (f64, Option<Coordinate>) {
        let held = charge.held();
        self.ask_above(held);
        let in_use = self.at.support.iter().map(|unit| charge.start(*unit) / self.outputs);
        let open = (0..self.columns.count).filter(|column| exceeds(self.pulls.bound(*column), held));
        self.worst_of(charge, in_use.chain(open))
    }

    /// The largest of the intercept and some columns.
    fn violation_of(&self, charge: &Charge, columns: impl Iterator<Item = usize>) -> f64 {
        self.worst_of(charge, columns).0
    }

    fn worst_of(&self, charge: &Charge, columns: impl Iterator<Item = usize>) -> (f64, Option<Coordinate>) {
        let mut worst = (0.0_f64, None);
        let mut see = |distance: f64, at: Coordinate| {
            if distance > worst.0 || distance.is_nan() {
                worst = (distance, Some(at));
            }
        };
        if self.is_free {
            let free = self.at.free_gradient(&self.columns).into_iter().enumerate();
            free.for_each(|(output, v)| see(v.abs() / charge.weakest(), Coordinate::Intercept(output)));
        }
        for unit in columns.flat_map(|column| charge.units_of(column)) {
            let start = charge.start(unit);
            let coordinates = start..start + charge.size;
            let at = Coordinate::Weight { column: start / self.outputs, output: start % self.outputs };
            see(charge.distance(&self.at.w[coordinates.clone()], &self.v[coordinates]), at);
        }
        worst
    }

    /// The columns in use with their weights, and the intercept for columns with their means.
    pub(super) fn weights(&self, charge: &Charge) -> (Vec<(usize, Vec<f64>)>, Vec<f64>) {
        let k = self.outputs;
        let mut columns: Vec<usize> = self.at.support.iter().map(|unit| charge.start(*unit) / k).collect();
        columns.sort_unstable();
        columns.dedup();
        let free = &self.at.w[self.columns.count * k..];
        let mut intercept: Vec<f64> = free.iter().zip(&self.at.offsets).map(|(w, offset)| w + offset).collect();
        let weights = columns.into_iter().map(|column| {
            let w = self.at.w[column * k..][..k].to_vec();
            let mean = self.columns.mean(column);
            intercept.iter_mut().zip(&w).for_each(|(intercept, w)| *intercept -= mean * w);
            (column, w)
        });
        (weights.collect(), intercept)
    }

    /// What was done, in words.
    pub(super) fn work(&self) -> String {
        let (calls, asked, count) = (self.loss.calls, self.pulls.asked, self.columns.count);
        format!(
            "{}, {calls} calls of the loss, columns asked {:.1} times",
            self.newton.work(),
            asked as f64 / count as f64
        )
    }
}

/// A gradient is a sum over a column and θ, and where the intercept cancels most of θ it leaves some units in the last place of what θ was:
/// by Cauchy & Schwarz no more than `‖x‖·‖θ‖` of these, the intercept not fitted yet, or 0.
fn rounding(columns: &Columns, loss: &mut Loss<'_>, at: &Position, outputs: usize) -> Result<f64> {
    const UNITS: f64 = 32.0;
    let mut theta = Vec::new();
    loss.evaluate(&vec![0.0; outputs * columns.length], &mut theta)?;
    let norm = |theta: &[f64]| theta.iter().map(|theta| theta * theta).sum::<f64>().sqrt();
    let of_column = |column| columns.norm(column).hypot(columns.mean(column) * (columns.rows as f64).sqrt());
    let widest = (0..columns.count).map(of_column).fold(0.0, f64::max);
    let size = norm(&theta).max(norm(&at.theta));
    Ok(if size.is_finite() { UNITS * loss.ulp() * widest * size } else { 0.0 })
}
