//! Structured sparsity on handwritten digits: whole pixels, whole neurons and whole directions vanish; MCP beside L1 at equal
//! sparsity; and a certificate of where the training ended.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Linear, Optimizer, VarBuilder, VarMap, linear, loss};
use clap::Parser;
use examples::{
    data::{Digits, Labelled},
    measure::{accuracy, largest},
    picture::{FAINT, HPos, INK, MAIN, VPos, svg, words},
    run::{self, Options},
    start,
};
use l1_core::{Fista, ParamsFista, ParamsProxAdamW, ProxAdamW, Regularized, Stationarity, Visitor};
use plotters::prelude::*;

/// Which pixels does a network need, how many neurons, which rank? Groups of weights that vanish together
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Of the split into training and test, and of the initial weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Strength of the penalty on pixels and neurons
    #[arg(long, default_value_t = 0.003, value_parser = run::positive)]
    lambda: f64,
    /// Strength of the penalty on singular values
    #[arg(long, default_value_t = 0.01, value_parser = run::positive)]
    lambda_rank: f64,
    /// Pixels that L1 and MCP are to keep
    #[arg(long, default_value_t = 16, value_parser = run::count)]
    pixels: usize,
    /// γ of MCP: it charges groups of norm ≥ γλ no more for growing
    #[arg(long, default_value_t = 30.0, value_parser = run::positive)]
    gamma: f64,
    /// Steps of ProxAdamW [default: 1500, quick: 30]
    #[arg(long, value_parser = run::count)]
    steps: Option<usize>,
    /// Iterations of Fista at most, behind ProxAdamW [default: 6000, quick: 30]
    #[arg(long, value_parser = run::count)]
    iterations: Option<usize>,
}

impl Args {
    fn effort(&self) -> Effort {
        let (steps, iterations) = if self.options.quick { (30, 30) } else { (1500, 6000) };
        Effort { steps: self.steps.unwrap_or(steps), lr: 0.05, iterations: self.iterations.unwrap_or(iterations) }
    }

    fn effort_of_one_layer(&self) -> Effort {
        let (steps, iterations) = if self.options.quick { (30, 30) } else { (500, 1000) };
        Effort { steps, lr: 0.1, iterations }
    }
}

/// An input feature of the first layer is a pixel, an output feature of the second is a neuron: each is a group.
#[derive(Regularized)]
struct Network {
    #[l1(lambda = self.groups, group = input, element = self.entries)]
    pixels: Linear,
    #[l1(lambda = self.groups, group = output, element = self.entries)]
    hidden: Linear,
    /// Without a charge of its own this layer would grow, and those before it shrink, for nothing.
    #[l1(l2 = RIDGE)]
    digits: Linear,
    groups: f64,
    entries: f64,
}

/// The same network, with matrices of low rank.
#[derive(Regularized)]
struct LowRank {
    #[l1(lambda = self.lambda, group = singular)]
    pixels: Linear,
    #[l1(lambda = self.lambda, group = singular)]
    hidden: Linear,
    #[l1(l2 = RIDGE)]
    digits: Linear,
    lambda: f64,
}

/// One layer that picks pixels by L1; λ = 0 leaves the ridge.
#[derive(Regularized)]
struct ByL1 {
    #[l1(lambda = self.lambda, group = input, l2 = SMALL_RIDGE)]
    pixels: Linear,
    lambda: f64,
}

/// The same by MCP.
#[derive(Regularized)]
struct ByMcp {
    #[l1(lambda = self.lambda, group = input, curve = mcp(self.gamma), l2 = SMALL_RIDGE)]
    pixels: Linear,
    lambda: f64,
    gamma: f64,
}

const PIXELS: usize = Digits::SIDE * Digits::SIDE;
const HIDDEN: usize = 16;
const RIDGE: f64 = 0.003;

/// Without any the weights of a layer that nothing else charges would grow for ever, slower and slower.
const SMALL_RIDGE: f64 = 0.0003;

impl Module for Network {
    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        forward([&self.pixels, &self.hidden, &self.digits], images)
    }
}

impl Module for LowRank {
    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        forward([&self.pixels, &self.hidden, &self.digits], images)
    }
}

