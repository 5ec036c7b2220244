//! `Traced`: layers that hide their tensors, seen through the names of their variables.

use candle_core::{DType, Module, Tensor};
use candle_nn::rnn::Direction;
use candle_nn::{Activation, GRU, GRUConfig, GroupNorm, LSTM, LSTMConfig, Linear, RNN, Sequential, VarBuilder, VarMap};
use l1_core::{Regularized, Traced};
use tests::device;

use crate::given::builder;
use crate::said::{decisions, paths, penalized, roles};

/// A model that hides one layer, built under `layer`, and the names that its `VarMap` has then.
fn net<T>(build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<T>) -> (Net<T>, Vec<String>) {
    let varmap = VarMap::new();
    // Not the layer's, although its name begins with the same letters.
    builder(&varmap).pp("layer_norm").get((2, 2), "weight").unwrap();
    let layer = Traced::new(&varmap, builder(&varmap).pp("layer"), build).unwrap();
    let mut names: Vec<String> = varmap.data().lock().unwrap().keys().cloned().collect();
    names.retain(|name| name.starts_with("layer."));
    names.sort();
    (Net { layer }, names)
}

#[derive(Regularized)]
struct Net<T> {
    #[l1(lambda = 0.1)]
    layer: Traced<T>,
}

fn zeros(shape: impl Into<candle_core::Shape>) -> Tensor {
    Tensor::zeros(shape, DType::F32, &device()).unwrap()
}

#[test]
fn an_lstm_is_visited_under_the_names_of_its_varmap() {
    let (net, names) = net(|vb| LSTM::new(2, 3, LSTMConfig::default(), vb));
    assert_eq!(paths(&net), names);
    let expected = [
        "layer.bias_hh_l0: bias",
        "layer.bias_ih_l0: bias",
        "layer.weight_hh_l0: weight 0 × 1",
        "layer.weight_ih_l0: weight 0 × 1",
    ];
    assert_eq!(roles(&net), expected);
    assert_eq!(penalized(&net), ["layer.weight_hh_l0: lambda = 0.1", "layer.weight_ih_l0: lambda = 0.1"]);
}

#[test]
fn two_directions_may_share_one_prefix() {
    let both = |vb: VarBuilder<'_>| {
        let backward = LSTMConfig { direction: Direction::Backward, ..LSTMConfig::default_no_bias() };
        Ok((LSTM::new(2, 3, LSTMConfig::default_no_bias(), vb.clone())?, LSTM::new(2, 3, backward, vb)?))
    };
    let (net, names) = net(both);
    assert_eq!(paths(&net), names);
    assert_eq!(names[1], "layer.weight_hh_l0_reverse");
}

#[test]
fn a_gru_is_visited_under_the_names_of_its_varmap() {
    let (net, names) = net(|vb| GRU::new(2, 3, GRUConfig::default(), vb));
    assert_eq!(paths(&net), names);
    let expected = [
        "layer.bias_hh_l0: bias",
        "layer.bias_ih_l0: bias",
        "layer.weight_hh_l0: weight 0 × 1",
        "layer.weight_ih_l0: weight 0 × 1",
    ];
    assert_eq!(roles(&net), expected);
}

#[test]
fn a_group_norm_has_norm_parameters() {
    let varmap = VarMap::new();
    let build = |vb: VarBuilder<'_>| candle_nn::group_norm(2, 4, 1e-5, vb);
    let norm: Traced<GroupNorm> = Traced::new(&varmap, builder(&varmap).pp("norm"), build).unwrap();
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Block {
        norm: Traced<GroupNorm>,
    }
    let block = Block { norm };
    assert_eq!(roles(&block), ["norm.bias: norm", "norm.weight: norm"]);
    assert_eq!(decisions(&block), ["norm.bias: not penalized (norm)", "norm.weight: not penalized (norm)"]);
}

#[test]
fn the_layers_of_a_sequential_have_the_roles_of_their_names_and_ranks() {
    let build = |vb: VarBuilder<'_>| {
        Ok(candle_nn::seq()
            .add(candle_nn::embedding(5, 4, vb.pp("embed"))?)
            .add(candle_nn::linear(4, 4, vb.pp("fc"))?)
            .add(Activation::Relu)
            .add(candle_nn::layer_norm(4, 1e-5, vb.pp("ln"))?)
            .add(candle_nn::conv1d(4, 4, 1, Default::default(), vb.pp("conv"))?)
            .add_fn(|xs| xs.relu()))
    };
    let (net, names) = net::<Sequential>(build);
    assert_eq!(paths(&net), names);
    let expected = [
        "layer.conv.bias: bias",
        "layer.conv.weight: weight ? × ?",
        "layer.embed.weight: embedding",
        "layer.fc.bias: bias",
        "layer.fc.weight: weight 0 × 1",
        "layer.ln.bias: norm",
        "layer.ln.weight: norm",
    ];
    assert_eq!(roles(&net), expected);
}

