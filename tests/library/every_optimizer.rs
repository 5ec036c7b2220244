//! Every optimizer that steps by l1's own kernels, for tests that ask the same of all of them.

use candle_core::{Result, Var, backprop::GradStore};
use candle_nn::Optimizer;
use l1_core::{
    Charged, FtrlProximal, Guard, ParamsFtrl, ParamsProxAdamW, ParamsProxSgd, ProxAdamW, ProxSgd, Regularizer,
};

/// Takes one step on given gradients.
pub type Step = Box<dyn FnMut(&GradStore) -> Result<()> + Send>;

/// Makes an optimizer of a model's regularizer and variables.
pub type Make = fn(Regularizer, Vec<Var>, Guard) -> Step;

pub const EVERY_OPTIMIZER: [(&str, Make); 9] = [
    ("ProxSgd", |regularizer, vars, guard| boxed(ProxSgd::new(vars, sgd(regularizer, guard)))),
    ("ProxSgd with momentum", |regularizer, vars, guard| {
        let params = ParamsProxSgd { momentum: 0.9, dampening: 0.5, ..sgd(regularizer, guard) };
        boxed(ProxSgd::new(vars, params))
    }),
    ("ProxSgd with Nesterov's momentum", |regularizer, vars, guard| {
        let params = ParamsProxSgd { momentum: 0.9, nesterov: true, ..sgd(regularizer, guard) };
        boxed(ProxSgd::new(vars, params))
    }),
    ("ProxSgd with momentum and f32 copies", |regularizer, vars, guard| {
        let params = ParamsProxSgd { momentum: 0.9, master_weights: true, ..sgd(regularizer, guard) };
        boxed(ProxSgd::new(vars, params))
    }),
    ("ProxAdamW", |regularizer, vars, guard| {
        boxed(ProxAdamW::new(vars, ParamsProxAdamW { weight_decay: 0.1, ..adamw(regularizer, guard) }))
    }),
    ("ProxAdamW with amsgrad", |regularizer, vars, guard| {
        boxed(ProxAdamW::new(vars, ParamsProxAdamW { amsgrad: true, ..adamw(regularizer, guard) }))
    }),
    ("ProxAdamW with f32 copies", |regularizer, vars, guard| {
        let params = ParamsProxAdamW { weight_decay: 0.1, master_weights: true, ..adamw(regularizer, guard) };
        boxed(ProxAdamW::new(vars, params))
    }),
    ("FtrlProximal", |regularizer, vars, guard| boxed(FtrlProximal::new(vars, ftrl(regularizer, guard)))),
    ("FtrlProximal, charged once", |regularizer, vars, guard| {
        boxed(FtrlProximal::new(vars, ParamsFtrl { charged: Charged::Once, ..ftrl(regularizer, guard) }))
    }),
];

pub fn boxed(opt: Result<impl Optimizer + Send + 'static>) -> Step {
    let mut opt = opt.unwrap();
    Box::new(move |grads| opt.step(grads))
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
