//! Penalties on the singular values of a matrix, `Ω(W) = Σ_k φ_λ(σ_k)`: with `L1` the nuclear norm.
//!
//! | operation | formula |
//! |---|---|
//! | [`value`] | `Σ_k φ_λ(σ_k)` |
//! | [`subgradient`] | `U₁ diag(φ'(σ)) V₁ᵀ` (Watson 1992) |
//! | [`prox_in_place`] | `U diag(prox_φ(σ; step, λ)) Vᵀ` (Cai, Candès & Shen 2010; other curves: Lu et al. 2015) |
//! | [`distance`] | of `−∇f` to `∂(Ω + ½ρ‖W‖²)` |
//!
//! Matrices are row-major slices of f64, whatever their tensor stores. They are divided by a power of two before they are decomposed,
//! so that squares neither over- nor underflow. faer decomposes them on one thread: the same bits on any number of threads.

use faer::{
    Accum, Auto, Mat, MatMut, MatRef, Par,
    diag::Diag,
    dyn_stack::{MemBuffer, MemStack},
    linalg::{
        matmul::matmul,
        svd::{ComputeSvdVectors, SvdParams, svd, svd_scratch},
    },
};

use crate::{Error, ParamPath, Result, penalty::AtLambda};

/// The singular values of a matrix, `scale · sigma`, descending.
struct Spectrum {
    rows: usize,
    columns: usize,
    sigma: Vec<f64>,
    /// A power of two.
    scale: f64,
}

impl Spectrum {
    fn of(matrix: &[f64], rows: usize, columns: usize) -> Result<Self> {
        Self::with_vectors(matrix, rows, columns, None)
    }

    /// Writes U and V where they are asked for.
    fn with_vectors(
        matrix: &[f64],
        rows: usize,
        columns: usize,
        vectors: Option<(MatMut<'_, f64>, MatMut<'_, f64>)>,
    ) -> Result<Self> {
        let error = |why: String| Error::SingularValues { path: ParamPath::from("w"), rows, columns, why };
        if rows.checked_mul(columns) != Some(matrix.len()) {
            return Err(error(format!("it has {} entries", matrix.len())));
        }
        if let Some(index) = matrix.iter().position(|entry| !entry.is_finite()) {
            return Err(error(format!("it holds {} at flat index {index}", matrix[index])));
        }
        let size = rows.min(columns);
        let scale = power_of_two(matrix);
        if scale == 0.0 {
            return Ok(Self { rows, columns, sigma: vec![0.0; size], scale: 1.0 });
        }
        let scaled: Vec<_> = matrix.iter().map(|entry| entry / scale).collect();
        let compute = if vectors.is_some() { ComputeSvdVectors::Thin } else { ComputeSvdVectors::No };
        // faer 0.24.4 divides and conquers from 128 columns on, and finds a spurious value of up to 1e-4·σ₁ where the rank is less. QR
        // steps alone find none, and take no longer.
        let params = SvdParams { recursion_threshold: usize::MAX, ..<SvdParams as Auto<f64>>::auto() }.into();
        let request = svd_scratch::<f64>(rows, columns, compute, compute, Par::Seq, params);
        let mut memory = MemBuffer::try_new(request).map_err(|_| error("there is not enough memory".to_owned()))?;
        let mut sigma = Diag::zeros(size);
        let (u, v) = vectors.unzip();
        let matrix = MatRef::from_row_major_slice(&scaled, rows, columns);
        svd(matrix, sigma.as_mut(), u, v, Par::Seq, MemStack::new(&mut memory), params)
            .map_err(|_| error("the iteration for them does not converge".to_owned()))?;
        let sigma = sigma.column_vector().iter().copied().collect();
        Ok(Self { rows, columns, sigma, scale })
    }