/// With tanh and not relu: where the loss has kinks, its gradients need not settle, and there would be little to certify.
fn forward([pixels, hidden, digits]: [&Linear; 3], images: &Tensor) -> candle_core::Result<Tensor> {
    digits.forward(&hidden.forward(&pixels.forward(images)?.tanh()?)?.tanh()?)
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut folder = args.options.folder("structured")?;
    let data = Digits::load(args.seed, &args.options.device.device()?)?;
    println!("A network reads handwritten digits: {PIXELS} pixels, twice {HIDDEN} neurons, 10 digits.");
    println!(
        "{} images to learn from, {} held out. Minimized: cross-entropy of all images",
        data.train.rows(),
        data.test.rows()
    );
    println!("at once + penalty, by ProxAdamW, then by Fista until it is stationary to within {} of λ.", percent(NEAR));

    heading("1. Whole pixels, whole neurons");
    let networks = four_penalties(&args, &data)?;
    let [plain, _, grouped, sparse_group] = &networks;
    println!(
        "\nWhat each pixel weighs under input + output groups: the norm of its {HIDDEN} weights. A dot is an exact"
    );
    println!("zero, and that pixel need not be scanned.\n\n{}", terminal_picture(&grouped.pixel_norms()?));
    folder.text("pixels.svg", &picture(&grouped.pixel_norms()?)?)?;

    heading("2. MCP beside L1 at equal sparsity");
    l1_and_mcp(&args, &data)?;

    heading("3. Low rank");
    rank(&args, &data, plain)?;

    heading("4. The certificate");
    println!("For the sparse group network: how far −∇f of all images is from the subdifferential of the penalty, in");
    println!(
        "the group, bias or ridge where it is farthest. Relative: to the strength with which the penalty pulls at a"
    );
    println!(
        "group that is 0. At 0 the network would be stationary exactly. (Its loss is not convex: there may be lower"
    );
    println!("points elsewhere, with other zeros.)\n\n{}\n", sparse_group.stationarity);
    folder.text("certificate.json", &serde_json::to_string_pretty(&sparse_group.stationarity)?)?;
    println!("{}", folder.summary());
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}\n");
}

fn four_penalties(args: &Args, data: &Digits) -> Result<[Outcome; 4]> {
    let lambda = args.lambda;
    println!(
        "Four penalties from the same start, λ = {lambda}. A pixel or neuron is alive if one of its weights is not 0."
    );
    println!("Distance: the largest of what keeps it from being stationary, relative to λ (see 4).\n");
    println!("{}", Outcome::head());
    let train = |name, groups, entries| -> Result<Outcome> {
        let outcome = Outcome::of(name, args, data, groups, entries)?;
        println!("{}", outcome.row(data)?);
        Ok(outcome)
    };
    Ok([
        train("no penalty", 0.0, 0.0)?,
        train("plain l1", 0.0, lambda)?,
        train("input + output groups", lambda, 0.0)?,
        train("sparse group, half of each", lambda / 2.0, lambda / 2.0)?,
    ])
}

/// A network that was trained.
struct Outcome {
    name: &'static str,
    network: Network,
    stationarity: Stationarity,
}

impl Outcome {
    fn of(name: &'static str, args: &Args, data: &Digits, groups: f64, entries: f64) -> Result<Self> {
        let varmap = VarMap::new();
        let [pixels, hidden, digits] = layers(&varmap, args.seed, data.train.device())?;
        let network = Network { pixels, hidden, digits, groups, entries };
        let stationarity = train(&network, &varmap, &data.train, args.effort())?;
        Ok(Self { name, network, stationarity })
    }

    fn pixel_norms(&self) -> Result<Vec<f64>> {
        norms_of_rows(&self.network.pixels.weight().t()?)
    }

    fn head() -> String {
        format!("  {:<28}{:>8}{:>10}{:>16}{:>12}{:>11}", "", "pixels", "neurons", "zeros", "read right", "distance")
    }

