//! Regularization for [candle](https://github.com/huggingface/candle) models: say field by field how strongly, and get exact
//! zeros.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use candle_nn::{Linear, Module, Optimizer, VarBuilder, VarMap, linear, loss};
//! use l1_core::{ParamsProxAdamW, ProxAdamW, Regularized};
//!
//! #[derive(Regularized)]
//! struct Net {
//!     #[l1(lambda = 0.02)]
//!     fc1: Linear,
//!     #[l1(lambda = 0.01, l2 = 0.001)]
//!     fc2: Linear,
//!     #[l1(skip = "three weights")]
//!     head: Linear,
//! }
//!
//! # fn main() -> candle_core::Result<()> {
//! let varmap = VarMap::new();
//! let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
//! let net = Net {
//!     fc1: linear(8, 16, vb.pp("fc1"))?,
//!     fc2: linear(16, 3, vb.pp("fc2"))?,
//!     head: linear(3, 1, vb.pp("head"))?,
//! };
//!
//! let params = ParamsProxAdamW { lr: 0.01, ..ParamsProxAdamW::new(net.regularizer()?) };
//! let mut opt = ProxAdamW::new(varmap.all_vars(), params)?;
//! # // candle's own initial values differ from run to run.
//! # for (name, var) in varmap.data().lock().unwrap().iter() {
//! #     let waves = (Tensor::arange(0f32, var.elem_count() as f32, &Device::Cpu)? * (2.0 + name.len() as f64 / 10.0))?;
//! #     var.set(&(waves.sin()? * 0.3)?.reshape(var.shape())?)?;
//! # }
//! let x = (Tensor::arange(0f32, 256.0, &Device::Cpu)? * 0.7)?.sin()?.reshape((32, 8))?;
//! let y = x.narrow(1, 0, 1)?; // only the first input matters
//! for _ in 0..200 {
//!     let hidden = net.fc2.forward(&net.fc1.forward(&x)?.relu()?)?;
//!     opt.backward_step(&loss::mse(&net.head.forward(&hidden)?, &y)?)?;
//! }
//! let report = opt.regularizer().report()?;
//! println!("{report}");
//! assert!(report.totals.penalized_zeros > 100);
//! # Ok(()) }
//! ```
//!
//! * **In the loss**: `(loss + net.penalty()?)?`, with any optimizer. Simple, but weights only come near zero.
//! * **Proximal**: [`ProxSgd`], [`ProxAdamW`], [`FtrlProximal`], [`Fista`], [`Proximal`]. Exact zeros; no penalty in the loss.
//!
//! # Where to find things
//!
//! | | |
//! |---|---|
//! | declare | [`Regularized`] and its derive, [`Rule`], [`Penalty`], [`Curve`], [`Grouping`]; [`Traced`] for layers that hide their tensors |
//! | declare by name | [`Regularizer::builder`]: [`RegularizerBuilder`] |
//! | was anything left out? | [`Regularizer::coverage`]: [`Coverage`] |
//! | what came of it | [`Regularizer`], [`Param`], [`Role`], [`Decision`], [`Report`] |
//! | before training | [`Regularizer::check_gradients`]: does the loss reach every penalized parameter? |
//! | train | [`optim`]: [`ProxSgd`], [`ProxAdamW`], [`FtrlProximal`], [`Fista`], [`Proximal`], [`clip_grad_norm`], [`clip_grad_value`] |
//! | certify | [`Regularizer::stationarity`], [`Stepper::stationarity`]: [`Stationarity`]; [`MeanGradients`] of minibatches |
//! | how far from the minimum | [`Regularizer::duality_gap`], [`LinearProblem`], [`Gap`] |
//! | how it went | [`History`]: zeros, deaths and revivals of groups, what moved the weights, weights that hop around 0 |
//! | see it | `plot` (feature `plot`): coefficient paths, cross-validation, stability, training, weight maps |
//! | choose λ | [`Regularizer::lambda_max`]; [`Path`], [`PathRun`]; [`CrossValidation`]; [`StabilitySelection`] |
//! | λ for a number of zeros | [`Budget`]: [`BudgetReached`], [`Controller`] |
//! | λ that changes while training | [`Schedules`], [`Schedule`], [`Phases`]; [`Regularizer::freeze_support`] |
//! | a whole path of one `Linear` | [`Path::run_linear`], [`LinearPath`] |
//! | stop and go on | [`Checkpoint`] |
//! | the mathematics | [`kernel`]: value, subgradient, prox, distance, λ_max |
//! | what can go wrong | [`Error`]; `tracing` warnings of [penalties that rounding takes back](ProxSgd#half-types) |
//!
//! # Features
//!
//! `derive` (on by default): the macro. `plot`: pictures of results. `progress`: bars on stderr for
//! [`Path::run`], [`CrossValidation`] and [`StabilitySelection`], where it is a terminal; the outermost alone is drawn, and a
//! [`LinearPath`], which is solved in a moment, has none. `cuda`: NVIDIA's GPUs, by kernels of l1's own and candle's.
//! `metal`, `mkl`, `accelerate`: candle's, passed on. (`emulated-cuda` is for l1's own tests.)

