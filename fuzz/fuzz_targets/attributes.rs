//! Any text as a type, and as the keys in `#[l1(..)]` of a type, a field and a variant's field: the macro answers, and points to
//! what it refuses.
#![no_main]

#[path = "../../l1-derive/src/attr.rs"]
mod attr;
#[path = "../../l1-derive/src/bounds.rs"]
mod bounds;
#[path = "../../l1-derive/src/errors.rs"]
mod errors;
#[path = "../../l1-derive/src/expand.rs"]
mod expand;
#[path = "../../l1-derive/src/model.rs"]
mod model;
#[path = "../../l1-derive/src/number.rs"]
mod number;
#[path = "../../l1-derive/src/penalty.rs"]
mod penalty;
#[path = "../../l1-derive/src/tests/random/places.rs"]
mod places;
#[path = "../../l1-derive/src/valid.rs"]
mod valid;
#[path = "../../l1-derive/src/value.rs"]
mod value;
#[path = "../../l1-derive/src/word.rs"]
mod word;

use libfuzzer_sys::{Corpus, fuzz_target};
use places::{Places, mistakes};
use proc_macro2::{TokenStream, TokenTree, extra::invalidate_current_thread_spans};
use syn::DeriveInput;

/// Deeper than anybody writes. Parsers of Rust call themselves for each level, and somewhere the stack ends.
const DEEPEST: usize = 100;

fuzz_target!(|text: &str| -> Corpus {
    let whole = derive(text);
    let keys = [
        format!("#[l1({text})] struct A<T> {{ a: T, b: Linear }}"),
        format!("struct A<T> {{ #[l1({text})] a: T, b: Linear }}"),
        format!("#[l1(lambda = 1)] enum A<T> {{ One(#[l1({text})] T), Two }}"),
    ];
    let keys = keys.map(|source| derive(&source));
    // Text that is no tokens anywhere leads to nothing.
    if whole || keys.contains(&true) { Corpus::Keep } else { Corpus::Reject }
});

/// Whether `source` could be read as tokens.
fn derive(source: &str) -> bool {
    // Or the places of all inputs would be kept.
    invalidate_current_thread_spans();
    let Ok(tokens) = source.parse::<TokenStream>() else { return false };
    if is_deeper(&tokens, DEEPEST) {
        return false;
    }
    let answer = expand::derive(tokens.clone());
    let mistakes = mistakes(&answer);
    assert!(!mistakes.is_empty() || syn::parse2::<DeriveInput>(tokens.clone()).is_ok());
    // With this flag, `cargo fuzz`'s own, proc-macro2 keeps no places.
    if cfg!(fuzzing) {
        return true;
    }
    let places = Places::of(&tokens);
    for mistake in &mistakes {
        let points = places.contain(&mistake.first) && places.contain(&mistake.last);
        // What is no whole type may lack something behind its last token. A compiler hands over whole ones.
        let may_lack = mistake.is_nowhere() && syn::parse2::<DeriveInput>(tokens.clone()).is_err();
        assert!(points || may_lack, "{mistake:?} points to nothing in {source}");
    }
    true
}

fn is_deeper(tokens: &TokenStream, depth: usize) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Group(group) => depth == 0 || is_deeper(&group.stream(), depth - 1),
        _ => false,
    })
}
