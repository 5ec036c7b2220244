//! Certificates: models that are not at a minimum, and penalties for which none can be proved.

use anyhow::Result;
use candle_core::{DType, Tensor};
use l1_core::{Curve, Error, LinearLoss, LinearProblem, ParamsStationarity, Regularized, Rule};
use tests::device;

use super::refused;
use crate::models::{Single, gradients};

fn gradient(values: &[f64]) -> Result<Tensor> {
    Ok(Tensor::new(values, &device())?)
}

pub fn nothing_to_certify() -> Result<Error> {
    let model = Single::new(&[1.0, -2.0], DType::F64, Rule::l1(0.5));
    let mut regularizer = model.regularizer()?;
    regularizer.set_scale(0.0)?;
    refused(regularizer.stationarity(&gradients([]))?.assert_below(1e-4))
}

pub fn not_stationary() -> Result<Error> {
    let model = Single::new(&[1.0, 0.0], DType::F64, Rule::l1(0.5));
    let grads = gradients([(&model.weight, gradient(&[-0.25, 0.125])?)]);
    refused(model.regularizer()?.stationarity(&grads)?.assert_below(1e-4))
}

pub fn zeros_leave() -> Result<Error> {
    let model = Single::new(&[0.0, 0.0, 2.0], DType::F64, Rule::l1(0.5).curve(Curve::L0));
    let grads = gradients([(&model.weight, gradient(&[1.0, -2.0, 0.0])?)]);
    let regularizer = model.regularizer()?;
    let error = refused(regularizer.stationarity(&grads)?.assert_below(1e-4));

    // ANCHOR: ZerosLeave
    let params = ParamsStationarity { step: 0.25, ..Default::default() }; // 1/L of the loss
    regularizer.stationarity_with(&grads, &params)?.assert_below(1e-4)?;
    // ANCHOR_END: ZerosLeave
    error
}

pub fn no_duality_gap() -> Result<Error> {
    let model = Single::new(&[1.0, 0.0], DType::F64, Rule::l1(0.1));
    let x = Tensor::new(&[[1f64, 3.0], [-1.0, 3.0]], &device())?;
    let y = Tensor::new(&[[7f64], [-13.0]], &device())?;
    let weight = model.weight.as_detached_tensor().reshape((1, 2))?;
    let problem = LinearProblem { inputs: &x, targets: &y, weight: &weight, bias: None, loss: LinearLoss::Squared };
    refused(model.regularizer()?.duality_gap(&problem))
}