    /// How many are larger than what rounding makes of a 0: that of the entries, each by half an ulp, moves no singular value by more
    /// than `½·ulp·‖W‖_F` (Weyl); that of the decomposition, by some `ulp·σ₁`, larger for larger matrices.
    fn rank(&self, ulp: f64) -> usize {
        let of_entries = ulp * norm(&self.sigma);
        let largest = self.sigma.first().copied().unwrap_or_default();
        let of_decomposition = self.rows.max(self.columns) as f64 * f64::EPSILON * largest;
        let tolerance = of_entries.max(of_decomposition);
        self.sigma.iter().take_while(|sigma| **sigma > tolerance).count()
    }

    /// In the units of the matrix; `∞` where that is beyond the largest number.
    fn values(&self) -> impl ExactSizeIterator<Item = f64> {
        self.sigma.iter().map(|sigma| sigma * self.scale)
    }
}

/// The largest power of two that is not above the largest magnitude; 0 if all entries are 0.
fn power_of_two(entries: &[f64]) -> f64 {
    let largest = entries.iter().fold(0.0, |largest: f64, entry| largest.max(entry.abs()));
    let normal = f64::from_bits(largest.to_bits() & f64::INFINITY.to_bits());
    let is_subnormal = normal == 0.0 && largest > 0.0;
    if is_subnormal { f64::from_bits(1 << (63 - largest.to_bits().leading_zeros())) } else { normal }
}

/// `‖x‖₂` of finite numbers whose squares may over- or underflow.
fn norm(entries: &[f64]) -> f64 {
    let scale = power_of_two(entries);
    if scale == 0.0 {
        return entries.iter().map(|entry| entry.abs()).sum(); // 0, or NaN
    }
    scale * entries.iter().map(|entry| (entry / scale) * (entry / scale)).sum::<f64>().sqrt()
}

/// `W = U diag(σ) Vᵀ`, thin.
struct Decomposition {
    u: Mat<f64>,
    spectrum: Spectrum,
    v: Mat<f64>,
}

impl Decomposition {
    fn of(matrix: &[f64], rows: usize, columns: usize) -> Result<Self> {
        let size = rows.min(columns);
        let (mut u, mut v) = (Mat::zeros(rows, size), Mat::zeros(columns, size));
        let spectrum = Spectrum::with_vectors(matrix, rows, columns, Some((u.as_mut(), v.as_mut())))?;
        Ok(Self { u, spectrum, v })
    }

    /// The first columns of U and V.
    fn vectors(&self, rank: usize) -> (MatRef<'_, f64>, MatRef<'_, f64>) {
        (self.u.get(.., ..rank), self.v.get(.., ..rank))
    }

    /// `U₁ diag(values) V₁ᵀ`, row-major.
    fn compose(&self, values: &[f64], into: &mut [f64]) {
        let (left, right) = self.vectors(values.len());
        let left = Mat::from_fn(left.nrows(), values.len(), |row, k| left[(row, k)] * values[k]);
        let into = MatMut::from_row_major_slice_mut(into, left.nrows(), right.nrows());
        matmul(into, Accum::Replace, &left, right.transpose(), 1.0, Par::Seq);
    }

    /// `(I − U₁U₁ᵀ) G (I − V₁V₁ᵀ)` of a row-major G.
    fn normal_part(&self, gradient: &[f64], rank: usize) -> Vec<f64> {
        let (rows, columns) = (self.spectrum.rows, self.spectrum.columns);
        let mut normal = gradient.to_vec();
        if rank == rows.min(columns) {
            normal.fill(0.0);
            return normal;
        }
        let (u, v) = self.vectors(rank);
        let mut part = MatMut::from_row_major_slice_mut(&mut normal, rows, columns);
        let mut across = Mat::zeros(rank, columns);
        matmul(&mut across, Accum::Replace, u.transpose(), part.as_ref(), 1.0, Par::Seq);
        matmul(part.as_mut(), Accum::Add, u, &across, -1.0, Par::Seq);
        let mut along = Mat::zeros(rows, rank);
        matmul(&mut along, Accum::Replace, part.as_ref(), v, 1.0, Par::Seq);
        matmul(part.as_mut(), Accum::Add, &along, v.transpose(), -1.0, Par::Seq);
        normal
    }
}

