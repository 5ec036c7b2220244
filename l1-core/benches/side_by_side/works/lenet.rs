//! LeNet-300-100 (784-300-100-10, ReLU, cross-entropy), batch of 128: a step end to end.

use std::{hint::black_box, rc::Rc};

use candle_core::{Device, Result, Tensor, Var};
use candle_nn::{AdamW, Linear, Module, Optimizer, ParamsAdamW, loss};
use l1_core::{Guard, ParamsProxAdamW, ProxAdamW, Regularized};

use super::{Group, LAMBDA, LR, waves};
use crate::{Against, Work, rounds::Contender};

#[derive(Regularized)]
#[l1(lambda = LAMBDA)]
struct LeNet {
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

/// A network with its variables and a batch.
struct Training {
    net: LeNet,
    vars: Vec<Var>,
    images: Tensor,
    labels: Tensor,
}

impl Training {
    fn new() -> Result<Self> {
        let mut vars = Vec::new();
        let mut layer = |input: usize, output: usize| -> Result<Linear> {
            let weight = waves(output * input, 0.05, vars.len())?.as_detached_tensor().reshape((output, input))?;
            let (weight, bias) = (Var::from_tensor(&weight)?, waves(output, 0.01, vars.len())?);
            vars.extend([weight.clone(), bias.clone()]);
            Ok(Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone())))
        };
        let net = LeNet { fc1: layer(784, 300)?, fc2: layer(300, 100)?, fc3: layer(100, 10)? };
        let images = waves(128 * 784, 1.0, 99)?.as_detached_tensor().reshape((128, 784))?;
        let labels = Tensor::from_iter((0..128).map(|row| (row * 7 % 10) as u32), &Device::Cpu)?;
        Ok(Self { net, vars, images, labels })
    }

    fn loss(&self) -> Result<Tensor> {
        let hidden = self.net.fc1.forward(&self.images)?.relu()?;
        let hidden = self.net.fc2.forward(&hidden)?.relu()?;
        loss::cross_entropy(&self.net.fc3.forward(&hidden)?, &self.labels)
    }

    /// λ·Σ|w| of the weights in candle's operations.
    fn abs(&self) -> Result<Tensor> {
        let abs = |layer: &Linear| layer.weight().abs()?.sum_all();
        let LeNet { fc1, fc2, fc3 } = &self.net;
        ((abs(fc1)? + abs(fc2)?)? + abs(fc3)?)? * LAMBDA
    }

    fn prox_adamw(&self, guard: Guard) -> Result<ProxAdamW> {
        let params = ParamsProxAdamW { lr: LR, guard, ..ParamsProxAdamW::new(self.net.regularizer()?) };
        ProxAdamW::new(self.vars.clone(), params)
    }

    fn adamw(&self) -> Result<AdamW> {
        AdamW::new(self.vars.clone(), ParamsAdamW { lr: LR, weight_decay: 0.0, ..ParamsAdamW::default() })
    }
}

pub(crate) const GROUP: Group =
    Group { keys: &["lenet_step", "lenet_regularize", "lenet_regularize_guard_before"], make: works };

fn works() -> Result<Vec<Work>> {
    let whole = {
        let (with_l1, with_candle) = (Training::new()?, Training::new()?);
        let (mut prox, mut adamw) = (with_l1.prox_adamw(Guard::InPass)?, with_candle.adamw()?);
        Work {
            key: "lenet_step",
            title: "LeNet-300-100, batch 128: a step end to end, AdamW + L1",
            l1: Contender::new(move || prox.backward_step(&with_l1.loss()?)),
            candle: Some(Contender::new(move || adamw.backward_step(&(with_candle.loss()? + with_candle.abs()?)?))),
            limit: None,
            against: Against::Limit,
        }
    };
    let part = |key, title, guard| -> Result<Work> {
        let training = Rc::new(Training::new()?);
        let mut prox = training.prox_adamw(guard)?;
        let prepared = training.clone();
        let alone = training.clone();
        Ok(Work {
            key,
            title,
            l1: Contender::prepared(move || prepared.loss()?.backward(), move |grads| prox.step(&grads)),
            candle: None,
            // What it has to be small against.
            limit: Some(Contender::new(move || {
                black_box(alone.loss()?.backward()?);
                Ok(())
            })),
            against: Against::Whole,
        })
    };
    Ok(vec![
        whole,
        part("lenet_regularize", "its step alone against forward + backward", Guard::InPass)?,
        part("lenet_regularize_guard_before", "the same with Guard::Before", Guard::Before)?,
    ])
}
