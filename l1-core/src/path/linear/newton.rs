//! One proximal Newton step: a parabola in place of the loss, solved on the units in use, and a search along the way to its minimum.
//!
//! Lee, Sun & Saunders, *Proximal Newton-type methods for minimizing composite functions* (2014).

use super::{
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
/// The passes of one inner problem.
const MOST_PASSES: usize = 500;
/// Coordinates of one inner problem: more than these take turns, since its matrix has the square of that many numbers.
const MOST_TOGETHER: usize = 4096;
/// Times that candidates may join one inner problem.
const MOST_JOINS: usize = 10;

/// Weights, and the loss at them.
#[derive(Debug)]
pub(super) struct Position {
    outputs: usize,
    /// W column by column, then the intercept, for columns without their means.
    pub(super) w: Vec<f64>,
    /// Units that are not 0.
    pub(super) support: Vec<usize>,
    /// Added to each example's scores.
    pub(super) offsets: Vec<f64>,
    pub(super) scores: Vec<f64>,
    /// Of the loss at the scores.
    pub(super) value: f64,
    /// Its gradient there.
    pub(super) theta: Vec<f64>,
}

impl Position {
    pub(super) fn empty(columns: &Columns, outputs: usize) -> Self {
        Self {
            outputs,
            w: vec![0.0; (columns.count + 1) * outputs],
            support: Vec::new(),
            offsets: vec![0.0; outputs],
            scores: Vec::new(),
            value: f64::NAN,
            theta: Vec::new(),
        }
    }

    /// xW + b, W being 0 but for these units.
    pub(super) fn scores_of(&self, columns: &Columns, charge: &Charge, units: &[usize]) -> Vec<f64> {
        let (rows, length, k) = (columns.rows, columns.length, self.outputs);
        let mut scores = vec![0.0; k * length];
        let free = &self.w[columns.count * k..];
        for ((offset, free), scores) in self.offsets.iter().zip(free).zip(scores.chunks_exact_mut(length)) {
            scores[..rows].fill(offset + free);
        }
        for coordinate in units.iter().flat_map(|unit| charge.start(*unit)..charge.start(*unit) + charge.size) {
            let w = self.w[coordinate];
            if w != 0.0 {
                super::columns::add(
                    &mut scores[coordinate % k * length..][..length],
                    w,
                    columns.column(coordinate / k),
                );
            }
        }
        scores
    }

    /// Ω of these units.
    pub(super) fn penalty(&self, charge: &Charge, units: &[usize]) -> f64 {
        units.iter().map(|unit| charge.value(&self.w[charge.start(*unit)..][..charge.size])).sum()
    }

    /// The intercept's gradient.
    pub(super) fn free_gradient(&self, columns: &Columns) -> Vec<f64> {
        self.theta.chunks_exact(columns.length).map(|theta| theta.iter().sum()).collect()
    }
}

/// What a step is to do.
#[derive(Debug)]
pub(super) struct Task<'a> {
    pub(super) columns: &'a Columns,
    pub(super) charge: &'a Charge,
    /// Columns with units that may come into use.
    pub(super) candidates: &'a [usize],
    /// Of the inner problem: what passes may still change of gradients.
    pub(super) tolerance: f64,
}

/// What became of a step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Taken,
    /// Taken a part of the way.
    Shortened,
    /// The objective has not fallen along its way: the curvature is damped more now.
    Rejected,
    /// The objective cannot be lowered any more.
    None,
}

/// The model of the loss, kept from step to step.
#[derive(Debug)]
pub(super) struct Newton {
    outputs: usize,
    is_free: bool,
    curvature: Option<Curvature>,
    /// Whether that is of other scores than the present.
    is_stale: bool,
    is_to_be_renewed: bool,
    damping: f64,
    gram: Gram,
    quadratic: Quadratic,
    /// Which of the units in use come next, where they take turns.
    turn: usize,
    steps: usize,
    passes: usize,
    curvatures: usize,
}

impl Newton {
    pub(super) fn new(columns: &Columns, outputs: usize, is_free: bool) -> Self {
        Self {
            outputs,
            is_free,
            curvature: None,
            is_stale: false,
            is_to_be_renewed: false,
            damping: LEAST_DAMPING,
            gram: Gram::new(outputs, (columns.count + 1) * outputs),
            quadratic: Quadratic::default(),
            turn: 0,
            steps: 0,
            passes: 0,
            curvatures: 0,
        }
    }

    pub(super) fn work(&self) -> String {
        let Self { steps, passes, curvatures, .. } = self;
        format!("{steps} Newton steps, {passes} passes, {curvatures} curvatures")
    }

