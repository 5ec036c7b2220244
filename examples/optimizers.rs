//! Where does each optimizer end? The same logistic regression by all of them, and how far each is from a solution of the problem
//! that was declared.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{AdamW, Linear, Optimizer, ParamsAdamW, SGD, VarBuilder, VarMap, linear, loss};
use clap::Parser;
use examples::{
    data::{Diabetes, Standardization},
    measure::largest,
    run::{self, Folder, Options},
    start,
};
use l1_core::{
    FtrlProximal, ParamsFtrl, ParamsProxAdamW, ParamsProxSgd, ParamsProximal, ProxAdamW, ProxSgd, Proximal, Regularized,
};

const LAMBDA: f64 = 0.03;

/// ε of Adam; it does not move the fixed points of `ProxAdamW`, but it is all there is of the penalty behind `Proximal<AdamW>`.
const EPS: f64 = 1e-8;

/// Logistic regression by every optimizer, and where each ends
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Of the initial weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps of each of them [default: 4000, quick: 500]
    #[arg(long, value_parser = run::count)]
    steps: Option<usize>,
}

#[derive(Regularized)]
struct Risk {
    #[l1(lambda = LAMBDA)]
    factors: Linear,
}

/// The problem: the data, and where the optimizers start.
struct Problem {
    x: Tensor,
    y: Tensor,
    seed: u64,
    steps: usize,
}

/// Where an optimizer ended.
struct End {
    optimizer: &'static str,
    /// Largest violation of the optimality conditions, relative to λ.
    violation: f64,
    /// Weights that are exactly 0.
    zeros: usize,
    /// Smallest and largest |∇f| of the weights that are not.
    slopes: (f64, f64),
}

impl Problem {
    fn loss(&self, model: &Risk) -> Result<Tensor> {
        Ok(loss::binary_cross_entropy_with_logit(&model.factors.forward(&self.x)?, &self.y)?)
    }

