//! What nobody has spoken of: a forgotten layer, a pattern that matches nothing, a copy.

use anyhow::Result;
use candle_core::{DType, Device, Var};
use candle_nn::{GRU, GRUConfig, Linear, VarMap, linear};
use l1_core::{Penalty, Regularized, Regularizer, Rule, Visitor};

use crate::{builder, mistake, refused, says};

/// A visit written by hand, from before `decoder` was added.
struct Autoencoder {
    encoder: Linear,
    #[expect(dead_code, reason = "this is the mistake")]
    decoder: Linear,
}

impl Regularized for Autoencoder {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("encoder", Rule::l1(0.01), &self.encoder)
    }
}

pub(crate) fn forgotten_layer(device: &Device) -> Result<()> {
    mistake(1, "A layer that the regularizer was never told of");
    println!("`decoder` was added to the model, but not to the visit. Training goes on without its penalty.");
    let varmap = VarMap::new();
    let vb = builder(&varmap, DType::F32, device);
    let model = Autoencoder { encoder: linear(8, 4, vb.pp("encoder"))?, decoder: linear(4, 8, vb.pp("decoder"))? };
    println!("`model.regularizer()?.coverage(&varmap).strict()?` in a unit test:");
    says(refused(model.regularizer()?.coverage(&varmap).strict())?);
    Ok(())
}

pub(crate) fn misspelt_rule(device: &Device) -> Result<()> {
    mistake(2, "A pattern that matches nothing");
    println!("Tools that select parameters by a pattern take an empty selection for an answer.");
    let varmap = VarMap::new();
    GRU::new(8, 4, GRUConfig::default(), builder(&varmap, DType::F32, device).pp("decoder.gru"))?;
    let rule = |pattern: &str| Regularizer::builder().vars(&varmap).rule(pattern, Penalty::l1(0.01)).build();
    says(refused(rule("decoder.rnn.*"))?);
    println!("The right name, but only biases, which a penalty does not mean unless it says so:");
    says(refused(rule("decoder.gru.bias_*"))?);
    Ok(())
}

pub(crate) fn copied_layer(device: &Device) -> Result<()> {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.01)]
        fc: Linear,
    }

    mistake(3, "A layer that was copied, so that training the VarMap changes nothing in the model");
    let varmap = VarMap::new();
    let fc = linear(4, 2, builder(&varmap, DType::F32, device).pp("fc"))?;
    let copy = Var::from_tensor(&fc.weight().copy()?)?;
    let net = Net { fc: Linear::new(copy.as_tensor().clone(), fc.bias().cloned()) };
    let coverage = net.regularizer()?.coverage(&varmap);
    says(&coverage);
    says(refused(coverage.strict())?);
    Ok(())
}
