//! Every penalty by four optimizers: how far each ends above the best that is known, and what the certificate says of it.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{AdamW, Linear, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear, loss};
use examples::{
    data::{Diabetes, Standardization},
    run::{self, Folder},
    start,
};
use l1_core::{
    Curve, Fista, Grouping, LinearLoss, LinearProblem, ParamsFista, ParamsProxAdamW, ParamsProxSgd, ParamsStationarity,
    ProxAdamW, ProxSgd, Regularized, Regularizer, Rule, Visitor,
};

/// 1/L: the gradient of the mse on these data has Lipschitz constant 8.05. Zeros are tested by a prox step of this length.
const STEP: f64 = 0.12;

/// Where `Fista` starts to look for the best end of a penalty that is not convex.
const STARTS: u64 = 10;

/// A linear layer under any rule.
pub(crate) struct Model {
    pub(crate) layer: Linear,
    rule: Rule,
}

impl Regularized for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("layer", self.rule, &self.layer)
    }
}

/// Least squares under a penalty.
pub(crate) struct Problem {
    name: &'static str,
    pub(crate) x: Tensor,
    pub(crate) y: Tensor,
    rule: Rule,
}

impl Problem {
    /// Drawn by a seed; the bias from 0.
    pub(crate) fn model(&self, seed: u64) -> Result<(VarMap, Model)> {
        let varmap = VarMap::new();
        let vb = VarBuilder::from_varmap(&varmap, DType::F64, self.x.device());
        let layer = linear(self.x.dim(1)?, self.y.dim(1)?, vb.pp("layer"))?;
        start::draw(&varmap, seed)?;
        Ok((varmap, Model { layer, rule: self.rule }))
    }

    pub(crate) fn loss(&self, model: &Model) -> candle_core::Result<Tensor> {
        loss::mse(&model.layer.forward(&self.x)?, &self.y)
    }

    /// Loss + Ω.
    pub(crate) fn objective(&self, model: &Model) -> Result<f64> {
        Ok(self.loss(model)?.to_scalar::<f64>()? + model.regularizer()?.value()?)
    }

    pub(crate) fn fista(&self, model: &Model, varmap: &VarMap, steps: usize) -> Result<usize> {
        let params = ParamsFista::new(model.regularizer()?, || self.loss(model));
        // What stays above the tolerance shows in the table.
        Ok(Fista::new(varmap.all_vars(), params)?.minimize(1e-13, steps)?.iterations)
    }

    /// On the full batch, with a learning rate that falls from `lr`.
    fn train<O: Optimizer>(&self, model: &Model, mut opt: O, steps: usize, fall: Fall) -> Result<()> {
        let lr = opt.learning_rate();
        for step in 0..steps {
            let done = step as f64 / steps as f64;
            opt.set_learning_rate(match fall {
                Fall::AlongCosine => run::falling(lr, done),
                Fall::ByFactor => lr * LAST.powf(done),
            });
            let loss = self.loss(model)?;
            opt.backward_step(&match fall {
                Fall::AlongCosine => loss,
                Fall::ByFactor => (loss + model.penalty()?)?,
            })?;
        }
        Ok(())
    }
}

/// How the learning rate falls.
#[derive(Clone, Copy)]
enum Fall {
    /// To 0, for the proximal optimizers.
    AlongCosine,
    /// To `LAST` times the first, for the penalty in the loss: the last one is what separates it from the minimum.
    ByFactor,
}

const LAST: f64 = 1e-6;

/// Lasso and its relatives on diabetes, standardized: λ = 0.117 and 0.104 are a tenth of the λ at which nothing is left.
fn problems(device: &Device) -> Result<Vec<Problem>> {
    let data = Diabetes::load(device)?;
    let standardized = |x: &Tensor| Standardization::of(x)?.apply(x);
    let (x, y) = (standardized(&data.x)?, standardized(&data.y)?);
    let on_progression = |name, rule| Problem { name, x: x.clone(), y: y.clone(), rule };
    let l1 = Rule::l1;
    // Five measurements of the blood from the others and the progression.
    let others = x.index_select(&Tensor::new(&[0u32, 1, 2, 3, 9], device)?, 1)?;
    let blood = x.narrow(1, 4, 5)?.contiguous()?;
    let matrix = Problem {
        name: "nuclear norm, λ = 0.1",
        x: Tensor::cat(&[&others, &y], 1)?,
        y: blood,
        rule: l1(0.1).group(Grouping::Singular),
    };
    let pairs = Grouping::Block(1, 2);
    Ok(vec![
        on_progression("lasso, λ = 0.117", l1(0.117)),
        on_progression("elastic net, λ = 0.117, l2 = 0.2", l1(0.117).l2(0.2)),
        on_progression("positive, λ = 0.117", l1(0.117).positive(true)),
        on_progression("groups of 2, λ = 0.104", l1(0.104).group(pairs)),
        on_progression("groups of 2, λ = 0.06, element = 0.06", l1(0.06).group(pairs).element(0.06)),
        matrix,
        on_progression("mcp(3), λ = 0.117", l1(0.117).curve(Curve::Mcp(3.0))),
        on_progression("scad(3.7), λ = 0.117", l1(0.117).curve(Curve::Scad(3.7))),
        on_progression("log(0.1), λ = 0.02", l1(0.02).curve(Curve::Log(0.1))),
        on_progression("half, λ = 0.05", l1(0.05).curve(Curve::Half)),
        on_progression("two_thirds, λ = 0.07", l1(0.07).curve(Curve::TwoThirds)),
        on_progression("l0, λ = 0.01", l1(0.01).curve(Curve::L0)),
    ])
}

/// The lasso among them.
pub(crate) fn lasso(device: &Device) -> Result<Problem> {
    problems(device)?.into_iter().next().context("the lasso is the first")
}

