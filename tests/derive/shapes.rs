//! Structs of every shape, and what their fields add to the path.

use candle_core::Tensor;
use candle_nn::Linear;
use l1_core::Regularized;

use crate::given::{frozen, linear, linear_no_bias, var};
use crate::said::{decisions, paths, penalized, roles};

#[test]
fn fields_are_visited_in_the_order_in_which_they_are_declared() {
    #[derive(Regularized)]
    struct Net {
        second: Linear,
        first: Linear,
    }
    let net = Net { first: linear(), second: linear_no_bias() };
    assert_eq!(paths(&net), ["second.weight", "first.weight", "first.bias"]);
}

#[test]
fn fields_of_a_tuple_struct_are_numbered() {
    #[derive(Regularized)]
    struct Net(Linear, Tensor);
    assert_eq!(paths(&Net(linear(), var(3))), ["0.weight", "0.bias", "1"]);
}

#[test]
fn a_tuple_struct_of_one_field_is_numbered_too() {
    #[derive(Regularized)]
    struct Net(Linear);
    assert_eq!(paths(&Net(linear_no_bias())), ["0.weight"]);
}

#[test]
fn the_field_of_a_transparent_struct_adds_nothing() {
    #[derive(Regularized)]
    #[l1(transparent)]
    struct Newtype(Linear);
    #[derive(Regularized)]
    #[l1(transparent)]
    struct Named {
        inner: Linear,
    }
    #[derive(Regularized)]
    struct Net {
        a: Newtype,
        b: Named,
    }
    let net = Net { a: Newtype(linear_no_bias()), b: Named { inner: linear_no_bias() } };
    assert_eq!(paths(&net), ["a.weight", "b.weight"]);
}