    fn row(&self, data: &Digits) -> Result<String> {
        let Self { name, network, stationarity } = self;
        let (pixels, neurons) = (alive(&self.pixel_norms()?), alive(&norms_of_rows(network.hidden.weight())?));
        let report = network.regularizer()?.report()?;
        let rows = || report.parameters.iter().filter(|row| row.path != "digits.weight" && row.shape.len() == 2);
        let zeros: usize = rows().map(|row| row.zeros).sum();
        let zeros = format!("{zeros} of {}", rows().map(|row| row.entries).sum::<usize>());
        let accuracy = percent(accuracy(&network.forward(&data.test.x)?, &data.test.y)?);
        let distance = farthest(stationarity);
        Ok(format!("  {name:<28}{pixels:>8}{neurons:>10}{zeros:>16}{accuracy:>12}{distance:>11.1e}"))
    }
}

/// The layers of a network, from the same start for every penalty.
fn layers(varmap: &VarMap, seed: u64, device: &Device) -> Result<[Linear; 3]> {
    let vb = VarBuilder::from_varmap(varmap, DType::F32, device);
    let layers = [
        linear(PIXELS, HIDDEN, vb.pp("pixels"))?,
        linear(HIDDEN, HIDDEN, vb.pp("hidden"))?,
        linear(HIDDEN, 10, vb.pp("digits"))?,
    ];
    start::draw(varmap, seed)?;
    Ok(layers)
}

/// How long a training may take.
#[derive(Clone, Copy)]
struct Effort {
    /// Of ProxAdamW.
    steps: usize,
    /// Its learning rate at the start.
    lr: f64,
    /// Of Fista, at most.
    iterations: usize,
}

/// Relative distance from a stationary point at which training ends.
const NEAR: f64 = 1e-2;

/// On all images at once: ProxAdamW with a learning rate that falls to 0, then Fista until the certificate says that this is near
/// enough, or iterations run out.
fn train(
    model: &(impl Regularized + Module),
    varmap: &VarMap,
    images: &Labelled,
    effort: Effort,
) -> Result<Stationarity> {
    // Fista's step only gets shorter: each round begins with a long one again.
    const ROUND: usize = 1000;
    let Effort { steps, lr, iterations } = effort;
    let bar = run::progress(steps + iterations);
    let loss = || {
        bar.inc(1);
        loss::cross_entropy(&model.forward(&images.x)?, &images.y)
    };
    let params = ParamsProxAdamW { lr, ..ParamsProxAdamW::new(model.regularizer()?) };
    let mut opt = ProxAdamW::new(varmap.all_vars(), params)?;
    for step in 0..steps {
        opt.set_learning_rate(run::falling(lr, step as f64 / steps as f64));
        opt.backward_step(&loss()?)?;
    }
    let mut left = iterations;
    loop {
        let stationarity = model.regularizer()?.stationarity(&loss()?.backward()?)?;
        if left == 0 || farthest(&stationarity) <= NEAR {
            bar.finish_and_clear();
            return Ok(stationarity);
        }
        let round = left.min(ROUND);
        left -= round;
        // It would say how far it came; the certificate is asked instead.
        let _ = Fista::new(varmap.all_vars(), ParamsFista::new(model.regularizer()?, loss))?.minimize(0.0, round)?;
    }
}

/// One layer by L1 and by MCP, each at the λ that keeps as many pixels as was asked for.
fn l1_and_mcp(args: &Args, data: &Digits) -> Result<()> {
    let (gamma, pixels) = (args.gamma, args.pixels);
    println!(
        "One layer, {PIXELS} pixels → 10 digits, from zero. λ is searched by bisection for each curve, so that {pixels} pixels"
    );
    println!(
        "remain. Norm: of the 10 weights of a pixel, the mean over those that remain. Refitted: the same pixels without"
    );
    println!("L1 or MCP, which shows what these take off the weights that stay. (All with the ridge {SMALL_RIDGE}.)\n");
    println!("{}", Reader::head());
    let of_l1 = equally_sparse(args, data, |pixels, lambda| ByL1 { pixels, lambda })?;
    let refitted = of_l1.refitted(args, data)?;
    println!("{}\n{}", of_l1.row("L1")?, refitted.row("  refitted")?);
    let l1 = of_l1.norm()? / refitted.norm()?;

    let of_mcp = equally_sparse(args, data, |pixels, lambda| ByMcp { pixels, lambda, gamma })?;
    let refitted = of_mcp.refitted(args, data)?;
    println!("{}\n{}", of_mcp.row(&format!("MCP({gamma})"))?, refitted.row("  refitted")?);
    let mcp = of_mcp.norm()? / refitted.norm()?;

    println!(
        "\nL1 pulls at a group of weights with the same force however large it is: those that stay end at {} of",
        percent(l1)
    );
    println!(
        "their size without it. MCP lets go of groups from norm γλ on: {}. (Refitting, too, mends L1's.)",
        percent(mcp)
    );
    Ok(())
}

