//! The definitions, in f64 and without a thought to speed: a prox is found by scanning for the stationary points, bisecting to each,
//! and taking the lowest. Nothing of the library's closed forms is used.

use l1_core::{Curve, Grouping, Penalty};

pub fn phi(curve: Curve, lambda: f64, r: f64) -> f64 {
    match curve {
        Curve::L1 => lambda * r,
        Curve::Mcp(gamma) if r <= gamma * lambda => lambda * r - r * r / (2.0 * gamma),
        Curve::Mcp(gamma) => gamma * lambda * lambda / 2.0,
        Curve::Scad(_) if r <= lambda => lambda * r,
        Curve::Scad(gamma) if r <= gamma * lambda => {
            (2.0 * gamma * lambda * r - r * r - lambda * lambda) / (2.0 * (gamma - 1.0))
        }
        Curve::Scad(gamma) => lambda * lambda * (gamma + 1.0) / 2.0,
        Curve::Log(epsilon) => lambda * (r / epsilon).ln_1p(),
        Curve::Half => lambda * r.sqrt(),
        Curve::TwoThirds => lambda * r.powf(2.0 / 3.0),
        Curve::L0 => lambda * f64::from(r > 0.0),
        _ => panic!("{curve} is not known here"),
    }
}

/// φ'(r), at 0 the limit from above.
pub fn slope(curve: Curve, lambda: f64, r: f64) -> f64 {
    match curve {
        Curve::L1 => lambda,
        Curve::Mcp(gamma) => f64::max(lambda - r / gamma, 0.0),
        Curve::Scad(_) if r <= lambda => lambda,
        Curve::Scad(gamma) => f64::max((gamma * lambda - r) / (gamma - 1.0), 0.0),
        Curve::Log(epsilon) => lambda / (epsilon + r),
        Curve::Half => lambda / (2.0 * r.sqrt()),
        Curve::TwoThirds => 2.0 * lambda / (3.0 * r.cbrt()),
        Curve::L0 if r > 0.0 => 0.0,
        Curve::L0 => f64::INFINITY,
        _ => panic!("{curve} is not known here"),
    }
}

/// Where φ' has a knee.
pub fn knees(curve: Curve, lambda: f64) -> Vec<f64> {
    match curve {
        Curve::Mcp(gamma) => vec![gamma * lambda],
        Curve::Scad(gamma) => vec![lambda, gamma * lambda],
        _ => vec![],
    }
}

/// Where an increasing function changes its sign.
fn bisect(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    loop {
        let middle = low + 0.5 * (high - low);
        if middle <= low || middle >= high {
            return high;
        }
        if f(middle) < 0.0 { low = middle } else { high = middle }
    }
}

/// The lowest of 0 and all r in (0, highest] where an increasing `condition` crosses 0; 0 at a tie.
fn lowest(
    mut grid: Vec<f64>,
    highest: f64,
    condition: impl Fn(f64) -> f64,
    at_zero: f64,
    objective: impl Fn(f64) -> f64,
) -> f64 {
    grid.retain(|r| *r < highest);
    grid.extend([0.0, highest]);
    grid.sort_by(f64::total_cmp);
    let minima = grid.windows(2).filter(|pair| condition(pair[0]) < 0.0 && condition(pair[1]) >= 0.0);
    let minima = minima.map(|pair| bisect(pair[0], pair[1], &condition));
    let best = minima.chain([highest]).map(|r| (objective(r), r)).min_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|best| best.0 < at_zero).map_or(0.0, |best| best.1)
}

/// `argmin_{r ≥ 0} (r − a)²/2 + s·φ(r)`
pub fn radius(curve: Curve, lambda: f64, a: f64, s: f64) -> f64 {
    if a == 0.0 || s * lambda == 0.0 {
        return a;
    }
    let grid = (1..64).map(|k| a * f64::from(k) / 64.0).chain(knees(curve, lambda)).collect();
    let condition = |r: f64| if r == 0.0 && curve == Curve::L0 { 0.0 } else { r - a + s * slope(curve, lambda, r) };
    lowest(grid, a, condition, 0.0, |r| r * (0.5 * r - a) + s * phi(curve, lambda, r))
}

