//! In `Fista`: losses that it cannot minimize.

use anyhow::Result;
use candle_core::DType;
use candle_nn::Optimizer;
use l1_core::{Error, Fista, ParamsFista, Regularized, Rule};

use super::refused;
use crate::models::Single;

fn model(value: f64) -> Single {
    Single::new(&[value], DType::F64, Rule::l1(0.1))
}

pub fn loss_shape() -> Result<Error> {
    let model = model(1.0);
    let losses = || model.weight.sqr();
    let params = ParamsFista::new(model.regularizer()?, losses);
    let error = refused(Fista::new(vec![model.weight.clone()], params)?.minimize(1e-9, 100));

    // ANCHOR: LossShape
    let loss = || losses()?.mean_all();
    // ANCHOR_END: LossShape
    let params = ParamsFista::new(model.regularizer()?, loss);
    assert!(Fista::new(vec![model.weight.clone()], params)?.minimize(1e-9, 100)?.converged);
    error
}

pub fn non_finite_loss() -> Result<Error> {
    let model = model(0.0);
    let params = ParamsFista::new(model.regularizer()?, || model.weight.log()?.sum_all()?.neg());
    refused(Fista::new(vec![model.weight.clone()], params)?.minimize(1e-9, 100))
}

pub fn no_step() -> Result<Error> {
    let model = model(0.0);
    let params = ParamsFista::new(model.regularizer()?, || model.weight.abs()?.sum_all());
    refused(Fista::new(vec![model.weight.clone()], params)?.minimize(1e-9, 100))
}
