//! Numbers as text that reads back to the same bits, for `#[serde(with = "crate::exact")]`.
//!
//! JSON has no NaN and no ∞, and its readers may round the last bit; Rust's own shortest text of a number parses back to it.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

use crate::error::readable;

pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&readable(*value))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| D::Error::custom(format!("`{text}`: {error}")))
}
