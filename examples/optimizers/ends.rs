//! Where does each optimizer end? The same logistic regression by all of them, and how far each is from a solution of the problem
//! that was declared. The violation is computed here, from its definition.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{AdamW, Linear, Optimizer, ParamsAdamW, SGD, VarBuilder, VarMap, linear, loss};
use examples::{
    data::{Diabetes, Standardization},
    measure::largest,
    run::{self, Folder},
    start,
};
use l1_core::{
    Charged, Fista, FtrlProximal, ParamsFista, ParamsFtrl, ParamsProxAdamW, ParamsProxSgd, ParamsProximal, ProxAdamW,
    ProxSgd, Proximal, Regularized, Regularizer,
};

const LAMBDA: f64 = 0.03;

/// Violation / λ below which an end counts as the solution.
const SOLVED: f64 = 1e-6;

/// ε of Adam; it does not move the fixed points of `ProxAdamW`, but it is all there is of the penalty behind `Proximal<AdamW>`.
const EPS: f64 = 1e-8;

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

/// An optimizer in the table.
struct Run {
    name: &'static str,
    /// Why it ends elsewhere, if it does.
    otherwise: String,
}

/// Where the penalty is charged.
enum PenaltyIn {
    Loss,
    /// By the optimizer.
    Prox,
}

/// Where an optimizer ended.
struct End {
    run: Run,
    /// Largest violation of the optimality conditions, relative to λ.
    violation: f64,
    weights: Vec<f64>,
    /// Smallest and largest |∇f| of the weights that are not 0.
    slopes: (f64, f64),
}

impl End {
    fn zeros(&self) -> usize {
        self.weights.iter().filter(|&&weight| weight == 0.0).count()
    }

    /// The factors whose weights are not 0.
    fn kept(&self) -> String {
        let kept = Diabetes::FEATURES.iter().zip(&self.weights).filter(|(_, weight)| **weight != 0.0);
        let kept: Vec<_> = kept.map(|((_, meaning), weight)| format!("{meaning} {weight:+.2}")).collect();
        if kept.is_empty() { "no factor".to_owned() } else { kept.join(", ") }
    }

    fn is_solution(&self) -> bool {
        self.violation < SOLVED
    }
}

impl Problem {
    fn model(&self) -> Result<(VarMap, Risk)> {
        let varmap = VarMap::new();
        let vb = VarBuilder::from_varmap(&varmap, DType::F64, self.x.device());
        let model = Risk { factors: linear(Diabetes::FEATURES.len(), 1, vb.pp("factors"))? };
        start::draw(&varmap, self.seed)?;
        Ok((varmap, model))
    }

    fn loss(&self, model: &Risk) -> candle_core::Result<Tensor> {
        loss::binary_cross_entropy_with_logit(&model.factors.forward(&self.x)?, &self.y)
    }

    fn end<O: Optimizer>(
        &self,
        run: Run,
        lr: f64,
        params: impl FnOnce(Regularizer) -> O::Config,
        penalty: PenaltyIn,
    ) -> Result<End> {
        let (varmap, model) = self.model()?;
        let mut opt = O::new(varmap.all_vars(), params(model.regularizer()?))?;
        let bar = run::progress(self.steps);
        for step in 0..self.steps {
            opt.set_learning_rate(run::falling(lr, step as f64 / self.steps as f64));
            let loss = self.loss(&model)?;
            opt.backward_step(&match penalty {
                PenaltyIn::Loss => (loss + model.penalty()?)?,
                PenaltyIn::Prox => loss,
            })?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        self.measure(run, &model)
    }

    /// `Fista` finds its own steps, and stops where it has arrived.
    fn fista(&self, run: Run) -> Result<End> {
        let (varmap, model) = self.model()?;
        let params = ParamsFista::new(model.regularizer()?, || self.loss(&model));
        // What stays above the tolerance shows in the table.
        let _ = Fista::new(varmap.all_vars(), params)?.minimize(1e-12 * LAMBDA, self.steps)?;
        self.measure(run, &model)
    }

    /// The optimality conditions of loss + λ‖w‖₁: ∇f = −λ·sign(w) where w ≠ 0, |∇f| ≤ λ where w = 0, ∇f = 0 at the bias.
    fn measure(&self, run: Run, model: &Risk) -> Result<End> {
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
            run,
            violation: largest(conditions.chain(at_bias)) / LAMBDA,
            slopes: (on_support.iter().copied().fold(f64::INFINITY, f64::min), largest(on_support)),
            weights,
        })
    }
}

/// Runs them all and says where each ended.
pub(crate) fn show(folder: &mut Folder, device: &Device, seed: u64, steps: usize) -> Result<()> {
    let data = Diabetes::load(device)?;
    let x = Standardization::of(&data.x)?.apply(&data.x)?;
    let mut sorted: Vec<f64> = data.y.flatten_all()?.to_vec1()?;
    sorted.sort_unstable_by(f64::total_cmp);
    let y = data.y.gt(sorted[sorted.len() / 2])?.to_dtype(DType::F64)?;
    let problem = Problem { x, y, seed, steps };

    println!("Which of ten measurements tell whose diabetes progresses faster than that of most? (442 people)");
    println!("f + {LAMBDA}·Σ|w| is minimized, f the logistic loss; the bias is not penalized. {steps} steps on the");
    println!("full batch, with a learning rate that falls towards 0. (Fista takes as many at most, and finds");
    println!("their lengths itself.)\n");
    println!("At a solution |∇f| = λ where a weight is not 0, and |∇f| ≤ λ where it is 0. The violation is the");
    println!("largest miss of these conditions, relative to λ.\n");
    let ends = ends(&problem)?;
    println!("{}", table(&ends));
    println!("{}", findings(&ends));
    write(folder, &ends)
}

