//! From a number of zeros to λ: a network for MNIST's digits, nine tenths of whose weights are to be 0, by a search and while training.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::{Linear, Optimizer, VarBuilder, VarMap, linear, loss};
use clap::Parser;
use examples::{
    data::{Labelled, Mnist},
    measure::accuracy,
    run::{self, Options},
    start,
};
use l1_core::{
    Budget, BudgetReached, Fista, Fit, ParamsFista, ParamsOnline, ParamsProxSgd, ProxSgd, Regularized, Regularizer,
};

/// Which λ gives 90 % zeros? By a search, and by a controller while training
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Of the initial weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The share of zeros asked for
    #[arg(long, default_value_t = 0.9, value_parser = run::positive)]
    zeros: f64,
    /// Hidden units [default: 16, quick: 6]
    #[arg(long, value_parser = run::count)]
    hidden: Option<usize>,
}

/// How much is done.
struct Effort {
    hidden: usize,
    /// Images to learn from.
    rows: usize,
    /// Iterations of Fista in a fit, which is repeated where the certificate asks for it.
    iterations: usize,
    /// Steps of the controller.
    steps: u64,
    /// The relative distance from a stationary point that is near enough.
    near: f64,
}

impl Args {
    fn effort(&self) -> Effort {
        let mut effort = if self.options.quick {
            Effort { hidden: 6, rows: 300, iterations: 60, steps: 150, near: 1.0 }
        } else {
            Effort { hidden: 16, rows: 1000, iterations: 200, steps: 1200, near: 1e-2 }
        };
        effort.hidden = self.hidden.unwrap_or(effort.hidden);
        effort
    }
}

/// λ = 1, so that the scale is λ; and a ridge that goes with it, without which training would take several times as long to come to rest.
#[derive(Regularized)]
#[l1(lambda = 1.0, l2 = 4.0)]
struct Network {
    pixels: Linear,
    digits: Linear,
}

impl Network {
    fn new(args: &Args, effort: &Effort, varmap: &VarMap, device: &Device) -> Result<Self> {
        let vb = VarBuilder::from_varmap(varmap, DType::F32, device);
        let pixels = linear(Mnist::SIDE * Mnist::SIDE, effort.hidden, vb.pp("pixels"))?;
        let digits = linear(effort.hidden, 10, vb.pp("digits"))?;
        start::draw(varmap, args.seed)?;
        Ok(Self { pixels, digits })
    }
}

impl Module for Network {
    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        self.digits.forward(&self.pixels.forward(images)?.tanh()?)
    }
}

/// A network, its variables and its data.
struct Job<'a> {
    network: Network,
    vars: Vec<Var>,
    data: &'a Mnist,
    effort: &'a Effort,
}

impl<'a> Job<'a> {
    fn new(args: &Args, effort: &'a Effort, data: &'a Mnist) -> Result<Self> {
        let varmap = VarMap::new();
        let network = Network::new(args, effort, &varmap, data.train.device())?;
        Ok(Self { network, vars: varmap.all_vars(), data, effort })
    }

    fn loss(&self) -> candle_core::Result<Tensor> {
        let Labelled { x, y } = &self.data.train;
        loss::cross_entropy(&self.network.forward(x)?, y)
    }

    fn accuracy(&self) -> candle_core::Result<f64> {
        let Labelled { x, y } = &self.data.test;
        accuracy(&self.network.forward(x)?, y).map_err(candle_core::Error::wrap)
    }

    /// On all images at once, from where the weights are.
    fn fit(&self, fit: &mut Fit<'_>) -> l1_core::Result<()> {
        let params = ParamsFista::new(fit.regularizer().clone(), || self.loss());
        let near = self.effort.near * fit.scale();
        let _solution = Fista::new(self.vars.clone(), params)?.minimize(near, self.effort.iterations)?;
        fit.metric(READ_RIGHT, self.accuracy()?);
        Ok(())
    }

    fn regularizer(&self) -> l1_core::Result<Regularizer> {
        self.network.regularizer()
    }
}

const READ_RIGHT: &str = "read right";

