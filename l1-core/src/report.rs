//! What became of every parameter, as a table and as JSON.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::{Curve, Decision, Grouping, ParamPath, Reason, Regularizer, Result, Role, error::readable, kernel};

/// Every parameter of a model with its decision, zeros and norm; made by [`Regularizer::report`].
///
/// `Display` prints a table; through serde it becomes JSON (`serde_json::to_string_pretty(&report)`).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// One row for each parameter, in the order of the visit.
    pub parameters: Vec<ReportRow>,
    /// Fields that were not looked into.
    pub unvisited: Vec<UnvisitedRow>,
    /// Sums over the rows.
    pub totals: Totals,
    /// The Regularizer's global scale, which is already in every row's λ, element and l2.
    pub scale: f64,
}

/// One parameter of a [`Report`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ReportRow {
    /// Where it was found first.
    pub path: ParamPath,
    /// The other places of a tied tensor.
    pub aliases: Vec<ParamPath>,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its dtype, as candle spells it.
    pub dtype: &'static str,
    /// What it is for.
    pub role: Role,
    /// Penalized (strengths with every scale) or not, and why.
    pub decision: Decision,
    /// Whether its support is frozen: zeros are held, and the strengths in `decision` count as 0. See
    /// [`Regularizer::freeze_support`].
    pub support_is_frozen: bool,
    /// The declared weight decay, see [`Param::decay`](crate::Param::decay); an optimizer's own `weight_decay` is not known here.
    pub decay: Option<f64>,
    /// Entries in all.
    pub entries: usize,
    /// Entries that are exactly 0; 0 for dtypes that l1 has no arithmetic for.
    pub zeros: usize,
    /// `zeros / entries`, in `[0, 1]`; 0 for a tensor without entries.
    pub share_of_zeros: f64,
    /// Groups (or singular values), where the penalty has such: how many there are, and how many are 0.
    pub groups: Option<GroupCounts>,
    /// `‖w‖₁`; none for dtypes that l1 has no arithmetic for. JSON has `null` also for NaN and ∞.
    pub l1_norm: Option<f64>,
}

/// The groups of one parameter, or the singular values of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupCounts {
    /// All of them.
    pub total: usize,
    /// Those whose entries are all exactly 0; of singular values those that are 0 up to the rounding of the matrix.
    pub zeros: usize,
}

/// A field of a [`Report`] that was not looked into.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct UnvisitedRow {
    /// Where it is.
    pub path: ParamPath,
    /// Skipped or opaque.
    pub reason: Reason,
}

/// The sums of a [`Report`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// Parameters (tensors).
    pub parameters: usize,
    /// Entries in all of them.
    pub entries: usize,
    /// Entries of penalized parameters, also of those whose support is frozen; others whose strengths are all 0 do not count.
    pub penalized_entries: usize,
    /// Entries of parameters whose support is frozen.
    pub frozen_entries: usize,
    /// Entries of parameters with a declared decay > 0.
    pub decayed_entries: usize,
    /// Entries of penalized parameters that are exactly 0.
    pub penalized_zeros: usize,
    /// Exact zeros in all of them, but for dtypes that l1 has no arithmetic for.
    pub zeros: usize,
    /// `Ω(w)`, the whole penalty. JSON has `null` for NaN and ∞ (a negative entry under a sign constraint).
    pub penalty: f64,
}

impl Report {
    pub(crate) fn new(regularizer: &Regularizer) -> Result<Self> {
        let mut parameters = Vec::new();
        let mut totals = Totals::default();
        for param in regularizer.params() {
            let entries = param.tensor.elem_count();
            let supported = kernel::is_supported(param.tensor.dtype());
            let counts = if supported { kernel::counts(&param.tensor)? } else { kernel::Counts::default() };
            let penalty = regularizer.penalty_of(param);
            // What is frozen is counted as it was before.
            let counted =
                regularizer.released_penalty_of(param).filter(|penalty| param.support_is_frozen || !penalty.is_none());
            totals.parameters += 1;
            totals.entries += entries;
            totals.zeros += counts.zeros;
            if param.decay.is_some_and(|decay| decay > 0.0) {
                totals.decayed_entries += entries;
            }
            if let (Some(penalty), Some(_)) = (&penalty, &counted) {
                totals.penalized_entries += entries;
                totals.penalized_zeros += counts.zeros;
                totals.penalty += kernel::value(&param.tensor, penalty)?;
            }
            if param.support_is_frozen {
                totals.frozen_entries += entries;
            }
            parameters.push(ReportRow {
                path: param.path.clone(),
                aliases: param.aliases.clone(),
                shape: param.tensor.dims().to_vec(),
                dtype: param.tensor.dtype().as_str(),
                role: param.role,
                decision: penalty.map_or_else(|| param.decision.clone(), Decision::Penalized),
                support_is_frozen: param.support_is_frozen,
                decay: param.decay,
                entries,
                zeros: counts.zeros,
                share_of_zeros: share(counts.zeros, entries),
                groups: match &counted {
                    Some(penalty) => {
                        kernel::groups(&param.tensor, penalty)?.map(|(total, zeros)| GroupCounts { total, zeros })
                    }
                    None => None,
                },
                l1_norm: supported.then_some(counts.l1_norm),
            });
        }
        let unvisited = regularizer.unvisited();
        let unvisited = unvisited.map(|(path, reason)| UnvisitedRow { path: path.clone(), reason: reason.clone() });
        Ok(Self { parameters, unvisited: unvisited.collect(), totals, scale: regularizer.scale() })
    }

