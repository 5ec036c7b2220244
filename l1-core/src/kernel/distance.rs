//! How far a gradient is from being balanced by a penalty, and the λ from which on the penalty holds weights at 0.
//!
//! Written once, for entries and groups and every curve, in f64: an entry is a group of size 1.

use candle_core::{DType, Device, Tensor};

use super::{check_dtype, place::Place, singular};
use crate::{
    Error, ParamPath, Penalty, Result,
    penalty::{AtLambda, Groups, Layout},
};

/// When a group of zeros counts as held at 0.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Stays {
    /// When 0 is stationary: −∇f is a subgradient of the penalty. Where φ'(0+) = ∞ that is every zero under a λ > 0.
    Stationary,
    /// When a proximal gradient step of this length, `prox_t(0 − t∇f)`, ends at 0 ("L-stationary", Beck & Eldar 2013): > 0 and
    /// finite. For convex penalties it is the same at every length; for others it holds from a larger λ on where the step is long.
    AfterStep(f64),
}

impl Stays {
    fn check(self) -> Result<()> {
        match self {
            Self::AfterStep(value) if !(value > 0.0 && value.is_finite()) => {
                Err(Error::InvalidParameter { name: "step", value, expected: "finite and > 0" })
            }
            _ => Ok(()),
        }
    }
}

/// The strength from which on a penalty holds every group of a tensor at 0; see [`lambda_max`] and [`scale_max`].
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct LambdaMax {
    /// The largest of all groups: NaN if a gradient is, ∞ where no strength is enough, 0 for a tensor without entries.
    pub value: f64,
    /// The group that it belongs to, the first of several.
    pub place: Option<Place>,
    /// That of each group, in their order (for entries row-major order; singular values have one for all of them).
    pub groups: Vec<f64>,
}

/// The distance of −∇f to the subdifferential of the penalty, ‖·‖₂ over each group: how far a tensor is from being stationary for
/// f + Ω. With r = ‖w_g‖, v = ∇f, S(x, a) = sign(x)·max(|x| − a, 0), c the weight of the group, e = element, ρ = l2:
///
/// * r > 0: ‖q‖ with `qᵢ = vᵢ + cφ'(r)·wᵢ/r + e·sign(wᵢ) + ρwᵢ` where wᵢ ≠ 0, `(|vᵢ| − e)₊` where wᵢ = 0;
/// * r = 0: `(‖S(v, e)‖ − cφ'(0+))₊`: 0 for every finite gradient where φ'(0+) = ∞ (ℓ½, ℓ⅔, ℓ0).
///
/// With a sign constraint `(−vᵢ − e)₊` takes the place of `|S(vᵢ, e)|` at zeros, and a negative weight is at distance ∞.
///
/// * `w`, `gradient`: one shape; F32, F64, BF16 or F16 on any device; computed in f64 on the CPU. Returns one number for each group
///   in their order (for entries row-major order; singular values have one for all of them).
///
/// A group with NaN or an infinity in it has distance NaN or ∞, never another number.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use l1_core::{Penalty, kernel};
///
/// let w = Tensor::new(&[2f64, 0.0, 0.0], &Device::Cpu)?;
/// let gradient = Tensor::new(&[-0.5f64, 0.25, -0.75], &Device::Cpu)?;
/// assert_eq!(kernel::distances(&w, &gradient, &Penalty::l1(0.5))?, [0.0, 0.0, 0.25]);
/// # Ok::<(), l1_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::ShapeMismatch`], [`Error::Grouping`], [`Error::UnsupportedDType`], [`Error::InvalidParameter`] for a number of the penalty
/// out of its range.
///
/// Fréchet subdifferential: Rockafellar & Wets, *Variational Analysis* (1998), ch. 8.
pub fn distances(w: &Tensor, gradient: &Tensor, penalty: &Penalty) -> Result<Vec<f64>> {
    check_dtype("w", w)?;
    check_dtype("gradient", gradient)?;
    check_penalty(penalty)?;
    if gradient.shape() != w.shape() {
        let (found, expected) = (gradient.shape().clone(), w.shape().clone());
        return Err(Error::ShapeMismatch { argument: "gradient", found, expected });
    }
    let part = Part::of(w, penalty).map_err(|expected| misfit("w", w, penalty, expected))?;
    let mut distances = Vec::new();
    part.each(&wide(w)?, &wide(gradient)?, |_, (w, v)| distances.push(part.distance(w, v).1))?;
    Ok(distances)
}

