//! The solution at one scale, from that at the scale before: proximal Newton steps on the columns that may be in use, until the conditions
//! of a solution hold on all columns.

use super::{
    Intercept,
    charge::Charge,
    columns::Columns,
    gram::Gram,
    loss::{Curvature, Loss},
    quadratic::Quadratic,
};
use crate::{Error, Result};

/// Damping of the curvature while every full step is accepted: what keeps singular problems regular.
const LEAST_DAMPING: f64 = 1e-7;
/// From here on damping leaves nothing to move.
const MOST_DAMPING: f64 = 1e12;
/// The least share of a step is 2 to the minus this, less 1.
const MOST_HALVINGS: i32 = 12;
/// A Newton step that leaves more of the violation than this had a curvature that is to be renewed.
const GOOD_STEP: f64 = 0.15;
/// So many steps without a smaller violation are the last.
const PATIENCE: usize = 20;
/// The passes of one inner problem.
const MOST_PASSES: usize = 500;

/// Where the path has come to.
#[derive(Debug)]
pub(super) struct Solver<'f> {
    columns: Columns,
    loss: Loss<'f>,
    outputs: usize,
    is_free: bool,
    /// Added to each example's scores.
    offsets: Vec<f64>,
    /// W column by column, then the intercept, for columns without their means.
    w: Vec<f64>,
    /// The gradient there, of columns with their means.
    v: Vec<f64>,
    /// No less than what each column pulls with, whatever holds it; of all columns, like `v`.
    pulls: Vec<f64>,
    /// Whether they are of these scores on all columns.
    is_complete: bool,
    /// Units that are not 0.
    support: Vec<usize>,
    scores: Vec<f64>,
    /// Of the loss at the scores.
    value: f64,
    theta: Vec<f64>,
    curvature: Option<Curvature>,
    /// Whether that is of other scores than these.
    is_stale: bool,
    is_to_be_renewed: bool,
    damping: f64,
    gram: Gram,
    quadratic: Quadratic,
    pub(super) counts: Counts,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) newton: usize,
    pub(super) passes: usize,
    pub(super) curvatures: usize,
    pub(super) calls: usize,
    pub(super) products: usize,
}

/// What a fit ended with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// The largest relative distance.
    pub(super) violation: f64,
    /// Loss without penalty.
    pub(super) loss: f64,
    pub(super) penalty: f64,
}

/// What one Newton step led to.
#[derive(Debug)]
enum Step {
    Taken {
        share: f64,
    },
    /// The objective has not fallen along its way: the curvature is to be damped more.
    Rejected,
    /// The objective cannot be lowered any more.
    None,
}

impl<'f> Solver<'f> {
    /// # Errors
    /// The loss's own, and [`Error::NonFiniteLoss`] if it is none with all weights at 0.
    pub(super) fn new(columns: Columns, mut loss: Loss<'f>, outputs: usize, intercept: &Intercept) -> Result<Self> {
        let coordinates = (columns.count + 1) * outputs;
        let mut w = vec![0.0; coordinates];
        let mut offsets = vec![0.0; outputs];
        match intercept {
            Intercept::None => {}
            Intercept::Constant(values) => offsets.clone_from(values),
            Intercept::Free(values) => w[columns.count * outputs..].copy_from_slice(values),
        }
        let mut solver = Self {
            outputs,
            is_free: matches!(intercept, Intercept::Free(_)),
            offsets,
            w,
            v: vec![0.0; coordinates],
            pulls: vec![0.0; columns.count],
            is_complete: false,
            support: Vec::new(),
            scores: Vec::new(),
            value: 0.0,
            theta: Vec::new(),
            curvature: None,
            is_stale: false,
            is_to_be_renewed: true,
            damping: LEAST_DAMPING,
            gram: Gram::new(outputs, coordinates),
            quadratic: Quadratic::default(),
            counts: Counts::default(),
            columns,
            loss: {
                loss.calls = 0;
                loss
            },
        };
        solver.scores = solver.scores_of(&solver.w);
        solver.value = solver.loss.evaluate(&solver.scores, &mut solver.theta)?;
        if !solver.value.is_finite() {
            let place = "the beginning of the path, where every weight is 0";
            return Err(Error::NonFiniteLoss { value: solver.value, place });
        }
        Ok(solver)
    }