/// A layer that reads digits from some of the pixels.
struct Reader {
    lambda: f64,
    layer: Linear,
    accuracy: f64,
    distance: f64,
}

impl Reader {
    /// From zero, on these images.
    fn train<M: Regularized>(
        args: &Args,
        data: &Digits,
        images: &Labelled,
        lambda: f64,
        make: impl Fn(Linear, f64) -> M,
    ) -> Result<Self> {
        let varmap = VarMap::new();
        let vb = VarBuilder::from_varmap(&varmap, DType::F32, images.device());
        let layer = linear(PIXELS, 10, vb.pp("pixels"))?;
        start::zero(&varmap)?;
        let model = OneLayer { rules: make(layer.clone(), lambda), layer };
        let stationarity = train(&model, &varmap, images, args.effort_of_one_layer())?;
        let layer = model.layer;
        let accuracy = accuracy(&layer.forward(&data.test.x)?, &data.test.y)?;
        Ok(Self { lambda, layer, accuracy, distance: farthest(&stationarity) })
    }

    /// The same pixels without L1 or MCP: the others are blank, and so their weights stay 0.
    fn refitted(&self, args: &Args, data: &Digits) -> Result<Self> {
        let kept = self.layer.weight().sqr()?.sum(0)?.gt(0.0)?.to_dtype(DType::F32)?;
        let images = Labelled { x: data.train.x.broadcast_mul(&kept)?, y: data.train.y.clone() };
        Self::train(args, data, &images, 0.0, |pixels, lambda| ByL1 { pixels, lambda })
    }

    fn norms(&self) -> Result<Vec<f64>> {
        norms_of_rows(&self.layer.weight().t()?)
    }

    fn pixels(&self) -> Result<usize> {
        Ok(alive(&self.norms()?))
    }

    /// The mean over the pixels that remain.
    fn norm(&self) -> Result<f64> {
        let norms = self.norms()?;
        Ok(norms.iter().sum::<f64>() / alive(&norms) as f64)
    }

    fn head() -> String {
        let strength = format!("  {:<14}{:>10}{:>10}", "", "λ", "pixels");
        format!("{strength}{:>14}{:>10}{:>12}{:>11}", "zeros", "norm", "read right", "distance")
    }

    fn row(&self, name: &str) -> Result<String> {
        let pixels = self.pixels()?;
        let zeros = format!("{} of {}", 10 * (PIXELS - pixels), 10 * PIXELS);
        let lambda = if self.lambda > 0.0 { format!("{:.5}", self.lambda) } else { String::new() };
        let (norm, accuracy, distance) = (self.norm()?, percent(self.accuracy), self.distance);
        Ok(format!("  {name:<14}{lambda:>10}{pixels:>10}{zeros:>14}{norm:>10.3}{accuracy:>12}{distance:>11.1e}"))
    }
}

/// A layer and what is declared for it.
struct OneLayer<M> {
    rules: M,
    layer: Linear,
}

impl<M: Regularized> Regularized for OneLayer<M> {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        self.rules.visit(visitor)
    }
}

impl<M> Module for OneLayer<M> {
    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        self.layer.forward(images)
    }
}

/// By bisection between nothing and more than any pixel stands; the nearest, if no λ that was tried keeps exactly as many.
fn equally_sparse<M: Regularized>(args: &Args, data: &Digits, make: impl Fn(Linear, f64) -> M) -> Result<Reader> {
    let (mut low, mut high) = (0.0, 0.1);
    let mut nearest: Option<(usize, Reader)> = None;
    for _ in 0..if args.options.quick { 3 } else { 14 } {
        let lambda = 0.5 * (low + high);
        let reader = Reader::train(args, data, &data.train, lambda, &make)?;
        let pixels = reader.pixels()?;
        let off = pixels.abs_diff(args.pixels);
        *(if pixels > args.pixels { &mut low } else { &mut high }) = lambda;
        if nearest.as_ref().is_none_or(|(least, _)| off < *least) {
            nearest = Some((off, reader));
        }
        if off == 0 {
            break;
        }
    }
    nearest.map(|(_, reader)| reader).context("it tries at least once")
}

