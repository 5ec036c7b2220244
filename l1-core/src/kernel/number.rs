//! The number types of tensors and of arithmetic: half types are stored in 16 bits and computed in f32.

use candle_core::{CpuStorage, DType, Layout};
use half::{bf16, f16};
use num_traits::Float;

use crate::{Error, Result};

/// A type that arithmetic is done in: f32 or f64.
pub(crate) trait Real: Float + Element<Real = Self> {
    /// The nearest number to an f64.
    fn of(value: f64) -> Self;
    /// The same number as an f64.
    fn wide(self) -> f64;
}

/// A type that tensors store.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// The type its arithmetic is done in.
    type Real: Real;
    fn load(self) -> Self::Real;
    /// Rounds once.
    fn store(value: Self::Real) -> Self;
    fn slice(storage: &CpuStorage) -> Option<&[Self]>;
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Real for f32 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self.into()
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}

macro_rules! element {
    ($type:ty, $real:ty, $variant:ident, $load:expr, $store:expr) => {
        impl Element for $type {
            type Real = $real;
            #[inline(always)]
            fn load(self) -> $real {
                $load(self)
            }
            #[inline(always)]
            fn store(value: $real) -> Self {
                $store(value)
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

element!(f32, f32, F32, |x| x, |x| x);
element!(f64, f64, F64, |x| x, |x| x);
element!(bf16, f32, BF16, bf16::to_f32, bf16::from_f32);
element!(f16, f32, F16, f16::to_f32, f16::from_f32);

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

fn wrong_dtype() -> Error {
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
