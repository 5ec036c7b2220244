use candle_core::backprop::GradStore;
use l1_core::{Regularizer, Result, Stationarity};

fn certify(regularizer: &Regularizer, grads: GradStore) -> Result<Stationarity> {
    let grads = regularizer.add_subgradient(grads)?;
    regularizer.stationarity(&grads)
}

fn main() {}
