//! A path as a table and as CSV.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use super::{Ended, PathPoint, PathRun};
use crate::{certificate::small, error::readable};

impl PathRun {
    /// The points as CSV, one row each: index, scale, loss, penalty, objective, nonzeros, certificate, then every metric, then λ, zeros and
    /// living groups of every penalized parameter. Numbers as Rust prints them, so that they read back to the same bits; a metric that a
    /// point lacks is empty.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let metrics = self.metric_names();
        let mut header: Vec<String> =
            ["index", "scale", "loss", "penalty", "objective", "nonzeros", "certificate"].map(str::to_owned).into();
        header.extend(metrics.iter().map(|name| quoted(name)));
        for field in self.points.first().map_or(&[][..], |point| point.fields.as_slice()) {
            header.extend(["λ", "zeros", "living"].map(|what| quoted(&format!("{} {what}", field.path))));
        }
        let mut text = header.join(",") + "\n";
        for point in &self.points {
            let mut cells = vec![point.index.to_string()];
            cells.extend([point.scale, point.loss, point.penalty, point.objective].map(|value| value.to_string()));
            cells.extend([point.nonzeros.to_string(), point.certificate.relative.to_string()]);
            cells.extend(metrics.iter().map(|name| point.metric(name).map_or_else(String::new, |it| it.to_string())));
            for field in &point.fields {
                cells.extend([field.lambda.to_string(), field.zeros.to_string(), field.living().to_string()]);
            }
            text += &(cells.join(",") + "\n");
        }
        text
    }

    /// The names of all metrics, in the order of their first recording.
    fn metric_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.points.iter().flat_map(|point| &point.metrics) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    fn cells(&self, point: &PathPoint, metrics: &[&str]) -> Vec<String> {
        let mut cells = vec![point.index.to_string(), significant(point.scale), significant(point.loss)];
        cells.push(significant(point.objective));
        cells.push(point.nonzeros.to_string());
        if self.points.iter().any(|point| point.fields.len() > 1) {
            let living: Vec<_> = point.fields.iter().map(|field| field.living().to_string()).collect();
            cells.push(living.join(" / "));
        }
        cells.extend(metrics.iter().map(|name| point.metric(name).map_or_else(String::new, significant)));
        cells.push(small(point.certificate.relative));
        cells
    }
}

impl fmt::Display for PathRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics = self.metric_names();
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        let mut header = ["", "scale", "loss", "loss + Ω", "nonzeros"].map(str::to_owned).to_vec();
        if let Some(point) = self.points.iter().find(|point| point.fields.len() > 1) {
            let paths: Vec<_> = point.fields.iter().map(|field| field.path.to_string()).collect();
            header.push(format!("living: {}", paths.join(" / ")));
        }
        header.extend(metrics.iter().map(|name| (*name).to_owned()));
        header.push("distance".to_owned());
        let columns = header.len();
        table.set_header(header);
        for point in &self.points {
            table.add_row(self.cells(point, &metrics));
        }
        for column in 0..columns {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "{table}")?;
        let number = self.points.len();
        write!(f, "{number} {}; {}", if number == 1 { "point" } else { "points" }, self.ended)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GridEnd => f.write_str("the grid is at its end"),
            Self::Empty => f.write_str("ended where everything penalized is 0"),
            Self::Nonzeros { limit } => write!(f, "ended at more than {limit} nonzeros"),
            Self::Explained { share } => write!(f, "ended with {:.2} % of the loss explained", 100.0 * share),
            Self::Gain { gain } => write!(f, "ended at a gain of {}", small(*gain)),
            Self::Patience { metric, best } => write!(f, "ended without a lower {metric} than at point {best}"),
            Self::Budget => f.write_str("ended within the budget"),
            Self::Failed => f.write_str("ended by an error"),
        }
    }
}

/// Five digits.
pub(crate) fn significant(value: f64) -> String {
    readable(format!("{value:.4e}").parse().unwrap_or(value))
}

/// A cell of a CSV file (RFC 4180).
pub(crate) fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
