//! The model, and its path over λ.

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::{Linear, VarBuilder, VarMap, linear, loss};
use examples::{
    data::{Khan, Labelled, Standardization},
    start,
};
use l1_core::{Fit, LinearPath, Path, PathRun, Regularized};

/// Multinomial logistic regression: a score for each tumour, linear in the genes.
#[derive(Regularized)]
pub struct TumourModel {
    /// λ = 1, so that the scale of a path is λ.
    #[l1(lambda = 1.0)]
    pub genes: Linear,
    #[l1(skip)]
    pub varmap: VarMap,
}

impl TumourModel {
    /// All zeros, for this many genes.
    pub fn new(genes: usize, device: &Device) -> Result<Self> {
        let varmap = VarMap::new();
        let vb = VarBuilder::from_varmap(&varmap, DType::F64, device);
        let genes = linear(genes, Khan::TUMOURS.len(), vb.pp("genes"))?;
        start::zero(&varmap).map_err(candle_core::Error::wrap)?;
        Ok(Self { genes, varmap })
    }

    pub fn vars(&self) -> Vec<Var> {
        self.varmap.all_vars()
    }

    /// The mean cross-entropy: half the deviance of a patient.
    pub fn loss(&self, patients: &Labelled) -> Result<Tensor> {
        loss::cross_entropy(&self.genes.forward(&patients.x)?, &patients.y)
    }

    /// Fits the patients at every λ of the path; `score` may look at each fit.
    pub fn path(
        &self,
        path: &Path,
        patients: &Labelled,
        score: impl FnMut(&mut Fit<'_>) -> l1_core::Result<()>,
    ) -> l1_core::Result<PathRun> {
        let layer = LinearPath::new(&self.genes, &patients.x).tolerance(TOLERANCE);
        let loss = |scores: &Tensor| loss::cross_entropy(scores, &patients.y);
        path.run_linear(&layer, &self.regularizer()?, loss, score)
    }
}

/// How far the conditions of a minimum may be from being met, as a share of λ.
pub const TOLERANCE: f64 = 1e-4;

/// The patients with every gene at mean 0 and standard deviation 1, and others on the same scale, of whom nothing is learned.
pub fn standardized(patients: Labelled, others: Labelled) -> Result<(Labelled, Labelled)> {
    let scale = Standardization::of(&patients.x)?;
    let apply = |Labelled { x, y }: Labelled| -> Result<Labelled> { Ok(Labelled { x: scale.apply(&x)?, y }) };
    Ok((apply(patients)?, apply(others)?))
}

/// The genes (columns from 0) that have a weight other than 0 at a point.
pub fn genes_at(run: &PathRun, point: usize) -> l1_core::Result<Vec<usize>> {
    let coefficients = run.coefficients("genes.weight")?;
    let genes = coefficients.shape[1];
    let alive = coefficients.lines.iter().filter(|line| line.values[point] != 0.0);
    let mut genes: Vec<_> = alive.map(|line| line.entry % genes).collect();
    genes.sort_unstable();
    genes.dedup();
    Ok(genes)
}

/// The patients with these genes alone.
pub fn with_genes(patients: &Labelled, genes: &[usize]) -> Result<Labelled> {
    let columns = Tensor::from_iter(genes.iter().map(|gene| *gene as u32), patients.device())?;
    Ok(Labelled { x: patients.x.index_select(&columns, 1)?.contiguous()?, y: patients.y.clone() })
}