/// The smallest λ, the rest of the penalty as it is, that holds each group at 0 against a gradient, and the largest of these over the
/// groups: from there on all of the tensor is 0.
///
/// * `gradient`: ∇f with the group's own entries at 0 and all others where they are; what is not penalized (intercepts) fitted first.
///   F32, F64, BF16 or F16 on any device.
/// * `penalty`: its λ is not looked at.
///
/// With n = ‖S(v_g, e)‖ (`positive`: n = ‖(−v_g − e)₊‖):
///
/// * [`Stays::Stationary`]: `n/(c·φ'₁(0+))`; for l1, mcp and scad n/c, for log εn/c, for singular values the largest of the gradient;
///   0 where φ'(0+) = ∞, since every λ > 0 is enough.
/// * [`Stays::AfterStep`]`(t)`: the smallest λ with `prox(t'n; c·t', λ) = 0`, `t' = t/(1 + t·l2)`, to the last digit: it falls out of the
///   prox itself by bisection, which is possible since no prox grows with λ.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use l1_core::{Curve, Penalty, kernel::{self, Stays}};
///
/// let gradient = Tensor::new(&[0.25f64, -2.0], &Device::Cpu)?;
/// let found = kernel::lambda_max(&gradient, &Penalty::NONE, Stays::Stationary)?;
/// assert_eq!((found.value, found.groups), (2.0, vec![0.25, 2.0]));
///
/// let l0 = Penalty::NONE.with_curve(Curve::L0);
/// assert_eq!(kernel::lambda_max(&gradient, &l0, Stays::AfterStep(0.5))?.value, 1.0); // ½·t·n²
/// # Ok::<(), l1_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidParameter`] for a step or a number of the penalty out of its range, [`Error::Grouping`],
/// [`Error::UnsupportedDType`].
pub fn lambda_max(gradient: &Tensor, penalty: &Penalty, stays: Stays) -> Result<LambdaMax> {
    // A λ of 0 would take the groups away.
    let unit = penalty.with_lambda(1.0);
    strongest(gradient, &unit, stays, |part, v| {
        let (pull, slope) = (part.pull(v), part.slope_at_zero());
        match stays {
            Stays::Stationary if pull.is_nan() => pull,
            Stays::Stationary => pull / slope,
            Stays::AfterStep(_) if pull.is_nan() => pull,
            Stays::AfterStep(_) => smallest(|lambda| part.with_lambda(lambda).holds(pull, stays)),
        }
    })
}

/// The smallest factor x of λ, element and l2 together (a [scale](crate::Regularizer::set_scale)) that holds each group at 0, and the
/// largest of these over the groups: the root of `‖S(v, x·e)‖ = x·cφ'(0+)`, or the smallest x at which a step stays at 0, to the
/// last digit, by bisection.
///
/// Arguments and errors as in [`lambda_max`]; `penalty` with its λ. ∞ where the penalty has neither λ nor element.
///
/// # Errors
/// As [`lambda_max`].
pub fn scale_max(gradient: &Tensor, penalty: &Penalty, stays: Stays) -> Result<LambdaMax> {
    strongest(gradient, penalty, stays, |part, v| {
        if norm(v).is_nan() {
            return f64::NAN;
        }
        smallest(|scale| {
            let scaled = part.scaled(scale);
            scaled.holds(scaled.pull(v), stays)
        })
    })
}

fn strongest(
    gradient: &Tensor,
    penalty: &Penalty,
    stays: Stays,
    of_group: impl Fn(&Part, &[f64]) -> f64,
) -> Result<LambdaMax> {
    check_dtype("gradient", gradient)?;
    check_penalty(penalty)?;
    stays.check()?;
    let dims = gradient.dims();
    let part = Part::of(gradient, penalty).map_err(|expected| misfit("gradient", gradient, penalty, expected))?;
    let v = wide(gradient)?;
    let mut groups = Vec::new();
    part.each(&v, &v, |_, (_, v)| groups.push(of_group(&part, v)))?;
    let worst = groups.iter().copied().enumerate().reduce(|a, b| if is_worse(b.1, a.1) { b } else { a });
    let place = worst.map(|(group, _)| part.place(dims, group));
    Ok(LambdaMax { value: worst.map_or(0.0, |(_, value)| value), place, groups })
}

