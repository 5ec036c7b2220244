//! The same λ by another method, as a check: proximal AdamW from zero, with its history.

use anyhow::Result;
use candle_core::Tensor;
use candle_nn::Optimizer;
use examples::{data::Labelled, run};
use l1_core::{History, ParamsProxAdamW, ProxAdamW, Regularized};

use super::model::TumourModel;

/// What training came to.
pub struct Trained {
    pub model: TumourModel,
    pub history: History,
    /// How far the conditions of a minimum are from being met, as a share of λ.
    pub violation: f64,
    pub steps: u64,
}

/// Trains until the certificate is at the tolerance, or for `steps` steps.
pub fn train(patients: &Labelled, lambda: f64, steps: u64, lr: f64, tolerance: f64) -> Result<Trained> {
    let model = TumourModel::new(patients.x.dim(1)?, patients.device())?;
    let mut regularizer = model.regularizer()?;
    regularizer.set_scale(lambda)?;
    let mut history = History::new(&regularizer)?.every(5);
    let mut opt = ProxAdamW::new(model.vars(), ParamsProxAdamW { lr, ..ParamsProxAdamW::new(regularizer) })?;
    loop {
        let loss = model.loss(patients)?;
        let grads = loss.backward()?;
        let step = opt.steps();
        if step.is_multiple_of(20) || step == steps {
            let violation = opt.stationarity(&grads)?.largest();
            if violation <= tolerance || step == steps {
                return Ok(Trained { model, history, violation, steps: step });
            }
        }
        opt.set_learning_rate(run::falling(lr, step as f64 / steps as f64));
        history.step(&mut opt, &grads, &loss)?;
    }
}

/// The largest difference of two models' weights.
pub fn difference(one: &TumourModel, other: &TumourModel) -> Result<f64> {
    let between = |a: &Tensor, b: &Tensor| (a - b)?.abs()?.max_all()?.to_scalar::<f64>();
    Ok(between(one.genes.weight(), other.genes.weight())?)
}