    fn end<O: Optimizer>(
        &self,
        optimizer: &'static str,
        lr: f64,
        params: impl FnOnce(l1_core::Regularizer) -> O::Config,
        in_loss: bool,
    ) -> Result<End> {
        let varmap = VarMap::new();
        let vb = VarBuilder::from_varmap(&varmap, DType::F64, &Device::Cpu);
        let model = Risk { factors: linear(Diabetes::FEATURES.len(), 1, vb.pp("factors"))? };
        start::draw(&varmap, self.seed)?;
        let mut opt = O::new(varmap.all_vars(), params(model.regularizer()?))?;
        let bar = run::progress(self.steps);
        for step in 0..self.steps {
            opt.set_learning_rate(run::falling(lr, step as f64 / self.steps as f64));
            let loss = self.loss(&model)?;
            opt.backward_step(&if in_loss { (loss + model.penalty()?)? } else { loss })?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        self.measure(optimizer, &model)
    }

    /// The optimality conditions of loss + λ‖w‖₁: ∇f = −λ·sign(w) where w ≠ 0, |∇f| ≤ λ where w = 0, ∇f = 0 at the bias.
    fn measure(&self, optimizer: &'static str, model: &Risk) -> Result<End> {
        let grads = self.loss(model)?.backward()?;
        let slopes = |tensor: &Tensor| -> Result<Vec<f64>> {
            Ok(grads.get(tensor).context("the loss reaches every parameter")?.flatten_all()?.to_vec1()?)
        };
        let (weight, bias) = (model.factors.weight(), model.factors.bias().context("it has a bias")?);
        let weights: Vec<f64> = weight.flatten_all()?.to_vec1()?;
        let conditions = weights.iter().zip(slopes(weight)?).map(|(weight, slope)| match *weight {
            0.0 => (slope.abs() - LAMBDA).max(0.0),
            weight => (slope + LAMBDA * weight.signum()).abs(),
        });
        let at_bias = slopes(bias)?.into_iter().map(f64::abs);
        let on_support = weights.iter().zip(slopes(weight)?).filter(|(weight, _)| **weight != 0.0);
        let on_support: Vec<f64> = on_support.map(|(_, slope)| slope.abs()).collect();
        Ok(End {
            optimizer,
            violation: largest(conditions.chain(at_bias)) / LAMBDA,
            zeros: weights.iter().filter(|&&weight| weight == 0.0).count(),
            slopes: (on_support.iter().copied().fold(f64::INFINITY, f64::min), largest(on_support)),
        })
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut folder = args.options.folder("optimizers")?;
    let data = Diabetes::load()?;
    let x = Standardization::of(&data.x)?.apply(&data.x)?;
    let mut sorted: Vec<f64> = data.y.flatten_all()?.to_vec1()?;
    sorted.sort_unstable_by(f64::total_cmp);
    let y = data.y.gt(sorted[sorted.len() / 2])?.to_dtype(DType::F64)?;
    let steps = args.steps.unwrap_or(if args.options.quick { 500 } else { 4000 });
    let problem = Problem { x, y, seed: args.seed, steps };

    println!("Ten measurements of 442 people: whose diabetes progresses faster than that of most?");
    println!("Minimized by each optimizer, {steps} full batches, learning rate falling to 0:");
    println!("logistic loss + {LAMBDA}·Σ|w|, the bias free.\n");
    let ends = ends(&problem)?;
    println!("{}", table(&ends));
    println!(
        "The first six reach the solution, with the same zeros. The three below do not solve this problem. With the"
    );
    println!(
        "penalty in the loss no weight is zero, and those near it hop across. A Euclidean prox behind Adam leaves the"
    );
    let limit = EPS * LAMBDA / (1.0 - LAMBDA);
    println!("weights unpenalized: |∇f| falls to ελ/(1 − λ) = {limit:.0e}, not to λ = {LAMBDA}.\n");
    write(&mut folder, &ends)?;
    println!("{}", folder.summary());
    Ok(())
}

fn ends(problem: &Problem) -> Result<Vec<End>> {
    let sgd =
        |momentum, nesterov| move |regularizer| ParamsProxSgd { momentum, nesterov, ..ParamsProxSgd::new(regularizer) };
    let adamw = |amsgrad| move |regularizer| ParamsProxAdamW { eps: EPS, amsgrad, ..ParamsProxAdamW::new(regularizer) };
    let candles = || ParamsAdamW { weight_decay: 0.0, eps: EPS, ..ParamsAdamW::default() };
    Ok(vec![
        problem.end::<ProxSgd>("ProxSgd", 1.0, sgd(0.0, false), false)?,
        problem.end::<ProxSgd>("ProxSgd, momentum 0.9", 0.3, sgd(0.9, false), false)?,
        problem.end::<ProxSgd>("ProxSgd, Nesterov 0.9", 0.3, sgd(0.9, true), false)?,
        problem.end::<ProxAdamW>("ProxAdamW", 0.05, adamw(false), false)?,
        problem.end::<ProxAdamW>("ProxAdamW, AMSGrad", 0.05, adamw(true), false)?,
        problem.end::<FtrlProximal>("FtrlProximal", 2.0, ParamsFtrl::new, false)?,
        problem.end::<SGD>("SGD, penalty in the loss", 1.0, |_| 1.0, true)?,
        problem.end::<AdamW>("AdamW, penalty in the loss", 0.05, |_| candles(), true)?,
        problem.end::<Proximal<AdamW>>("Proximal<AdamW>", 0.05, |r| ParamsProximal::new(candles(), r), false)?,
    ])
}

fn table(ends: &[End]) -> String {
    let mut table = format!("  {:<28}{:>18}{:>14}{:>26}\n", "", "violation / λ", "exact zeros", "|∇f| where w ≠ 0");
    for End { optimizer, violation, zeros, slopes: (least, most) } in ends {
        let slopes = format!("{least:.2e} … {most:.2e}");
        table += &format!("  {optimizer:<28}{violation:>18.1e}{zeros:>14}{slopes:>26}\n");
    }
    table
}

fn write(folder: &mut Folder, ends: &[End]) -> Result<()> {
    let mut csv = "optimizer,violation_over_lambda,exact_zeros,least_slope,largest_slope\n".to_owned();
    for End { optimizer, violation, zeros, slopes: (least, most) } in ends {
        csv += &format!("\"{optimizer}\",{violation},{zeros},{least},{most}\n");
    }
    folder.text("optimizers.csv", &csv)
}
