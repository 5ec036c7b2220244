//! Singular values: one step for the whole tensor, for there is no prox in any other metric.

use super::{
    Prox,
    fold::Fold,
    moved::{Mover, Operands, room, widened},
};
use crate::{
    kernel::{
        number::{Element, Real},
        singular,
    },
    scalar::Scalar,
};
use num_traits::Zero;

/// See [`super::run`].
pub(super) fn run<W: Element, G: Element<Real = W::Real>, const N: usize>(
    to: &dyn Mover<W::Real, N>,
    prox: &Prox,
    (rows, columns): (usize, usize),
    w: &mut [W],
    g: &[G],
    state: [&mut [W::Real]; N],
) {
    let zero = W::Real::zero();
    let mut z = vec![zero; w.len()];
    let mut steps = vec![zero; if to.one_step().is_none() { w.len() } else { 0 }];
    let (mut room_w, mut room_g) = (room::<W>(w.len()), room::<G>(w.len()));
    let operands = Operands { w: widened(w, &mut room_w), g: widened(g, &mut room_g), subgradients: &[] };
    to.moved(operands, &mut z, &mut steps, state);
    let Some(step) = to.one_step().or_else(|| steps.first().copied()) else { return };
    let fold = Fold::<f64>::new(prox);
    let mut wide: Vec<f64> = z.iter().map(|z| fold.at(z.wide(), step.wide()).0).collect();
    // Without singular values there is no prox: what is NaN or infinite stays so, as everywhere else.
    if singular::prox_in_place(&mut wide, rows, columns, prox.phi, prox.weight * fold.step(step.wide())).is_err() {
        W::store_all(&z, w);
        return;
    }
    for (z, wide) in z.iter_mut().zip(wide) {
        *z = W::Real::of(wide);
    }
    W::store_all(&z, w);
}

/// The subgradient of smallest norm at `w`; NaN where it has no singular values.
///
/// * `ulp`: the relative spacing of the numbers that the tensor stores.
pub(super) fn subgradient<R: Real>(prox: &Prox, (rows, columns): (usize, usize), w: &[R], ulp: f64, result: &mut [R]) {
    let fold = Fold::<f64>::new(prox);
    let wide: Vec<f64> = w.iter().map(|w| w.wide()).collect();
    let of_values = singular::subgradient(&wide, rows, columns, prox.phi, ulp);
    for ((result, w), of_values) in result.iter_mut().zip(wide).zip(of_values) {
        *result = R::of(prox.weight * of_values + fold.subgradient(w));
    }
}