#[test]
fn running_statistics_are_buffers() {
    let varmap = VarMap::new();
    let norm = Traced::new(&varmap, builder(&varmap), |vb| candle_nn::batch_norm(3, 1e-5, vb)).unwrap();
    assert_eq!(roles(&norm), ["bias: norm", "running_mean: buffer", "running_var: buffer", "weight: norm"]);
}

#[test]
fn it_is_a_module_where_the_layer_is_one() {
    let (net, _) = net(|vb| candle_nn::linear(2, 3, vb));
    let xs = zeros((5, 2));
    let bias = net.layer.bias().unwrap().to_vec1::<f32>().unwrap();
    let ys = Module::forward(&net.layer, &xs).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(ys, vec![bias; 5]);
}

#[test]
fn it_derefs_to_the_layer() {
    let (mut net, _) = net(|vb| LSTM::new(2, 3, LSTMConfig::default(), vb));
    assert_eq!(net.layer.config().layer_idx, 0);
    assert_eq!(net.layer.seq(&zeros((1, 5, 2))).unwrap().len(), 5);
    let layer: &mut LSTM = &mut net.layer;
    assert_eq!(layer.config().layer_idx, 0);
    assert_eq!(net.layer.into_inner().config().layer_idx, 0);
}

#[test]
fn it_holds_the_very_variables() {
    let varmap = VarMap::new();
    let vb = builder(&varmap).pp("gru");
    let gru = Traced::new(&varmap, vb, |vb| GRU::new(2, 3, GRUConfig::default(), vb)).unwrap();
    #[derive(Regularized)]
    struct Net {
        gru: Traced<GRU>,
    }
    let regularizer = Net { gru }.regularizer().unwrap();
    for (name, var) in varmap.data().lock().unwrap().iter() {
        assert_eq!(regularizer.get(var).unwrap().path(), name.as_str());
    }
}

#[test]
fn the_name_of_the_field_is_the_path_whatever_the_prefix() {
    let varmap = VarMap::new();
    let vb = builder(&varmap).pp("model").pp("old_name");
    let fc: Traced<Linear> = Traced::new(&varmap, vb, |vb| candle_nn::linear(2, 3, vb.pp("inner"))).unwrap();
    #[derive(Regularized)]
    struct Net {
        #[l1(rename = "encoder.fc")]
        fc: Traced<Linear>,
    }
    assert_eq!(paths(&Net { fc }), ["encoder.fc.inner.bias", "encoder.fc.inner.weight"]);
}

#[test]
fn without_a_prefix_it_is_what_the_layer_asks_for() {
    let varmap = VarMap::new();
    let vb = builder(&varmap);
    candle_nn::linear(2, 3, vb.pp("older")).unwrap();
    let build =
        |vb: VarBuilder<'_>| Ok((candle_nn::linear(2, 3, vb.pp("a"))?, candle_nn::linear_no_bias(2, 3, vb.pp("b"))?));
    let net = Traced::new(&varmap, vb, build).unwrap();
    assert_eq!(paths(&net), ["a.bias", "a.weight", "b.weight"]);
}

#[test]
fn it_may_be_shared_with_a_visible_layer() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1)]
        fc: Linear,
        traced: Traced<Linear>,
    }
    let varmap = VarMap::new();
    let vb = builder(&varmap).pp("fc");
    let fc = candle_nn::linear(2, 3, vb.clone()).unwrap();
    let traced = Traced::new(&varmap, vb, |vb| candle_nn::linear(2, 3, vb)).unwrap();
    let expected = ["fc.weight: penalized (lambda = 0.1)", "fc.bias: not penalized (bias)"];
    assert_eq!(decisions(&Net { fc, traced }), expected);
}

#[test]
fn another_varmap_is_an_error() {
    let (own, other) = (VarMap::new(), VarMap::new());
    let error = Traced::new(&other, builder(&own).pp("model").pp("gru"), |vb| GRU::new(2, 3, GRUConfig::default(), vb));
    let expected = "the layer under `model.gru` uses no variable of this VarMap: give `Traced::new` a VarBuilder over \
                    the same VarMap (`VarBuilder::from_varmap(&varmap, ..)`)";
    assert_eq!(error.unwrap_err().to_string(), expected);
}

#[test]
fn a_builder_over_tensors_is_an_error() {
    let tensors = [("fc.weight", zeros((3, 2)))].map(|(name, tensor)| (name.to_owned(), tensor)).into();
    let vb = VarBuilder::from_tensors(tensors, DType::F32, &device());
    let error = Traced::new(&VarMap::new(), vb.pp("fc"), |vb| candle_nn::linear_no_bias(2, 3, vb));
    let expected = "the layer under `fc` uses no variable of this VarMap: give `Traced::new` a VarBuilder over \
                    the same VarMap (`VarBuilder::from_varmap(&varmap, ..)`)";
    assert_eq!(error.unwrap_err().to_string(), expected);
}

#[test]
fn an_error_of_the_layer_comes_through() {
    let varmap = VarMap::new();
    let build = |_: VarBuilder<'_>| -> candle_core::Result<Linear> { candle_core::bail!("no such layer") };
    let error = Traced::new(&varmap, builder(&varmap), build);
    assert!(error.unwrap_err().to_string().starts_with("no such layer"));
}
