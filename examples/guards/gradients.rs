//! Gradients that are missing, or none.

use anyhow::Result;
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{
    LayerNorm, Linear, Optimizer, SGD, VarMap, layer_norm, linear, linear_no_bias, loss, ops::layer_norm_slow,
};
use examples::start;
use l1_core::{ParamsProxAdamW, ParamsProxSgd, ProxAdamW, ProxSgd, Regularized};

use crate::{builder, data, mistake, refused, says};

const LAMBDA: f64 = 0.003;
const EPS: f64 = 1e-5;

#[derive(Regularized)]
struct Net {
    #[l1(lambda = LAMBDA)]
    fc1: Linear,
    ln: LayerNorm,
    #[l1(lambda = LAMBDA)]
    fc2: Linear,
}

impl Net {
    fn new(varmap: &VarMap, device: &Device) -> Result<Self> {
        let vb = builder(varmap, DType::F32, device);
        let net = Self {
            fc1: linear(6, 16, vb.pp("fc1"))?,
            ln: layer_norm(16, EPS, vb.pp("ln"))?,
            fc2: linear(16, 1, vb.pp("fc2"))?,
        };
        start::draw(varmap, 0)?;
        net.ones_in_the_norm(varmap)?;
        Ok(net)
    }

    /// Drawn values are for the linear layers.
    fn ones_in_the_norm(&self, varmap: &VarMap) -> Result<()> {
        for var in varmap.all_vars() {
            if var.id() == self.ln.weight().id() {
                var.set(&var.ones_like()?)?;
            }
        }
        Ok(())
    }

    fn loss(&self, norm: Norm, x: &Tensor, y: &Tensor) -> candle_core::Result<Tensor> {
        let hidden = self.fc1.forward(x)?;
        let hidden = match (norm, self.ln.bias()) {
            (Norm::WithBackward, Some(bias)) => layer_norm_slow(&hidden, self.ln.weight(), bias, EPS as f32)?,
            _ => self.ln.forward(&hidden)?,
        };
        loss::mse(&self.fc2.forward(&hidden.relu()?)?, y)
    }
}

/// Which of candle's two ways to normalize.
#[derive(Clone, Copy)]
enum Norm {
    /// `LayerNorm::forward`: a kernel without backward.
    Fused,
    /// `ops::layer_norm_slow`: tensor operations.
    WithBackward,
}

pub(crate) fn starved_layer(device: &Device, quick: bool) -> Result<()> {
    mistake(6, "Linear → LayerNorm → Linear: everything before the norm gets no gradient");
    let steps = if quick { 100 } else { 4000 };
    let (x, y) = data(6, device)?;
    println!(
        "candle's LayerNorm has no backward on contiguous input. The loss reaches fc2, and an L1 term reaches fc1:"
    );
    println!("\n  plain candle, loss + {LAMBDA}·Σ|w|, SGD   ‖fc1.weight‖₁       loss");
    let varmap = VarMap::new();
    let net = Net::new(&varmap, device)?;
    let mut sgd = SGD::new(varmap.all_vars(), 0.05)?;
    for step in 0..=steps {
        let data_loss = net.loss(Norm::Fused, &x, &y)?;
        if step == 0 || step == steps {
            println!(
                "  after {step:>5} steps                     {:>12.4} {:>10.1e}",
                norm(&net)?,
                scalar(&data_loss)?
            );
        }
        let l1 = (net.fc1.weight().abs()?.sum_all()? + net.fc2.weight().abs()?.sum_all()?)?;
        sgd.backward_step(&(data_loss + (l1 * LAMBDA)?)?)?;
    }
    println!("\nThe loss stays high: fc1 has not learned, it has starved. With l1, before training:");
    let varmap = VarMap::new();
    let net = Net::new(&varmap, device)?;
    let regularizer = net.regularizer()?;
    says(refused(regularizer.check_gradients(&net.loss(Norm::Fused, &x, &y)?))?);
    println!("and, for those who want to know it for certain:");
    says(refused(regularizer.check_gradients_with(|| net.loss(Norm::Fused, &x, &y)))?);
    println!("The way out, `candle_nn::ops::layer_norm_slow`, with ProxAdamW:");
    let mut opt = ProxAdamW::new(varmap.all_vars(), ParamsProxAdamW { lr: 0.01, ..ParamsProxAdamW::new(regularizer) })?;
    for _ in 0..steps {
        opt.backward_step(&net.loss(Norm::WithBackward, &x, &y)?)?;
    }
    let report = opt.regularizer().report()?;
    let zeros = report.row("fc1.weight").map_or(0, |row| row.zeros);
    let loss = scalar(&net.loss(Norm::WithBackward, &x, &y)?)?;
    println!(
        "  after {steps:>5} steps                     {:>12.4} {loss:>10.1e}   {zeros} of 96 exactly zero",
        norm(&net)?
    );
    Ok(())
}

fn norm(net: &Net) -> Result<f32> {
    Ok(net.fc1.weight().abs()?.sum_all()?.to_scalar()?)
}

fn scalar(loss: &Tensor) -> Result<f32> {
    Ok(loss.to_scalar()?)
}

#[derive(Regularized)]
#[l1(lambda = 0.01)]
struct Two {
    used: Linear,
    unused: Linear,
}

impl Two {
    fn new(varmap: &VarMap, device: &Device) -> Result<Self> {
        let vb = builder(varmap, DType::F32, device);
        let two = Self { used: linear(6, 1, vb.pp("used"))?, unused: linear(6, 1, vb.pp("unused"))? };
        start::draw(varmap, 0)?;
        Ok(two)
    }
}

pub(crate) fn unused_layer(device: &Device) -> Result<()> {
    mistake(7, "A layer that the forward pass does not use");
    let (x, y) = data(6, device)?;
    let varmap = VarMap::new();
    let two = Two::new(&varmap, device)?;
    let mut opt = ProxSgd::new(varmap.all_vars(), ParamsProxSgd::new(two.regularizer()?))?;
    println!("A penalty would shrink it to nothing and report a sparse layer. The step of l1:");
    says(refused(opt.backward_step(&loss::mse(&two.used.forward(&x)?, &y)?))?);
    Ok(())
}

pub(crate) fn not_a_number(device: &Device) -> Result<()> {
    #[derive(Regularized)]
    struct One {
        #[l1(lambda = 0.01)]
        fc: Linear,
    }

    mistake(8, "A NaN in the data");
    let (x, y) = data(6, device)?;
    let empty_cell = Tensor::new(&[[f32::NAN]], x.device())?;
    let y = Tensor::cat(&[&y.narrow(0, 0, 63)?, &empty_cell], 0)?;
    let varmap = VarMap::new();
    let one = One { fc: linear_no_bias(6, 1, builder(&varmap, DType::F32, device).pp("fc"))? };
    let before = one.fc.weight().to_vec2::<f32>()?;
    let mut opt = ProxSgd::new(varmap.all_vars(), ParamsProxSgd::new(one.regularizer()?))?;
    println!("One empty cell among 64 targets. A step of candle's optimizers makes every weight NaN; a step of l1:");
    says(refused(opt.backward_step(&loss::mse(&one.fc.forward(&x)?, &y)?))?);
    println!("The weights are those of before: {}", one.fc.weight().to_vec2::<f32>()? == before);
    Ok(())
}
