//! λ_max: for each penalized parameter the smallest λ that empties it, the others as they are.

use std::fmt;

use candle_core::{DType, Device, Tensor};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::{
    Param, ParamPath, Penalty, Place, Regularizer, Result,
    error::readable,
    gradient, gradient_check,
    kernel::{
        self, Stays,
        distance::{norm, wide},
    },
    lent::Lent,
    scalar::exceeds,
};

/// For each penalized parameter the smallest λ that empties it; made by [`Regularizer::lambda_max`].
///
/// `Display` prints a table; through serde it becomes JSON.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
#[must_use = "print it, or look at its rows"]
pub struct LambdaMaxima {
    /// One for each penalized parameter, in the order of the visit.
    pub rows: Vec<LambdaMaxRow>,
    /// The length of the proximal step by which zeros were judged; none where they were judged by being stationary.
    pub step: Option<f64>,
}

/// One parameter of [`LambdaMaxima`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LambdaMaxRow {
    /// Where it is.
    pub path: ParamPath,
    /// Its λ of the moment, every scale included.
    pub lambda: f64,
    /// What was found.
    pub emptied: Emptied,
}

/// From which λ on a parameter is empty, or why there is no such number.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum Emptied {
    /// From this λ on every entry of it is 0.
    From {
        /// The λ; 0 where `element`, or a sign constraint, holds all of it at 0 alone.
        lambda: f64,
        /// The entry or group that holds out longest.
        place: Option<Place>,
    },
    /// With its entries at 0 the loss gives it a gradient that vanishes: exactly, or all of it is rounding. So it stays empty under every
    /// λ, and never comes back. In a network that is so where another layer is 0, too.
    NoGradient {
        /// Whether the gradient is exactly 0.
        exactly: bool,
    },
    /// The curve's slope at 0 is infinite, so that zeros are stationary under every λ > 0. From which λ on a step stays at 0 is found with
    /// [`Stays::AfterStep`].
    InfiniteSlope,
    /// A gradient at 0 is NaN or infinite, so that no λ is known to be enough.
    NotFinite,
}

impl Emptied {
    /// The λ, if there is one.
    #[must_use]
    pub fn lambda(&self) -> Option<f64> {
        match self {
            Self::From { lambda, .. } => Some(*lambda),
            _ => None,
        }
    }
}

impl Regularizer {
    /// For each penalized parameter the smallest λ that empties it, all other parameters at their values of the moment: above
    /// it a model that is fitted again has no entry of this parameter that is not 0 (of convex problems for sure, near this point of others).
    ///
    /// The parameter is set to 0 for a moment, the loss's gradient taken, and the weights are put back to the same bits, also when the
    /// loss fails or panics; other threads should not use the model meanwhile. With n = ‖S(v_g, e)‖ for the gradient v_g of a group
    /// it is the largest `n/(c·φ'₁(0+))` of all groups: see [`kernel::lambda_max`], which says it for every curve. Fit what is not
    /// penalized (intercepts) first.
    ///
    /// * `data_loss`: computes the loss without the penalty over all examples, a scalar; the same function at each call. It is evaluated
    ///   once, and two or three times more for each penalized parameter.
    ///
    /// ```
    /// use candle_core::{Device, Tensor, Var};
    /// use l1_core::{Regularized, Rule, Visitor};
    ///
    /// struct Model(Var);
    /// impl Regularized for Model {
    ///     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
    ///         visitor.field("weight", Rule::l1(0.1), &self.0)
    ///     }
    /// }
    ///
    /// // ½‖w − t‖²: its gradient at 0 is −t.
    /// let target = Tensor::new(&[3f64, -5.0], &Device::Cpu)?;
    /// let model = Model(Var::new(&[1f64, 2.0], &Device::Cpu)?);
    /// let found = model.regularizer()?.lambda_max(|| model.0.sub(&target)?.sqr()?.sum_all()? * 0.5)?;
    /// println!("{found}");
    /// assert_eq!(found.rows[0].emptied.lambda(), Some(5.0));
    /// assert_eq!(model.0.to_vec1::<f64>()?, [1.0, 2.0]);
    /// # Ok::<(), l1_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NothingPenalized`](crate::Error::NothingPenalized), [`Error::LossShape`](crate::Error::LossShape),
    /// [`Error::ChargedTwice`](crate::Error::ChargedTwice), [`Error::MissingGradient`](crate::Error::MissingGradient),
    /// [`Error::GradientShape`](crate::Error::GradientShape) and its like; the loss's own.
    pub fn lambda_max(&self, data_loss: impl FnMut() -> candle_core::Result<Tensor>) -> Result<LambdaMaxima> {
        self.lambda_max_with(Stays::Stationary, data_loss)
    }

