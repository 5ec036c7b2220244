//! Declarations that cannot hold.

use anyhow::Result;
use candle_core::{DType, Device};
use candle_nn::{LayerNorm, Linear, VarMap, layer_norm, linear_no_bias};
use l1_core::Regularized;

use crate::{builder, mistake, refused, says};

pub(crate) fn penalty_on_a_norm(device: &Device) -> Result<()> {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.01)]
        ln: LayerNorm,
    }

    mistake(4, "A λ that reaches nothing");
    let varmap = VarMap::new();
    let net = Net { ln: layer_norm(8, 1e-5, builder(&varmap, DType::F32, device).pp("ln"))? };
    println!("Scales and shifts of norms are not penalized unless asked for, so this λ does nothing:");
    says(refused(net.regularizer())?);
    Ok(())
}

pub(crate) fn tied_layers(device: &Device) -> Result<()> {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.01)]
        input: Linear,
        #[l1(lambda = 0.02)]
        output: Linear,
    }

    mistake(5, "One tensor under two rules");
    let varmap = VarMap::new();
    let shared = linear_no_bias(8, 8, builder(&varmap, DType::F32, device).pp("shared"))?;
    let net = Net { input: shared.clone(), output: shared };
    println!("Elsewhere the sum of both is charged. Here equal rules count once, and different ones are refused:");
    says(refused(net.regularizer())?);
    Ok(())
}
