//! Curves and groups: what the keys of a field and its struct come to for each tensor, and what a tensor refuses.

use candle_core::Tensor;
use candle_nn::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig, Embedding, Linear};
use l1_core::{Curve, Grouping, Penalty, Regularized};

use crate::given::{conv2d, embedding, linear, linear_no_bias, var};
use crate::said::{decisions, penalized, refusal};

/// The penalty of the parameter at this path.
#[track_caller]
fn penalty(model: &impl Regularized, path: &str) -> Penalty {
    let regularizer = model.regularizer().unwrap();
    *regularizer.param(path).unwrap().decision().penalty().unwrap()
}

#[test]
fn curves_are_charged_as_they_are_named() {
    #[derive(Regularized)]
    #[rustfmt::skip]
    struct Net(
        #[l1(lambda = 0.1, curve = l1)] Tensor,
        #[l1(lambda = 0.1, curve = mcp(3))] Tensor,
        #[l1(lambda = 0.1, curve = scad(3.7))] Tensor,
        #[l1(lambda = 0.1, curve = log(1e-2))] Tensor,
        #[l1(lambda = 0.1, curve = two_thirds)] Tensor,
        #[l1(lambda = 0.1, curve = l0)] Tensor,
    );
    let net = Net(var(2), var(2), var(2), var(2), var(2), var(2));
    let curves = [Curve::L1, Curve::Mcp(3.0), Curve::Scad(3.7), Curve::Log(0.01), Curve::TwoThirds, Curve::L0];
    for (index, curve) in curves.into_iter().enumerate() {
        assert_eq!(penalty(&net, &index.to_string()), Penalty::l1(0.1).with_curve(curve));
    }
}

#[test]
fn groups_are_charged_as_they_are_named() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    #[rustfmt::skip]
    struct Net(
        #[l1(group = element)] Conv2d,
        #[l1(group = output)] Conv2d,
        #[l1(group = input)] Conv2d,
        #[l1(group = dim(3))] Conv2d,
        #[l1(group = kernel)] Conv2d,
        #[l1(group = block(2, 3))] Tensor,
        #[l1(group = whole)] Conv2d,
        #[l1(group = singular)] Conv2d,
    );
    let net = Net(conv2d(), conv2d(), conv2d(), conv2d(), conv2d(), var((4, 6)), conv2d(), conv2d());
    let expected = [
        "0.weight: lambda = 0.1",
        "1.weight: lambda = 0.1, group = dim(0)",
        "2.weight: lambda = 0.1, group = dim(1)",
        "3.weight: lambda = 0.1, group = dim(3)",
        "4.weight: lambda = 0.1, group = kernel",
        "5: lambda = 0.1, group = block(2, 3)",
        "6.weight: lambda = 0.1, group = whole",
        "7.weight: lambda = 0.1, group = singular",
    ];
    assert_eq!(penalized(&net), expected);
}

#[test]
fn output_and_input_are_the_dimensions_that_the_layer_knows() {
    #[derive(Regularized)]
    struct Layers {
        fc: Linear,
        conv: Conv2d,
        transposed: ConvTranspose2d,
        tokens: Embedding,
    }
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, group = output)]
        by_output: Layers,
        #[l1(lambda = 0.1, group = input)]
        by_input: Layers,
    }
    let layers = || Layers {
        fc: linear(),
        conv: conv2d(),
        transposed: ConvTranspose2d::new(var((4, 2, 3, 3)), None, ConvTranspose2dConfig::default()),
        tokens: embedding(),
    };
    let net = Net { by_output: layers(), by_input: layers() };
    let [first, second] = [0, 1].map(|n| Penalty::l1(0.1).with_group(Grouping::Dim(n)));
    for (field, output, input) in
        [("fc", first, second), ("conv", first, second), ("transposed", second, first), ("tokens", second, first)]
    {
        assert_eq!(penalty(&net, &format!("by_output.{field}.weight")), output, "{field}");
        assert_eq!(penalty(&net, &format!("by_input.{field}.weight")), input, "{field}");
    }
}

