//! Cross-validation: which λ, and how much of it is to stay on the genes that were chosen.

use candle_core::Result as CandleResult;
use examples::data::Labelled;
use l1_core::{CrossValidated, CrossValidation, Error, Fold, Path};

use super::model::{TumourModel, genes_at, standardized, with_genes};

/// Each fold's own patients and those it holds out, standardized by its own alone.
fn parts(fold: &Fold, patients: &Labelled) -> l1_core::Result<(Labelled, Labelled)> {
    let train = Labelled { x: fold.train(&patients.x)?, y: fold.train(&patients.y)? };
    let held_out = Labelled { x: fold.test(&patients.x)?, y: fold.test(&patients.y)? };
    Ok(standardized(train, held_out)?)
}

fn loss(model: &TumourModel, patients: &Labelled) -> CandleResult<f64> {
    model.loss(patients)?.to_scalar()
}

/// How well each λ does on patients that it was not fitted to.
///
/// * `patients`: not standardized.
pub fn lambda(folds: &CrossValidation, patients: &Labelled, lambdas: &[f64]) -> l1_core::Result<CrossValidated> {
    folds.run(patients.rows(), |fold| {
        let (train, held_out) = parts(fold, patients)?;
        let model = TumourModel::new(train.x.dim(1)?, train.device())?;
        model.path(&Path::grid(lambdas.iter().copied()), &train, |fit| {
            fit.held_out(loss(&model, &held_out)?);
            Ok(())
        })
    })
}

/// How well shares φ of λ do, when each fold's own lasso at λ has chosen its genes: the relaxed lasso (Meinshausen 2007).
pub fn share(
    folds: &CrossValidation,
    patients: &Labelled,
    lambdas: &[f64],
    shares: &[f64],
) -> l1_core::Result<CrossValidated> {
    let lambda = *lambdas.last().ok_or_else(|| Error::from(candle_core::Error::Msg("no λ".to_owned())))?;
    folds.run(patients.rows(), |fold| {
        let (train, held_out) = parts(fold, patients)?;
        let all = TumourModel::new(train.x.dim(1)?, train.device())?;
        let run = all.path(&Path::grid(lambdas.iter().copied()), &train, |_| Ok(()))?;
        let genes = genes_at(&run, run.points.len() - 1)?;
        let (train, held_out) = (with_genes(&train, &genes)?, with_genes(&held_out, &genes)?);
        let few = TumourModel::new(genes.len(), train.device())?;
        few.path(&Path::grid(shares.iter().map(|share| share * lambda)), &train, |fit| {
            fit.held_out(loss(&few, &held_out)?);
            Ok(())
        })
    })
}
