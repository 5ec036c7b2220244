//! What a visit refuses, each with its whole message.

use candle_core::{Tensor, Var};
use candle_nn::{BatchNorm, LayerNorm, Linear, VarBuilder};
use l1_core::Regularized;
use tests::device;

use crate::given::{frozen, layer_norm, linear, linear_no_bias, var};
use crate::said::refusal;

#[test]
fn a_strength_that_is_no_strength() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = self.lambda, l2 = self.l2, scale = self.scale)]
        fc: Linear,
        lambda: f64,
        l2: f64,
        scale: f64,
    }
    let refusal = |lambda, l2, scale| refusal(&Net { fc: linear(), lambda, l2, scale });
    assert_eq!(refusal(-0.5, 0.0, 1.0), "fc: lambda = -0.5 (expected finite and ≥ 0)");
    assert_eq!(refusal(f64::NAN, 0.0, 1.0), "fc: lambda = NaN (expected finite and ≥ 0)");
    assert_eq!(refusal(f64::INFINITY, 0.0, 1.0), "fc: lambda = inf (expected finite and ≥ 0)");
    assert_eq!(refusal(0.1, -1e-9, 1.0), "fc: l2 = -1e-9 (expected finite and ≥ 0)");
    assert_eq!(refusal(0.1, f64::NAN, 1.0), "fc: l2 = NaN (expected finite and ≥ 0)");
    assert_eq!(refusal(0.1, f64::INFINITY, 1.0), "fc: l2 = inf (expected finite and ≥ 0)");
    assert_eq!(refusal(0.1, 0.1, -1.0), "fc: scale = -1 (expected finite and ≥ 0)");
    assert_eq!(refusal(0.1, 0.1, f64::NAN), "fc: scale = NaN (expected finite and ≥ 0)");
    assert_eq!(refusal(0.1, 0.1, f64::NEG_INFINITY), "fc: scale = -inf (expected finite and ≥ 0)");
}

#[test]
fn a_strength_on_a_nested_struct() {
    #[derive(Regularized)]
    #[l1(lambda = self.strength)]
    struct Block {
        fc: Linear,
        strength: f64,
    }
    #[derive(Regularized)]
    struct Net {
        blocks: Vec<Block>,
    }
    let block = |strength| Block { fc: linear(), strength };
    let message = refusal(&Net { blocks: vec![block(0.1), block(-0.1)] });
    assert_eq!(message, "blocks.1: lambda = -0.1 (expected finite and ≥ 0)");
}

#[test]
fn a_strength_on_a_struct_that_begins_with_a_plain_value() {
    #[derive(Regularized)]
    #[l1(lambda = self.strength)]
    struct Block {
        strength: f64,
        fc: Linear,
    }
    let message = "(the model itself): lambda = -0.1 (expected finite and ≥ 0)";
    assert_eq!(refusal(&Block { strength: -0.1, fc: linear() }), message);
}

#[test]
fn scales_that_multiply_to_infinity() {
    #[derive(Regularized)]
    struct Inner {
        #[l1(lambda = 1, scale = 1e200)]
        fc: Linear,
    }
    #[derive(Regularized)]
    struct Outer {
        #[l1(scale = 1e200)]
        inner: Inner,
    }
    let message = refusal(&Outer { inner: Inner { fc: linear() } });
    assert_eq!(message, "inner.fc.weight: lambda times the scales on its path = inf (expected finite and ≥ 0)");
}

#[test]
fn a_strength_below_a_skip_is_checked_too() {
    #[derive(Regularized)]
    struct Inner {
        #[l1(lambda = self.strength)]
        fc: Linear,
        strength: f64,
    }
    #[derive(Regularized)]
    struct Outer {
        #[l1(skip)]
        inner: Inner,
    }
    let message = refusal(&Outer { inner: Inner { fc: linear(), strength: -1.0 } });
    assert_eq!(message, "inner.fc: lambda = -1 (expected finite and ≥ 0)");
}

#[derive(Regularized)]
struct On<T> {
    #[l1(lambda = 0.1)]
    field: T,
    other: Linear,
}

/// The message about a λ on a field of this value.
fn on<T: Regularized>(field: T) -> String {
    refusal(&On { field, other: linear() })
}

#[test]
fn a_lambda_on_a_norm_layer() {
    let message = "field: lambda = 0.1 reaches no parameter: `LayerNorm` holds only norm parameters. Add `norm` to \
                   the attribute to penalize norm parameters, or remove the penalty";
    assert_eq!(on(layer_norm()), message);
}

#[test]
fn a_lambda_on_a_batch_norm() {
    let message = "field: lambda = 0.1 reaches no parameter: in `BatchNorm` `running_mean`, `running_var` are \
                   buffers; `weight`, `bias` are norm parameters. Add `norm` to the attribute to penalize norm \
                   parameters, or remove the penalty";
    assert_eq!(on(BatchNorm::new(3, frozen(3), frozen(3), var(3), var(3), 1e-5).unwrap()), message);
}

