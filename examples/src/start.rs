//! Initial values that a seed determines. candle's own come from a generator that cannot be seeded on the CPU.

use std::sync::PoisonError;

use anyhow::Result;
use candle_core::{Tensor, Var};
use candle_nn::VarMap;
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// The variables in the order of their names; the map itself keeps them in a new order at each run.
fn by_name(varmap: &VarMap) -> Vec<(String, Var)> {
    let map = varmap.data().lock().unwrap_or_else(PoisonError::into_inner);
    let mut variables: Vec<_> = map.iter().map(|(name, var)| (name.clone(), var.clone())).collect();
    variables.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    variables
}

/// Sets every variable to 0.
pub fn zero(varmap: &VarMap) -> Result<()> {
    for (_, var) in by_name(varmap) {
        var.set(&var.zeros_like()?)?;
    }
    Ok(())
}

/// Draws every variable anew, uniformly: weights with variance 2 / inputs (He et al. 2015), biases between −0.1 and 0.1.
pub fn draw(varmap: &VarMap, seed: u64) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    for (_, var) in by_name(varmap) {
        let bound = match var.dims() {
            [_, inputs, ..] => (6.0 / *inputs as f64).sqrt(),
            _ => 0.1,
        };
        let values: Vec<f64> = (0..var.elem_count()).map(|_| rng.random_range(-bound..bound)).collect();
        let value = Tensor::from_vec(values, var.shape(), var.device())?.to_dtype(var.dtype())?;
        var.set(&value)?;
    }
    Ok(())
}
