//! How rules come together: within a struct key by key, across types the nearest penalty, `scale` along the whole path.

use candle_core::Tensor;
use candle_nn::{LayerNorm, Linear};
use l1_core::Regularized;
use tests::device;

use crate::given::{frozen, layer_norm, linear, linear_no_bias, var};
use crate::said::{decisions, penalized};

#[test]
fn a_rule_on_the_struct_holds_for_every_field() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        fc1: Linear,
        fc2: Linear,
    }
    let net = Net { fc1: linear(), fc2: linear() };
    assert_eq!(penalized(&net), ["fc1.weight: lambda = 0.1", "fc2.weight: lambda = 0.1"]);
}

#[test]
fn a_field_overrides_its_struct_key_by_key() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1, l2 = 0.2, bias)]
    struct Net {
        #[l1(lambda = 0.3)]
        fc1: Linear,
        #[l1(l2 = 0, positive)]
        fc2: Linear,
        #[l1(bias = false)]
        fc3: Linear,
    }
    let expected = [
        "fc1.weight: penalized (lambda = 0.3, l2 = 0.2)",
        "fc1.bias: penalized (lambda = 0.3, l2 = 0.2)",
        "fc2.weight: penalized (lambda = 0.1, positive)",
        "fc2.bias: penalized (lambda = 0.1, positive)",
        "fc3.weight: penalized (lambda = 0.1, l2 = 0.2)",
        "fc3.bias: not penalized (bias)",
    ];
    assert_eq!(decisions(&Net { fc1: linear(), fc2: linear(), fc3: linear() }), expected);
}

#[derive(Regularized)]
struct Plain {
    fc: Linear,
}

#[derive(Regularized)]
#[l1(lambda = 0.1)]
struct Sparse {
    fc: Linear,
}

fn plain() -> Plain {
    Plain { fc: linear() }
}

fn sparse() -> Sparse {
    Sparse { fc: linear() }
}

#[test]
fn a_rule_on_a_field_holds_for_everything_below() {
    #[derive(Regularized)]
    struct Outer {
        #[l1(lambda = 0.5)]
        inner: Vec<Option<Box<Plain>>>,
    }
    let outer = Outer { inner: vec![Some(Box::new(plain())), None, Some(Box::new(plain()))] };
    assert_eq!(penalized(&outer), ["inner.0.fc.weight: lambda = 0.5", "inner.2.fc.weight: lambda = 0.5"]);
}

#[test]
fn across_types_the_nearest_penalty_replaces_the_whole_penalty() {
    #[derive(Regularized)]
    #[l1(l2 = 0.2, positive)]
    struct Outer {
        sparse: Sparse,
        plain: Plain,
    }
    let outer = Outer { sparse: sparse(), plain: plain() };
    assert_eq!(penalized(&outer), ["sparse.fc.weight: lambda = 0.1", "plain.fc.weight: l2 = 0.2, positive"]);
}

#[test]
fn a_penalty_that_holds_for_a_part_of_a_field_is_replaced_in_the_other_part() {
    #[derive(Regularized)]
    struct Mixed {
        #[l1(lambda = 0.1)]
        own: Linear,
        inherits: Linear,
    }
    #[derive(Regularized)]
    struct Outer {
        #[l1(l2 = 0.2)]
        mixed: Mixed,
    }
    let outer = Outer { mixed: Mixed { own: linear(), inherits: linear() } };
    assert_eq!(penalized(&outer), ["mixed.own.weight: lambda = 0.1", "mixed.inherits.weight: l2 = 0.2"]);
}

#[test]
fn bias_is_inherited_across_types_although_the_penalty_is_replaced() {
    #[derive(Regularized)]
    #[l1(bias)]
    struct Outer {
        sparse: Sparse,
    }
    let expected = ["sparse.fc.weight: lambda = 0.1", "sparse.fc.bias: lambda = 0.1"];
    assert_eq!(penalized(&Outer { sparse: sparse() }), expected);
}

#[test]
fn norm_is_inherited_across_types_by_itself() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Block {
        ln: LayerNorm,
        fc: Linear,
    }
    #[derive(Regularized)]
    struct Outer {
        #[l1(norm)]
        first: Block,
        second: Block,
    }
    let block = || Block { ln: layer_norm(), fc: linear() };
    let expected = [
        "first.ln.weight: penalized (lambda = 0.1)",
        "first.ln.bias: penalized (lambda = 0.1)",
        "first.fc.weight: penalized (lambda = 0.1)",
        "first.fc.bias: not penalized (bias)",
        "second.ln.weight: not penalized (norm)",
        "second.ln.bias: not penalized (norm)",
        "second.fc.weight: penalized (lambda = 0.1)",
        "second.fc.bias: not penalized (bias)",
    ];
    assert_eq!(decisions(&Outer { first: block(), second: block() }), expected);
}

#[test]
fn the_nearest_word_on_biases_holds() {
    #[derive(Regularized)]
    #[l1(bias = false)]
    struct Inner {
        without: Linear,
        #[l1(bias)]
        with: Linear,
    }
    #[derive(Regularized)]
    #[l1(lambda = 0.1, bias)]
    struct Outer {
        inner: Inner,
        fc: Linear,
    }
    let outer = Outer { inner: Inner { without: linear(), with: linear() }, fc: linear() };
    let expected = [
        "inner.without.weight: lambda = 0.1",
        "inner.with.weight: lambda = 0.1",
        "inner.with.bias: lambda = 0.1",
        "fc.weight: lambda = 0.1",
        "fc.bias: lambda = 0.1",
    ];
    assert_eq!(penalized(&outer), expected);
}

