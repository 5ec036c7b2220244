//! The search for a budget: a coarse path until it lies between two fits, then bisection of the logarithm of the scale.

use std::cmp::Ordering;

use candle_core::{Tensor, Var};

use super::{Budget, BudgetNeighbour, BudgetReached, Goal, Way};
use crate::{
    Direction, Ended, Error, Fit, Path, Regularizer, Result,
    kernel::{self, Stays},
    lent::Lent,
    path::{Grid, Walk},
};

/// Where the first scale of a search from the dense side lies below the one that empties the field that lasts longest.
const FIRST: f64 = 1e-3;
/// How the scale grows from there.
const UPWARDS: f64 = 2.0;
/// How it falls from the scale that empties everything, and down to which part of it.
const DOWNWARDS: f64 = 0.7;
const LEAST: f64 = 1e-7;
/// Where the first scale from the dense side is too sparse already: by how much it is lowered, each time from the dense weights.
const LOWER: f64 = 0.125;
/// The first step away from a scale that is nearly right; each further one is twice as long.
const NEAR: f64 = 0.02;
/// The farthest from it, as a logarithm.
const FARTHEST: f64 = 16.0;
/// Scales nearer to each other than this are one.
const RESOLUTION: f64 = 1e-8;
/// How often a fit that is not stationary yet is repeated.
const REPEATS: usize = 10;

impl Budget {
    /// Fits at one scale after the other, each from where the nearest fit ended, until the count is within the budget. Afterwards the
    /// variables hold the weights of the answer.
    ///
    /// First the scales of [`from_dense`](Self::from_dense) (or [`from_empty`](Self::from_empty), [`near`](Self::near),
    /// [`along`](Self::along)), until the budget lies between two of them; then the one midway between these in the logarithm, and
    /// so on. The answer is the first fit whose count is near enough.
    ///
    /// * `regularizer`: what is penalized. It is copied; its own scale stays as it is and plays no part (with [`of`](Self::of): that of the field
    ///   plays none). [`BudgetReached::set_scale`] gives it the answer's.
    /// * `vars`, `loss`, `fit`: as in [`Path::run`].
    ///
    /// # Errors
    /// * Before the first fit: [`Error::InvalidBudget`], [`Error::InvalidParameter`], [`Error::UnknownField`],
    ///   [`Error::NothingPenalized`], [`Error::ForeignVariables`].
    /// * [`Error::BudgetUnreached`], which says what can be reached: counts jump, and a fit that stops early counts what is not there at
    ///   the solution ([`certified`](Self::certified)).
    /// * [`Error::Path`] for whatever fails in between, a NaN loss too. Both hold the fits so far, sorted by scale.
    pub fn search<L, F>(&self, regularizer: &Regularizer, vars: &[Var], loss: L, fit: F) -> Result<BudgetReached>
    where
        L: Fn() -> candle_core::Result<Tensor>,
        F: FnMut(&mut Fit<'_>) -> Result<()>,
    {
        let goal = self.goal(regularizer)?;
        let (mut path, direction) = match &self.way {
            Way::FromDense | Way::Near(_) => (Path::grid([1.0]), Direction::Ascending),
            Way::FromEmpty => (Path::grid([1.0]), Direction::Descending),
            Way::Along(path) => (path.clone(), path.grid.check()?),
        };
        path.field = self.field.clone();
        path.keep_weights = true;
        let walk = Walk::new(regularizer, &path, vars, direction, loss, fit)?;
        let mut search = Search { budget: self, goal, walk, vars, direction, denser: None, sparser: None };
        match search.go() {
            Ok(Some(index)) => Ok(search.reached(index)),
            Ok(None) => Err(search.unreached()),
            Err(error) => Err(search.failed(error)),
        }
    }
}

/// A search on its way.
struct Search<'v, L, F> {
    budget: &'v Budget,
    goal: Goal,
    walk: Walk<'v, L, F>,
    vars: &'v [Var],
    direction: Direction,
    /// The points between which the budget lies, as far as they are known.
    denser: Option<usize>,
    sparser: Option<usize>,
}

/// What a fit at a scale has come to.
type Side = Ordering;