/// The singular values, descending; `∞` where one is beyond the largest number.
///
/// # Errors
/// [`Error::SingularValues`] for NaN, infinities, or where the iteration does not converge.
pub(crate) fn values(matrix: &[f64], rows: usize, columns: usize) -> Result<Vec<f64>> {
    Ok(Spectrum::of(matrix, rows, columns)?.values().collect())
}

/// `σ₁`; NaN where [`values`] is an error.
pub(crate) fn spectral_norm(matrix: &[f64], rows: usize, columns: usize) -> f64 {
    values(matrix, rows, columns).map_or(f64::NAN, |values| values.first().copied().unwrap_or_default())
}

/// How many singular values are not 0, up to what rounding makes of a 0.
///
/// * `ulp`: the relative spacing of numbers in the type that the matrix was stored in, as `f32::EPSILON`.
///
/// # Errors
/// As [`values`].
pub(crate) fn rank(matrix: &[f64], rows: usize, columns: usize, ulp: f64) -> Result<usize> {
    Ok(Spectrum::of(matrix, rows, columns)?.rank(ulp))
}

/// `Σ_k φ_λ(σ_k)`; NaN where [`values`] is an error.
///
/// * `ulp`: as in [`rank`]. A curve of infinite slope at 0 would charge a rounding as a weight (ℓ0 in full); with one of those, only the
///   first [`rank`] singular values count.
pub(crate) fn value(matrix: &[f64], rows: usize, columns: usize, phi: AtLambda, ulp: f64) -> f64 {
    let Ok(spectrum) = Spectrum::of(matrix, rows, columns) else { return f64::NAN };
    let charged = if phi.curve.has_slope_at_zero() { spectrum.sigma.len() } else { spectrum.rank(ulp) };
    spectrum.values().take(charged).map(|sigma| phi.value(sigma)).sum()
}

/// The prox of `step · Σ_k φ_λ(σ_k)`, exact for every curve; returns how many singular values are left. If none is, the matrix is
/// exactly 0; if none is moved, it stays as it is.
///
/// A ridge is folded in before: `W ← W/(1 + step·ρ)`, `step ← step/(1 + step·ρ)`.
///
/// # Errors
/// As [`values`]; the matrix is untouched then.
pub(crate) fn prox_in_place(
    matrix: &mut [f64],
    rows: usize,
    columns: usize,
    phi: AtLambda,
    step: f64,
) -> Result<usize> {
    let decomposition = Decomposition::of(matrix, rows, columns)?;
    let spectrum = &decomposition.spectrum;
    // A matrix of the largest numbers can have a norm beyond them.
    let values = || spectrum.values().map(|sigma| sigma.min(f64::MAX));
    let shrunk: Vec<_> = values().map(|sigma| phi.prox(sigma, step)).take_while(|sigma| *sigma > 0.0).collect();
    let left = shrunk.len();
    if left == 0 {
        matrix.fill(0.0);
    } else if !shrunk.iter().copied().eq(values().filter(|sigma| *sigma > 0.0)) {
        let shrunk: Vec<_> = shrunk.into_iter().map(|sigma| sigma / spectrum.scale).collect();
        decomposition.compose(&shrunk, matrix);
        matrix.iter_mut().for_each(|entry| *entry *= spectrum.scale);
    }
    Ok(left)
}