#[test]
fn scale_multiplies_along_the_whole_path() {
    #[derive(Regularized)]
    struct Inner {
        #[l1(lambda = 1, scale = 0.5)]
        fc1: Linear,
        #[l1(lambda = 1)]
        fc2: Linear,
    }
    #[derive(Regularized)]
    struct Middle {
        #[l1(scale = 0.5)]
        inner: Inner,
    }
    #[derive(Regularized)]
    struct Outer {
        #[l1(scale = 0.5)]
        middle: Middle,
        #[l1(lambda = 1)]
        fc: Linear,
    }
    let inner = Inner { fc1: linear(), fc2: linear() };
    let outer = Outer { middle: Middle { inner }, fc: linear() };
    let expected =
        ["middle.inner.fc1.weight: lambda = 0.125", "middle.inner.fc2.weight: lambda = 0.25", "fc.weight: lambda = 1"];
    assert_eq!(penalized(&outer), expected);
}

#[test]
fn a_scale_of_zero_leaves_a_penalty_without_strength() {
    #[derive(Regularized)]
    struct Outer {
        #[l1(scale = 0)]
        sparse: Sparse,
    }
    let expected = ["sparse.fc.weight: penalized (lambda = 0)", "sparse.fc.bias: not penalized (bias)"];
    assert_eq!(decisions(&Outer { sparse: sparse() }), expected);
}

#[test]
fn the_scale_of_an_item_is_the_same_for_all_items() {
    #[derive(Regularized)]
    struct Outer {
        #[l1(scale = 2, lambda = 0.5)]
        layers: [Linear; 2],
    }
    let outer = Outer { layers: [linear(), linear()] };
    assert_eq!(penalized(&outer), ["layers.0.weight: lambda = 1", "layers.1.weight: lambda = 1"]);
}

#[test]
fn a_rule_on_the_struct_passes_over_what_it_cannot_penalize() {
    #[derive(Regularized)]
    struct Nothing;
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        fc: Linear,
        ln: LayerNorm,
        mask: Tensor,
        ids: Tensor,
        view: Tensor,
        nothing: Nothing,
        sparse: Sparse,
        #[l1(skip)]
        head: Linear,
    }
    let fc = linear_no_bias();
    let net = Net {
        view: fc.weight().t().unwrap(),
        fc,
        ln: layer_norm(),
        mask: frozen(2),
        ids: Tensor::new(&[1u32], &device()).unwrap(),
        nothing: Nothing,
        sparse: sparse(),
        head: linear_no_bias(),
    };
    let expected = [
        "fc.weight: penalized (lambda = 0.1)",
        "ln.weight: not penalized (norm)",
        "ln.bias: not penalized (norm)",
        "mask: not penalized (frozen)",
        "ids: not penalized (dtype u32)",
        "view: not penalized (a view of fc.weight)",
        "sparse.fc.weight: penalized (lambda = 0.1)",
        "sparse.fc.bias: not penalized (bias)",
        "head.weight: not penalized (skipped)",
    ];
    assert_eq!(decisions(&net), expected);
}

#[test]
fn a_flag_or_a_scale_on_a_field_need_not_reach_anything() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        fc: Linear,
        #[l1(bias, scale = 2)]
        mask: Tensor,
        #[l1(norm)]
        second: Linear,
    }
    let net = Net { fc: linear_no_bias(), mask: frozen(2), second: linear_no_bias() };
    assert_eq!(penalized(&net), ["fc.weight: lambda = 0.1", "second.weight: lambda = 0.1"]);
}

#[test]
fn a_tied_tensor_counts_once_under_its_first_path() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        tokens: Tensor,
        head: Tensor,
    }
    let shared = var((5, 3));
    let net = Net { tokens: shared.clone(), head: shared.clone() };
    assert_eq!(penalized(&net), ["tokens: lambda = 0.1"]);
    let regularizer = net.regularizer().unwrap();
    assert_eq!(regularizer.params()[0].aliases(), ["head"]);
    assert_eq!(regularizer.param("head").unwrap().path(), &"tokens");
}

#[test]
fn tied_tensors_may_say_the_same_rule_in_two_ways() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.5)]
        tokens: Tensor,
        #[l1(lambda = 0.25, scale = 2)]
        head: Tensor,
    }
    let shared = var((5, 3));
    assert_eq!(penalized(&Net { tokens: shared.clone(), head: shared }), ["tokens: lambda = 0.5"]);
}

#[test]
fn nothing_declared_yields_to_a_declaration_in_either_order() {
    #[derive(Regularized)]
    struct First {
        #[l1(lambda = 0.1)]
        tokens: Tensor,
        head: Tensor,
    }
    #[derive(Regularized)]
    struct Second {
        tokens: Tensor,
        #[l1(lambda = 0.1)]
        head: Tensor,
    }
    let shared = var((5, 3));
    assert_eq!(penalized(&First { tokens: shared.clone(), head: shared.clone() }), ["tokens: lambda = 0.1"]);
    assert_eq!(penalized(&Second { tokens: shared.clone(), head: shared }), ["tokens: lambda = 0.1"]);
}

#[test]
fn a_tensor_tied_twice_counts_once_however_many_places_it_has() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        layers: Vec<Linear>,
    }
    let layer = linear();
    let net = Net { layers: vec![layer; 4] };
    assert_eq!(penalized(&net), ["layers.0.weight: lambda = 0.1"]);
}