/// `argmin Σ(uᵢ − zᵢ)²/(2tᵢ) + κ‖u‖`
pub fn linear_group(z: &[f64], t: &[f64], kappa: f64) -> Vec<f64> {
    let pairs = || z.iter().zip(t).filter(|(z, _)| **z != 0.0);
    let shadow: f64 = pairs().map(|(z, t)| (z / (kappa * t)) * (z / (kappa * t))).sum();
    if kappa == 0.0 || z.iter().all(|z| *z == 0.0) {
        return z.to_vec();
    }
    if shadow <= 1.0 {
        return vec![0.0; z.len()];
    }
    let excess = |r: f64| 1.0 - pairs().map(|(z, t)| (z / (r + kappa * t)) * (z / (r + kappa * t))).sum::<f64>();
    let norm = z.iter().map(|z| z * z).sum::<f64>().sqrt();
    let r = bisect(0.0, norm, excess);
    z.iter().zip(t).map(|(z, t)| if *z == 0.0 { 0.0 } else { z * (r / (r + kappa * t)) }).collect()
}

/// `argmin Σ(uᵢ − zᵢ)²/(2tᵢ) + c·φ(‖u‖)`
pub fn group(curve: Curve, lambda: f64, weight: f64, z: &[f64], t: &[f64]) -> Vec<f64> {
    let norm = z.iter().map(|z| z * z).sum::<f64>().sqrt();
    if norm == 0.0 || lambda == 0.0 {
        return z.to_vec();
    }
    if t.iter().all(|other| *other == t[0]) {
        let r = radius(curve, lambda, norm, weight * t[0]);
        return z.iter().map(|z| z * (r / norm)).collect();
    }
    if curve == Curve::L1 {
        return linear_group(z, t, weight * lambda);
    }
    // Stationary points have uᵢ = zᵢ·r/(r + κtᵢ), κ = cφ'(r), and a norm of r.
    let at = |r: f64| {
        let kappa = weight * slope(curve, lambda, r);
        z.iter().zip(t).map(move |(z, t)| if *z == 0.0 { 0.0 } else { z * (r / (r + kappa * t)) })
    };
    let condition = |r: f64| if r == 0.0 { -1.0 } else { 1.0 - at(r).map(|u| (u / r) * (u / r)).sum::<f64>() };
    let objective = |r: f64| {
        let moved =
            at(r).zip(z.iter().zip(t)).map(|(u, (z, t))| if u == *z { 0.0 } else { (u - z) * (u - z) / (2.0 * t) });
        moved.sum::<f64>() + weight * phi(curve, lambda, at(r).map(|u| u * u).sum::<f64>().sqrt())
    };
    let at_zero = z.iter().zip(t).map(|(z, t)| if *z == 0.0 { 0.0 } else { z * z / (2.0 * t) }).sum();
    let grid = (1..128).map(|k| norm * 1e-7f64.powf(f64::from(k) / 128.0)).chain(knees(curve, lambda)).collect();
    match lowest(grid, norm, condition, at_zero, objective) {
        0.0 => vec![0.0; z.len()],
        r => at(r).collect(),
    }
}

/// The entries of every group, by the index of each in every dimension.
pub fn groups(grouping: Grouping, dims: &[usize]) -> Vec<Vec<usize>> {
    let entries: usize = dims.iter().product();
    let index = |entry: usize, dim: usize| entry / dims[dim + 1..].iter().product::<usize>() % dims[dim];
    let key = |entry: usize| match grouping {
        Grouping::Element => (entry, 0),
        Grouping::Dim(n) => (index(entry, n), 0),
        Grouping::Kernel => (index(entry, 0), index(entry, 1)),
        Grouping::Block(r, c) => (index(entry, 0) / r, index(entry, 1) / c),
        Grouping::Whole => (0, 0),
        _ => panic!("{grouping} is not known here"),
    };
    let mut found = std::collections::BTreeMap::<_, Vec<_>>::new();
    (0..entries).for_each(|entry| found.entry(key(entry)).or_default().push(entry));
    found.into_values().collect()
}

fn weight(penalty: &Penalty, size: usize) -> f64 {
    if penalty.unscaled() { 1.0 } else { (size as f64).sqrt() }
}

/// `Ω(w)`
pub fn value(penalty: &Penalty, dims: &[usize], w: &[f64]) -> f64 {
    if penalty.positive() && w.iter().any(|w| *w < 0.0) {
        return f64::INFINITY;
    }
    let of_group = |group: &Vec<usize>| {
        let r = group.iter().map(|i| w[*i] * w[*i]).sum::<f64>().sqrt();
        weight(penalty, group.len()) * phi(penalty.curve(), penalty.lambda(), r)
    };
    let of_groups: f64 = groups(penalty.group(), dims).iter().map(of_group).sum();
    of_groups + w.iter().map(|w| penalty.element() * w.abs() + 0.5 * penalty.l2() * w * w).sum::<f64>()
}

