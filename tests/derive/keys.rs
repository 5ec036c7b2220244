//! Each key of `#[l1(..)]`, one after the other.

use candle_core::{Tensor, Var};
use candle_nn::{GRU, GRUConfig, Linear, VarMap};
use l1_core::{Regularized, Result, Role, Rule, Visitor};

use crate::given::{builder, embedding, layer_norm, linear, linear_no_bias, var};
use crate::said::{decisions, paths, penalized, roles, unvisited};

#[test]
fn lambda_penalizes_weights_and_leaves_biases_alone() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1)]
        fc: Linear,
    }
    let expected = ["fc.weight: penalized (lambda = 0.1)", "fc.bias: not penalized (bias)"];
    assert_eq!(decisions(&Net { fc: linear() }), expected);
}

#[test]
fn numbers_may_be_written_in_any_way() {
    #[derive(Regularized)]
    #[rustfmt::skip]
    struct Net(
        #[l1(lambda = 1)] Linear,
        #[l1(lambda = 1e-3)] Linear,
        #[l1(lambda = 0.5f64)] Linear,
        #[l1(lambda = 1_000)] Linear,
        #[l1(lambda = 0x10)] Linear,
        #[l1(lambda = (2.))] Linear,
        #[l1(lambda = -0.0)] Linear,
    );
    let net = Net(linear(), linear(), linear(), linear(), linear(), linear(), linear());
    let expected = [
        "0.weight: lambda = 1",
        "1.weight: lambda = 0.001",
        "2.weight: lambda = 0.5",
        "3.weight: lambda = 1000",
        "4.weight: lambda = 16",
        "5.weight: lambda = 2",
        "6.weight: lambda = 0",
    ];
    assert_eq!(penalized(&net), expected);
}

#[test]
fn nothing_is_penalized_where_nothing_is_declared() {
    #[derive(Regularized)]
    struct Net {
        fc: Linear,
    }
    let expected = ["fc.weight: not penalized (nothing declared)", "fc.bias: not penalized (nothing declared)"];
    assert_eq!(decisions(&Net { fc: linear() }), expected);
}

#[test]
fn a_lambda_of_zero_counts_as_declared() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        #[l1(lambda = 0)]
        fc: Linear,
    }
    assert_eq!(decisions(&Net { fc: linear_no_bias() }), ["fc.weight: penalized (lambda = 0)"]);
}

#[test]
fn l2_needs_no_lambda() {
    #[derive(Regularized)]
    struct Net {
        #[l1(l2 = 0.1)]
        fc: Linear,
    }
    assert_eq!(penalized(&Net { fc: linear() }), ["fc.weight: l2 = 0.1"]);
}

#[test]
fn positive_needs_no_lambda() {
    #[derive(Regularized)]
    struct Net {
        #[l1(positive)]
        fc: Linear,
    }
    assert_eq!(penalized(&Net { fc: linear() }), ["fc.weight: positive"]);
}

#[test]
fn flags_may_be_said_in_full() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1, positive, bias, norm)]
    struct Net {
        #[l1(positive = false, bias = false)]
        fc1: Linear,
        #[l1(positive = true, bias = true)]
        fc2: Linear,
        #[l1(norm = false)]
        ln: candle_nn::LayerNorm,
    }
    let expected = [
        "fc1.weight: penalized (lambda = 0.1)",
        "fc1.bias: not penalized (bias)",
        "fc2.weight: penalized (lambda = 0.1, positive)",
        "fc2.bias: penalized (lambda = 0.1, positive)",
        "ln.weight: not penalized (norm)",
        "ln.bias: not penalized (norm)",
    ];
    assert_eq!(decisions(&Net { fc1: linear(), fc2: linear(), ln: layer_norm() }), expected);
}

#[test]
fn bias_penalizes_biases_too() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, bias)]
        fc: Linear,
    }
    assert_eq!(penalized(&Net { fc: linear() }), ["fc.weight: lambda = 0.1", "fc.bias: lambda = 0.1"]);
}

