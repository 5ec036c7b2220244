//! Tables that leave out what they have shown once: the layers behind the first.

use anyhow::{Context, Result, ensure};
use l1_core::{Coverage, Status};

/// A table without the rows of the second layer, and a line that says how many those are.
pub fn shortened(table: &str) -> String {
    let (second, shown): (Vec<&str>, Vec<&str>) =
        table.lines().partition(|line| line.contains(".layer.1.") || line.contains(".layers.1."));
    format!(
        "{}\n({} rows of the second layer, like those of the first, are left out here)",
        shown.join("\n"),
        second.len()
    )
}

/// Refuses unless both have the same to say of every variable, but for who said it.
pub fn ensure_same(a: &Coverage, b: &Coverage) -> Result<()> {
    ensure!(a.variables.len() == b.variables.len(), "the models have not the same variables");
    for row in &a.variables {
        let other = b.row(&row.name).with_context(|| format!("{} is in one model alone", row.name))?;
        let same = match (&row.status, &other.status) {
            (Status::Penalized { penalty: a, .. }, Status::Penalized { penalty: b, .. }) => a == b,
            (a, b) => a == b,
        };
        ensure!(same, "{}: {:?} through `Traced`, {:?} by rules", row.name, row.status, other.status);
    }
    Ok(())
}
