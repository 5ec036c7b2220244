//! Which of 2308 genes tell four childhood tumours apart? From the data of Khan et al. (2001) to a choice of λ, the genes, how
//! sure they are, and twenty patients who were held out.

mod choose;
mod genes;
mod model;
mod twice;

use std::time::Instant;

use anyhow::Result;
use candle_core::Module;
use clap::Parser;
use examples::{
    data::{Khan, Labelled},
    measure::{Confusion, largest},
    run::{self, Folder, Options},
};
use l1_core::{
    CrossValidated, CrossValidation, ErrorBound, History, Path, PathRun, Place, StabilitySelected, StabilitySelection,
    plot,
};
use model::{TOLERANCE, TumourModel, genes_at, standardized, with_genes};

/// Selects genes: multinomial logistic regression with an L1 penalty, from the path of all λ to the choice of one
#[derive(Parser)]
#[command(
    after_help = "Paths over λ are computed in f64 on the CPU, whatever the device; their losses and the rest on the device."
)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// How many λ, from the smallest that leaves nothing down to a hundredth of it
    #[arg(long, default_value_t = 100, value_parser = run::count)]
    lambdas: usize,
    /// Folds of the cross-validation
    #[arg(long, default_value_t = 10, value_parser = run::count)]
    folds: usize,
    /// Pairs of halves of the stability selection [default: 50, quick: 10]
    #[arg(long, value_parser = run::count)]
    pairs: Option<usize>,
    /// Most steps of the other method
    #[arg(long, default_value_t = 2000, value_parser = run::count)]
    steps: usize,
    /// Its learning rate at the start; it falls to 0
    #[arg(long, default_value_t = 0.2, value_parser = run::positive)]
    lr: f64,
    /// From which the folds and the halves follow
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The shares of λ that are tried for the genes that were chosen.
const SHARES: [f64; 6] = [1.0, 0.5, 0.2, 0.1, 0.05, 0.02];

