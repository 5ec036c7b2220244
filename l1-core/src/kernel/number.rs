//! The number types of tensors and of arithmetic: half types are stored in 16 bits and computed in f32.

use std::cell::RefCell;

use candle_core::{CpuStorage, DType, Layout};
use half::{bf16, f16, slice::HalfFloatSliceExt};

use super::simd;
use crate::{Error, Result, scalar::Scalar};

/// A type that arithmetic is done in: f32 or f64.
pub(crate) trait Real: Scalar + Element<Real = Self> {
    /// The largest number whose square, and sums of squares, are numbers: 1e18 and 1e153.
    const LARGEST_WITH_SQUARE: Self;
    /// The nearest number that has a square. Adaptive rates divide by the root of squares: what is larger still would give the
    /// same step, if it were a number.
    #[inline(always)]
    fn with_square(self) -> Self {
        self.min(Self::LARGEST_WITH_SQUARE).max(-Self::LARGEST_WITH_SQUARE)
    }
    /// Scratch numbers that this thread has kept, whatever they are; none if they are in use.
    fn take_scratch() -> Vec<Self>;
    /// Keeps them for the next time.
    fn keep_scratch(scratch: Vec<Self>);
}

/// A type that tensors store.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// The type its arithmetic is done in.
    type Real: Real;
    /// Whether that is another type.
    const IS_NARROW: bool;
    /// The relative spacing of its numbers.
    const EPSILON: f64;
    fn load(self) -> Self::Real;
    /// Rounds once.
    fn store(value: Self::Real) -> Self;
    /// Whether it is NaN or infinite.
    fn is_non_finite(self) -> bool;
    /// [`load`](Self::load) for slices of one length.
    fn load_all(from: &[Self], to: &mut [Self::Real]);
    /// [`store`](Self::store) for slices of one length.
    fn store_all(from: &[Self::Real], to: &mut [Self]);
    /// The same numbers, where they need no conversion.
    fn as_real(values: &[Self]) -> Option<&[Self::Real]>;
    fn slice(storage: &CpuStorage) -> Option<&[Self]>;
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

/// More scratch numbers than these are given back at once.
const MOST_KEPT: usize = 1 << 20;

macro_rules! real {
    ($type:ty, largest_with_square: $largest:literal, scratch: $scratch:ident) => {
        thread_local! {
            static $scratch: RefCell<Vec<Vec<$type>>> = const { RefCell::new(Vec::new()) };
        }

        impl Real for $type {
            const LARGEST_WITH_SQUARE: Self = $largest;

            fn take_scratch() -> Vec<Self> {
                $scratch.with_borrow_mut(Vec::pop).unwrap_or_default()
            }

            fn keep_scratch(scratch: Vec<Self>) {
                if scratch.capacity() <= MOST_KEPT {
                    $scratch.with_borrow_mut(|kept| kept.push(scratch));
                }
            }
        }
    };
}

real!(f32, largest_with_square: 1e18, scratch: SCRATCH_F32);
real!(f64, largest_with_square: 1e153, scratch: SCRATCH_F64);

macro_rules! element {
    ($type:ty, $real:ty, $variant:ident, narrow: $narrow:literal, spacing: $spacing:expr, $load:expr, $store:expr, $load_all:expr, $store_all:expr, $as_real:expr) => {
        impl Element for $type {
            type Real = $real;
            const IS_NARROW: bool = $narrow;
            const EPSILON: f64 = $spacing;
            #[inline(always)]
            fn load(self) -> $real {
                $load(self)
            }
            #[inline(always)]
            fn store(value: $real) -> Self {
                $store(value)
            }
            #[inline(always)]
            fn is_non_finite(self) -> bool {
                // All bits of the exponent are set.
                let exponent = <$type>::INFINITY.to_bits();
                self.to_bits() & exponent == exponent
            }
            #[inline(always)]
            fn load_all(from: &[Self], to: &mut [$real]) {
                $load_all(from, to);
            }
            #[inline(always)]
            fn store_all(from: &[$real], to: &mut [Self]) {
                $store_all(from, to);
            }
            #[inline(always)]
            fn as_real(values: &[Self]) -> Option<&[$real]> {
                $as_real(values)
            }
            fn slice(storage: &CpuStorage) -> Option<&[Self]> {
                match storage {
                    CpuStorage::$variant(values) => Some(values),
                    _ => None,
                }
            }
            fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(values) => Some(values),
                    _ => None,
                }
            }
        }
    };
}

