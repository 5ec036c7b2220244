//! `decay`: which parameters it reaches, how it is inherited, and what is refused of it.

use candle_core::Tensor;
use candle_nn::{BatchNorm, LayerNorm, Linear};
use l1_core::Regularized;
use tests::device;

use crate::given::{embedding, frozen, layer_norm, linear, linear_no_bias, var};
use crate::said::{decays, decisions, penalized, refusal};

#[test]
fn it_reaches_weights_and_embeddings_and_needs_no_penalty() {
    #[derive(Regularized)]
    struct Net {
        #[l1(decay = 0.01)]
        fc: Linear,
        #[l1(decay = 1)]
        tokens: candle_nn::Embedding,
        other: Linear,
    }
    let net = Net { fc: linear(), tokens: embedding(), other: linear() };
    assert_eq!(decays(&net), ["fc.weight: 0.01", "tokens.weight: 1"]);
    assert!(penalized(&net).is_empty());
    assert_eq!(decisions(&net)[0], "fc.weight: not penalized (nothing declared)");
}

#[test]
fn bias_and_norm_open_the_same_doors_to_it_as_to_a_penalty() {
    #[derive(Regularized)]
    struct Net {
        #[l1(decay = 0.01, bias)]
        fc: Linear,
        #[l1(decay = 0.02, norm)]
        ln: LayerNorm,
        #[l1(decay = 0.03, lambda = 0.1, bias)]
        both: Linear,
    }
    let net = Net { fc: linear(), ln: layer_norm(), both: linear() };
    let expected = [
        "fc.weight: 0.01",
        "fc.bias: 0.01",
        "ln.weight: 0.02",
        "ln.bias: 0.02",
        "both.weight: 0.03",
        "both.bias: 0.03",
    ];
    assert_eq!(decays(&net), expected);
    assert_eq!(penalized(&net), ["both.weight: lambda = 0.1", "both.bias: lambda = 0.1"]);
}

#[test]
fn a_field_replaces_the_decay_of_its_struct_and_keeps_the_penalty() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1, decay = 0.01)]
    struct Net {
        fc1: Linear,
        #[l1(decay = 0.02)]
        fc2: Linear,
        #[l1(lambda = 0.2)]
        fc3: Linear,
        #[l1(decay = 0)]
        fc4: Linear,
    }
    let net = Net { fc1: linear(), fc2: linear(), fc3: linear(), fc4: linear() };
    assert_eq!(decays(&net), ["fc1.weight: 0.01", "fc2.weight: 0.02", "fc3.weight: 0.01", "fc4.weight: 0"]);
    let expected = [
        "fc1.weight: lambda = 0.1",
        "fc2.weight: lambda = 0.1",
        "fc3.weight: lambda = 0.2",
        "fc4.weight: lambda = 0.1",
    ];
    assert_eq!(penalized(&net), expected);
}

#[derive(Regularized)]
#[l1(lambda = 0.1)]
struct Sparse {
    fc: Linear,
}

#[derive(Regularized)]
#[l1(decay = 0.5)]
struct Decayed {
    fc: Linear,
}

#[test]
fn across_types_the_nearest_decay_counts_and_a_nearer_penalty_leaves_it_alone() {
    #[derive(Regularized)]
    #[l1(lambda = 0.3, decay = 0.01)]
    struct Net {
        sparse: Sparse,
        decayed: Vec<Option<Decayed>>,
        #[l1(decay = 0)]
        without: Sparse,
    }
    let sparse = || Sparse { fc: linear() };
    let net = Net { sparse: sparse(), decayed: vec![None, Some(Decayed { fc: linear() })], without: sparse() };
    assert_eq!(decays(&net), ["sparse.fc.weight: 0.01", "decayed.1.fc.weight: 0.5", "without.fc.weight: 0"]);
    let expected =
        ["sparse.fc.weight: lambda = 0.1", "decayed.1.fc.weight: lambda = 0.3", "without.fc.weight: lambda = 0.1"];
    assert_eq!(penalized(&net), expected);
}

#[test]
fn scale_does_not_multiply_it() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 1, decay = 0.01, scale = 0.5)]
        fc: Linear,
        #[l1(scale = 0)]
        decayed: Decayed,
    }
    let net = Net { fc: linear(), decayed: Decayed { fc: linear() } };
    assert_eq!(decays(&net), ["fc.weight: 0.01", "decayed.fc.weight: 0.5"]);
    assert_eq!(penalized(&net), ["fc.weight: lambda = 0.5"]);
    let mut regularizer = net.regularizer().unwrap();
    regularizer.set_scale(2.0).unwrap();
    assert_eq!(regularizer.param("fc.weight").unwrap().decay(), Some(0.01));
}

