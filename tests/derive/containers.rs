//! std's containers: items under their number or key, in an order that is the same in every run.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, DefaultHasher},
    marker::PhantomData,
    num::NonZeroUsize,
    ops::Range,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use candle_core::Tensor;
use candle_nn::Linear;
use l1_core::Regularized;

use crate::given::{linear, linear_no_bias, var};
use crate::said::{paths, penalized};

#[test]
fn an_option_adds_no_segment() {
    #[derive(Regularized)]
    struct Net {
        some: Option<Linear>,
        none: Option<Linear>,
        deep: Option<Option<Tensor>>,
    }
    let net = Net { some: Some(linear_no_bias()), none: None, deep: Some(Some(var(2))) };
    assert_eq!(paths(&net), ["some.weight", "deep"]);
}

#[test]
fn pointers_add_no_segment() {
    #[derive(Regularized)]
    struct Net<'a> {
        boxed: Box<Linear>,
        counted: Rc<Linear>,
        shared: Arc<Linear>,
        borrowed: &'a Linear,
        deep: &'a &'a Rc<Linear>,
    }
    let borrowed = linear_no_bias();
    let deep = Rc::new(linear_no_bias());
    let net = Net {
        boxed: Box::new(linear_no_bias()),
        counted: Rc::new(linear_no_bias()),
        shared: Arc::new(linear_no_bias()),
        borrowed: &borrowed,
        deep: &&deep,
    };
    assert_eq!(paths(&net), ["boxed.weight", "counted.weight", "shared.weight", "borrowed.weight", "deep.weight"]);
}

#[test]
fn items_of_a_sequence_are_numbered() {
    #[derive(Regularized)]
    struct Net<'a> {
        vec: Vec<Linear>,
        array: [Tensor; 2],
        slice: &'a [Tensor],
        boxed: Box<[Tensor]>,
        counted: Rc<[Tensor]>,
    }
    let slice = [var(2)];
    let net = Net {
        vec: vec![linear_no_bias(), linear_no_bias()],
        array: [var(2), var(2)],
        slice: &slice,
        boxed: Box::new([var(2)]),
        counted: Rc::new([var(2)]),
    };
    let expected = ["vec.0.weight", "vec.1.weight", "array.0", "array.1", "slice.0", "boxed.0", "counted.0"];
    assert_eq!(paths(&net), expected);
}

#[test]
fn items_come_in_the_order_of_their_numbers_and_not_of_their_digits() {
    #[derive(Regularized)]
    struct Net {
        layers: Vec<Tensor>,
    }
    let paths = paths(&Net { layers: (0..11).map(|_| var(1)).collect() });
    assert_eq!(paths[9..], ["layers.9", "layers.10"]);
}

#[test]
fn items_of_a_tuple_are_numbered() {
    #[derive(Regularized)]
    struct Net {
        one: (Linear,),
        pair: (Linear, Tensor),
        nested: ((Tensor, usize), [Tensor; 1]),
    }
    let net = Net { one: (linear_no_bias(),), pair: (linear_no_bias(), var(2)), nested: ((var(2), 0), [var(2)]) };
    assert_eq!(paths(&net), ["one.0.weight", "pair.0.weight", "pair.1", "nested.0.0", "nested.1.0"]);
}

#[test]
fn a_tuple_may_have_twelve_items() {
    type T = Tensor;
    #[derive(Regularized)]
    struct Net((T, T, T, T, T, T, T, T, T, T, T, T));
    let v = || var(1);
    let paths = paths(&Net((v(), v(), v(), v(), v(), v(), v(), v(), v(), v(), v(), v())));
    assert_eq!(paths[9..], ["0.9", "0.10", "0.11"]);
}