#[test]
fn norm_penalizes_scale_and_shift_of_a_normalization() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, norm)]
        ln: candle_nn::LayerNorm,
    }
    assert_eq!(penalized(&Net { ln: layer_norm() }), ["ln.weight: lambda = 0.1", "ln.bias: lambda = 0.1"]);
}

#[test]
fn embeddings_are_penalized_like_weights() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1)]
        tokens: candle_nn::Embedding,
    }
    assert_eq!(penalized(&Net { tokens: embedding() }), ["tokens.weight: lambda = 0.1"]);
}

#[test]
fn scale_multiplies_lambda_and_l2() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.5, l2 = 4, positive, scale = 0.25)]
        fc: Linear,
    }
    assert_eq!(penalized(&Net { fc: linear() }), ["fc.weight: lambda = 0.125, l2 = 1, positive"]);
}

#[test]
fn role_says_what_a_bare_tensor_is() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        #[l1(role = weight)]
        bias: Tensor,
        #[l1(role = bias)]
        shift: Tensor,
        #[l1(role = norm)]
        gain: Tensor,
        #[l1(role = embedding)]
        tokens: Tensor,
        #[l1(role = buffer)]
        mean: Tensor,
        #[l1(role = norm)]
        var: Var,
    }
    let net = Net {
        bias: var(2),
        shift: var(2),
        gain: var(2),
        tokens: var((5, 2)),
        mean: var(2),
        var: Var::from_tensor(&var(2)).unwrap(),
    };
    let expected =
        ["bias: weight ? × ?", "shift: bias", "gain: norm", "tokens: embedding", "mean: buffer", "var: norm"];
    assert_eq!(roles(&net), expected);
    assert_eq!(penalized(&net), ["bias: lambda = 0.1", "tokens: lambda = 0.1"]);
}

#[test]
fn a_role_holds_for_every_tensor_in_a_container() {
    #[derive(Regularized)]
    struct Net {
        #[l1(role = norm)]
        gains: Vec<Option<Tensor>>,
    }
    assert_eq!(roles(&Net { gains: vec![Some(var(2)), None, Some(var(2))] }), ["gains.0: norm", "gains.2: norm"]);
}

#[test]
fn rename_replaces_the_path_segment_and_may_hold_dots() {
    #[derive(Regularized)]
    struct Net {
        #[l1(rename = "encoder.layers.0")]
        first: Linear,
        #[l1(rename = "wte")]
        tokens: candle_nn::Embedding,
    }
    let net = Net { first: linear(), tokens: embedding() };
    assert_eq!(paths(&net), ["encoder.layers.0.weight", "encoder.layers.0.bias", "wte.weight"]);
}

#[test]
fn a_renamed_tensor_has_the_role_of_its_new_name() {
    #[derive(Regularized)]
    struct Net {
        #[l1(rename = "fc.bias")]
        shift: Tensor,
    }
    assert_eq!(roles(&Net { shift: var(2) }), ["fc.bias: bias"]);
}

#[test]
fn two_fields_may_share_the_first_segments_of_their_names() {
    #[derive(Regularized)]
    struct Net {
        #[l1(rename = "encoder.fc1")]
        first: Linear,
        #[l1(rename = "encoder.fc2")]
        second: Linear,
    }
    let net = Net { first: linear_no_bias(), second: linear_no_bias() };
    assert_eq!(paths(&net), ["encoder.fc1.weight", "encoder.fc2.weight"]);
}

#[test]
fn flatten_adds_no_path_segment() {
    #[derive(Regularized)]
    struct Base {
        fc1: Linear,
    }
    #[derive(Regularized)]
    struct Net {
        #[l1(flatten, lambda = 0.1)]
        base: Base,
        #[l1(flatten)]
        maps: std::collections::BTreeMap<&'static str, Linear>,
        fc2: Linear,
    }
    let net =
        Net { base: Base { fc1: linear_no_bias() }, maps: [("head", linear_no_bias())].into(), fc2: linear_no_bias() };
    assert_eq!(paths(&net), ["fc1.weight", "head.weight", "fc2.weight"]);
    assert_eq!(penalized(&net), ["fc1.weight: lambda = 0.1"]);
}

