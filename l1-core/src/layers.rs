//! Visits of candle's tensors and of the candle-nn layers whose tensors can be reached, under the names that their
//! constructors give them in a `VarBuilder`.

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::{
    Activation, BatchNorm, BatchNormConfig, Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, ConvTranspose1d,
    ConvTranspose1dConfig, ConvTranspose2d, ConvTranspose2dConfig, Dropout, Embedding, GRUConfig, LSTMConfig,
    LayerNorm, LayerNormConfig, Linear, PReLU, RmsNorm,
};

use crate::{Regularized, Result, Role, Visitor, containers::without_parameters};

impl Regularized for Tensor {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.tensor(self)
    }
}

impl Regularized for Var {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.tensor(self)
    }
}

fn weight_and_bias(
    visitor: &mut Visitor<'_>,
    role: Role,
    weight: &Tensor,
    bias_role: Role,
    bias: Option<&Tensor>,
) -> Result<()> {
    visitor.param("weight", role, weight)?;
    match bias {
        Some(bias) => visitor.param("bias", bias_role, bias),
        None => Ok(()),
    }
}

/// `weight`: out × in.
impl Regularized for Linear {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        let role = Role::Weight { output: Some(0), input: Some(1) };
        weight_and_bias(visitor, role, self.weight(), Role::Bias, self.bias())
    }
}

/// candle's convolutions keep out × in/groups × kernel; with groups no dimension runs over all inputs.
macro_rules! convolutions {
    ($($layer:ty),*) => {$(
        impl Regularized for $layer {
            fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
                let role = Role::Weight { output: Some(0), input: (self.config().groups == 1).then_some(1) };
                weight_and_bias(visitor, role, self.weight(), Role::Bias, self.bias())
            }
        }
    )*};
}

convolutions!(Conv1d, Conv2d);

/// `weight`: in × out/groups × kernel; with groups no dimension runs over all outputs.
impl Regularized for ConvTranspose1d {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        let role = Role::Weight { output: (self.config().groups == 1).then_some(1), input: Some(0) };
        weight_and_bias(visitor, role, self.weight(), Role::Bias, self.bias())
    }
}

/// `weight`: in × out × kernel × kernel.
impl Regularized for ConvTranspose2d {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        let role = Role::Weight { output: Some(1), input: Some(0) };
        weight_and_bias(visitor, role, self.weight(), Role::Bias, self.bias())
    }
}

/// `weight`: tokens × features.
impl Regularized for Embedding {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.param("weight", Role::Embedding, self.embeddings())
    }
}

impl Regularized for LayerNorm {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        weight_and_bias(visitor, Role::Norm, self.weight(), Role::Norm, self.bias())
    }
}

impl Regularized for RmsNorm {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.param("weight", Role::Norm, self.weight())
    }
}

impl Regularized for BatchNorm {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.param("running_mean", Role::Buffer, self.running_mean())?;
        visitor.param("running_var", Role::Buffer, self.running_var())?;
        match self.weight_and_bias() {
            Some((weight, bias)) => weight_and_bias(visitor, Role::Norm, weight, Role::Norm, Some(bias)),
            None => Ok(()),
        }
    }
}

/// The slopes are weights of their own: a penalty drives them to 0, which makes the activation a ReLU.
impl Regularized for PReLU {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.param("weight", Role::WEIGHT, self.weight())
    }
}

without_parameters! {
    Device, DType, Shape, Activation, Dropout, candle_nn::ops::Identity, candle_nn::Init,
    BatchNormConfig, Conv1dConfig, Conv2dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig, GRUConfig, LSTMConfig,
    LayerNormConfig,
}
