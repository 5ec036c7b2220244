//! Pictures of results, as SVG; feature `plot`.
//!
//! Each is a pure function from a result to the text of an SVG file, the same bytes on every machine. Colours are those of Okabe & Ito
//! (2008), which colour-blind readers can tell apart; names stand beside the ends of their lines.
//!
//! | picture | of |
//! |---|---|
//! | [`coefficient_path`] | one parameter along a [`PathRun`](crate::PathRun) |
//! | [`cross_validation`] | the scores of a [`CrossValidated`](crate::CrossValidated), and both choices |
//! | [`stability`] | how often features are selected: [`StabilitySelected`](crate::StabilitySelected) |
//! | [`training`] | loss, penalty and zeros along a [`History`](crate::History) |
//! | [`weight_map`] | the weights of a layer that sees images |
//!
//! ```
//! # use candle_core::{DType, Device, Tensor};
//! use l1_core::plot::{WeightMapOptions, weight_map};
//!
//! // 12 neurons that see images of 4 × 4 pixels.
//! let weight = Tensor::arange(0f32, 192.0, &Device::Cpu)?.sin()?.reshape((12, 16))?;
//! let svg = weight_map(&weight, (4, 4), &WeightMapOptions::default())?;
//! std::fs::write("target/weights.svg", svg)?;
//! # Ok::<(), candle_core::Error>(())
//! ```

mod axis;
mod coefficients;
mod panel;
mod scales;
mod scores;
mod selection;
mod sheet;
mod training;
mod weights;

pub use coefficients::{CoefficientPathOptions, coefficient_path};
pub use scores::{CrossValidationOptions, cross_validation};
pub use selection::{StabilityOptions, stability};
pub use training::{TrainingOptions, training};
pub use weights::{Tiles, WeightMapOptions, weight_map};

/// There is nothing to draw.
fn nothing(picture: &'static str, why: impl Into<String>) -> crate::Error {
    crate::Error::Picture { picture, why: why.into() }
}