#[test]
fn an_inherited_one_passes_over_what_it_cannot_decay() {
    #[derive(Regularized)]
    #[l1(decay = 0.01)]
    struct Net {
        fc: Linear,
        ln: LayerNorm,
        bn: BatchNorm,
        mask: Tensor,
        ids: Tensor,
        view: Tensor,
        activation: candle_nn::Activation,
        #[l1(skip)]
        head: Linear,
    }
    let fc = linear_no_bias();
    let net = Net {
        view: fc.weight().t().unwrap(),
        fc,
        ln: layer_norm(),
        bn: BatchNorm::new(3, var(3), var(3), var(3), var(3), 1e-5).unwrap(),
        mask: frozen(2),
        ids: Tensor::new(&[1u32], &device()).unwrap(),
        activation: candle_nn::Activation::Relu,
        head: linear_no_bias(),
    };
    assert_eq!(decays(&net), ["fc.weight: 0.01"]);
}

#[test]
fn skip_turns_every_decay_below_it_away() {
    #[derive(Regularized)]
    struct Norms {
        #[l1(decay = 0.1)]
        ln: LayerNorm,
    }
    #[derive(Regularized)]
    struct Net {
        #[l1(skip)]
        decayed: Decayed,
        // Reaches nothing even without the skip, which is no error below one.
        #[l1(skip)]
        norms: Norms,
    }
    assert!(decays(&Net { decayed: Decayed { fc: linear() }, norms: Norms { ln: layer_norm() } }).is_empty());
}

#[test]
fn it_may_be_any_expression() {
    #[derive(Regularized)]
    #[l1(decay = self.decay)]
    struct Net {
        fc1: Linear,
        #[l1(decay = self.decay / 2.0)]
        fc2: Linear,
        decay: f64,
    }
    let net = Net { fc1: linear(), fc2: linear(), decay: 0.5 };
    assert_eq!(decays(&net), ["fc1.weight: 0.5", "fc2.weight: 0.25"]);
}

#[test]
fn tied_tensors_may_be_decayed_at_one_place_or_alike_at_both() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1)]
        first: Tensor,
        #[l1(decay = 0.01)]
        second: Tensor,
        #[l1(decay = 0.01)]
        third: Tensor,
    }
    let shared = var((5, 3));
    let net = Net { first: shared.clone(), second: shared.clone(), third: shared };
    assert_eq!(decays(&net), ["first: 0.01"]);
    assert_eq!(penalized(&net), ["first: lambda = 0.1"]);
}

#[test]
fn one_tensor_under_two_decays() {
    #[derive(Regularized)]
    struct Net {
        other: Tensor,
        #[l1(decay = 0.01)]
        tokens: Tensor,
        #[l1(decay = 0)]
        head: Tensor,
    }
    let shared = var((5, 3));
    let message = "tokens and head are one tensor under two rules: tokens is decayed (decay = 0.01), head is decayed \
                   (decay = 0). Declare the same rule on both, or a rule on one of them only";
    assert_eq!(refusal(&Net { other: shared.clone(), tokens: shared.clone(), head: shared }), message);
}

#[test]
fn one_tensor_decayed_here_and_skipped_there() {
    #[derive(Regularized)]
    struct Net {
        #[l1(decay = 0.01)]
        tokens: Tensor,
        #[l1(skip = "tied")]
        head: Tensor,
    }
    let shared = var((5, 3));
    let message = "tokens and head are one tensor under two rules: tokens is decayed (decay = 0.01), head is not \
                   decayed (skipped: tied). Declare the same rule on both, or a rule on one of them only";
    assert_eq!(refusal(&Net { tokens: shared.clone(), head: shared }), message);
}

#[test]
fn a_decay_that_is_no_strength() {
    #[derive(Regularized)]
    struct Net {
        #[l1(decay = self.decay)]
        fc: Linear,
        decay: f64,
    }
    let refusal = |decay| refusal(&Net { fc: linear(), decay });
    assert_eq!(refusal(-0.5), "fc: decay = -0.5 (expected finite and ≥ 0)");
    assert_eq!(refusal(f64::NAN), "fc: decay = NaN (expected finite and ≥ 0)");
    assert_eq!(refusal(f64::INFINITY), "fc: decay = inf (expected finite and ≥ 0)");
}

#[test]
fn a_decay_on_a_nested_struct_is_looked_for_there() {
    #[derive(Regularized)]
    #[l1(decay = self.decay)]
    struct Block {
        #[l1(lambda = 0.1)]
        fc: Linear,
        decay: f64,
    }
    #[derive(Regularized)]
    struct Net {
        blocks: Vec<Block>,
    }
    let block = |decay| Block { fc: linear(), decay };
    let message = "blocks.1: decay = -0.1 (expected finite and ≥ 0)";
    assert_eq!(refusal(&Net { blocks: vec![block(0.1), block(-0.1)] }), message);
}

