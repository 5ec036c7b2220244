//! Without a penalty the proximal optimizers are PyTorch's SGD and AdamW; `fixtures/make_optimizers.py`.
//!
//! Tolerances, relative to the largest value of a tensor: another order of additions moves the ends of these programs by up to
//! 3e-15 in f64 and 1.4e-6 in f32 (`fixtures/README.md`).

use candle_core::{DType, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer, loss};
use l1_core::{ParamsProxAdamW, ParamsProxSgd, ProxAdamW, ProxSgd, Regularized, Regularizer};

use crate::models::{Fixture, MLP_PARAMETERS, assert_close, flat, linear};

/// `fc2(tanh(fc1(x)))`. λ = 0 is there so that the optimizers accept it.
#[derive(Regularized)]
#[l1(lambda = 0, decay = self.decay)]
struct Net {
    fc1: Linear,
    fc2: Linear,
    decay: f64,
}

impl Module for Net {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.fc2.forward(&self.fc1.forward(x)?.tanh()?)
    }
}

/// Data and start of `pytorch.safetensors`, ends of `optimizers.safetensors`.
struct Runs {
    start: Fixture,
    ends: Fixture,
}

impl Runs {
    fn load() -> Self {
        Self { start: Fixture::load("pytorch.safetensors"), ends: Fixture::load("optimizers.safetensors") }
    }

    /// Follows a run in both dtypes.
    fn follow<O: Optimizer>(&self, run: &str, decay: f64, optimizer: impl Fn(Regularizer, Vec<Var>) -> O) {
        for (dtype, name, tolerance) in [(DType::F64, "f64", 1e-12), (DType::F32, "f32", 1e-5)] {
            let in_dtype = |name: &str| self.start.tensor(name).to_dtype(dtype).unwrap();
            let vars = MLP_PARAMETERS.map(|name| Var::from_tensor(&in_dtype(&format!("mlp.start.{name}"))).unwrap());
            let net = Net { fc1: linear(&vars[0], &vars[1]), fc2: linear(&vars[2], &vars[3]), decay };
            let mut opt = optimizer(net.regularizer().unwrap(), vars.to_vec());
            let (x, labels) = (in_dtype("mlp.x"), self.start.tensor("mlp.labels"));
            let mut losses = vec![];
            for step in 1..=200 {
                let loss = loss::cross_entropy(&net.forward(&x).unwrap(), labels).unwrap();
                losses.extend(flat(&loss));
                opt.backward_step(&loss).unwrap();
                for (parameter, var) in MLP_PARAMETERS.iter().zip(&vars).filter(|_| step == 10 || step == 200) {
                    let at = format!("{run}.{name}.{step}.{parameter}");
                    assert_close(&at, &flat(var), &self.ends.numbers(&at), tolerance);
                }
            }
            assert_close(run, &losses, &self.ends.numbers(&format!("{run}.{name}.loss")), tolerance);
        }
    }
}

#[test]
fn prox_sgd_follows_pytorchs_sgd_with_momentum_dampening_and_nesterov() {
    let runs = Runs::load();
    for run in ["sgd.momentum", "sgd.dampening", "sgd.nesterov"] {
        let at = |key: &str| runs.ends.number(&format!("{run}.{key}"));
        runs.follow(run, 0.0, |regularizer, vars| {
            let params = ParamsProxSgd {
                lr: at("lr"),
                momentum: at("momentum"),
                dampening: at("dampening"),
                nesterov: at("nesterov") == 1.0,
                ..ParamsProxSgd::new(regularizer)
            };
            ProxSgd::new(vars, params).unwrap()
        });
    }
}

#[test]
fn prox_adamw_follows_pytorchs_adamw_with_amsgrad_and_with_a_declared_decay_of_the_weights() {
    let runs = Runs::load();
    for run in ["adamw.plain", "adamw.amsgrad", "adamw.decay"] {
        let at = |key: &str| runs.ends.number(&format!("{run}.{key}"));
        runs.follow(run, at("weight_decay"), |regularizer, vars| {
            let params = ParamsProxAdamW {
                lr: at("lr"),
                beta1: at("beta1"),
                beta2: at("beta2"),
                eps: at("eps"),
                amsgrad: at("amsgrad") == 1.0,
                ..ParamsProxAdamW::new(regularizer)
            };
            ProxAdamW::new(vars, params).unwrap()
        });
    }
}

#[test]
fn prox_adamws_own_weight_decay_is_the_same_as_a_declared_one() {
    let runs = Runs::load();
    let at = |key: &str| runs.ends.number(&format!("adamw.decay.{key}"));
    // Declared at 0 the decay would be off: the parameters' own reaches only what declares nothing.
    #[derive(Regularized)]
    struct Undeclared {
        #[l1(lambda = 0)]
        fc: Linear,
    }
    let end = |declared: bool| {
        let [w, b] = ["mlp.start.fc1.weight", "mlp.start.fc1.bias"].map(|name| runs.start.var(name));
        let weight_decay = at("weight_decay");
        let regularizer = if declared {
            let fc2 = linear(&Var::zeros((1, 1), DType::F64, w.device()).unwrap(), &b);
            Net { fc1: linear(&w, &b), fc2, decay: weight_decay }.regularizer().unwrap()
        } else {
            Undeclared { fc: linear(&w, &b) }.regularizer().unwrap()
        };
        let weight_decay = if declared { 0.5 } else { weight_decay };
        let params = ParamsProxAdamW { lr: at("lr"), weight_decay, ..ParamsProxAdamW::new(regularizer) };
        let mut opt = ProxAdamW::new(vec![w.clone(), b.clone()], params).unwrap();
        for _ in 0..5 {
            let hidden = linear(&w, &b).forward(runs.start.tensor("mlp.x")).unwrap();
            opt.backward_step(&hidden.tanh().unwrap().sqr().unwrap().mean_all().unwrap()).unwrap();
        }
        [flat(&w), flat(&b)]
    };
    assert_eq!(end(true), end(false));
}
