//! The penalty in the loss: there is none, or it is one that a loss cannot hold.

use anyhow::Result;
use candle_nn::{Linear, Optimizer, VarMap, linear};
use l1_core::{Error, ParamsProxSgd, ProxSgd, Regularized};

use super::{builder, inputs, refused};

pub fn nothing_penalized() -> Result<Error> {
    #[derive(Regularized)]
    struct Net {
        fc1: Linear,
        #[l1(skip = "three weights")]
        fc2: Linear,
    }
    let vb = builder(&VarMap::new());
    let net = Net { fc1: linear(3, 2, vb.pp("fc1"))?, fc2: linear(2, 1, vb.pp("fc2"))? };
    let error = refused(net.penalty());

    #[derive(Regularized)]
    struct Mended {
        // ANCHOR: NothingPenalized
        #[l1(lambda = 0.01)]
        fc1: Linear,
        // ANCHOR_END: NothingPenalized
        #[l1(skip = "three weights")]
        fc2: Linear,
    }
    Mended { fc1: net.fc1, fc2: net.fc2 }.penalty()?;
    error
}

pub fn not_in_loss() -> Result<Error> {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.01, curve = l0)]
        fc: Linear,
    }
    let varmap = VarMap::new();
    let net = Net { fc: linear(3, 2, builder(&varmap))? };
    let error = refused(net.penalty());

    let loss = candle_nn::Module::forward(&net.fc, &inputs()?)?.sqr()?.mean_all()?;
    // ANCHOR: NotInLoss
    let mut opt = ProxSgd::new(varmap.all_vars(), ParamsProxSgd::new(net.regularizer()?))?;
    opt.backward_step(&loss)?; // the loss alone: no `net.penalty()?` in it
    // ANCHOR_END: NotInLoss
    error
}

pub fn decay_unused() -> Result<Error> {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.01, decay = 0.1)]
        fc: Linear,
    }
    let net = Net { fc: linear(3, 2, builder(&VarMap::new()))? };
    let error = refused(net.penalty());

    #[derive(Regularized)]
    struct Mended {
        // ANCHOR: DecayUnused
        #[l1(lambda = 0.01, l2 = 0.1)]
        fc: Linear,
        // ANCHOR_END: DecayUnused
    }
    Mended { fc: net.fc }.penalty()?;
    error
}
