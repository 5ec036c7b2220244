//! The fold of every row: shuffled, by classes, or given; and what is refused.

use std::collections::BTreeMap;

use super::Fold;
use crate::{Error, Result, sampling::Sampler};

/// How rows come to folds.
#[derive(Clone, Debug)]
pub(super) enum Split {
    Shuffled(usize),
    Given(Vec<usize>),
}

fn refused(why: String) -> Error {
    Error::InvalidFolds { why }
}

impl Split {
    pub(super) fn folds(&self, rows: usize, labels: Option<&[u32]>, seed: u64) -> Result<Vec<Fold>> {
        if let Some(labels) = labels.filter(|labels| labels.len() != rows) {
            return Err(refused(format!("{} labels for {rows} rows (expected one for each row)", labels.len())));
        }
        let assignments = match self {
            Self::Shuffled(folds) => shuffled(*folds, rows, labels, seed)?,
            Self::Given(assignments) => {
                if assignments.len() != rows {
                    let number = assignments.len();
                    return Err(refused(format!("{number} assignments for {rows} rows (expected one for each row)")));
                }
                assignments.clone()
            }
        };
        let number = assignments.iter().max().map_or(0, |last| last.saturating_add(1));
        check_number(number, rows)?;
        let fold = |index: usize| {
            let (test, train) = (0..rows).partition(|row| assignments[*row] == index);
            Fold { index, train, test }
        };
        let folds: Vec<_> = (0..number).map(fold).collect();
        for fold in &folds {
            check(fold, labels)?;
        }
        Ok(folds)
    }
}

fn check_number(folds: usize, rows: usize) -> Result<()> {
    match folds {
        0 | 1 => Err(refused(format!("{folds} folds (expected at least 2)"))),
        folds if folds > rows => {
            Err(refused(format!("{folds} folds of {rows} rows (expected at most one for each row)")))
        }
        _ => Ok(()),
    }
}

/// Rows in random order are dealt out one fold after the other; with labels class by class.
fn shuffled(folds: usize, rows: usize, labels: Option<&[u32]>, seed: u64) -> Result<Vec<usize>> {
    check_number(folds, rows)?;
    let mut order = Sampler::new(seed).order(rows);
    if let Some(labels) = labels {
        // Stable: random within each class.
        order.sort_by_key(|row| labels[*row]);
    }
    let mut assignments = vec![0; rows];
    for (place, row) in order.into_iter().enumerate() {
        assignments[row] = place % folds;
    }
    Ok(assignments)
}

fn check(fold: &Fold, labels: Option<&[u32]>) -> Result<()> {
    let index = fold.index;
    if fold.test.is_empty() {
        return Err(refused(format!("fold {index} holds out no row (expected at least one)")));
    }
    let Some(labels) = labels else { return Ok(()) };
    let mut classes: BTreeMap<u32, [usize; 2]> = BTreeMap::new();
    for (part, rows) in [&fold.train, &fold.test].into_iter().enumerate() {
        for &row in rows {
            classes.entry(labels[row]).or_default()[part] += 1;
        }
    }
    match classes.into_iter().find(|(_, [train, _])| *train == 0) {
        None => Ok(()),
        Some((class, [_, test])) => Err(refused(format!(
            "fold {index} has no row of class {class} to train on: all {test} of them are held out. Take fewer folds, leave the class \
             out, or assign the rows by hand (`CrossValidation::assignments`)"
        ))),
    }
}
