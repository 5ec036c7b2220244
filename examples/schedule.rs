//! λ that changes while training: warm-up, penalize, freeze; and whether that is better than the penalty to the end.

use anyhow::Result;
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Linear, Optimizer, VarBuilder, VarMap, linear, loss};
use clap::Parser;
use examples::{
    data::{Digits, Labelled},
    measure::accuracy,
    run::{self, Options},
    start,
};
use indicatif::ProgressBar;
use l1_core::{ParamsProxAdamW, Phase, Phases, ProxAdamW, Regularized, Schedule, Schedules, Stationarity};
use rand::{SeedableRng, rngs::StdRng};

/// Warm-up, penalize, freeze the support: a network for digits, beside the same network under the penalty to the end
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Of the split into training and test, of the initial weights and of the batches; the first of those that are tried
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds the comparison is the mean of [default: 5, quick: 1]
    #[arg(long, value_parser = run::count)]
    seeds: Option<usize>,
    /// Hidden units
    #[arg(long, default_value_t = 32, value_parser = run::count)]
    hidden: usize,
    /// Passes over the training images: one in six is warm-up, one in six a ramp, a third under the full penalty, a third frozen
    /// [default: 60, quick: 6]
    #[arg(long, value_parser = run::count)]
    epochs: Option<usize>,
    /// Learning rate at the start; it falls to 0
    #[arg(long, default_value_t = 0.02, value_parser = run::positive)]
    lr: f64,
}

impl Args {
    fn epochs(&self) -> usize {
        self.epochs.unwrap_or(if self.options.quick { 6 } else { 60 })
    }

    fn seeds(&self) -> Vec<u64> {
        let count = self.seeds.unwrap_or(if self.options.quick { 1 } else { 5 });
        (self.seed..).take(count).collect()
    }

    /// Strengths of the penalty: a mild one, one as in `mlp`'s neighbourhood, and strong ones.
    fn lambdas(&self) -> &'static [f64] {
        if self.options.quick { &[0.01] } else { &[0.001, 0.003, 0.01, 0.02] }
    }
}

#[derive(Regularized)]
#[l1(lambda = self.lambda)]
struct Network {
    fc1: Linear,
    fc2: Linear,
    lambda: f64,
}

impl Network {
    fn new(args: &Args, lambda: f64, seed: u64, varmap: &VarMap, device: &Device) -> Result<Self> {
        let vb = VarBuilder::from_varmap(varmap, DType::F32, device);
        let fc1 = linear(PIXELS, args.hidden, vb.pp("fc1"))?;
        let fc2 = linear(args.hidden, 10, vb.pp("fc2"))?;
        start::draw(varmap, seed)?;
        Ok(Self { fc1, fc2, lambda })
    }

    fn loss(&self, digits: &Labelled) -> candle_core::Result<Tensor> {
        loss::cross_entropy(&self.forward(&digits.x)?, &digits.y)
    }
}

impl Module for Network {
    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        self.fc2.forward(&self.fc1.forward(images)?.relu()?)
    }
}

const PIXELS: usize = Digits::SIDE * Digits::SIDE;
const BATCH: usize = 64;

/// λ of the first part, which shows one training phase by phase.
const SHOWN: f64 = 0.01;

/// What is seen of a network at one time.
#[derive(Clone, Copy)]
struct Seen {
    steps: u64,
    scale: f64,
    loss: f64,
    accuracy: f64,
    zeros: usize,
    entries: usize,
}

/// One training.
struct Trained {
    /// At the end of each phase.
    seen: Vec<(Phase, Seen)>,
    stationarity: Stationarity,
    varmap: VarMap,
}

impl Trained {
    fn at(&self, phase: Phase) -> Option<Seen> {
        self.seen.iter().find(|(at, _)| *at == phase).map(|(_, seen)| *seen)
    }

    fn last(&self) -> Result<Seen> {
        self.seen.last().map(|(_, seen)| *seen).ok_or_else(|| anyhow::anyhow!("it was not trained"))
    }
}

/// So many steps make an epoch.
fn steps_of(digits: &Digits, epochs: usize) -> u64 {
    (epochs * (digits.train.rows() / BATCH)) as u64
}