#[test]
fn a_lambda_on_a_bias() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1)]
        bias: Tensor,
    }
    let message = "bias: lambda = 0.1 reaches no parameter: the tensor is a bias. Add `bias` to the attribute to \
                   penalize biases, or remove the penalty";
    assert_eq!(refusal(&Net { bias: var(3) }), message);
}

#[test]
fn a_lambda_on_an_integer_tensor() {
    let message = "field: lambda = 0.1 reaches no parameter: the tensor is of dtype u32. Only F32, F64, BF16 and \
                   F16 are regularized; remove the penalty";
    assert_eq!(on(Tensor::new(&[1u32, 2], &device()).unwrap()), message);
    let message = "field: lambda = 0.1 reaches no parameter: the tensor is of dtype i64. Only F32, F64, BF16 and \
                   F16 are regularized; remove the penalty";
    assert_eq!(on(Var::new(&[1i64, 2], &device()).unwrap()), message);
}

#[test]
fn a_lambda_on_a_frozen_tensor() {
    let message = "field: lambda = 0.1 reaches no parameter: the tensor is frozen (not a variable). Build it from a \
                   VarBuilder over a VarMap (`VarBuilder::from_varmap`) to train it, or remove the penalty";
    assert_eq!(on(frozen(3)), message);
}

#[test]
fn a_lambda_on_a_layer_that_was_read_from_a_file() {
    // As with `from_mmaped_safetensors`, which is unsafe to call: neither makes variables.
    let path = std::env::temp_dir().join(format!("l1-frozen-{}.safetensors", std::process::id()));
    let tensors = [("weight", frozen((3, 2))), ("bias", frozen(3))].into();
    candle_core::safetensors::save(&tensors, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let vb = VarBuilder::from_buffered_safetensors(bytes, candle_core::DType::F32, &device()).unwrap();
    let message = "field: lambda = 0.1 reaches no parameter: `Linear` holds only frozen tensors (not variables). \
                   Build it from a VarBuilder over a VarMap (`VarBuilder::from_varmap`) to train it, or remove the \
                   penalty";
    assert_eq!(on(candle_nn::linear(2, 3, vb).unwrap()), message);
}

#[test]
fn a_lambda_on_a_buffer() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, role = buffer)]
        mean: Tensor,
    }
    let message = "mean: lambda = 0.1 reaches no parameter: the tensor is a buffer. Buffers are not trained; remove \
                   the penalty";
    assert_eq!(refusal(&Net { mean: var(3) }), message);
}

#[test]
fn a_lambda_on_a_view_of_another_parameter() {
    #[derive(Regularized)]
    struct Net {
        tokens: Tensor,
        #[l1(lambda = 0.1)]
        head: Linear,
    }
    let tokens = var((5, 3));
    let head = Linear::new(tokens.t().unwrap(), None);
    let message = "head: lambda = 0.1 reaches no parameter: in `Linear` `weight` is a view of tokens. Declare the \
                   penalty where the tensor itself is, or remove it";
    assert_eq!(refusal(&Net { tokens, head }), message);
}

#[test]
fn a_lambda_on_a_type_without_parameters() {
    let message = "field: lambda = 0.1 reaches no parameter: `Activation` holds no parameters. Remove the penalty";
    assert_eq!(on(candle_nn::Activation::Relu), message);
    let message = "field: lambda = 0.1 reaches no parameter: `Vec<(f64, Dropout)>` holds no parameters. \
                   Remove the penalty";
    assert_eq!(on(vec![(0.5, candle_nn::Dropout::new(0.5))]), message);
}

#[test]
fn a_lambda_above_fields_that_all_have_their_own() {
    #[derive(Regularized)]
    struct Block {
        #[l1(lambda = 0.2)]
        fc1: Linear,
        #[l1(l2 = 0.3)]
        fc2: Linear,
    }
    let message = "field: lambda = 0.1 reaches no parameter: `Block` holds only parameters under nearer rules of \
                   their own. Remove the outer declaration, or the nearer one";
    assert_eq!(on(Block { fc1: linear(), fc2: linear() }), message);
}

#[test]
fn a_lambda_above_a_struct_with_a_rule_of_its_own() {
    #[derive(Regularized)]
    #[l1(lambda = 0.2)]
    struct Block {
        fc1: Linear,
        fc2: Linear,
    }
    let message = "field: lambda = 0.1 reaches no parameter: `Block` holds only parameters under nearer rules of \
                   their own. Remove the outer declaration, or the nearer one";
    assert_eq!(on(Block { fc1: linear(), fc2: linear_no_bias() }), message);
}

