//! candle-nn's layers: visited under the names that their constructors give the variables, each with its role.

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::{
    Activation, BatchNorm, BatchNormConfig, Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, ConvTranspose1d,
    ConvTranspose1dConfig, ConvTranspose2d, ConvTranspose2dConfig, Dropout, Embedding, GRUConfig, Init, LSTMConfig,
    LayerNorm, LayerNormConfig, Linear, PReLU, RmsNorm, VarBuilder, VarMap,
};
use l1_core::Regularized;
use tests::device;

use crate::given::builder;
use crate::said::{decisions, paths, penalized, roles};

/// Builds a layer under `layer`, checks that it is visited under the names of the `VarMap`, and says the roles.
fn roles_of<L: Regularized>(build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<L>) -> Vec<String> {
    #[derive(Regularized)]
    struct Net<L> {
        layer: L,
    }
    let varmap = VarMap::new();
    let net = Net { layer: build(builder(&varmap).pp("layer")).unwrap() };
    let mut visited = paths(&net);
    visited.sort();
    let mut made: Vec<String> = varmap.data().lock().unwrap().keys().cloned().collect();
    made.sort();
    assert_eq!(visited, made);
    roles(&net)
}

#[test]
fn linear_is_output_by_input() {
    let roles = roles_of(|vb| candle_nn::linear(2, 3, vb));
    assert_eq!(roles, ["layer.weight: weight 0 × 1", "layer.bias: bias"]);
    assert_eq!(roles_of(|vb| candle_nn::linear_no_bias(2, 3, vb)), ["layer.weight: weight 0 × 1"]);
}

#[test]
fn convolutions_are_output_by_input_by_kernel() {
    let expected = ["layer.weight: weight 0 × 1", "layer.bias: bias"];
    assert_eq!(roles_of(|vb| candle_nn::conv1d(2, 4, 3, Conv1dConfig::default(), vb)), expected);
    assert_eq!(roles_of(|vb| candle_nn::conv2d(2, 4, 3, Conv2dConfig::default(), vb)), expected);
    assert_eq!(roles_of(|vb| candle_nn::conv1d_no_bias(2, 4, 3, Conv1dConfig::default(), vb)), expected[..1]);
    assert_eq!(roles_of(|vb| candle_nn::conv2d_no_bias(2, 4, 3, Conv2dConfig::default(), vb)), expected[..1]);
}

#[test]
fn in_a_grouped_convolution_no_dimension_runs_over_all_inputs() {
    let expected = ["layer.weight: weight 0 × ?", "layer.bias: bias"];
    let config = Conv1dConfig { groups: 2, ..Conv1dConfig::default() };
    assert_eq!(roles_of(|vb| candle_nn::conv1d(2, 4, 3, config, vb)), expected);
    let config = Conv2dConfig { groups: 2, ..Conv2dConfig::default() };
    assert_eq!(roles_of(|vb| candle_nn::conv2d(2, 4, 3, config, vb)), expected);
}

#[test]
fn transposed_convolutions_are_input_by_output_by_kernel() {
    let expected = ["layer.weight: weight 1 × 0", "layer.bias: bias"];
    let config = ConvTranspose1dConfig::default();
    assert_eq!(roles_of(|vb| candle_nn::conv_transpose1d(2, 4, 3, config, vb)), expected);
    assert_eq!(roles_of(|vb| candle_nn::conv_transpose1d_no_bias(2, 4, 3, config, vb)), expected[..1]);
    let config = ConvTranspose2dConfig::default();
    assert_eq!(roles_of(|vb| candle_nn::conv_transpose2d(2, 4, 3, config, vb)), expected);
    assert_eq!(roles_of(|vb| candle_nn::conv_transpose2d_no_bias(2, 4, 3, config, vb)), expected[..1]);
}

#[test]
fn in_a_grouped_transposed_convolution_no_dimension_runs_over_all_outputs() {
    let config = ConvTranspose1dConfig { groups: 2, ..ConvTranspose1dConfig::default() };
    let roles = roles_of(|vb| candle_nn::conv_transpose1d(2, 4, 3, config, vb));
    assert_eq!(roles, ["layer.weight: weight ? × 0", "layer.bias: bias"]);
}

#[test]
fn an_embedding_is_an_embedding() {
    assert_eq!(roles_of(|vb| candle_nn::embedding(5, 3, vb)), ["layer.weight: embedding"]);
}

#[test]
fn scale_and_shift_of_normalizations_are_norm_parameters() {
    let both = ["layer.weight: norm", "layer.bias: norm"];
    assert_eq!(roles_of(|vb| candle_nn::layer_norm(3, 1e-5, vb)), both);
    assert_eq!(roles_of(|vb| candle_nn::layer_norm_no_bias(3, 1e-5, vb)), both[..1]);
    assert_eq!(roles_of(|vb| candle_nn::rms_norm(3, 1e-5, vb)), both[..1]);
}

#[test]
fn the_running_statistics_of_a_batch_norm_are_buffers() {
    let statistics = ["layer.running_mean: buffer", "layer.running_var: buffer"];
    let affine = ["layer.weight: norm", "layer.bias: norm"];
    assert_eq!(roles_of(|vb| candle_nn::batch_norm(3, 1e-5, vb)), [statistics, affine].concat());
    let config = BatchNormConfig { affine: false, ..BatchNormConfig::default() };
    assert_eq!(roles_of(|vb| candle_nn::batch_norm(3, config, vb)), statistics);
}

