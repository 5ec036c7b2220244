//! Single operations, l1's and candle's own.

use anyhow::Result;
use candle_core::{DType, Tensor};
use l1_core::{Error, Grouping, Penalty, kernel, plot};
use tests::device;

use super::refused;

pub fn shape_mismatch() -> Result<Error> {
    let z = Tensor::ones((2, 3), DType::F64, &device())?;
    let step = Tensor::ones(3, DType::F64, &device())?;
    let penalty = Penalty::l1(0.1);
    let error = refused(kernel::prox(&z, &penalty, &step));

    // ANCHOR: ShapeMismatch
    let shrunk = kernel::prox(&z, &penalty, &step.broadcast_as(z.shape())?)?;
    // ANCHOR_END: ShapeMismatch
    drop(shrunk);
    error
}

pub fn singular_values() -> Result<Error> {
    let z = Tensor::new(&[[1f32, 2.0], [3.0, f32::NAN]], &device())?;
    refused(kernel::prox(&z, &Penalty::l1(0.1).with_group(Grouping::Singular), 1.0))
}

/// candle's errors go through l1's functions.
pub fn candle() -> Result<Error> {
    fn flattened(w: &Tensor) -> l1_core::Result<Tensor> {
        Ok(w.reshape(7)?)
    }
    match refused(flattened(&Tensor::ones((2, 3), DType::F32, &device())?))? {
        // With `RUST_BACKTRACE` candle's messages hold one.
        Error::Candle(candle_core::Error::WithBacktrace { inner, .. }) => Ok(Error::Candle(*inner)),
        error => Ok(error),
    }
}

pub fn picture() -> Result<Error> {
    let weight = Tensor::zeros((10, 64), DType::F32, &device())?;
    let error = refused(plot::weight_map(&weight, (28, 28), &plot::WeightMapOptions::default()));

    // ANCHOR: Picture
    let svg = plot::weight_map(&weight, (8, 8), &plot::WeightMapOptions::default())?; // 64 pixels
    // ANCHOR_END: Picture
    assert!(svg.starts_with("<svg"));
    error
}
