//! Clipping the L1 norm of the gradients: it bounds each step. It is not L1 regularization, and the count of zeros shows
//! it.

use anyhow::Result;
use candle_core::{DType, Module, Tensor, Var, backprop::GradStore};
use candle_nn::{Linear, Optimizer, SGD, VarBuilder, VarMap, linear, loss};
use clap::Parser;
use examples::{
    data::{Digits, Labelled},
    measure::accuracy,
    run::{self, Options},
    start,
};
use l1_core::{Norm, Regularized, Report, clip_grad_norm};
use rand::{SeedableRng, rngs::StdRng};

/// Training at a learning rate that is too high, with the L1 norm of the gradients clipped and without
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Of the split into training and test, of the initial weights and of the batches
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The L1 norm that the gradients of all parameters together may have
    #[arg(long, default_value_t = 10.0, value_parser = run::positive)]
    max_norm: f64,
    /// Steps of each of the two [default: 600, quick: 100]
    #[arg(long, value_parser = run::count)]
    steps: Option<usize>,
    /// Learning rate
    #[arg(long, default_value_t = 2.0, value_parser = run::positive)]
    lr: f64,
}

/// No λ anywhere: the report says so for each parameter.
#[derive(Regularized)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    fn loss(&self, digits: &Labelled) -> Result<Tensor> {
        Ok(loss::cross_entropy(&self.forward(&digits.x)?, &digits.y)?)
    }
}

impl Module for Mlp {
    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        self.fc2.forward(&self.fc1.forward(images)?.relu()?)
    }
}

const HIDDEN: usize = 64;
const BATCH: usize = 64;

fn main() -> Result<()> {
    let args = Args::parse();
    let mut folder = args.options.folder("grad_clipping")?;
    let digits = Digits::load(args.seed, &args.options.device.device()?)?;
    println!(
        "A network learns to read digits at a high learning rate, {}, with clipped gradients and without.",
        args.lr
    );
    println!("Clipped: all gradients are scaled by one factor, so that the sum of their absolute values");
    println!("(their L1 norm) is at most {}.\n", args.max_norm);

    let clipped = train(&args, &digits, Gradients::Clipped)?;
    let plain = train(&args, &digits, Gradients::Plain)?;

    println!("{}", table(&clipped.history, &plain.history));
    println!("Held-out digits read right: {:.1} % with clipping, {:.1} % without.\n", clipped.percent, plain.percent);
    let totals = clipped.report.totals;
    println!("This is not L1 regularization. Clipping bounds each step, whatever the weights are; a penalty pulls");
    println!("the weights themselves to zero. Here {} of {} are zero:\n", totals.zeros, totals.entries);
    println!("{}\n", clipped.report);
    folder.text("norms.csv", &csv(&clipped.history, &plain.history))?;
    folder.report("report.json", &clipped.report)?;
    println!("{}", folder.summary());
    Ok(())
}

#[derive(Clone, Copy)]
enum Gradients {
    Clipped,
    Plain,
}

/// What came of one training.
struct Outcome {
    history: Vec<Step>,
    /// Held-out digits read right.
    percent: f64,
    report: Report,
}

/// What one step saw.
struct Step {
    loss: f64,
    /// L1 norm of the gradients as they came.
    norm: f64,
    /// L1 norm of the gradients that were stepped along.
    norm_used: f64,
}

fn train(args: &Args, digits: &Digits, gradients: Gradients) -> Result<Outcome> {
    let steps = args.steps.unwrap_or(if args.options.quick { 100 } else { 600 });
    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F32, digits.train.device());
    let pixels = Digits::SIDE * Digits::SIDE;
    let model = Mlp { fc1: linear(pixels, HIDDEN, vb.pp("fc1"))?, fc2: linear(HIDDEN, 10, vb.pp("fc2"))? };
    start::draw(&varmap, args.seed)?;

    let vars = varmap.all_vars();
    let mut opt = SGD::new(vars.clone(), args.lr)?;
    let mut rng = StdRng::seed_from_u64(args.seed);
    let mut batches = Vec::new();
    let mut history = Vec::new();
    let bar = run::progress(steps);
    for _ in 0..steps {
        if batches.is_empty() {
            batches = digits.train.batches(BATCH, &mut rng)?;
        }
        let Some(batch) = batches.pop() else { break };
        let loss = model.loss(&batch)?;
        let mut grads = loss.backward()?;
        let bound = match gradients {
            Gradients::Clipped => args.max_norm,
            Gradients::Plain => f64::INFINITY,
        };
        let norm = clip(&mut grads, &vars, bound)?;
        let norm_used = clip(&mut grads, &vars, f64::INFINITY)?;
        history.push(Step { loss: loss.to_scalar::<f32>()?.into(), norm, norm_used });
        opt.step(&grads)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let percent = 100.0 * accuracy(&model.forward(&digits.test.x)?, &digits.test.y)?;
    Ok(Outcome { history, percent, report: model.regularizer()?.report()? })
}

/// Bounds the gradients' L1 norm and returns what it was before; a bound of ∞ only measures.
fn clip(grads: &mut GradStore, vars: &[Var], max_norm: f64) -> Result<f64> {
    Ok(clip_grad_norm(grads, vars, max_norm, Norm::L1)?.to_scalar::<f32>()?.into())
}

fn table(clipped: &[Step], plain: &[Step]) -> String {
    let mut table = format!("  {:>4}{:>23}{:>23}\n", "", "with clipping", "without");
    table += &format!("  {:>4}{:>9}{:>8}{:>8}{:>9}{:>8}\n", "step", "loss", "norm", "used", "loss", "norm");
    let moments = [0, 1, 2, 5, 10, 20, 50, 100, 200, 400].into_iter().filter(|&step| step + 1 < clipped.len());
    for step in moments.chain([clipped.len() - 1]) {
        let (ours, theirs) = (&clipped[step], &plain[step]);
        table += &format!("  {step:>4}{:>9.4}{:>8.2}{:>8.2}", ours.loss, ours.norm, ours.norm_used);
        table += &format!("{:>9.4}{:>8.2}\n", theirs.loss, theirs.norm);
    }
    table
}

fn csv(clipped: &[Step], plain: &[Step]) -> String {
    let mut csv = "step,loss_clipped,norm_clipped,norm_used,loss_plain,norm_plain\n".to_owned();
    for (step, (ours, theirs)) in clipped.iter().zip(plain).enumerate() {
        csv += &format!("{step},{},{},{},{},{}\n", ours.loss, ours.norm, ours.norm_used, theirs.loss, theirs.norm);
    }
    csv
}