fn phases(args: &Args, digits: &Digits) -> Phases {
    let part = |share: usize| steps_of(digits, args.epochs() / share);
    Phases::new().warm_up(part(6)).ramp(part(6)).penalize(part(3))
}

/// The same without its last phase: penalized to the end.
fn to_the_end(args: &Args, digits: &Digits) -> Phases {
    let part = |share: usize| steps_of(digits, args.epochs() / share);
    Phases::new().warm_up(part(6)).ramp(part(6))
}

/// From the same start, on the same batches and at the same rates, whatever λ and phases.
fn train(args: &Args, lambda: f64, seed: u64, digits: &Digits, phases: Phases, bar: &ProgressBar) -> Result<Trained> {
    let varmap = VarMap::new();
    let network = Network::new(args, lambda, seed, &varmap, digits.train.device())?;
    let mut regularizer = network.regularizer()?;
    regularizer.set_schedules(Schedules::new().phases(phases))?;
    let params = ParamsProxAdamW { lr: args.lr, ..ParamsProxAdamW::new(regularizer) };
    let mut opt = ProxAdamW::new(varmap.all_vars(), params)?;
    let steps = steps_of(digits, args.epochs());
    // A schedule is a plain value, for other numbers too.
    let lr = Schedule::cosine(args.lr, 0.0, steps);

    let (mut seen, mut rng) = (Vec::new(), StdRng::seed_from_u64(seed));
    while opt.steps() < steps {
        for batch in digits.train.batches(BATCH, &mut rng)? {
            let phase = phases.phase(opt.steps());
            opt.set_learning_rate(lr.value(opt.steps()));
            opt.backward_step(&network.loss(&batch)?)?;
            bar.inc(1);
            if opt.steps() == steps || phases.phase(opt.steps()) != phase {
                let report = opt.regularizer().report()?;
                // Those with a λ, also while its scale is 0.
                let weights = || report.parameters.iter().filter(|row| row.decision.penalty().is_some());
                let now = Seen {
                    steps: opt.steps(),
                    scale: if phase == Phase::Freeze { 0.0 } else { opt.regularizer().scale() },
                    loss: f64::from(network.loss(&digits.train)?.to_scalar::<f32>()?),
                    accuracy: accuracy(&network.forward(&digits.test.x)?, &digits.test.y)?,
                    zeros: weights().map(|row| row.zeros).sum(),
                    entries: weights().map(|row| row.entries).sum(),
                };
                seen.push((phase, now));
            }
        }
    }
    let stationarity = opt.stationarity(&network.loss(&digits.train)?.backward()?)?;
    Ok(Trained { seen, stationarity, varmap })
}

