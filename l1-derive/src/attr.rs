//! The grammar of `#[l1(..)]`: tokens → keys, each with its place in the source and its value.
//!
//! To add a key, add a row to [`Key`]. If it is a part of a rule and takes a `Number`, a `Flag` or a `Word`, that is all:
//! it becomes a call of the method of the same name on `Rule`. The words stand in [`crate::word`]. Another kind of value is
//! a [`Grammar`] (and, in a rule, an `Argument`) in [`crate::value`]; a key that is no part of a rule gets its meaning in
//! [`crate::model`]. What it contradicts stands in [`crate::valid`], and for the penalty in [`crate::penalty`].

use proc_macro2::{Ident, Span, TokenTree};
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::parse::discouraged::Speculative;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, GenericParam, Generics, MacroDelimiter, Meta, Result, Token};

use crate::errors::Errors;
use crate::value::{Grammar, Value, closest, found};
use crate::word::{CURVES, GROUPS, ROLES};

/// Where a key may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Type,
    Field,
    Either,
}

macro_rules! keys {
    ($($key:ident = $name:literal, on $place:ident, takes $grammar:expr;)*) => {
        /// Every key of `#[l1(..)]`. The order is that of the calls in the generated code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Key { $($key),* }

        impl Key {
            const ALL: &[Self] = &[$(Self::$key),*];

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$key => $name),* }
            }

            const fn place(self) -> Place {
                match self { $(Self::$key => Place::$place),* }
            }

            const fn grammar(self) -> Grammar {
                use Grammar::*;
                match self { $(Self::$key => $grammar),* }
            }
        }
    };
}

keys! {
    Lambda      = "lambda",      on Either, takes Number;
    Curve       = "curve",       on Either, takes Word(&CURVES);
    Group       = "group",       on Either, takes Word(&GROUPS);
    Unscaled    = "unscaled",    on Either, takes Flag;
    Element     = "element",     on Either, takes Number;
    L2          = "l2",          on Either, takes Number;
    Positive    = "positive",    on Either, takes Flag;
    Decay       = "decay",       on Either, takes Number;
    Bias        = "bias",        on Either, takes Flag;
    Norm        = "norm",        on Either, takes Flag;
    Scale       = "scale",       on Field,  takes Number;
    Role        = "role",        on Field,  takes Word(&ROLES);
    Skip        = "skip",        on Field,  takes Reason;
    Opaque      = "opaque",      on Field,  takes Nothing;
    With        = "with",        on Field,  takes Function;
    Rename      = "rename",      on Field,  takes Name;
    Flatten     = "flatten",     on Field,  takes Nothing;
    Transparent = "transparent", on Type,   takes Nothing;
    Crate       = "crate",       on Type,   takes Path;
    Bound       = "bound",       on Type,   takes Predicates;
}

impl Key {
    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.name() == name)
    }

    /// Whether it is a part of a rule.
    pub(crate) fn is_of_rule(self) -> bool {
        self.grammar().is_argument()
    }

    fn is_allowed(self, place: Place) -> bool {
        self.place() == Place::Either || self.place() == place
    }

    /// Where the key belongs, for a message.
    fn home(self) -> &'static str {
        match self.place() {
            Place::Type if self == Self::Transparent => "on a struct with one field",
            Place::Type => "on the struct or enum",
            Place::Field => "on a field",
            Place::Either => "on the struct or enum, or on a field",
        }
    }
}

/// One key as it was written.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) key: Key,
    pub(crate) span: Span,
    /// `None` when the value was mistaken, which is reported by then. The key still counts: it may stand twice, or
    /// beside a key it contradicts.
    pub(crate) value: Option<Value>,
}

/// The keys of one type or field, from all its `#[l1(..)]`.
#[derive(Debug, Default)]
pub(crate) struct Items {
    items: Vec<Item>,
    /// Whether something stands there that is no key: it may have been meant for any.
    pub(crate) unknown: bool,
}

