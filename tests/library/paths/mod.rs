//! Many λ in a row.

mod linear;