fn main() -> Result<()> {
    let args = Args::parse();
    let mut folder = args.options.folder("gene_selection")?;
    let device = args.options.device.device()?;
    let Khan { train: patients, test } = Khan::load(&device)?;
    let all = patients.x.dim(1)?;
    println!("Which of {all} genes tell four childhood tumours apart?");
    println!("{} patients to learn from, {} held out.", patients.rows(), test.rows());
    println!("Minimized: mean cross-entropy + λ·Σ|w| over {} weights; intercepts are free.\n", 4 * all);
    let (train, test) = standardized(Labelled { x: patients.x.clone(), y: patients.y.clone() }, test)?;

    println!("== 1. The path: every λ\n");
    let model = TumourModel::new(all, &device)?;
    let start = Instant::now();
    let path = model.path(&Path::descending(args.lambdas, 0.01), &train, |_| Ok(()))?;
    eprintln!("({:.2} s)", start.elapsed().as_secs_f64());
    say_path(&path)?;

    println!("\n== 2. Cross-validation: which λ\n");
    let labels = patients.y.to_vec1()?;
    let folds = CrossValidation::new(args.folds).seed(args.seed).stratified(&labels);
    let validated = choose::lambda(&folds, &patients, &path.scales())?;
    let chosen = validated.one_standard_error();
    say_choice(&validated, &path)?;
    path.restore(chosen, &model.vars())?;
    let chosen_genes = genes_at(&path, chosen)?;

    println!("\n== 3. The same λ by another method\n");
    let lambda = path.points[chosen].scale;
    let trained = twice::train(&train, lambda, args.steps as u64, args.lr, TOLERANCE)?;
    println!(
        "ProxAdamW, {} steps from zero: violation {:.1e}, and no weight differs from the path's by more",
        trained.steps, trained.violation
    );
    println!("than {:.1e}.", twice::difference(&model, &trained.model)?);

    println!("\n== 4. Relaxed: less of λ on the {} genes that were chosen\n", chosen_genes.len());
    let relaxed = choose::share(&folds, &patients, &path.scales()[..=chosen], &SHARES)?;
    let share = relaxed.best();
    for (point, share) in relaxed.points.iter().zip(SHARES) {
        let best = if point.index == relaxed.best() { "  ← lowest" } else { "" };
        println!("  {share:>5}·λ   held-out loss {:.3} ± {:.3}{best}", point.mean, point.standard_error);
    }
    let few = TumourModel::new(chosen_genes.len(), &device)?;
    let (few_train, few_test) = (with_genes(&train, &chosen_genes)?, with_genes(&test, &chosen_genes)?);
    few.path(&Path::grid([SHARES[share] * lambda]), &few_train, |_| Ok(()))?;
    let on_train = Confusion::of(&few.genes.forward(&few_train.x)?, &few_train.y)?;
    if on_train.right() == on_train.all() {
        // Every patient is on the right side of the planes between tumours: larger weights always fit better.
        println!(
            "Without any λ there is no fit: the genes tell all {} apart, and weights would grow for ever.",
            on_train.all()
        );
    }

    println!("\n== 5. Stability: would other patients choose these genes?\n");
    let pairs = args.pairs.unwrap_or(if args.options.quick { 10 } else { 50 });
    let stable = stability(&patients, &path.scales()[..=chosen], pairs, args.seed)?;
    say_stability(&stable)?;

    println!("\n== 6. The choice\n");
    let selected = genes::selected(&model, 0..all)?;
    println!(
        "The {} genes at λ = {lambda:.4}, strongest first. +0.5: with one standard deviation more of the",
        selected.len()
    );
    println!("gene, the score of that tumour rises by 0.5. A dot is an exact zero. Halves: how many chose it.\n");
    print!("{}", genes::table(&selected, &stable.highest));

    let relaxed_confusion = Confusion::of(&few.genes.forward(&few_test.x)?, &few_test.y)?;
    let confusion = Confusion::of(&model.genes.forward(&test.x)?, &test.y)?;
    println!("\nThe held-out patients: what they have (rows), what the model says (columns).");
    println!("{}.\n", Khan::TUMOUR_NAMES.join(", "));
    print!("{}", confusion.table(&Khan::TUMOURS));
    println!("\n{}/{} right, from {} of {all} genes.", confusion.right(), confusion.all(), selected.len());
    let losses = [model.loss(&test)?, few.loss(&few_test)?].map(|loss| loss.to_scalar::<f64>());
    let [plain, less] = losses;
    println!(
        "Their loss: {:.3}; relaxed ({}·λ) {}/{} right, loss {:.3}.\n",
        plain?,
        SHARES[share],
        relaxed_confusion.right(),
        relaxed_confusion.all(),
        less?
    );

    folder.text("path.csv", &path.to_csv())?;
    folder.text("cross_validation.csv", &validated.to_csv())?;
    folder.text("stability.csv", &stable.to_csv())?;
    folder.text("genes.csv", &genes::csv(&selected, &stable.highest))?;
    folder.text("path.json", &serde_json::to_string_pretty(&path)?)?;
    folder.model("model.safetensors", &model.varmap)?;
    folder.model("relaxed.safetensors", &few.varmap)?;
    draw(&mut folder, &path, &validated, &stable, &trained.history)?;
    println!("{}", folder.summary());
    Ok(())
}

/// Some points of the path, and its certificate.
fn say_path(path: &PathRun) -> Result<()> {
    println!("       λ    λ/λ_max      loss   genes");
    let last = path.points.len() - 1;
    let shown = [0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0].map(|share| (share * last as f64).round() as usize);
    for point in shown.into_iter().map(|index| &path.points[index]) {
        let genes = genes_at(path, point.index)?.len();
        println!("{:>8.5}   {:>8.3}  {:>8.5}  {genes:>6}", point.scale, point.scale / path.points[0].scale, point.loss);
    }
    let worst = largest(path.points.iter().map(|point| point.certificate.relative));
    println!(
        "\nAt λ_max = {:.5} and above every weight is 0. Violation is how far the conditions of a minimum are",
        path.points[0].scale
    );
    println!("from being met, as a share of λ: over all {} λ and all genes at most {worst:.1e}.", path.points.len());
    anyhow::ensure!(worst <= TOLERANCE, "a point of the path is not the lasso's solution: {worst:e}");
    Ok(())
}