#[test]
fn weights_and_inner_strengths_belong_to_groups() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, curve = scad(3.7), group = output, unscaled, element = 0.02, l2 = 0.5, scale = 2)]
        fc: Linear,
    }
    let expected = "fc.weight: lambda = 0.2, curve = scad(3.7), group = dim(0), unscaled, element = 0.04, l2 = 1";
    assert_eq!(penalized(&Net { fc: linear() }), [expected]);
}

#[test]
fn parameters_may_be_any_expression() {
    const ROWS: usize = 2;
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, curve = mcp(self.gamma()), group = dim(self.axis))]
        fc1: Linear,
        #[l1(lambda = 0.1, curve = log(f64::from(1u8) / 4.0), group = block(ROWS, ROWS + 1))]
        fc2: Linear,
        axis: usize,
    }
    impl Net {
        fn gamma(&self) -> f64 {
            4.0
        }
    }
    let expected = [
        "fc1.weight: lambda = 0.1, curve = mcp(4), group = dim(1)",
        "fc2.weight: lambda = 0.1, curve = log(0.25), group = block(2, 3)",
    ];
    assert_eq!(penalized(&Net { fc1: linear(), fc2: linear(), axis: 1 }), expected);
}

macro_rules! penalized_by {
    ($name:ident: $curve:ident($gamma:expr), $group:ident, $whole:expr) => {
        #[derive(Regularized)]
        struct $name {
            #[l1(lambda = 0.1, curve = $curve($gamma), group = $group)]
            fc1: Linear,
            #[l1(lambda = 0.1, curve = $whole)]
            fc2: Linear,
        }
    };
}

#[test]
fn a_macro_may_be_given_words_and_their_parameters() {
    penalized_by!(Net: mcp(2.0 + 1.0), output, scad(4));
    let expected =
        ["fc1.weight: lambda = 0.1, curve = mcp(3), group = dim(0)", "fc2.weight: lambda = 0.1, curve = scad(4)"];
    assert_eq!(penalized(&Net { fc1: linear(), fc2: linear() }), expected);
}

#[test]
fn curves_and_groups_merge_with_those_of_the_struct() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1, group = output, curve = mcp(3))]
    struct Net {
        fc1: Linear,
        #[l1(lambda = 0.2)]
        fc2: Linear,
        #[l1(group = element)]
        fc3: Linear,
        #[l1(curve = l1, unscaled)]
        fc4: Linear,
        #[l1(lambda = 0)]
        fc5: Linear,
    }
    let net = Net { fc1: linear(), fc2: linear(), fc3: linear(), fc4: linear(), fc5: linear() };
    let expected = [
        "fc1.weight: lambda = 0.1, curve = mcp(3), group = dim(0)",
        "fc2.weight: lambda = 0.2, curve = mcp(3), group = dim(0)",
        "fc3.weight: lambda = 0.1, curve = mcp(3)",
        "fc4.weight: lambda = 0.1, group = dim(0), unscaled",
        "fc5.weight: lambda = 0",
    ];
    assert_eq!(penalized(&net), expected);
}

#[test]
fn groups_of_a_struct_without_lambda_are_for_its_fields_with_one() {
    #[derive(Regularized)]
    #[l1(group = output)]
    struct Block {
        #[l1(lambda = 0.1)]
        fc1: Linear,
        fc2: Linear,
    }
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.5)]
        below: Block,
        alone: Block,
    }
    let block = || Block { fc1: linear_no_bias(), fc2: linear_no_bias() };
    let expected = [
        "below.fc1.weight: penalized (lambda = 0.1, group = dim(0))",
        "below.fc2.weight: penalized (lambda = 0.5)",
        "alone.fc1.weight: penalized (lambda = 0.1, group = dim(0))",
        "alone.fc2.weight: not penalized (nothing declared)",
    ];
    assert_eq!(decisions(&Net { below: block(), alone: block() }), expected);
}

#[test]
fn the_nearest_penalty_replaces_curve_and_groups_too() {
    #[derive(Regularized)]
    struct Block {
        #[l1(lambda = 0.1)]
        fc1: Linear,
        fc2: Linear,
    }
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.5, curve = l0, group = input)]
        block: Block,
    }
    let net = Net { block: Block { fc1: linear(), fc2: linear() } };
    let expected = ["block.fc1.weight: lambda = 0.1", "block.fc2.weight: lambda = 0.5, curve = l0, group = dim(1)"];
    assert_eq!(penalized(&net), expected);
}