    /// Asks for the curvature at the present scores, if it is of others. Returns whether it is.
    pub(super) fn renew(&mut self) -> bool {
        self.is_to_be_renewed = self.is_stale;
        self.is_stale
    }

    /// In how many steps all of these units have had their turn.
    pub(super) fn turns(&self, units: usize, charge: &Charge) -> usize {
        units.div_ceil(MOST_TOGETHER / charge.size.min(MOST_TOGETHER)).max(1)
    }

    /// The largest curvature along coordinates of one column; 0 if none is known.
    pub(super) fn curvature_along(&self, columns: &Columns, coordinates: std::ops::Range<usize>) -> f64 {
        let Some(curvature) = &self.curvature else { return 0.0 };
        curvature_along(curvature, columns, self.outputs, coordinates)
    }

    /// Takes the curvature at the present scores, if none is known or it is of others.
    pub(super) fn refresh(&mut self, loss: &mut Loss<'_>, at: &Position) -> Result<()> {
        if self.curvature.is_none() || self.is_stale {
            self.estimate(loss, at)?;
        }
        Ok(())
    }

    fn estimate(&mut self, loss: &mut Loss<'_>, at: &Position) -> Result<()> {
        self.gram.clear();
        self.curvatures += 1;
        (self.is_stale, self.is_to_be_renewed) = (false, false);
        self.curvature = Some(Curvature::estimate(loss, &at.scores, &at.theta, self.damping)?);
        Ok(())
    }

    /// One step on the units in use, which candidates may join.
    ///
    /// # Errors
    /// The loss's own, and [`Error::NonFiniteLoss`] where it is none however small the step.
    pub(super) fn step(
        &mut self,
        task: &Task<'_>,
        loss: &mut Loss<'_>,
        at: &mut Position,
        active: &mut Vec<usize>,
    ) -> Result<Step> {
        self.steps += 1;
        if self.is_to_be_renewed || self.curvature.is_none() {
            self.estimate(loss, at)?;
        }
        let Some(mut curvature) = self.curvature.take() else { return Ok(Step::None) };
        if curvature.damping() != self.damping {
            curvature.set_damping(self.damping);
            self.gram.clear();
        }
        self.solve(&curvature, task, at, active);
        self.curvature = Some(curvature);
        self.search(task, loss, at, active)
    }

    /// The minimum of the parabola and the penalty.
    fn solve(&mut self, curvature: &Curvature, task: &Task<'_>, at: &Position, active: &mut Vec<usize>) {
        let Task { columns, charge, .. } = *task;
        let turns = self.turns(active.len(), charge);
        let each = active.len().div_ceil(turns);
        let turn = self.turn % turns;
        self.turn += 1;
        let own = (turn * each).min(active.len())..((turn + 1) * each).min(active.len());
        let Self { gram, quadratic, outputs, .. } = self;
        let (outputs, free) = (*outputs, if self.is_free { *outputs } else { 0 });
        let coordinates = |unit: usize| charge.start(unit)..charge.start(unit) + charge.size;
        let intercept = columns.count * outputs..columns.count * outputs + free;
        let used = own.len() * charge.size + free;
        if gram.len() > used + used / 4 + 16 {
            gram.retain(intercept.clone().chain(active[own.clone()].iter().flat_map(|unit| coordinates(*unit))));
        }
        let mut slots: Vec<(usize, bool)> = Vec::new();
        slots.extend(intercept.map(|at| (gram.add(columns, curvature, at..at + 1), true)));
        slots.extend(active[own].iter().map(|unit| (gram.add(columns, curvature, coordinates(*unit)), false)));
        quadratic.begin(gram, &at.w, gradients(columns, gram, 0, &at.theta, outputs));
        for (slot, is_free) in slots {
            quadratic.use_unit(gram, slot, if is_free { 1 } else { charge.size }, is_free);
        }

        let mut joined: Vec<usize> = active.clone();
        joined.sort_unstable();
        let mut pulls = Vec::new();
        for _ in 0..MOST_JOINS {
            self.passes += quadratic.solve(gram, charge, task.tolerance, MOST_PASSES);
            if task.candidates.is_empty() || turns > 1 {
                break;
            }
            // What the model says of the other candidates.
            let mut theta = at.theta.clone();
            curvature.multiply_add(&change(columns, gram, quadratic, &at.w, outputs), &mut theta);
            columns.correlations(task.candidates, &theta, &mut pulls);
            let known = active.len();
            let slack = 1e-2 * task.tolerance / charge.weakest();
            for (&column, v) in task.candidates.iter().zip(pulls.chunks_exact(outputs)) {
                for (unit, v) in charge.units_of(column).zip(v.chunks_exact(charge.size)) {
                    let along = || curvature_along(curvature, columns, outputs, coordinates(unit));
                    if charge.leaves(v, along, slack) && joined.binary_search(&unit).is_err() {
                        active.push(unit);
                    }
                }
            }
            if active.len() == known {
                break;
            }
            let first = gram.len();
            let units = &active[known..];
            let slots: Vec<usize> = units.iter().map(|unit| gram.add(columns, curvature, coordinates(*unit))).collect();
            quadratic.extend(gram, &at.w, gradients(columns, gram, first, &at.theta, outputs));
            slots.into_iter().for_each(|slot| quadratic.use_unit(gram, slot, charge.size, false));
            joined.extend(units);
            joined.sort_unstable();
        }
    }