#[derive(Regularized)]
struct On<T> {
    #[l1(decay = 0.01)]
    field: T,
    other: Linear,
}

/// The message about a decay on a field of this value.
fn on<T: Regularized>(field: T) -> String {
    refusal(&On { field, other: linear() })
}

#[test]
fn a_decay_that_reaches_nothing() {
    let message = "field: decay = 0.01 reaches no parameter: `LayerNorm` holds only norm parameters. Add `norm` to \
                   the attribute to decay norm parameters, or remove the decay";
    assert_eq!(on(layer_norm()), message);
    let message = "field: decay = 0.01 reaches no parameter: the tensor is frozen (not a variable). Build it from a \
                   VarBuilder over a VarMap (`VarBuilder::from_varmap`) to train it, or remove the decay";
    assert_eq!(on(frozen(3)), message);
    let message = "field: decay = 0.01 reaches no parameter: the tensor is of dtype u32. Only F32, F64, BF16 and F16 \
                   are regularized; remove the decay";
    assert_eq!(on(Tensor::new(&[1u32], &device()).unwrap()), message);
    let message = "field: decay = 0.01 reaches no parameter: `Activation` holds no parameters. Remove the decay";
    assert_eq!(on(candle_nn::Activation::Relu), message);
}

#[test]
fn a_decay_on_a_bias_or_a_buffer() {
    #[derive(Regularized)]
    struct Shift {
        #[l1(decay = 0.01)]
        bias: Tensor,
    }
    let message = "bias: decay = 0.01 reaches no parameter: the tensor is a bias. Add `bias` to the attribute to \
                   decay biases, or remove the decay";
    assert_eq!(refusal(&Shift { bias: var(3) }), message);
    #[derive(Regularized)]
    struct Statistics {
        #[l1(decay = 0.01, role = buffer)]
        mean: Tensor,
    }
    let message = "mean: decay = 0.01 reaches no parameter: the tensor is a buffer. Buffers are not trained; remove \
                   the decay";
    assert_eq!(refusal(&Statistics { mean: var(3) }), message);
}

#[test]
fn a_decay_on_a_view() {
    #[derive(Regularized)]
    struct Net {
        tokens: Tensor,
        #[l1(decay = 0.01)]
        head: Tensor,
    }
    let tokens = var((5, 3));
    let head = tokens.t().unwrap();
    let message = "head: decay = 0.01 reaches no parameter: the tensor is a view of tokens. Declare the decay where \
                   the tensor itself is, or remove it";
    assert_eq!(refusal(&Net { tokens, head }), message);
}

#[test]
fn a_decay_above_nearer_ones_or_skips() {
    let message = "field: decay = 0.01 reaches no parameter: in `Decayed` `fc.weight` is under a nearer rule of its \
                   own. Remove the outer declaration, or the nearer one";
    assert_eq!(on(Decayed { fc: linear_no_bias() }), message);
    #[derive(Regularized)]
    struct Block {
        #[l1(skip = "frozen")]
        fc: Linear,
    }
    let message = "field: decay = 0.01 reaches no parameter: in `Block` `fc.weight` is skipped: frozen. Remove the \
                   decay, or the `skip` or `opaque` below it";
    assert_eq!(on(Block { fc: linear_no_bias() }), message);
}

#[test]
fn a_lambda_that_reaches_a_parameter_does_not_vouch_for_a_decay_that_reaches_none() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, decay = 0.01)]
        decayed: Decayed,
    }
    let message = "decayed: decay = 0.01 reaches no parameter: in `Decayed` `fc.weight` is under a nearer rule of \
                   its own. Remove the outer declaration, or the nearer one";
    assert_eq!(refusal(&Net { decayed: Decayed { fc: linear_no_bias() } }), message);
}

#[test]
fn a_decay_on_a_field_does_not_make_the_lambda_of_its_struct_stand_there_too() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        fc: Linear,
        #[l1(decay = 0)]
        ln: LayerNorm,
    }
    assert_eq!(penalized(&Net { fc: linear(), ln: layer_norm() }), ["fc.weight: lambda = 0.1"]);
}

#[test]
fn a_decay_of_zero_and_one_above_nothing_yet_need_not_reach_anything() {
    #[derive(Regularized)]
    struct Net {
        fc: Linear,
        #[l1(decay = 0)]
        ln: LayerNorm,
        #[l1(decay = 0.01)]
        absent: Option<Linear>,
        #[l1(decay = 0.01)]
        empty: Vec<Linear>,
        #[l1(decay = 0.01)]
        heads: std::collections::BTreeMap<String, Linear>,
    }
    let net = Net { fc: linear(), ln: layer_norm(), absent: None, empty: vec![], heads: Default::default() };
    assert!(decays(&net).is_empty());
}
