//! Any optimizer as a step on given gradients.

use candle_core::Result;
use candle_nn::Optimizer;

use crate::every_optimizer::Step;

pub fn boxed(opt: Result<impl Optimizer + Send + 'static>) -> Step {
    let mut opt = opt.unwrap();
    Box::new(move |grads| opt.step(grads))
}
