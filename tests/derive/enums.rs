//! Enums: the active variant is visited and adds nothing to the path.

use candle_core::Tensor;
use candle_nn::Linear;
use l1_core::{Regularized, Result, Role, Visitor};

use crate::given::{linear, linear_no_bias, var};
use crate::said::{decisions, paths, penalized, unvisited};

#[derive(Regularized)]
#[l1(lambda = 0.1)]
enum Head {
    Nothing,
    AlsoNothing {},
    AndNothing(),
    Linear(Linear),
    Pair(Linear, #[l1(lambda = 0.2)] Linear),
    Named {
        fc: Linear,
        #[l1(l2 = 0.3)]
        scale: Tensor,
    },
    NamedAlone {
        fc: Linear,
    },
}

#[derive(Regularized)]
struct Net {
    fc: Linear,
    head: Head,
}

fn net(head: Head) -> Net {
    Net { fc: linear_no_bias(), head }
}

#[test]
fn a_variant_without_fields_holds_nothing() {
    for head in [Head::Nothing, Head::AlsoNothing {}, Head::AndNothing()] {
        assert_eq!(paths(&net(head)), ["fc.weight"]);
    }
}

#[test]
fn a_penalty_above_a_variant_without_fields_is_no_error() {
    #[derive(Regularized)]
    struct Net {
        #[l1(l2 = 0.1)]
        head: Layer,
        #[l1(lambda = 0.1)]
        heads: Vec<Layer>,
        fc: Linear,
    }
    #[derive(Regularized)]
    enum Layer {
        Identity,
        Linear(Linear),
    }
    let net = Net { head: Layer::Identity, heads: vec![Layer::Identity], fc: linear_no_bias() };
    assert_eq!(decisions(&net), ["fc.weight: not penalized (nothing declared)"]);
    let net = Net { head: Layer::Linear(linear()), heads: vec![Layer::Identity, Layer::Linear(linear())], ..net };
    assert_eq!(penalized(&net), ["head.weight: l2 = 0.1", "heads.1.weight: lambda = 0.1"]);
}

#[test]
fn a_single_unnamed_field_adds_nothing() {
    assert_eq!(paths(&net(Head::Linear(linear_no_bias()))), ["fc.weight", "head.weight"]);
    assert_eq!(paths(&Head::Linear(linear_no_bias())), ["weight"]);
}

#[test]
fn several_unnamed_fields_are_numbered() {
    let head = Head::Pair(linear_no_bias(), linear_no_bias());
    assert_eq!(paths(&net(head)), ["fc.weight", "head.0.weight", "head.1.weight"]);
}

#[test]
fn named_fields_add_their_names_even_alone() {
    let head = Head::Named { fc: linear_no_bias(), scale: var(2) };
    assert_eq!(paths(&net(head)), ["fc.weight", "head.fc.weight", "head.scale"]);
    let head = Head::NamedAlone { fc: linear_no_bias() };
    assert_eq!(paths(&net(head)), ["fc.weight", "head.fc.weight"]);
}

#[test]
fn keys_on_the_enum_are_defaults_for_the_fields_of_all_variants() {
    let head = Head::Pair(linear_no_bias(), linear_no_bias());
    assert_eq!(penalized(&head), ["0.weight: lambda = 0.1", "1.weight: lambda = 0.2"]);
    let head = Head::Named { fc: linear_no_bias(), scale: var(2) };
    assert_eq!(penalized(&head), ["fc.weight: lambda = 0.1", "scale: lambda = 0.1, l2 = 0.3"]);
}

#[test]
fn keys_on_a_single_unnamed_field_work_as_on_any_other() {
    struct Foreign(Tensor);
    fn visit(foreign: &Foreign, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.param("table", Role::WEIGHT, &foreign.0)
    }
    #[derive(Regularized)]
    enum Layer {
        Renamed(#[l1(rename = "proj.out", lambda = 0.1)] Linear),
        Skipped(#[l1(skip = "a frozen head")] Linear),
        Opaque(
            #[l1(opaque)]
            #[allow(dead_code)]
            String,
        ),
        With(#[l1(with = visit)] Foreign),
        Role(#[l1(role = embedding, lambda = 0.2)] Tensor),
        Flat(#[l1(flatten)] Linear),
    }
    #[derive(Regularized)]
    struct Net {
        layer: Layer,
    }
    let net = |layer| Net { layer };
    assert_eq!(penalized(&net(Layer::Renamed(linear()))), ["layer.proj.out.weight: lambda = 0.1"]);
    let skipped = net(Layer::Skipped(linear_no_bias()));
    assert_eq!(decisions(&skipped), ["layer.weight: not penalized (skipped: a frozen head)"]);
    assert_eq!(unvisited(&net(Layer::Opaque(String::new()))), ["layer: opaque: not looked into"]);
    assert_eq!(paths(&net(Layer::With(Foreign(var(2))))), ["layer.table"]);
    assert_eq!(penalized(&net(Layer::Role(var((2, 3))))), ["layer: lambda = 0.2"]);
    assert_eq!(paths(&net(Layer::Flat(linear_no_bias()))), ["layer.weight"]);
}

#[test]
fn in_an_expression_self_is_the_whole_enum() {
    #[derive(Regularized)]
    #[l1(lambda = self.strength())]
    enum Layer {
        Small(Linear),
        Large {
            fc: Linear,
            #[l1(lambda = 2.0 * self.strength(), l2 = match self { Self::Large { ridge, .. } => *ridge, _ => 0.0 })]
            out: Linear,
            ridge: f64,
        },
    }
    impl Layer {
        fn strength(&self) -> f64 {
            match self {
                Self::Small(_) => 0.1,
                Self::Large { .. } => 0.25,
            }
        }
    }
    assert_eq!(penalized(&Layer::Small(linear())), ["weight: lambda = 0.1"]);
    let large = Layer::Large { fc: linear(), out: linear(), ridge: 4.0 };
    assert_eq!(penalized(&large), ["fc.weight: lambda = 0.25", "out.weight: lambda = 0.5, l2 = 4"]);
}

#[test]
fn fields_of_a_variant_may_have_unusual_names() {
    #![deny(non_snake_case)]

    #[derive(Regularized)]
    #[allow(non_snake_case)]
    enum Layer {
        Unusual { FC: Linear, visitor: Linear, defaults: Linear, r#type: Linear, __0: Linear, _ignored: Linear },
    }
    let layer = Layer::Unusual {
        FC: linear_no_bias(),
        visitor: linear_no_bias(),
        defaults: linear_no_bias(),
        r#type: linear_no_bias(),
        __0: linear_no_bias(),
        _ignored: linear_no_bias(),
    };
    assert_eq!(
        paths(&layer),
        ["FC.weight", "visitor.weight", "defaults.weight", "type.weight", "__0.weight", "_ignored.weight"]
    );
}

#[test]
fn an_enum_may_contain_itself() {
    #[derive(Regularized)]
    enum Layers {
        Cons(Linear, Box<Self>),
        Nil,
    }
    let layers = Layers::Cons(linear_no_bias(), Box::new(Layers::Cons(linear_no_bias(), Box::new(Layers::Nil))));
    assert_eq!(paths(&layers), ["0.weight", "1.0.weight"]);
}

#[test]
fn an_enum_without_variants_may_stand_where_it_never_is() {
    #[derive(Regularized)]
    enum Never {}
    #[derive(Regularized)]
    struct Net {
        fc: Linear,
        #[l1(lambda = 0.1)]
        never: Option<Never>,
    }
    assert_eq!(paths(&Net { fc: linear_no_bias(), never: None }), ["fc.weight"]);
}

#[test]
fn the_discriminant_of_a_variant_does_not_matter() {
    #[derive(Regularized)]
    #[repr(u8)]
    enum Layer {
        Linear(Linear) = 7,
        Nothing = 3,
    }
    #[derive(Regularized)]
    struct Net(Layer, Layer);
    assert_eq!(paths(&Net(Layer::Linear(linear_no_bias()), Layer::Nothing)), ["0.weight"]);
}
