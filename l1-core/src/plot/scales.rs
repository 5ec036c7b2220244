//! The axis of λ: strong at the left, weak at the right, with a place for 0.

use super::axis::Axis;

/// Logarithmic where a scale is above 0; else a row of points.
pub(super) fn axis(scales: &[f64]) -> Axis {
    if scales.iter().any(|scale| *scale > 0.0 && scale.is_finite()) {
        Axis::logarithmic(scales.iter().copied())
    } else {
        Axis::linear(scales.iter().copied())
    }
}

/// `name` with what the axis is.
pub(super) fn named(name: &str, axis: &Axis) -> String {
    let kind = if axis.is_log() { "logarithmic, " } else { "" };
    format!("{name} ({kind}strong → weak)")
}
