//! A recurrent network on a real series: candle's LSTM, which hides its tensors, made sparse by rules for their names; which lags it
//! looks at, what its memory needs, and how well it forecasts sunspots beside an autoregression.

mod autoregression;
mod network;
mod picture;
mod series;

use anyhow::{Context, Result};
use candle_core::Device;
use candle_nn::VarMap;
use clap::Parser;
use examples::{
    data::Sunspots,
    run::{self, Options},
};
use l1_core::Regularized;

use autoregression::{Autoregression, Of};
use network::{Effort, Forecaster, Trained};
use series::{Forecasts, LAGS, STEPS, Series, first_question};

/// Sunspots by an LSTM that rules for names make sparse
#[derive(Parser)]
#[command(after_help = "The autoregressions are fitted on the CPU, whatever the device.")]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Of the initial weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Strength of the penalty [default: of six that are tried, the one that forecasts 1881 to 1920 best]
    #[arg(long, value_parser = run::positive)]
    lambda: Option<f64>,
    /// Cells of the LSTM
    #[arg(long, default_value_t = 6, value_parser = run::count)]
    cells: usize,
    /// Steps of ProxAdamW [default: 1000, quick: 20]
    #[arg(long, value_parser = run::count)]
    steps: Option<usize>,
    /// Iterations of Fista at most, behind the last training [default: 6000, quick: 20]
    #[arg(long, value_parser = run::count)]
    iterations: Option<usize>,
}

impl Args {
    fn effort(&self) -> Effort {
        let (steps, iterations) = if self.options.quick { (20, 20) } else { (1000, 6000) };
        Effort {
            seed: self.seed,
            cells: self.cells,
            steps: self.steps.unwrap_or(steps),
            iterations: self.iterations.unwrap_or(iterations),
        }
    }
}

/// The last year that is learned from while λ and the autoregression's order are chosen.
const TRIED: u32 = 1880;
/// The last year that is learned from; those after TRIED choose λ and the order before that.
const LEARNED: u32 = 1920;

/// The strengths that are tried.
const LAMBDAS: [f64; 6] = [0.003, 0.006, 0.012, 0.024, 0.048, 0.096];

fn main() -> Result<()> {
    let args = Args::parse();
    let mut folder = args.options.folder("lstm")?;
    let device = args.options.device.device()?;
    let data = Sunspots::load()?;
    let (first, last) = (data.years[0], data.years.last().context("there are years")?);
    println!(
        "The sunspot number of each year, {first} to {last}, forecast from the years before it. An LSTM of {} cells",
        args.cells
    );
    println!(
        "reads {STEPS} windows of {LAGS} years, each a year later than the one before, and says by how much the number will"
    );
    println!("differ from last year's. It learns from the years to {LEARNED}; the others are held out.");

    heading("1. Is every variable accounted for?");
    account(&args, &device)?;

    heading("2. How strong?");
    let lambda = match args.lambda {
        Some(lambda) => lambda,
        None => choose(&args, &data, &device)?,
    };

    heading("3. What is left");
    let series = Series::new(&data, LEARNED, &device);
    let learned = series.questions(first_question(&data)..=LEARNED)?;
    let (sparse, stationarity) = Trained::to_the_end(args.effort(), lambda, &learned)?;
    println!(
        "Learned again, from the years to {LEARNED}, with λ = {lambda}. What each lag weighs: the norm of its weights."
    );
    println!("Lag 1 is last year. A dot is an exact zero, and that year is not looked at.\n\n{}", sparse.lags()?);
    println!(
        "How many weights each gate has kept. One that keeps none stands where its biases have put it.\n\n{}",
        sparse.gates()?
    );
    println!("{}", sparse.regularizer.report()?);

    heading("4. The years held out");
    let dense = Trained::roughly(args.effort(), 0.0, &learned)?;
    folder.text("forecast.svg", &compare(&data, &series, &dense, &sparse)?)?;

    heading("5. The certificate");
    println!(
        "How far −∇f of all years is from the subdifferential of the penalty. Relative: to the strength with which"
    );
    println!(
        "the penalty pulls at a weight or lag that is 0. At 0 the network would be stationary exactly. (Its loss is not"
    );
    println!("convex: there may be lower points elsewhere, with other zeros.)\n\n{stationarity}\n");

    folder.text("certificate.json", &serde_json::to_string_pretty(&stationarity)?)?;
    folder.report("report.json", &sparse.regularizer.report()?)?;
    folder.model("model.safetensors", &sparse.varmap)?;
    println!("{}", folder.summary());
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}\n");
}

