//! In a training step: gradients that are missing, not finite, not the loss's alone, or not the variable's.

use anyhow::Result;
use candle_core::{DType, Tensor};
use candle_nn::{LayerNorm, Linear, Module, Optimizer, VarMap, layer_norm, linear, ops};
use l1_core::{
    Error, History, Norm, ParamsProxAdamW, ParamsProxSgd, ProxAdamW, ProxSgd, Regularized, clip_grad_norm,
    clip_grad_value,
};
use tests::device;

use super::{Net, builder, inputs, refused, var};

/// Not of `all_vars()`, whose order is another one in each run: the first variable that is refused is the one that is told.
fn sgd(net: &Net, varmap: &VarMap) -> Result<ProxSgd> {
    let vars = vec![var(varmap, "fc.weight")?, var(varmap, "fc.bias")?];
    Ok(ProxSgd::new(vars, ParamsProxSgd::new(net.regularizer()?))?)
}

pub fn missing_gradient() -> Result<Error> {
    #[derive(Regularized)]
    struct Deep {
        #[l1(lambda = 0.01)]
        fc1: Linear,
        ln: LayerNorm,
        #[l1(lambda = 0.01)]
        fc2: Linear,
    }
    let varmap = VarMap::new();
    let vb = builder(&varmap);
    let net = Deep {
        fc1: linear(3, 4, vb.pp("fc1"))?,
        ln: layer_norm(4, 1e-5, vb.pp("ln"))?,
        fc2: linear(4, 1, vb.pp("fc2"))?,
    };
    let mut opt = ProxAdamW::new(varmap.all_vars(), ParamsProxAdamW::new(net.regularizer()?))?;
    let x = inputs()?;
    let hidden = net.ln.forward(&net.fc1.forward(&x)?)?;
    let error = refused(opt.backward_step(&net.fc2.forward(&hidden)?.sqr()?.mean_all()?));

    let beta = net.ln.bias().expect("`layer_norm` gives it one");
    // ANCHOR: MissingGradient
    let hidden = ops::layer_norm_slow(&net.fc1.forward(&x)?, net.ln.weight(), beta, 1e-5)?; // not `net.ln.forward(..)`
    // ANCHOR_END: MissingGradient
    opt.backward_step(&net.fc2.forward(&hidden)?.sqr()?.mean_all()?)?;
    error
}

pub fn norm_without_backward() -> Result<Error> {
    #[derive(Regularized)]
    struct Residual {
        #[l1(lambda = 0.01)]
        fc: Linear,
        ln: LayerNorm,
    }
    let varmap = VarMap::new();
    let vb = builder(&varmap);
    let net = Residual { fc: linear(3, 4, vb.pp("fc"))?, ln: layer_norm(4, 1e-5, vb.pp("ln"))? };
    let hidden = net.fc.forward(&inputs()?)?;
    let loss = (&hidden + net.ln.forward(&hidden)?)?.sqr()?.mean_all()?;
    let error = refused(net.regularizer()?.check_gradients(&loss));

    let beta = net.ln.bias().expect("`layer_norm` gives it one");
    // ANCHOR: NormWithoutBackward
    let normalized = ops::layer_norm_slow(&hidden, net.ln.weight(), beta, 1e-5)?; // not `net.ln.forward(..)`
    // ANCHOR_END: NormWithoutBackward
    net.regularizer()?.check_gradients(&(&hidden + normalized)?.sqr()?.mean_all()?)?;
    error
}

pub fn charged_twice() -> Result<Error> {
    let varmap = VarMap::new();
    let net = Net::new(&varmap)?;
    let mut opt = sgd(&net, &varmap)?;
    let loss = net.loss()?;
    let grads = opt.regularizer().add_subgradient(loss.backward()?)?;
    let error = refused(opt.step(&grads));

    // ANCHOR: ChargedTwice
    opt.step(&loss.backward()?)?; // no `add_subgradient`: the optimizer charges the penalty itself
    // ANCHOR_END: ChargedTwice
    error
}

pub fn non_finite_gradient() -> Result<Error> {
    let varmap = VarMap::new();
    let net = Net::new(&varmap)?;
    let mut opt = sgd(&net, &varmap)?;
    let loss = (net.loss()? * f64::NAN)?;
    let error = refused(opt.backward_step(&loss));

    // ANCHOR: NonFiniteGradient
    match opt.backward_step(&loss).map_err(Error::from) {
        Err(Error::NonFiniteGradient { path, .. }) => {
            println!("batch passed over: the gradient of {path} is not finite")
        }
        outcome => outcome?,
    }
    // ANCHOR_END: NonFiniteGradient
    error
}

pub fn non_finite_norm() -> Result<Error> {
    let varmap = VarMap::new();
    let net = Net::new(&varmap)?;
    let weight = var(&varmap, "fc.weight")?;
    let mut grads = net.loss()?.backward()?;
    grads.insert(&weight, Tensor::full(f32::INFINITY, (2, 3), &device())?);
    let vars = [weight];
    let error = refused(clip_grad_norm(&mut grads, &vars, 1.0, Norm::L2));

    // ANCHOR: NonFiniteNorm
    clip_grad_value(&mut grads, &vars, 1.0)?; // each entry by itself: ±∞ becomes ±1, NaN stays NaN
    // ANCHOR_END: NonFiniteNorm
    clip_grad_norm(&mut grads, &vars, 1.0, Norm::L2)?;
    error
}

pub fn gradient_shape() -> Result<Error> {
    let varmap = VarMap::new();
    let net = Net::new(&varmap)?;
    let mut grads = net.loss()?.backward()?;
    let weight = var(&varmap, "fc.weight")?;
    grads.insert(&weight, Tensor::ones((3, 2), DType::F32, &device())?);
    refused(sgd(&net, &varmap)?.step(&grads))
}

pub fn gradient_dtype() -> Result<Error> {
    let varmap = VarMap::new();
    let net = Net::new(&varmap)?;
    let weight = var(&varmap, "fc.weight")?;
    let mut grads = net.loss()?.backward()?;
    let sum = Tensor::ones((2, 3), DType::F64, &device())?;
    grads.insert(&weight, sum.clone());
    let error = refused(sgd(&net, &varmap)?.step(&grads));

    // ANCHOR: GradientDType
    grads.insert(&weight, sum.to_dtype(weight.dtype())?);
    // ANCHOR_END: GradientDType
    sgd(&net, &varmap)?.step(&grads)?;
    error
}

pub fn not_recorded() -> Result<Error> {
    let mut history = History::new(&Net::new(&VarMap::new())?.regularizer()?)?;
    for step in [100, 200, 300] {
        history.record(step, 0.5)?;
    }
    let error = refused(history.record(201, 0.5)); // a checkpoint of step 200 was loaded

    // ANCHOR: NotRecorded
    history.forget_after(200)?; // the checkpoint's step
    history.record(201, 0.5)?;
    // ANCHOR_END: NotRecorded
    error
}
