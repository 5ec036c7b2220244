//! Where in a tensor something is.

use std::{fmt, ops::Range};

use serde::{Serialize, Serializer};

use crate::penalty::Groups;

/// An entry of a tensor or a group of entries, as the range of indices in each dimension.
///
/// Prints as `[3, 7]` for an entry, `[3, ..]` for a row, `[0..2, 4..8]` for a block, and so it is in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    ranges: Vec<Range<usize>>,
    dims: Vec<usize>,
}

impl Place {
    /// A group of a tensor. All groups are boxes: their first and last entries are opposite corners.
    pub(crate) fn of_group(dims: &[usize], groups: Groups, group: usize) -> Self {
        let first = groups.runs(group).next().unwrap_or(0);
        let last = groups.runs(group).last().map_or(first, |run| run + groups.run.saturating_sub(1));
        let corners = index(dims, first).into_iter().zip(index(dims, last));
        Self { ranges: corners.map(|(first, last)| first..last + 1).collect(), dims: dims.to_vec() }
    }

    /// The indices in each dimension.
    #[must_use]
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }
}

/// The index in each dimension of a place in row-major order.
fn index(dims: &[usize], mut flat: usize) -> Vec<usize> {
    let mut index: Vec<_> = dims.iter().rev().map(|dim| (flat % dim.max(&1), flat /= dim.max(&1)).0).collect();
    index.reverse();
    index
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims = self.ranges.iter().zip(&self.dims).map(|(range, dim)| match range.len() {
            1 => range.start.to_string(),
            length if length == *dim => "..".to_owned(),
            _ => format!("{}..{}", range.start, range.end),
        });
        f.pad(&format!("[{}]", dims.collect::<Vec<_>>().join(", ")))
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