/// A layer of another crate whose tensors can be reached.
struct Foreign {
    table: Tensor,
    shift: Option<Tensor>,
}

fn foreign() -> Foreign {
    Foreign { table: var((2, 3)), shift: Some(var(2)) }
}

fn visit_foreign(layer: &Foreign, visitor: &mut Visitor<'_>) -> Result<()> {
    visitor.param("table", Role::Embedding, &layer.table)?;
    visitor.field("bias", Rule::inherit(), &layer.shift)
}

#[test]
fn with_visits_a_foreign_type_by_a_function() {
    #[derive(Regularized)]
    struct Net {
        #[l1(with = visit_foreign, lambda = 0.1, bias)]
        layer: Foreign,
    }
    let net = Net { layer: foreign() };
    assert_eq!(roles(&net), ["layer.table: embedding", "layer.bias: bias"]);
    assert_eq!(penalized(&net), ["layer.table: lambda = 0.1", "layer.bias: lambda = 0.1"]);
}

#[test]
fn with_takes_associated_and_generic_functions() {
    trait Table {
        fn table(&self) -> &Tensor;
    }
    impl Table for Foreign {
        fn table(&self) -> &Tensor {
            &self.table
        }
    }
    fn visit_table<T: Table>(layer: &T, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.param("weight", Role::WEIGHT, layer.table())
    }
    #[derive(Regularized)]
    struct Net {
        #[l1(with = visit_table)]
        inferred: Foreign,
        #[l1(with = visit_table::<Foreign>)]
        explicit: Foreign,
        #[l1(with = Self::visit)]
        associated: Foreign,
        #[l1(with = <Self as Named>::visit)]
        of_a_trait: Foreign,
    }
    impl Net {
        fn visit(layer: &Foreign, visitor: &mut Visitor<'_>) -> Result<()> {
            visitor.param("own", Role::WEIGHT, &layer.table)
        }
    }
    trait Named {
        fn visit(layer: &Foreign, visitor: &mut Visitor<'_>) -> Result<()> {
            visitor.param("named", Role::WEIGHT, &layer.table)
        }
    }
    impl Named for Net {}
    let net = Net { inferred: foreign(), explicit: foreign(), associated: foreign(), of_a_trait: foreign() };
    assert_eq!(paths(&net), ["inferred.weight", "explicit.weight", "associated.own", "of_a_trait.named"]);
}

#[test]
fn with_may_be_flattened_and_renamed() {
    #[derive(Regularized)]
    struct Net {
        #[l1(with = visit_foreign, flatten)]
        flat: Foreign,
        #[l1(with = visit_foreign, rename = "a.b")]
        named: Foreign,
    }
    assert_eq!(paths(&Net { flat: foreign(), named: foreign() }), ["table", "bias", "a.b.table", "a.b.bias"]);
}

#[test]
fn with_is_preferred_to_the_own_visit_of_the_type() {
    fn weight_only(layer: &Linear, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.param("w", Role::WEIGHT, layer.weight())
    }
    #[derive(Regularized)]
    struct Net {
        #[l1(with = weight_only)]
        fc: Linear,
    }
    assert_eq!(paths(&Net { fc: linear() }), ["fc.w"]);
}