/// Penalized to the end, with the λ at which as many weights are 0 as there are to be, or nearly so.
fn at_equal_zeros(
    args: &Args,
    (lambda, zeros): (f64, usize),
    seed: u64,
    digits: &Digits,
    bar: &ProgressBar,
) -> Result<(f64, Trained)> {
    let train = |lambda: f64| train(args, lambda, seed, digits, to_the_end(args, digits), bar);
    let tries = if args.options.quick { 2 } else { 6 };
    // Half a percent of the weights.
    let near = |seen: Seen| seen.zeros.abs_diff(zeros) * 200 <= seen.entries;
    let (mut low, mut high) = (0.4 * lambda, 1.6 * lambda);
    let mut best: Option<(f64, Trained)> = None;
    let mut tried = lambda;
    for _ in 0..tries {
        let trained = train(tried)?;
        let found = trained.last()?;
        *if found.zeros < zeros { &mut low } else { &mut high } = tried;
        let distance = |other: &Trained| other.last().map_or(usize::MAX, |seen| seen.zeros.abs_diff(zeros));
        if best.as_ref().is_none_or(|(_, best)| distance(&trained) < distance(best)) {
            best = Some((tried, trained));
        }
        if near(found) {
            break;
        }
        tried = (low * high).sqrt();
    }
    best.ok_or_else(|| anyhow::anyhow!("no λ was tried"))
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut folder = args.options.folder("schedule")?;
    let device = args.options.device.device()?;
    let digits = Digits::load(args.seed, &device)?;
    let phases = phases(&args, &digits);
    println!("A network reads handwritten digits: {PIXELS} pixels, {} hidden units, 10 digits.", args.hidden);
    println!("{} images to learn from, {} held out.\n", digits.train.rows(), digits.test.rows());
    let bar = run::progress(0);

    println!("== 1. One training, phase by phase\n");
    println!("λ = {SHOWN} on every weight times the scale; ProxAdamW follows\n");
    println!("  {}\n", Schedules::new().phases(phases));
    let trained = train(&args, SHOWN, args.seed, &digits, phases, &bar)?;
    bar.finish_and_clear();
    println!("  after        steps   scale   exactly zero      loss   read right");
    for (phase, seen) in &trained.seen {
        println!("{}", line(*phase, seen));
    }
    println!(
        "\nThe loss is that of the images to learn from, without the penalty; the scale that of the last step. In the"
    );
    println!(
        "last phase it counts as 0, the zeros stay, and the weights that are left make up for what the penalty took.\n"
    );
    println!("{}\n", trained.stationarity);
    println!("Where a support is frozen, a weight that is not 0 is asked for a gradient of 0, and a zero for nothing.");
    println!("(Relative to 1, since nothing is penalized any more; the batches keep it from 0.)\n");

    println!("== 2. Is it better than the penalty to the end?\n");
    println!(
        "As many steps, from the same start, on the same batches, at the same rates, and with as many zeros: for that"
    );
    println!(
        "the λ of the training that is penalized to the end is found by bisection. Means over {} splits and starts;",
        args.seeds().len()
    );
    println!("±: the standard deviation of their differences.\n");
    println!("            exactly zero       read right, held out                    loss");
    println!("       λ  frozen  to the end   frozen  to the end   difference   frozen  to the end");
    for &lambda in args.lambdas() {
        println!("{}", compared(&args, lambda, &device, &bar)?);
    }
    bar.finish_and_clear();

    folder.text("certificate.json", &serde_json::to_string_pretty(&trained.stationarity)?)?;
    folder.model("frozen.safetensors", &trained.varmap)?;
    println!("\n{}", folder.summary());
    Ok(())
}

fn line(phase: Phase, seen: &Seen) -> String {
    let Seen { steps, scale, loss, accuracy, zeros, entries } = seen;
    let zeros = format!("{zeros} of {entries}");
    format!("  {phase:<10}{steps:>8}{scale:>8.2}{zeros:>15}{loss:>10.4}{:>10.1} %", 100.0 * accuracy)
}

/// A line of the comparison at one λ.
fn compared(args: &Args, lambda: f64, device: &Device, bar: &ProgressBar) -> Result<String> {
    let mut pairs = Vec::new();
    for seed in args.seeds() {
        let digits = Digits::load(seed, device)?;
        let frozen = train(args, lambda, seed, &digits, phases(args, &digits), bar)?;
        let frozen = frozen.at(Phase::Freeze).ok_or_else(|| anyhow::anyhow!("too few epochs for four phases"))?;
        let (_, to_the_end) = at_equal_zeros(args, (lambda, frozen.zeros), seed, &digits, bar)?;
        pairs.push((frozen, to_the_end.last()?));
    }
    let count = pairs.len() as f64;
    let mean = |of: &dyn Fn(&(Seen, Seen)) -> f64| pairs.iter().map(of).sum::<f64>() / count;
    let difference = |(frozen, other): &(Seen, Seen)| 100.0 * (frozen.accuracy - other.accuracy);
    let mean_difference = mean(&difference);
    let squares = pairs.iter().map(|pair| (difference(pair) - mean_difference).powi(2)).sum::<f64>();
    let deviation = (squares / (count - 1.0).max(1.0)).sqrt();
    let zeros = |seen: &Seen| 100.0 * seen.zeros as f64 / seen.entries as f64;
    Ok(format!(
        "{lambda:>8}{:>6.1} %{:>10.1} %{:>7.1} %{:>10.1} %{mean_difference:>+7.1} ±{deviation:>3.1}{:>10.4}{:>12.4}",
        mean(&|(frozen, _)| zeros(frozen)),
        mean(&|(_, other)| zeros(other)),
        mean(&|(frozen, _)| 100.0 * frozen.accuracy),
        mean(&|(_, other)| 100.0 * other.accuracy),
        mean(&|(frozen, _)| frozen.loss),
        mean(&|(_, other)| other.loss),
    ))
}