#[test]
fn a_lambda_of_zero_takes_the_penalty_away_whatever_the_struct_says_of_it() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1, group = singular)]
    struct Net {
        fc: Linear,
        #[l1(lambda = 0.0)]
        scale: Tensor,
        #[l1(lambda = 0.0, positive)]
        rates: Tensor,
    }
    let net = Net { fc: linear(), scale: var(3), rates: var(3) };
    let expected = ["fc.weight: lambda = 0.1, group = singular", "scale: lambda = 0", "rates: positive"];
    assert_eq!(penalized(&net), expected);
}

#[test]
fn groups_of_the_struct_pass_over_its_biases() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1, group = input)]
    struct Net {
        fc: Linear,
        conv: Conv2d,
    }
    let expected = [
        "fc.weight: penalized (lambda = 0.1, group = dim(1))",
        "fc.bias: not penalized (bias)",
        "conv.weight: penalized (lambda = 0.1, group = dim(1))",
        "conv.bias: not penalized (bias)",
    ];
    assert_eq!(decisions(&Net { fc: linear(), conv: conv2d() }), expected);
}

#[test]
fn the_bias_of_an_output_is_an_entry_by_itself() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, group = output, unscaled, bias)]
        fc: Linear,
    }
    let expected = ["fc.weight: lambda = 0.1, group = dim(0), unscaled", "fc.bias: lambda = 0.1"];
    assert_eq!(penalized(&Net { fc: linear() }), expected);
}

#[test]
fn a_tied_tensor_may_say_the_same_groups_in_two_ways() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, group = output)]
        head: Linear,
        #[l1(lambda = 0.1, group = dim(0))]
        table: Tensor,
        #[l1(lambda = 0.1, group = input)]
        tokens: Embedding,
    }
    let shared = var((5, 3));
    let net = Net { head: Linear::new(shared.clone(), None), table: shared.clone(), tokens: Embedding::new(shared, 3) };
    assert_eq!(penalized(&net), ["head.weight: lambda = 0.1, group = dim(0)"]);
    assert_eq!(net.regularizer().unwrap().params()[0].aliases(), ["table", "tokens.weight"]);
}

#[test]
fn a_tied_tensor_under_other_groups_is_refused() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, group = output)]
        tokens: Embedding,
        #[l1(lambda = 0.1, group = output)]
        head: Linear,
    }
    let shared = var((5, 3));
    let net = Net { tokens: Embedding::new(shared.clone(), 3), head: Linear::new(shared, None) };
    let message = "tokens.weight and head.weight are one tensor under two rules: tokens.weight is penalized (lambda = 0.1, \
                   group = dim(1)), head.weight is penalized (lambda = 0.1, group = dim(0)). Declare the same rule on \
                   both, or a rule on one of them only";
    assert_eq!(refusal(&net), message);
}

#[test]
fn a_tensor_without_a_layer_has_no_outputs() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, group = output)]
        table: Tensor,
    }
    let message = "table: group = output does not fit shape [4, 6] (expected dim(n): which dimension of this tensor that \
                   is, no layer says; `output` is for layers that do). Choose other groups for it, or `lambda = 0`";
    assert_eq!(refusal(&Net { table: var((4, 6)) }), message);
}

#[test]
fn a_grouped_convolution_has_no_dimension_of_inputs() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, group = input)]
        conv: Conv2d,
    }
    let config = Conv2dConfig { groups: 2, ..Conv2dConfig::default() };
    let message = "conv.weight: group = input does not fit shape [4, 1, 3, 3] (expected dim(n): which dimension of this \
                   tensor that is, no layer says; `input` is for layers that do). Choose other groups for it, or `lambda = 0`";
    assert_eq!(refusal(&Net { conv: Conv2d::new(var((4, 1, 3, 3)), None, config) }), message);
}