fn ends(problem: &Problem) -> Result<Vec<End>> {
    use PenaltyIn::{Loss, Prox};
    let right = |name| Run { name, otherwise: "They are on their way; it takes more steps".to_owned() };
    let in_loss = |name| Run {
        name,
        otherwise: "Close to 0 the penalty pulls as hard as far from it: each step carries a small\n  \
                    weight past 0, and none stays there"
            .to_owned(),
    };
    let limit = EPS * LAMBDA / (1.0 - LAMBDA);
    let behind_adam = Run {
        name: "Proximal<AdamW>",
        otherwise: format!(
            "Adam's move is much longer than lr·∇f, and the prox after it shrinks by lr·λ only:\n  \
             where w ≠ 0, |∇f| falls towards ελ/(1 − λ) = {limit:.0e}, in place of λ = {LAMBDA}"
        ),
    };
    let charged_once = Run {
        name: "FtrlProximal, Charged::Once",
        otherwise: "The penalty counts once against the sum of the losses of all steps, and so fades".to_owned(),
    };
    let sgd =
        |momentum, nesterov| move |regularizer| ParamsProxSgd { momentum, nesterov, ..ParamsProxSgd::new(regularizer) };
    let adamw = |amsgrad| move |regularizer| ParamsProxAdamW { eps: EPS, amsgrad, ..ParamsProxAdamW::new(regularizer) };
    let once = |regularizer| ParamsFtrl { charged: Charged::Once, ..ParamsFtrl::new(regularizer) };
    let candles = || ParamsAdamW { weight_decay: 0.0, eps: EPS, ..ParamsAdamW::default() };
    Ok(vec![
        problem.fista(right("Fista"))?,
        problem.end::<ProxSgd>(right("ProxSgd"), 1.0, sgd(0.0, false), Prox)?,
        problem.end::<ProxSgd>(right("ProxSgd, momentum 0.9"), 0.3, sgd(0.9, false), Prox)?,
        problem.end::<ProxSgd>(right("ProxSgd, Nesterov 0.9"), 0.3, sgd(0.9, true), Prox)?,
        problem.end::<ProxAdamW>(right("ProxAdamW"), 0.05, adamw(false), Prox)?,
        problem.end::<ProxAdamW>(right("ProxAdamW, AMSGrad"), 0.05, adamw(true), Prox)?,
        problem.end::<FtrlProximal>(right("FtrlProximal"), 2.0, ParamsFtrl::new, Prox)?,
        problem.end::<Proximal<SGD>>(right("Proximal<SGD>"), 1.0, |r| ParamsProximal::new(1.0, r), Prox)?,
        problem.end::<SGD>(in_loss("SGD, penalty in the loss"), 1.0, |_| 1.0, Loss)?,
        problem.end::<AdamW>(in_loss("AdamW, penalty in the loss"), 0.05, |_| candles(), Loss)?,
        problem.end::<Proximal<AdamW>>(behind_adam, 0.05, |r| ParamsProximal::new(candles(), r), Prox)?,
        problem.end::<FtrlProximal>(charged_once, 2.0, once, Prox)?,
    ])
}

fn table(ends: &[End]) -> String {
    let mut table = format!("  {:<28}{:>18}{:>14}{:>26}\n", "", "violation / λ", "exact zeros", "|∇f| where w ≠ 0");
    for end in ends {
        let End { run: Run { name, .. }, violation, slopes: (least, most), .. } = end;
        let slopes = format!("{least:.2e} … {most:.2e}");
        table += &format!("  {name:<28}{violation:>18.1e}{:>14}{slopes:>26}\n", end.zeros());
    }
    table
}

/// What the table says, in words.
fn findings(ends: &[End]) -> String {
    let (solutions, others): (Vec<_>, Vec<_>) = ends.iter().partition(|end| end.is_solution());
    let mut text = String::new();
    if solutions.is_empty() {
        text += &format!("No violation is below {SOLVED:.0e}: none of them has arrived at the solution.\n");
    }
    for (kept, names) in grouped(&solutions, End::kept) {
        text += &format!("At the solution (violation below {SOLVED:.0e}): {names}.\n  They keep {kept}.\n");
    }
    for (why, names) in grouped(&others, |end| end.run.otherwise.clone()) {
        text += &format!("Not at the solution: {names}.\n  {why}.\n");
    }
    text
}

/// The optimizers of which the same is to be said, and that.
fn grouped(ends: &[&End], say: impl Fn(&End) -> String) -> Vec<(String, String)> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for end in ends {
        let said = say(end);
        match groups.iter_mut().find(|(known, _)| *known == said) {
            Some((_, names)) => names.push(end.run.name),
            None => groups.push((said, vec![end.run.name])),
        }
    }
    let lines = |names: Vec<&str>| names.chunks(4).map(|line| line.join("; ")).collect::<Vec<_>>().join(";\n  ");
    groups.into_iter().map(|(said, names)| (said, lines(names))).collect()
}

fn write(folder: &mut Folder, ends: &[End]) -> Result<()> {
    let mut csv = "optimizer,violation_over_lambda,exact_zeros,least_slope,largest_slope\n".to_owned();
    for end in ends {
        let End { run: Run { name, .. }, violation, slopes: (least, most), .. } = end;
        csv += &format!("\"{name}\",{violation},{},{least},{most}\n", end.zeros());
    }
    folder.text("optimizers.csv", &csv)
}
