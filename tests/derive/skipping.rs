//! `skip`: what is left out of the penalty is still named, by its parameters where they are known, else by the field.

use candle_core::Tensor;
use candle_nn::{GRU, GRUConfig, Linear, VarMap};
use l1_core::Regularized;

use crate::given::{builder, layer_norm, linear, linear_no_bias, var};
use crate::said::{decisions, paths, roles, unvisited};

#[test]
fn the_parameters_of_a_skipped_field_are_listed_with_role_and_reason() {
    #[derive(Regularized)]
    struct Net {
        #[l1(skip = "three weights")]
        head: Linear,
        #[l1(skip)]
        ln: candle_nn::LayerNorm,
    }
    let net = Net { head: linear(), ln: layer_norm() };
    let expected = [
        "head.weight: not penalized (skipped: three weights)",
        "head.bias: not penalized (skipped: three weights)",
        "ln.weight: not penalized (skipped)",
        "ln.bias: not penalized (skipped)",
    ];
    assert_eq!(decisions(&net), expected);
    assert_eq!(roles(&net), ["head.weight: weight 0 × 1", "head.bias: bias", "ln.weight: norm", "ln.bias: norm"]);
}

#[test]
fn skip_wins_over_every_rule_below_it() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1, bias)]
    struct Inner {
        #[l1(lambda = 0.5, scale = 2)]
        fc1: Linear,
        fc2: Linear,
    }
    #[derive(Regularized)]
    struct Outer {
        #[l1(skip = "frozen")]
        inner: Inner,
        fc: Linear,
    }
    let outer = Outer { inner: Inner { fc1: linear(), fc2: linear_no_bias() }, fc: linear_no_bias() };
    let expected = [
        "inner.fc1.weight: not penalized (skipped: frozen)",
        "inner.fc1.bias: not penalized (skipped: frozen)",
        "inner.fc2.weight: not penalized (skipped: frozen)",
        "fc.weight: not penalized (nothing declared)",
    ];
    assert_eq!(decisions(&outer), expected);
}

#[test]
fn a_lambda_that_reaches_nothing_is_no_error_below_a_skip() {
    #[derive(Regularized)]
    struct Inner {
        #[l1(lambda = 0.1)]
        ln: candle_nn::LayerNorm,
    }
    #[derive(Regularized)]
    struct Outer {
        #[l1(skip)]
        inner: Inner,
    }
    let outer = Outer { inner: Inner { ln: layer_norm() } };
    let expected = ["inner.ln.weight: not penalized (skipped)", "inner.ln.bias: not penalized (skipped)"];
    assert_eq!(decisions(&outer), expected);
}

#[test]
fn the_reason_of_the_outermost_skip_is_given() {
    #[derive(Regularized)]
    struct Inner {
        #[l1(skip = "inner")]
        fc: Linear,
    }
    #[derive(Regularized)]
    struct Outer {
        #[l1(skip = "outer")]
        first: Inner,
        second: Inner,
    }
    let inner = || Inner { fc: linear_no_bias() };
    let expected =
        ["first.fc.weight: not penalized (skipped: outer)", "second.fc.weight: not penalized (skipped: inner)"];
    assert_eq!(decisions(&Outer { first: inner(), second: inner() }), expected);
}

/// A type that is not `Regularized`.
fn gru() -> GRU {
    GRU::new(2, 3, GRUConfig::default(), builder(&VarMap::new())).unwrap()
}

#[test]
fn a_skipped_foreign_type_is_listed_by_the_name_of_its_field() {
    #[derive(Regularized)]
    struct Net {
        #[l1(skip = "recurrent")]
        gru: GRU,
        #[l1(skip, rename = "decoder.gru")]
        second: Option<GRU>,
        fc: Linear,
    }
    let net = Net { gru: gru(), second: None, fc: linear_no_bias() };
    assert_eq!(paths(&net), ["fc.weight"]);
    assert_eq!(unvisited(&net), ["gru: skipped: recurrent", "decoder.gru: skipped"]);
}

