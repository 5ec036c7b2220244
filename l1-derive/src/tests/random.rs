//! Whatever stands in `#[l1(..)]` and around it, the macro answers with an implementation, or with mistakes, each of which points
//! to a token of the input.

mod changes;
mod pieces;
mod places;
mod types;

use proc_macro2::extra::invalidate_current_thread_spans;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::quote_spanned;
use rand::prelude::*;
use rand::rngs::StdRng;
use syn::{DeriveInput, File, Item};

use changes::show;
use places::{Mistake, Places, mistakes};

/// What the macro has answered to many inputs.
#[derive(Debug, Default)]
struct Answers {
    implementations: usize,
    refusals: usize,
    /// Inputs that are no type: the answer is syn's.
    no_types: usize,
    /// Mistakes in those that point nowhere.
    nowhere: usize,
}

impl Answers {
    fn count(&self) -> usize {
        self.implementations + self.refusals + self.no_types
    }

    /// Fails if the macro answers with anything but one implementation or mistakes that point into the input.
    fn add(&mut self, tokens: &TokenStream) {
        let answer = crate::expand::derive(tokens.clone());
        let mistakes = mistakes(&answer);
        let Ok(input) = syn::parse2::<DeriveInput>(tokens.clone()) else {
            // Something may be missing behind the last token, so that there is none to point to. A compiler hands over whole types,
            // and inside of them what closes a group follows.
            let (nowhere, somewhere): (Vec<_>, Vec<_>) = mistakes.iter().partition(|mistake| mistake.is_nowhere());
            assert!(!mistakes.is_empty(), "{} became {answer}", show(tokens));
            point_into(tokens, somewhere);
            self.nowhere += nowhere.len();
            self.no_types += 1;
            return;
        };
        let items = syn::parse2(answer.clone()).map_or_else(|_| Vec::new(), |file: File| file.items);
        let implementations = items.iter().filter(|item| matches!(item, Item::Impl(_))).count();
        if !has_name_of_nothing(&input) {
            assert_eq!((implementations, items.len()), (1, 1 + mistakes.len()), "{} became {answer}", show(tokens));
        }
        *if mistakes.is_empty() { &mut self.implementations } else { &mut self.refusals } += 1;
        point_into(tokens, &mistakes);
    }
}

/// Fails if one of the mistakes is somewhere else.
fn point_into<'m>(tokens: &TokenStream, mistakes: impl IntoIterator<Item = &'m Mistake>) {
    let places = Places::of(tokens);
    for mistake in mistakes {
        let points = [&mistake.first, &mistake.last].into_iter().all(|place| places.contain(place));
        assert!(points, "{mistake:?} points to nothing in {}", show(tokens));
    }
}

/// syn reads `_` as the name of a field or type parameter, which no compiler does, and which nothing written can name again.
fn has_name_of_nothing(input: &DeriveInput) -> bool {
    let fields: Vec<&syn::Field> = match &input.data {
        syn::Data::Struct(data) => data.fields.iter().collect(),
        syn::Data::Enum(data) => data.variants.iter().flat_map(|variant| &variant.fields).collect(),
        syn::Data::Union(data) => data.fields.named.iter().collect(),
    };
    let names = fields.into_iter().filter_map(|field| field.ident.as_ref());
    names.chain(input.generics.type_params().map(|param| &param.ident)).any(|name| name == "_")
}

/// Reads `source` with places that hold until the next call.
fn read(source: &str) -> Option<TokenStream> {
    // Or the places of all inputs would be kept to the end.
    invalidate_current_thread_spans();
    source.parse().ok()
}

#[test]
fn random_attributes_are_answered_where_they_are_mistaken() {
    let mut random = StdRng::seed_from_u64(0);
    let mut answers = Answers::default();
    while answers.count() < 100_000 {
        let source = types::annotated(&mut random);
        answers.add(&read(&source).expect("pieces are tokens"));
    }
    // Both ways are walked often, or the generator is worth nothing.
    assert!(answers.implementations > 3_000 && answers.refusals > 50_000, "{answers:?}");
    assert_eq!(answers.no_types, 0, "{answers:?}");
}

#[test]
fn random_token_streams_are_answered_where_they_are_mistaken() {
    let mut random = StdRng::seed_from_u64(1);
    let mut answers = Answers::default();
    while answers.count() < 100_000 {
        let source = match random.random_range(0..10) {
            0 => pieces::soup(&mut random, 5),
            1..3 => types::annotated(&mut random),
            _ => types::item(&mut random),
        };
        // Some names and literals are no tokens side by side.
        let Some(mut tokens) = read(&source) else { continue };
        for _ in 0..random.random_range(0..6_u32).saturating_sub(3) {
            tokens = changes::change(tokens, &mut random);
        }
        answers.add(&tokens);
    }
    assert!(answers.implementations > 10_000 && answers.refusals > 30_000, "{answers:?}");
    // Few end too early: about one of a hundred.
    assert!(answers.nowhere < 3_000, "{answers:?}");
}

/// Deeper than anybody writes, and as deep as rustc lets macros nest.
const DEPTH: usize = 128;

#[test]
fn deep_nesting_is_answered() {
    let nest = |open: &str, inside: &str, close: &str| open.repeat(DEPTH) + inside + &close.repeat(DEPTH);
    let values = [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{", "1", "}"),
        ("-", "1", ""),
        ("&", "x", ""),
        ("f(", "1", ")"),
        ("if x {", "1", "} else { 2 }"),
    ];
    let types = [
        ("Vec<", "T", ">"),
        ("(", "T", ",)"),
        ("&", "T", ""),
        ("fn(", "T", ")"),
        ("<", "T", " as A>::B"),
        ("[", "T", "; 1]"),
    ];
    let mut sources = Vec::new();
    for (open, inside, close) in values {
        let value = nest(open, inside, close);
        sources.extend(["lambda", "curve", "with"].map(|key| format!("struct A(#[l1({key} = {value})] B);")));
        sources.push(format!("struct A(#[l1(lambda = 1, curve = mcp({value}))] [B; {value}]);"));
    }
    sources.extend(types.map(|(open, inside, close)| format!("struct A<T>({});", nest(open, inside, close))));
    sources.extend(
        [("(", ")"), ("[", "]"), ("{", "}")].map(|(open, close)| format!("#[l1({})] struct A;", nest(open, "", close))),
    );
    let mut answers = Answers::default();
    for source in &sources {
        answers.add(&read(source).expect("these are tokens"));
    }
    assert_eq!((answers.count(), answers.no_types), (sources.len(), 0), "{answers:?}");

    // As if one macro had handed the value to the next, and that to the next.
    let mut value = read("0.5").expect("a number is a token");
    let place = value.clone().into_iter().next().map(|token| token.span()).expect("a number is a token");
    for _ in 0..DEPTH {
        let mut group = Group::new(Delimiter::None, value);
        group.set_span(place);
        value = TokenTree::from(group).into();
    }
    answers.add(&quote_spanned!(place=> struct A(#[l1(lambda = #value)] B);));
    assert!(answers.implementations > 10, "{answers:?}");
}
