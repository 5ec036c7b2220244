//! What the example programs share: their data, their options, seeded initial values, and a few measures.

pub mod data;
pub mod device;
pub mod measure;
pub mod picture;
pub mod run;
pub mod start;
