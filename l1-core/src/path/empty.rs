//! Where a descending path begins: the model with everything penalized at 0, and the scale that holds it there.

use candle_core::Tensor;

use super::{Fit, Walk, walk::declared};
use crate::{
    Error, Param, Penalty, Result,
    gradient_check::number,
    kernel::{self, Stays},
    lambda_max::AtZero,
    lent::Lent,
};

/// The strongest strength in the fit of an empty model: far above what any gradient asks for, and far below the end of f32.
const VAST: f64 = 1e20;

/// How often the fit of what is not penalized is repeated, at a scale near the one sought.
const FITS: usize = 4;

impl<L, F> Walk<'_, L, F>
where
    L: Fn() -> candle_core::Result<Tensor>,
    F: FnMut(&mut Fit<'_>) -> Result<()>,
{
    /// Sets everything penalized to 0 and fits the rest, so that the run knows the loss of the empty model.
    pub(crate) fn empty_fit(&mut self) -> Result<()> {
        self.start_loss = number(&(self.loss)()?)?;
        self.clear()?;
        let strengths = self.emptied().map(|(_, penalty)| penalty.lambda().max(penalty.element()).max(penalty.l2()));
        let strongest = strengths.fold(0.0, f64::max);
        if strongest > 0.0 && self.has_others() {
            self.fit_at(VAST / strongest)?;
            self.check_cleared()?;
        }
        let loss = number(&(self.loss)()?)?;
        if !loss.is_finite() {
            return Err(Error::NonFinitePoint { value: loss });
        }
        self.run.empty_loss = Some(loss);
        Ok(())
    }

    /// The smallest scale that holds everything penalized at 0, the rest fitted there.
    pub(crate) fn scale_max(&mut self) -> Result<f64> {
        self.empty_fit()?;
        let mut scale = self.scale_at_zero()?;
        // Once more at a scale in sight of it: a closure may stop by a tolerance relative to the scale.
        if self.has_others() {
            for _ in 0..FITS {
                self.fit_at(2.0 * scale)?;
                self.check_cleared()?;
                let again = self.scale_at_zero()?;
                let is_settled = (again - scale).abs() <= 1e-9 * scale;
                scale = again;
                if is_settled {
                    break;
                }
            }
            self.run.empty_loss = Some(number(&(self.loss)()?)?);
        }
        self.run.scale_max = Some(scale);
        Ok(scale)
    }

    /// The penalized parameters that a large enough scale empties, with the penalty at scale 1.
    pub(crate) fn emptied(&self) -> impl Iterator<Item = (&Param, Penalty)> {
        let moved = self.field.as_deref().map(|field| self.regularizer.below(field).unwrap_or_default());
        let params = self.regularizer.params().iter().enumerate();
        let params = params.filter(move |(index, _)| moved.as_ref().is_none_or(|moved| moved.contains(index)));
        params.filter_map(|(_, param)| {
            let penalty = declared(param)?.scaled(self.other_scale(param));
            (penalty.lambda() > 0.0 || penalty.element() > 0.0).then_some((param, penalty))
        })
    }

    /// The scale that multiplies beside the one that is moved.
    fn other_scale(&self, param: &Param) -> f64 {
        if self.field.is_some() { self.regularizer.scale() } else { param.scale }
    }

    /// Whether the closure has anything to fit beside what is emptied.
    fn has_others(&self) -> bool {
        self.vars.iter().any(|var| !self.emptied().any(|(param, _)| param.tensor().id() == var.id()))
    }

    fn clear(&self) -> Result<()> {
        for var in &self.vars {
            if var.elem_count() > 0 && self.emptied().any(|(param, _)| param.tensor().id() == var.id()) {
                var.set(&var.as_detached_tensor().zeros_like()?)?;
            }
        }
        Ok(())
    }

    fn check_cleared(&self) -> Result<()> {
        for (param, _) in self.emptied() {
            let tensor = param.tensor();
            if kernel::counts(tensor)?.zeros != tensor.elem_count() {
                let why = "the fit did not keep it at 0 under a scale far above any gradient: it has to train with a proximal \
                           optimizer, given `fit.regularizer()`";
                return Err(Error::NoDescent { path: param.path().clone(), why: why.to_owned() });
            }
        }
        Ok(())
    }

    fn scale_at_zero(&self) -> Result<f64> {
        let emptied: Vec<_> = self.emptied().collect();
        let params: Vec<_> = emptied.iter().map(|(param, _)| *param).collect();
        let Some(first) = params.first() else {
            let path = self.regularizer.penalized().next().map_or_else(|| "".into(), |(param, _)| param.path().clone());
            let why = "a ridge or a sign constraint alone empties nothing at any scale".to_owned();
            return Err(Error::NoDescent { path, why });
        };
        let mut loss = || (self.loss)();
        let at_zero = AtZero::take(&self.regularizer, &params, &mut loss)?;
        let refused =
            |param: &Param, why: &str| Err(Error::NoDescent { path: param.path().clone(), why: why.to_owned() });
        if !at_zero.norm().is_finite() {
            return refused(first, "a gradient at 0 is NaN or infinite");
        }
        if let Some((param, _)) = emptied.iter().find(|(_, penalty)| has_infinite_slope(penalty)) {
            return refused(param, "its curve has an infinite slope at 0, so that every scale keeps it empty");
        }
        let lent = params.iter().map(|param| Lent::new(param.tensor())).collect::<Result<Vec<_>>>()?;
        let pairs: Vec<_> = params.iter().copied().zip(&lent).collect();
        if at_zero.norm() == 0.0 || at_zero.is_rounding(&self.regularizer, &pairs, self.start_loss, &mut loss)? {
            let why = "the loss has no gradient at 0 (up to rounding), so that every scale keeps it empty: a network whose layers are \
                       all 0 never comes back";
            return refused(first, why);
        }
        let mut largest = 0.0;
        for ((_, penalty), gradient) in emptied.iter().zip(&at_zero.gradients) {
            let scale = kernel::scale_max(gradient, penalty, Stays::Stationary)?.value;
            largest = if scale > largest { scale } else { largest };
        }
        Ok(largest)
    }
}

fn has_infinite_slope(penalty: &Penalty) -> bool {
    penalty.lambda() > 0.0 && penalty.on_curve().slope_at_zero() == f64::INFINITY
}