macro_rules! wide {
    ($type:ty, $variant:ident) => {
        element!(
            $type, $type, $variant, narrow: false, spacing: <$type>::EPSILON as f64, |x| x, |x| x,
            |from: &[$type], to: &mut [$type]| to.copy_from_slice(from),
            |from: &[$type], to: &mut [$type]| to.copy_from_slice(from), Some
        );
    };
}

wide!(f32, F32);
wide!(f64, F64);
// A few shifts, which every instruction set has vectors for.
element!(
    bf16, f32, BF16, narrow: true, spacing: bf16::EPSILON.to_f64_const(), bf16::to_f32, bf16::from_f32,
    |from, to| simd::run(Convert(from, to, bf16::to_f32)),
    |from, to| simd::run(Convert(from, to, bf16::from_f32)), |_| None
);
// The crate asks for the processor's own conversion once a slice, and not once a number.
element!(
    f16, f32, F16, narrow: true, spacing: f16::EPSILON.to_f64_const(), f16::to_f32, f16::from_f32,
    |from: &[f16], to: &mut [f32]| from.convert_to_f32_slice(to),
    |from: &[f32], to: &mut [f16]| to.convert_from_f32_slice(from), |_| None
);

struct Convert<'a, A, B, F>(&'a [A], &'a mut [B], F);

impl<A: Copy, B, F: Fn(A) -> B> simd::Loop for Convert<'_, A, B, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self(from, to, convert) = self;
        from.iter().zip(to).for_each(|(from, to)| *to = convert(*from));
    }
}

/// The dtype that arithmetic on `dtype` is done in, and moments are kept in.
pub(crate) fn wide_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Whether l1 has arithmetic for a dtype.
pub(crate) fn is_supported(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64 | DType::BF16 | DType::F16)
}

pub(crate) fn unsupported(argument: &str, dtype: DType) -> Error {
    Error::UnsupportedDType { argument: argument.to_owned(), found: dtype }
}

/// The part of a storage that a contiguous layout covers.
pub(crate) fn slice<'s, T: Element>(storage: &'s CpuStorage, layout: &Layout) -> Result<&'s [T]> {
    let values = T::slice(storage).ok_or_else(wrong_dtype)?;
    let (start, end) = layout.contiguous_offsets().ok_or_else(strided)?;
    Ok(&values[start..end])
}

/// [`slice`], mutable.
pub(crate) fn slice_mut<'s, T: Element>(storage: &'s mut CpuStorage, layout: &Layout) -> Result<&'s mut [T]> {
    let values = T::slice_mut(storage).ok_or_else(wrong_dtype)?;
    let (start, end) = layout.contiguous_offsets().ok_or_else(strided)?;
    Ok(&mut values[start..end])
}

pub(super) fn wrong_dtype() -> Error {
    candle_core::Error::Msg("l1: operands of one step have different dtypes".to_owned()).into()
}

fn strided() -> Error {
    candle_core::Error::Msg("l1: an operand is not contiguous".to_owned()).into()
}

/// Calls a function that is generic over the element type for the type of a dtype.
macro_rules! for_dtype {
    ($argument:expr, $dtype:expr, $function:ident($($value:expr),* $(,)?)) => {
        match $dtype {
            candle_core::DType::F32 => $function::<f32>($($value),*),
            candle_core::DType::F64 => $function::<f64>($($value),*),
            candle_core::DType::BF16 => $function::<half::bf16>($($value),*),
            candle_core::DType::F16 => $function::<half::f16>($($value),*),
            dtype => Err($crate::kernel::number::unsupported($argument, dtype)),
        }
    };
}
pub(crate) use for_dtype;
