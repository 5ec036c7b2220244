//! The relaxed refit: a point of a path fitted again on its own support, without the penalty.

use candle_core::{Tensor, Var};

use super::{Fit, Path, PathPoint, PathRun, Walk};
use crate::{Regularizer, Result};

impl PathRun {
    /// Fits a point again without the penalty, its zeros held at 0: the bias towards 0 goes, the support stays.
    ///
    /// The point's weights are put back, the closure is called once with a regularizer whose support is
    /// [frozen](Regularizer::freeze_support), and what came of it is returned as a point of its own, with penalty and λ 0 and without
    /// weights: those are in the variables. The run itself stays as it is.
    ///
    /// * `index`: of the point.
    /// * `regularizer`, `vars`, `loss`, `fit`: as in [`Path::run`]; the variables are those of the run.
    ///
    /// ```
    /// # use candle_core::{DType, Device, Tensor, Var};
    /// # use candle_nn::Optimizer;
    /// # use l1_core::{Fista, Fit, ParamsFista, Path, Regularized, Rule, Visitor};
    /// # struct Model(Var);
    /// # impl Regularized for Model {
    /// #     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
    /// #         visitor.field("weight", Rule::l1(1.0), &self.0)
    /// #     }
    /// # }
    /// # let target = Tensor::new(&[4f64, -2.0, 1.0], &Device::Cpu)?;
    /// # let model = Model(Var::zeros(3, DType::F64, &Device::Cpu)?);
    /// # let vars = vec![model.0.clone()];
    /// # let loss = || model.0.sub(&target)?.sqr()?.sum_all()? * 0.5;
    /// # let regularizer = model.regularizer()?;
    /// let fit = |fit: &mut Fit<'_>| {
    ///     let mut opt = Fista::new(vars.clone(), ParamsFista::new(fit.regularizer().clone(), loss))?;
    ///     let _ = opt.minimize(1e-10, 1000)?;
    ///     Ok(())
    /// };
    /// // ½‖w − t‖², t = [4, −2, 1]: at λ = 1.5 the minimum is [2.5, −0.5, 0].
    /// let run = Path::grid([3.0, 1.5]).run(&regularizer, &vars, loss, fit)?;
    /// let relaxed = run.relaxed(1, &regularizer, &vars, loss, fit)?;
    /// assert_eq!(model.0.to_vec1::<f64>()?[2], 0.0);
    /// assert!((model.0.to_vec1::<f64>()?[0] - 4.0).abs() < 1e-9 && relaxed.nonzeros == 2);
    /// # Ok::<(), l1_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`restore`](Self::restore) and [`Path::run`], but plain ones: of a fit that fails its own error, and
    /// [`Error::NonFinitePoint`](crate::Error::NonFinitePoint); [`Error::SupportOfSingularValues`](crate::Error::SupportOfSingularValues)
    /// where a penalty is of singular values.
    ///
    /// Meinshausen, *Relaxed Lasso* (2007), at φ = 0.
    pub fn relaxed<L, F>(
        &self,
        index: usize,
        regularizer: &Regularizer,
        vars: &[Var],
        loss: L,
        fit: F,
    ) -> Result<PathPoint>
    where
        L: Fn() -> candle_core::Result<Tensor>,
        F: FnMut(&mut Fit<'_>) -> Result<()>,
    {
        // Asked for before anything is changed.
        self.weights(index)?;
        let scale = self.points[index].scale;
        let path = Path { field: self.field.clone(), keep_weights: false, ..Path::grid([scale]) };
        let mut walk = Walk::new(regularizer, &path, vars, self.direction, loss, fit)?;
        walk.set_scale(scale)?;
        walk.regularizer.freeze_support()?;
        self.restore(index, vars)?;
        let metrics = walk.fit_here(index, scale)?;
        Ok(PathPoint { index, ..walk.measure(scale, metrics)? })
    }
}