    /// Along the way to that minimum, to where the objective has fallen.
    fn search(&mut self, task: &Task<'_>, loss: &mut Loss<'_>, at: &mut Position, active: &[usize]) -> Result<Step> {
        let Task { columns, charge, .. } = *task;
        // Near the solution it is lost in the rounding of the objective, and the step is as good as ever.
        let decrease = self.quadratic.decrease(charge).max(0.0);
        let target = self.quadratic.weights();
        let start: Vec<f64> = self.gram.coordinates.iter().map(|coordinate| at.w[*coordinate]).collect();
        if start == target {
            return Ok(Step::None);
        }
        let objective = at.value + at.penalty(charge, active);
        let rounding = 16.0 * loss.ulp() * at.value.abs().max(objective.abs());
        let (mut theta, mut last) = (Vec::new(), at.value);
        // Along a line a penalty that is not convex may rise before it falls: then only the whole step is tried.
        for halvings in 0..if charge.is_convex() { MOST_HALVINGS } else { 1 } {
            let share = 0.5_f64.powi(halvings);
            for ((coordinate, start), target) in self.gram.coordinates.iter().zip(&start).zip(target) {
                at.w[*coordinate] = if halvings == 0 { *target } else { start + share * (target - start) };
            }
            let scores = at.scores_of(columns, charge, active);
            let value = loss.evaluate(&scores, &mut theta)?;
            let slack = if halvings == 0 { rounding } else { 0.0 };
            if value + at.penalty(charge, active) <= objective - 1e-4 * share * decrease + slack {
                (at.scores, at.theta, at.value) = (scores, theta, value);
                let is_in_use = |unit: &&usize| at.w[charge.start(**unit)..][..charge.size].iter().any(|w| *w != 0.0);
                at.support = active.iter().filter(is_in_use).copied().collect();
                self.is_stale = true;
                if halvings > 0 {
                    self.damp();
                    return Ok(Step::Shortened);
                }
                self.damping = (self.damping / 10.0).max(LEAST_DAMPING);
                return Ok(Step::Taken);
            }
            last = value;
        }
        self.gram.coordinates.iter().zip(&start).for_each(|(coordinate, start)| at.w[*coordinate] = *start);
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
}

fn curvature_along(
    curvature: &Curvature,
    columns: &Columns,
    outputs: usize,
    coordinates: std::ops::Range<usize>,
) -> f64 {
    let x = columns.column(coordinates.start / outputs);
    let of_output = |output| {
        let h = curvature.of(output, output);
        h.map_or(0.0, |h| x.iter().zip(h).map(|(x, h)| x * x * h).sum::<f64>())
    };
    coordinates.map(|at| of_output(at % outputs)).fold(0.0, f64::max)
}

/// Gradients of the slots from one on, for columns without their means.
fn gradients(columns: &Columns, gram: &Gram, first: usize, theta: &[f64], outputs: usize) -> Vec<f64> {
    let coordinates = &gram.coordinates[first..];
    let (mut gradients, mut sums) = (vec![0.0; coordinates.len()], Vec::new());
    for (output, theta) in theta.chunks_exact(columns.length).enumerate() {
        let of_output = |(_, coordinate): &(usize, &usize)| **coordinate % outputs == output;
        let slots = coordinates.iter().enumerate().filter(of_output);
        columns.dots(slots.clone().map(|(_, coordinate)| coordinate / outputs), theta, &mut sums);
        slots.zip(&sums).for_each(|((slot, _), sum)| gradients[slot] = *sum);
    }
    gradients
}

/// What the way to the parabola's minimum changes of the scores.
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
