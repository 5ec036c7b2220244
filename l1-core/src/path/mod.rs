//! Many λ in a row, each fit beginning where the last one ended.

pub(crate) mod linear;