    /// [`lambda_max`](Self::lambda_max) with another meaning of "stays at 0": with [`Stays::AfterStep`]`(t)` it is the smallest λ at which a
    /// proximal gradient step of length t ends at 0, which is a number for curves of infinite slope too.
    ///
    /// # Errors
    /// As [`lambda_max`](Self::lambda_max), and [`Error::InvalidParameter`](crate::Error::InvalidParameter) for a step out of its range.
    pub fn lambda_max_with(
        &self,
        stays: Stays,
        mut data_loss: impl FnMut() -> candle_core::Result<Tensor>,
    ) -> Result<LambdaMaxima> {
        self.check_not_empty()?;
        let before = gradient_check::number(&data_loss()?)?;
        let rows = self.penalized().map(|(param, penalty)| {
            let lent = Lent::new(param.tensor())?;
            let emptied = self.emptied(param, &penalty, &lent, stays, before, &mut data_loss)?;
            lent.give_back()?;
            Ok(LambdaMaxRow { path: param.path().clone(), lambda: penalty.lambda(), emptied })
        });
        let step = match stays {
            Stays::AfterStep(step) => Some(step),
            Stays::Stationary => None,
        };
        Ok(LambdaMaxima { rows: rows.collect::<Result<_>>()?, step })
    }

    fn emptied(
        &self,
        param: &Param,
        penalty: &Penalty,
        lent: &Lent,
        stays: Stays,
        before: f64,
        data_loss: &mut impl FnMut() -> candle_core::Result<Tensor>,
    ) -> Result<Emptied> {
        let tensor = param.tensor();
        lent.set(&tensor.detach().zeros_like()?)?;
        let at_zero = AtZero::take(self, &[param], data_loss)?;
        let gradient = &at_zero.gradients[0];
        let found = kernel::lambda_max(gradient, penalty, stays)?;
        if !at_zero.norm().is_finite() {
            return Ok(Emptied::NotFinite);
        }
        if tensor.elem_count() > 0 {
            if at_zero.norm() == 0.0 {
                return Ok(Emptied::NoGradient { exactly: true });
            }
            if at_zero.is_rounding(self, &[(param, lent)], before, data_loss)? {
                return Ok(Emptied::NoGradient { exactly: false });
            }
        }
        let slope = penalty.with_lambda(1.0).on_curve().slope_at_zero();
        Ok(match stays {
            Stays::Stationary if slope == f64::INFINITY => Emptied::InfiniteSlope,
            _ if found.value.is_finite() => Emptied::From { lambda: found.value, place: found.place },
            _ => Emptied::NotFinite,
        })
    }
}

/// A length by which weights are moved to see how the loss curves at 0.
const PROBE: f64 = 1e-3;

/// The loss and its gradients by some parameters that are 0.
pub(crate) struct AtZero {
    pub(crate) loss: f64,
    /// In the order of the parameters.
    pub(crate) gradients: Vec<Tensor>,
    wide: Vec<Vec<f64>>,
    /// The distance of neighbouring numbers at 1, in the coarsest type at hand.
    ulp: f64,
}

impl AtZero {
    /// * `params`: at 0 already.
    pub(crate) fn take(
        regularizer: &Regularizer,
        params: &[&Param],
        data_loss: &mut impl FnMut() -> candle_core::Result<Tensor>,
    ) -> Result<Self> {
        let graph = data_loss()?;
        let loss = gradient_check::number(&graph)?;
        let grads = graph.backward()?;
        regularizer.refuse_charged(&grads)?;
        let mut gradients = Vec::new();
        for param in params {
            let tensor = param.tensor();
            let Some(gradient) = grads.get(tensor) else {
                return Err(regularizer.missing_gradient(param.path(), |tensor| grads.get(tensor).is_some()));
            };
            gradient::check_layout(|| param.path().clone(), tensor, gradient)?;
            gradients.push(gradient.clone());
        }
        let dtypes = params.iter().map(|param| param.tensor().dtype()).chain([graph.dtype()]);
        let ulp = dtypes.map(ulp).fold(0.0, f64::max);
        let wide = gradients.iter().map(wide).collect::<Result<_>>()?;
        Ok(Self { loss, gradients, wide, ulp })
    }

    /// ‖∇f‖ by all of the parameters.
    pub(crate) fn norm(&self) -> f64 {
        norm(&self.wide.iter().map(|gradient| norm(gradient)).collect::<Vec<_>>())
    }

