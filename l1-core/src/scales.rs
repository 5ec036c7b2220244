//! The factors of λ, element and l2 that change while training: one of the whole regularizer, one of each field.

use crate::{
    Error, Param, ParamPath, Penalty, Regularizer, Result,
    nearest::nearest,
    penalty::{STRENGTH, is_strength},
};

impl Regularizer {
    /// The factor of every λ, element and l2.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Multiplies every λ, element and l2 by `scale` from now on (in place of the scale before, 1 at first). Scales of fields
    /// ([`set_scale_of`](Self::set_scale_of)) multiply beside it.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless `scale` is finite and ≥ 0, or [`Error::InvalidValue`] if some λ, element or l2 times `scale`
    /// overflows; [`Error::FollowsSchedule`]. The old scale stays.
    pub fn set_scale(&mut self, scale: f64) -> Result<()> {
        check_scale(scale)?;
        self.check_scale_is_free()?;
        self.params.iter().try_for_each(|param| check_scaled(param, scale * param.scale))?;
        self.scale = scale;
        Ok(())
    }

    /// The scale of the field at a path, if all that is penalized there has the same.
    ///
    /// # Errors
    /// [`Error::UnknownField`] where nothing is penalized at the path or below it.
    pub fn scale_of(&self, field: &str) -> Result<Option<f64>> {
        let penalized = self.below(field)?;
        let first = self.params[penalized[0]].scale;
        Ok(penalized.iter().all(|&index| self.params[index].scale == first).then_some(first))
    }

    /// Multiplies λ, element and l2 of what is penalized at a path, or below it, by `scale` from now on, in place of the scale that it had
    /// (1 at first). The scale of the whole ([`set_scale`](Self::set_scale)) multiplies beside it.
    ///
    /// * `field`: the path of a parameter (`fc1.weight`) or of what holds it (`fc1`, `encoder`; the empty path is the whole model).
    ///
    /// ```
    /// use candle_core::{Device, Var};
    /// use l1_core::{Regularized, Rule, Visitor};
    /// # struct Model(Var, Var);
    /// # impl Regularized for Model {
    /// #     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
    /// #         visitor.field("first", Rule::l1(1.0), &self.0)?;
    /// #         visitor.field("second", Rule::l1(1.0), &self.1)
    /// #     }
    /// # }
    /// # let model = Model(Var::new(&[1f32, 0.0, -3.0], &Device::Cpu)?, Var::new(&[2f32], &Device::Cpu)?);
    /// let mut regularizer = model.regularizer()?; // λ = 1 on `first`, of norm 4, and on `second`, of norm 2
    /// regularizer.set_scale_of("first", 0.5)?;
    /// assert_eq!(regularizer.value()?, 0.5 * 4.0 + 2.0);
    /// # Ok::<(), l1_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownField`], and as [`set_scale`](Self::set_scale). The old scales stay.
    pub fn set_scale_of(&mut self, field: &str, scale: f64) -> Result<()> {
        check_scale(scale)?;
        let penalized = self.below(field)?;
        self.check_scales_are_free(&penalized)?;
        penalized.iter().try_for_each(|&index| check_scaled(&self.params[index], self.scale * scale))?;
        for index in penalized {
            self.params[index].scale = scale;
        }
        Ok(())
    }

    /// Takes all scales and frozen supports from elsewhere, in place of its own.
    ///
    /// * `scales`, `frozen`: by the paths of penalized parameters; the scales of others are 1, and their supports are free.
    pub(crate) fn restore(&mut self, scale: f64, scales: &[(&str, f64)], frozen: &[&str]) -> Result<()> {
        self.params.iter_mut().for_each(|param| (param.scale, param.support_is_frozen) = (1.0, false));
        check_scale(scale)?;
        for (path, of_field) in scales {
            check_scale(*of_field)?;
            let index = self.exactly(path)?;
            self.params[index].scale = *of_field;
        }
        self.params.iter().try_for_each(|param| check_scaled(param, scale * param.scale))?;
        let frozen = frozen.iter().map(|path| self.exactly(path)).collect::<Result<Vec<_>>>()?;
        self.check_has_support(&frozen)?;
        self.set_frozen(&frozen, true);
        self.scale = scale;
        Ok(())
    }

    /// Where the penalized parameter of a path stands in the list.
    fn exactly(&self, path: &str) -> Result<usize> {
        let is_it = |param: &Param| param.path == *path && param.decision.penalty().is_some();
        let unknown = || Error::UnknownField { field: path.into(), nearest: Vec::new() };
        self.params.iter().position(is_it).ok_or_else(unknown)
    }

    /// The penalty of one tensor, every scale included, and with strengths of 0 while its support is frozen; `None` if it is not
    /// penalized.
    pub(crate) fn penalty_of(&self, param: &Param) -> Option<Penalty> {
        let scale = if param.support_is_frozen { 0.0 } else { self.scale * param.scale };
        param.decision.penalty().map(|penalty| penalty.scaled(scale))
    }

    /// [`penalty_of`](Self::penalty_of) as it is once the support is released.
    pub(crate) fn released_penalty_of(&self, param: &Param) -> Option<Penalty> {
        param.decision.penalty().map(|penalty| penalty.scaled(self.scale * param.scale))
    }

    /// Where the penalized parameters at a path or below it stand in the list; at least one.
    pub(crate) fn below(&self, field: &str) -> Result<Vec<usize>> {
        let is_below = |path: &ParamPath| {
            let rest = path.as_str().strip_prefix(field);
            rest.is_some_and(|rest| field.is_empty() || rest.is_empty() || rest.starts_with('.'))
        };
        let penalized = || self.params.iter().enumerate().filter(|(_, param)| param.decision.penalty().is_some());
        let found = penalized().filter(|(_, param)| is_below(&param.path) || param.aliases.iter().any(is_below));
        let found: Vec<_> = found.map(|(index, _)| index).collect();
        if found.is_empty() {
            let nearest = nearest(field, penalized().map(|(_, param)| param.path.as_str()));
            return Err(Error::UnknownField { field: field.into(), nearest });
        }
        Ok(found)
    }
}

fn check_scale(scale: f64) -> Result<()> {
    if is_strength(scale) {
        return Ok(());
    }
    Err(Error::InvalidParameter { name: "scale", value: scale, expected: STRENGTH })
}

/// Refuses a scale with which a strength overflows.
pub(crate) fn check_scaled(param: &Param, scale: f64) -> Result<()> {
    let dtype = param.tensor.dtype();
    let invalid = param.decision.penalty().and_then(|penalty| penalty.scaled(scale).invalid_for(dtype));
    let Some((key, value, expected)) = invalid else { return Ok(()) };
    let key = match key {
        "l2" => "l2 times the new scale",
        "element" => "element times the new scale",
        _ => "lambda times the new scale",
    };
    Err(Error::InvalidValue { path: param.path.clone(), key, value, expected })
}
