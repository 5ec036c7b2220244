//! The certificate as a table of at most 100 columns.

use std::fmt;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::{Distance, Stationarity, StationarityRow};
use crate::{Curve, Grouping, Penalty, error::readable};

impl fmt::Display for Stationarity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decayed = self.rows.iter().any(|row| row.with_decay.is_some());
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(100);
        let mut header = vec!["parameter", "penalty", "zeros", "distance", "relative"];
        if decayed {
            header.extend(["+ decay", "relative"]);
        }
        if self.batches.is_some() {
            header.push("noise");
        }
        header.push("where");
        let numbers = header.len() - 1;
        table.set_header(header);
        for row in &self.rows {
            table.add_row(self.cells(row));
        }
        for column in 2..numbers {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "{table}")?;
        if self.rows.iter().any(|row| row.nonconvex) {
            writeln!(f, "* nonconvex: stationary, which is necessary for a minimum but not sufficient")?;
        }
        for row in &self.rows {
            self.write_zero_test(f, row)?;
        }
        self.write_verdict(f)
    }
}

impl Stationarity {
    fn cells(&self, row: &StationarityRow) -> Vec<String> {
        let mark = if row.nonconvex { " *" } else { "" };
        let none = if row.support_is_frozen { "– support frozen" } else { "–" };
        let penalty = match row.penalty.as_ref().map(short) {
            None => none.to_owned(),
            Some(penalty) if row.support_is_frozen => format!("{penalty}, support frozen"),
            Some(penalty) => penalty,
        };
        let zeros = if row.penalty.is_some() || row.support_is_frozen {
            format!("{}/{}", row.zeros, row.groups)
        } else {
            String::new()
        };
        let mut cells = vec![row.path.to_string(), format!("{penalty}{mark}"), zeros];
        let mut number = |distance: &Distance| cells.extend([small(distance.value), small(distance.relative)]);
        number(&row.distance);
        if let Some(distance) = &row.with_decay {
            number(distance);
        }
        if self.batches.is_some() {
            cells.push(row.judged().noise.map_or_else(String::new, |noise| format!("±{}", small(noise))));
        }
        cells.push(row.judged().place.as_ref().map_or_else(String::new, ToString::to_string));
        cells
    }

    fn write_zero_test(&self, f: &mut fmt::Formatter<'_>, row: &StationarityRow) -> fmt::Result {
        let Some(test) = &row.zero_test else { return Ok(()) };
        let (path, zeros, step) = (&row.path, row.zeros, readable(self.params.step));
        if test.leaving == 0 {
            return writeln!(f, "{path}: all {zeros} zeros stay in a prox step of length {step}");
        }
        let place = test.place.as_ref().map_or_else(String::new, |place| format!(" {place}"));
        let (leaving, ratio) = (test.leaving, small(test.ratio));
        writeln!(
            f,
            "{path}: {leaving} of {zeros} zeros leave in a prox step of length {step}, first{place} (pulled {ratio} times too hard)"
        )
    }

    fn write_verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(row) = self.worst() else { return write!(f, "no parameter has a gradient") };
        let Distance { relative, place, noise, .. } = row.judged();
        let with_decay = if row.with_decay.is_some() { "with decay " } else { "" };
        write!(f, "largest relative distance {with_decay}{} at {}", small(*relative), row.path)?;
        if let Some(place) = place {
            write!(f, " {place}")?;
        }
        match (self.batches, noise) {
            (Some(batches), Some(noise)) => write!(f, "; distance ±{} by noise of {batches} batches", small(*noise)),
            _ => Ok(()),
        }
    }
}

/// Two digits: what matters of a distance is its size.
pub(crate) fn small(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if (0.01..1000.0).contains(&value.abs()) => {
            let digits = if value.abs() < 0.1 { 3 } else { 2 };
            format!("{value:.digits$}")
        }
        value if value.is_finite() => format!("{value:.1e}"),
        value if value.is_nan() => "NaN".to_owned(),
        _ => "∞".to_owned(),
    }
}

/// A penalty in few letters.
fn short(penalty: &Penalty) -> String {
    let mut parts = Vec::new();
    if penalty.lambda() != 0.0 {
        parts.push(format!("λ {}", rounded(penalty.lambda())));
        if penalty.curve() != Curve::default() {
            parts.push(penalty.curve().to_string());
        }
        if penalty.group() != Grouping::default() {
            parts.push(penalty.group().to_string());
            if penalty.unscaled() {
                parts.push("unscaled".to_owned());
            }
        }
    }
    let others = [("element", penalty.element()), ("l2", penalty.l2())];
    parts.extend(
        others.into_iter().filter(|(_, value)| *value != 0.0).map(|(key, value)| format!("{key} {}", rounded(value))),
    );
    if penalty.positive() {
        parts.push("≥ 0".to_owned());
    }
    parts.join(", ")
}

/// Four digits.
fn rounded(value: f64) -> String {
    readable(format!("{value:.3e}").parse().unwrap_or(value))
}
