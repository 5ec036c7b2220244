//! What no guard sees: ModernBERT has query, key and value in one matrix. Two thirds of it get a gradient of 0, and the matrix has one.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_transformers::models::modernbert::{Config, ModernBert};

use crate::start;

const WIDTH: usize = 32;

pub fn show() -> Result<()> {
    println!("== ModernBERT: what the guard cannot see\n");
    let config = Config {
        vocab_size: 40,
        hidden_size: WIDTH,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        intermediate_size: 64,
        max_position_embeddings: 16,
        layer_norm_eps: 1e-5,
        pad_token_id: 0,
        global_attn_every_n_layers: 1,
        global_rope_theta: 10_000.0,
        local_attention: 4,
        local_rope_theta: 10_000.0,
        classifier_config: None,
    };
    let varmap = VarMap::new();
    let model = ModernBert::load(VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu), &config)?;
    start::draw(&varmap)?;
    let ids = Tensor::new(&[[2u32, 7, 1, 8], [3, 1, 4, 1]], &Device::Cpu)?;
    let states = model.forward(&ids, &Tensor::ones((2, 4), DType::U32, &Device::Cpu)?)?;
    // The norm at the end keeps the sum of squares, so something else is asked of it.
    let grads = states.powf(3.0)?.sum_all()?.backward()?;

    let variables = start::by_name(&varmap);
    let with_gradient = variables.iter().filter(|(_, var)| grads.get(var).is_some()).count();
    println!(
        "{with_gradient} of {} variables have a gradient. But of the rows of the projections to queries, keys and",
        variables.len()
    );
    println!("values, one below the other in one matrix, these have nothing but zeros in it (rope has no backward):\n");
    for (name, var) in variables.iter().filter(|(name, _)| name.ends_with("Wqkv.weight")) {
        let Some(grad) = grads.get(var) else { continue };
        let rows = grad.abs()?.sum(1)?.to_vec1::<f32>()?;
        let zero = |rows: &[f32]| rows.iter().filter(|&&sum| sum == 0.0).count();
        let [q, k, v] = [0, 1, 2].map(|part| zero(&rows[part * WIDTH..][..WIDTH]));
        println!("  {name}: queries {q} of {WIDTH}, keys {k} of {WIDTH}, values {v} of {WIDTH}");
    }
    println!(
        "\nA penalty on that matrix would empty the queries and keys, and no error can say so: to l1 a gradient of 0"
    );
    println!("is a gradient. Skip such a matrix, or train a model that calls rotary_emb::rope_slow.");
    Ok(())
}