    /// The row of a path.
    #[must_use]
    pub fn row(&self, path: &str) -> Option<&ReportRow> {
        self.parameters.iter().find(|row| row.path == path)
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// `1234567` as `1 234 567`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for start in (first..digits.len()).step_by(3) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&digits[start..start + 3]);
    }
    text
}

impl ReportRow {
    fn cells(&self, with_groups: bool) -> Vec<String> {
        let path = match self.aliases.as_slice() {
            [] => self.path.to_string(),
            aliases => {
                let aliases: Vec<_> = aliases.iter().map(ToString::to_string).collect();
                format!("{} = {}", self.path, aliases.join(" = "))
            }
        };
        let shape: Vec<_> = self.shape.iter().map(ToString::to_string).collect();
        let (mut decision, lambda) = match &self.decision {
            Decision::Penalized(penalty) if self.support_is_frozen => {
                let sign = if penalty.positive() { ", ≥ 0" } else { "" };
                (format!("– support frozen{sign}"), String::new())
            }
            Decision::Penalized(penalty) if penalty.is_none() => ("– λ = 0".to_owned(), String::new()),
            Decision::Penalized(penalty) => {
                let mut decision = "penalized".to_owned();
                if penalty.curve() != Curve::L1 {
                    decision.push_str(&format!(", {}", penalty.curve()));
                }
                if penalty.group() != Grouping::Element {
                    let unscaled = if penalty.unscaled() { " unscaled" } else { "" };
                    decision.push_str(&format!(", {}{unscaled}", penalty.group()));
                }
                if penalty.element() != 0.0 {
                    decision.push_str(&format!(", element = {}", rounded(penalty.element())));
                }
                if penalty.l2() != 0.0 {
                    decision.push_str(&format!(", l2 = {}", rounded(penalty.l2())));
                }
                if penalty.positive() {
                    decision.push_str(", ≥ 0");
                }
                (decision, rounded(penalty.lambda()))
            }
            // A decay is declared.
            Decision::Unpenalized(Reason::NothingDeclared) if self.decay.is_some() => {
                ("– no penalty".to_owned(), String::new())
            }
            Decision::Unpenalized(reason) => (format!("– {reason}"), String::new()),
        };
        if let Some(decay) = self.decay {
            decision.push_str(&format!(", decay = {}", rounded(decay)));
        }
        let shape = if shape.is_empty() { "scalar".to_owned() } else { shape.join("×") };
        let norm = self
            .l1_norm
            .map_or_else(String::new, |norm| if norm < 1e7 { format!("{norm:.4}") } else { format!("{norm:.4e}") });
        let zeros = if self.l1_norm.is_some() { grouped(self.zeros) } else { String::new() };
        let share = if self.l1_norm.is_some() { percent(self.share_of_zeros) } else { String::new() };
        let groups = self
            .groups
            .map_or_else(String::new, |groups| format!("{} of {}", grouped(groups.zeros), grouped(groups.total)));
        let groups = with_groups.then_some(groups);
        let start = [path, shape, self.role.to_string(), decision, lambda, zeros, share];
        start.into_iter().chain(groups).chain([norm]).collect()
    }
}

/// Six significant digits: enough to recognize a declared number, without the noise of a multiplied one.
fn rounded(value: f64) -> String {
    let value = format!("{value:.5e}").parse::<f64>().unwrap_or(value);
    readable(value)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        let with_groups = self.parameters.iter().any(|row| row.groups.is_some());
        let header = ["parameter", "shape", "role", "decision", "λ", "zeros", "share"];
        let groups = with_groups.then_some("zero groups");
        let header: Vec<_> = header.into_iter().chain(groups).chain(["‖w‖₁"]).collect();
        let columns = header.len();
        table.set_header(header);
        for row in &self.parameters {
            table.add_row(row.cells(with_groups));
        }
        for field in &self.unvisited {
            let decision = format!("– {}", field.reason);
            table.add_row([field.path.to_string(), String::new(), String::new(), decision]);
        }
        for column in 4..columns {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "{table}")?;
        let totals = &self.totals;
        let (entries, zeros) = (grouped(totals.entries), grouped(totals.zeros));
        if totals.penalized_entries == 0 {
            match totals.decayed_entries {
                0 => write!(f, "none of {entries} entries penalized")?,
                decayed => write!(f, "{} of {entries} entries decayed, none penalized", grouped(decayed))?,
            }
            return write!(f, "; {zeros} of all are exactly zero");
        }
        let share = percent(share(totals.penalized_zeros, totals.penalized_entries));
        write!(
            f,
            "{} of {entries} entries penalized, {} of them exactly zero ({share}); penalty {:.6}",
            grouped(totals.penalized_entries),
            grouped(totals.penalized_zeros),
            totals.penalty
        )?;
        match totals.frozen_entries {
            0 => {}
            frozen if frozen == totals.penalized_entries => write!(f, "; their support is frozen")?,
            frozen => write!(f, "; the support of {} is frozen", grouped(frozen))?,
        }
        if self.scale != 1.0 { write!(f, "; scale {}", self.scale) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 12, 999, 1000, 1234567].map(grouped), ["0", "12", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn a_multiplied_strength_prints_without_its_rounding_noise() {
        assert_eq!(rounded(0.1 * 3.0), "0.3");
        assert_eq!([1e-5, 1e-12, 3e300].map(rounded), ["0.00001", "1e-12", "3e300"]);
    }
}
