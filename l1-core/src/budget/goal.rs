//! A budget in numbers: which parameters count, how many of theirs may live, and which side of that a count is on.

use std::{cmp::Ordering, collections::HashSet};

use super::{Budget, Target};
use crate::{Error, Param, ParamPath, PathPoint, Penalty, Regularizer, Result, kernel};

/// What a [`Budget`] means for one regularizer.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    /// Places of the parameters that count.
    params: Vec<usize>,
    paths: HashSet<ParamPath>,
    unit: Unit,
    /// Entries or groups in all.
    pub(super) total: usize,
    /// How many of them are to live; of a share this need not be a whole number.
    pub(super) living: f64,
    /// How far from that is near enough.
    window: f64,
    /// How far from it a model may be that is all 0, or has no 0 at all.
    window_at_ends: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Entries,
    Groups,
}

/// The tolerance of a share of zeros.
const SHARE: f64 = 0.005;
/// And as a part of what is to live, or to be 0, where that is less: 99.6 % zeros is not 100 %.
const PART: f64 = 0.1;
/// The nearest that a whole number can be asked to come to a share.
const HALF_AN_ENTRY: f64 = 0.5;

impl Goal {
    /// # Errors
    /// [`Error::InvalidBudget`], [`Error::UnknownField`], [`Error::NothingPenalized`].
    pub(super) fn new(budget: &Budget, regularizer: &Regularizer) -> Result<Self> {
        budget.check()?;
        regularizer.check_not_empty()?;
        let unit = if let Target::Groups(_) = budget.target { Unit::Groups } else { Unit::Entries };
        let (mut params, mut total) = (Vec::new(), 0);
        for index in regularizer.below(budget.field.as_deref().unwrap_or_default())? {
            let param = &regularizer.params()[index];
            let Some(penalty) = emptied(param) else { continue };
            let number = match unit {
                Unit::Entries => Some(param.tensor().elem_count()),
                Unit::Groups => kernel::groups(param.tensor(), penalty)?.map(|(number, _)| number),
            };
            if let Some(number) = number {
                params.push(index);
                total += number;
            }
        }
        if params.is_empty() {
            let why = match unit {
                Unit::Groups => "no penalty there has groups: declare `group = ..`, or ask for `Budget::nonzeros`",
                Unit::Entries => "nothing there has a λ or `element`, and without one no scale makes zeros",
            };
            return Err(budget.invalid(why));
        }
        let (living, window, window_at_ends) = match budget.target {
            Target::Zeros(share) => {
                let tolerance = budget.tolerance.unwrap_or_else(|| SHARE.min(PART * share.min(1.0 - share)));
                let window = (tolerance * total as f64).max(HALF_AN_ENTRY);
                ((1.0 - share) * total as f64, window, HALF_AN_ENTRY)
            }
            Target::Nonzeros(number) | Target::Groups(number) => {
                let window = budget.tolerance.unwrap_or(0.0);
                (number as f64, window, window)
            }
        };
        if living > total as f64 {
            let units = if unit == Unit::Groups { "groups" } else { "penalized entries" };
            return Err(budget.invalid(format!("there are {total} {units} in all")));
        }
        let paths = params.iter().map(|&index| regularizer.params()[index].path().clone()).collect();
        Ok(Self { params, paths, unit, total, living, window, window_at_ends })
    }

    /// How many live at a point of a path.
    pub(super) fn living_at(&self, point: &PathPoint) -> usize {
        let fields = point.fields.iter().filter(|field| self.paths.contains(&field.path));
        fields
            .map(|field| match self.unit {
                Unit::Entries => field.entries - field.zeros,
                Unit::Groups => field.living(),
            })
            .sum()
    }

    /// How many live now.
    ///
    /// # Errors
    /// [`Error::InvalidBudget`] for a regularizer of another model.
    pub(super) fn living_now(&self, budget: &Budget, regularizer: &Regularizer) -> Result<usize> {
        let mut living = 0;
        for &index in &self.params {
            let param = regularizer.params().get(index).filter(|param| self.paths.contains(param.path()));
            let Some((param, penalty)) = param.and_then(|param| Some((param, emptied(param)?))) else {
                return Err(Error::InvalidBudget { budget: budget.to_string(), why: ANOTHER.to_owned() });
            };
            let tensor = param.tensor();
            living += match self.unit {
                Unit::Entries => tensor.elem_count() - kernel::counts(tensor)?.zeros,
                Unit::Groups => kernel::groups(tensor, penalty)?.map_or(0, |(number, zeros)| number - zeros),
            };
        }
        Ok(living)
    }

    /// `Greater`: too dense, `Less`: too sparse, `Equal`: near enough.
    pub(super) fn side(&self, living: usize) -> Ordering {
        let gap = living as f64 - self.living;
        let is_at_end = living == 0 || living == self.total;
        let window = if is_at_end { self.window_at_ends } else { self.window };
        // A share's product may be off by rounding.
        if gap.abs() <= window + 1e-9 * self.total as f64 {
            return Ordering::Equal;
        }
        if gap > 0.0 { Ordering::Greater } else { Ordering::Less }
    }
}

const ANOTHER: &str = "this regularizer is not the one that the controller began with: its parameters are others";

/// The penalty of a parameter that some scale empties, as it is declared.
fn emptied(param: &Param) -> Option<&Penalty> {
    param.decision().penalty().filter(|penalty| penalty.lambda() > 0.0 || penalty.element() > 0.0)
}