/// How many directions the two matrices keep when their singular values are charged.
fn rank(args: &Args, data: &Digits, plain: &Outcome) -> Result<()> {
    let lambda = args.lambda_rank;
    println!(
        "The same network with the singular values of both matrices charged, λ = {lambda}: directions vanish, not"
    );
    println!("weights. A matrix of rank r is a product of two thin ones, with r·(rows + columns) numbers.\n");
    println!("  {:<20}{:>16}{:>16}{:>12}{:>11}", "", "rank of pixels", "rank of hidden", "read right", "distance");
    let print = |name: &str, network: &LowRank, stationarity: &Stationarity, distance: f64| -> Result<()> {
        let rank = |path: &str| {
            let row = stationarity.rows.iter().find(|row| row.path == path).context("it is penalized")?;
            anyhow::Ok(format!("{} of {}", row.groups - row.zeros, row.groups))
        };
        let (pixels, hidden) = (rank("pixels.weight")?, rank("hidden.weight")?);
        let accuracy = percent(accuracy(&network.forward(&data.test.x)?, &data.test.y)?);
        println!("  {name:<20}{pixels:>16}{hidden:>16}{accuracy:>12}{distance:>11.1e}");
        Ok(())
    };

    // Its ranks are asked for as if they were charged.
    let Network { pixels, hidden, digits, .. } = &plain.network;
    let before = LowRank { pixels: pixels.clone(), hidden: hidden.clone(), digits: digits.clone(), lambda };
    let loss = loss::cross_entropy(&before.forward(&data.train.x)?, &data.train.y)?;
    let ranks = before.regularizer()?.stationarity(&loss.backward()?)?;
    print("no penalty", &before, &ranks, farthest(&plain.stationarity))?;

    let varmap = VarMap::new();
    let [pixels, hidden, digits] = layers(&varmap, args.seed, data.train.device())?;
    let network = LowRank { pixels, hidden, digits, lambda };
    let stationarity = train(&network, &varmap, &data.train, args.effort())?;
    print("singular values", &network, &stationarity, farthest(&stationarity))
}

/// The largest relative distance of all parameters.
fn farthest(stationarity: &Stationarity) -> f64 {
    largest(stationarity.rows.iter().map(|row| row.distance.relative))
}

fn norms_of_rows(matrix: &Tensor) -> Result<Vec<f64>> {
    let norms = matrix.to_dtype(DType::F64)?.sqr()?.sum(1)?.sqrt()?;
    Ok(norms.to_vec1()?)
}

fn alive(norms: &[f64]) -> usize {
    norms.iter().filter(|&&norm| norm != 0.0).count()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A square for each pixel, the darker the larger its norm.
fn terminal_picture(norms: &[f64]) -> String {
    let most = largest(norms.iter().copied());
    let square = |&norm: &f64| match norm / most {
        0.0 => " ·",
        share if share < 0.25 => "░░",
        share if share < 0.5 => "▒▒",
        share if share < 0.75 => "▓▓",
        _ => "██",
    };
    let line = |row: &[f64]| format!("    {}\n", row.iter().map(square).collect::<String>());
    norms.chunks(Digits::SIDE).map(line).collect()
}

fn picture(norms: &[f64]) -> Result<String> {
    let most = largest(norms.iter().copied());
    svg((400, 440), |sheet| {
        sheet.draw(&words("the norm of each pixel's weights", (200, 10), 26, (HPos::Center, VPos::Top), INK))?;
        for (pixel, norm) in norms.iter().enumerate() {
            let (x, y) = (24 + 44 * (pixel % Digits::SIDE) as i32, 60 + 44 * (pixel / Digits::SIDE) as i32);
            let square = [(x, y), (x + 42, y + 42)];
            if *norm == 0.0 {
                sheet.draw(&Rectangle::new(square, FAINT))?;
            } else {
                sheet.draw(&Rectangle::new(square, MAIN.mix(0.15 + 0.85 * norm / most).filled()))?;
            }
        }
        Ok(())
    })
}
