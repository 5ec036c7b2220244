//! Gemma, of Llama's kind: accounted for in both ways; what has no gradient is refused, then skipped with a reason, and the rest is
//! trained to zeros. Both ways end at the same bits.

use anyhow::{Result, ensure};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Activation, Optimizer, VarBuilder, VarMap, loss};
use candle_transformers::models::gemma::{Config, Model};
use l1_core::{ParamsProxAdamW, Penalty, ProxAdamW, Regularized, Regularizer, RegularizerBuilder, Traced};

use crate::{LAMBDA, refusal::refused, start, table};

#[derive(Regularized)]
struct Net {
    #[l1(lambda = LAMBDA)]
    gemma: Traced<Model>,
}

const SYMBOLS: usize = 24;
const LENGTH: usize = 6;
const STEPS: usize = 300;
const RATE: f64 = 0.01;

fn config() -> Config {
    Config {
        attention_bias: false,
        head_dim: 8,
        hidden_act: Some(Activation::Gelu),
        hidden_activation: None,
        hidden_size: 32,
        intermediate_size: 64,
        num_attention_heads: 4,
        num_hidden_layers: 2,
        num_key_value_heads: 2,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        vocab_size: SYMBOLS,
        max_position_embeddings: 16,
    }
}

pub fn show() -> Result<()> {
    let config = config();
    println!("== Gemma, {} layers of width {}\n", config.num_hidden_layers, config.hidden_size);

    let traced_vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&traced_vars, DType::F32, &Device::Cpu);
    let mut net = Net { gemma: Traced::new(&traced_vars, vb.pp("gemma"), |vb| Model::new(false, &config, vb))? };
    start::draw(&traced_vars)?;
    let traced = net.regularizer()?;
    traced.coverage(&traced_vars).strict()?;

    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
    let mut model = Model::new(false, &config, vb.pp("gemma"))?;
    start::draw(&varmap)?;
    let rules = || Regularizer::builder().vars(&varmap).rule("*", Penalty::l1(LAMBDA));
    let by_rules = rules().build()?;
    by_rules.coverage(&varmap).strict()?;
    table::ensure_same(&traced.coverage(&traced_vars), &by_rules.coverage(&varmap))?;
    println!("As `Traced<Model>` and by the rule `*`: all accounted for, and the same of every variable.\n");

    let task = Task::counting()?;
    println!("Asked before training, l1 says:\n");
    println!("{}", refused(by_rules.check_gradients_with(|| task.loss(&mut model)))?);

    let by_rules = without_gradient(rules()).build()?;
    let coverage = by_rules.coverage(&varmap);
    coverage.strict()?;
    println!("So they are skipped:\n{}\n", table::shortened(&coverage.to_string()));
    // Attributes beat rules, so here the rule is forced.
    let traced = without_gradient(Regularizer::builder().model(&net)).force().build()?;
    table::ensure_same(&traced.coverage(&traced_vars), &coverage)?;

    by_rules.check_gradients_with(|| task.loss(&mut model))?;
    let trained = train(&mut model, &varmap, by_rules, &task)?;
    let through_traced = train(&mut net.gemma, &traced_vars, traced, &task)?;
    let report = trained.report()?;
    println!(
        "{STEPS} steps of ProxAdamW, to count on from every symbol: {} of {SYMBOLS} right.",
        task.right(&mut model)?
    );
    println!("{}\n", table::shortened(&report.to_string()));
    ensure!(through_traced.report()?.totals.zeros == report.totals.zeros, "other zeros through `Traced`");
    ensure_same_bits(&varmap, &traced_vars)?;
    println!("Trained through `Traced` from the same start: the same bits in every variable.\n");
    Ok(())
}

fn without_gradient(builder: RegularizerBuilder<'_>) -> RegularizerBuilder<'_> {
    builder.skip("*.{q,k}_proj.*", "no gradient: rope and softmax_last_dim have no backward")
}

/// Every symbol, and those after it, in a circle; which one comes next?
struct Task {
    windows: Tensor,
    next: Tensor,
}

impl Task {
    fn counting() -> Result<Self> {
        let symbol = |start: usize, step: usize| ((start + step) % SYMBOLS) as u32;
        let windows: Vec<u32> =
            (0..SYMBOLS).flat_map(|start| (0..LENGTH).map(move |step| symbol(start, step))).collect();
        let next: Vec<u32> = (0..SYMBOLS).map(|start| symbol(start, LENGTH)).collect();
        Ok(Self {
            windows: Tensor::from_vec(windows, (SYMBOLS, LENGTH), &Device::Cpu)?,
            next: Tensor::from_vec(next, SYMBOLS, &Device::Cpu)?,
        })
    }

    fn scores(&self, model: &mut Model) -> candle_core::Result<Tensor> {
        model.clear_kv_cache();
        model.forward(&self.windows, 0)?.squeeze(1)
    }

    fn loss(&self, model: &mut Model) -> candle_core::Result<Tensor> {
        loss::cross_entropy(&self.scores(model)?, &self.next)
    }

    fn right(&self, model: &mut Model) -> Result<usize> {
        let said = self.scores(model)?.argmax(D::Minus1)?;
        Ok(said.eq(&self.next)?.to_dtype(DType::U32)?.sum_all()?.to_scalar::<u32>()? as usize)
    }
}

/// On all windows at once, with a learning rate that falls to 0.
fn train(model: &mut Model, varmap: &VarMap, regularizer: Regularizer, task: &Task) -> Result<Regularizer> {
    let mut opt = ProxAdamW::new(varmap.all_vars(), ParamsProxAdamW { lr: RATE, ..ParamsProxAdamW::new(regularizer) })?;
    for step in 0..STEPS {
        opt.set_learning_rate(RATE * (1.0 - step as f64 / STEPS as f64));
        opt.backward_step(&task.loss(model)?)?;
    }
    Ok(opt.regularizer().clone())
}

fn ensure_same_bits(a: &VarMap, b: &VarMap) -> Result<()> {
    for ((name, one), (_, other)) in start::by_name(a).iter().zip(start::by_name(b)) {
        let bits = |tensor: &Tensor| -> Result<Vec<u32>> {
            Ok(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
        };
        ensure!(bits(one)? == bits(&other)?, "{name} differs");
    }
    Ok(())
}