/// The subgradient of smallest norm of `Σ_k φ_λ(σ_k)`: `U₁ diag(φ'(σ)) V₁ᵀ` over the first [`rank`] singular values. NaN in every entry
/// where [`values`] is an error.
pub(crate) fn subgradient(matrix: &[f64], rows: usize, columns: usize, phi: AtLambda, ulp: f64) -> Vec<f64> {
    let mut subgradient = vec![f64::NAN; matrix.len()];
    if let Ok(decomposition) = Decomposition::of(matrix, rows, columns) {
        let spectrum = &decomposition.spectrum;
        let slopes: Vec<_> = spectrum.values().take(spectrum.rank(ulp)).map(|sigma| phi.slope(sigma)).collect();
        decomposition.compose(&slopes, &mut subgradient);
    }
    subgradient
}

/// How hard a gradient pulls at the singular values of W that are 0: the singular values, descending, of what of it is orthogonal to the
/// others, `(I − U₁U₁ᵀ) ∇f (I − V₁V₁ᵀ)`. None where no singular value is 0.
///
/// * `ulp`: as in [`rank`].
///
/// # Errors
/// As [`values`], of W or of ∇f.
pub(crate) fn pulls(matrix: &[f64], gradient: &[f64], rows: usize, columns: usize, ulp: f64) -> Result<Vec<f64>> {
    let decomposition = Decomposition::of(matrix, rows, columns)?;
    let rank = decomposition.spectrum.rank(ulp);
    let mut pulls = values(&decomposition.normal_part(gradient, rank), rows, columns)?;
    pulls.truncate(rows.min(columns) - rank);
    Ok(pulls)
}

