//! The first half of a step: where the gradient takes a run of coordinates, in scratch numbers.

use num_traits::Zero;

use super::{Prox, elements};
use crate::{
    kernel::{
        formula::Move,
        number::{Element, Real},
        simd,
    },
    penalty::Layout,
};

/// A move on runs of coordinates. What follows a move calls it through this, so that it is compiled once for all of them.
pub(in crate::kernel) trait Mover<R: Real, const N: usize>: Sync {
    /// Moves a run; `z` becomes where its coordinates come to, and `steps`, unless it is empty, the step of the prox of each.
    ///
    /// * `subgradients`: of the penalty at `w`, unless it is empty. Then coordinates whose `g` is not finite are passed over, with
    ///   `z` = `w`.
    ///
    /// Returns whether there were such.
    fn moved(&self, operands: Operands<'_, R>, z: &mut [R], steps: &mut [R], state: [&mut [R]; N]) -> bool;
    /// The step of the prox, where it is the same for all coordinates; then `steps` is to be empty.
    fn one_step(&self) -> Option<R>;
    /// What becomes of the state of a coordinate that stays.
    fn passed_over(&self, w: R, subgradient: R, state: &mut [R; N]);
}

/// What a move reads.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Operands<'a, R> {
    pub(super) w: &'a [R],
    pub(super) g: &'a [R],
    pub(super) subgradients: &'a [R],
}

impl<R: Real, M: Move<R, N>, const N: usize> Mover<R, N> for M {
    fn moved(&self, operands: Operands<'_, R>, z: &mut [R], steps: &mut [R], state: [&mut [R]; N]) -> bool {
        match operands.subgradients {
            [] => simd::run(Moved::<_, _, N, false> { to: *self, operands, z, steps, state }),
            _ => simd::run(Moved::<_, _, N, true> { to: *self, operands, z, steps, state }),
        }
    }

    fn one_step(&self) -> Option<R> {
        self.scalar_step()
    }

    fn passed_over(&self, w: R, subgradient: R, state: &mut [R; N]) {
        self.pass_over(w, subgradient, state);
    }
}

struct Moved<'a, R, M, const N: usize, const GUARD: bool> {
    to: M,
    operands: Operands<'a, R>,
    z: &'a mut [R],
    steps: &'a mut [R],
    state: [&'a mut [R]; N],
}

impl<R: Real, M: Move<R, N>, const N: usize, const GUARD: bool> simd::Loop for Moved<'_, R, M, N, GUARD> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self { to, operands: Operands { w, g, subgradients }, z, steps, state } = self;
        let length = z.len();
        // Cut to one length, which takes the bounds checks out of the loop.
        let (w, g, steps) = (&w[..length], &g[..length], &mut steps[..if M::ADAPTIVE { length } else { 0 }]);
        let subgradients = &subgradients[..if GUARD { length } else { 0 }];
        let state = state.map(|state| &mut state[..length]);
        let mut found = false;
        for i in 0..length {
            let old: [R; N] = std::array::from_fn(|k| state[k][i]);
            let (mut next, mut kept) = (old, old);
            let (moved, step) = to.at(w[i], g[i], &mut next);
            let take = !GUARD || g[i].is_finite();
            if GUARD {
                to.pass_over(w[i], subgradients[i], &mut kept);
            }
            found |= !take;
            z[i] = if take { moved } else { w[i] };
            if M::ADAPTIVE {
                steps[i] = step;
            }
            for k in 0..N {
                state[k][i] = if take { next[k] } else { kept[k] };
            }
        }
        found
    }
}

/// The numbers of a run in the type of the arithmetic: its own, or a copy in `room`.
pub(super) fn widened<'s, T: Element>(values: &'s [T], room: &'s mut [T::Real]) -> &'s [T::Real] {
    match T::as_real(values) {
        Some(values) => values,
        None => {
            let room = &mut room[..values.len()];
            T::load_all(values, room);
            room
        }
    }
}

/// Scratch numbers for [`widened`]: none for types that need no copy.
pub(super) fn room<T: Element>(length: usize) -> Vec<T::Real> {
    if T::IS_NARROW { vec![T::Real::zero(); length] } else { Vec::new() }
}

/// A whole tensor stays as it is, with what becomes of its state then.
pub(super) fn pass_over<W: Element, const N: usize>(
    to: &dyn Mover<W::Real, N>,
    prox: &Prox,
    w: &[W],
    mut state: [&mut [W::Real]; N],
) {
    if N == 0 {
        return;
    }
    let wide: Vec<_> = w.iter().map(|w| w.load()).collect();
    let mut subgradient = vec![W::Real::zero(); wide.len()];
    match prox.layout {
        Layout::Elements => elements::subgradient(prox, &wide, &mut subgradient),
        Layout::Groups(groups) => super::groups::subgradient(prox, groups, &wide, &mut subgradient),
        Layout::Singular { rows, columns } => {
            super::matrix::subgradient(prox, (rows, columns), &wide, W::EPSILON, &mut subgradient);
        }
    }
    for (i, (w, subgradient)) in wide.iter().zip(subgradient).enumerate() {
        let mut kept = std::array::from_fn(|k| state[k][i]);
        to.passed_over(*w, subgradient, &mut kept);
        for (state, kept) in state.iter_mut().zip(kept) {
            state[i] = kept;
        }
    }
}