/// How many groups or singular values a tensor has under a penalty, and how many of them are 0; `None` for single entries.
pub(crate) fn groups(w: &Tensor, penalty: &Penalty) -> Result<Option<(usize, usize)>> {
    let part = Part::of(w, penalty).map_err(|expected| misfit("w", w, penalty, expected))?;
    if part.layout == Layout::Elements {
        return Ok(None);
    }
    #[cfg(any(feature = "cuda", feature = "emulated-cuda"))]
    if let (Some(gpu), Layout::Groups(groups)) = (super::cuda::Gpu::of(w), part.layout) {
        let zeros = super::cuda::zero_groups(&gpu, &w.detach().contiguous()?, groups)?;
        return Ok(Some((part.number(), zeros)));
    }
    let w = wide(w)?;
    let mut zeros = 0;
    part.each(&w, &w, |_, (w, _)| zeros += part.zeros(w))?;
    Ok(Some((part.number(), zeros)))
}

/// A penalty as the groups of one tensor feel it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    layout: Layout,
    phi: AtLambda,
    /// c.
    weight: f64,
    element: f64,
    ridge: f64,
    positive: bool,
    entries: usize,
    /// The relative spacing of numbers in the tensor's dtype: below it no singular value is told from 0.
    ulp: f64,
}

impl Part {
    /// # Errors
    /// What was expected of the penalty's groups.
    pub(crate) fn of(tensor: &Tensor, penalty: &Penalty) -> Result<Self, String> {
        let layout = penalty.layout(tensor.dims())?;
        let weight = match layout {
            Layout::Groups(groups) => penalty.group_weight(groups.size()),
            Layout::Elements | Layout::Singular { .. } => 1.0,
        };
        Ok(Self {
            layout,
            phi: penalty.on_curve(),
            weight,
            element: penalty.element(),
            ridge: penalty.l2(),
            positive: penalty.positive(),
            entries: tensor.elem_count(),
            ulp: match tensor.dtype() {
                DType::F64 => f64::EPSILON,
                DType::BF16 => 2f64.powi(-7),
                DType::F16 => 2f64.powi(-10),
                _ => f32::EPSILON.into(),
            },
        })
    }

    fn with_lambda(self, lambda: f64) -> Self {
        Self { phi: AtLambda { lambda, ..self.phi }, ..self }
    }

    fn scaled(self, scale: f64) -> Self {
        let (element, ridge) = (self.element * scale, self.ridge * scale);
        Self { element, ridge, ..self.with_lambda(self.phi.lambda * scale) }
    }

    /// Entries as groups of size 1.
    fn groups(&self) -> Groups {
        match self.layout {
            Layout::Groups(groups) => groups,
            Layout::Elements => Groups { slabs: 1, rows: 1, count: self.entries, run: 1 },
            Layout::Singular { .. } => Groups { slabs: 1, rows: 1, count: 1, run: self.entries },
        }
    }

    /// How many groups there are, or singular values.
    pub(crate) fn number(&self) -> usize {
        match self.layout {
            Layout::Singular { rows, columns } => rows.min(columns),
            Layout::Elements | Layout::Groups(_) => self.groups().number(),
        }
    }

    /// 1 if this group is 0, else 0; for a matrix, how many of its singular values are 0.
    pub(crate) fn zeros(&self, w: &[f64]) -> usize {
        match self.layout {
            Layout::Singular { rows, columns } => {
                singular::rank(w, rows, columns, self.ulp).map_or(0, |rank| self.number() - rank)
            }
            Layout::Elements | Layout::Groups(_) => usize::from(w.iter().all(|w| *w == 0.0)),
        }
    }

    pub(crate) fn place(&self, dims: &[usize], group: usize) -> Place {
        Place::of_group(dims, self.groups(), group)
    }

