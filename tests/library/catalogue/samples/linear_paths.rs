//! Paths of one linear layer: penalties that reach over its inputs.

use anyhow::Result;
use candle_core::{DType, Tensor};
use candle_nn::{Linear, VarBuilder, VarMap, loss};
use l1_core::{Error, LinearPath, Path, Regularized};
use tests::device;

use super::refused;

#[derive(Regularized)]
struct Rows {
    #[l1(lambda = 1.0, group = output)]
    fc: Linear,
}

pub fn no_linear_path() -> Result<Error> {
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F64, &device());
    let x = Tensor::new(&[[1f64, 3.0], [-1.0, 3.0], [2.0, 0.0]], &device())?;
    let y = Tensor::new(&[0u32, 1, 0], &device())?;
    let model = Rows { fc: candle_nn::linear(2, 2, vb.pp("fc"))? };
    let layer = LinearPath::new(&model.fc, &x);
    let loss = |scores: &Tensor| loss::cross_entropy(scores, &y);
    let error = refused(Path::descending(10, 0.1).run_linear(&layer, &model.regularizer()?, loss, |_| Ok(())));

    // ANCHOR: NoLinearPath
    #[derive(Regularized)]
    struct Columns {
        #[l1(lambda = 1.0, group = input)]
        fc: Linear,
    }
    let model = Columns { fc: model.fc };
    let layer = LinearPath::new(&model.fc, &x);
    let run = Path::descending(100, 0.01).run_linear(&layer, &model.regularizer()?, loss, |_| Ok(()))?;
    // ANCHOR_END: NoLinearPath
    assert!(run.points.iter().all(|point| point.certificate.relative <= 1e-4));
    error
}
