//! What the models of these tests are made of: small tensors and layers of ones.

use candle_core::{DType, Shape, Tensor, Var};
use candle_nn::{Conv2d, Conv2dConfig, Embedding, LayerNorm, Linear, VarBuilder, VarMap};
use tests::device;

/// A variable, as a `VarMap` makes it.
pub(crate) fn var(shape: impl Into<Shape>) -> Tensor {
    Var::ones(shape, DType::F32, &device()).unwrap().into_inner()
}

/// A tensor that is no variable, as it comes out of a file or a computation.
pub(crate) fn frozen(shape: impl Into<Shape>) -> Tensor {
    Tensor::ones(shape, DType::F32, &device()).unwrap()
}

/// `weight` and `bias`.
pub(crate) fn linear() -> Linear {
    Linear::new(var((2, 3)), Some(var(2)))
}

/// `weight` alone.
pub(crate) fn linear_no_bias() -> Linear {
    Linear::new(var((2, 3)), None)
}

/// `weight`, four filters over two channels of three by three, and `bias`.
pub(crate) fn conv2d() -> Conv2d {
    Conv2d::new(var((4, 2, 3, 3)), Some(var(4)), Conv2dConfig::default())
}

/// `weight` and `bias`, both of them norm parameters.
pub(crate) fn layer_norm() -> LayerNorm {
    LayerNorm::new(var(3), var(3), 1e-5)
}

/// `weight`, five tokens of three features.
pub(crate) fn embedding() -> Embedding {
    Embedding::new(var((5, 3)), 3)
}

pub(crate) fn builder(varmap: &VarMap) -> VarBuilder<'static> {
    VarBuilder::from_varmap(varmap, DType::F32, &device())
}
