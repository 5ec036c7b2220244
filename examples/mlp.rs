//! A two-layer network that reads handwritten digits: AdamW with the penalty in the loss against proximal AdamW.

use anyhow::Result;
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{AdamW, Linear, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear, loss};
use clap::Parser;
use examples::{
    data::{Digits, Labelled},
    measure::accuracy,
    run::{self, Options},
    start,
};
use l1_core::{ParamsProxAdamW, ProxAdamW, Regularized, Report};
use rand::{SeedableRng, rngs::StdRng};

/// A small network made sparse: the penalty in the loss against a proximal step
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Of the split into training and test, of the initial weights and of the batches
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Strength of the penalty on every weight
    #[arg(long, default_value_t = 0.001, value_parser = run::positive)]
    lambda: f64,
    /// Hidden units
    #[arg(long, default_value_t = 64, value_parser = run::count)]
    hidden: usize,
    /// Passes over the training images [default: 60, quick: 5]
    #[arg(long, value_parser = run::count)]
    epochs: Option<usize>,
    /// Learning rate at the start; it falls to 0
    #[arg(long, default_value_t = 0.02, value_parser = run::positive)]
    lr: f64,
}

#[derive(Regularized)]
#[l1(lambda = self.lambda)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
    lambda: f64,
}

impl Mlp {
    fn new(args: &Args, varmap: &VarMap, device: &Device) -> Result<Self> {
        let vb = VarBuilder::from_varmap(varmap, DType::F32, device);
        let fc1 = linear(PIXELS, args.hidden, vb.pp("fc1"))?;
        let fc2 = linear(args.hidden, 10, vb.pp("fc2"))?;
        start::draw(varmap, args.seed)?;
        Ok(Self { fc1, fc2, lambda: args.lambda })
    }

    fn loss(&self, digits: &Labelled) -> Result<Tensor> {
        Ok(loss::cross_entropy(&self.forward(&digits.x)?, &digits.y)?)
    }
}

impl Module for Mlp {
    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        self.fc2.forward(&self.fc1.forward(images)?.relu()?)
    }
}

const PIXELS: usize = Digits::SIDE * Digits::SIDE;
const BATCH: usize = 64;

fn main() -> Result<()> {
    let args = Args::parse();
    let mut folder = args.options.folder("mlp")?;
    let device = args.options.device.device()?;
    let digits = Digits::load(args.seed, &device)?;
    println!("A network reads handwritten digits: {PIXELS} pixels, {} hidden units, 10 digits.", args.hidden);
    println!("{} images to learn from, {} held out.", digits.train.rows(), digits.test.rows());
    println!("Minimized, from the same start: cross-entropy + {}·Σ|w|; the biases are free.\n", args.lambda);

    let varmap = VarMap::new();
    let model = Mlp::new(&args, &varmap, &device)?;
    let params = ParamsAdamW { lr: args.lr, weight_decay: 0.0, ..Default::default() };
    let adamw = AdamW::new(varmap.all_vars(), params)?;
    let regularizer = model.regularizer()?;
    train(&args, &digits.train, adamw, |batch| Ok((model.loss(batch)? + regularizer.penalty()?)?))?;
    let with_penalty = Outcome::of("AdamW, penalty in the loss", &model, &digits)?;

    let varmap = VarMap::new();
    let model = Mlp::new(&args, &varmap, &device)?;
    let params = ParamsProxAdamW { lr: args.lr, ..ParamsProxAdamW::new(model.regularizer()?) };
    let prox_adamw = ProxAdamW::new(varmap.all_vars(), params)?;
    train(&args, &digits.train, prox_adamw, |batch| model.loss(batch))?;
    let by_prox = Outcome::of("ProxAdamW", &model, &digits)?;

    println!("{}", table(&with_penalty, &by_prox));
    println!("The penalty in the loss makes weights small; only the proximal step makes them zero.");
    println!("A pixel without any weight need not be scanned, and a unit switched off, which says the same of every");
    println!("image, can be cut out once its constant is in the next biases.\n");
    println!("ProxAdamW: how many hidden units look at each pixel.\n\n{}", by_prox.pixel_map());
    for outcome in [&with_penalty, &by_prox] {
        println!("{}:\n{}\n", outcome.name, outcome.report);
    }
    folder.report("adamw.report.json", &with_penalty.report)?;
    folder.report("prox_adamw.report.json", &by_prox.report)?;
    folder.model("prox_adamw.safetensors", &varmap)?;
    println!("{}", folder.summary());
    Ok(())
}

