//! Paths of one linear layer: penalties that reach over its inputs.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, VarBuilder, VarMap, loss};
use l1_core::{Error, LinearPath, Regularized};

use super::refused;

#[derive(Regularized)]
struct Rows {
    #[l1(lambda = 1.0, group = output)]
    fc: Linear,
}

pub fn no_linear_path() -> Result<Error> {
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F64, &Device::Cpu);
    let x = Tensor::new(&[[1f64, 3.0], [-1.0, 3.0], [2.0, 0.0]], &Device::Cpu)?;
    let y = Tensor::new(&[0u32, 1, 0], &Device::Cpu)?;
    let model = Rows { fc: candle_nn::linear(2, 2, vb.pp("fc"))? };
    let run = LinearPath::new(&model.fc, &x).run(&model.regularizer()?, |scores| loss::cross_entropy(scores, &y));
    let error = refused(run);

    // ANCHOR: NoLinearPath
    #[derive(Regularized)]
    struct Columns {
        #[l1(lambda = 1.0, group = input)]
        fc: Linear,
    }
    let model = Columns { fc: model.fc };
    let path = LinearPath::new(&model.fc, &x);
    let points = path.run(&model.regularizer()?, |scores| loss::cross_entropy(scores, &y))?;
    // ANCHOR_END: NoLinearPath
    assert!(points.iter().all(|point| point.converged));
    error
}