mod budget;
mod by_name;
mod certificate;
mod checkpoint;
mod containers;
mod coverage;
mod cross_validation;
mod duality;
mod error;
mod exact;
mod explain;
mod gradient;
mod gradient_check;
mod guard;
mod history;
pub mod kernel;
mod lambda_max;
mod layers;
mod lent;
mod located;
mod mark;
mod missing;
mod nearest;
mod on_missing_gradient;
pub mod optim;
mod parallel;
mod param;
mod path;
mod penalty;
#[cfg(feature = "plot")]
pub mod plot;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod private;
mod progress;
mod regularized;
mod regularized_grads;
mod regularizer;
mod regularizer_builder;
mod report;
mod resolve;
mod roles_by_name;
mod rule;
mod sampling;
mod scalar;
mod scales;
mod schedule;
mod stability;
mod support;
mod traced;
mod variables;
mod visitor;

pub use budget::{Budget, BudgetNeighbour, BudgetReached, Controller, ParamsOnline};
pub use certificate::{
    DataGradients, Distance, MeanGradients, ParamsStationarity, Stationarity, StationarityRow, ZeroTest,
};
pub use checkpoint::{Checkpoint, Declarations};
pub use coverage::{Coverage, CoverageRow, Status, Strangeness, Stranger};
pub use cross_validation::{CrossValidated, CrossValidatedPoint, CrossValidation, Fold};
pub use duality::{Gap, LinearLoss, LinearProblem};
pub use error::{Error, Result};
pub use guard::Guard;
pub use history::{FieldRecord, GroupChange, GroupEvent, History, HistoryField, HistoryRecord, LossValue, Oscillation};
pub use kernel::{Norm, Place};
#[cfg(feature = "derive")]
pub use l1_derive::Regularized;
pub use lambda_max::{Emptied, LambdaMaxRow, LambdaMaxima};
pub use missing::MissingCause;
pub use on_missing_gradient::OnMissingGradient;
pub use optim::{
    Charged, Fista, FtrlProximal, Moves, NonFinite, ParamsFista, ParamsFtrl, ParamsProxAdamW, ParamsProxSgd,
    ParamsProximal, ProxAdamW, ProxSgd, Proximal, Solution, Stepper, Stop, clip_grad_norm, clip_grad_norm_with,
    clip_grad_value,
};
pub use param::{Decision, LeftOut, Origin, Param, ParamPath, Reason, Role, RoleName};
pub use path::linear::LinearPath;
pub use path::{
    Certificate, CoefficientLine, Coefficients, Direction, Ended, Fit, Path, PathField, PathPoint, PathRun,
};
pub use penalty::{Curve, Grouping, Penalty};
pub use regularized::Regularized;
pub use regularized_grads::RegularizedGrads;
pub use regularizer::Regularizer;
pub use regularizer_builder::RegularizerBuilder;
pub use report::{GroupCounts, Report, ReportRow, Totals, UnvisitedRow};
pub use rule::Rule;
pub use schedule::{Phase, Phases, Schedule, Schedules};
pub use stability::{ErrorBound, StabilitySelected, StabilitySelection, Subsample};
pub use traced::Traced;
pub use visitor::Visitor;

/// Compiles the README's programs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Compiles the gallery's.
#[cfg(all(doctest, feature = "derive"))]
#[doc = include_str!("../../docs/penalties.md")]
struct Penalties;