    /// The entries of each group in both slices, in the order of the groups.
    pub(crate) fn each(&self, w: &[f64], v: &[f64], mut work: impl FnMut(usize, (&[f64], &[f64]))) -> Result<()> {
        let groups = self.groups();
        let (mut of_w, mut of_v) = (Vec::new(), Vec::new());
        for group in 0..groups.number() {
            of_w.clear();
            of_v.clear();
            for start in groups.runs(group) {
                let run = start..start + groups.run;
                let (Some(w), Some(v)) = (w.get(run.clone()), v.get(run)) else {
                    return Err(
                        candle_core::Error::Msg("l1: a tensor has fewer entries than its shape".to_owned()).into()
                    );
                };
                of_w.extend_from_slice(w);
                of_v.extend_from_slice(v);
            }
            work(group, (&of_w, &of_v));
        }
        Ok(())
    }

    /// cφ'(0+), which may be ∞.
    pub(crate) fn slope_at_zero(&self) -> f64 {
        if self.phi.lambda == 0.0 { 0.0 } else { self.weight * self.phi.slope_at_zero() }
    }

    /// cφ'(r) for r > 0.
    fn slope(&self, r: f64) -> f64 {
        if self.phi.lambda == 0.0 { 0.0 } else { self.weight * self.phi.slope(r) }
    }

    /// By how much a zero pulls at the curve, once `element` and the sign have held it as far as they can.
    fn outside(&self, v: f64) -> f64 {
        positive_part(if self.positive { -v - self.element } else { v.abs() - self.element })
    }

    /// ‖S(v, e)‖, or ‖(−v − e)₊‖ with a sign constraint; for singular values the largest of v.
    pub(crate) fn pull(&self, v: &[f64]) -> f64 {
        if let Layout::Singular { rows, columns } = self.layout {
            return singular::spectral_norm(v, rows, columns);
        }
        norm_of(v.iter().map(|v| self.outside(*v)))
    }

    /// The pull at a group that is 0, none at another; for a matrix, that at each singular value which is 0.
    pub(crate) fn pulls_at_zeros(&self, w: &[f64], v: &[f64]) -> Vec<f64> {
        match self.layout {
            Layout::Singular { rows, columns } => {
                singular::pulls(w, v, rows, columns, self.ulp).unwrap_or_else(|_| vec![f64::NAN])
            }
            _ if w.iter().any(|w| *w != 0.0) => Vec::new(),
            Layout::Elements | Layout::Groups(_) => vec![self.pull(v)],
        }
    }

    /// ‖w_g‖ and the distance of one group.
    pub(crate) fn distance(&self, w: &[f64], v: &[f64]) -> (f64, f64) {
        let r = norm(w);
        if !r.is_finite() {
            return (r, f64::NAN);
        }
        if let Layout::Singular { rows, columns } = self.layout {
            return (r, singular::distance(w, v, rows, columns, self.phi, self.ridge, self.ulp));
        }
        if self.positive && w.iter().any(|w| *w < 0.0) {
            return (r, f64::INFINITY);
        }
        if r == 0.0 {
            return (r, positive_part(self.pull(v) - self.slope_at_zero()));
        }
        let along = self.slope(r);
        let left = |(w, v): (&f64, &f64)| {
            if *w == 0.0 { self.outside(*v) } else { v + along * (w / r) + self.element.copysign(*w) + self.ridge * w }
        };
        (r, norm_of(w.iter().zip(v).map(left)))
    }

    /// Whether a group of zeros stays at 0 under this pull.
    pub(crate) fn holds(&self, pull: f64, stays: Stays) -> bool {
        match stays {
            _ if pull.is_nan() => false,
            Stays::Stationary => pull <= self.slope_at_zero(),
            Stays::AfterStep(step) => {
                let step = step / (1.0 + step * self.ridge);
                pull == 0.0 || self.phi.lambda > 0.0 && self.phi.prox(step * pull, self.weight * step) == 0.0
            }
        }
    }

    /// The largest pull that holds a group at 0 in a step of this length.
    pub(crate) fn held(&self, step: f64) -> f64 {
        let step = step / (1.0 + step * self.ridge);
        if self.phi.lambda == 0.0 { 0.0 } else { self.phi.threshold(self.weight * step) / step }
    }

