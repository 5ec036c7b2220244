//! Which of 2308 genes tell four childhood tumours apart? A lasso on the data of Khan et al. (2001), with a proof that
//! the answer is the lasso's.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Module, Tensor, backprop::GradStore};
use candle_nn::{Linear, Optimizer, VarBuilder, VarMap, linear, loss};
use clap::Parser;
use examples::{
    data::{Khan, Labelled},
    measure::{Confusion, largest},
    run::{self, Options},
    start,
};
use l1_core::{ParamsProxAdamW, ProxAdamW, Regularized, Regularizer};

/// Selects genes: multinomial logistic regression with an L1 penalty, by proximal AdamW
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Start from random weights instead of zeros; the solution is the same
    #[arg(long)]
    seed: Option<u64>,
    /// λ as a share of λ_max, the smallest λ at which every weight is 0
    #[arg(long, default_value_t = 0.2, value_parser = run::positive)]
    share: f64,
    /// Most steps
    #[arg(long, default_value_t = 2000, value_parser = run::count)]
    steps: usize,
    /// Learning rate at the start; it falls to 0
    #[arg(long, default_value_t = 0.2, value_parser = run::positive)]
    lr: f64,
    /// Stop when the conditions of a solution hold up to this share of λ [default: 1e-6, quick: 1e-2]
    #[arg(long, value_parser = run::positive)]
    tolerance: Option<f64>,
}

#[derive(Regularized)]
struct TumourModel {
    #[l1(lambda = self.lambda)]
    genes: Linear,
    lambda: f64,
}

impl TumourModel {
    fn loss(&self, patients: &Labelled) -> Result<Tensor> {
        Ok(loss::cross_entropy(&self.genes.forward(&patients.x)?, &patients.y)?)
    }

    fn intercepts(&self) -> Result<&Tensor> {
        self.genes.bias().context("the model has intercepts")
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut folder = args.options.folder("gene_selection")?;
    let Khan { train, test } = Khan::load()?.standardized()?;
    let (patients, genes) = train.x.dims2()?;
    println!("Which of {genes} genes tell four childhood tumours apart?");
    println!("{patients} patients to learn from, {} held out.\n", test.rows());

    let mut varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F64, &Device::Cpu);
    let mut model = TumourModel { genes: linear(genes, Khan::TUMOURS.len(), vb.pp("genes"))?, lambda: 0.0 };
    start::zero(&varmap)?;
    varmap.set_one("genes.bias", log_frequencies(&train)?)?;

    let lambda_max = lambda_max(&model, &train)?;
    model.lambda = args.share * lambda_max;
    let weights = model.genes.weight().elem_count();
    println!("Minimized: mean cross-entropy + λ·Σ|w| over {weights} weights; the intercepts are free.");
    println!("At λ_max = {lambda_max:.5} and above, every weight is 0.");
    println!("Here λ = {}·λ_max = {:.5}.\n", args.share, model.lambda);

    if let Some(seed) = args.seed {
        start::draw(&varmap, seed)?;
    }
    let params = ParamsProxAdamW { lr: args.lr, ..ParamsProxAdamW::new(model.regularizer()?) };
    let mut opt = ProxAdamW::new(varmap.all_vars(), params)?;
    let violation = train_until_proven(&args, &model, &train, &mut opt)?;
    println!("\nViolation is how far the conditions of a minimum are from being met, as a share of λ: the gradient");
    println!("is −λ·sign(w) where a weight is not 0, at most λ in size where it is, and 0 at the intercepts.");
    println!("The largest violation of all is {violation:.1e}: {}.\n", verdict(violation));

    let selected = selected(&model)?;
    println!("The {} genes it needs, strongest first. +0.5: with one standard deviation more", selected.len());
    println!("of the gene, the score of that tumour rises by 0.5. A dot is an exact zero.\n");
    print!("{}", table(&selected));

    let confusion = Confusion::of(&model.genes.forward(&test.x)?, &test.y)?;
    println!("\nThe held-out patients: what they have (rows), what the model says (columns).");
    println!("{}.\n", Khan::TUMOUR_NAMES.join(", "));
    print!("{}", confusion.table(&Khan::TUMOURS));
    println!("\n{}/{} right, from {} of {genes} genes.\n", confusion.right(), confusion.all(), selected.len());

    let report = opt.regularizer().report()?;
    println!("{report}\n");
    folder.text("genes.csv", &csv(&selected))?;
    folder.report("report.json", &report)?;
    folder.model("model.safetensors", &varmap)?;
    println!("{}", folder.summary());
    Ok(())
}

/// The intercepts that fit best as long as every weight is 0.
fn log_frequencies(patients: &Labelled) -> Result<Tensor> {
    let mut counts = [0.0; Khan::TUMOURS.len()];
    for tumour in patients.y.to_vec1::<u32>()? {
        counts[tumour as usize] += 1.0;
    }
    Ok(Tensor::new(&counts.map(|count| (count / patients.rows() as f64).ln()), &Device::Cpu)?)
}

