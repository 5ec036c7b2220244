#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! What the macro writes ([`expansions`], [`bounds`]), what it refuses ([`mistakes`]), and that it survives anything and points to
//! what it refuses ([`random`]).

mod bounds;
mod expansions;
mod mistakes;
mod random;

use proc_macro2::TokenStream;
use syn::{File, Item, LitStr};

/// What the macro makes of a type.
fn derive(source: &str) -> TokenStream {
    crate::expand::derive(source.parse().unwrap())
}

/// The implementation as rustfmt would print it.
fn expand(source: &str) -> String {
    let tokens = derive(source);
    let file: File = syn::parse2(tokens).unwrap();
    assert!(file.items.iter().all(|item| matches!(item, Item::Impl(_))), "mistakes in {source}");
    prettyplease::unparse(&file)
}

/// The type itself in the same layout.
fn print(source: &str) -> String {
    prettyplease::unparse(&syn::parse_str(source).unwrap())
}

/// The messages of all `compile_error!`, in order.
fn messages(tokens: TokenStream) -> Vec<String> {
    let file: File = syn::parse2(tokens).unwrap();
    file.items
        .into_iter()
        .filter_map(|item| match item {
            Item::Macro(item) => Some(item.mac.parse_body::<LitStr>().unwrap().value()),
            _ => None,
        })
        .collect()
}