impl Items {
    /// Reads every `#[l1(..)]` among `attrs`.
    pub(crate) fn read(attrs: &[Attribute], place: Place, errors: &mut Errors) -> Self {
        let mut items = Self::default();
        for attr in l1_attributes(attrs) {
            match &attr.meta {
                Meta::List(list) if matches!(list.delimiter, MacroDelimiter::Paren(_)) => {
                    let mut mistakes = Errors::default();
                    let read = |input: ParseStream<'_>| {
                        items.read_list(input, place, &mut mistakes);
                        Ok(())
                    };
                    // Not `parse2`: where the keys end too early, the closing parenthesis is the place of the mistake.
                    let rest = list.parse_args_with(read);
                    match rest {
                        Err(error) if mistakes.is_empty() => errors.push(error),
                        _ => errors.append(mistakes),
                    }
                }
                meta => {
                    items.unknown = true;
                    let message =
                        "expected keys in parentheses: write `#[l1(..)]`, for example `#[l1(lambda = 0.001)]`";
                    errors.push(Error::new_spanned(meta, message));
                }
            }
        }
        items
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Item> {
        self.items.iter().find(|item| item.key == key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = Item> {
        self.items.into_iter()
    }

    /// Reads `key, key = value, ..`. After a mistake it goes on behind the next comma.
    fn read_list(&mut self, input: ParseStream<'_>, place: Place, errors: &mut Errors) {
        while !input.is_empty() {
            // A fork, because a value that is given up halfway must not fail the whole attribute.
            let ahead = input.fork();
            let item = self.read_item(&ahead, place, errors);
            match item.and_then(|()| end_of_item(&ahead).inspect_err(|_| self.unknown = true)) {
                Ok(()) => input.advance_to(&ahead),
                Err(error) => {
                    errors.push(error);
                    while !input.is_empty() && input.cursor() < ahead.cursor() {
                        skip_token(input);
                    }
                    while !input.is_empty() && !input.peek(Token![,]) {
                        skip_token(input);
                    }
                }
            }
            if input.peek(Token![,]) {
                skip_token(input);
            }
        }
    }

    fn read_item(&mut self, input: ParseStream<'_>, place: Place, errors: &mut Errors) -> Result<()> {
        let ident = input.call(Ident::parse_any).map_err(|_| {
            self.unknown = true;
            Error::new(input.span(), format!("expected a key such as `lambda = 0.001`, found {}", found(input)))
        })?;
        let behind = input.fork();
        skip_value(&behind);
        let outcome = self.read_value(&ident, place, input, errors);
        if outcome.is_err() && input.cursor() < behind.cursor() {
            input.advance_to(&behind);
        }
        outcome
    }

    /// Reads what follows `ident`, from the `=` on.
    fn read_value(&mut self, ident: &Ident, place: Place, input: ParseStream<'_>, errors: &mut Errors) -> Result<()> {
        let key = known(ident, place).inspect_err(|_| self.unknown = true)?;
        let twice = self.get(key).is_some();
        if twice {
            errors.at(ident.span(), format!("`{}` is given twice: keep one of the two", key.name()));
        }
        let value = key.grammar().read(key, ident, input);
        let (value, outcome) = match value {
            Ok(value) => (Some(value), Ok(())),
            Err(error) => (None, Err(error)),
        };
        if !twice {
            self.items.push(Item { key, span: ident.span(), value });
        }
        outcome
    }
}

/// The attributes that are ours.
fn l1_attributes(attrs: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attrs.iter().filter(|attr| is_l1(attr))
}

fn is_l1(attr: &Attribute) -> bool {
    attr.path().is_ident("l1")
}

/// A variant has no rule of its own.
pub(crate) fn refuse_on_variant(attrs: &[Attribute], errors: &mut Errors) {
    for attr in l1_attributes(attrs) {
        let message = "`#[l1(..)]` on a variant: write it on the enum, for all its fields, or on a field";
        errors.at(attr.path().span(), message);
    }
}

/// Neither has a type, lifetime or constant parameter.
pub(crate) fn refuse_on_parameters(generics: &mut Generics, errors: &mut Errors) {
    for param in &mut generics.params {
        let attrs = match param {
            GenericParam::Type(param) => &mut param.attrs,
            GenericParam::Lifetime(param) => &mut param.attrs,
            GenericParam::Const(param) => &mut param.attrs,
        };
        for attr in l1_attributes(attrs) {
            let message =
                "`#[l1(..)]` on a parameter: write it on the struct or enum, for all its fields, or on a field";
            errors.at(attr.path().span(), message);
        }
        // The implementation repeats the parameters, and nobody knows `l1` there.
        attrs.retain(|attr| !is_l1(attr));
    }
}

/// What users of other libraries write, and the key that means it.
fn synonym(name: &str) -> Option<Key> {
    match name {
        "l1" | "alpha" | "strength" | "lasso" => Some(Key::Lambda),
        "gamma" | "epsilon" | "mcp" | "scad" | "log" | "half" | "two_thirds" | "l0" => Some(Key::Curve),
        "l21" | "group_lasso" | "structured" | "output" | "input" | "nuclear" | "singular" => Some(Key::Group),
        "sparse_group" | "inner" => Some(Key::Element),
        "ridge" => Some(Key::L2),
        "weight_decay" | "weightdecay" | "wd" => Some(Key::Decay),
        "ignore" | "exclude" => Some(Key::Skip),
        "name" => Some(Key::Rename),
        "nonneg" | "nonnegative" | "non_negative" => Some(Key::Positive),
        _ => None,
    }
}

/// The key that `ident` names, or how to come to one.
fn known(ident: &Ident, place: Place) -> Result<Key> {
    let name = ident.to_string();
    let message = match Key::named(&name) {
        Some(key) if key.is_allowed(place) => return Ok(key),
        Some(key) => {
            let here = if place == Place::Field { "a field" } else { "the struct or enum" };
            format!("`{name}` belongs {}, not on {here}", key.home())
        }
        None => match synonym(&name).or_else(|| closest(&name, Key::ALL, |key| key.name()).copied()) {
            Some(key) if key.is_allowed(place) => {
                format!("unknown key `{name}`: did you mean `{}`?", key.name())
            }
            Some(key) => {
                format!("unknown key `{name}`: did you mean `{}`, which belongs {}?", key.name(), key.home())
            }
            None => {
                let allowed: Vec<_> = Key::ALL
                    .iter()
                    .filter(|key| key.is_allowed(place))
                    .map(|key| format!("`{}`", key.name()))
                    .collect();
                format!("unknown key `{name}`: expected one of {}", allowed.join(", "))
            }
        },
    };
    Err(Error::new(ident.span(), message))
}

fn end_of_item(input: ParseStream<'_>) -> Result<()> {
    if input.is_empty() || input.peek(Token![,]) {
        return Ok(());
    }
    Err(Error::new(input.span(), format!("expected `,` or the end of `#[l1(..)]`, found {}", found(input))))
}

/// Past `= value`, whatever the value is: its commas separate no keys.
fn skip_value(input: ParseStream<'_>) {
    if let Ok(Some(_)) = input.parse::<Option<Token![=]>>() {
        let _: Result<Expr> = input.parse();
    }
}

fn skip_token(input: ParseStream<'_>) {
    // A token tree follows wherever the stream is not empty.
    let _: Result<TokenTree> = input.parse();
}