/// The subgradient of smallest norm.
pub fn subgradient(penalty: &Penalty, dims: &[usize], w: &[f64]) -> Vec<f64> {
    let sign = |w: f64| if w == 0.0 { 0.0 } else { w.signum() };
    let mut result: Vec<_> = w.iter().map(|w| penalty.element() * sign(*w) + penalty.l2() * w).collect();
    for group in groups(penalty.group(), dims) {
        let r = group.iter().map(|i| w[*i] * w[*i]).sum::<f64>().sqrt();
        let slope = weight(penalty, group.len()) * slope(penalty.curve(), penalty.lambda(), r);
        group.iter().filter(|_| r > 0.0).for_each(|i| result[*i] += slope * (w[*i] / r));
    }
    result
}

/// How a curve is met.
#[derive(Clone, Copy)]
pub enum Met<'w> {
    ByItsProx,
    /// At the weights before the step.
    ByItsTangent(&'w [f64]),
}

/// The prox with `times` charges of the curve, and a step for each entry.
pub fn prox(penalty: &Penalty, dims: &[usize], z: &[f64], t: &[f64], times: f64, met: Met<'_>) -> Vec<f64> {
    let (curve, lambda) = (penalty.curve(), penalty.lambda());
    let shrunk = z.iter().zip(t).map(|(z, t)| {
        let threshold = if penalty.element() == 0.0 { 0.0 } else { t * penalty.element() };
        let size = if penalty.positive() { z.max(0.0) } else { z.abs() };
        z.signum() * (size - threshold).max(0.0) / (1.0 + t * penalty.l2())
    });
    let shrunk: Vec<_> = shrunk.collect();
    let left: Vec<_> = t.iter().map(|t| t / (1.0 + t * penalty.l2())).collect();
    if penalty.group() == Grouping::Singular {
        let columns = dims[1..].iter().product();
        return singular(&shrunk, columns, |sigma| radius(curve, lambda, sigma, times * left[0]));
    }
    let mut result = vec![0.0; z.len()];
    for group in groups(penalty.group(), dims) {
        let of = |values: &[f64]| group.iter().map(|i| values[*i]).collect::<Vec<_>>();
        let (z, t, weight) = (of(&shrunk), of(&left), times * weight(penalty, group.len()));
        let found = match met {
            Met::ByItsProx => self::group(curve, lambda, weight, &z, &t),
            Met::ByItsTangent(w) => {
                let r = of(w).iter().map(|w| w * w).sum::<f64>().sqrt();
                linear_group(&z, &t, weight * slope(curve, lambda, r))
            }
        };
        group.iter().zip(found).for_each(|(i, found)| result[*i] = found);
    }
    result
}

/// A matrix with other singular values, by rotating pairs of columns until all are orthogonal (one-sided Jacobi).
pub fn singular(matrix: &[f64], columns: usize, change: impl Fn(f64) -> f64) -> Vec<f64> {
    let rows = matrix.len() / columns;
    let mut turned: Vec<Vec<f64>> =
        (0..columns).map(|j| (0..rows).map(|i| matrix[i * columns + j]).collect()).collect();
    let mut rotation: Vec<Vec<f64>> =
        (0..columns).map(|j| (0..columns).map(|i| f64::from(u8::from(i == j))).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for _ in 0..60 {
        for j in 0..columns {
            for k in j + 1..columns {
                let (a, b, c) = (dot(&turned[j], &turned[j]), dot(&turned[k], &turned[k]), dot(&turned[j], &turned[k]));
                if c == 0.0 {
                    continue;
                }
                let zeta = (b - a) / (2.0 * c);
                let tangent = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
                let sine = cosine * tangent;
                for all in [&mut turned, &mut rotation] {
                    for i in 0..all[j].len() {
                        let (x, y) = (all[j][i], all[k][i]);
                        (all[j][i], all[k][i]) = (cosine * x - sine * y, sine * x + cosine * y);
                    }
                }
            }
        }
    }
    let largest = turned.iter().map(|column| dot(column, column).sqrt()).fold(0.0, f64::max);
    let factors: Vec<_> = turned
        .iter()
        .map(|column| dot(column, column).sqrt())
        .map(|sigma| if sigma <= 1e-14 * largest { 0.0 } else { change(sigma) / sigma })
        .collect();
    let entry = |index: usize| {
        let (i, j) = (index / columns, index % columns);
        (0..columns).map(|k| turned[k][i] * factors[k] * rotation[k][j]).sum()
    };
    (0..matrix.len()).map(entry).collect()
}