#[test]
fn opaque_fields_are_named_and_not_looked_into() {
    #[derive(Regularized)]
    struct Net {
        fc: Linear,
        #[l1(opaque)]
        gru: GRU,
        #[l1(opaque, rename = "decoder.gru")]
        second: GRU,
    }
    impl Net {
        fn dims(&self) -> usize {
            self.gru.config().b_ih_init.iter().chain(&self.second.config().b_ih_init).count()
        }
    }
    let varmap = VarMap::new();
    let gru = |name| GRU::new(2, 3, GRUConfig::default(), builder(&varmap).pp(name)).unwrap();
    let net = Net { fc: linear_no_bias(), gru: gru("a"), second: gru("b") };
    assert_eq!(net.dims(), 2);
    assert_eq!(paths(&net), ["fc.weight"]);
    assert_eq!(unvisited(&net), ["gru: opaque: not looked into", "decoder.gru: opaque: not looked into"]);
}

#[test]
fn several_attributes_on_one_item_are_one() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    #[l1(bias)]
    struct Net {
        #[l1(l2 = 0.2)]
        #[l1(rename = "fc", positive)]
        first: Linear,
    }
    let expected = ["fc.weight: lambda = 0.1, l2 = 0.2, positive", "fc.bias: lambda = 0.1, l2 = 0.2, positive"];
    assert_eq!(penalized(&Net { first: linear() }), expected);
}

const STRENGTH: f64 = 0.25;

fn half(strength: f64) -> f64 {
    strength / 2.0
}

#[test]
fn an_expression_may_be_any_f64() {
    struct Strengths {
        first: f64,
        rest: Vec<f64>,
    }
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = self.strengths.first)]
        field: Linear,
        #[l1(lambda = self.strength(2), l2 = Self::FACTOR)]
        method_and_associated_constant: Linear,
        #[l1(lambda = STRENGTH, scale = f64::from(2u8))]
        constant: Linear,
        #[l1(lambda = half(half(1.0)))]
        function: Linear,
        #[l1(lambda = if self.strengths.rest.is_empty() { 0.0 } else { self.strengths.rest[0] })]
        condition: Linear,
        #[l1(lambda = {
            let sum: f64 = self.strengths.rest.iter().sum();
            sum
        })]
        block: Linear,
        #[l1(lambda = self.field.weight().dims().len() as f64)]
        of_another_field: Linear,
        #[l1(lambda = -(-1.0f64).max(-3.0) * 2.0)]
        arithmetic: Linear,
        #[l1(skip)]
        strengths: Strengths,
    }
    impl Net {
        const FACTOR: f64 = 8.0;

        fn strength(&self, index: usize) -> f64 {
            self.strengths.rest[index]
        }
    }
    let net = Net {
        field: linear(),
        method_and_associated_constant: linear(),
        constant: linear(),
        function: linear(),
        condition: linear(),
        block: linear(),
        of_another_field: linear(),
        arithmetic: linear(),
        strengths: Strengths { first: 0.5, rest: vec![1.0, 2.0, 3.0] },
    };
    let expected = [
        "field.weight: lambda = 0.5",
        "method_and_associated_constant.weight: lambda = 3, l2 = 8",
        "constant.weight: lambda = 0.5",
        "function.weight: lambda = 0.25",
        "condition.weight: lambda = 1",
        "block.weight: lambda = 6",
        "of_another_field.weight: lambda = 2",
        "arithmetic.weight: lambda = 2",
    ];
    assert_eq!(penalized(&net), expected);
}

#[test]
fn an_expression_on_the_struct_has_self_too() {
    #[derive(Regularized)]
    #[l1(lambda = self.strength)]
    struct Net {
        fc: Linear,
        strength: f64,
    }
    assert_eq!(penalized(&Net { fc: linear(), strength: 0.75 }), ["fc.weight: lambda = 0.75"]);
}

#[test]
fn an_expression_is_evaluated_at_each_visit() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = self.strength)]
        fc: Linear,
        strength: f64,
    }
    let mut net = Net { fc: linear(), strength: 0.5 };
    assert_eq!(penalized(&net), ["fc.weight: lambda = 0.5"]);
    net.strength = 0.125;
    assert_eq!(penalized(&net), ["fc.weight: lambda = 0.125"]);
}