#[test]
fn buffers_are_never_penalized() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, norm, bias)]
        bn: BatchNorm,
    }
    let net = Net { bn: candle_nn::batch_norm(3, 1e-5, builder(&VarMap::new())).unwrap() };
    let expected = [
        "bn.running_mean: not penalized (buffer)",
        "bn.running_var: not penalized (buffer)",
        "bn.weight: penalized (lambda = 0.1)",
        "bn.bias: penalized (lambda = 0.1)",
    ];
    assert_eq!(decisions(&net), expected);
}

#[test]
fn the_slopes_of_a_prelu_are_weights() {
    assert_eq!(roles_of(|vb| candle_nn::prelu(None, vb)), ["layer.weight: weight ? × ?"]);
    assert_eq!(roles_of(|vb| candle_nn::prelu(Some(3), vb)), ["layer.weight: weight ? × ?"]);
}

#[test]
fn a_model_of_every_layer_is_visited_under_the_names_of_its_varmap() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        #[l1(rename = "embed.tokens")]
        tokens: Embedding,
        conv: Conv1d,
        image: Conv2d,
        up: ConvTranspose1d,
        image_up: ConvTranspose2d,
        blocks: Vec<Block>,
        act: PReLU,
        head: Option<Linear>,
    }
    #[derive(Regularized)]
    struct Block {
        ln: LayerNorm,
        rms: RmsNorm,
        bn: BatchNorm,
        #[l1(rename = "mlp.fc")]
        fc: Linear,
    }
    let varmap = VarMap::new();
    let vb = builder(&varmap);
    let block = |vb: VarBuilder<'_>| -> candle_core::Result<Block> {
        Ok(Block {
            ln: candle_nn::layer_norm(3, 1e-5, vb.pp("ln"))?,
            rms: candle_nn::rms_norm(3, 1e-5, vb.pp("rms"))?,
            bn: candle_nn::batch_norm(3, 1e-5, vb.pp("bn"))?,
            fc: candle_nn::linear(3, 3, vb.pp("mlp").pp("fc"))?,
        })
    };
    let net = || -> candle_core::Result<Net> {
        Ok(Net {
            tokens: candle_nn::embedding(5, 3, vb.pp("embed").pp("tokens"))?,
            conv: candle_nn::conv1d(3, 3, 1, Conv1dConfig::default(), vb.pp("conv"))?,
            image: candle_nn::conv2d(3, 3, 1, Conv2dConfig::default(), vb.pp("image"))?,
            up: candle_nn::conv_transpose1d(3, 3, 1, ConvTranspose1dConfig::default(), vb.pp("up"))?,
            image_up: candle_nn::conv_transpose2d(3, 3, 1, ConvTranspose2dConfig::default(), vb.pp("image_up"))?,
            blocks: (0..2).map(|index| block(vb.pp("blocks").pp(index))).collect::<candle_core::Result<_>>()?,
            act: candle_nn::prelu(None, vb.pp("act"))?,
            head: Some(candle_nn::linear(3, 2, vb.pp("head"))?),
        })
    };
    let net = net().unwrap();
    let regularizer = net.regularizer().unwrap();
    let varmap = varmap.data().lock().unwrap();
    assert_eq!(regularizer.params().len(), varmap.len());
    for param in regularizer.params() {
        // Not only the name: the very tensor.
        assert_eq!(param.tensor().id(), varmap[param.path().as_str()].id(), "{}", param.path());
    }
    let expected = [
        "embed.tokens.weight: lambda = 0.1",
        "conv.weight: lambda = 0.1",
        "image.weight: lambda = 0.1",
        "up.weight: lambda = 0.1",
        "image_up.weight: lambda = 0.1",
        "blocks.0.mlp.fc.weight: lambda = 0.1",
        "blocks.1.mlp.fc.weight: lambda = 0.1",
        "act.weight: lambda = 0.1",
        "head.weight: lambda = 0.1",
    ];
    assert_eq!(penalized(&net), expected);
}

#[test]
fn what_holds_no_parameters_needs_no_attribute() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        fc: Linear,
        activation: Activation,
        dropout: Dropout,
        identity: candle_nn::ops::Identity,
        device: Device,
        dtype: DType,
        shape: Shape,
        init: Init,
        batch_norm: BatchNormConfig,
        layer_norm: LayerNormConfig,
        conv: (Conv1dConfig, Conv2dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig),
        recurrent: (LSTMConfig, GRUConfig),
    }
    let net = Net {
        fc: crate::given::linear(),
        activation: Activation::Relu,
        dropout: Dropout::new(0.5),
        identity: candle_nn::ops::Identity,
        device: device(),
        dtype: DType::F32,
        shape: Shape::from(2),
        init: candle_nn::init::ZERO,
        batch_norm: BatchNormConfig::default(),
        layer_norm: LayerNormConfig::default(),
        conv: Default::default(),
        recurrent: Default::default(),
    };
    assert_eq!(penalized(&net), ["fc.weight: lambda = 0.1"]);
}

#[test]
fn variables_and_tensors_are_parameters_by_themselves() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        var: Var,
        tensor: Tensor,
    }
    let var = Var::ones(2, DType::F64, &device()).unwrap();
    let tensor = Var::ones((), DType::BF16, &device()).unwrap().into_inner();
    assert_eq!(penalized(&Net { var, tensor }), ["var: lambda = 0.1", "tensor: lambda = 0.1"]);
}