    /// Fits the intercept with all weights at 0, and looks at all columns.
    ///
    /// * `tolerance`: of its gradient, relative to the largest of a weight's.
    pub(super) fn empty(&mut self, charge: &Charge, tolerance: f64) -> Result<()> {
        for _ in 0..100 {
            self.correlate_all();
            let (weights, free) = self.v.split_at(self.columns.count * self.outputs);
            let largest = |v: &[f64]| v.iter().fold(0.0_f64, |largest, v| largest.max(v.abs()));
            let bound = tolerance * largest(weights);
            if !self.is_free || largest(free) <= bound {
                break;
            }
            self.is_to_be_renewed = self.is_stale;
            if let Step::None = self.newton(charge, &mut Vec::new(), &[], 0.1 * bound)? {
                break;
            }
        }
        self.correlate_all();
        Ok(())
    }

    /// The loss where the path has come to.
    pub(super) fn loss_of_scores(&self) -> f64 {
        self.value
    }

    /// Gradients of the weights, column by column.
    pub(super) fn gradients(&self) -> &[f64] {
        &self.v[..self.columns.count * self.outputs]
    }

    /// From here to the solution under `charge`.
    ///
    /// * `bold`: the penalty at twice this scale less the one before: what it holds stays out at first (Tibshirani et al. 2012).
    pub(super) fn fit(&mut self, charge: &Charge, bold: &Charge, tolerance: f64, most: usize) -> Result<Outcome> {
        let mut is_candidate = vec![false; self.columns.count];
        let mut candidates = Vec::new();
        let mut active = self.support.clone();
        let mut is_active = vec![false; self.columns.count * self.outputs / charge.size];
        active.iter().for_each(|unit| is_active[*unit] = true);
        let (mut before, mut least, mut in_vain) = (f64::INFINITY, f64::INFINITY, 0);
        let mut violation = self.violation(charge, None);
        self.admit(charge, bold, &mut candidates, &mut is_candidate);
        for _ in 0..most {
            if violation <= tolerance {
                // The rule may be wrong: all columns are asked.
                if !self.is_complete {
                    self.correlate_all();
                    violation = self.violation(charge, None);
                }
                if violation <= tolerance {
                    break;
                }
                self.admit(charge, charge, &mut candidates, &mut is_candidate);
                (before, least) = (f64::INFINITY, f64::INFINITY);
            }
            if violation > GOOD_STEP * before {
                self.is_to_be_renewed = self.is_stale;
            }
            for &column in &candidates {
                for unit in charge.units_of(column) {
                    if !is_active[unit] && self.leaves(charge, &self.v, unit) {
                        is_active[unit] = true;
                        active.push(unit);
                    }
                }
            }
            let inner = charge.weakest() * tolerance.max(1e-3 * violation.min(1.0)) * 0.1;
            let known = active.len();
            let step = self.newton(charge, &mut active, &candidates, inner)?;
            if std::env::var("TRACE").is_ok() {
                eprintln!(
                    "  before {violation:e} inner {inner:e} damping {:e} step {step:?} value {} passes {} stale {} curv {:?}",
                    self.damping, self.value, self.counts.passes, self.is_stale, self.counts.curvatures
                );
            }
            active[known..].iter().for_each(|unit| is_active[*unit] = true);
            before = violation;
            self.correlate(&candidates);
            violation = self.violation(charge, Some(&candidates));
            match step {
                Step::None if violation > tolerance && self.is_stale => self.is_to_be_renewed = true,
                Step::None if violation > tolerance => break,
                Step::Taken { share } if share < 1.0 => self.is_to_be_renewed = true,
                Step::Rejected => {
                    // What was found elsewhere may be to blame.
                    self.is_to_be_renewed = self.is_stale;
                    continue;
                }
                _ => {}
            }
            // Where nothing but rounding is left, no step comes nearer.
            in_vain = if violation < 0.9 * least { 0 } else { in_vain + 1 };
            least = least.min(violation);
            if in_vain >= PATIENCE {
                break;
            }
        }
        if !self.is_complete {
            self.correlate_all();
            violation = self.violation(charge, None);
        }
        let penalty = self.support.iter().map(|unit| charge.value(self.unit(charge, *unit))).sum();
        self.counts.calls = self.loss.calls;
        Ok(Outcome { violation, loss: self.value, penalty })
    }

    fn unit(&self, charge: &Charge, unit: usize) -> &[f64] {
        &self.w[charge.start(unit)..][..charge.size]
    }