#[test]
fn a_transparent_struct_has_rules_like_any_other() {
    #[derive(Regularized)]
    #[l1(transparent, lambda = 0.1)]
    struct Sparse(#[l1(l2 = 0.2)] Linear);
    #[derive(Regularized)]
    struct Net {
        fc: Sparse,
    }
    assert_eq!(penalized(&Net { fc: Sparse(linear()) }), ["fc.weight: lambda = 0.1, l2 = 0.2"]);
}

#[test]
fn a_tensor_in_a_transparent_struct_has_the_role_that_its_path_says() {
    #[derive(Regularized)]
    #[l1(transparent)]
    struct Shift(Tensor);
    #[derive(Regularized)]
    struct Net {
        bias: Shift,
        table: Shift,
    }
    assert_eq!(roles(&Net { bias: Shift(var(3)), table: Shift(var(3)) }), ["bias: bias", "table: weight ? × ?"]);
}

#[test]
fn structs_without_fields_hold_nothing() {
    #[derive(Regularized)]
    struct Unit;
    #[derive(Regularized)]
    struct Tuple();
    #[derive(Regularized)]
    struct Named {}
    #[derive(Regularized)]
    struct Net {
        unit: Unit,
        tuple: Tuple,
        named: Named,
        fc: Linear,
    }
    let net = Net { unit: Unit, tuple: Tuple(), named: Named {}, fc: linear_no_bias() };
    assert_eq!(paths(&net), ["fc.weight"]);
}

mod encoder {
    use candle_nn::Linear;

    #[derive(l1_core::Regularized)]
    #[l1(lambda = strength())]
    pub(super) struct Encoder {
        fc: Linear,
    }

    pub(super) fn new() -> Encoder {
        Encoder { fc: crate::given::linear() }
    }

    fn strength() -> f64 {
        0.1
    }
}

#[test]
fn a_struct_of_another_module_keeps_its_fields_and_functions_private() {
    #[derive(Regularized)]
    struct Net {
        encoder: encoder::Encoder,
    }
    assert_eq!(penalized(&Net { encoder: encoder::new() }), ["encoder.fc.weight: lambda = 0.1"]);
}

#[test]
fn the_trait_needs_no_import() {
    mod without_imports {
        #[derive(l1_core::Regularized)]
        pub(super) struct Net {
            pub(super) fc: candle_nn::Linear,
            #[l1(skip)]
            pub(super) head: candle_nn::Linear,
        }
    }
    let net = without_imports::Net { fc: linear_no_bias(), head: linear_no_bias() };
    assert_eq!(paths(&net), ["fc.weight", "head.weight"]);
}

#[test]
fn other_meanings_of_usual_names_do_not_matter() {
    mod unusual {
        #![allow(dead_code, non_snake_case)]

        pub(super) struct Result;
        pub(super) struct Option;
        pub(super) struct Rule;
        pub(super) struct Visitor;
        pub(super) struct RoleName;
        pub(super) fn Ok() {}
        pub(super) fn Some() {}
        pub(super) struct None;
        mod l1_core {}
        mod core {}
        mod private {}

        #[derive(::l1_core::Regularized)]
        #[l1(lambda = 0.1)]
        pub(super) struct Net {
            #[l1(role = embedding)]
            pub(super) visitor: candle_core::Tensor,
            #[l1(skip = "shown by name")]
            pub(super) defaults: candle_nn::Linear,
        }
    }
    let net = unusual::Net { visitor: var((2, 3)), defaults: linear_no_bias() };
    let expected = ["visitor: penalized (lambda = 0.1)", "defaults.weight: not penalized (skipped: shown by name)"];
    assert_eq!(decisions(&net), expected);
}

#[test]
fn raw_identifiers_lose_their_prefix() {
    #[derive(Regularized)]
    struct r#Net {
        r#type: Linear,
        #[l1(skip)]
        r#match: Linear,
    }
    assert_eq!(paths(&Net { r#type: linear_no_bias(), r#match: linear_no_bias() }), ["type.weight", "match.weight"]);
}

#[test]
fn a_struct_may_contain_itself() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Chain {
        fc: Linear,
        next: Option<Box<Self>>,
    }
    let last = Chain { fc: linear(), next: None };
    let chain = Chain { fc: linear(), next: Some(Box::new(last)) };
    assert_eq!(penalized(&chain), ["fc.weight: lambda = 0.1", "next.fc.weight: lambda = 0.1"]);
}

const STRENGTH: f64 = 0.5;

macro_rules! net {
    ($name:ident { $($field:ident: $type:ty = $lambda:expr),* }) => {
        #[derive(Regularized)]
        struct $name {
            $(#[l1(lambda = $lambda)] $field: $type,)*
            #[l1(lambda = 2.0 * self.strength)]
            last: Linear,
            strength: f64,
        }
    };
}

#[test]
fn a_macro_may_make_the_struct() {
    net!(Net { fc1: Linear = 0.1, fc2: Option<Linear> = STRENGTH });
    let net = Net { fc1: linear(), fc2: Some(linear()), last: linear(), strength: 4.0 };
    assert_eq!(penalized(&net), ["fc1.weight: lambda = 0.1", "fc2.weight: lambda = 0.5", "last.weight: lambda = 8"]);
}

macro_rules! choice {
    ($name:ident: $($variant:ident($type:ty)),*) => {
        #[derive(Regularized)]
        #[l1(lambda = self.strength())]
        enum $name {
            $($variant($type),)*
            Pair { bias: Tensor, weight: $crate::shapes::Weight },
        }

        impl $name {
            fn strength(&self) -> f64 {
                3.0
            }
        }
    };
}

type Weight = Tensor;

#[test]
fn a_macro_may_make_the_enum() {
    choice!(Head: Linear(Linear), Table(Tensor));
    assert_eq!(penalized(&Head::Linear(linear())), ["weight: lambda = 3"]);
    assert_eq!(penalized(&Head::Table(var(2))), ["(the model itself): lambda = 3"]);
    assert_eq!(penalized(&Head::Pair { bias: var(2), weight: var((2, 3)) }), ["weight: lambda = 3"]);
}

#[test]
fn a_deprecated_field_is_visited_without_a_warning() {
    #![deny(deprecated)]

    #[derive(Regularized)]
    struct Net {
        #[deprecated]
        fc: Linear,
    }
    #[allow(deprecated)]
    let net = Net { fc: linear_no_bias() };
    assert_eq!(paths(&net), ["fc.weight"]);
}

#[test]
fn fields_may_be_compiled_away() {
    #[derive(Regularized)]
    struct Net {
        #[cfg(not(test))]
        #[l1(lambda = 0.1)]
        fc: Linear,
        #[cfg(test)]
        #[cfg_attr(test, l1(lambda = 0.2))]
        fc: Linear,
    }
    assert_eq!(penalized(&Net { fc: linear() }), ["fc.weight: lambda = 0.2"]);
}

#[test]
fn a_bare_tensor_is_a_bias_by_its_name_and_else_a_weight() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        weight: Tensor,
        bias: Tensor,
        mask: Tensor,
    }
    let net = Net { weight: var((2, 3)), bias: var(2), mask: frozen(2) };
    assert_eq!(roles(&net), ["weight: weight ? × ?", "bias: bias", "mask: weight ? × ?"]);
    let expected = ["weight: penalized (lambda = 0.1)", "bias: not penalized (bias)", "mask: not penalized (frozen)"];
    assert_eq!(decisions(&net), expected);
}

macro_rules! given_in_full {
    ($name:ident: $type:ty, $lambda:expr, $scale:literal, $path:literal, $reason:expr, $role:ident, $with:path) => {
        #[derive(Regularized)]
        struct $name {
            #[l1(lambda = $lambda, scale = $scale, rename = $path)]
            fc: $type,
            #[l1(skip = $reason)]
            head: $type,
            #[l1(role = $role)]
            table: Tensor,
            #[l1(with = $with)]
            with: Tensor,
        }
    };
}

#[test]
fn a_macro_may_be_given_every_value() {
    fn visit(tensor: &Tensor, visitor: &mut l1_core::Visitor<'_>) -> l1_core::Result<()> {
        visitor.param("made", l1_core::Role::Bias, tensor)
    }
    given_in_full!(Net: Linear, 2.0 * STRENGTH, 0.5, "encoder.fc", "frozen", embedding, visit);
    let net = Net { fc: linear_no_bias(), head: linear_no_bias(), table: var(2), with: var(2) };
    let expected = [
        "encoder.fc.weight: penalized (lambda = 0.5)",
        "head.weight: not penalized (skipped: frozen)",
        "table: not penalized (nothing declared)",
        "with.made: not penalized (nothing declared)",
    ];
    assert_eq!(decisions(&net), expected);
}
