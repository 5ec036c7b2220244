//! scratch
use anyhow::Result;
use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::{Linear, Optimizer, VarBuilder, VarMap, linear, loss};
use examples::{
    data::{Labelled, Mnist},
    measure::accuracy,
    start,
};
use l1_core::{Budget, Fista, Fit, ParamsFista, ParamsOnline, ParamsProxAdamW, ProxAdamW, Regularized, Regularizer};
use std::time::Instant;

#[derive(Regularized)]
#[l1(lambda = 1.0, l2 = self.l2)]
struct Net {
    fc1: Linear,
    fc2: Linear,
}
impl Net {
    fn new(varmap: &VarMap, hidden: usize) -> Result<Self> {
        let vb = VarBuilder::from_varmap(varmap, DType::F32, &Device::Cpu);
        let net = Self {
            fc1: linear(784, hidden, vb.pp("fc1"))?,
            fc2: linear(hidden, 10, vb.pp("fc2"))?,
            l2: std::env::var("L2").map_or(0.0, |s| s.parse().unwrap()),
        };
        start::draw(varmap, 0)?;
        Ok(net)
    }
    fn loss(&self, d: &Labelled) -> candle_core::Result<Tensor> {
        loss::cross_entropy(&self.forward(&d.x)?, &d.y)
    }
}
impl Module for Net {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let h = self.fc1.forward(x)?;
        self.fc2.forward(&if std::env::var("GELU").is_ok() { h.tanh()? } else { h.relu()? })
    }
}

fn train(net: &Net, vars: &[Var], r: &Regularizer, d: &Labelled, steps: usize, lr: f64) -> l1_core::Result<()> {
    let mut opt = ProxAdamW::new(
        vars.to_vec(),
        ParamsProxAdamW {
            lr,
            beta2: std::env::var("B2").map_or(0.999, |s| s.parse().unwrap()),
            ..ParamsProxAdamW::new(r.clone())
        },
    )?;
    for k in 0..steps {
        opt.set_learning_rate(lr * 0.5 * (1.0 + (std::f64::consts::PI * k as f64 / steps as f64).cos()));
        opt.backward_step(&net.loss(d)?)?;
    }
    Ok(())
}
fn polish(net: &Net, vars: &[Var], r: &Regularizer, d: &Labelled, it: usize, tol: f64) -> l1_core::Result<()> {
    let mut f = Fista::new(vars.to_vec(), ParamsFista { lr: 0.1, ..ParamsFista::new(r.clone(), || net.loss(d)) })?;
    let _s = f.minimize(tol * r.scale().max(1e-6), it)?;
    Ok(())
}