    fn leaves(&self, charge: &Charge, v: &[f64], unit: usize) -> bool {
        let start = charge.start(unit);
        let curvature = || {
            let column = self.columns.column(start / self.outputs);
            let of_output = |output| {
                let curvature = self.curvature.as_ref().and_then(|curvature| curvature.of(output, output));
                curvature.map_or(0.0, |h| column.iter().zip(h).map(|(x, h)| x * x * h).sum::<f64>())
            };
            (start..start + charge.size).map(|at| of_output(at % self.outputs)).fold(0.0, f64::max)
        };
        charge.leaves(&v[start..start + charge.size], curvature, 0.0)
    }

    /// Takes in the columns with a unit in use, or one that the charge does not hold.
    fn admit(&self, charge: &Charge, bold: &Charge, candidates: &mut Vec<usize>, is_candidate: &mut [bool]) {
        for column in self.support.iter().map(|unit| charge.start(*unit) / self.outputs) {
            if !is_candidate[column] {
                is_candidate[column] = true;
                candidates.push(column);
            }
        }
        let held = bold.held();
        for column in 0..self.columns.count {
            let may_leave = !is_candidate[column] && !(self.pulls[column] <= held);
            if may_leave && bold.units_of(column).any(|unit| self.leaves(bold, &self.v, unit)) {
                is_candidate[column] = true;
                candidates.push(column);
            }
        }
    }

    /// The largest relative distance of the intercept and of all columns, or of some.
    fn violation(&self, charge: &Charge, columns: Option<&[usize]>) -> f64 {
        let mut largest = 0.0_f64;
        let mut see = |distance: f64| {
            if distance > largest || distance.is_nan() {
                largest = distance;
            }
        };
        if self.is_free {
            self.v[self.columns.count * self.outputs..].iter().for_each(|v| see(v.abs() / charge.weakest()));
        }
        let mut of_column = |column: usize| {
            for unit in charge.units_of(column) {
                let start = charge.start(unit);
                see(charge.distance(self.unit(charge, unit), &self.v[start..start + charge.size]));
            }
        };
        match columns {
            Some(columns) => columns.iter().for_each(|column| of_column(*column)),
            None => {
                let of_unit = |unit: &usize| charge.start(*unit) / self.outputs;
                self.support.iter().map(of_unit).for_each(&mut of_column);
                let held = charge.held();
                let may_leave = |column: &usize| !(self.pulls[*column] <= held);
                (0..self.columns.count).filter(may_leave).for_each(of_column);
            }
        }
        largest
    }

    fn correlate_all(&mut self) {
        if self.is_complete {
            return;
        }
        self.is_complete = true;
        self.counts.products += 1;
        let Self { columns, theta, v, .. } = self;
        columns.correlations(theta, v);
        self.correct(None);
        for (pull, v) in self.pulls.iter_mut().zip(self.v.chunks_exact(self.outputs)) {
            *pull = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        }
    }

    fn correlate(&mut self, candidates: &[usize]) {
        let Self { columns, theta, v, .. } = self;
        columns.correlations_of(candidates, theta, v);
        self.correct(Some(candidates));
    }

    /// The intercept's gradient, and that of each column's mean.
    fn correct(&mut self, candidates: Option<&[usize]>) {
        let Self { columns, theta, v, outputs, .. } = self;
        let (outputs, length) = (*outputs, columns.length);
        let sums: Vec<f64> = theta.chunks_exact(length).map(|theta| theta.iter().sum()).collect();
        v[columns.count * outputs..].copy_from_slice(&sums);
        let mut of_column = |column: usize| {
            let mean = columns.mean(column);
            if mean != 0.0 {
                v[column * outputs..][..outputs].iter_mut().zip(&sums).for_each(|(v, sum)| *v += mean * sum);
            }
        };
        match candidates {
            Some(candidates) => candidates.iter().for_each(|column| of_column(*column)),
            None => (0..columns.count).for_each(of_column),
        }
    }

    /// Xw + b, from the units in use.
    fn scores_of(&self, w: &[f64]) -> Vec<f64> {
        let Self { columns, outputs, .. } = self;
        let (rows, length) = (columns.rows, columns.length);
        let mut scores = vec![0.0; outputs * length];
        let free = &w[columns.count * outputs..];
        for (output, scores) in scores.chunks_exact_mut(length).enumerate() {
            scores[..rows].fill(self.offsets[output] + free[output]);
        }
        scores
    }

