//! Visiting a model: the derived code beside the same by hand.

use std::hint::black_box;

use candle_core::Result;
use candle_nn::{LayerNorm, Linear};
use l1_core::{Regularized, Rule, Visitor};

use super::{Group, waves};
use crate::{Against, Work, rounds::Contender};

#[derive(Regularized)]
struct Derived {
    #[l1(lambda = 0.01)]
    blocks: Vec<DerivedBlock>,
    #[l1(skip = "the last layer")]
    head: Linear,
}

#[derive(Regularized)]
struct DerivedBlock {
    norm: LayerNorm,
    #[l1(lambda = 0.001)]
    up: Linear,
    #[l1(scale = 2.0)]
    down: Linear,
}

struct ByHand {
    blocks: Vec<BlockByHand>,
    head: Linear,
}

struct BlockByHand {
    norm: LayerNorm,
    up: Linear,
    down: Linear,
}

impl Regularized for ByHand {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("blocks", Rule::l1(0.01), &self.blocks)?;
        visitor.skip("head", Some("the last layer"), &self.head)
    }
}

impl Regularized for BlockByHand {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("norm", Rule::inherit(), &self.norm)?;
        visitor.field("up", Rule::l1(0.001), &self.up)?;
        visitor.field("down", Rule::inherit().scale(2.0), &self.down)
    }
}

fn linear() -> Result<Linear> {
    let weight = candle_core::Var::from_tensor(&waves(64, 1.0, 0)?.as_detached_tensor().reshape((8, 8))?)?;
    Ok(Linear::new(weight.into_inner(), Some(waves(8, 1.0, 1)?.into_inner())))
}

fn norm() -> Result<LayerNorm> {
    Ok(LayerNorm::new(waves(8, 1.0, 2)?.into_inner(), waves(8, 1.0, 3)?.into_inner(), 1e-5))
}

pub(crate) const GROUP: Group = Group { keys: &["visit"], make: works };

fn works() -> Result<Vec<Work>> {
    let blocks = 0..64;
    let derived = |_| Ok(DerivedBlock { norm: norm()?, up: linear()?, down: linear()? });
    let derived = Derived { blocks: blocks.clone().map(derived).collect::<Result<_>>()?, head: linear()? };
    let by_hand = |_| Ok(BlockByHand { norm: norm()?, up: linear()?, down: linear()? });
    let by_hand = ByHand { blocks: blocks.map(by_hand).collect::<Result<_>>()?, head: linear()? };
    Ok(vec![Work {
        key: "visit",
        title: "visiting 386 tensors: derived against by hand",
        l1: Contender::new(move || {
            black_box(derived.regularizer()?);
            Ok(())
        }),
        candle: None,
        limit: Some(Contender::new(move || {
            black_box(by_hand.regularizer()?);
            Ok(())
        })),
        against: Against::Limit,
    }])
}