fn main() -> Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let mode = a.get(1).map_or("search", |s| s.as_str());
    let n = |i: usize, d: f64| a.get(i).and_then(|s| s.parse().ok()).unwrap_or(d);
    let (steps, lr, its, hidden, share) =
        (n(2, 100.0) as usize, n(3, 0.01), n(4, 100.0) as usize, n(5, 32.0) as usize, n(6, 0.9));
    let mut data = Mnist::load()?;
    if std::env::var("C").is_ok() {
        let m = data.train.x.mean_keepdim(0)?;
        data.train.x = data.train.x.broadcast_sub(&m)?;
        data.test.x = data.test.x.broadcast_sub(&m)?;
    }
    let varmap = VarMap::new();
    let net = Net::new(&varmap, hidden)?;
    let vars = varmap.all_vars();
    let t = Instant::now();
    let fit = |fit: &mut Fit<'_>| {
        let t0 = Instant::now();
        let steps = if fit.scale() == 0.0 { 300 } else { steps };
        train(&net, &vars, fit.regularizer(), &data.train, steps, lr)?;
        if its > 0 && fit.scale() > 0.0 {
            polish(&net, &vars, fit.regularizer(), &data.train, its, 1e-2)?;
        }
        fit.held_out(1.0 - accuracy(&net.forward(&data.test.x)?, &data.test.y).unwrap());
        let z = fit.regularizer().report()?.totals;
        eprintln!(
            "  {} scale {:.3e} zeros {:.4} {:.1} s rel {:.2e}",
            fit.index(),
            fit.scale(),
            z.penalized_zeros as f64 / z.penalized_entries.max(1) as f64,
            t0.elapsed().as_secs_f64(),
            fit.regularizer().stationarity(&net.loss(&data.train)?.backward()?)?.largest()
        );
        Ok(())
    };
    let r = net.regularizer()?;
    if mode == "fit" {
        // steps lr its hidden _ scale act
        let scale = n(7, 7e-4);
        let mut r = r;
        r.set_scale(scale)?;
        let say = |k: usize, what: &str, r: &Regularizer| -> Result<()> {
            let z = r.report()?.totals;
            let st = r.stationarity(&net.loss(&data.train)?.backward()?)?;
            let w = st.worst().unwrap();
            println!(
                "{k:5} {what} zeros {:.4} rel {:.2e} {} {:?} loss+pen {:.6} {:.1} s",
                z.penalized_zeros as f64 / z.penalized_entries as f64,
                st.largest(),
                w.path,
                w.distance.place.as_ref().map(|p| p.to_string()),
                net.loss(&data.train)?.to_scalar::<f32>()? as f64 + r.value()?,
                t.elapsed().as_secs_f64()
            );
            Ok(())
        };
        let mut opt = ProxAdamW::new(
            vars.to_vec(),
            ParamsProxAdamW {
                lr,
                beta2: std::env::var("B2").map_or(0.999, |s| s.parse().unwrap()),
                ..ParamsProxAdamW::new(r.clone())
            },
        )?;
        for k in 0..steps {
            opt.set_learning_rate(lr * 0.5 * (1.0 + (std::f64::consts::PI * k as f64 / steps as f64).cos()));
            opt.backward_step(&net.loss(&data.train)?)?;
            if (k + 1) % (steps / 5) == 0 {
                say(k + 1, "adam ", opt.regularizer())?;
            }
        }
        for k in 0..its / 500 {
            let mut f = Fista::new(
                vars.to_vec(),
                ParamsFista { lr: 8.0, ..ParamsFista::new(r.clone(), || net.loss(&data.train)) },
            )?;
            let s = f.minimize(0.0, 500)?;
            say(k, &format!("fista {:.1e} {:.1e}", s.residual, f.learning_rate()), &r)?;
        }
        return Ok(());
    }
    if mode == "search" {
        match Budget::zeros(share).certified(1e-2).search(&r, &vars, || net.loss(&data.train), fit) {
            Ok(f) => println!("{f}"),
            Err(l1_core::Error::BudgetUnreached { so_far, denser, sparser, .. }) => {
                println!("{so_far}\n{denser:?} {sparser:?}")
            }
            Err(l1_core::Error::Path { so_far, source, .. }) => println!("{so_far}\n{source}"),
            Err(e) => return Err(e.into()),
        }
    } else {
        let s0 = n(7, 1e-5);
        let total = n(8, 600.0) as u64;
        let (every, gain, damping) = (n(9, 10.0) as u64, n(10, 0.1), n(11, 1.0));
        let mut r = r;
        r.set_scale(s0)?;
        let mut opt = ProxAdamW::new(vars.to_vec(), ParamsProxAdamW { lr, ..ParamsProxAdamW::new(r) })?;
        let mut c = Budget::zeros(share).online(ParamsOnline { every, gain, damping, ..ParamsOnline::new(total) })?;
        let all = total as usize * 3 / 2;
        for k in 0..all {
            opt.set_learning_rate(lr * 0.5 * (1.0 + (std::f64::consts::PI * k as f64 / all as f64).cos()));
            c.step(&mut opt, &net.loss(&data.train)?.backward()?)?;
            if k % (all / 30) == 0 || k + 1 == all {
                let z = opt.regularizer().report()?.totals;
                println!(
                    "{k:5} scale {:.3e} zeros {:.4}",
                    opt.regularizer().scale(),
                    z.penalized_zeros as f64 / z.penalized_entries as f64
                );
            }
        }
        println!("online {:.1} s", t.elapsed().as_secs_f64());
        println!(
            "relative {:.2e} acc {}",
            opt.stationarity(&net.loss(&data.train)?.backward()?)?.largest(),
            accuracy(&net.forward(&data.test.x)?, &data.test.y)?
        );
        match c.finish(opt.regularizer(), &vars, || net.loss(&data.train), fit) {
            Ok(f) => println!("{f}"),
            Err(l1_core::Error::BudgetUnreached { so_far, denser, sparser, .. }) => {
                println!("{so_far}\n{denser:?} {sparser:?}")
            }
            Err(e) => return Err(e.into()),
        }
    }
    println!("{:.1} s", t.elapsed().as_secs_f64());
    Ok(())
}
