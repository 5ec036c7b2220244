//! A history as text: a summary for people, CSV for programs.

use std::fmt::{self, Write};

use comfy_table::{CellAlignment, Table, presets};

use super::{GroupChange, History};
use crate::error::readable;

impl History {
    /// The records as CSV: a line for each field at each recorded step, with the columns `step, loss, penalty, field, lambda, entries, zeros,
    /// groups, living, deaths, revivals, data, penalty_move, decay`. The last three, the lengths of the move's parts, are empty where
    /// they are not known. Numbers read back to the same bits; NaN is `NaN`, ∞ `inf`.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut csv = String::from(
            "step,loss,penalty,field,lambda,entries,zeros,groups,living,deaths,revivals,data,penalty_move,decay\n",
        );
        for record in self.records() {
            for (field, of) in self.fields().iter().zip(&record.fields) {
                let moves = of.moves.map_or_else(
                    || ",,".to_owned(),
                    |moves| format!("{},{},{}", number(moves.data), number(moves.penalty), number(moves.decay)),
                );
                let cells = [
                    record.step.to_string(),
                    number(record.loss),
                    number(record.penalty),
                    text(field.path.as_str()),
                    number(of.lambda),
                    field.entries.to_string(),
                    of.zeros.to_string(),
                    field.groups.to_string(),
                    of.living.to_string(),
                    of.deaths.to_string(),
                    of.revivals.to_string(),
                    moves,
                ];
                csv.push_str(&cells.join(","));
                csv.push('\n');
            }
        }
        csv
    }

    /// The [`events`](Self::events) as CSV, with the columns `step, field, place, change`.
    #[must_use]
    pub fn events_to_csv(&self) -> String {
        let mut csv = String::from("step,field,place,change\n");
        for event in self.events() {
            let change = match event.change {
                GroupChange::Death => "death",
                GroupChange::Revival => "revival",
            };
            let (path, place) = (text(event.path.as_str()), text(&event.place.to_string()));
            csv.push_str(&format!("{},{path},{place},{change}\n", event.step));
        }
        csv
    }
}

fn number(value: f64) -> String {
    readable(value)
}

/// In quotes where CSV needs them.
fn text(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// Six significant digits.
fn short(value: f64) -> String {
    readable(format!("{value:.5e}").parse().unwrap_or(value))
}

/// First and last record, a line for each field, and what was noticed.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(first), Some(last)) = (self.records().first(), self.last()) else {
            return f.write_str("no step recorded yet");
        };
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        let with_moves = last.fields.iter().any(|field| field.moves.is_some());
        let header = ["field", "λ", "zeros", "of", "living groups", "of", "deaths", "revivals"];
        let moves: &[&str] = if with_moves { &["data", "penalty", "decay"] } else { &[] };
        table.set_header(header.iter().chain(moves));
        for (index, (field, of)) in self.fields().iter().zip(&last.fields).enumerate() {
            let sum = |count: fn(&super::FieldRecord) -> usize| {
                self.records().iter().map(|record| count(&record.fields[index])).sum::<usize>().to_string()
            };
            let mut cells = vec![
                field.path.to_string(),
                short(of.lambda),
                of.zeros.to_string(),
                field.entries.to_string(),
                of.living.to_string(),
                field.groups.to_string(),
                sum(|field| field.deaths),
                sum(|field| field.revivals),
            ];
            if with_moves {
                let moves = of.moves.unwrap_or_default();
                cells.extend([moves.data, moves.penalty, moves.decay].map(|length| format!("{length:.2e}")));
            }
            table.add_row(cells);
        }
        for column in 1..header.len() + moves.len() {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = String::new();
        writeln!(
            text,
            "steps {} to {}, {} of them recorded: loss {} → {}, penalty {} → {}",
            first.step,
            last.step,
            self.records().len(),
            short(first.loss),
            short(last.loss),
            short(first.penalty),
            short(last.penalty),
        )?;
        write!(text, "{table}")?;
        for oscillation in self.oscillations() {
            write!(text, "\n{oscillation}")?;
        }
        f.write_str(&text)
    }
}
