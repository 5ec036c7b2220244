//! Changes of a token stream that no text can have, or none that anybody would write: tokens lost, doubled, swapped, in
//! invisible groups, and literals with a sign.

use proc_macro2::{Delimiter, Group, Literal, TokenStream, TokenTree};
use rand::prelude::*;
use rand::rngs::StdRng;

/// Changes something somewhere. Every new token has the place of an old one.
pub(super) fn change(tokens: TokenStream, random: &mut StdRng) -> TokenStream {
    let mut trees: Vec<TokenTree> = tokens.into_iter().collect();
    if trees.is_empty() {
        return TokenStream::new();
    }
    let at = random.random_range(0..trees.len());
    if let TokenTree::Group(group) = &trees[at]
        && random.random_bool(0.8)
    {
        trees[at] = with(group, group.delimiter(), change(group.stream(), random)).into();
        return trees.into_iter().collect();
    }
    match random.random_range(0..7) {
        0 => drop(trees.remove(at)),
        1 => trees.insert(at, trees[at].clone()),
        2 => {
            let other = random.random_range(0..trees.len());
            trees.swap(at, other);
        }
        3 | 4 => {
            // What the parameter of a `macro_rules` macro becomes.
            let end = random.random_range(at..=trees.len().min(at + 4));
            let span = trees[at].span();
            let mut group = Group::new(Delimiter::None, trees.drain(at..end).collect());
            group.set_span(span);
            trees.insert(at, group.into());
        }
        5 => {
            let delimiters = [Delimiter::Parenthesis, Delimiter::Brace, Delimiter::Bracket, Delimiter::None];
            let delimiter = delimiters[random.random_range(0..4)];
            if let TokenTree::Group(group) = &trees[at] {
                trees[at] = with(group, delimiter, group.stream()).into();
            }
        }
        _ => {
            // What `quote!` makes of a negative number.
            let mut literal = [Literal::f64_unsuffixed(-0.5), Literal::i64_unsuffixed(-2), Literal::f64_suffixed(-1.0)]
                [random.random_range(0..3)]
            .clone();
            literal.set_span(trees[at].span());
            trees[at] = literal.into();
        }
    }
    trees.into_iter().collect()
}

fn with(group: &Group, delimiter: Delimiter, tokens: TokenStream) -> Group {
    let mut changed = Group::new(delimiter, tokens);
    changed.set_span(group.span());
    changed
}

/// The tokens as text, with what stands in an invisible group in `«»`.
pub(super) fn show(tokens: &TokenStream) -> String {
    let show = |token| match token {
        TokenTree::Group(group) => {
            let (open, close) = match group.delimiter() {
                Delimiter::Parenthesis => ("(", ")"),
                Delimiter::Brace => ("{", "}"),
                Delimiter::Bracket => ("[", "]"),
                Delimiter::None => ("«", "»"),
            };
            format!("{open}{}{close}", show(&group.stream()))
        }
        token => token.to_string(),
    };
    tokens.clone().into_iter().map(show).collect::<Vec<_>>().join(" ")
}
