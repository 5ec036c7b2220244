//! Folding a slice in fixed lanes: number i goes to lane i mod 16, and lanes are joined in a tree. The order of additions follows
//! from the length alone, whatever the vectors and threads.

use super::number::Element;
use crate::scalar::Scalar;

/// A multiple of every vector's length, and enough independent sums to hide the latency of an addition.
pub(super) const LANES: usize = 16;

/// Numbers that are gathered separately in each lane.
pub(super) trait Fold {
    /// Takes a number, as f64 whatever its type, into a lane.
    fn add(&mut self, lane: usize, value: f64);
}

/// Folds every number of a slice.
#[inline(always)]
pub(super) fn fold<T: Element>(values: &[T], into: &mut impl Fold) {
    if !T::IS_NARROW {
        return fold_wide(values, into);
    }
    const BLOCK: usize = 16 * LANES;
    let mut wide = [T::Real::default(); BLOCK];
    for values in values.chunks(BLOCK) {
        let wide = &mut wide[..values.len()];
        T::load_all(values, wide);
        fold_wide(wide, into);
    }
}

#[inline(always)]
fn fold_wide<T: Element>(values: &[T], into: &mut impl Fold) {
    let (whole, rest) = values.as_chunks::<LANES>();
    for values in whole {
        for (lane, value) in values.iter().enumerate() {
            into.add(lane, value.load().wide());
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        into.add(lane, value.load().wide());
    }
}

/// Joins the lanes of a sum.
pub(super) fn total(lanes: [f64; LANES]) -> f64 {
    joined(lanes, |a, b| a + b)
}

/// Joins lanes pairwise.
pub(super) fn joined<A: Copy>(mut lanes: [A; LANES], join: impl Fn(A, A) -> A) -> A {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] = join(lanes[lane], lanes[lane + width]);
        }
    }
    lanes[0]
}