#[test]
fn a_bias_has_no_inputs() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1, group = input, bias)]
    struct Net {
        fc: Linear,
    }
    let message = "fc.bias: group = input does not fit shape [2] (expected a weight: a bias has no input features). \
                   Choose other groups for it, or `lambda = 0`";
    assert_eq!(refusal(&Net { fc: linear() }), message);
}

/// A tensor under groups that only its shape can refuse.
macro_rules! refuses {
    ($group:ident $(($($parameter:expr),+))?, $shape:expr, $expected:literal) => {{
        #[derive(Regularized)]
        struct Net {
            #[l1(lambda = 0.1, group = $group $(($($parameter),+))?)]
            table: Tensor,
        }
        let message = concat!($expected, ". Choose other groups for it, or `lambda = 0`");
        assert_eq!(refusal(&Net { table: var($shape) }), message);
    }};
}

#[test]
fn groups_have_to_fit_the_shape() {
    const NOTHING: usize = 0;
    refuses!(
        block(3, 2),
        (4, 6),
        "table: group = block(3, 2) does not fit shape [4, 6] (expected r > 0 that divides the rows, and c > 0 that \
         divides the columns)"
    );
    refuses!(
        block(2, NOTHING),
        (4, 6),
        "table: group = block(2, 0) does not fit shape [4, 6] (expected r > 0 that divides the rows, and c > 0 that \
         divides the columns)"
    );
    refuses!(block(2, 2), 4, "table: group = block(2, 2) does not fit shape [4] (expected a matrix)");
    refuses!(
        dim(2),
        (4, 6),
        "table: group = dim(2) does not fit shape [4, 6] (expected n < 2, the number of its dimensions)"
    );
    refuses!(
        kernel,
        (4, 6),
        "table: group = kernel does not fit shape [4, 6] (expected 3 dimensions or more, as the weight of a convolution \
         has)"
    );
    refuses!(
        singular,
        4,
        "table: group = singular does not fit shape [4] (expected a matrix, or more dimensions: a vector has no singular \
         values)"
    );
}

#[test]
fn a_parameter_of_a_curve_is_checked_where_the_path_is_known() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, curve = mcp(self.gamma))]
        fc1: Linear,
        #[l1(lambda = 0.1, curve = scad(self.gamma + 2.0))]
        fc2: Linear,
        #[l1(lambda = 0.1, curve = log(self.epsilon))]
        fc3: Linear,
        gamma: f64,
        epsilon: f64,
    }
    let net = |gamma, epsilon| Net { fc1: linear(), fc2: linear(), fc3: linear(), gamma, epsilon };
    assert_eq!(refusal(&net(1.0, 0.1)), "fc1: curve = 1 (expected γ finite and > 1 in mcp(γ))");
    assert_eq!(refusal(&net(f64::NAN, 0.1)), "fc1: curve = NaN (expected γ finite and > 1 in mcp(γ))");
    assert_eq!(refusal(&net(3.0, 0.0)), "fc3: curve = 0 (expected ε finite and > 0 in log(ε))");
    assert_eq!(penalized(&net(3.0, 0.1)).len(), 3);
}

#[test]
fn a_parameter_of_a_curve_of_the_struct_is_its_own_mistake() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1, curve = scad(self.gamma))]
    struct Block {
        fc: Linear,
        gamma: f64,
    }
    #[derive(Regularized)]
    struct Net {
        block: Block,
    }
    let message = "block: curve = 2 (expected γ finite and > 2 in scad(γ))";
    assert_eq!(refusal(&Net { block: Block { fc: linear(), gamma: 2.0 } }), message);
}

#[test]
fn an_inner_strength_that_is_no_strength_is_refused() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, group = output, element = self.inner)]
        fc: Linear,
        inner: f64,
    }
    assert_eq!(refusal(&Net { fc: linear(), inner: -1.0 }), "fc: element = -1 (expected finite and ≥ 0)");
}

#[test]
fn an_inner_strength_of_zero_beside_singular_values_is_none() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, group = singular, element = 0)]
        fc: Linear,
    }
    assert_eq!(penalized(&Net { fc: linear() }), ["fc.weight: lambda = 0.1, group = singular"]);
}
