//! Which where-predicates are inferred.

use quote::ToTokens;
use syn::{GenericParam, ItemImpl};

use super::derive;

/// The where-predicates of the implementation, one a line.
fn predicates(source: &str) -> Vec<String> {
    let item: ItemImpl = syn::parse2(derive(source)).unwrap();
    let clause = item.generics.where_clause.into_iter();
    clause
        .flat_map(|clause| clause.predicates)
        .map(|predicate| predicate.to_token_stream().to_string().replace(" :: l1_core :: Regularized", " R"))
        .collect()
}

#[test]
fn parameters_of_visited_fields_are_regularized() {
    let source = "struct A<T, U, V, W>(Vec<Option<(T, [U; 3])>>, &'static V, #[l1(lambda = 1)] Box<dyn Fn() -> W>);";
    assert_eq!(predicates(source), ["T : R", "U : R", "V : R", "W : R"]);
}

#[test]
fn fields_that_are_not_visited_ask_for_nothing() {
    let source = "struct A<T, U, V>(#[l1(skip)] T, #[l1(opaque)] U, #[l1(with = visit)] V, u8);";
    assert!(predicates(source).is_empty());
}

#[test]
fn phantom_data_asks_for_nothing() {
    let source = "struct A<T, U>(PhantomData<T>, std::marker::PhantomData<fn(T) -> U>);";
    assert!(predicates(source).is_empty());
}

#[test]
fn a_traced_layer_asks_for_nothing() {
    let source = "struct A<T, U>(Traced<T>, Vec<l1_core::Traced<U>>);";
    assert!(predicates(source).is_empty());
}

#[test]
fn an_associated_type_is_bounded_in_place_of_its_parameter() {
    let source =
        "struct A<T: Net>(T::Layer, Vec<T::Layer>, <T as Net>::Head, <Vec<T> as Net>::Head, <u8 as Net>::Head);";
    let expected = ["T :: Layer : R", "< T as Net > :: Head : R", "< Vec < T > as Net > :: Head : R"];
    assert_eq!(predicates(source), expected);
}

#[test]
fn no_predicate_begins_with_what_reads_as_generics() {
    let source = "struct A<T: Net>(<T>::Layer, Vec<<T>::Head>, <Vec<T>>::Item, <&'static T>::Item);";
    let expected = ["T :: Layer : R", "T :: Head : R", "< Vec < T > > :: Item : R", "< & 'static T > :: Item : R"];
    assert_eq!(predicates(source), expected);
}

#[test]
fn names_that_only_look_like_a_parameter_ask_for_nothing() {
    let source = "struct A<T, const N: usize>(::T, t::T, T!(), [u8; N], Buffer<N>, Buffer<{ size::<T>() }>);";
    assert!(predicates(source).is_empty());
}

#[test]
fn fields_of_all_variants_count() {
    let source = "enum A<T, U, V> { One(T), Two { u: U }, Three(#[l1(skip)] V) }";
    assert_eq!(predicates(source), ["T : R", "U : R"]);
}

#[test]
fn the_where_clause_of_the_type_comes_first() {
    let source = "struct A<T, U>(T, U) where T: Clone, U: Into<T>;";
    assert_eq!(predicates(source), ["T : Clone", "U : Into < T >", "T : R", "U : R"]);
}

#[test]
fn a_given_bound_replaces_the_inferred_ones() {
    let source = r#"#[l1(bound = "T: Layer, Vec<U>: Layer,")] struct A<T, U>(T, U) where T: Clone;"#;
    assert_eq!(predicates(source), ["T : Clone", "T : Layer", "Vec < U > : Layer"]);
    assert!(predicates(r#"#[l1(bound = "")] struct A<T>(T);"#).is_empty());
}

#[test]
fn defaults_of_parameters_stay_out_of_the_implementation() {
    let tokens = derive("struct A<'a, T: Clone + 'a = Linear, const N: usize = 3>(&'a [T; N]);");
    let item: ItemImpl = syn::parse2(tokens).unwrap();
    assert_eq!(item.self_ty.to_token_stream().to_string(), "A < 'a , T , N >");
    for param in &item.generics.params {
        match param {
            GenericParam::Type(param) => assert!(param.default.is_none()),
            GenericParam::Const(param) => assert!(param.default.is_none()),
            GenericParam::Lifetime(_) => {}
        }
    }
}