#[test]
fn skipped_fields_may_be_anything() {
    #[derive(Regularized)]
    struct Net<'a> {
        fc: Linear,
        #[l1(skip)]
        closure: Box<dyn Fn(&Tensor) -> Tensor + 'a>,
        #[l1(skip)]
        cell: std::cell::RefCell<Vec<Tensor>>,
        #[l1(skip)]
        function: fn(&Tensor) -> Tensor,
        #[l1(skip)]
        borrowed: &'a GRU,
    }
    let gru = gru();
    let net = Net {
        fc: linear_no_bias(),
        closure: Box::new(Tensor::clone),
        cell: Vec::new().into(),
        function: Tensor::clone,
        borrowed: &gru,
    };
    assert_eq!(unvisited(&net), ["closure: skipped", "cell: skipped", "function: skipped", "borrowed: skipped"]);
}

#[test]
fn in_a_generic_position_a_skipped_field_is_listed_by_its_name() {
    #[derive(Regularized)]
    struct Net<T> {
        fc: Linear,
        #[l1(skip = "frozen")]
        head: T,
    }
    let foreign = Net { fc: linear_no_bias(), head: gru() };
    assert_eq!(unvisited(&foreign), ["head: skipped: frozen"]);
    // The macro asks nothing of `T`, so that even a known type is not looked into.
    let known = Net { fc: linear_no_bias(), head: linear() };
    assert_eq!(unvisited(&known), ["head: skipped: frozen"]);
}

#[test]
fn a_skipped_parameter_that_is_visited_elsewhere_is_looked_into() {
    #[derive(Regularized)]
    struct Net<T> {
        student: T,
        #[l1(skip = "teacher")]
        teacher: T,
    }
    let net = Net { student: linear_no_bias(), teacher: linear_no_bias() };
    let expected =
        ["student.weight: not penalized (nothing declared)", "teacher.weight: not penalized (skipped: teacher)"];
    assert_eq!(decisions(&net), expected);
}

#[test]
fn skipped_containers_are_looked_into() {
    #[derive(Regularized)]
    struct Net {
        #[l1(skip)]
        some: Option<Linear>,
        #[l1(skip)]
        none: Option<Linear>,
        #[l1(skip)]
        layers: Vec<(Linear, usize)>,
        #[l1(skip)]
        boxed: Box<dyn Regularized>,
    }
    let net = Net {
        some: Some(linear_no_bias()),
        none: None,
        layers: vec![(linear_no_bias(), 0)],
        boxed: Box::new(linear_no_bias()),
    };
    assert_eq!(paths(&net), ["some.weight", "layers.0.0.weight", "boxed.weight"]);
    assert!(unvisited(&net).is_empty());
}

#[test]
fn a_skipped_bare_tensor_has_the_role_of_its_name() {
    #[derive(Regularized)]
    struct Net {
        #[l1(skip)]
        bias: Tensor,
        #[l1(skip, rename = "fc.weight")]
        table: Tensor,
    }
    assert_eq!(roles(&Net { bias: var(2), table: var((2, 3)) }), ["bias: bias", "fc.weight: weight ? × ?"]);
}

#[test]
fn a_skipped_parameter_may_be_tied_to_one_without_a_rule() {
    #[derive(Regularized)]
    struct Net {
        tokens: Tensor,
        #[l1(skip = "tied")]
        head: Tensor,
    }
    let shared = var((5, 3));
    let net = Net { tokens: shared.clone(), head: shared };
    assert_eq!(decisions(&net), ["tokens: not penalized (skipped: tied)"]);
}

#[test]
fn a_model_may_be_skipped_altogether() {
    #[derive(Regularized)]
    struct Net {
        #[l1(skip)]
        fc: Linear,
        #[l1(skip)]
        gru: GRU,
    }
    let net = Net { fc: linear_no_bias(), gru: gru() };
    assert_eq!(decisions(&net), ["fc.weight: not penalized (skipped)"]);
    assert_eq!(unvisited(&net), ["gru: skipped"]);
}
