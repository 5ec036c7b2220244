//! Stability selection as a table and as CSV.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use super::StabilitySelected;
use crate::{
    ErrorBound,
    path::{quoted, significant},
};

/// How many features a table shows.
const SHOWN: usize = 20;

impl StabilitySelected {
    /// The features as CSV, one row each: feature, name, highest, at_any_scale, simultaneous (empty for plain subsamples), selected (0 or 1), then the
    /// proportion at every λ. Numbers as Rust prints them.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let header = ["feature", "name", "highest", "at_any_scale", "simultaneous", "selected"].map(str::to_owned);
        let points =
            (0..self.proportions.len()).map(|point| match self.scales.as_ref().and_then(|all| all.get(point)) {
                Some(scale) => format!("scale {scale}"),
                None => format!("point {point}"),
            });
        let mut text = header.into_iter().chain(points).collect::<Vec<_>>().join(",") + "\n";
        for feature in 0..self.features {
            let simultaneous = self.simultaneous.as_ref().map_or_else(String::new, |all| all[feature].to_string());
            let is_selected = u8::from(self.selected.contains(&feature)).to_string();
            let mut cells = vec![feature.to_string(), quoted(&self.name(feature)), self.highest[feature].to_string()];
            cells.extend([self.at_any_scale[feature].to_string(), simultaneous, is_selected]);
            cells.extend(self.proportions.iter().map(|at| at[feature].to_string()));
            text += &(cells.join(",") + "\n");
        }
        text
    }
}

impl fmt::Display for StabilitySelected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut order: Vec<_> = (0..self.features).collect();
        order.sort_by(|a, b| self.highest[*b].total_cmp(&self.highest[*a]).then(a.cmp(b)));
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["feature", "highest proportion", "at any scale", ""]);
        for &feature in order.iter().take(SHOWN.max(self.selected.len())) {
            let is_selected = self.highest[feature] >= self.threshold;
            table.add_row([
                self.name(feature),
                format!("{:.3}", self.highest[feature]),
                format!("{:.3}", self.at_any_scale[feature]),
                if is_selected { "selected" } else { "" }.to_owned(),
            ]);
        }
        for column in 1..3 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "{table}")?;
        let (selected, features, halves) = (self.selected.len(), self.features, self.subsamples);
        let (threshold, q) = (self.threshold, significant(self.selected_on_average));
        write!(
            f,
            "{selected} of {features} features in at least {threshold} of {halves} halves; a half selects {q} on average"
        )?;
        let bounds = [
            ("exchangeable noise", ErrorBound::Exchangeable),
            ("no assumption", ErrorBound::WorstCase { theta: None }),
            ("unimodal", ErrorBound::Unimodal { theta: None }),
        ];
        let bounds: Vec<_> = bounds
            .into_iter()
            .filter_map(|(name, bound)| Some(format!("{} ({name})", significant(self.expected_false(bound).ok()?))))
            .collect();
        if bounds.is_empty() { Ok(()) } else { write!(f, "\nexpected false ones at most: {}", bounds.join(", ")) }
    }
}
