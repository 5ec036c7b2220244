//! A budget: how sparse a model is to be, from which λ follows.

use std::fmt;

use serde::Serialize;

use crate::{Error, Path, Regularizer, Result};

mod goal;
mod online;
mod reached;
mod search;

use goal::Goal;
pub use online::{Controller, ParamsOnline};
pub use reached::{BudgetNeighbour, BudgetReached};

/// How sparse a model, or a field of it, is to be. The scale (with one field declared `lambda = 1.0`: λ) that makes it so is found by
/// [`search`](Self::search), fit after fit, or while training by a [`Controller`] ([`online`](Self::online)).
///
/// What is counted: the entries (of [`groups`](Self::groups): the groups) of parameters that a λ or `element` is declared for. Others,
/// those under a ridge alone too, do not count: no scale makes them 0.
///
/// ```
/// use candle_core::{DType, Device, Tensor, Var};
/// use candle_nn::Optimizer;
/// use l1_core::{Budget, Fista, ParamsFista, Regularized, Rule, Visitor};
///
/// struct Model(Var);
/// impl Regularized for Model {
///     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
///         visitor.field("weight", Rule::l1(1.0), &self.0) // λ = 1: the scale is λ
///     }
/// }
///
/// // ½‖w − t‖²: at λ the minimum is t, soft-thresholded at λ. So two are left for λ in [1, 2).
/// let target = Tensor::new(&[4f64, -2.0, 1.0], &Device::Cpu)?;
/// let model = Model(Var::zeros(3, DType::F64, &Device::Cpu)?);
/// let vars = vec![model.0.clone()];
/// let loss = || model.0.sub(&target)?.sqr()?.sum_all()? * 0.5;
///
/// let reached = Budget::nonzeros(2).from_empty().search(&model.regularizer()?, &vars, loss, |fit| {
///     let mut opt = Fista::new(vars.clone(), ParamsFista::new(fit.regularizer().clone(), loss))?;
///     let _solution = opt.minimize(1e-10, 1000)?;
///     Ok(())
/// })?;
/// println!("{reached}");
/// assert!(reached.scale >= 1.0 && reached.scale < 2.0);
/// assert_eq!(model.0.to_vec1::<f64>()?[2], 0.0); // the variables are at the answer
/// # Ok::<(), l1_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a budget does nothing before `search` or `online`"]
pub struct Budget {
    target: Target,
    field: Option<String>,
    tolerance: Option<f64>,
    way: Way,
    certified: Option<f64>,
    max_fits: usize,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Target {
    Zeros(f64),
    Nonzeros(usize),
    Groups(usize),
}

/// Which way a search comes to the scale.
#[derive(Clone, Debug)]
enum Way {
    FromDense,
    FromEmpty,
    Near(f64),
    Along(Path),
}

impl Budget {
    /// This share of the penalized entries exactly 0, up to ±0.005, or ±a tenth of `share` or of 1 − `share` where that is less
    /// ([`within`](Self::within)).
    ///
    /// * `share`: in (0, 1).
    pub fn zeros(share: f64) -> Self {
        Self::new(Target::Zeros(share))
    }

    /// Exactly this many penalized entries that are not 0.
    ///
    /// * `number`: from 1 to the number of penalized entries.
    pub fn nonzeros(number: usize) -> Self {
        Self::new(Target::Nonzeros(number))
    }

    /// Exactly this many living groups (of `singular`: nonzero singular values), over the parameters whose penalty has groups.
    ///
    /// * `number`: from 1 to the number of groups.
    pub fn groups(number: usize) -> Self {
        Self::new(Target::Groups(number))
    }

    fn new(target: Target) -> Self {
        Self { target, field: None, tolerance: None, way: Way::FromDense, certified: None, max_fits: MAX_FITS }
    }

