//! What is refused although each key by itself is fine: keys that contradict each other or the type they stand on.

use std::collections::HashMap;

use proc_macro2::Ident;
use syn::{Fields, Member};

use crate::attr::{Item, Items, Key};
use crate::errors::Errors;
use crate::model::{Field, Naming, Rule, Segment, Shape};

/// Pairs that cannot stand on one field, and why.
const CONTRADICTIONS: &[(Key, Key, &str)] = &[
    (Key::With, Key::Role, "the function gives each tensor its role"),
    (Key::Flatten, Key::Rename, "a flattened field adds no path segment that could be renamed"),
];

/// Keys that leave a field unvisited, so that no other key but `rename` means anything beside them.
const UNVISITED: &[(Key, &str)] =
    &[(Key::Skip, "a skipped field takes no key but `rename`"), (Key::Opaque, "an opaque field is not visited")];

const DECAY_BESIDE_SKIP: &str = "a skipped field takes no key but `rename` (`lambda = 0.0, decay = 0.0` without `skip` keeps \
                                 it out of the penalty and of the optimizer's `weight_decay`)";

/// The keys of one field among themselves.
pub(crate) fn field(items: &Items, naming: Naming, errors: &mut Errors) {
    if naming == Naming::Transparent {
        for key in [Key::Rename, Key::Flatten] {
            if let Some(item) = items.get(key) {
                beside(item, Key::Transparent, "the field of a transparent struct adds no path segment", errors);
            }
        }
    }
    for (key, reason) in UNVISITED {
        if items.get(*key).is_none() {
            continue;
        }
        for other in items.iter().filter(|other| other.key != *key && other.key != Key::Rename) {
            match (key, other.key) {
                // Most likely the optimizer's own `weight_decay` is to be kept away too, which `skip` does not do.
                (Key::Skip, Key::Decay) => beside(other, *key, DECAY_BESIDE_SKIP, errors),
                _ => beside(other, *key, reason, errors),
            }
        }
        return;
    }
    for (one, other, reason) in CONTRADICTIONS {
        if let (Some(one), Some(other)) = (items.get(*one), items.get(*other)) {
            beside(other, one.key, reason, errors);
        }
    }
}

fn beside(item: &Item, other: Key, reason: &str, errors: &mut Errors) {
    let message = format!("`{}` beside `{}`: {reason}; remove one of the two", item.key.name(), other.name());
    errors.at(item.span, message);
}

/// `transparent` needs a struct of one field; says how fields are named, then.
pub(crate) fn transparent_struct(items: &Items, ident: &Ident, fields: &Fields, errors: &mut Errors) -> Naming {
    let Some(transparent) = items.get(Key::Transparent) else {
        return Naming::Own;
    };
    if fields.len() == 1 {
        return Naming::Transparent;
    }
    let instead = match fields.len() {
        0 => "none: remove `transparent`".to_owned(),
        several => format!("{several}: write `flatten` on a field instead"),
    };
    let message = format!("`transparent` needs a struct with exactly one field, and `{ident}` has {instead}");
    errors.at(transparent.span, message);
    Naming::Own
}

pub(crate) fn transparent_enum(items: &Items, errors: &mut Errors) {
    if let Some(transparent) = items.get(Key::Transparent) {
        let message = "`transparent` belongs on a struct with one field: in an enum, variants add no path segment \
                       anyway; write `flatten` on a field that should add none";
        errors.at(transparent.span, message);
    }
}

/// Fields side by side need different names.
pub(crate) fn segments(fields: &[Field], errors: &mut Errors) {
    let mut taken: HashMap<&str, &Segment> = HashMap::new();
    for field in fields {
        let Some(segment) = &field.segment else {
            continue;
        };
        let Some(earlier) = taken.insert(&segment.name, segment) else {
            continue;
        };
        let span = segment.rename.or(earlier.rename).unwrap_or_else(|| match &field.member {
            Member::Named(ident) => ident.span(),
            Member::Unnamed(index) => index.span,
        });
        errors.at(span, format!("two fields have the path segment `{}`: rename one of them", segment.name));
    }
}

/// A rule on the type has to reach a field.
pub(crate) fn reach(defaults: &Rule, ident: &Ident, shape: &Shape, errors: &mut Errors) {
    if shape.fields().any(|field| field.rule().is_some()) {
        return;
    }
    let why = if shape.fields().next().is_none() {
        format!("`{ident}` has no fields")
    } else {
        format!("all fields of `{ident}` are skipped or opaque")
    };
    for call in defaults.calls().iter().filter(|call| call.argument.is_some()) {
        errors.at(call.span, format!("`{}` reaches no field: {why}; remove it", call.key.name()));
    }
}