    /// What a distance is compared with, for a group of norm r: the slope with which Ω pulls it towards 0. None for a ridge or a
    /// sign constraint alone.
    pub(crate) fn strength(&self, r: f64, step: f64) -> Option<f64> {
        let at_zero = self.slope_at_zero();
        let slopes = if at_zero.is_finite() {
            [at_zero, at_zero]
        } else {
            // ℓ0 has slope 0, and holds zeros all the same.
            [if r > 0.0 { self.slope(r) } else { 0.0 }, self.held(step)]
        };
        slopes.into_iter().map(|slope| slope + self.element).find(|strength| *strength > 0.0)
    }
}

/// Whether one number is worse than another: NaN is the worst of all.
pub(crate) fn is_worse(a: f64, than: f64) -> bool {
    a > than || a.is_nan() && !than.is_nan()
}

/// max(x, 0), but NaN for NaN.
fn positive_part(x: f64) -> f64 {
    if x <= 0.0 { 0.0 } else { x }
}

/// ‖x‖₂ without overflow and underflow on the way; NaN or ∞ if an entry is.
pub(crate) fn norm(x: &[f64]) -> f64 {
    norm_of(x.iter().copied())
}

fn norm_of(x: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let largest = x.clone().map(f64::abs).fold(0.0, |largest, x| if is_worse(x, largest) { x } else { largest });
    if largest == 0.0 || !largest.is_finite() || x.len() == 1 {
        return largest;
    }
    let unit = if (1e-140..1e140).contains(&largest) { 1.0 } else { largest };
    // Sums of sums, which round less than one long sum.
    let (mut sum, mut partial) = (0.0, 0.0);
    for (index, x) in x.enumerate() {
        partial += (x / unit) * (x / unit);
        if index % 256 == 255 {
            sum += partial;
            partial = 0.0;
        }
    }
    unit * (sum + partial).sqrt()
}

/// The smallest x ≥ 0 from which on something holds, to the last digit; ∞ where it never does.
fn smallest(holds: impl Fn(f64) -> bool) -> f64 {
    if holds(0.0) {
        return 0.0;
    }
    if !holds(f64::MAX) {
        return f64::INFINITY;
    }
    // The bits of positive numbers are in the order of the numbers.
    let (mut low, mut high) = (0, f64::MAX.to_bits());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(f64::from_bits(middle)) { high = middle } else { low = middle }
    }
    f64::from_bits(high)
}