    /// The budget of one field: counts there, and moves its scale alone ([`Regularizer::set_scale_of`]); all others stay as they are declared and
    /// scaled.
    pub fn of(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// How far from the target is near enough: a share of the entries for [`zeros`](Self::zeros), at first
    /// min(0.005, 0.1·min(share, 1 − share)), and never less than half an entry; a number of entries or groups for the others, 0 at first.
    /// Finite and ≥ 0. A share is not kept by a model that is all 0, or has no 0 at all, unless it is within half an entry of that.
    pub fn within(mut self, tolerance: f64) -> Self {
        self.tolerance = Some(tolerance);
        self
    }

    /// Searches upwards from a dense fit: the first fit is at scale 0 from the weights as they are, the next at a thousandth of what would
    /// empty the field that lasts longest, and so on, twice the scale each time. It suits every model, networks above all (an all-zero
    /// network has no gradient and never comes back), and is what a search does if nothing else is said.
    ///
    /// Every fit starts from the nearest *denser* one: what was 0 there may come back in it.
    pub fn from_dense(mut self) -> Self {
        self.way = Way::FromDense;
        self
    }

    /// Searches downwards from the smallest scale that empties everything, each time at 0.7 of the scale before. For models linear in their
    /// parameters: the fits are cheap, for they are sparse.
    ///
    /// Every fit starts from the nearest *sparser* one.
    pub fn from_empty(mut self) -> Self {
        self.way = Way::FromEmpty;
        self
    }

    /// Searches around a scale, from the weights as they are, at first in steps of 2 %. It is what
    /// [`Controller::finish`] does.
    ///
    /// * `scale`: finite and > 0.
    pub fn near(mut self, scale: f64) -> Self {
        self.way = Way::Near(scale);
        self
    }

    /// Searches along the scales of a path until the budget lies between two of them. Its stopping rules and
    /// [`without_weights`](Path::without_weights) play no part; its [field](Path::of), if it has one, has to be the budget's.
    pub fn along(mut self, path: Path) -> Self {
        self.way = Way::Along(path);
        self
    }

    /// Takes only an answer that is stationary: whose largest relative distance ([`Stationarity`](crate::Stationarity)) is at most
    /// `tolerance` (≥ 0). Fits of the bisection that are not are repeated from where they ended, up to ten times, and counted again.
    pub fn certified(mut self, tolerance: f64) -> Self {
        self.certified = Some(tolerance);
        self
    }

    /// How many scales a search may try; 80 at first.
    pub fn max_fits(mut self, fits: usize) -> Self {
        self.max_fits = fits;
        self
    }

    fn goal(&self, regularizer: &Regularizer) -> Result<Goal> {
        Goal::new(self, regularizer)
    }

    fn invalid(&self, why: impl Into<String>) -> Error {
        Error::InvalidBudget { budget: self.to_string(), why: why.into() }
    }

    /// What can be refused without a model.
    fn check(&self) -> Result<()> {
        if let Target::Zeros(share) = self.target
            && !(share > 0.0 && share < 1.0)
        {
            let hint = if share > 1.0 && share <= 100.0 {
                format!(": a share, not percent; for {share} % say `Budget::zeros({})`", share / 100.0)
            } else {
                String::new()
            };
            return Err(self.invalid(format!("expected a share in (0, 1){hint}")));
        }
        if let Target::Nonzeros(0) | Target::Groups(0) = self.target {
            let why = "expected at least 1. What empties the model is `Regularizer::lambda_max`'s to say";
            return Err(self.invalid(why));
        }
        for (name, value) in [("within", self.tolerance), ("certified", self.certified)] {
            if let Some(value) = value
                && !crate::penalty::is_strength(value)
            {
                return Err(Error::InvalidParameter { name, value, expected: crate::penalty::STRENGTH });
            }
        }
        match &self.way {
            Way::Near(scale) if !(*scale > 0.0 && scale.is_finite()) => {
                Err(Error::InvalidParameter { name: "near", value: *scale, expected: "finite and > 0" })
            }
            Way::Along(path) if path.field.is_some() && path.field != self.field => {
                let field = path.field.as_deref().unwrap_or_default();
                Err(self.invalid(format!(
                    "the path moves the scale of `{field}`: ask for the budget of that field, `.of(\"{field}\")`"
                )))
            }
            _ if self.max_fits == 0 => Err(self.invalid("max_fits is 0 (expected at least 1)")),
            _ => Ok(()),
        }
    }
}

/// How many scales a search tries if nothing else is said: some 20 to come near, and 60 to halve what lies between.
const MAX_FITS: usize = 80;

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target {
            // A share out of its range is shown as it was given.
            Target::Zeros(share) if !(share > 0.0 && share < 1.0) => write!(f, "a share of {share} zeros")?,
            Target::Zeros(share) => write!(f, "{} % zeros", (share * 1e8).round() / 1e6)?,
            Target::Nonzeros(1) => f.write_str("1 nonzero")?,
            Target::Nonzeros(number) => write!(f, "{number} nonzeros")?,
            Target::Groups(1) => f.write_str("1 living group")?,
            Target::Groups(number) => write!(f, "{number} living groups")?,
        }
        match &self.field {
            Some(field) => write!(f, " in {field}"),
            None => Ok(()),
        }
    }
}