/// The largest entry of the gradient while every weight is 0: a weight that gains less than λ by moving stays.
fn lambda_max(model: &TumourModel, patients: &Labelled) -> Result<f64> {
    let grads = model.loss(patients)?.backward()?;
    Ok(largest(gradient(&grads, model.genes.weight())?.into_iter().map(f64::abs)))
}

fn gradient(grads: &GradStore, tensor: &Tensor) -> Result<Vec<f64>> {
    let grad = grads.get(tensor).context("the loss depends on every parameter")?;
    Ok(grad.flatten_all()?.to_vec1()?)
}

/// Steps until the conditions of a minimum hold; prints the way there and returns the violation at its end.
fn train_until_proven(args: &Args, model: &TumourModel, train: &Labelled, opt: &mut ProxAdamW) -> Result<f64> {
    let tolerance = args.tolerance.unwrap_or(if args.options.quick { 1e-2 } else { 1e-6 });
    let bar = run::progress(args.steps);
    println!("  step      loss   penalty   genes   violation");
    let mut step = 0;
    loop {
        let loss = model.loss(train)?;
        let grads = loss.backward()?;
        let last = step == args.steps;
        if last || step % 10 == 0 {
            let violation = violation(model, &grads)?;
            let done = last || violation <= tolerance;
            if done || matches!(step, 0 | 10 | 20 | 50) || step % 100 == 0 {
                let row = row(step, loss.to_scalar()?, opt.regularizer(), selected(model)?.len(), violation)?;
                bar.suspend(|| println!("{row}"));
            }
            if done {
                bar.finish_and_clear();
                return Ok(violation);
            }
        }
        opt.set_learning_rate(run::falling(args.lr, step as f64 / args.steps as f64));
        opt.step(&grads)?;
        step += 1;
        bar.inc(1);
    }
}

fn row(step: usize, loss: f64, regularizer: &Regularizer, genes: usize, violation: f64) -> Result<String> {
    let penalty = regularizer.value()?;
    Ok(format!("{step:>6}  {loss:>8.5}  {penalty:>8.5}  {genes:>6}  {violation:>10.1e}"))
}

/// The largest distance of an entry of the gradient from what a minimum of loss + λ·Σ|w| asks of it, divided by λ.
fn violation(model: &TumourModel, grads: &GradStore) -> Result<f64> {
    let lambda = model.lambda;
    let weights = model.genes.weight().flatten_all()?.to_vec1::<f64>()?;
    let of_weights = weights.into_iter().zip(gradient(grads, model.genes.weight())?).map(|(w, grad)| match w {
        0.0 if grad.abs() <= lambda => 0.0,
        0.0 => grad.abs() - lambda,
        _ => (grad + lambda * w.signum()).abs(),
    });
    let of_intercepts = gradient(grads, model.intercepts()?)?.into_iter().map(f64::abs);
    Ok(largest(of_weights.chain(of_intercepts)) / lambda)
}

fn verdict(violation: f64) -> &'static str {
    if violation <= 1e-4 { "this is the lasso's solution" } else { "not yet the lasso's solution" }
}

struct Gene {
    /// From 1, as in the columns of the data.
    number: usize,
    /// One for each tumour.
    weights: Vec<f64>,
}

impl Gene {
    fn strength(&self) -> f64 {
        self.weights.iter().map(|weight| weight.abs()).sum()
    }
}

/// The genes with a weight that is not 0, strongest first.
fn selected(model: &TumourModel) -> Result<Vec<Gene>> {
    let columns = model.genes.weight().t()?.to_vec2::<f64>()?;
    let genes = columns.into_iter().zip(1..).map(|(weights, number)| Gene { number, weights });
    let mut selected: Vec<_> = genes.filter(|gene| gene.weights.iter().any(|&weight| weight != 0.0)).collect();
    selected.sort_by(|a, b| b.strength().total_cmp(&a.strength()));
    Ok(selected)
}

/// As text to read; a dot for an exact zero.
fn table(genes: &[Gene]) -> String {
    let mut table = format!("  {:>9}", "gene");
    table.extend(Khan::TUMOURS.map(|tumour| format!("{tumour:>9}")));
    table.push('\n');
    for gene in genes {
        let cell = |&weight: &f64| if weight == 0.0 { format!("{:>9}", "·") } else { format!("{weight:>+9.4}") };
        let cells: String = gene.weights.iter().map(cell).collect();
        table += &format!("  {:>9}{cells}\n", format!("gene {}", gene.number));
    }
    table
}

fn csv(genes: &[Gene]) -> String {
    let mut csv = format!("gene,{}\n", Khan::TUMOURS.join(","));
    for gene in genes {
        let cell = |&weight: &f64| if weight == 0.0 { "0".to_owned() } else { format!("{weight:.6}") };
        let weights: Vec<_> = gene.weights.iter().map(cell).collect();
        csv += &format!("{},{}\n", gene.number, weights.join(","));
    }
    csv
}
