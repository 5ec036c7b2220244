//! While a model is collected: what is declared does not go with what is found.

use anyhow::Result;
use candle_core::Tensor;
use candle_nn::{Dropout, Embedding, LSTM, LSTMConfig, LayerNorm, Linear, VarMap, embedding, layer_norm, linear};
use l1_core::{Error, Regularized, Traced};

use super::{builder, refused};

pub fn invalid_value() -> Result<Error> {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.01 * (1.0 - self.age))]
        fc: Linear,
        age: f64,
    }
    let mut net = Net { fc: linear(3, 2, builder(&VarMap::new()))?, age: 0.5 };
    net.regularizer()?;
    net.age = 3.0;
    let error = refused(net.regularizer());

    #[derive(Regularized)]
    struct Mended {
        // ANCHOR: InvalidValue
        #[l1(lambda = 0.01 * (1.0 - self.age).max(0.0))]
        fc: Linear,
        // ANCHOR_END: InvalidValue
        age: f64,
    }
    Mended { fc: net.fc, age: net.age }.regularizer()?;
    error
}

pub fn unreached() -> Result<Error> {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.01)]
        ln: LayerNorm,
    }
    let net = Net { ln: layer_norm(4, 1e-5, builder(&VarMap::new()))? };
    let error = refused(net.regularizer());

    #[derive(Regularized)]
    struct Mended {
        // ANCHOR: Unreached
        #[l1(lambda = 0.01, norm)]
        ln: LayerNorm,
        // ANCHOR_END: Unreached
    }
    Mended { ln: net.ln }.regularizer()?;
    error
}

pub fn unused_role() -> Result<Error> {
    #[derive(Regularized)]
    struct Net {
        #[l1(role = embedding)]
        tokens: Linear,
    }
    refused(Net { tokens: linear(4, 2, builder(&VarMap::new()))? }.regularizer())
}

pub fn duplicate_path() -> Result<Error> {
    #[derive(Regularized)]
    struct Net {
        #[l1(flatten)]
        left: Linear,
        #[l1(flatten)]
        right: Linear,
    }
    let layer = || linear(3, 2, builder(&VarMap::new()));
    let net = Net { left: layer()?, right: layer()? };
    let error = refused(net.regularizer());

    #[derive(Regularized)]
    struct Mended {
        #[l1(flatten)]
        left: Linear,
        // ANCHOR: DuplicatePath
        #[l1(rename = "right")]
        right: Linear,
        // ANCHOR_END: DuplicatePath
    }
    Mended { left: net.left, right: net.right }.regularizer()?;
    error
}

pub fn conflicting_rules() -> Result<Error> {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.01)]
        tokens: Embedding,
        #[l1(lambda = 0.02)]
        head: Linear,
    }
    let tokens = embedding(5, 3, builder(&VarMap::new()))?;
    let tied = Linear::new(tokens.embeddings().clone(), None);
    let net = Net { tokens, head: tied };
    let error = refused(net.regularizer());

    #[derive(Regularized)]
    struct Mended {
        // ANCHOR: ConflictingRules
        #[l1(lambda = 0.01)]
        tokens: Embedding,
        head: Linear, // the same tensor, so the same λ
                      // ANCHOR_END: ConflictingRules
    }
    Mended { tokens: net.tokens, head: net.head }.regularizer()?;
    error
}

pub fn grouping() -> Result<Error> {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.01, group = output)]
        table: Tensor,
    }
    let net = Net { table: builder(&VarMap::new()).get((4, 6), "table")? };
    let error = refused(net.regularizer());

    #[derive(Regularized)]
    struct Mended {
        // ANCHOR: Grouping
        #[l1(lambda = 0.01, group = dim(0))]
        table: Tensor,
        // ANCHOR_END: Grouping
    }
    Mended { table: net.table }.regularizer()?;
    error
}

pub fn empty_model() -> Result<Error> {
    #[derive(Regularized)]
    struct Net {
        dropout: Dropout,
    }
    refused(Net { dropout: Dropout::new(0.5) }.regularizer())
}

pub fn nothing_traced() -> Result<Error> {
    let (varmap, another) = (VarMap::new(), VarMap::new());
    let config = LSTMConfig::default();
    let error = refused(Traced::new(&another, builder(&varmap).pp("lstm"), |vb| LSTM::new(3, 4, config, vb)));

    let vb = builder(&varmap);
    // ANCHOR: NothingTraced
    // The varmap that vb was made from:
    let lstm = Traced::new(&varmap, vb.pp("lstm"), |vb| LSTM::new(3, 4, config, vb))?;
    // ANCHOR_END: NothingTraced
    drop(lstm);
    error
}
