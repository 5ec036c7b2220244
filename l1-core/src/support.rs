//! Freezing the support: zeros stay zero, and the penalty is off, so that what is left is fitted without its pull.

use crate::{Error, Grouping, Regularizer, Result};

impl Regularizer {
    /// Freezes the support of everything that is penalized: from the next step on each entry that is exactly 0 stays exactly 0, and no
    /// penalty is charged. What is left is fitted without the penalty's pull towards 0 (debiasing: the relaxed lasso's last step).
    ///
    /// * The strengths (λ, element, l2) count as 0; a sign constraint stays. What it brings to 0 stays there too: the support is what is
    ///   not 0 at the time of each step.
    /// * [`ProxSgd`](crate::ProxSgd), [`ProxAdamW`](crate::ProxAdamW) and [`FtrlProximal`](crate::FtrlProximal) clear what zeros have
    ///   gathered (momentum, z), so that nothing moves them. FTRL forgets what it has charged
    ///   so far. [`ProxAdamW`](crate::ProxAdamW)'s second moment of a zero goes on as if its gradient were 0 and falls by `beta2` in each
    ///   step, so that its first steps after a long freezing can be several times lr. In bf16 and f16 a zero is one of the weight, also where its f32 copy is not quite 0. A step takes one more pass, over
    ///   weights and gradients, and keeps a copy of each gradient. [`Fista`](crate::Fista) and [`Proximal`](crate::Proximal) hold zeros
    ///   too. Weight decay goes on.
    /// * A gradient that is NaN or ±∞ is reported as ever, at a zero too. A parameter that the loss does not reach is left alone, as an
    ///   unpenalized one is.
    /// * [`penalty`](Self::penalty) and [`value`](Self::value) charge 0, and [`add_subgradient`](Self::add_subgradient) clears gradients
    ///   at zeros. With these candle's `SGD` keeps zeros; its `AdamW` does so only if it is made anew when the support is frozen, for
    ///   moments of the steps before would move them.
    /// * A [certificate](Self::stationarity) asks for a gradient of 0 at living entries, and for nothing at zeros;
    ///   [`report`](Self::report) counts zeros as before. There is no [duality gap](Self::duality_gap).
    /// * [`Checkpoint`](crate::Checkpoint)s keep what is frozen.
    ///
    /// ```
    /// use candle_core::{Device, Tensor, Var};
    /// use candle_nn::Optimizer;
    /// use l1_core::{ParamsProxSgd, ProxSgd, Regularized, Rule, Visitor};
    ///
    /// struct Model(Var);
    /// impl Regularized for Model {
    ///     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
    ///         visitor.field("weight", Rule::l1(1.0), &self.0)
    ///     }
    /// }
    ///
    /// // The minimum of ½‖w − t‖² + ‖w‖₁ is [2, 0]; without the penalty, and with the zero held, it is [3, 0].
    /// let target = Tensor::new(&[3f64, 0.5], &Device::Cpu)?;
    /// let model = Model(Var::zeros(2, candle_core::DType::F64, &Device::Cpu)?);
    /// let mut opt = ProxSgd::new(vec![model.0.clone()], ParamsProxSgd { lr: 0.5, ..ParamsProxSgd::new(model.regularizer()?) })?;
    /// let mut train = |opt: &mut ProxSgd| -> candle_core::Result<Vec<f64>> {
    ///     for _ in 0..100 {
    ///         opt.backward_step(&((model.0.as_tensor() - &target)?.sqr()?.sum_all()? * 0.5)?)?;
    ///     }
    ///     model.0.to_vec1()
    /// };
    /// assert_eq!(train(&mut opt)?, [2.0, 0.0]);
    /// opt.regularizer_mut().freeze_support()?;
    /// assert_eq!(train(&mut opt)?, [3.0, 0.0]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NothingPenalized`]; [`Error::SupportOfSingularValues`] where a penalty is of singular values;
    /// [`Error::FollowsSchedule`] where [schedules](Self::set_schedules) freeze something. Nothing is frozen then.
    ///
    /// Meinshausen, *Relaxed Lasso* (2007); Belloni & Chernozhukov, *Least squares after model selection* (2013).
    pub fn freeze_support(&mut self) -> Result<()> {
        self.check_not_empty()?;
        self.freeze_support_of("")
    }

    /// [`freeze_support`](Self::freeze_support) of what is penalized at a path, or below it.
    ///
    /// * `field`: the path of a parameter (`fc1.weight`) or of what holds it (`fc1`, `encoder`; the empty path is the whole model).
    ///
    /// # Errors
    /// [`Error::UnknownField`] where nothing is penalized at the path or below it, and as
    /// [`freeze_support`](Self::freeze_support).
    pub fn freeze_support_of(&mut self, field: &str) -> Result<()> {
        let penalized = self.below(field)?;
        self.check_supports_are_free(&penalized)?;
        self.check_has_support(&penalized)?;
        self.set_frozen(&penalized, true);
        Ok(())
    }

    /// Lets zeros move again, and charges the penalty again, from the next step on; everywhere.
    ///
    /// # Errors
    /// [`Error::NothingPenalized`]; [`Error::FollowsSchedule`].
    pub fn release_support(&mut self) -> Result<()> {
        self.check_not_empty()?;
        self.release_support_of("")
    }

    /// [`release_support`](Self::release_support) of what is penalized at a path, or below it.
    ///
    /// # Errors
    /// [`Error::UnknownField`] where nothing is penalized at the path or below it; [`Error::FollowsSchedule`].
    pub fn release_support_of(&mut self, field: &str) -> Result<()> {
        let penalized = self.below(field)?;
        self.check_supports_are_free(&penalized)?;
        self.set_frozen(&penalized, false);
        Ok(())
    }

    /// Whether the support of the field at a path is frozen, if all that is penalized there says the same. One parameter:
    /// [`Param::support_is_frozen`](crate::Param::support_is_frozen).
    ///
    /// # Errors
    /// [`Error::UnknownField`] where nothing is penalized at the path or below it.
    pub fn support_is_frozen(&self, field: &str) -> Result<Option<bool>> {
        let penalized = self.below(field)?;
        let first = self.params[penalized[0]].support_is_frozen;
        Ok(penalized.iter().all(|&index| self.params[index].support_is_frozen == first).then_some(first))
    }

    /// Refuses parameters whose penalty makes no zeros among their entries.
    pub(crate) fn check_has_support(&self, penalized: &[usize]) -> Result<()> {
        let is_spectral = |&&index: &&usize| {
            self.params[index].decision.penalty().is_some_and(|penalty| penalty.group() == Grouping::Singular)
        };
        match penalized.iter().find(is_spectral) {
            None => Ok(()),
            Some(&index) => Err(Error::SupportOfSingularValues { path: self.params[index].path.clone() }),
        }
    }

    pub(crate) fn set_frozen(&mut self, penalized: &[usize], is_frozen: bool) {
        for &index in penalized {
            self.params[index].support_is_frozen = is_frozen;
        }
    }
}