impl<L, F> Search<'_, L, F>
where
    L: Fn() -> candle_core::Result<Tensor>,
    F: FnMut(&mut Fit<'_>) -> Result<()>,
{
    /// The point within the budget, if there is one.
    fn go(&mut self) -> Result<Option<usize>> {
        let side = match &self.budget.way {
            Way::FromDense => self.from_dense()?,
            Way::FromEmpty => self.from_empty()?,
            Way::Near(scale) => self.near(*scale)?,
            Way::Along(path) => {
                let grid = path.grid.clone();
                self.along(&grid)?
            }
        };
        let side = if side.is_eq() { side } else { self.bisect()? };
        Ok(side.is_eq().then(|| self.walk.run.points.len() - 1))
    }

    fn from_dense(&mut self) -> Result<Side> {
        let side = self.fit_at(0.0)?;
        if side.is_le() {
            return Ok(side);
        }
        let mut scale = FIRST * self.largest()?;
        let mut side = self.fit_at(scale)?;
        let least = LEAST * scale;
        while side.is_lt() && scale > least && self.may_go_on() {
            scale *= LOWER;
            self.restore(0)?;
            side = self.fit_at(scale)?;
        }
        while side.is_gt() && self.sparser.is_none() && self.may_go_on() && scale.is_finite() {
            scale *= UPWARDS;
            side = self.fit_at(scale)?;
        }
        Ok(side)
    }

    fn from_empty(&mut self) -> Result<Side> {
        let largest = self.walk.scale_max()?;
        let mut scale = largest;
        let mut side = self.fit_at(scale)?;
        while side.is_lt() && scale > LEAST * largest && self.may_go_on() {
            scale *= DOWNWARDS;
            side = self.fit_at(scale)?;
        }
        Ok(side)
    }

    fn near(&mut self, scale: f64) -> Result<Side> {
        let first = self.fit_at(scale)?;
        let (mut side, mut step) = (first, NEAR);
        while !side.is_eq() && side == first && step < FARTHEST && self.may_go_on() {
            let away = if first.is_gt() { step } else { -step };
            side = self.fit_at(scale * away.exp())?;
            step *= 2.0;
        }
        Ok(side)
    }

    fn along(&mut self, grid: &Grid) -> Result<Side> {
        let largest = if let Grid::Descending { .. } = grid { self.walk.scale_max()? } else { f64::NAN };
        let mut last = Side::Equal;
        for scale in grid.scales(largest) {
            last = self.fit_at(scale)?;
            if last.is_eq() || (self.denser.is_some() && self.sparser.is_some()) || !self.may_go_on() {
                break;
            }
        }
        Ok(last)
    }

    fn bisect(&mut self) -> Result<Side> {
        while let (Some(denser), Some(sparser)) = (self.denser, self.sparser) {
            let (low, high) = (self.walk.run.points[denser].scale, self.walk.run.points[sparser].scale);
            let middle = (low * high).sqrt();
            if !(high / low > 1.0 + RESOLUTION && middle > low && middle < high && self.may_go_on()) {
                break;
            }
            let start = if self.direction == Direction::Ascending { denser } else { sparser };
            self.restore(start)?;
            if self.fit_at(middle)?.is_eq() {
                return Ok(Side::Equal);
            }
        }
        Ok(Side::Less)
    }

    /// Fits at a scale from where the variables are, and says on which side of the budget it came out.
    fn fit_at(&mut self, scale: f64) -> Result<Side> {
        self.walk.point(scale)?;
        let mut side = self.side();
        if let Some(tolerance) = self.budget.certified
            && (side.is_eq() || (self.denser.is_some() && self.sparser.is_some()))
        {
            for _ in 0..REPEATS {
                // Not `>`: NaN is no certificate.
                if self.relative() <= tolerance {
                    break;
                }
                self.walk.run.points.pop();
                self.walk.point(scale)?;
            }
            side = self.side();
            if side.is_eq() {
                let grads = (self.walk.loss)()?.backward()?;
                self.walk.regularizer.stationarity(&grads)?.assert_below(tolerance)?;
            }
        }
        let last = self.walk.run.points.len() - 1;
        match side {
            Side::Greater => self.denser = Some(last),
            Side::Less => self.sparser = Some(last),
            Side::Equal => {}
        }
        Ok(side)
    }

    fn side(&self) -> Side {
        self.walk.run.points.last().map_or(Side::Less, |point| self.goal.side(self.goal.living_at(point)))
    }

    fn relative(&self) -> f64 {
        self.walk.run.points.last().map_or(f64::NAN, |point| point.certificate.relative)
    }

    fn may_go_on(&self) -> bool {
        self.walk.run.points.len() < self.budget.max_fits
    }

    fn restore(&self, index: usize) -> Result<()> {
        self.walk.run.restore(index, self.vars)
    }

    fn neighbour(&self, index: usize) -> Option<BudgetNeighbour> {
        let point = self.walk.run.points.get(index)?;
        let (living, total, scale) = (self.goal.living_at(point), self.goal.total, point.scale);
        Some(BudgetNeighbour { living, total, scale, index })
    }

    /// The scale that empties the field that lasts longest, each field for itself and all others at their values of the moment: what a
    /// search begins far below.
    fn largest(&self) -> Result<f64> {
        let (regularizer, loss) = (&self.walk.regularizer, &self.walk.loss);
        let mut largest = 0.0;
        for (param, penalty) in self.walk.emptied() {
            let lent = Lent::new(param.tensor())?;
            lent.set(&param.tensor().detach().zeros_like()?)?;
            let grads = loss()?.backward()?;
            let Some(gradient) = grads.get(param.tensor()) else {
                return Err(regularizer.missing_gradient(param.path(), |tensor| grads.get(tensor).is_some()));
            };
            for stays in [Stays::Stationary, Stays::AfterStep(1.0)] {
                let scale = kernel::scale_max(gradient, &penalty, stays)?.value;
                // 0 or ∞: a vanished gradient, or a curve of infinite slope at 0 before a step of some length is thought of.
                if scale > 0.0 && scale.is_finite() {
                    largest = f64::max(largest, scale);
                    break;
                }
            }
            lent.give_back()?;
        }
        // Without any gradient every number is as good; the search finds its way from there.
        Ok(if largest > 0.0 { largest } else { 1.0 })
    }

    /// Sorts the fits by scale, and says where one of them has gone.
    fn sort(&mut self, index: Option<usize>) -> Option<usize> {
        let points = &mut self.walk.run.points;
        let fall = self.direction == Direction::Descending;
        points.sort_by(|a, b| if fall { b.scale.total_cmp(&a.scale) } else { a.scale.total_cmp(&b.scale) });
        let place = index.and_then(|index| points.iter().position(|point| point.index == index));
        points.iter_mut().enumerate().for_each(|(place, point)| point.index = place);
        place
    }

    fn reached(mut self, index: usize) -> BudgetReached {
        let index = self.sort(Some(index)).unwrap_or(index);
        let point = self.walk.run.points.get(index);
        let (scale, living) = point.map_or((f64::NAN, 0), |point| (point.scale, self.goal.living_at(point)));
        let (budget, total) = (self.budget.to_string(), self.goal.total);
        BudgetReached { budget, scale, living, total, index, run: self.walk.into_run(Ended::Budget) }
    }

    fn unreached(mut self) -> Error {
        self.sort(None);
        let points: Vec<_> = (0..self.walk.run.points.len()).filter_map(|index| self.neighbour(index)).collect();
        let goal = &self.goal;
        let on = |side: Side| points.iter().copied().filter(move |point| goal.side(point.living) == side);
        let denser = on(Side::Greater).min_by_key(|point| point.living);
        let sparser = on(Side::Less).max_by_key(|point| point.living);
        let (budget, fits) = (self.budget.to_string(), self.walk.run.points.len());
        let so_far = Box::new(self.walk.into_run(Ended::Failed));
        Error::BudgetUnreached { budget, fits, denser, sparser, so_far }
    }

    fn failed(mut self, error: Error) -> Error {
        self.sort(None);
        self.walk.into_error(error)
    }
}