    /// Whether the gradient is no more than rounding.
    ///
    /// Asked where f could fall along it by `‖∇f‖²/(2L)`, L being its curvature there, and that is below the last digit of f (at 0 or at
    /// the weights before, whichever is larger). That alone says little: f may be large, and its gradient well known. So the weights are
    /// moved to where the gradient along itself should be 0, by `‖∇f‖/L`. Where it is real it falls; where it is rounding so small a move
    /// goes under, and it stays or is another one.
    ///
    /// Leaves the parameters at 0.
    pub(crate) fn is_rounding(
        &self,
        regularizer: &Regularizer,
        params: &[(&Param, &Lent)],
        before: f64,
        data_loss: &mut impl FnMut() -> candle_core::Result<Tensor>,
    ) -> Result<bool> {
        let length = self.norm();
        let change = self.change(PROBE, regularizer, params, data_loss)?;
        let curvature = norm(&change) / PROBE;
        let fall = length * length / (2.0 * curvature);
        if exceeds(fall, self.ulp * self.loss.abs().max(before.abs())) {
            return Ok(false);
        }
        let along = self.along(&change) / PROBE;
        if along <= 0.0 || along.is_nan() {
            return Ok(false);
        }
        let change = self.change(length / along, regularizer, params, data_loss)?;
        // Of a quadratic it falls by the whole of its length.
        Ok(exceeds(0.5 * length, self.along(&change)))
    }

    /// What the gradients lose when the parameters are moved by `distance` along −∇f.
    fn change(
        &self,
        distance: f64,
        regularizer: &Regularizer,
        params: &[(&Param, &Lent)],
        data_loss: &mut impl FnMut() -> candle_core::Result<Tensor>,
    ) -> Result<Vec<f64>> {
        let length = self.norm();
        for ((param, lent), gradient) in params.iter().zip(&self.wide) {
            let moved = gradient.iter().map(|v| -distance * (v / length));
            let tensor = param.tensor();
            let moved = Tensor::from_iter(moved, &Device::Cpu)?.reshape(tensor.shape())?;
            lent.set(&moved.to_dtype(tensor.dtype())?.to_device(tensor.device())?)?;
        }
        let list: Vec<_> = params.iter().map(|(param, _)| *param).collect();
        let moved = Self::take(regularizer, &list, data_loss)?;
        for (param, lent) in params {
            lent.set(&param.tensor().detach().zeros_like()?)?;
        }
        let pairs = self.wide.iter().flatten().zip(moved.wide.iter().flatten());
        Ok(pairs.map(|(v, moved)| v - moved).collect())
    }

    /// The part of a change that lies along the gradient.
    fn along(&self, change: &[f64]) -> f64 {
        let length = self.norm();
        self.wide.iter().flatten().zip(change).map(|(v, change)| v / length * change).sum()
    }
}

fn ulp(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::BF16 => 2f64.powi(-7),
        DType::F16 => 2f64.powi(-10),
        _ => f32::EPSILON.into(),
    }
}

impl LambdaMaxima {
    /// The row of a path.
    #[must_use]
    pub fn row(&self, path: &str) -> Option<&LambdaMaxRow> {
        self.rows.iter().find(|row| row.path == path)
    }
}

impl fmt::Display for Emptied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From { lambda, .. } => f.write_str(&rounded(*lambda)),
            Self::NoGradient { exactly: true } => f.write_str("none: its gradient at 0 is 0"),
            Self::NoGradient { exactly: false } => f.write_str("none: its gradient at 0 is rounding"),
            Self::InfiniteSlope => f.write_str("none: every λ > 0 keeps zeros"),
            Self::NotFinite => f.write_str("unknown: its gradient at 0 is not finite"),
        }
    }
}

impl fmt::Display for LambdaMaxima {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["parameter", "λ", "λ_max", "λ/λ_max", "held longest by"]);
        for row in &self.rows {
            let share = row.emptied.lambda().filter(|most| *most > 0.0).map(|most| row.lambda / most);
            let place = match &row.emptied {
                Emptied::From { place: Some(place), .. } => place.to_string(),
                _ => String::new(),
            };
            let share = share.map_or_else(String::new, rounded);
            table.add_row([row.path.to_string(), rounded(row.lambda), row.emptied.to_string(), share, place]);
        }
        for column in 1..4 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(f, "{table}")?;
        match self.step {
            Some(step) => write!(f, "\nzeros judged by a prox step of length {}", readable(step)),
            None => Ok(()),
        }
    }
}

/// Five digits.
fn rounded(value: f64) -> String {
    readable(format!("{value:.4e}").parse().unwrap_or(value))
}
