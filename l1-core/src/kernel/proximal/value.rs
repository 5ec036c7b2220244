//! What a curve charges a whole tensor, and the subgradient of that.

use num_traits::Zero;

use super::{Approach, Prox, elements, groups, matrix};
use crate::{
    Penalty, Result,
    kernel::{
        chunks,
        lanes::{self, Fold, LANES},
        number::Element,
        simd, singular,
    },
    penalty::{Layout, Phi, WithCurve},
    scalar::Scalar,
};

/// `Σ_g c_g·φ_λ(‖w_g‖)`, without element λ and ridge.
pub(in crate::kernel) fn of_curve<T: Element>(penalty: &Penalty, dims: &[usize], values: &[T]) -> Result<f64> {
    let prox = Prox::new(penalty, dims, 1.0, Approach::Exact)?;
    Ok(match prox.layout {
        Layout::Elements => prox.phi.with(OfElements(values)),
        Layout::Groups(groups) => {
            groups::norms(groups, values).into_iter().map(|norm| prox.weight * prox.phi.value(norm)).sum()
        }
        Layout::Singular { rows, columns } => {
            let wide: Vec<_> = values.iter().map(|value| value.load().wide()).collect();
            singular::value(&wide, rows, columns, prox.phi, T::EPSILON)
        }
    })
}

/// The subgradient of smallest norm, as numbers of the arithmetic.
pub(in crate::kernel) fn subgradient<T: Element>(penalty: &Penalty, dims: &[usize], w: &[T]) -> Result<Vec<T::Real>> {
    let prox = Prox::new(penalty, dims, 1.0, Approach::Exact)?;
    let mut result = vec![T::Real::zero(); w.len()];
    let mut room = super::moved::room::<T>(w.len());
    let wide = super::moved::widened(w, &mut room);
    match prox.layout {
        Layout::Elements => elements::subgradient(&prox, wide, &mut result),
        Layout::Groups(groups) => groups::subgradient(&prox, groups, wide, &mut result),
        Layout::Singular { rows, columns } => {
            matrix::subgradient(&prox, (rows, columns), wide, T::EPSILON, &mut result);
        }
    }
    Ok(result)
}

/// `Σφ(|w|)`
struct OfElements<'v, T>(&'v [T]);

impl<T: Element> WithCurve<f64> for OfElements<'_, T> {
    type Output = f64;

    fn run(self, curve: impl Phi<f64>) -> f64 {
        let chunk = |values: &[T]| simd::run(Charges { values, curve });
        chunks::reduce(self.0, &chunk, &|a, b| a + b)
    }
}

struct Charges<'v, T, C> {
    values: &'v [T],
    curve: C,
}

impl<T: Element, C: Phi<f64>> simd::Loop for Charges<'_, T, C> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let mut lanes = Lanes { curve: self.curve, sums: [0.0; LANES] };
        lanes::fold(self.values, &mut lanes);
        lanes::total(lanes.sums)
    }
}

struct Lanes<C> {
    curve: C,
    sums: [f64; LANES],
}

impl<C: Phi<f64>> Fold for Lanes<C> {
    #[inline(always)]
    fn add(&mut self, lane: usize, value: f64) {
        self.sums[lane] += self.curve.value(value.abs());
    }
}