#[test]
fn items_of_a_map_are_visited_in_the_order_of_their_keys() {
    #[derive(Regularized)]
    struct Net {
        tree: BTreeMap<String, Tensor>,
        hash: HashMap<&'static str, Tensor>,
        numbers: HashMap<u32, Tensor>,
        own_hasher: HashMap<char, Tensor, BuildHasherDefault<DefaultHasher>>,
    }
    let net = Net {
        tree: [("b", var(1)), ("a", var(1))].map(|(key, value)| (key.to_owned(), value)).into(),
        hash: [("z", var(1)), ("y", var(1)), ("x", var(1))].into(),
        numbers: [(10, var(1)), (9, var(1)), (100, var(1))].into(),
        own_hasher: [('d', var(1)), ('c', var(1))].into_iter().collect(),
    };
    let expected = [
        "tree.a",
        "tree.b",
        "hash.x",
        "hash.y",
        "hash.z",
        "numbers.9",
        "numbers.10",
        "numbers.100",
        "own_hasher.c",
        "own_hasher.d",
    ];
    assert_eq!(paths(&net), expected);
}

#[test]
fn a_rule_on_a_container_holds_for_its_items() {
    #[derive(Regularized)]
    struct Net {
        #[l1(lambda = 0.1, bias)]
        heads: BTreeMap<&'static str, Vec<Linear>>,
    }
    let net = Net { heads: [("a", vec![linear()]), ("b", vec![])].into() };
    assert_eq!(penalized(&net), ["heads.a.0.weight: lambda = 0.1", "heads.a.0.bias: lambda = 0.1"]);
}

#[test]
fn a_rule_on_an_empty_container_is_no_error() {
    #[derive(Regularized)]
    #[rustfmt::skip]
    struct Net<'a> {
        fc: Linear,
        #[l1(lambda = 0.1)] option: Option<Linear>,
        #[l1(lambda = 0.1)] vec: Vec<Linear>,
        #[l1(lambda = 0.1)] array: [Linear; 0],
        #[l1(lambda = 0.1)] slice: &'a [Linear],
        #[l1(lambda = 0.1)] tree: BTreeMap<u8, Linear>,
        #[l1(lambda = 0.1)] hash: HashMap<u8, Linear>,
        #[l1(lambda = 0.1)] deep: Vec<Option<Linear>>,
        #[l1(lambda = 0.1, role = norm)] gain: Option<Tensor>,
    }
    let net = Net {
        fc: linear_no_bias(),
        option: None,
        vec: vec![],
        array: [],
        slice: &[],
        tree: BTreeMap::new(),
        hash: HashMap::new(),
        deep: vec![None],
        gain: None,
    };
    assert_eq!(paths(&net), ["fc.weight"]);
}

#[test]
fn a_model_may_consist_of_empty_containers() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        layers: Vec<Linear>,
        head: Option<Linear>,
    }
    assert!(paths(&Net { layers: vec![], head: None }).is_empty());
}

#[test]
fn a_shared_layer_counts_once() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net {
        encoder: Rc<Linear>,
        decoder: Rc<Linear>,
    }
    let shared = Rc::new(linear());
    let net = Net { encoder: shared.clone(), decoder: shared };
    assert_eq!(penalized(&net), ["encoder.weight: lambda = 0.1"]);
}

#[test]
fn plain_values_need_no_attribute() {
    #[derive(Regularized)]
    #[l1(lambda = 0.1)]
    struct Net<'a> {
        fc: Linear,
        numbers: (usize, i64, f32, f64, half::bf16, half::f16, NonZeroUsize, Range<usize>),
        texts: (String, &'a str, char, PathBuf),
        others: (bool, (), Duration, PhantomData<dyn Fn()>),
        shapes: Vec<[usize; 2]>,
        names: HashMap<String, Option<u8>>,
        ids: BTreeMap<u32, &'a [u8]>,
    }
    let net = Net {
        fc: linear(),
        numbers: (1, 2, 3.0, 4.0, half::bf16::ONE, half::f16::ONE, NonZeroUsize::MIN, 0..1),
        texts: (String::new(), "", ' ', PathBuf::new()),
        others: (true, (), Duration::ZERO, PhantomData),
        shapes: vec![[1, 2]],
        names: [("a".to_owned(), None)].into(),
        ids: [(1, [2u8].as_slice())].into(),
    };
    assert_eq!(penalized(&net), ["fc.weight: lambda = 0.1"]);
}