    fn renew_curvature(&mut self) -> Result<()> {
        if self.curvature.is_none() || self.is_to_be_renewed {
            let Self { loss, scores, theta, damping, .. } = self;
            self.curvature = Some(Curvature::estimate(loss, scores, theta, *damping)?);
            self.gram.clear();
            self.counts.curvatures += 1;
            (self.is_stale, self.is_to_be_renewed) = (false, false);
        }
        if let Some(curvature) = self.curvature.as_mut().filter(|curvature| curvature.damping() != self.damping) {
            curvature.set_damping(self.damping);
            self.gram.clear();
        }
        Ok(())
    }

    /// One Newton step on some units. More of the candidates may join them.
    fn newton(
        &mut self,
        charge: &Charge,
        active: &mut Vec<usize>,
        candidates: &[usize],
        tolerance: f64,
    ) -> Result<Step> {
        self.renew_curvature()?;
        self.counts.newton += 1;
        let Some(curvature) = self.curvature.take() else { return Ok(Step::None) };
        let step = self.newton_with(&curvature, charge, active, candidates, tolerance);
        self.curvature = Some(curvature);
        step
    }

    fn newton_with(
        &mut self,
        curvature: &Curvature,
        charge: &Charge,
        active: &mut Vec<usize>,
        candidates: &[usize],
        tolerance: f64,
    ) -> Result<Step> {
        let (outputs, count, length) = (self.outputs, self.columns.count, self.columns.length);
        let free = count * outputs..(count + 1) * outputs;
        let Self { gram, columns, quadratic, .. } = self;
        let used = active.len() * charge.size + if self.is_free { outputs } else { 0 };
        if gram.len() > 2 * used + 64 {
            gram.clear();
        }
        let mut units = Vec::new();
        if self.is_free {
            units.extend(
                free.clone().map(|coordinate| (gram.add(columns, curvature, coordinate..coordinate + 1), true)),
            );
        }
        for &unit in &*active {
            let start = charge.start(unit);
            units.push((gram.add(columns, curvature, start..start + charge.size), false));
        }
        // Of columns without their means, that of the intercept being apart.
        let mut centered = vec![0.0; gram.len()];
        for output in 0..outputs {
            let slots: Vec<usize> =
                (0..gram.len()).filter(|slot| gram.coordinates[*slot] % outputs == output).collect();
            let of = slots.iter().map(|slot| gram.coordinates[*slot] / outputs);
            let mut sums = Vec::new();
            columns.dots(of, &self.theta[output * length..][..length], &mut sums);
            slots.iter().zip(sums).for_each(|(slot, sum)| centered[*slot] = sum);
        }
        quadratic.begin(gram.coordinates.iter().map(|at| self.w[*at]), centered.into_iter());
        for (slot, is_free) in units {
            quadratic.use_unit(gram, slot, if is_free { 1 } else { charge.size }, is_free);
        }
        let mut is_active = vec![false; count * outputs / charge.size];
        active.iter().for_each(|unit| is_active[*unit] = true);
        let mut model = vec![0.0; count * outputs];
        let mut target;
        for _ in 0..10 {
            self.counts.passes += quadratic.solve(gram, charge, tolerance, MOST_PASSES);
            // What the model says of the other candidates.
            target = change(columns, gram, quadratic, &self.w, outputs);
            if candidates.is_empty() {
                break;
            }
            let mut theta = self.theta.clone();
            curvature.multiply_add(&target, &mut theta);
            columns.correlations_of(candidates, &theta, &mut model);
            let known = active.len();
            for &column in candidates {
                for unit in charge.units_of(column) {
                    let start = charge.start(unit);
                    if is_active[unit] {
                        continue;
                    }
                    let along = || {
                        let of_output = |output| {
                            let (x, h) = (columns.column(column), curvature.of(output, output));
                            h.map_or(0.0, |h| x.iter().zip(h).map(|(x, h)| x * x * h).sum::<f64>())
                        };
                        (start..start + charge.size).map(|at| of_output(at % outputs)).fold(0.0, f64::max)
                    };
                    if charge.leaves(&model[start..start + charge.size], along, 1e-2 * tolerance / charge.weakest()) {
                        is_active[unit] = true;
                        active.push(unit);
                    }
                }
            }
            if active.len() == known {
                break;
            }
            for &unit in &active[known..] {
                let start = charge.start(unit);
                let slot = gram.add(columns, curvature, start..start + charge.size);
                let theta = &self.theta;
                let gradient = |coordinate: usize| {
                    let mut sum = Vec::new();
                    let theta = &theta[coordinate % outputs * length..][..length];
                    columns.dots([coordinate / outputs].into_iter(), theta, &mut sum);
                    sum[0]
                };
                quadratic.extend(gram, &self.w, gradient);
                quadratic.use_unit(gram, slot, charge.size, false);
            }
        }
        self.search(charge, active)
    }

