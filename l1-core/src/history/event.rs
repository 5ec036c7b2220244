//! A group that died or came back.

use serde::Serialize;

use crate::{ParamPath, kernel::Place};

/// A group whose last entry has become exactly 0, or one that was all 0 and is no more.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GroupEvent {
    /// The recorded step at which it was seen: it happened at this step or since the record before.
    pub step: u64,
    /// The parameter.
    pub path: ParamPath,
    /// Which group, or which entry where entries are penalized each for itself.
    pub place: Place,
    /// What became of it.
    pub change: GroupChange,
}

/// What becomes of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupChange {
    /// All its entries are exactly 0 now.
    Death,
    /// One of them at least is not 0 any more.
    Revival,
}
