//! What weight decay and minibatches do to the end of a lasso, in the words of the certificate.

use anyhow::{Context, Result};
use candle_core::{Device, Module};
use candle_nn::{Optimizer, loss};
use examples::{
    data::Labelled,
    run::{self, Folder},
};
use l1_core::{
    Distance, MeanGradients, ParamsFtrl, ParamsProxAdamW, ParamsProxSgd, Regularized, Regularizer, Stepper,
    optim::Method,
};
use rand::{SeedableRng, rngs::StdRng};

use crate::penalties::{Problem, lasso, small};

/// 442 patients are 13 batches.
const BATCH: usize = 34;

const LR: f64 = 0.1;

pub(crate) fn show(folder: &mut Folder, device: &Device, seed: u64, steps: usize) -> Result<()> {
    let problem = lasso(device)?;
    let sgd = |weight_decay| move |r: Regularizer| ParamsProxSgd { lr: LR, weight_decay, ..ParamsProxSgd::new(r) };
    let adamw =
        |weight_decay| move |r: Regularizer| ParamsProxAdamW { lr: LR, weight_decay, ..ParamsProxAdamW::new(r) };

    println!(
        "The lasso again, with weight decay. The first distance is that to a solution of the declared problem, the"
    );
    println!("second that to a solution of the one which the optimizer solves.\n");
    let mut text =
        "| optimizer | weight decay | distance | with decay | zeros |\n|---|---:|---:|---:|---:|\n".to_owned();
    for decay in [0.0, 0.01, 0.1] {
        text += &problem.decayed("`ProxSgd`", decay, sgd(decay), seed, steps)?;
        text += &problem.decayed("`ProxAdamW`", decay, adamw(decay), seed, steps)?;
    }
    println!("{text}");
    folder.text("decay.md", &text)?;

    println!(
        "And in batches of {BATCH} of 442. The distance is that of the mean gradient of an epoch, ± what batches drawn at"
    );
    println!("random would leave in it by noise.\n");
    let mut text =
        "| optimizer | learning rate | above | distance | ± | zeros |\n|---|---|---:|---:|---:|---:|\n".to_owned();
    let with_momentum =
        |momentum| move |r: Regularizer| ParamsProxSgd { lr: LR * (1.0 - momentum), momentum, ..ParamsProxSgd::new(r) };
    for rate in [Rate::Constant, Rate::Falling] {
        text += &problem.in_batches("`ProxSgd`", rate, with_momentum(0.0), seed, steps)?;
        text += &problem.in_batches("`ProxSgd`, momentum 0.9", rate, with_momentum(0.9), seed, steps)?;
        text += &problem.in_batches("`ProxSgd`, momentum 0.99", rate, with_momentum(0.99), seed, steps)?;
        text += &problem.in_batches("`ProxAdamW`", rate, adamw(0.0), seed, steps)?;
    }
    // Its own rates fall with the gradients that it has seen.
    let ftrl = |r: Regularizer| ParamsFtrl { lr: 1.0, ..ParamsFtrl::new(r) };
    text += &problem.in_batches("`FtrlProximal`", Rate::Constant, ftrl, seed, steps)?;
    println!("{text}");
    folder.text("batches.md", &text)
}

#[derive(Clone, Copy)]
enum Rate {
    Constant,
    Falling,
}

impl Problem {
    fn decayed<M: Method>(
        &self,
        name: &str,
        decay: f64,
        params: impl FnOnce(Regularizer) -> M,
        seed: u64,
        steps: usize,
    ) -> Result<String> {
        let (varmap, model) = self.model(seed)?;
        let mut opt = Stepper::new(varmap.all_vars(), params(model.regularizer()?))?;
        for step in 0..steps {
            opt.set_learning_rate(run::falling(LR, step as f64 / steps as f64));
            opt.backward_step(&self.loss(&model)?)?;
        }
        let stationarity = opt.stationarity(&self.loss(&model)?.backward()?)?;
        let row = stationarity.row("layer.weight").context("the weight is penalized")?;
        let relative = |distance: &Distance| small(distance.relative);
        let with_decay = row.with_decay.as_ref().map_or_else(String::new, relative);
        let (distance, zeros) = (relative(&row.distance), row.zeros);
        Ok(format!("| {name} | {decay} | {distance} | {with_decay} | {zeros} |\n"))
    }

    fn in_batches<M: Method>(
        &self,
        name: &str,
        rate: Rate,
        params: impl FnOnce(Regularizer) -> M,
        seed: u64,
        steps: usize,
    ) -> Result<String> {
        let (varmap, model) = self.model(seed)?;
        let mut opt = Stepper::new(varmap.all_vars(), params(model.regularizer()?))?;
        let lr = opt.learning_rate();
        let data = Labelled { x: self.x.clone(), y: self.y.clone() };
        let mut rng = StdRng::seed_from_u64(seed);
        let loss_of = |batch: &Labelled| loss::mse(&model.layer.forward(&batch.x)?, &batch.y);
        let (mut batches, mut step) = (data.batches(BATCH, &mut rng)?, 0);
        while step < steps {
            for batch in &batches {
                if matches!(rate, Rate::Falling) {
                    opt.set_learning_rate(run::falling(lr, step as f64 / steps as f64));
                }
                opt.backward_step(&loss_of(batch)?)?;
                step += 1;
            }
            batches = data.batches(BATCH, &mut rng)?;
        }
        let mut grads = MeanGradients::new(opt.regularizer());
        for batch in &batches {
            grads.add(&loss_of(batch)?.backward()?, batch.rows())?;
        }
        let stationarity = opt.stationarity(&grads)?;
        let row = stationarity.row("layer.weight").context("the weight is penalized")?;
        let penalty = row.penalty.context("it is penalized")?;
        let noise = row.distance.noise.context("of 13 batches")? / penalty.lambda();
        let objective = self.objective(&model)?;
        let (distance, zeros) = (row.distance.relative, row.zeros);

        let (varmap, model) = self.model(seed)?;
        self.fista(&model, &varmap, steps)?;
        let above = small(objective / self.objective(&model)? - 1.0);
        let rate = if matches!(rate, Rate::Falling) { "falls" } else { "constant" };
        Ok(format!("| {name} | {rate} | {above} | {distance:.1e} | {noise:.1e} | {zeros} |\n"))
    }
}
