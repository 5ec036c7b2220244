//! Structures as the bytes that they are.

#![allow(unsafe_code)]

use super::table::Plain;

/// The bytes of some values.
pub(super) fn of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: `Plain` has no padding, so that every byte is initialized; any address is aligned for bytes.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The same, to be written.
pub(super) fn of_mut<T: Plain>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: as in `of`, and all bits are valid for a `Plain` value.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}
