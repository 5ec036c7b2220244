//! Groups of entries that a penalty charges together, and where they lie in a tensor.

use std::fmt;

use serde::Serialize;

use crate::Role;

/// Which entries of a tensor form a group w_g, charged by its norm: `Σ_g c_g·φ_λ(‖w_g‖₂)`, c_g = √size unless `unscaled`.
///
/// A whole group becomes 0 at once, or none of it. The penalty of Yuan & Lin 2006 for `L1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Grouping {
    /// Every entry by itself.
    #[default]
    Element,
    /// Everything that makes one output feature: a neuron or a filter. Needs a layer that knows its dimensions (`Linear`, a convolution,
    /// an embedding).
    Output,
    /// Everything that one input feature is used for. Needs a layer that knows its dimensions.
    Input,
    /// Everything at one index of dimension n.
    Dim(usize),
    /// One kernel of a convolution: everything behind the first two dimensions. From 3 dimensions on.
    Kernel,
    /// Blocks of r rows and c columns of a matrix, which they have to divide.
    Block(usize, usize),
    /// The whole tensor.
    Whole,
    /// No entries, but the singular values of a matrix: low rank (with `L1` the nuclear norm). What has more than 2 dimensions is taken
    /// as a matrix of the first dimension and the rest.
    Singular,
}

/// Where the groups of one tensor lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Every entry is a group.
    Elements,
    Groups(Groups),
    /// The entries are a matrix.
    Singular {
        rows: usize,
        columns: usize,
    },
}

/// The groups of a contiguous tensor, seen as `slabs × rows × count × run`: group j of slab s is what has s and j as its first and third
/// index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    pub(crate) slabs: usize,
    pub(crate) rows: usize,
    pub(crate) count: usize,
    pub(crate) run: usize,
}

impl Groups {
    /// Entries of one group.
    pub(crate) fn size(&self) -> usize {
        self.rows * self.run
    }

    /// Groups of the tensor.
    pub(crate) fn number(&self) -> usize {
        self.slabs * self.count
    }

    /// The entries of a group, in runs: where each begins in the tensor.
    pub(crate) fn runs(self, group: usize) -> impl Iterator<Item = usize> {
        let (slab, index) = (group / self.count, group % self.count);
        (0..self.rows).map(move |row| ((slab * self.rows + row) * self.count + index) * self.run)
    }
}

impl Grouping {
    /// The same groups as dimensions, where the role of the tensor says which those are.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn of_role(self, role: Role) -> Result<Self, String> {
        let dim = match (self, role) {
            (Self::Output, Role::Weight { output, .. }) => output,
            (Self::Input, Role::Weight { input, .. }) => input,
            // A row for each token.
            (Self::Output, Role::Embedding) => Some(1),
            (Self::Input, Role::Embedding) => Some(0),
            // One entry for each output feature.
            (Self::Output, Role::Bias | Role::Norm | Role::Buffer) => Some(0),
            (Self::Input, Role::Bias | Role::Norm | Role::Buffer) => {
                return Err(format!("a weight: a {role} has no input features"));
            }
            _ => return Ok(self),
        };
        let unknown =
            || format!("dim(n): which dimension of this tensor that is, no layer says; `{self}` is for layers that do");
        dim.map(Self::Dim).ok_or_else(unknown)
    }

    /// Where the groups of a tensor of this shape lie.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn layout(self, dims: &[usize]) -> Result<Layout, String> {
        let entries = dims.iter().product::<usize>();
        let groups = match self {
            Self::Element => return Ok(Layout::Elements),
            Self::Output | Self::Input => return Err("dim(n): a tensor by itself has no input and output".to_owned()),
            Self::Dim(n) => {
                let Some(&count) = dims.get(n) else {
                    return Err(format!("n < {}, the number of its dimensions", dims.len()));
                };
                let (before, behind) = (dims[..n].iter().product(), dims[n + 1..].iter().product());
                Groups { slabs: 1, rows: before, count, run: behind }
            }
            Self::Kernel => match dims {
                [first, second, kernel @ ..] if !kernel.is_empty() => {
                    Groups { slabs: 1, rows: 1, count: first * second, run: kernel.iter().product() }
                }
                _ => return Err("3 dimensions or more, as the weight of a convolution has".to_owned()),
            },
            Self::Block(r, c) => match *dims {
                [rows, columns] if r > 0 && c > 0 && rows % r == 0 && columns % c == 0 => {
                    Groups { slabs: rows / r, rows: r, count: columns / c, run: c }
                }
                [_, _] => return Err("r > 0 that divides the rows, and c > 0 that divides the columns".to_owned()),
                _ => return Err("a matrix".to_owned()),
            },
            Self::Whole => Groups { slabs: 1, rows: 1, count: 1, run: entries },
            Self::Singular => match dims {
                [rows, columns @ ..] if !columns.is_empty() => {
                    return Ok(match columns.iter().product() {
                        _ if entries == 0 => Layout::Elements,
                        columns => Layout::Singular { rows: *rows, columns },
                    });
                }
                _ => return Err("a matrix, or more dimensions: a vector has no singular values".to_owned()),
            },
        };
        // Groups of one entry are entries, whatever the weight: √1 = 1.
        Ok(if groups.size() <= 1 || entries == 0 { Layout::Elements } else { Layout::Groups(groups) })
    }
}

impl fmt::Display for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element => f.pad("element"),
            Self::Output => f.pad("output"),
            Self::Input => f.pad("input"),
            Self::Dim(n) => write!(f, "dim({n})"),
            Self::Kernel => f.pad("kernel"),
            Self::Block(r, c) => write!(f, "block({r}, {c})"),
            Self::Whole => f.pad("whole"),
            Self::Singular => f.pad("singular"),
        }
    }
}