    /// Along the way to the inner problem's solution, to where the objective has fallen.
    fn search(&mut self, charge: &Charge, active: &[usize]) -> Result<Step> {
        // Near the solution it is lost in the rounding of the objective, and the step is as good as ever.
        let decrease = self.quadratic.decrease(charge).max(0.0);
        let coordinates = &self.gram.coordinates;
        let target = self.quadratic.weights().to_vec();
        let start: Vec<f64> = coordinates.iter().map(|at| self.w[*at]).collect();
        if start == target || decrease.is_nan() {
            return Ok(Step::None);
        }
        let omega =
            |w: &[f64]| active.iter().map(|unit| charge.value(&w[charge.start(*unit)..][..charge.size])).sum::<f64>();
        let objective = self.value + omega(&self.w);
        let rounding = 16.0 * self.loss.ulp() * self.value.abs().max(objective.abs());
        let delta = change(&self.columns, &self.gram, &self.quadratic, &self.w, self.outputs);
        let before = self.scores.clone();
        let mut theta = Vec::new();
        let mut last = self.value;
        // Along a line a penalty that is not convex may rise before it falls: then only the whole step is tried.
        for halvings in 0..if charge.is_convex() { MOST_HALVINGS } else { 1 } {
            let share = 0.5_f64.powi(halvings);
            for ((at, start), target) in self.gram.coordinates.iter().zip(&start).zip(&target) {
                self.w[*at] = if halvings == 0 { *target } else { start + share * (target - start) };
            }
            let scores: Vec<f64> = before.iter().zip(&delta).map(|(before, delta)| before + share * delta).collect();
            let value = self.loss.evaluate(&scores, &mut theta)?;
            let after = value + omega(&self.w);
            let slack = if halvings == 0 { rounding } else { 0.0 };
            if after <= objective - 1e-4 * share * decrease + slack {
                (self.scores, self.theta, self.value) = (scores, theta, value);
                (self.is_stale, self.is_complete) = (true, false);
                if halvings == 0 {
                    self.damping = (self.damping / 10.0).max(LEAST_DAMPING);
                } else {
                    self.damp();
                }
                let is_in_use = |unit: &&usize| self.w[charge.start(**unit)..][..charge.size].iter().any(|w| *w != 0.0);
                self.support = active.iter().filter(is_in_use).copied().collect();
                return Ok(Step::Taken { share });
            }
            last = value;
        }
        self.gram.coordinates.iter().zip(&start).for_each(|(at, start)| self.w[*at] = *start);
        if self.damping < MOST_DAMPING {
            self.damp();
            return Ok(Step::Rejected);
        }
        if !last.is_finite() {
            return Err(Error::NonFiniteLoss { value: last, place: "the smallest step from a point of the path" });
        }
        Ok(Step::None)
    }

    fn damp(&mut self) {
        self.damping = (10.0 * self.damping).max(1e-3);
    }

    /// The columns in use with their weights, and the intercept for columns with their means.
    pub(super) fn weights(&self, charge: &Charge) -> (Vec<(usize, Vec<f64>)>, Vec<f64>) {
        let mut columns: Vec<usize> = self.support.iter().map(|unit| charge.start(*unit) / self.outputs).collect();
        columns.sort_unstable();
        columns.dedup();
        let k = self.outputs;
        let mut intercept: Vec<f64> =
            self.w[self.columns.count * k..].iter().zip(&self.offsets).map(|(w, offset)| w + offset).collect();
        let weights = columns.into_iter().map(|column| {
            let w = self.w[column * k..][..k].to_vec();
            let mean = self.columns.mean(column);
            intercept.iter_mut().zip(&w).for_each(|(intercept, w)| *intercept -= mean * w);
            (column, w)
        });
        (weights.collect(), intercept)
    }
}

/// What the way to the inner problem's solution changes of the scores.
fn change(columns: &Columns, gram: &Gram, quadratic: &Quadratic, w: &[f64], outputs: usize) -> Vec<f64> {
    let length = columns.length;
    let mut scores = vec![0.0; outputs * length];
    for (coordinate, target) in gram.coordinates.iter().zip(quadratic.weights()) {
        let change = target - w[*coordinate];
        if change != 0.0 {
            let scores = &mut scores[coordinate % outputs * length..][..length];
            super::columns::add(scores, change, columns.column(coordinate / outputs));
        }
    }
    scores
}
