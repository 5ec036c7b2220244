//! What is charged for one unit of weights: a single entry, or all that one input column is used for.

use candle_core::Tensor;

use crate::{
    ParamPath, Penalty, Result,
    kernel::distance::Part,
    penalty::{AtLambda, Curve, Groups, Layout},
};

use super::refused;

/// A penalty of W at one scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charge {
    /// k.
    outputs: usize,
    /// Entries of a unit: 1, or k.
    pub(super) size: usize,
    part: Part,
    phi: AtLambda,
    /// c.
    weight: f64,
    element: f64,
    ridge: f64,
    positive: bool,
    is_l1: bool,
    /// cφ'(0+).
    slope_at_zero: f64,
    /// What a distance is compared with where there is no strength.
    weakest: f64,
}

impl Charge {
    /// # Errors
    /// [`Error::NoLinearPath`](crate::Error::NoLinearPath) for groups that reach over columns.
    pub(super) fn new(path: &ParamPath, weight: &Tensor, penalty: &Penalty) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let unfit = || {
            let why = format!(
                "its groups (`{}`) reach over several inputs (expected `element`, or `input`: what one input is used for)",
                penalty.group()
            );
            refused(path.as_str(), why)
        };
        let columns = Groups { slabs: 1, rows: outputs, count: inputs, run: 1 };
        let size = match penalty.layout(weight.dims()) {
            Ok(Layout::Elements) => 1,
            Ok(Layout::Groups(groups)) if groups == columns => outputs,
            _ => return Err(unfit()),
        };
        let part = Part::of(weight, penalty).map_err(|_| unfit())?;
        let (slope_at_zero, element) = (part.slope_at_zero(), penalty.element());
        let slope = if slope_at_zero.is_finite() { slope_at_zero } else { 0.0 };
        let weakest = if slope + element > 0.0 { slope + element } else { 1.0 };
        Ok(Self {
            outputs,
            size,
            part,
            phi: penalty.on_curve(),
            weight: if size == 1 { 1.0 } else { penalty.group_weight(size) },
            element,
            ridge: penalty.l2(),
            positive: penalty.positive(),
            is_l1: penalty.lambda() == 0.0 || penalty.curve() == Curve::L1,
            slope_at_zero,
            weakest,
        })
    }

    /// The same where the largest gradient with all weights at 0 is this: what a distance is compared with where no slope at 0 holds, as
    /// under a ridge or a sign alone.
    pub(super) fn beside(mut self, largest: f64) -> Self {
        if self.element > 0.0 || !(largest > 0.0 && largest.is_finite()) {
            return self;
        }
        if self.slope_at_zero == 0.0 {
            self.weakest = largest;
        } else if self.slope_at_zero.is_infinite() {
            // As the certificate has it, whose step is 1.
            self.weakest = largest.min(self.part.held(1.0));
        }
        self
    }

    /// The first coordinate of a unit.
    pub(super) fn start(&self, unit: usize) -> usize {
        unit * self.size
    }

    /// Units of a column.
    pub(super) fn units_of(&self, column: usize) -> std::ops::Range<usize> {
        let each = self.outputs / self.size;
        column * each..(column + 1) * each
    }

    /// The prox of one entry, with its step.
    #[inline(always)]
    pub(super) fn entry(&self, z: f64, step: f64) -> f64 {
        let (a, step) = self.fold(z, step);
        if self.is_l1 {
            let left = a.abs() - step * self.slope_at_zero;
            if left > 0.0 { left.copysign(a) } else { 0.0 }
        } else if a == 0.0 {
            0.0
        } else {
            self.phi.prox(a.abs(), self.weight * step).copysign(a)
        }
    }

    /// The prox of a unit of several entries, all with one step.
    #[inline(always)]
    pub(super) fn group(&self, z: &mut [f64], step: f64) {
        let mut left = step;
        for z in z.iter_mut() {
            (*z, left) = self.fold(*z, step);
        }
        let norm = z.iter().map(|z| z * z).sum::<f64>().sqrt();
        if norm == 0.0 {
            return;
        }
        let shrunk = if self.is_l1 {
            (norm - left * self.slope_at_zero).max(0.0)
        } else {
            self.phi.prox(norm, self.weight * left)
        };
        let factor = shrunk / norm;
        z.iter_mut().for_each(|z| *z = if shrunk == 0.0 { 0.0 } else { *z * factor });
    }

    /// Element λ, sign and ridge, which come before the curve.
    #[inline(always)]
    fn fold(&self, z: f64, step: f64) -> (f64, f64) {
        let threshold = step * self.element;
        let size = if self.positive { z } else { z.abs() };
        let left = size - threshold;
        let a = if left > 0.0 { left.copysign(z) } else { 0.0 };
        let ridge = 1.0 / (1.0 + step * self.ridge);
        (a * ridge, step * ridge)
    }

    /// Ω of one unit.
    pub(super) fn value(&self, w: &[f64]) -> f64 {
        let (mut absolute, mut squares) = (0.0, 0.0);
        for w in w {
            if self.positive && *w < 0.0 {
                return f64::INFINITY;
            }
            absolute += w.abs();
            squares += w * w;
        }
        let norm = if self.size == 1 { absolute } else { squares.sqrt() };
        let curve = if self.is_l1 { self.slope_at_zero * norm } else { self.weight * self.phi.value(norm) };
        curve + self.element * absolute + 0.5 * self.ridge * squares
    }

    /// Whether a unit that is 0 leaves under this gradient.
    ///
    /// * `curvature`: of the loss along the unit. It matters where the slope at 0 is infinite: then every zero is stationary, and what is
    ///   asked is whether a step as long as the curvature allows leaves 0.
    pub(super) fn leaves(&self, v: &[f64], curvature: impl FnOnce() -> f64, slack: f64) -> bool {
        let pull = self.pull(v);
        if self.slope_at_zero.is_finite() {
            return pull > self.slope_at_zero + slack * self.weakest;
        }
        let curvature = curvature();
        curvature > 0.0 && pull > self.part.held(1.0 / curvature) * (1.0 + slack)
    }

    /// The largest |v| of a column (of groups: ‖v‖) up to which all of its units stay at 0, if they are there.
    pub(super) fn held(&self) -> f64 {
        match self.slope_at_zero {
            // Where every zero is stationary, a step may leave it all the same.
            f64::INFINITY => f64::NEG_INFINITY,
            slope if self.size == 1 => slope + self.element,
            slope => slope,
        }
    }

    /// ‖S(v, e)‖.
    #[inline(always)]
    fn pull(&self, v: &[f64]) -> f64 {
        if let [v] = v {
            return (if self.positive { -v } else { v.abs() } - self.element).max(0.0);
        }
        self.part.pull(v)
    }

    /// The distance of −v to the subdifferential at w, relative to the strength of the penalty; NaN where one of them is.
    pub(super) fn distance(&self, w: &[f64], v: &[f64]) -> f64 {
        if w.iter().all(|w| *w == 0.0) && self.pull(v) <= self.slope_at_zero {
            return 0.0;
        }
        let (r, distance) = self.part.distance(w, v);
        distance / self.part.strength(r, 1.0).unwrap_or(self.weakest)
    }

    /// What distances of free coordinates are compared with, and how exact the inner problem has to be.
    pub(super) fn weakest(&self) -> f64 {
        self.weakest
    }

    pub(super) fn is_convex(&self) -> bool {
        self.is_l1
    }

    /// Whether the slope at 0 is infinite.
    pub(super) fn holds_every_zero(&self) -> bool {
        self.slope_at_zero.is_infinite()
    }

    /// Whether nothing but a ridge or a sign charges the entries, so that no unit is held at 0.
    pub(super) fn holds_nothing(&self) -> bool {
        self.slope_at_zero == 0.0 && self.element == 0.0
    }
}
