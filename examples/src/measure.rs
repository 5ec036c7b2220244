//! How well a model does.

use anyhow::Result;
use candle_core::{D, Tensor};

/// How often each class was taken for each: one row for the class that is right, one column for the class said.
pub struct Confusion {
    counts: Vec<Vec<usize>>,
}

impl Confusion {
    /// * `scores`: rows × classes; the largest of a row is what is said.
    /// * `classes`: what is right for each row, U32.
    pub fn of(scores: &Tensor, classes: &Tensor) -> Result<Self> {
        let kinds = scores.dim(1)?;
        let mut counts = vec![vec![0; kinds]; kinds];
        let said = scores.argmax(D::Minus1)?.to_vec1::<u32>()?;
        for (right, said) in classes.to_vec1::<u32>()?.into_iter().zip(said) {
            counts[right as usize][said as usize] += 1;
        }
        Ok(Self { counts })
    }

    pub fn right(&self) -> usize {
        (0..self.counts.len()).map(|class| self.counts[class][class]).sum()
    }

    pub fn all(&self) -> usize {
        self.counts.iter().flatten().sum()
    }

    /// The share that is right.
    pub fn accuracy(&self) -> f64 {
        self.right() as f64 / self.all() as f64
    }

    /// The matrix with the names of the classes; a dot where nothing was counted.
    pub fn table(&self, names: &[&str]) -> String {
        let line = |head: &str, cells: Vec<String>| {
            let cells: String = cells.iter().map(|cell| format!("{cell:>6}")).collect();
            format!("{head:>7}{cells}\n")
        };
        let count = |&count: &usize| if count == 0 { "·".to_owned() } else { count.to_string() };
        let mut table = line("", names.iter().map(ToString::to_string).collect());
        for (name, counts) in names.iter().zip(&self.counts) {
            table += &line(name, counts.iter().map(count).collect());
        }
        table
    }
}

/// The share of rows for which the largest score is that of the right class.
pub fn accuracy(scores: &Tensor, classes: &Tensor) -> Result<f64> {
    Ok(Confusion::of(scores, classes)?.accuracy())
}

/// The largest of numbers ≥ 0; NaN if one of them is, which `f64::max` would pass over.
pub fn largest(numbers: impl IntoIterator<Item = f64>) -> f64 {
    numbers
        .into_iter()
        .fold(0.0, |largest, number| if largest.is_nan() || number <= largest { largest } else { number })
}