/// The distance of `−∇f` to the subdifferential of `Σ_k φ_λ(σ_k) + ½·ridge·‖W‖²` at W, which is
/// `U₁ diag(φ'(σ) + ridge·σ) V₁ᵀ + {N : U₁ᵀN = 0, N V₁ = 0, σ₁(N) ≤ φ'(0+)}` (convex: Watson 1992). NaN where [`values`] of W or of ∇f is
/// an error.
///
/// With an infinite slope at 0 every singular value that is 0 is stationary.
///
/// * `ulp`: as in [`rank`].
pub(crate) fn distance(
    matrix: &[f64],
    gradient: &[f64],
    rows: usize,
    columns: usize,
    phi: AtLambda,
    ridge: f64,
    ulp: f64,
) -> f64 {
    let distance = || -> Result<f64> {
        let decomposition = Decomposition::of(matrix, rows, columns)?;
        let spectrum = &decomposition.spectrum;
        let rank = spectrum.rank(ulp);
        let slopes: Vec<_> = spectrum.values().take(rank).map(|sigma| phi.slope(sigma) + ridge * sigma).collect();
        let mut along = vec![0.0; matrix.len()];
        decomposition.compose(&slopes, &mut along);
        // ∇f falls into the part that has to cancel the slopes, and a part orthogonal to it that the ball of φ'(0+) may hold.
        let across = decomposition.normal_part(gradient, rank);
        for ((along, gradient), across) in along.iter_mut().zip(gradient).zip(&across) {
            *along += gradient - across;
        }
        let ball = if phi.lambda > 0.0 { phi.slope_at_zero() } else { 0.0 };
        let excess: Vec<_> = if ball == f64::INFINITY {
            Vec::new()
        } else {
            values(&across, rows, columns)?.into_iter().map(|sigma| (sigma - ball).max(0.0)).collect()
        };
        Ok(norm(&[norm(&along), norm(&excess)]))
    };
    match distance() {
        Ok(distance) if gradient.iter().all(|entry| entry.is_finite()) => distance,
        _ => f64::NAN,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Curve;

    const CURVES: [Curve; 6] =
        [Curve::L1, Curve::Mcp(3.0), Curve::Scad(3.7), Curve::Log(0.5), Curve::TwoThirds, Curve::L0];
    const SHAPES: [(usize, usize); 9] = [(1, 1), (1, 7), (7, 1), (3, 3), (5, 3), (3, 5), (40, 4), (4, 40), (150, 140)];
    const ULP: f64 = f64::EPSILON;
    /// `max(m, n)·ulp·σ₁` of the largest shape.
    const ROUNDING: f64 = 150.0 * ULP * 3.0;

    fn l1(lambda: f64) -> AtLambda {
        AtLambda { curve: Curve::L1, lambda }
    }

    /// Numbers in (−1, 1) without a pattern, the same at every run.
    fn noise(seed: usize) -> impl Iterator<Item = f64> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed as u64 + 1);
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        })
    }

    fn random(rows: usize, columns: usize, seed: usize) -> Vec<f64> {
        noise(seed).take(rows * columns).collect()
    }

    /// Columns of a product of three Householder reflections: orthonormal by themselves.
    fn orthonormal(size: usize, count: usize, seed: usize) -> Vec<Vec<f64>> {
        let mut columns: Vec<_> =
            (0..count).map(|k| (0..size).map(|row| f64::from(u8::from(row == k))).collect::<Vec<_>>()).collect();
        let mut numbers = noise(seed);
        for _ in 0..3 {
            let axis: Vec<_> = numbers.by_ref().take(size).collect();
            let square: f64 = axis.iter().map(|a| a * a).sum();
            for column in &mut columns {
                let along: f64 = column.iter().zip(&axis).map(|(c, a)| c * a).sum();
                column.iter_mut().zip(&axis).for_each(|(c, a)| *c -= 2.0 * along / square * a);
            }
        }
        columns
    }

    /// A matrix with these singular values.
    fn with_values(rows: usize, columns: usize, sigma: &[f64]) -> Vec<f64> {
        let (u, v) = (orthonormal(rows, sigma.len(), 1), orthonormal(columns, sigma.len(), 2));
        let entry = |index: usize| {
            let (row, column) = (index / columns, index % columns);
            (0..sigma.len()).map(|k| u[k][row] * sigma[k] * v[k][column]).sum()
        };
        (0..rows * columns).map(entry).collect()
    }

    /// Singular values of which about every second is 0.
    fn spectrum(size: usize) -> Vec<f64> {
        let rank = size.div_ceil(2);
        (0..size).map(|k| if k < rank { 3.0 - 2.5 * k as f64 / rank as f64 } else { 0.0 }).collect()
    }

    #[track_caller]
    fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        let worst = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f64::max);
        assert!(worst <= tolerance, "{worst:e} > {tolerance:e}");
    }

    #[test]
    fn singular_values_are_found_in_every_shape_and_at_every_scale() {
        for (rows, columns) in SHAPES {
            let sigma = spectrum(rows.min(columns));
            let matrix = with_values(rows, columns, &sigma);
            for scale in [1.0, 1e150, 1e-150, 1e300, 1e-300] {
                let scaled: Vec<_> = matrix.iter().map(|entry| entry * scale).collect();
                let found: Vec<_> = values(&scaled, rows, columns).unwrap().iter().map(|s| s / scale).collect();
                assert_close(&found, &sigma, ROUNDING);
                assert!(found.is_sorted_by(|a, b| a >= b));
                assert_eq!(rank(&scaled, rows, columns, ULP).unwrap(), rows.min(columns).div_ceil(2));
            }
        }
        // A subnormal matrix has few digits, but a norm.
        assert_eq!(spectral_norm(&[0.0, 3e-320], 1, 2), 3e-320);
    }

    #[test]
    fn no_rank_is_too_high_from_128_columns_on() {
        // The sizes at which faer's divide and conquer found one singular value too many.
        for (rows, columns) in [(128, 128), (150, 140), (300, 290)] {
            let rank_of = |sigma: &[f64]| rank(&with_values(rows, columns, sigma), rows, columns, ULP).unwrap();
            for left in [1, 60, columns / 2, columns - 1] {
                assert_eq!(rank_of(&vec![1.0; left]), left, "{rows} × {columns}");
                let falling: Vec<_> = (0..left).map(|k| 2.5 - 2.0 * k as f64 / left as f64).collect();
                assert_eq!(rank_of(&falling), left, "{rows} × {columns}");
            }
        }
    }

    #[test]
    fn rank_overlooks_what_rounding_to_the_stored_type_leaves() {
        let (rows, columns) = (64, 48);
        let matrix = with_values(rows, columns, &[2.0, 1.5, 1.0]);
        let single: Vec<_> = matrix.iter().map(|entry| f64::from(*entry as f32)).collect();
        assert_eq!(rank(&single, rows, columns, f64::EPSILON).unwrap(), 48);
        assert_eq!(rank(&single, rows, columns, f32::EPSILON.into()).unwrap(), 3);
        let brain: Vec<_> = matrix.iter().map(|entry| half::bf16::from_f64(*entry).to_f64()).collect();
        assert_eq!(rank(&brain, rows, columns, half::bf16::EPSILON.to_f64()).unwrap(), 3);
        // ℓ0 counts, and would count roundings.
        let l0 = AtLambda { curve: Curve::L0, lambda: 0.5 };
        assert_eq!(value(&single, rows, columns, l0, f32::EPSILON.into()), 1.5);
        assert!((value(&matrix, rows, columns, l1(0.5), ULP) - 2.25).abs() < 1e-13);
    }

    #[test]
    fn the_prox_shrinks_the_singular_values_and_leaves_the_vectors() {
        for curve in CURVES {
            let phi = AtLambda { curve, lambda: 0.6 };
            for (rows, columns) in SHAPES {
                let sigma = spectrum(rows.min(columns));
                let mut matrix = with_values(rows, columns, &sigma);
                let left = prox_in_place(&mut matrix, rows, columns, phi, 0.8).unwrap();
                let expected: Vec<_> = sigma.iter().map(|sigma| phi.prox(*sigma, 0.8)).collect();
                assert_close(&matrix, &with_values(rows, columns, &expected), ROUNDING);
                assert_eq!(left, expected.iter().filter(|sigma| **sigma > 0.0).count());
                assert_eq!(rank(&matrix, rows, columns, ULP).unwrap(), left);
            }
        }
    }

    #[test]
    fn the_prox_minimizes_its_objective() {
        for curve in CURVES {
            let (phi, step) = (AtLambda { curve, lambda: 0.6 }, 0.8);
            for (rows, columns) in [(1, 4), (4, 3), (3, 6)] {
                let z = random(rows, columns, 5);
                let objective = |u: &[f64]| {
                    let square: f64 = u.iter().zip(&z).map(|(u, z)| (u - z) * (u - z)).sum();
                    square / 2.0 + step * value(u, rows, columns, phi, ULP)
                };
                let mut minimum = z.clone();
                let _ = prox_in_place(&mut minimum, rows, columns, phi, step).unwrap();
                // −(u − z)/step ∈ ∂Ω(u)
                let pull: Vec<_> = minimum.iter().zip(&z).map(|(u, z)| (u - z) / step).collect();
                assert!(distance(&minimum, &pull, rows, columns, phi, 0.0, ULP) < 1e-14, "{curve}");
                for (seed, size) in (6..200).zip([1.0, 0.1, 0.01].into_iter().cycle()) {
                    let step_aside = random(rows, columns, seed);
                    let beside: Vec<_> = minimum.iter().zip(step_aside).map(|(u, d)| u + size * d).collect();
                    assert!(objective(&minimum) <= objective(&beside) + 1e-14, "{curve}");
                }
                assert!(objective(&minimum) <= objective(&vec![0.0; z.len()]));
            }
        }
    }

    #[test]
    fn below_the_threshold_the_prox_is_exactly_zero_and_above_nothing_it_is_the_matrix_itself() {
        for (rows, columns) in SHAPES {
            let matrix = with_values(rows, columns, &spectrum(rows.min(columns)));
            let mut shrunk = matrix.clone();
            assert_eq!(prox_in_place(&mut shrunk, rows, columns, l1(3.5), 1.0).unwrap(), 0);
            assert!(shrunk.iter().all(|entry| entry.to_bits() == 0));
            let mut kept = random(rows, columns, 4);
            let _ = prox_in_place(&mut kept, rows, columns, l1(0.0), 1.0).unwrap();
            assert_eq!(kept, random(rows, columns, 4));
            let mut zero = vec![0.0; rows * columns];
            assert_eq!(prox_in_place(&mut zero, rows, columns, l1(1.0), 1.0).unwrap(), 0);
            assert_eq!(zero, vec![0.0; rows * columns]);
        }
    }

    #[test]
    fn the_prox_takes_the_largest_and_the_smallest_numbers() {
        for scale in [1e150, 1e-150, 1e300, 1e-300] {
            let mut matrix: Vec<_> = with_values(4, 3, &[3.0, 2.0, 1.0]).iter().map(|entry| entry * scale).collect();
            let _ = prox_in_place(&mut matrix, 4, 3, l1(1.5 * scale), 1.0).unwrap();
            let found: Vec<_> = matrix.iter().map(|entry| entry / scale).collect();
            assert_close(&found, &with_values(4, 3, &[1.5, 0.5]), 1e-14);
        }
        let mut largest = [f64::MAX; 4];
        let _ = prox_in_place(&mut largest, 2, 2, l1(1.0), 1.0).unwrap();
        assert!(largest.iter().all(|entry| entry.is_finite()));
    }

    #[test]
    fn the_subgradient_is_the_slope_of_the_value() {
        for curve in [Curve::L1, Curve::Mcp(3.0), Curve::Scad(3.7), Curve::Log(0.5)] {
            let phi = AtLambda { curve, lambda: 0.6 };
            for (rows, columns) in [(1, 5), (5, 1), (3, 4), (6, 4)] {
                let matrix = random(rows, columns, 8);
                let subgradient = subgradient(&matrix, rows, columns, phi, ULP);
                for index in 0..matrix.len() {
                    let at = |shift: f64| {
                        let mut matrix = matrix.clone();
                        matrix[index] += shift;
                        value(&matrix, rows, columns, phi, ULP)
                    };
                    // The error of the central difference is h²/6 times the third derivative, some 1e-8 here.
                    assert!(((at(1e-5) - at(-1e-5)) / 2e-5 - subgradient[index]).abs() < 1e-7, "{curve}");
                }
            }
        }
    }

    #[test]
    fn the_subgradient_at_a_singular_matrix_is_the_one_of_smallest_norm() {
        let (rows, columns) = (6, 5);
        let matrix = with_values(rows, columns, &[3.0, 2.0]);
        let found = subgradient(&matrix, rows, columns, l1(0.7), ULP);
        assert_close(&found, &with_values(rows, columns, &[0.7, 0.7]), 1e-14);
        assert_eq!(subgradient(&vec![0.0; 30], rows, columns, l1(0.7), ULP), vec![0.0; 30]);
    }

    #[test]
    fn the_distance_is_to_the_nearest_of_the_subgradients() {
        let (rows, columns, ridge) = (6, 5, 0.3);
        let sigma = [3.0, 2.0];
        let matrix = with_values(rows, columns, &sigma);
        for curve in CURVES {
            let phi = AtLambda { curve, lambda: 0.7 };
            let ball = phi.slope_at_zero().min(1e3);
            let slopes = sigma.map(|sigma| phi.slope(sigma) + ridge * sigma);
            // A subgradient: slopes along the matrix, and anything of spectral norm up to φ'(0+) across it.
            let subgradient = |across: &[f64]| with_values(rows, columns, &[&slopes[..], across].concat());
            let exact: Vec<_> = subgradient(&[ball, -0.4 * ball, 0.1]).iter().map(|entry| -entry).collect();
            let found = distance(&matrix, &exact, rows, columns, phi, ridge, ULP);
            assert!(found < 1e-14 * ball.max(10.0), "{curve}: {found:e}");
            let gradient: Vec<_> = random(rows, columns, 9).iter().map(|entry| 3.0 * entry).collect();
            let found = distance(&matrix, &gradient, rows, columns, phi, ridge, ULP);
            for seed in 0..100 {
                let mut across: Vec<_> = noise(seed).take(3).collect();
                across.iter_mut().for_each(|sigma| *sigma *= ball);
                let sum: Vec<_> = gradient.iter().zip(subgradient(&across)).map(|(g, s)| g + s).collect();
                assert!(found <= norm(&sum), "{curve}");
            }
        }
    }

    #[test]
    fn the_distance_at_a_vector_is_that_of_a_group() {
        let (w, g) = ([0.3, -0.4, 1.2], [0.5, 0.1, -0.7]);
        for (rows, columns) in [(1, 3), (3, 1)] {
            let expected = w.map(|w| (0.6 / 1.3 + 0.2) * w);
            let sum: f64 = expected.iter().zip(g).map(|(e, g)| (e + g) * (e + g)).sum();
            let found = distance(&w, &g, rows, columns, l1(0.6), 0.2, ULP);
            assert!((found - sum.sqrt()).abs() < 1e-15);
            let at_zero = distance(&[0.0; 3], &g, rows, columns, l1(0.6), 0.2, ULP);
            assert!((at_zero - (0.75f64.sqrt() - 0.6)).abs() < 1e-15);
        }
    }

    #[test]
    fn a_diagonal_matrix_is_as_far_as_its_diagonal() {
        // Diagonal W and ∇f: the distance of each diagonal entry to its own subdifferential.
        let (w, g) = ([2.0, 0.0, 0.5, 0.0], [-0.5, 0.9, -1.1, 0.4]);
        let diagonal = |d: [f64; 4]| (0..16).map(|at| if at % 5 == 0 { d[at / 5] } else { 0.0 }).collect::<Vec<_>>();
        let found = distance(&diagonal(w), &diagonal(g), 4, 4, l1(0.6), 0.0, ULP);
        let expected = norm(&[-0.5 + 0.6, 0.9 - 0.6, -1.1 + 0.6]);
        assert!((found - expected).abs() < 1e-15, "{found} {expected}");
    }

    #[test]
    fn what_is_not_finite_is_an_error_or_nan_and_never_a_panic() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut matrix = random(3, 2, 1);
            matrix[4] = bad;
            let error = values(&matrix, 3, 2).unwrap_err().to_string();
            let expected = format!(
                "w: the singular values of this 3 × 2 matrix cannot be computed: it holds {bad} at flat index 4 (expected \
                 finite entries; has training diverged?)"
            );
            assert_eq!(error, expected);
            assert!(value(&matrix, 3, 2, l1(1.0), ULP).is_nan());
            assert!(spectral_norm(&matrix, 3, 2).is_nan());
            assert!(subgradient(&matrix, 3, 2, l1(1.0), ULP).iter().all(|entry| entry.is_nan()));
            for curve in CURVES {
                let phi = AtLambda { curve, lambda: 1.0 };
                assert!(distance(&matrix, &[0.0; 6], 3, 2, phi, 0.0, ULP).is_nan());
                assert!(distance(&[0.0; 6], &matrix, 3, 2, phi, 0.0, ULP).is_nan());
            }
            let before = matrix.clone();
            assert!(prox_in_place(&mut matrix, 3, 2, l1(1.0), 1.0).is_err());
            assert_eq!(matrix[..4], before[..4]);
        }
        assert!(values(&[1.0; 5], 3, 2).is_err());
        assert!(values(&[], usize::MAX, 2).is_err());
        assert_eq!(values(&[], 0, 3).unwrap(), [0.0; 0]);
        assert_eq!(distance(&[], &[], 0, 3, l1(1.0), 0.0, ULP), 0.0);
    }
}