fn say_choice(validated: &CrossValidated, path: &PathRun) -> Result<()> {
    println!("                          λ   genes   held-out loss");
    let choices = [("lowest loss", validated.best()), ("one standard error", validated.one_standard_error())];
    for (name, index) in choices {
        let point = &validated.points[index];
        let genes = genes_at(path, index)?.len();
        println!("{name:>18}  {:>7.4}  {genes:>6}   {:.3} ± {:.3}", point.scale, point.mean, point.standard_error);
    }
    println!(
        "\nOne standard error: the largest λ whose loss on patients of other folds cannot be told from the lowest."
    );
    println!("Every fold standardizes its genes by its own patients.");
    Ok(())
}

/// Which genes halves of the patients choose, at any of these λ.
fn stability(patients: &Labelled, lambdas: &[f64], pairs: usize, seed: u64) -> Result<StabilitySelected> {
    let all = patients.x.dim(1)?;
    let selection = StabilitySelection::pairs(pairs).seed(seed).threshold(0.75).scales(lambdas.iter().copied());
    let selection = selection.names((1..=all).map(|number| format!("gene {number}")));
    let stable = selection.run(patients.rows(), all, |half| {
        let own = Labelled { x: half.select(&patients.x)?, y: half.select(&patients.y)? };
        let (own, _) = standardized(Labelled { x: own.x.clone(), y: own.y.clone() }, own)?;
        let model = TumourModel::new(all, own.device())?;
        let run = model.path(&Path::grid(lambdas.iter().copied()), &own, |_| Ok(()))?;
        (0..run.points.len()).map(|point| genes_at(&run, point)).collect()
    });
    Ok(stable?)
}

fn say_stability(stable: &StabilitySelected) -> Result<()> {
    println!(
        "{} halves of the patients, each a path down to the chosen λ: {:.1} genes on average.",
        stable.subsamples, stable.selected_on_average
    );
    let mut names = stable.selected.clone();
    names.sort_by(|a, b| stable.highest[*b].total_cmp(&stable.highest[*a]).then(a.cmp(b)));
    let names: Vec<_> = names.into_iter().map(|gene| (gene + 1).to_string()).collect();
    println!(
        "{} genes are chosen by {:.0} % of the halves or more: {}.",
        names.len(),
        100.0 * stable.threshold,
        names.join(", ")
    );
    let bound = stable.expected_false(ErrorBound::Unimodal { theta: None })?;
    println!("At most {bound:.2} of them are expected to be no better than the average gene (Shah & Samworth 2013,");
    println!(
        "unimodal; without that assumption {:.2}).",
        stable.expected_false(ErrorBound::WorstCase { theta: None })?
    );
    Ok(())
}

fn draw(
    folder: &mut Folder,
    path: &PathRun,
    validated: &CrossValidated,
    stable: &StabilitySelected,
    history: &History,
) -> Result<()> {
    // A place in the weights is a tumour and a gene.
    let name = |place: &Place| match place.ranges() {
        [tumour, gene] => format!("gene {} ({})", gene.start + 1, Khan::TUMOURS[tumour.start]),
        _ => place.to_string(),
    };
    let marks = [(validated.one_standard_error(), "one standard error")];
    let options = plot::CoefficientPathOptions::new().title("Weights of genes over λ").name(&name).marks(&marks);
    folder.text("path.svg", &plot::coefficient_path(path, "genes.weight", &options)?)?;
    let options = plot::CrossValidationOptions::new().score("held-out cross-entropy (nats)");
    folder.text("cross_validation.svg", &plot::cross_validation(validated, &options)?)?;
    folder.text("stability.svg", &plot::stability(stable, &plot::StabilityOptions::default())?)?;
    let options = plot::TrainingOptions::new().title("ProxAdamW at the chosen λ");
    folder.text("training.svg", &plot::training(history, &options)?)
}
