//! Type parameters, lifetimes and constants: the bounds are inferred, or given.

use std::{fmt::Debug, marker::PhantomData};

use candle_core::Tensor;
use candle_nn::{GRU, GRUConfig, Linear, VarMap};
use l1_core::{Regularized, Traced};

use crate::given::{builder, linear, linear_no_bias, var};
use crate::said::{paths, penalized, unvisited};

#[test]
fn a_type_parameter_has_to_be_regularized_where_it_is_visited() {
    #[derive(Regularized)]
    struct Residual<T> {
        #[l1(lambda = 0.1)]
        inner: T,
        shortcut: Option<Vec<T>>,
    }
    let net = Residual { inner: linear(), shortcut: Some(vec![linear_no_bias()]) };
    assert_eq!(paths(&net), ["inner.weight", "inner.bias", "shortcut.0.weight"]);
    let nested = Residual { inner: Residual { inner: var(3), shortcut: None }, shortcut: None };
    assert_eq!(penalized(&nested), ["inner.inner: lambda = 0.1"]);
}

/// Not `Regularized`, and not asked for it.
struct Foreign;

#[test]
fn a_parameter_of_fields_that_are_not_visited_may_be_any_type() {
    fn nothing<T>(_: &T, _: &mut l1_core::Visitor<'_>) -> l1_core::Result<()> {
        Ok(())
    }
    #[derive(Regularized)]
    struct Net<S, O, W, P> {
        fc: Linear,
        #[l1(skip)]
        skipped: S,
        #[l1(opaque)]
        opaque: Option<O>,
        #[l1(with = nothing)]
        with: W,
        phantom: PhantomData<P>,
    }
    let net = Net::<_, Foreign, _, Foreign> {
        fc: linear_no_bias(),
        skipped: Foreign,
        opaque: None,
        with: Foreign,
        phantom: PhantomData,
    };
    assert!(net.opaque.is_none());
    assert_eq!(paths(&net), ["fc.weight"]);
    assert_eq!(unvisited(&net), ["skipped: skipped", "opaque: opaque: not looked into"]);
}

#[test]
fn bounds_and_where_clauses_of_the_type_are_kept() {
    #[derive(Regularized)]
    struct Net<T: Clone, U = Tensor>
    where
        U: Debug + Into<Tensor>,
    {
        first: T,
        second: U,
    }
    assert_eq!(paths(&Net { first: linear_no_bias(), second: var(3) }), ["first.weight", "second"]);
}

trait Architecture {
    type Encoder;
    type Head;
    const STRENGTH: f64;
}

struct Small;

impl Architecture for Small {
    type Encoder = Linear;
    type Head = Option<Linear>;
    const STRENGTH: f64 = 0.25;
}

#[test]
fn an_associated_type_is_bounded_in_place_of_its_parameter() {
    #[derive(Regularized)]
    struct Net<A: Architecture> {
        encoder: A::Encoder,
        heads: Vec<<A as Architecture>::Head>,
        // Where a predicate begins with `<A>`, rustc reads generics.
        last: <A>::Head,
    }
    // `Small` itself is not `Regularized`.
    let net = Net::<Small> { encoder: linear_no_bias(), heads: vec![None, Some(linear_no_bias())], last: None };
    assert_eq!(paths(&net), ["encoder.weight", "heads.1.weight"]);
}

#[test]
fn an_expression_may_use_what_a_parameter_offers() {
    #[derive(Regularized)]
    #[l1(lambda = A::STRENGTH)]
    struct Net<A: Architecture> {
        fc: Linear,
        architecture: PhantomData<A>,
    }
    let net = Net::<Small> { fc: linear(), architecture: PhantomData };
    assert_eq!(penalized(&net), ["fc.weight: lambda = 0.25"]);
}

#[test]
fn an_expression_may_call_a_closure_of_the_model() {
    #[derive(Regularized)]
    struct Net<F: Fn(usize) -> f64> {
        #[l1(lambda = (self.strength)(2))]
        fc: Linear,
        #[l1(skip)]
        strength: F,
    }
    assert_eq!(penalized(&Net { fc: linear(), strength: |depth| depth as f64 * 0.5 }), ["fc.weight: lambda = 1"]);
}

#[test]
fn a_given_bound_replaces_the_inferred_ones() {
    trait Layer {
        type Inner: Regularized;

        fn inner(&self) -> &Self::Inner;
    }
    impl Layer for Foreign {
        type Inner = ();

        fn inner(&self) -> &() {
            &()
        }
    }
    struct Wrapper<T>(T);
    impl<T: Layer> Regularized for Wrapper<T> {
        fn visit(&self, visitor: &mut l1_core::Visitor<'_>) -> l1_core::Result<()> {
            self.0.inner().visit(visitor)
        }
    }
    // The macro would ask for `T: Regularized`: it cannot know that `Wrapper<T>` needs `T: Layer` instead.
    #[derive(Regularized)]
    #[l1(bound = "T: Layer")]
    struct Net<T> {
        fc: Linear,
        wrapped: Wrapper<T>,
    }
    assert_eq!(paths(&Net { fc: linear_no_bias(), wrapped: Wrapper(Foreign) }), ["fc.weight"]);
}

