//! One record, and how a full list of them is thinned out.

use serde::Serialize;

use crate::{Moves, ParamPath};

/// A penalized parameter, as far as it does not change.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HistoryField {
    /// Where it was found first.
    pub path: ParamPath,
    /// How many entries it has.
    pub entries: usize,
    /// How many groups; where entries are penalized each for itself, they are groups of one. Of `singular` the singular values.
    pub groups: usize,
}

/// What was seen at one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HistoryRecord {
    /// The number of the step, from 1 on.
    pub step: u64,
    /// The loss as it was given.
    pub loss: f64,
    /// `Ω(w)` after the step, the penalty with the λ of this step; NaN where a matrix that it takes the singular values of is not finite.
    pub penalty: f64,
    /// The penalized parameters, in the order of [`History::fields`](crate::History::fields).
    pub fields: Vec<FieldRecord>,
}

/// One penalized parameter after a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FieldRecord {
    /// λ at this step, every scale included.
    pub lambda: f64,
    /// Entries that are exactly 0.
    pub zeros: usize,
    /// Groups that are not all 0 (NaN is alive).
    pub living: usize,
    /// Groups that have died since the record before (at the first record: since the history was made). One that died and came back in
    /// between is not seen.
    pub deaths: usize,
    /// Groups that have come back since then.
    pub revivals: usize,
    /// What moved it at this one step; known for steps that were taken through [`History::step`](crate::History::step).
    pub moves: Option<Moves>,
}

impl HistoryRecord {
    /// Entries that are exactly 0, of all fields.
    #[must_use]
    pub fn zeros(&self) -> usize {
        self.fields.iter().map(|field| field.zeros).sum()
    }

    /// LossValue and penalty.
    #[must_use]
    pub fn objective(&self) -> f64 {
        self.loss + self.penalty
    }

    /// Counts what died or came back in a record before it that is forgotten.
    pub(super) fn inherit(&mut self, gone: &Self) {
        for (field, gone) in self.fields.iter_mut().zip(&gone.fields) {
            field.deaths += gone.deaths;
            field.revivals += gone.revivals;
        }
    }
}

/// The steps that are recorded: `phase`, and every so many from there on.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Rhythm {
    pub(super) every: u64,
    #[serde(skip)]
    phase: u64,
}

impl Rhythm {
    pub(super) fn new(every: u64) -> Self {
        Self { every, phase: 0 }
    }

    pub(super) fn has(self, step: u64) -> bool {
        step >= self.phase && (step - self.phase).is_multiple_of(self.every)
    }

    pub(super) fn after(self, step: u64) -> u64 {
        if step < self.phase {
            return self.phase;
        }
        ((step - self.phase) / self.every + 1).saturating_mul(self.every).saturating_add(self.phase)
    }

    /// Half as often; where fewer steps are told of than could be recorded, half as often as those.
    fn slower(self, last: u64, spacing: u64) -> Self {
        let Self { every, phase } =
            if spacing > self.every { Self { every: spacing, phase: last % spacing } } else { self };
        Self { every: every.saturating_mul(2), phase }
    }
}

/// The median: one pause in a training is not its rhythm.
fn usual_gap(records: &[HistoryRecord]) -> u64 {
    let mut gaps: Vec<_> = records.windows(2).map(|pair| pair[1].step - pair[0].step).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().unwrap_or(1)
}

/// Leaves the first record, every second of the others, and the last. Returns the rhythm from now on.
pub(super) fn thin_out(records: &mut Vec<HistoryRecord>, rhythm: Rhythm) -> Rhythm {
    let rhythm = match records.as_slice() {
        [_, .., last] => rhythm.slower(last.step, usual_gap(records)),
        _ => return rhythm,
    };
    // Those of the new rhythm, so that what is to come continues the row.
    let aligned = records.iter().skip(1).position(|record| rhythm.has(record.step));
    let last = records.len() - 1;
    let stays = |index: usize| index == 0 || index == last || (index - 1) % 2 == aligned.unwrap_or(last - 1) % 2;
    let mut kept: Vec<HistoryRecord> = Vec::with_capacity(last / 2 + 3);
    let mut gone: Option<HistoryRecord> = None;
    for (index, mut record) in records.drain(..).enumerate() {
        if let Some(gone) = gone.take() {
            record.inherit(&gone);
        }
        if stays(index) {
            kept.push(record);
        } else {
            gone = Some(record);
        }
    }
    *records = kept;
    rhythm
}
