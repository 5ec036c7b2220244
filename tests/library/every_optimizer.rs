//! Every optimizer that steps by l1's own kernels, for tests that ask the same of all of them.

use candle_core::{Result, Var, backprop::GradStore};
use candle_nn::Optimizer;
use l1_core::{
    Charged, FtrlProximal, Guard, ParamsFtrl, ParamsProxAdamW, ParamsProxSgd, ProxAdamW, ProxSgd, Regularizer, Stepper,
    optim::Method,
};

/// Takes one step on given gradients.
pub type Step = Box<dyn FnMut(&GradStore) -> Result<()> + Send>;

/// Makes an optimizer of a model's regularizer and variables.
pub type Make = fn(Regularizer, Vec<Var>, Guard) -> Step;

pub const EVERY_OPTIMIZER: [(&str, Make); 9] = [
    ("ProxSgd", |regularizer, vars, guard| stepping(ProxSgd::new(vars, sgd(regularizer, guard)))),
    ("ProxSgd with momentum", |regularizer, vars, guard| {
        let params = ParamsProxSgd { momentum: 0.9, dampening: 0.5, ..sgd(regularizer, guard) };
        stepping(ProxSgd::new(vars, params))
    }),
    ("ProxSgd with Nesterov's momentum", |regularizer, vars, guard| {
        let params = ParamsProxSgd { momentum: 0.9, nesterov: true, ..sgd(regularizer, guard) };
        stepping(ProxSgd::new(vars, params))
    }),
    ("ProxSgd with momentum and f32 copies", |regularizer, vars, guard| {
        let params = ParamsProxSgd { momentum: 0.9, master_weights: true, ..sgd(regularizer, guard) };
        stepping(ProxSgd::new(vars, params))
    }),
    ("ProxAdamW", |regularizer, vars, guard| {
        stepping(ProxAdamW::new(vars, ParamsProxAdamW { weight_decay: 0.1, ..adamw(regularizer, guard) }))
    }),
    ("ProxAdamW with amsgrad", |regularizer, vars, guard| {
        stepping(ProxAdamW::new(vars, ParamsProxAdamW { amsgrad: true, ..adamw(regularizer, guard) }))
    }),
    ("ProxAdamW with f32 copies", |regularizer, vars, guard| {
        let params = ParamsProxAdamW { weight_decay: 0.1, master_weights: true, ..adamw(regularizer, guard) };
        stepping(ProxAdamW::new(vars, params))
    }),
    ("FtrlProximal", |regularizer, vars, guard| stepping(FtrlProximal::new(vars, ftrl(regularizer, guard)))),
    ("FtrlProximal, charged once", |regularizer, vars, guard| {
        stepping(FtrlProximal::new(vars, ParamsFtrl { charged: Charged::Once, ..ftrl(regularizer, guard) }))
    }),
];

/// A step, and what it has passed over, which a GPU tells when it is asked.
pub fn told<M: Method>(opt: &mut Stepper<M>, grads: &GradStore) -> Result<()> {
    opt.step(grads)?;
    Ok(opt.check_last_step()?)
}

pub fn stepping<M: Method>(opt: Result<Stepper<M>>) -> Step {
    let mut opt = opt.unwrap();
    Box::new(move |grads| told(&mut opt, grads))
}

fn sgd(regularizer: Regularizer, guard: Guard) -> ParamsProxSgd {
    ParamsProxSgd { lr: 0.05, guard, ..ParamsProxSgd::new(regularizer) }
}

fn adamw(regularizer: Regularizer, guard: Guard) -> ParamsProxAdamW {
    ParamsProxAdamW { lr: 0.01, guard, ..ParamsProxAdamW::new(regularizer) }
}

fn ftrl(regularizer: Regularizer, guard: Guard) -> ParamsFtrl {
    ParamsFtrl { lr: 0.2, guard, ..ParamsFtrl::new(regularizer) }
}