#[test]
fn an_empty_bound_asks_for_nothing() {
    #[derive(Regularized)]
    #[l1(transparent)]
    struct Named<T>(#[l1(skip)] PhantomData<T>);
    #[derive(Regularized)]
    #[l1(bound = "")]
    struct Net<T> {
        fc: Linear,
        marker: Named<T>,
    }
    let net = Net::<Foreign> { fc: linear_no_bias(), marker: Named(PhantomData) };
    assert_eq!(paths(&net), ["fc.weight"]);
}

#[test]
fn fields_may_be_borrowed() {
    #[derive(Regularized)]
    struct Net<'a, 'b: 'a, T: ?Sized> {
        fc: &'a Linear,
        exclusive: &'b mut Linear,
        layers: &'a [Linear],
        any: &'a T,
    }
    let (fc, mut exclusive, layers) = (linear_no_bias(), linear_no_bias(), [linear_no_bias(), linear_no_bias()]);
    let net = Net { fc: &fc, exclusive: &mut exclusive, layers: &layers, any: "a name" };
    assert_eq!(paths(&net), ["fc.weight", "exclusive.weight", "layers.0.weight", "layers.1.weight"]);
}

#[test]
fn a_number_may_be_a_parameter() {
    #[derive(Regularized)]
    #[l1(lambda = N as f64)]
    struct Net<T, const N: usize = 3> {
        layers: [T; N],
        shapes: [usize; N],
    }
    let net = Net { layers: [linear(), linear()], shapes: [0; 2] };
    assert_eq!(penalized(&net), ["layers.0.weight: lambda = 2", "layers.1.weight: lambda = 2"]);
}

#[test]
fn an_enum_may_be_generic() {
    #[derive(Regularized)]
    enum Either<L, R> {
        Left(L),
        Right { layer: R },
    }
    type Layer = Either<Linear, Vec<Tensor>>;
    assert_eq!(paths(&Layer::Left(linear_no_bias())), ["weight"]);
    assert_eq!(paths(&Layer::Right { layer: vec![var(3)] }), ["layer.0"]);
}

#[test]
fn a_generic_struct_may_contain_itself() {
    #[derive(Regularized)]
    struct Tree<T> {
        value: T,
        children: Vec<Tree<T>>,
    }
    let leaf = || Tree { value: linear_no_bias(), children: vec![] };
    let tree = Tree { value: linear_no_bias(), children: vec![leaf(), leaf()] };
    assert_eq!(paths(&tree), ["value.weight", "children.0.value.weight", "children.1.value.weight"]);
}

#[test]
fn the_last_field_may_have_no_size() {
    #[derive(Regularized)]
    struct Net<T: ?Sized> {
        fc: Linear,
        rest: T,
    }
    let net: Box<Net<[Linear]>> = Box::new(Net { fc: linear_no_bias(), rest: [linear_no_bias(), linear_no_bias()] });
    assert_eq!(paths(&*net), ["fc.weight", "rest.0.weight", "rest.1.weight"]);
}

#[test]
fn layers_may_be_known_by_the_trait_alone() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        layers: Vec<Box<dyn Regularized>>,
        shared: std::sync::Arc<dyn Regularized + Send + Sync>,
    }
    let net = Net { layers: vec![Box::new(linear()), Box::new(var(2))], shared: std::sync::Arc::new(linear()) };
    let expected = ["layers.0.weight: lambda = 0.1", "layers.1: lambda = 0.1", "shared.weight: lambda = 0.1"];
    assert_eq!(penalized(&net), expected);
}

#[test]
fn a_trait_of_layers_may_require_it() {
    trait Layer: candle_nn::Module + Regularized {}
    impl<T: candle_nn::Module + Regularized> Layer for T {}
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        layers: Vec<Box<dyn Layer>>,
    }
    let net = Net { layers: vec![Box::new(linear()), Box::new(candle_nn::Activation::Relu), Box::new(linear())] };
    assert_eq!(net.layers[1].forward(&var(2)).unwrap().to_vec1::<f32>().unwrap(), [1.0, 1.0]);
    assert_eq!(penalized(&net), ["layers.0.weight: lambda = 0.1", "layers.2.weight: lambda = 0.1"]);
}

#[test]
fn a_generic_struct_takes_a_traced_layer() {
    #[derive(Regularized)]
    struct Residual<T> {
        inner: T,
    }
    let varmap = VarMap::new();
    let vb = builder(&varmap).pp("inner");
    let inner = Traced::new(&varmap, vb, |vb| GRU::new(2, 3, GRUConfig::default_no_bias(), vb)).unwrap();
    assert_eq!(paths(&Residual { inner }), ["inner.weight_hh_l0", "inner.weight_ih_l0"]);
}
