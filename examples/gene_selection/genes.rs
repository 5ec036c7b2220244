//! The genes that were selected, as text to read and as CSV.

use anyhow::Result;
use examples::data::Khan;

use super::model::TumourModel;

pub struct Gene {
    /// From 1, as in the columns of the data.
    pub number: usize,
    /// One for each tumour.
    weights: Vec<f64>,
}

impl Gene {
    fn strength(&self) -> f64 {
        self.weights.iter().map(|weight| weight.abs()).sum()
    }
}

/// The genes with a weight that is not 0, strongest first.
///
/// * `numbers`: of the model's genes, from 0.
pub fn selected(model: &TumourModel, numbers: impl Iterator<Item = usize>) -> Result<Vec<Gene>> {
    let columns = model.genes.weight().t()?.to_vec2::<f64>()?;
    let genes = columns.into_iter().zip(numbers).map(|(weights, gene)| Gene { number: gene + 1, weights });
    let mut selected: Vec<_> = genes.filter(|gene| gene.weights.iter().any(|&weight| weight != 0.0)).collect();
    selected.sort_by(|a, b| b.strength().total_cmp(&a.strength()).then(a.number.cmp(&b.number)));
    Ok(selected)
}

/// As text to read; a dot for an exact zero. `stable`: how often halves of the patients select each gene, by its number from 0.
pub fn table(genes: &[Gene], stable: &[f64]) -> String {
    let mut table = format!("  {:>9}", "gene");
    table.extend(Khan::TUMOURS.map(|tumour| format!("{tumour:>9}")));
    table += "   halves\n";
    for gene in genes {
        let cell = |&weight: &f64| if weight == 0.0 { format!("{:>9}", "·") } else { format!("{weight:>+9.4}") };
        let cells: String = gene.weights.iter().map(cell).collect();
        let often = stable[gene.number - 1];
        table += &format!("  {:>9}{cells}{:>7.0} %\n", format!("gene {}", gene.number), 100.0 * often);
    }
    table
}

pub fn csv(genes: &[Gene], stable: &[f64]) -> String {
    let mut csv = format!("gene,{},halves\n", Khan::TUMOURS.join(","));
    for gene in genes {
        let cell = |&weight: &f64| if weight == 0.0 { "0".to_owned() } else { format!("{weight:.6}") };
        let weights: Vec<_> = gene.weights.iter().map(cell).collect();
        csv += &format!("{},{},{:.3}\n", gene.number, weights.join(","), stable[gene.number - 1]);
    }
    csv
}