/// What the attributes reach, and what they and the rules reach.
fn account(args: &Args, device: &Device) -> Result<()> {
    let varmap = VarMap::new();
    let model = Forecaster::new(&varmap, args.cells, args.seed, device)?;
    println!("The attributes alone leave the LSTM out, since candle keeps its tensors private:\n");
    match model.regularizer()?.coverage(&varmap).strict() {
        Ok(()) => anyhow::bail!("the LSTM was seen without rules"),
        Err(error) => println!("{error}\n"),
    }
    let coverage = model.rules(&varmap, LAMBDAS[0])?.coverage(&varmap);
    coverage.strict()?;
    println!("With rules for names (λ = {} for now):\n\n{coverage}", LAMBDAS[0]);
    Ok(())
}

/// The λ whose network, when it has learned from the years to TRIED, forecasts those to LEARNED best.
fn choose(args: &Args, data: &Sunspots, device: &Device) -> Result<f64> {
    println!(
        "Learned from the years to {TRIED}, and tried on those to {LEARNED}. Error: the root of the mean square.\n"
    );
    let series = Series::new(data, TRIED, device);
    let learned = series.questions(first_question(data)..=TRIED)?;
    let next = series.questions(TRIED + 1..=LEARNED)?;
    let mut best: Option<(f64, f64)> = None;
    println!("  {:<10}{:>12}{:>22}{:>10}", "λ", "lags kept", "weights of the state", "error");
    for lambda in LAMBDAS {
        let trained = Trained::roughly(args.effort(), lambda, &learned)?;
        let (lags, state) = (trained.lags_kept()?, trained.state_kept()?);
        let (lags, state) = (format!("{lags} of {LAGS}"), format!("{state} of {}", 4 * args.cells * args.cells));
        let error = series.forecasts(&next, &trained.model.answer(&next)?)?.error(data, TRIED + 1..=LEARNED);
        println!("  {lambda:<10}{lags:>12}{state:>22}{error:>10.3}");
        if best.is_none_or(|(_, least)| error < least) {
            best = Some((lambda, error));
        }
    }
    let (lambda, _) = best.context("some are tried")?;
    println!("\nThe least error: λ = {lambda}.");
    Ok(lambda)
}

/// Prints how far off each forecast is, and draws the best ones.
fn compare(data: &Sunspots, series: &Series, dense: &Trained, sparse: &Trained) -> Result<String> {
    let last = *data.years.last().context("there are years")?;
    let held_out = series.questions(LEARNED + 1..=last)?;
    let by = |trained: &Trained| series.forecasts(&held_out, &trained.model.answer(&held_out)?);
    let [numbers, roots] = [Of::Numbers, Of::Roots].map(|of| Autoregression::choose(of, data, TRIED, LEARNED));
    let (numbers, roots) = (numbers?, roots?);
    let (forecasts, linear) = (by(sparse)?, roots.forecasts(data, LEARNED + 1, last));

    println!(
        "The root of the mean square of what each forecast is off by. The autoregressions: least squares on the same"
    );
    println!("years, from as many years before as forecast {} to {LEARNED} best.\n", TRIED + 1);
    let periods = [LEARNED + 1..=1955, 1956..=1979, 1980..=last, LEARNED + 1..=last];
    let head: String =
        periods.iter().map(|years| format!("{:>13}", format!("{}–{}", years.start(), years.end()))).collect();
    println!("  {:<38}{head}", "");
    let row = |name: &str, forecasts: &Forecasts| {
        let errors = periods.iter().map(|years| format!("{:>13.2}", forecasts.error(data, years.clone())));
        println!("  {name:<38}{}", errors.collect::<String>());
    };
    row("as last year", &series.forecasts(&held_out, &held_out.before)?);
    row(&format!("autoregression, {} years", numbers.order()), &numbers.forecasts(data, LEARNED + 1, last));
    row(&format!("autoregression of square roots, {} years", roots.order()), &linear);
    row("LSTM without λ", &by(dense)?);
    let (kept, all) = sparse.kept()?;
    row(&format!("LSTM with {kept} of its {all} weights"), &forecasts);
    picture::picture(data, &forecasts, &linear)
}
