//! The prox behind a move, for penalties that are more than l1 on single entries: other curves, groups, singular values.
//!
//! The move goes into a scratch block that stays in the cache, the prox changes it there, and the result is written back: so moves and
//! penalties are compiled apart, and the tensors are still read and written once.
//!
//! | file | what |
//! |---|---|
//! | `fold.rs` | element λ, sign and ridge, folded into argument and step of the curve's prox |
//! | `elements.rs` | a curve on single entries, block by block |
//! | `groups.rs` | which groups are worked on together |
//! | `moved.rs` | the move, into scratch numbers |
//! | `tile.rs` | their prox, all at once where they lie across each other |
//! | `group.rs` | the prox of a group that lies side by side |
//! | `radius.rs` | the equation of a group's new norm |
//! | `sums.rs` | sums over groups, in a fixed order |
//! | `matrix.rs` | singular values |
//! | `value.rs` | what a curve charges, and its subgradient |

use super::{chunks::Threads, cpu, number::Element, pass::Source};
use crate::{
    Error, ParamPath, Penalty, Result,
    penalty::{AtLambda, Layout},
};

mod elements;
mod fold;
mod group;
mod groups;
mod matrix;
mod moved;
mod radius;
mod sums;
mod tile;
mod value;

pub(in crate::kernel) use moved::Mover;
pub(in crate::kernel) use value::{of_curve, subgradient};

/// How a curve is met in a metric that is not one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) enum Approach {
    /// By its prox.
    Exact,
    /// By its tangent at the weights before the step, where it is concave with a finite slope at 0: the prox in a metric that adapts to
    /// gradients throws large weights away, since their step grows as their gradient vanishes.
    Adaptive,
}

/// A penalty on a tensor, ready for its prox.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Prox {
    phi: AtLambda,
    layout: Layout,
    /// Factor of φ: the weight of a group, times how often it is charged.
    weight: f64,
    element: f64,
    l2: f64,
    positive: bool,
    is_linearized: bool,
}

impl Prox {
    /// * `times`: how often φ is charged.
    ///
    /// # Errors
    /// [`Error::Grouping`]
    pub(in crate::kernel) fn new(penalty: &Penalty, dims: &[usize], times: f64, approach: Approach) -> Result<Self> {
        let layout = layout("w", penalty, dims)?;
        let weight = match layout {
            Layout::Groups(groups) => penalty.group_weight(groups.size()),
            Layout::Elements | Layout::Singular { .. } => 1.0,
        };
        Ok(Self {
            phi: penalty.on_curve(),
            layout,
            weight: weight * times,
            element: penalty.element(),
            l2: penalty.l2(),
            positive: penalty.positive(),
            is_linearized: approach == Approach::Adaptive && penalty.curve().is_linearized(),
        })
    }
}

/// What is left of a step for the curve of single entries, and the curve's threshold for that; see `elements::one_step`.
///
/// * `weight`: how often the curve is charged.
#[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
pub(in crate::kernel) fn one_step(penalty: &Penalty, step: f64, weight: f64, is_wide: bool) -> (f64, f64) {
    let prox = Prox {
        phi: penalty.on_curve(),
        layout: Layout::Elements,
        weight,
        element: penalty.element(),
        l2: penalty.l2(),
        positive: penalty.positive(),
        is_linearized: false,
    };
    if is_wide { elements::one_step::<f64>(&prox, step) } else { elements::one_step::<f32>(&prox, step) }
}

/// Where the groups of a tensor lie, or an error that names its shape.
pub(in crate::kernel) fn layout(argument: &str, penalty: &Penalty, dims: &[usize]) -> Result<Layout> {
    penalty.layout(dims).map_err(|expected| Error::Grouping {
        path: ParamPath::from(argument),
        group: penalty.group(),
        shape: dims.into(),
        expected,
    })
}

/// Whether a penalty charges single entries by l1, which each formula has a fused prox for.
pub(in crate::kernel) fn is_plain(penalty: &Penalty, layout: Layout) -> bool {
    penalty.is_convex() && layout == Layout::Elements
}

/// Moves every coordinate, and takes the prox where they have come to. All slices have one length.
///
/// Returns whether anything was left as it was for its `g`: single coordinates, or with groups the whole tensor.
pub(in crate::kernel) fn run<W: Element, G: Element<Real = W::Real>, const N: usize>(
    threads: Threads,
    to: &dyn Mover<W::Real, N>,
    prox: &Prox,
    w: &mut [W],
    g: &[G],
    state: [&mut [W::Real]; N],
    source: Source,
) -> Result<bool> {
    match prox.layout {
        Layout::Elements => Ok(elements::run(threads, to, prox, w, g, state, source)),
        // A group is moved as a whole or not at all.
        _ if source == Source::Unchecked && cpu::any_non_finite(g) => {
            moved::pass_over(to, prox, w, state);
            Ok(true)
        }
        Layout::Groups(groups) => {
            groups::run(threads, to, prox, groups, w, g, state);
            Ok(false)
        }
        Layout::Singular { rows, columns } => {
            matrix::run(to, prox, (rows, columns), w, g, state);
            Ok(false)
        }
    }
}
