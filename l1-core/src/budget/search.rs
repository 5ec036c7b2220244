//! The search for a budget: a coarse path until it lies between two fits, then bisection of the logarithm of the scale.

use std::cmp::Ordering;

use candle_core::{Tensor, Var};

use super::{Budget, BudgetNeighbour, BudgetReached, Goal, Way};
use crate::{
    Direction, Ended, Error, Fit, Path, PathPoint, Regularizer, Result,
    kernel::{self, Stays},
    lent::Lent,
    path::{Grid, Walk},
    progress::Progress,
};

/// Where the first scale of a search from the dense side lies below the one that empties the field that lasts longest.
const FIRST: f64 = 1e-3;
/// How the scale grows from there.
const UPWARDS: f64 = 2.0;
/// How it falls from the scale that empties everything.
const DOWNWARDS: f64 = 0.7;
/// Where the first scale from the dense side is too sparse already: by how much it is lowered, each time from the dense weights.
const LOWER: f64 = 0.125;
/// The first step away from a scale that is nearly right; each further one is twice as long.
const NEAR: f64 = 0.02;
/// The farthest that a search goes, as a logarithm: seven powers of ten.
const FARTHEST: f64 = 16.2;
/// After so many fits in a row on the same side the other side is asked again.
const DOUBT: usize = 3;
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
        let mut walk = Walk::new(regularizer, &path, vars, direction, loss, fit)?;
        walk.progress = Some(Progress::new("budget", None));
        let (in_a_row, confirmed) = ((Side::Equal, 0), Vec::new());
        let mut search =
            Search { budget: self, goal, walk, vars, direction, denser: None, sparser: None, in_a_row, confirmed };
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
    /// How many fits in a row have come out on the same side.
    in_a_row: (Side, usize),
    /// Points that were asked again whether they are on the side that they seem to be on.
    confirmed: Vec<usize>,
}

/// What a fit at a scale has come to.
type Side = Ordering;

/// How far a search goes beyond its last fit while the budget lies between no two of them.
struct Stride {
    /// In the logarithm of the scale.
    up: f64,
    down: f64,
    /// How much farther each time.
    growth: f64,
}

