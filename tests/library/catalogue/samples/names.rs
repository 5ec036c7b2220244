//! Rules for names, and coverage: patterns that mean nothing, variables that nobody speaks of.

use anyhow::Result;
use candle_nn::{GRU, GRUConfig, VarMap};
use l1_core::{Error, Penalty, Regularized, Regularizer};

use super::{Net, builder, refused};

pub fn invalid_pattern() -> Result<Error> {
    let net = Net::new(&VarMap::new())?;
    refused(Regularizer::builder().model(&net).rule("fc[12.weight", Penalty::l1(0.01)).build())
}

#[derive(Regularized)]
struct Tagger {
    #[l1(opaque)]
    #[expect(dead_code, reason = "nothing runs this model")]
    gru: GRU,
    net: Net,
}

fn tagger(varmap: &VarMap) -> candle_core::Result<Tagger> {
    let gru = GRU::new(3, 3, GRUConfig::default_no_bias(), builder(varmap).pp("gru"))?;
    Ok(Tagger { gru, net: Net { fc: candle_nn::linear(3, 2, builder(varmap).pp("net.fc"))? } })
}

pub fn nothing_matches() -> Result<Error> {
    let varmap = VarMap::new();
    let model = tagger(&varmap)?;
    let error = refused(Regularizer::builder().model(&model).rule("gru.*", Penalty::l1(0.01)).build());

    // ANCHOR: NothingMatches
    let builder = Regularizer::builder().model(&model).vars(&varmap); // the variables of `opaque` fields too
    let regularizer = builder.rule("gru.*", Penalty::l1(0.01)).build()?;
    // ANCHOR_END: NothingMatches
    regularizer.coverage(&varmap).strict()?;
    error
}

pub fn unaccounted() -> Result<Error> {
    let varmap = VarMap::new();
    let model = tagger(&varmap)?;
    let error = refused(model.regularizer()?.coverage(&varmap).strict());

    // ANCHOR: Unaccounted
    let builder = Regularizer::builder().model(&model).vars(&varmap);
    let regularizer = builder.skip("gru.*", "recurrent weights are few").build()?;
    regularizer.coverage(&varmap).strict()?;
    // ANCHOR_END: Unaccounted
    error
}

pub fn empty_var_map() -> Result<Error> {
    let varmap = VarMap::new();
    let net = Net::new(&varmap)?;
    let error = refused(net.regularizer()?.coverage(&VarMap::new()).strict());
    net.regularizer()?.coverage(&varmap).strict()?;
    error
}