fn main() -> Result<()> {
    let args = Args::parse();
    let effort = args.effort();
    let mut folder = args.options.folder("lambda_for_budget")?;
    let data = centred(Mnist::load(&args.options.device.device()?)?, effort.rows)?;
    let budget = Budget::zeros(args.zeros).certified(effort.near);
    println!("A network reads handwritten digits: 784 pixels, {} hidden units, 10 digits.", effort.hidden);
    println!("{} images to learn from, {} held out.", data.train.rows(), data.test.rows());
    println!("Asked for: {budget}, and λ so that the trained network has as many.\n");

    println!("== 1. By a search\n");
    println!("Fits upwards from a dense network, each from the weights of the one before, until too many weights are");
    println!("0; then halfway between, in the logarithm of λ, until the share is within 0.5 %.\n");
    let job = Job::new(&args, &effort, &data)?;
    let searched = budget.search(&job.regularizer()?, &job.vars, || job.loss(), |fit| job.fit(fit))?;
    println!("{searched}\n");
    let by_search = Outcome::of("search", &searched)?;
    let dense = searched.run.points[0].metric(READ_RIGHT).unwrap_or(f64::NAN);
    folder.text("search.csv", &searched.run.to_csv())?;

    println!("== 2. While training\n");
    println!("One training from the same start: a controller counts every 10 steps and moves λ, from a thousandth");
    println!("of what empties a layer.");
    println!(
        "After {} steps λ is held; then the network comes to rest, and λ is corrected if need be.\n",
        effort.steps
    );
    let job = Job::new(&args, &effort, &data)?;
    let mut regularizer = job.regularizer()?;
    let largest =
        regularizer.lambda_max(|| job.loss())?.rows.iter().filter_map(|row| row.emptied.lambda()).fold(0.0, f64::max);
    regularizer.set_scale(1e-3 * largest)?;
    let params = ParamsProxSgd { lr: 0.3, momentum: 0.9, nesterov: true, ..ParamsProxSgd::new(regularizer) };
    let mut opt = ProxSgd::new(job.vars.clone(), params)?;
    let mut controller = budget.online(ParamsOnline { gain: 0.2, ..ParamsOnline::new(effort.steps) })?;
    println!("   step         λ     zeros");
    let bar = run::progress(effort.steps as usize);
    for step in 0..effort.steps {
        controller.step(&mut opt, &job.loss()?.backward()?)?;
        bar.inc(1);
        if (step + 1) % (effort.steps / 10) == 0 {
            let totals = opt.regularizer().report()?.totals;
            let share = totals.penalized_zeros as f64 / totals.penalized_entries as f64;
            println!("  {:>5}  {:>8}  {:>8}", step + 1, small(opt.regularizer().scale()), percent(share));
        }
    }
    bar.finish_and_clear();
    let finished = controller.finish(opt.regularizer(), &job.vars, || job.loss(), |fit| job.fit(fit))?;
    println!("\n{finished}\n");
    let by_controller = Outcome::of("controller", &finished)?;
    folder.text("controller.csv", &finished.run.to_csv())?;

    println!("== 3. Both\n");
    println!("Distance: of −∇f of all images from the subdifferential of the penalty, the largest relative to λ.\n");
    println!("                       λ     zeros  read right    distance");
    println!("  {:<12}{:>10}{:>10}{:>12}", "dense", 0, percent(0.0), percent(dense));
    for outcome in [&by_search, &by_controller] {
        println!("{}", outcome.line());
        ensure!((outcome.zeros - args.zeros).abs() <= 0.005, "{} is off the budget", outcome.name);
        ensure!(outcome.distance <= effort.near, "{} is not stationary", outcome.name);
    }
    println!("\n{}", folder.summary());
    Ok(())
}

/// What came of one way.
struct Outcome {
    name: &'static str,
    lambda: f64,
    zeros: f64,
    read_right: f64,
    distance: f64,
}

impl Outcome {
    fn of(name: &'static str, reached: &BudgetReached) -> Result<Self> {
        let read_right = reached.point().and_then(|point| point.metric(READ_RIGHT)).unwrap_or(f64::NAN);
        let (zeros, distance) = (reached.share_of_zeros(), reached.certificate());
        Ok(Self { name, lambda: reached.scale, zeros, read_right, distance })
    }

    fn line(&self) -> String {
        let Self { name, lambda, zeros, read_right, distance } = self;
        let (lambda, zeros, read_right) = (small(*lambda), percent(*zeros), percent(*read_right));
        format!("  {name:<12}{lambda:>10}{zeros:>10}{read_right:>12}{distance:>12.1e}")
    }
}

/// The first images, each pixel with mean 0 over those to learn from: what all images have in common would make the loss steep in one direction alone.
fn centred(data: Mnist, rows: usize) -> Result<Mnist> {
    let Mnist { train, test } = data;
    let train = train.first(rows)?;
    let mean = train.x.mean_keepdim(0)?;
    let centred =
        |images: Labelled| -> Result<Labelled> { Ok(Labelled { x: images.x.broadcast_sub(&mean)?, y: images.y }) };
    Ok(Mnist { train: centred(train.first(rows)?)?, test: centred(test)? })
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Three digits.
fn small(value: f64) -> String {
    format!("{value:.2e}")
}