/// Passes over the images in batches, the same ones for both optimizers.
fn train(
    args: &Args,
    images: &Labelled,
    mut opt: impl Optimizer,
    loss: impl Fn(&Labelled) -> Result<Tensor>,
) -> Result<()> {
    let epochs = args.epochs.unwrap_or(if args.options.quick { 5 } else { 60 });
    let mut rng = StdRng::seed_from_u64(args.seed);
    let bar = run::progress(epochs * (images.rows() / BATCH));
    for epoch in 0..epochs {
        opt.set_learning_rate(run::falling(args.lr, epoch as f64 / epochs as f64));
        for batch in images.batches(BATCH, &mut rng)? {
            opt.backward_step(&loss(&batch)?)?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// What came of one training.
struct Outcome {
    name: &'static str,
    accuracy: f64,
    report: Report,
    /// |w| of every weight.
    sizes: Vec<f32>,
    /// Weights that are not 0, for each pixel.
    of_pixels: Vec<usize>,
    /// Incoming and outgoing weights that are not 0, for each hidden unit.
    of_units: Vec<(usize, usize)>,
}

impl Outcome {
    fn of(name: &'static str, model: &Mlp, digits: &Digits) -> Result<Self> {
        let (fc1, fc2) = (model.fc1.weight(), model.fc2.weight());
        let sizes = Tensor::cat(&[fc1.flatten_all()?, fc2.flatten_all()?], 0)?.abs()?.to_vec1()?;
        Ok(Self {
            name,
            accuracy: accuracy(&model.forward(&digits.test.x)?, &digits.test.y)?,
            report: model.regularizer()?.report()?,
            sizes,
            of_pixels: nonzero_in_rows(&fc1.t()?)?,
            of_units: nonzero_in_rows(fc1)?.into_iter().zip(nonzero_in_rows(&fc2.t()?)?).collect(),
        })
    }

    fn below(&self, size: f32) -> usize {
        self.sizes.iter().filter(|&&weight| weight < size).count()
    }

    fn unused_pixels(&self) -> usize {
        self.of_pixels.iter().filter(|&&weights| weights == 0).count()
    }

    /// A unit that no pixel reaches, or that reaches no digit.
    fn dead_units(&self) -> usize {
        self.of_units.iter().filter(|&&(incoming, outgoing)| incoming == 0 || outgoing == 0).count()
    }

    fn pixel_map(&self) -> String {
        let cell = |&weights: &usize| if weights == 0 { "   ·".to_owned() } else { format!("{weights:>4}") };
        let line = |pixels: &[usize]| format!("  {}\n", pixels.iter().map(cell).collect::<String>());
        self.of_pixels.chunks(Digits::SIDE).map(line).collect()
    }
}

fn nonzero_in_rows(matrix: &Tensor) -> Result<Vec<usize>> {
    let rows = matrix.to_vec2::<f32>()?;
    Ok(rows.iter().map(|row| row.iter().filter(|&&weight| weight != 0.0).count()).collect())
}

fn table(with_penalty: &Outcome, by_prox: &Outcome) -> String {
    let both = [with_penalty, by_prox];
    let row = |head: &str, cell: &dyn Fn(&Outcome) -> String| {
        format!("  {head:<28}{:>28}{:>12}\n", cell(both[0]), cell(both[1]))
    };
    let weights = by_prox.sizes.len();
    [
        row("", &|outcome| outcome.name.to_owned()),
        row("held-out digits read right", &|outcome| format!("{:.1} %", 100.0 * outcome.accuracy)),
        row(&format!("of {weights} weights: below 1e-4"), &|outcome| outcome.below(1e-4).to_string()),
        row("exactly zero", &|outcome| outcome.report.totals.penalized_zeros.to_string()),
        row("pixels without any weight", &|outcome| outcome.unused_pixels().to_string()),
        row("hidden units switched off", &|outcome| outcome.dead_units().to_string()),
    ]
    .concat()
}