impl<L, F> Search<'_, L, F>
where
    L: Fn() -> candle_core::Result<Tensor>,
    F: FnMut(&mut Fit<'_>) -> Result<()>,
{
    /// The point within the budget, if there is one; the variables are there.
    fn go(&mut self) -> Result<Option<usize>> {
        let stride = match &self.budget.way {
            Way::FromDense => {
                let side = self.fit_at(0.0)?;
                if side.is_eq() {
                    return Ok(self.last());
                }
                if side.is_lt() {
                    return Ok(None);
                }
                let first = FIRST * self.largest()?;
                if self.fit_at(first)?.is_eq() {
                    return Ok(self.last());
                }
                Some(Stride { up: UPWARDS.ln(), down: -LOWER.ln(), growth: 1.0 })
            }
            Way::FromEmpty => {
                let largest = self.walk.scale_max()?;
                if self.fit_at(largest)?.is_eq() {
                    return Ok(self.last());
                }
                Some(Stride { up: UPWARDS.ln(), down: -DOWNWARDS.ln(), growth: 1.0 })
            }
            Way::Near(scale) => {
                if self.fit_at(*scale)?.is_eq() {
                    return Ok(self.last());
                }
                Some(Stride { up: NEAR, down: NEAR, growth: 2.0 })
            }
            Way::Along(path) => {
                let grid = path.grid.clone();
                let largest = if let Grid::Descending { .. } = grid { self.walk.scale_max()? } else { f64::NAN };
                for scale in grid.scales(largest) {
                    if self.fit_at(scale)?.is_eq() {
                        return Ok(self.last());
                    }
                    if (self.denser.is_some() && self.sparser.is_some()) || !self.may_go_on() {
                        break;
                    }
                }
                None
            }
        };
        self.close_in(stride)
    }

    /// Goes on until the budget lies between two fits, and halves what lies between them.
    fn close_in(&mut self, mut stride: Option<Stride>) -> Result<Option<usize>> {
        let mut gone = 0.0;
        while self.may_go_on() {
            let scale_of = |index: Option<usize>| index.map(|index| self.walk.run.points[index].scale);
            let (scale, start) = match (scale_of(self.denser), scale_of(self.sparser), &mut stride) {
                // A dense fit at scale 0 is no end to halve from.
                (Some(low), Some(high), _) if low > 0.0 => {
                    let middle = (low * high).sqrt();
                    if !(high / low > 1.0 + RESOLUTION && middle > low && middle < high) {
                        return Ok(None);
                    }
                    if let Some(end) = self.doubtful() {
                        if self.confirm(end)?.is_eq() {
                            return Ok(Some(end));
                        }
                        continue;
                    }
                    (middle, if self.direction == Direction::Ascending { self.denser } else { self.sparser })
                }
                (Some(low), None, Some(stride)) if low > 0.0 => {
                    gone += stride.up;
                    let scale = low * stride.up.exp();
                    stride.up *= stride.growth;
                    (scale, self.denser)
                }
                (denser, Some(high), Some(stride)) => {
                    gone += stride.down;
                    let scale = high * (-stride.down).exp();
                    stride.down *= stride.growth;
                    (scale, if denser.is_some() { self.denser } else { self.sparser })
                }
                // A path goes no farther than its last scale; but below its first one, the dense fit is an end already.
                (Some(_), Some(high), None) => {
                    gone -= LOWER.ln();
                    (high * LOWER, self.denser)
                }
                _ => return Ok(None),
            };
            // What is `positive`, or fitted by something that makes no zeros, would go on for ever.
            if gone > FARTHEST || !scale.is_finite() {
                return Ok(None);
            }
            if let Some(start) = start {
                self.walk.run.restore(start, self.vars)?;
            }
            if self.fit_at(scale)?.is_eq() {
                return Ok(self.last());
            }
        }
        Ok(None)
    }

    /// The end that stays where it is while the other one comes nearer and nearer, if its fit was not at rest.
    fn doubtful(&self) -> Option<usize> {
        let tolerance = self.budget.certified?;
        let (side, times) = self.in_a_row;
        let end = if side.is_gt() { self.sparser? } else { self.denser? };
        let is_at_rest = self.walk.run.points[end].certificate.relative <= tolerance;
        (times >= DOUBT && !is_at_rest && !self.confirmed.contains(&end)).then_some(end)
    }

    /// Fits an end again, from its own weights, until it is at rest; it may then be on the other side.
    fn confirm(&mut self, end: usize) -> Result<Side> {
        self.walk.run.restore(end, self.vars)?;
        let scale = self.walk.run.points[end].scale;
        self.walk.point(scale)?;
        let side = self.settle(scale, true)?;
        if let Some(mut point) = self.walk.run.points.pop() {
            point.index = end;
            self.walk.run.points[end] = point;
        }
        self.confirmed.push(end);
        self.in_a_row = (side, 0);
        let other = |search: &Self, wanted: Side| {
            let points = search.walk.run.points.iter().enumerate();
            let points = points.filter(|(_, point)| search.goal.side(search.goal.living_at(point)) == wanted);
            let below = |point: &PathPoint| if wanted.is_gt() { point.scale < scale } else { point.scale > scale };
            let points = points.filter(|(_, point)| below(point));
            let nearest = |point: &PathPoint| (point.scale.ln() - scale.ln()).abs();
            points.min_by(|(_, a), (_, b)| nearest(a).total_cmp(&nearest(b))).map(|(index, _)| index)
        };
        match side {
            Side::Equal => {}
            Side::Greater => {
                self.denser = Some(end);
                self.sparser = other(self, Side::Less);
            }
            Side::Less => {
                self.sparser = Some(end);
                self.denser = other(self, Side::Greater);
            }
        }
        Ok(side)
    }

    fn last(&self) -> Option<usize> {
        self.walk.run.points.len().checked_sub(1)
    }

    /// Fits at a scale from where the variables are, and says on which side of the budget it came out.
    fn fit_at(&mut self, scale: f64) -> Result<Side> {
        self.walk.point(scale)?;
        let is_between = self.denser.is_some() && self.sparser.is_some();
        let side = self.settle(scale, is_between)?;
        match side {
            Side::Greater => self.denser = self.last(),
            Side::Less => self.sparser = self.last(),
            Side::Equal => {}
        }
        self.in_a_row = if self.in_a_row.0 == side { (side, self.in_a_row.1 + 1) } else { (side, 1) };
        Ok(side)
    }

    /// Repeats the last fit until it is certified, if it is to be: where it seems to be the answer, and where `in_any_case`.
    fn settle(&mut self, scale: f64, in_any_case: bool) -> Result<Side> {
        let Some(tolerance) = self.budget.certified else { return Ok(self.side()) };
        for _ in 0..REPEATS {
            // Not `>`: NaN is no certificate.
            if self.relative() <= tolerance || !(in_any_case || self.side().is_eq()) {
                break;
            }
            self.walk.run.points.pop();
            self.walk.point(scale)?;
        }
        if self.side().is_eq() {
            let grads = (self.walk.loss)()?.backward()?;
            self.walk.regularizer.stationarity(&grads)?.assert_below(tolerance)?;
        }
        Ok(self.side())
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
        let budget = self.budget.to_string();
        let so_far = Box::new(self.walk.into_run(Ended::Failed));
        Error::BudgetUnreached { budget, denser, sparser, so_far }
    }

    fn failed(mut self, error: Error) -> Error {
        self.sort(None);
        self.walk.into_error(error)
    }
}
