//! BERT: every variable accounted for in both ways; but candle's LayerNorm stops all gradients, and l1 says so before training.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, IndexOp, Module, Tensor};
use candle_nn::{Linear, Optimizer, VarBuilder, VarMap, linear, loss};
use candle_transformers::models::bert::{BertModel, Config};
use l1_core::{ParamsProxAdamW, Penalty, ProxAdamW, Regularized, Regularizer, Traced};

use crate::{LAMBDA, refusal::refused, start, table};

#[derive(Regularized)]
struct Classifier {
    #[l1(lambda = LAMBDA)]
    bert: Traced<BertModel>,
    #[l1(lambda = LAMBDA)]
    head: Linear,
}

const CLASSES: usize = 2;

fn config() -> Config {
    Config {
        vocab_size: 40,
        hidden_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        intermediate_size: 64,
        max_position_embeddings: 16,
        ..Config::default()
    }
}

pub fn show() -> Result<()> {
    let config = config();
    println!("== BERT, {} layers of width {}\n", config.num_hidden_layers, config.hidden_size);

    let traced_vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&traced_vars, DType::F32, &Device::Cpu);
    let bert = Traced::new(&traced_vars, vb.pp("bert"), |vb| BertModel::load(vb, &config))?;
    let head = linear(config.hidden_size, CLASSES, vb.pp("head"))?;
    let classifier = Classifier { bert, head };
    start::draw(&traced_vars)?;
    let regularizer = classifier.regularizer()?;
    let traced = regularizer.coverage(&traced_vars);
    traced.strict()?;
    println!(
        "As `Traced<BertModel>`, with `lambda = {LAMBDA}` on both fields:\n{}\n",
        table::shortened(&traced.to_string())
    );

    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
    let (_bert, _head) =
        (BertModel::load(vb.pp("bert"), &config)?, linear(config.hidden_size, CLASSES, vb.pp("head"))?);
    let by_rules = Regularizer::builder().vars(&varmap).rule("*", Penalty::l1(LAMBDA)).build()?.coverage(&varmap);
    by_rules.strict()?;
    table::ensure_same(&traced, &by_rules)?;
    println!("By the rule `*` alone, of the model as candle-transformers has it: the same of every variable.");
    println!("{}\n", by_rules.to_string().lines().last().unwrap_or_default());

    let ids = Tensor::new(&[[2u32, 7, 1, 8], [3, 1, 4, 1]], &Device::Cpu)?;
    let classes = Tensor::new(&[0u32, 1], &Device::Cpu)?;
    let loss = || -> candle_core::Result<Tensor> {
        let states = classifier.bert.forward(&ids, &ids.zeros_like()?, None)?;
        loss::cross_entropy(&classifier.head.forward(&states.i((.., 0))?)?, &classes)
    };
    println!(
        "{} of {} variables have a gradient. Asked before training, l1 says:\n",
        with_gradient(&traced_vars, &loss()?)?,
        traced.variables.len()
    );
    println!("{}", refused(regularizer.check_gradients_with(loss))?);

    let before = regularizer.value()?;
    let mut opt = ProxAdamW::new(traced_vars.all_vars(), ParamsProxAdamW::new(regularizer))?;
    // Not asked, it says the like of the first variable that it comes to.
    refused(opt.backward_step(&loss()?))?;
    ensure!(opt.regularizer().value()? == before, "the refused step has changed weights");
    println!("Not asked, it refuses the first step, and nothing is written.\n");
    Ok(())
}

fn with_gradient(varmap: &VarMap, loss: &Tensor) -> Result<usize> {
    let grads = loss.backward()?;
    Ok(varmap.all_vars().iter().filter(|var| grads.get(var).is_some()).count())
}
