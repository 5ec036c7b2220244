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

/// How often the fit of the rest is repeated, at a scale near the one sought.
const FITS: usize = 4;

/// The same where the scale that is sought moves the rest, too: enough for a secant, and for bisections in between.
const FITS_OF_MOVED: usize = 24;

/// How far above the scale sought the fields that are to stay empty are held meanwhile.
const HELD: f64 = 16.0;

/// A scale is found when it moves less than this share of itself.
const SETTLED: f64 = 1e-9;

impl<L, F> Walk<'_, L, F>
where
    L: Fn() -> candle_core::Result<Tensor>,
    F: FnMut(&mut Fit<'_>) -> Result<()>,
{
    /// Sets everything penalized to 0 and fits the rest, so that the run knows the loss of the empty model.
    pub(crate) fn empty_fit(&mut self) -> Result<()> {
        self.clear()?;
        self.start_loss = number(&(self.loss)()?)?;
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
        let found = self.scale_at_zero()?;
        let scale = if self.moves_others() {
            self.scale_of_its_own_fit(found)?
        } else {
            let scale = self.required(found)?;
            if self.has_others() && scale > 0.0 && scale.is_finite() { self.fitted_again(scale)? } else { scale }
        };
        if self.has_others() {
            self.run.empty_loss = Some(number(&(self.loss)()?)?);
        }
        if !(scale > 0.0 && scale.is_finite()) {
            let path = self.emptied().next().map_or_else(|| "".into(), |(param, _)| param.path().clone());
            let why = format!("the smallest scale that empties it is {scale} (expected a finite number > 0)");
            return Err(Error::NoDescent { path, why });
        }
        self.run.scale_max = Some(scale);
        Ok(scale)
    }

    /// The scale once more with the rest fitted in sight of it: a closure may stop by a tolerance relative to the scale.
    fn fitted_again(&mut self, mut scale: f64) -> Result<f64> {
        for _ in 0..FITS {
            self.fit_held(scale, scale)?;
            let found = self.scale_at_zero()?;
            let again = self.required(found)?;
            let is_settled = (again - scale).abs() <= SETTLED * scale;
            scale = again;
            if is_settled {
                break;
            }
        }
        Ok(scale)
    }

    /// The scale s that the gradient asks for when the rest, which it moves too, is fitted at s itself: a root of g(s) − s, by secants
    /// within a bracket.
    ///
    /// * `found`: g far above.
    fn scale_of_its_own_fit(&mut self, found: Option<f64>) -> Result<f64> {
        // Far above, a ridge holds the rest at 0, where there may be no gradient: then from the scale as it is declared.
        let mut scale = found.filter(|scale| *scale > 0.0 && scale.is_finite()).unwrap_or(1.0);
        let (mut below, mut above) = (0.0, f64::INFINITY);
        let mut largest = scale;
        let mut before: Option<(f64, f64)> = None;
        let mut last = found;
        for _ in 0..FITS_OF_MOVED {
            self.fit_held(scale, largest)?;
            last = self.scale_at_zero()?;
            let asked = last.unwrap_or(0.0);
            let excess = asked - scale;
            if excess.abs() <= SETTLED * scale {
                // A hair above, so that the first fit there is empty.
                return Ok(scale.max(asked) * (1.0 + SETTLED));
            }
            largest = largest.max(asked);
            if excess > 0.0 {
                below = scale
            } else {
                above = scale
            }
            let secant = before.map(|(other, its)| scale - excess * (scale - other) / (excess - its));
            before = Some((scale, excess));
            let is_within = |next: &f64| *next > below && *next < above && next.is_finite();
            let middle = if below > 0.0 { (below * above).sqrt() } else { above / 16.0 };
            scale = secant.filter(is_within).or_else(|| Some(asked).filter(is_within)).unwrap_or(middle);
        }
        // Where fits are noisy nothing settles. Where the gradient vanishes at every scale, there is none.
        let asked = self.required(last)?;
        Ok(if asked > 0.0 { scale } else { asked })
    }

    /// Fits the rest at a scale while what is to be emptied is held at 0, and sets to 0 what a noisy fit let go all the same.
    ///
    /// * `largest`: a scale that the gradient has asked for.
    fn fit_held(&mut self, scale: f64, largest: f64) -> Result<()> {
        self.set_scale(scale)?;
        let as_declared = self.regularizer.clone();
        let held = HELD * largest.max(scale);
        let paths: Vec<_> = self.emptied().map(|(param, _)| (param.path().clone(), param.scale)).collect();
        for (path, own) in paths {
            // With a field that is moved its own scale is the one sought.
            let of_field = if self.field.is_some() { held } else { own * held / scale };
            self.regularizer.set_scale_of(path.as_str(), of_field)?;
        }
        let fitted = self.fit_here(self.run.points.len(), scale);
        self.regularizer = as_declared;
        fitted?;
        self.clear()
    }

    /// Whether the scale moves a field that it does not empty: one with a ridge alone.
    fn moves_others(&self) -> bool {
        let moved = self.moved();
        self.regularizer.params().iter().enumerate().any(|(index, param)| {
            moved.as_ref().is_none_or(|moved| moved.contains(&index))
                && declared(param).is_some_and(|penalty| {
                    let penalty = penalty.scaled(self.other_scale(param));
                    penalty.lambda() == 0.0 && penalty.element() == 0.0 && penalty.l2() > 0.0
                })
        })
    }

    /// The numbers of the parameters whose scale is moved; none if it is that of the whole.
    fn moved(&self) -> Option<Vec<usize>> {
        self.field.as_deref().map(|field| self.regularizer.below(field).unwrap_or_default())
    }

    /// The penalized parameters that a large enough scale empties, with the penalty at scale 1.
    pub(crate) fn emptied(&self) -> impl Iterator<Item = (&Param, Penalty)> {
        let moved = self.moved();
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

    /// The scale that the gradients at 0 ask for; none where they vanish, up to rounding.
    fn scale_at_zero(&self) -> Result<Option<f64>> {
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
        // A loss that the rest explains but for the tolerance of its fit has nothing left to explain.
        let is_explained =
            self.start_loss != at_zero.loss && at_zero.loss.abs() <= f64::EPSILON * self.start_loss.abs();
        if at_zero.norm() == 0.0
            || is_explained
            || at_zero.is_rounding(&self.regularizer, &pairs, self.start_loss, &mut loss)?
        {
            return Ok(None);
        }
        let mut largest = 0.0;
        for ((_, penalty), gradient) in emptied.iter().zip(&at_zero.gradients) {
            let scale = kernel::scale_max(gradient, penalty, Stays::Stationary)?.value;
            largest = if scale > largest { scale } else { largest };
        }
        Ok(Some(largest))
    }

    fn required(&self, scale: Option<f64>) -> Result<f64> {
        scale.ok_or_else(|| {
            let path = self.emptied().next().map_or_else(|| "".into(), |(param, _)| param.path().clone());
            let why = "the loss has no gradient at 0 (up to rounding), so that every scale keeps it empty: a network whose layers are \
                       all 0 never comes back";
            Error::NoDescent { path, why: why.to_owned() }
        })
    }
}

fn has_infinite_slope(penalty: &Penalty) -> bool {
    penalty.lambda() > 0.0 && penalty.on_curve().slope_at_zero() == f64::INFINITY
}