/// The entries in row-major order.
pub(crate) fn wide(tensor: &Tensor) -> Result<Vec<f64>> {
    // To the CPU first: Metal has no f64.
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn check_penalty(penalty: &Penalty) -> Result<()> {
    match penalty.invalid() {
        None => Ok(()),
        Some((name, value, expected)) => Err(Error::InvalidParameter { name, value, expected }),
    }
}

fn misfit(argument: &str, tensor: &Tensor, penalty: &Penalty, expected: String) -> Error {
    let (path, shape) = (ParamPath::from(argument), tensor.shape().clone());
    Error::Grouping { path, group: penalty.group(), shape, expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Curve, Grouping};

    const CURVES: [Curve; 7] =
        [Curve::L1, Curve::Mcp(3.0), Curve::Scad(3.7), Curve::Log(0.5), Curve::Half, Curve::TwoThirds, Curve::L0];

    fn row(values: &[f64]) -> Result<Tensor> {
        Ok(Tensor::new(values, &Device::Cpu)?.reshape((1, values.len()))?)
    }

    /// The prox of one group: entries first, then the ridge, then the curve of the norm.
    fn prox(part: &Part, z: &[f64], step: f64) -> Vec<f64> {
        let soft = |z: f64| {
            let size = if part.positive { z } else { z.abs() };
            (size - step * part.element).max(0.0).copysign(z)
        };
        let ridge = 1.0 + step * part.ridge;
        let a: Vec<_> = z.iter().map(|z| soft(*z) / ridge).collect();
        let size = norm(&a);
        let shrunk = part.phi.prox(size, part.weight * step / ridge);
        a.into_iter().map(|a| if shrunk == 0.0 { 0.0 } else { a * (shrunk / size) }).collect()
    }

    /// Penalties of every kind, each with a step; steps are longer and shorter than the knees of mcp and scad.
    fn penalties() -> impl Iterator<Item = (Penalty, f64)> {
        let steps = [0.01, 0.3, 3.5, 6.0, 50.0];
        let groups = [Grouping::Element, Grouping::Whole];
        let kinds = CURVES.into_iter().flat_map(move |curve| groups.map(|group| (curve, group)));
        let others = [(0.0, 0.0, false), (0.2, 0.0, false), (0.0, 0.7, true), (0.2, 0.7, true)];
        kinds.flat_map(move |(curve, group)| {
            steps.into_iter().flat_map(move |step| {
                others.map(|(element, l2, positive)| {
                    let penalty = Penalty::l1(0.4).with_curve(curve).with_group(group);
                    (penalty.with_element(element).with_l2(l2).with_positive(positive), step)
                })
            })
        })
    }

    #[test]
    fn fixed_points_of_the_prox_are_stationary() -> Result<()> {
        let mut nonzero = 0;
        for (penalty, step) in penalties() {
            for size in [0.03, 0.8, 5.0, 70.0] {
                let z = [1.0, 0.2, 0.35].map(|z| size * z);
                let part = Part::of(&row(&z)?, &penalty).unwrap_or_else(|expected| unreachable!("{expected}"));
                // w = prox(w − t∇f) at ∇f = (w − z)/t.
                let w: Vec<_> = match penalty.group() {
                    Grouping::Element => z.iter().flat_map(|z| prox(&part, &[*z], step)).collect(),
                    _ => prox(&part, &z, step),
                };
                nonzero += usize::from(w.iter().any(|w| *w != 0.0));
                let gradient: Vec<_> = w.iter().zip(z).map(|(w, z)| (w - z) / step).collect();
                for distance in distances(&row(&w)?, &row(&gradient)?, &penalty)? {
                    assert!(distance <= 1e-14 * (1.0 + size / step), "{penalty}, step {step}, {w:?}: {distance:e}");
                }
            }
        }
        assert!(nonzero > 300, "{nonzero}");
        Ok(())
    }

    #[test]
    fn from_lambda_max_on_a_step_from_0_stays_at_0_to_the_last_digit() -> Result<()> {
        let gradient = [-0.5, 1.3, -0.1];
        for (penalty, step) in penalties().filter(|(penalty, _)| penalty.group() == Grouping::Whole) {
            let found = lambda_max(&row(&gradient)?, &penalty, Stays::AfterStep(step))?.value;
            let after = |lambda: f64| -> Result<Vec<f64>> {
                let part = Part::of(&row(&gradient)?, &penalty.with_lambda(lambda));
                let part = part.unwrap_or_else(|expected| unreachable!("{expected}"));
                Ok(prox(&part, &gradient.map(|v| -step * v), step))
            };
            // Here the step comes before `element` is taken off, there after it.
            assert_eq!(after(found * (1.0 + 1e-13))?, [0.0; 3], "{penalty} at {found}, step {step}");
            assert_ne!(after(found * (1.0 - 1e-13))?, [0.0; 3], "{penalty} at {found}, step {step}");
        }
        Ok(())
    }

    #[test]
    fn norms_neither_overflow_nor_lose_what_is_small() {
        assert_eq!(norm(&[3e300, 4e300]), 5e300);
        assert_eq!(norm(&[3.0, 4.0, f64::INFINITY]), f64::INFINITY);
        assert!(norm(&[f64::INFINITY, f64::NAN]).is_nan() && norm(&[f64::NAN, 1.0]).is_nan());
        assert!((norm(&[3e-310, 4e-310]) / 5e-310 - 1.0).abs() < 1e-10);
        assert_eq!([norm(&[]), norm(&[0.0, -0.0]), norm(&[-1e-320])], [0.0, 0.0, 1e-320]);
        // A long sum of equal squares rounds up at each addition.
        assert!((norm(&vec![0.1; 1_000_000]) / 100.0 - 1.0).abs() < 1e-13);
    }

    #[test]
    fn the_smallest_number_is_found_to_the_last_digit() {
        for bound in [0.0, 5e-324, 1e-300, 0.1, 3.0, f64::MAX] {
            assert_eq!(smallest(|x| x >= bound), bound);
        }
        assert_eq!(smallest(|_| false), f64::INFINITY);
    }
}