#[test]
fn a_lambda_above_a_skipped_subtree() {
    #[derive(Regularized)]
    struct Block {
        #[l1(skip = "frozen")]
        fc1: Linear,
        #[l1(skip)]
        function: fn(),
        #[l1(opaque)]
        _hidden: fn(),
    }
    let message = "field: lambda = 0.1 reaches no parameter: in `Block` `fc1.weight`, `fc1.bias` are skipped: \
                   frozen; `function` is skipped; `_hidden` is opaque: not looked into. Remove the penalty, or the \
                   `skip` or `opaque` below it";
    assert_eq!(on(Block { fc1: linear(), function: || (), _hidden: || () }), message);
}

#[test]
fn a_lambda_above_fields_that_are_not_looked_into() {
    #[derive(Regularized)]
    struct Block {
        #[l1(skip = "frozen")]
        function: fn(),
        #[l1(opaque)]
        _hidden: fn(),
    }
    let message = "field: lambda = 0.1 reaches no parameter: in `Block` `function` is skipped: frozen; `_hidden` is \
                   opaque: not looked into. Remove the penalty, or the `skip` or `opaque` below it";
    assert_eq!(on(Block { function: || (), _hidden: || () }), message);
}

#[test]
fn a_penalty_that_is_taken_away_need_not_reach_anything() {
    #[derive(Regularized)]
    #[l1(positive)]
    struct Net {
        fc: Linear,
        #[l1(positive = false)]
        ln: LayerNorm,
        #[l1(lambda = 0, positive = false)]
        norm: LayerNorm,
    }
    assert!(Net { fc: linear(), ln: layer_norm(), norm: layer_norm() }.regularizer().is_ok());
}

#[test]
fn a_lambda_above_many_parameters_that_it_does_not_reach() {
    #[derive(Regularized)]
    struct Block {
        norms: Vec<LayerNorm>,
        table: Tensor,
    }
    let message = "field: lambda = 0.1 reaches no parameter: in `Block` `norms.0.weight`, `norms.0.bias`, \
                   `norms.1.weight` and 3 more are norm parameters; `table` is frozen (not a variable). Add `norm` \
                   to the attribute to penalize norm parameters, or remove the penalty. Build it from a VarBuilder \
                   over a VarMap (`VarBuilder::from_varmap`) to train it, or remove the penalty";
    assert_eq!(on(Block { norms: vec![layer_norm(), layer_norm(), layer_norm()], table: frozen(3) }), message);
}

#[test]
fn a_lambda_that_adds_to_the_rule_of_its_struct_and_reaches_nothing() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        fc: Linear,
        #[l1(l2 = 0.2, positive)]
        ln: LayerNorm,
    }
    let message = "ln: lambda = 0.1, l2 = 0.2, positive reaches no parameter: `LayerNorm` holds only norm \
                   parameters. Add `norm` to the attribute to penalize norm parameters, or remove the penalty";
    assert_eq!(refusal(&Net { fc: linear(), ln: layer_norm() }), message);
}

#[test]
fn a_lambda_deep_in_the_model_that_reaches_nothing() {
    #[derive(Regularized)]
    struct Net {
        blocks: Vec<On<LayerNorm>>,
    }
    let message = "blocks.0.field: lambda = 0.1 reaches no parameter: `LayerNorm` holds only norm parameters. Add \
                   `norm` to the attribute to penalize norm parameters, or remove the penalty";
    assert_eq!(refusal(&Net { blocks: vec![On { field: layer_norm(), other: linear() }] }), message);
}

#[test]
fn one_tensor_under_two_rules() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1)]
        tokens: Tensor,
        #[l1(lambda = 0.2)]
        head: Tensor,
    }
    let shared = var((5, 3));
    let message = "tokens and head are one tensor under two rules: tokens is penalized (lambda = 0.1), head is \
                   penalized (lambda = 0.2). Declare the same rule on both, or a rule on one of them only";
    assert_eq!(refusal(&Net { tokens: shared.clone(), head: shared }), message);
}

#[test]
fn one_tensor_penalized_here_and_skipped_there() {
    #[derive(Regularized)]
    struct Net {
        tied: Tensor,
        #[l1(skip = "frozen")]
        tokens: Tensor,
        #[l1(lambda = 0.2)]
        head: Tensor,
    }
    let shared = var((5, 3));
    let message = "tokens and head are one tensor under two rules: tokens is not penalized (skipped: frozen), head \
                   is penalized (lambda = 0.2). Declare the same rule on both, or a rule on one of them only";
    assert_eq!(refusal(&Net { tied: shared.clone(), tokens: shared.clone(), head: shared }), message);
}

