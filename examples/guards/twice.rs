//! Penalties where they do not belong: twice, or in a loss that cannot hold them.

use anyhow::Result;
use candle_core::{DType, Device, Module};
use candle_nn::{Linear, Optimizer, VarMap, linear, loss};
use l1_core::{ParamsProxSgd, ProxSgd, Regularized};

use crate::{builder, data, mistake, refused, says};

pub(crate) fn in_the_loss_and_in_the_step(device: &Device) -> Result<()> {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.01)]
        fc: Linear,
    }

    mistake(9, "The penalty in the loss, and a proximal optimizer behind it");
    let (x, y) = data(6, device)?;
    let varmap = VarMap::new();
    let net = Net { fc: linear(6, 1, builder(&varmap, DType::F32, device).pp("fc"))? };
    let mut opt = ProxSgd::new(varmap.all_vars(), ParamsProxSgd::new(net.regularizer()?))?;
    println!("Nothing looks wrong: the weights become zero, at twice the λ that was meant.");
    let with_penalty = (loss::mse(&net.fc.forward(&x)?, &y)? + net.penalty()?)?;
    says(refused(opt.backward_step(&with_penalty))?);
    Ok(())
}

pub(crate) fn no_gradient_in_the_loss(device: &Device) -> Result<()> {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.01, curve = l0)]
        fc: Linear,
    }

    mistake(10, "A penalty without a gradient, in the loss");
    let varmap = VarMap::new();
    let net = Net { fc: linear(6, 1, builder(&varmap, DType::F32, device).pp("fc"))? };
    println!("The number of nonzero weights has the gradient 0 everywhere: in a loss it would do nothing.");
    says(refused(net.penalty())?);
    Ok(())
}
