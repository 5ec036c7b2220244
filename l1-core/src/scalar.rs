//! The numbers that formulas are written in: f32 and f64, whatever a tensor stores.

use num_traits::Float;

/// Whether a number is above another, or one of them is NaN: what is not known to be small counts as large.
pub(crate) fn exceeds(a: f64, b: f64) -> bool {
    a > b || a.is_nan() || b.is_nan()
}

/// A type that arithmetic is done in.
///
/// Its roots are made of multiplications, without a branch and without a call, so that loops over them become vectors.
pub(crate) trait Scalar: Float + Default + Send + Sync + 'static {
    /// Beyond every number that a penalty moves by as much as a rounding.
    const VAST: Self;

    /// As many steps of Newton's method as lead from a relative error of 1e-4 down to rounding. (Written out: a loop would keep the one
    /// around it from becoming vectors.)
    fn newton(start: Self, step: impl Fn(Self) -> Self) -> Self;
    /// The nearest number to an f64.
    fn of(value: f64) -> Self;
    /// The same number as an f64.
    fn wide(self) -> f64;
    /// 1/√x within 4 % for a normal x > 0, anything for another.
    fn near_inverse_sqrt(self) -> Self;
    /// 1/∛x within 4 % for a normal x > 0, anything for another.
    fn near_inverse_cbrt(self) -> Self;

    /// 1/√x within a few roundings for a normal x > 0, anything for another.
    #[inline(always)]
    fn inverse_sqrt(self) -> Self {
        let (half, three_halves) = (Self::of(0.5) * self, Self::of(1.5));
        let step = |root: Self| root * (three_halves - half * root * root);
        Self::newton(step(step(self.near_inverse_sqrt())), step)
    }

    /// 1/∛x likewise.
    #[inline(always)]
    fn inverse_cbrt(self) -> Self {
        let (third, four_thirds) = (Self::of(1.0 / 3.0) * self, Self::of(4.0 / 3.0));
        let step = |root: Self| root * (four_thirds - third * root * root * root);
        Self::newton(step(step(self.near_inverse_cbrt())), step)
    }
}

impl Scalar for f32 {
    const VAST: Self = 1e35;

    #[inline(always)]
    fn newton(start: Self, step: impl Fn(Self) -> Self) -> Self {
        step(start)
    }
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self.into()
    }
    // The bits of a float are nearly a line over its logarithm (Blinn 1997).
    #[inline(always)]
    fn near_inverse_sqrt(self) -> Self {
        f32::from_bits(0x5f37_59df_u32.wrapping_sub(self.to_bits() / 2))
    }
    #[inline(always)]
    fn near_inverse_cbrt(self) -> Self {
        f32::from_bits(0x54a2_1d2a_u32.wrapping_sub(self.to_bits() / 3))
    }
}

impl Scalar for f64 {
    const VAST: Self = 1e300;

    #[inline(always)]
    fn newton(start: Self, step: impl Fn(Self) -> Self) -> Self {
        step(step(step(start)))
    }
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
    #[inline(always)]
    fn near_inverse_sqrt(self) -> Self {
        f64::from_bits(0x5fe6_eb50_c7b5_37a9_u64.wrapping_sub(self.to_bits() / 2))
    }
    #[inline(always)]
    fn near_inverse_cbrt(self) -> Self {
        f64::from_bits(0x553e_f0ff_289d_d796_u64.wrapping_sub(self.to_bits() / 3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest relative error over all sizes of numbers.
    fn worst<R: Scalar>(range: std::ops::Range<i32>, root: impl Fn(R) -> R, exact: impl Fn(f64) -> f64) -> f64 {
        let numbers =
            range.flat_map(|exponent| (0..97).map(move |k| (1.0 + f64::from(k) / 97.0) * 2f64.powi(exponent)));
        let errors = numbers.map(|x| (root(R::of(x)).wide() / exact(R::of(x).wide()) - 1.0).abs());
        errors.fold(0.0, f64::max)
    }

    #[test]
    fn roots_are_right_up_to_a_few_roundings() {
        let (f32s, f64s) = (-126..127, -1022..1023);
        assert!(worst::<f32>(f32s.clone(), Scalar::inverse_sqrt, |x| x.sqrt().recip()) < 4e-7);
        assert!(worst::<f32>(f32s, Scalar::inverse_cbrt, |x| x.cbrt().recip()) < 4e-7);
        assert!(worst::<f64>(f64s.clone(), Scalar::inverse_sqrt, |x| x.sqrt().recip()) < 8e-16);
        assert!(worst::<f64>(f64s, Scalar::inverse_cbrt, |x| x.cbrt().recip()) < 8e-16);
    }
}
