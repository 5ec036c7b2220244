//! What `l1-core/src/error.rs` says of its variants: their documentation, their fields, their message.

use syn::{Attribute, Expr, ExprLit, Item, Lit, Meta, ext::IdentExt as _};

const SOURCE: &str = include_str!("../../../l1-core/src/error.rs");

/// A variant of `Error`.
pub struct Variant {
    pub name: String,
    /// Paragraphs of its documentation.
    pub docs: Vec<String>,
    pub fields: Vec<String>,
    /// What is in `#[error(..)]`, as tokens.
    message: String,
}

impl Variant {
    /// What it is: the paragraphs before the cause.
    pub fn what(&self) -> String {
        let is_what = |docs: &&String| !docs.starts_with("Cause: ") && !docs.starts_with("Cure: ");
        self.docs.iter().filter(is_what).cloned().collect::<Vec<_>>().join("\n\n")
    }

    pub fn cause(&self) -> Option<&str> {
        self.docs.iter().find_map(|docs| docs.strip_prefix("Cause: "))
    }

    pub fn cure(&self) -> Option<&str> {
        self.docs.iter().find_map(|docs| docs.strip_prefix("Cure: "))
    }

    /// Whether the message is made with a field: inserted into its text, or used in the code behind that.
    pub fn tells(&self, field: &str) -> bool {
        let is_word_of = |code: &str| code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == field);
        let is_inserted = |text: &str| text.contains(&format!("{{{field}}}")) || text.contains(&format!("{{{field}:"));
        let message = self.message.replace("\\\"", "");
        message.split('"').enumerate().any(|(index, part)| match index % 2 {
            0 => is_word_of(part),
            _ => is_inserted(part),
        })
    }
}

/// The variants in their order.
pub fn variants() -> Vec<Variant> {
    let file = syn::parse_file(SOURCE).unwrap();
    let is_error = |item| match item {
        Item::Enum(item) if item.ident == "Error" => Some(item),
        _ => None,
    };
    let error = file.items.into_iter().find_map(is_error).expect("error.rs has an enum `Error`");
    let variant = |variant: syn::Variant| Variant {
        name: variant.ident.to_string(),
        docs: paragraphs(&variant.attrs),
        fields: variant.fields.iter().filter_map(|field| Some(field.ident.as_ref()?.unraw().to_string())).collect(),
        message: variant.attrs.iter().filter(|attr| attr.path().is_ident("error")).map(tokens).collect(),
    };
    error.variants.into_iter().map(variant).collect()
}

fn tokens(attr: &Attribute) -> String {
    match &attr.meta {
        Meta::List(list) => list.tokens.to_string(),
        _ => String::new(),
    }
}

/// The documentation with every paragraph on one line, and links as their text: they lead to other places on a page.
fn paragraphs(attrs: &[Attribute]) -> Vec<String> {
    let line = |attr: &Attribute| match &attr.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    };
    let lines: Vec<_> = attrs.iter().filter_map(line).collect();
    lines.split(String::is_empty).map(|lines| without_links(&lines.join(" "))).collect()
}

/// ``[`A`](crate::A)`` and ``[`A`]`` become `` `A` ``.
fn without_links(text: &str) -> String {
    let mut parts = text.split("[`");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("`]").expect("a link is closed");
        let rest = match rest.strip_prefix('(') {
            Some(target) => target.split_once(')').expect("a target is closed").1,
            None => rest,
        };
        plain.push_str(&format!("`{name}`{rest}"));
    }
    plain
}