#[test]
fn one_tensor_under_two_scales() {
    #[derive(Regularized)]
    #[l1(lambda = 0.5)]
    struct Net {
        tokens: Tensor,
        #[l1(scale = 2)]
        head: Tensor,
    }
    let shared = var((5, 3));
    let message = "tokens and head are one tensor under two rules: tokens is penalized (lambda = 0.5), head is \
                   penalized (lambda = 1). Declare the same rule on both, or a rule on one of them only";
    assert_eq!(refusal(&Net { tokens: shared.clone(), head: shared }), message);
}

#[test]
fn two_tensors_of_one_path_by_flatten() {
    #[derive(Regularized)]
    struct Net {
        #[l1(flatten)]
        fc1: Linear,
        #[l1(flatten)]
        fc2: Linear,
    }
    let message = "weight: two parameters have this path; rename one of the fields or map keys, or remove a \
                   `flatten`; of several models give each a place of its own, `.model_at(\"actor\", &actor)`";
    assert_eq!(refusal(&Net { fc1: linear(), fc2: linear() }), message);
}

#[test]
fn two_tensors_of_one_path_by_rename() {
    #[derive(Regularized)]
    struct Encoder {
        fc: Linear,
    }
    #[derive(Regularized)]
    struct Net {
        encoder: Encoder,
        #[l1(rename = "encoder.fc")]
        fc: Linear,
    }
    let message = "encoder.fc.weight: two parameters have this path; rename one of the fields or map keys, or \
                   remove a `flatten`; of several models give each a place of its own, `.model_at(\"actor\", &actor)`";
    assert_eq!(refusal(&Net { encoder: Encoder { fc: linear() }, fc: linear() }), message);
}

#[test]
fn two_tensors_of_one_path_by_a_key_with_a_dot() {
    #[derive(Regularized)]
    struct Net {
        heads: std::collections::BTreeMap<&'static str, std::collections::BTreeMap<&'static str, Tensor>>,
    }
    let inner = |key: &'static str| [(key, var(2))].into();
    let heads = [("a", inner("b.c")), ("a.b", inner("c"))].into();
    let message = "heads.a.b.c: two parameters have this path; rename one of the fields or map keys, or remove a \
                   `flatten`; of several models give each a place of its own, `.model_at(\"actor\", &actor)`";
    assert_eq!(refusal(&Net { heads }), message);
}

#[test]
fn a_role_on_a_layer() {
    #[derive(Regularized)]
    struct Net {
        #[l1(role = embedding)]
        tokens: Linear,
    }
    let message = "tokens: role = embedding names no tensor: `role` is for a field that is a `Tensor` or `Var` (or \
                   a container of them); a layer or struct says the roles of its own tensors. Remove `role`, or \
                   write it on the tensor's field";
    assert_eq!(refusal(&Net { tokens: linear() }), message);
}

#[test]
fn a_role_on_a_struct_with_tensors() {
    #[derive(Regularized)]
    struct Block {
        gain: Tensor,
    }
    #[derive(Regularized)]
    struct Net {
        #[l1(role = norm)]
        block: Block,
    }
    let message = "block: role = norm names no tensor: `role` is for a field that is a `Tensor` or `Var` (or a \
                   container of them); a layer or struct says the roles of its own tensors. Remove `role`, or write \
                   it on the tensor's field";
    assert_eq!(refusal(&Net { block: Block { gain: var(2) } }), message);
}

#[test]
fn a_model_without_parameters() {
    #[derive(Regularized)]
    struct Net {
        dropout: candle_nn::Dropout,
        layers: Nothing,
    }
    #[derive(Regularized)]
    struct Nothing;
    let message = "the model holds no parameters: no field of it is a tensor, a layer or another model. Visit those that it \
                   has, or show the variables: `Regularizer::builder().vars(&varmap)`";
    assert_eq!(refusal(&Nothing), message);
    assert_eq!(refusal(&Net { dropout: candle_nn::Dropout::new(0.5), layers: Nothing }), message);
}

#[test]
fn a_lambda_on_an_enum_that_never_holds_anything() {
    #[derive(Regularized)]
    enum Kind {
        Small,
    }
    let message = "field: lambda = 0.1 reaches no parameter: `Kind` holds no parameters. Remove the penalty";
    assert_eq!(on(Kind::Small), message);
}

#[test]
fn a_penalty_of_nothing() {
    #[derive(Regularized)]
    struct Net {
        fc: Linear,
    }
    let message = "none of the model's parameters (2) is penalized: nothing declared (2). Declare `#[l1(lambda = \
                   ..)]` on a field or on the struct, or add a rule for names. To train without a penalty, for comparison: declare `decay = ..` \
                   alone, take candle's own optimizer, or declare a λ and `set_scale(0.0)`";
    assert_eq!(Net { fc: linear() }.penalty().unwrap_err().to_string(), message);
}