/// Where an optimizer ended.
struct End {
    optimizer: &'static str,
    steps: usize,
    objective: f64,
    /// Relative distance of −∇f to ∂Ω.
    distance: f64,
    zeros: String,
    /// Zeros that a prox step would move, where they can be told only so.
    leaving: Option<usize>,
    /// Relative duality gap, where there is one.
    gap: Option<f64>,
}

impl Problem {
    fn measure(&self, optimizer: &'static str, steps: usize, model: &Model) -> Result<End> {
        let regularizer = model.regularizer()?;
        let params = ParamsStationarity { step: STEP, ..Default::default() };
        let stationarity = regularizer.stationarity_with(&self.loss(model)?.backward()?, &params)?;
        let row = stationarity.row("layer.weight").context("the weight is penalized")?;
        let problem = LinearProblem {
            inputs: &self.x,
            targets: &self.y,
            weight: model.layer.weight(),
            bias: model.layer.bias(),
            loss: LinearLoss::Squared,
        };
        Ok(End {
            optimizer,
            steps,
            objective: self.objective(model)?,
            distance: stationarity.largest(),
            zeros: format!("{} of {}", row.zeros, row.groups),
            leaving: row.zero_test.as_ref().map(|test| test.leaving),
            // An error where no bound is known: not convex, or singular values.
            gap: regularizer.duality_gap(&problem).ok().map(|gap| gap.relative),
        })
    }

    fn ends(&self, seed: u64, steps: usize) -> Result<Vec<End>> {
        let mut ends = Vec::new();
        let (varmap, model) = self.model(seed)?;
        let iterations = self.fista(&model, &varmap, steps)?;
        ends.push(self.measure("`Fista`", iterations, &model)?);

        let (varmap, model) = self.model(seed)?;
        let sgd = |regularizer: Regularizer| ParamsProxSgd {
            lr: STEP / 2.0,
            momentum: 0.9,
            nesterov: true,
            ..ParamsProxSgd::new(regularizer)
        };
        let opt = ProxSgd::new(varmap.all_vars(), sgd(model.regularizer()?))?;
        self.train(&model, opt, steps, Fall::AlongCosine)?;
        ends.push(self.measure("`ProxSgd`", steps, &model)?);

        let (varmap, model) = self.model(seed)?;
        let params = ParamsProxAdamW { lr: 0.1, ..ParamsProxAdamW::new(model.regularizer()?) };
        self.train(&model, ProxAdamW::new(varmap.all_vars(), params)?, steps, Fall::AlongCosine)?;
        ends.push(self.measure("`ProxAdamW`", steps, &model)?);

        let (varmap, model) = self.model(seed)?;
        // An error for what has no gradient: half, two_thirds, l0, a sign.
        if model.penalty().is_ok() {
            let params = ParamsAdamW { lr: 0.1, beta2: 0.9, weight_decay: 0.0, ..Default::default() };
            self.train(&model, AdamW::new(varmap.all_vars(), params)?, steps, Fall::ByFactor)?;
            ends.push(self.measure("candle's `AdamW`, penalty in the loss", steps, &model)?);
        }
        Ok(ends)
    }

    fn is_convex(&self, seed: u64) -> Result<bool> {
        let (_, model) = self.model(seed)?;
        let regularizer = model.regularizer()?;
        Ok(regularizer.penalized().all(|(_, penalty)| penalty.curve() == Curve::L1))
    }

    /// The lowest objective that `Fista` finds from many starts.
    fn lowest(&self, steps: usize) -> Result<f64> {
        let mut lowest = f64::INFINITY;
        for seed in 1..=STARTS {
            let (varmap, model) = self.model(seed)?;
            self.fista(&model, &varmap, steps)?;
            lowest = lowest.min(self.objective(&model)?);
        }
        Ok(lowest)
    }
}

/// Two digits; what is nearly rounding is only bounded.
pub(crate) fn small(value: f64) -> String {
    if value.abs() < 1e-12 { "< 1e-12".to_owned() } else { format!("{value:.1e}") }
}

pub(crate) fn show(folder: &mut Folder, device: &Device, seed: u64, steps: usize) -> Result<()> {
    println!(
        "Every penalty on least squares with the same data, {steps} steps (`Fista`: at most). Above: loss + penalty above"
    );
    println!(
        "the best end that is known, relative to it: for a convex penalty of these, for the others of these and of"
    );
    println!(
        "{STARTS} other starts of `Fista` too. Distance: of −∇f to ∂Ω, relative to λ. Gap: the duality gap, relative."
    );
    println!(
        "Leaving: how many of the zeros would leave in a prox step of length {STEP}, where that is their only test.\n"
    );
    let mut text = "| penalty | optimizer | above | distance | zeros | gap | leaving | steps |\n".to_owned();
    text += "|---|---|---:|---:|---:|---:|---:|---:|\n";
    for problem in problems(device)? {
        let ends = problem.ends(seed, steps)?;
        let known = if problem.is_convex(seed)? { f64::INFINITY } else { problem.lowest(steps)? };
        let best = ends.iter().map(|end| end.objective).fold(known, f64::min);
        for End { optimizer, steps, objective, distance, zeros, leaving, gap } in &ends {
            let above = small(objective / best - 1.0);
            let gap = gap.map_or_else(String::new, small);
            let leaving = leaving.map_or_else(String::new, |leaving| leaving.to_string());
            let (name, distance) = (problem.name, small(*distance));
            text +=
                &format!("| {name} | {optimizer} | {above} | {distance} | {zeros} | {gap} | {leaving} | {steps} |\n");
        }
    }
    println!("{text}");
    folder.text("penalties.md", &text)
}
