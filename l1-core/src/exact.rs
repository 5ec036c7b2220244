//! Numbers of a file: as text that reads back to the same bits, for `#[serde(with = "crate::exact")]`, and never one that no training
//! has.
//!
//! JSON has no NaN and no ∞, and its readers may round the last bit; Rust's own shortest text of a number parses back to it.

use std::fmt::Display;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

use crate::{
    error::readable,
    penalty::{STRENGTH, is_strength},
};

pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&readable(*value))
}

/// Reads a number that is finite and ≥ 0, as all are that are kept in files: rates, scales, sums of weights and strengths.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let value = text.parse().map_err(|error| D::Error::custom(format_args!("`{text}`: {error}")))?;
    if is_strength(value) { Ok(value) } else { Err(D::Error::custom(format_args!("`{text}` (expected {STRENGTH})"))) }
}

/// Reads how often something has happened: ≥ 0, for `#[serde(deserialize_with = "crate::exact::count")]`.
pub(crate) fn count<'de, D, N>(deserializer: D) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: Deserialize<'de> + PartialOrd + Default + Display,
{
    let value = N::deserialize(deserializer)?;
    if value >= N::default() { Ok(value) } else { Err(D::Error::custom(format_args!("{value} (expected ≥ 0)"))) }
}
