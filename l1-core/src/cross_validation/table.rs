//! Cross-validation as a table and as CSV.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use super::CrossValidated;
use crate::{
    error::readable,
    path::{quoted, significant},
};

impl CrossValidated {
    /// The points as CSV, one row each: index, scale, mean, standard_error, nonzeros, then the score of every fold. Numbers as Rust prints
    /// them.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let folds = (0..self.folds).map(|fold| format!("fold {fold}"));
        let header = ["index", "scale", "mean", "standard_error", "nonzeros"].map(str::to_owned).into_iter();
        let header: Vec<_> = header.chain(folds).map(|cell| quoted(&cell)).collect();
        let mut text = header.join(",") + "\n";
        for point in &self.points {
            let mut cells = vec![point.index.to_string()];
            let numbers = [point.scale, point.mean, point.standard_error, point.nonzeros];
            cells.extend(numbers.iter().chain(&point.scores).map(ToString::to_string));
            text += &(cells.join(",") + "\n");
        }
        text
    }

    fn choice(&self, index: usize) -> &'static str {
        match (index == self.best, index == self.one_standard_error) {
            (true, true) => "best, one standard error",
            (true, false) => "best",
            (false, true) => "one standard error",
            (false, false) => "",
        }
    }
}

impl fmt::Display for CrossValidated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["", "scale", self.metric.as_str(), "± standard error", "nonzeros", ""]);
        for point in &self.points {
            table.add_row([
                point.index.to_string(),
                significant(point.scale),
                significant(point.mean),
                significant(point.standard_error),
                readable((10.0 * point.nonzeros).round() / 10.0),
                self.choice(point.index).to_owned(),
            ]);
        }
        for column in 0..5 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let (number, folds) = (self.points.len(), self.folds);
        write!(f, "{table}\n{number} {}, {folds} folds", if number == 1 { "scale" } else { "scales" })
    }
}
