//! Optimizers that give exact zeros, and gradient clipping.
//!
//! Ω is the declared penalty, the sum over all penalized parameters. W_k is the total weight of the gradients in the k-th move of
//! SGD: 1 without momentum, towards 1/(1 − μ) with it.
//!
//! | optimizer | step | fixed points |
//! |---|---|---|
//! | [`ProxSgd`] | SGD with momentum, then the prox at lr·W_k | stationary for loss + Ω without decay |
//! | [`ProxAdamW`] | AdamW, then the prox in the metric of its own move | stationary for loss + Ω without decay |
//! | [`FtrlProximal`] | a rate for each coordinate, then the prox of all charges so far | stationary for loss + Ω |
//! | [`Fista`] | accelerated proximal gradients on the full batch, with backtracking and restart | minima of a convex loss + Ω (under other curves than l1 stationary points) |
//! | [`Proximal<O>`](Proximal) | any candle optimizer, then the prox at step lr | those of plain SGD only; see its docs |
//!
//! All take the gradients of the **loss alone**: a penalty in the loss as well would count twice, and is refused
//! ([`Error::ChargedTwice`](crate::Error::ChargedTwice)). A penalized parameter without a gradient is refused too, unless
//! [`OnMissingGradient`](crate::OnMissingGradient) says otherwise. They implement [`candle_nn::Optimizer`], so a training loop written for candle's takes them.
//!
//! [`ProxSgd`], [`ProxAdamW`] and [`FtrlProximal`] are each a [`Stepper`] with the parameters of its method: what it can do (the
//! regularizer, the parameters, the steps taken, saving) is documented there.
//!
//! [`ProxSgd`], [`ProxAdamW`], [`FtrlProximal`] and [`Proximal`] follow the regularizer's
//! [schedules](crate::Regularizer::set_schedules), and all hold the zeros of a [frozen support](crate::Regularizer::freeze_support).
//!
//! A declared `decay` is applied by [`ProxSgd`] and [`ProxAdamW`]; the others and `penalty()` refuse it, since they have no
//! decoupled weight decay.

mod adamw;
mod clip;
mod fista;
mod ftrl;
mod lost;
mod proximal;
mod sgd;
mod split;
mod stepper;
pub(crate) mod vars;
mod vector;

pub use adamw::{ParamsProxAdamW, ProxAdamW};
pub use clip::{NonFinite, clip_grad_norm, clip_grad_norm_with, clip_grad_value};
pub use fista::{Fista, ParamsFista, Solution, Stop};
pub use ftrl::{Charged, FtrlProximal, ParamsFtrl};
pub use proximal::{ParamsProximal, Proximal};
pub use sgd::{ParamsProxSgd, ProxSgd};
pub use split::Moves;
#[doc(hidden)]
pub use split::Parts;
pub(crate) use stepper::Kept;
pub use stepper::{Method, Stepper};
