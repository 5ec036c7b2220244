//! Small random weights that a seed determines. candle's own come from a generator that cannot be seeded on the CPU.

use std::sync::PoisonError;

use anyhow::Result;
use candle_core::{Tensor, Var};
use candle_nn::VarMap;
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Draws every matrix anew, uniformly, with variance 1 / columns; biases and norms keep what their layers gave them.
pub fn draw(varmap: &VarMap) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(0);
    for (_, var) in by_name(varmap) {
        if let [_, columns] = *var.dims() {
            let bound = (3.0 / columns as f32).sqrt();
            let values: Vec<f32> = (0..var.elem_count()).map(|_| rng.random_range(-bound..bound)).collect();
            var.set(&Tensor::from_vec(values, var.shape(), var.device())?)?;
        }
    }
    Ok(())
}

/// The variables in the order of their names; the map itself keeps them in a new order at each run.
pub fn by_name(varmap: &VarMap) -> Vec<(String, Var)> {
    let map = varmap.data().lock().unwrap_or_else(PoisonError::into_inner);
    let mut variables: Vec<_> = map.iter().map(|(name, var)| (name.clone(), var.clone())).collect();
    variables.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    variables
}
