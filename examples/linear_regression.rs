//! A lasso by gradient descent, twice: with the penalty in the loss, and with a proximal step. Only the second makes exact
//! zeros, and it ends where scikit-learn does.

use anyhow::Result;
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Linear, Optimizer, SGD, VarBuilder, VarMap, linear, loss};
use clap::Parser;
use examples::{
    data::{Diabetes, Standardization},
    measure::largest,
    run::{self, Options},
    start,
};
use l1_core::{ParamsProxSgd, ProxSgd, Regularized};

/// scikit-learn's α. Its loss is half the mean squared error, hence λ = 2α for candle's `mse`.
const ALPHA: f64 = 0.05;

/// What scikit-learn 1.9.1 finds, with x and y as here:
///
/// ```python
/// x, y = sklearn.datasets.load_diabetes(return_X_y=True, scaled=False)
/// scale = sklearn.preprocessing.scale
/// sklearn.linear_model.Lasso(alpha=0.05, tol=1e-15, max_iter=10**6).fit(scale(x), scale(y)).coef_
/// ```
const SCIKIT_LEARN: [f64; 10] = [
    0.0,
    -0.05532370966930372,
    0.31602369153065807,
    0.1491173193037972,
    0.0,
    0.0,
    -0.11125758986704348,
    0.0,
    0.2787901485564992,
    0.0029502220410234396,
];

/// Lasso regression: the penalty in the loss against a proximal step
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Of the initial weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps of each of the two [default: 3000, quick: 500]
    #[arg(long, value_parser = run::count)]
    steps: Option<usize>,
    /// Learning rate; above 0.25 the descent diverges
    #[arg(long, default_value_t = 0.1, value_parser = run::positive)]
    lr: f64,
}

#[derive(Regularized)]
struct Lasso {
    #[l1(lambda = 2.0 * ALPHA)]
    effects: Linear,
}

impl Lasso {
    fn new(varmap: &VarMap, seed: u64, device: &Device) -> Result<Self> {
        let vb = VarBuilder::from_varmap(varmap, DType::F64, device);
        let effects = linear(Diabetes::FEATURES.len(), 1, vb.pp("effects"))?;
        start::draw(varmap, seed)?;
        Ok(Self { effects })
    }

    fn mse(&self, data: &Diabetes) -> Result<Tensor> {
        Ok(loss::mse(&self.effects.forward(&data.x)?, &data.y)?)
    }

    fn weights(&self) -> Result<Vec<f64>> {
        Ok(self.effects.weight().flatten_all()?.to_vec1()?)
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut folder = args.options.folder("linear_regression")?;
    let device = args.options.device.device()?;
    let data = Diabetes::load(&device)?;
    let x = Standardization::of(&data.x)?.apply(&data.x)?;
    let y = Standardization::of(&data.y)?.apply(&data.y)?;
    let data = Diabetes { x, y };
    println!("Ten measurements of 442 people: which foretell how their diabetes progresses?");
    println!("Minimized: mean squared error + {}·Σ|w|, everything standardized.\n", 2.0 * ALPHA);

    let steps = args.steps.unwrap_or(if args.options.quick { 500 } else { 3000 });
    let varmap = VarMap::new();
    let model = Lasso::new(&varmap, args.seed, &device)?;
    let sgd = SGD::new(varmap.all_vars(), args.lr)?;
    descend(sgd, steps, || Ok((model.mse(&data)? + model.penalty()?)?))?;
    let with_penalty = model.weights()?;

    let varmap = VarMap::new();
    let model = Lasso::new(&varmap, args.seed, &device)?;
    let params = ParamsProxSgd { lr: args.lr, ..ParamsProxSgd::new(model.regularizer()?) };
    let prox_sgd = ProxSgd::new(varmap.all_vars(), params)?;
    descend(prox_sgd, steps, || model.mse(&data))?;
    let by_prox = model.weights()?;

    println!("{}", table(&with_penalty, &by_prox));
    println!("With the penalty in the loss, SGD is pushed back and forth across zero and never stops on it.");
    println!("The proximal step stops at zero: the same zeros as scikit-learn's, the same weights elsewhere.\n");

    let report = model.regularizer()?.report()?;
    println!("{report}\n");
    folder.text("weights.csv", &csv(&with_penalty, &by_prox))?;
    folder.report("report.json", &report)?;
    folder.model("model.safetensors", &varmap)?;
    println!("{}", folder.summary());
    Ok(())
}

fn descend(mut opt: impl Optimizer, steps: usize, loss: impl Fn() -> Result<Tensor>) -> Result<()> {
    let bar = run::progress(steps);
    for _ in 0..steps {
        opt.backward_step(&loss()?)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

fn table(with_penalty: &[f64], by_prox: &[f64]) -> String {
    let columns = [with_penalty, by_prox, &SCIKIT_LEARN];
    let row = |head: &str, [a, b, c]: [String; 3]| format!("  {head:<28}{a:>14}{b:>14}{c:>14}\n");
    let weight = |weight: f64| if weight == 0.0 { "0".to_owned() } else { format!("{weight:+.6}") };
    let mut table = row("", ["SGD + penalty", "ProxSgd", "scikit-learn"].map(str::to_owned));
    for (index, (_, meaning)) in Diabetes::FEATURES.iter().enumerate() {
        table += &row(meaning, columns.map(|column| weight(column[index])));
    }
    table += &row("exact zeros", columns.map(|column| zeros(column).to_string()));
    table += &row("furthest from scikit-learn", columns.map(|column| format!("{:.0e}", distance(column))));
    table
}

fn zeros(weights: &[f64]) -> usize {
    weights.iter().filter(|&&weight| weight == 0.0).count()
}

fn distance(weights: &[f64]) -> f64 {
    largest(weights.iter().zip(SCIKIT_LEARN).map(|(weight, reference)| (weight - reference).abs()))
}

fn csv(with_penalty: &[f64], by_prox: &[f64]) -> String {
    let mut csv = "feature,sgd_with_penalty,prox_sgd,scikit_learn\n".to_owned();
    for (index, (feature, _)) in Diabetes::FEATURES.iter().enumerate() {
        csv += &format!("{feature},{},{},{}\n", with_penalty[index], by_prox[index], SCIKIT_LEARN[index]);
    }
    csv
}
