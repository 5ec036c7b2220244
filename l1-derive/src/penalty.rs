//! The penalty's keys of a field and of its type taken together: what they come to, and what of it makes no sense.
//!
//! A key of the field replaces the same key of the type. What is refused is refused where the nearest of the keys stands. A
//! key of the type that does nothing for one field is fine as long as it does something for another.

use std::collections::BTreeSet;

use proc_macro2::Ident;
use quote::ToTokens;

use crate::attr::Key;
use crate::errors::Errors;
use crate::model::{Call, Field, Rule, Shape};
use crate::value::Argument;

/// Keys that say how λ charges, and what they say. Without a λ they charge nothing, and would still replace a penalty
/// declared further out.
const OF_LAMBDA: &[(Key, &str)] = &[
    (Key::Curve, "it bends what λ charges"),
    (Key::Group, "it says which entries λ charges together"),
    (Key::Unscaled, "it weighs the groups that λ charges"),
    (
        Key::Element,
        "it charges single entries beside the groups that λ charges (without groups, that is `lambda` itself)",
    ),
];

/// Keys that do not go with `group = singular`, and how a field takes them back.
const NOT_SINGULAR: &[(Key, &str, &str)] = &[
    (Key::Element, "no optimizer can charge singular values and single entries at once", "element = 0"),
    (Key::Positive, "no optimizer can charge singular values and hold single entries ≥ 0 at once", "positive = false"),
];

/// Hands the type's keys about λ to the fields that have one, if the type itself has none: a field without a λ keeps what it
/// inherits from further out.
pub(crate) fn hand_down(defaults: &mut Rule, shape: &mut Shape) {
    if defaults.get(Key::Lambda).is_some() {
        return;
    }
    let keys: Vec<Key> = OF_LAMBDA.iter().map(|(key, _)| *key).collect();
    let calls = defaults.take(&keys);
    for rule in shape.rules_mut().filter(|rule| rule.get(Key::Lambda).is_some()) {
        for call in &calls {
            if rule.get(call.key).is_none() {
                rule.add(call.clone());
            }
        }
    }
}

/// Refuses what makes no sense, on the fields and then on the type.
pub(crate) fn check(ident: &Ident, defaults: &Rule, shape: &Shape, errors: &mut Errors) {
    let mut of_type = BTreeSet::new();
    let merged = |field| Some(Merged { ident, field, own: Field::rule(field)?, defaults });
    let fields: Vec<Merged<'_>> = shape.fields().filter_map(merged).collect();
    for field in &fields {
        field.check(&mut of_type, errors);
    }
    if !fields.is_empty() {
        check_type(ident, defaults, &fields, errors);
    }
}

/// The type's own keys have to do something for some field.
fn check_type(ident: &Ident, defaults: &Rule, fields: &[Merged<'_>], errors: &mut Errors) {
    let charged: Vec<_> = fields.iter().filter(|field| field.has_lambda()).collect();
    if charged.is_empty() {
        without_lambda(defaults, "here or on a field", ident, errors);
    } else if let Some(unscaled) = defaults.get(Key::Unscaled).filter(|call| acts(call)) {
        let useless: Vec<_> = charged.iter().filter_map(|field| field.groups().weight_of_one()).collect();
        if useless.len() == charged.len() {
            errors.at(unscaled.span, useless[0]);
        }
    }
}

fn without_lambda(rule: &Rule, add: &str, ident: &Ident, errors: &mut Errors) {
    for (key, does) in OF_LAMBDA {
        if let Some(call) = rule.get(*key) {
            let name = key.name();
            let message = format!(
                "`{name}` without `lambda`: {does}; add `lambda = ..` {add} (a λ from outside `{ident}` does not combine with \
                 it), or remove `{name}`"
            );
            errors.at(call.span, message);
        }
    }
}

/// Whether the call does more than to take something away. A mistaken value was meant to.
fn acts(call: &Call) -> bool {
    !call.argument.as_ref().is_some_and(Argument::is_nothing)
}

/// What λ charges together, as far as the macro has to know.
#[derive(Clone, Copy)]
enum Groups {
    Entries,
    Singular,
    Others,
}

impl Groups {
    /// Why `unscaled` says nothing about these.
    fn weight_of_one(self) -> Option<&'static str> {
        match self {
            Self::Entries => Some(
                "`unscaled` without groups: a single entry has weight 1 anyway; add `group = ..`, or remove `unscaled`",
            ),
            Self::Singular => {
                Some("`unscaled` beside `group = singular`: a singular value has weight 1 anyway; remove `unscaled`")
            }
            Self::Others => None,
        }
    }
}

/// A field that is visited, with its own keys and those of its type.
struct Merged<'a> {
    ident: &'a Ident,
    field: &'a Field,
    own: &'a Rule,
    defaults: &'a Rule,
}

/// One of the calls that hold for a field.
#[derive(Clone, Copy)]
struct Holding<'a> {
    call: &'a Call,
    is_own: bool,
}

impl<'a> Merged<'a> {
    fn get(&self, key: Key) -> Option<Holding<'a>> {
        let own = self.own.get(key).map(|call| Holding { call, is_own: true });
        own.or_else(|| self.defaults.get(key).map(|call| Holding { call, is_own: false }))
    }

    /// A call that does more than to take something away.
    fn acting(&self, key: Key) -> Option<Holding<'a>> {
        self.get(key).filter(|holding| acts(holding.call))
    }

    /// Whether something stands there that may have been meant for any key.
    fn is_unknown(&self) -> bool {
        self.own.unknown || self.defaults.unknown
    }

    /// Whether λ is declared, or was perhaps meant to be.
    fn has_lambda(&self) -> bool {
        self.get(Key::Lambda).is_some() || self.is_unknown()
    }

    fn groups(&self) -> Groups {
        match self.get(Key::Group).map(|holding| &holding.call.argument) {
            None if !self.is_unknown() => Groups::Entries,
            Some(Some(Argument::Word(word))) if word.name == "element" => Groups::Entries,
            Some(Some(Argument::Word(word))) if word.name == "singular" => Groups::Singular,
            None | Some(_) => Groups::Others,
        }
    }

    /// `of_type` holds the mistakes of the type that are reported by then.
    fn check(&self, of_type: &mut BTreeSet<Key>, errors: &mut Errors) {
        if !self.has_lambda() {
            without_lambda(self.own, &format!("here or on `{}`", self.ident), self.ident, errors);
        }
        // Nothing of the type's says how a λ charges that is not there, or that was taken away here.
        let is_taken_away = self.own.get(Key::Lambda).is_some_and(|lambda| !acts(lambda));
        if !self.has_lambda() || is_taken_away {
            let nothing = Rule::default();
            Merged { defaults: &nothing, ..*self }.check_singular(of_type, errors);
            return;
        }
        self.check_singular(of_type, errors);
        self.check_entries(of_type, errors);
    }

    fn check_singular(&self, of_type: &mut BTreeSet<Key>, errors: &mut Errors) {
        let (Groups::Singular, Some(group)) = (self.groups(), self.get(Key::Group)) else {
            return;
        };
        for (key, reason, taken_back) in NOT_SINGULAR {
            let Some(other) = self.acting(*key) else {
                continue;
            };
            let (name, ident) = (key.name(), self.ident);
            let (call, message) = match (group.is_own, other.is_own) {
                (true, false) => {
                    let message = format!(
                        "`group = singular` beside `{name}` of `{ident}`: {reason}; add `{taken_back}`, or choose other groups"
                    );
                    (group.call, message)
                }
                (false, true) => {
                    let message = format!(
                        "`{name}` beside `group = singular` of `{ident}`: {reason}; choose other groups for this field, or \
                         remove `{name}`"
                    );
                    (other.call, message)
                }
                (true, true) | (false, false) => {
                    (other.call, format!("`{name}` beside `group = singular`: {reason}; remove one of the two"))
                }
            };
            if group.is_own || other.is_own || of_type.insert(*key) {
                errors.at(call.span, message);
            }
        }
    }

    fn check_entries(&self, of_type: &mut BTreeSet<Key>, errors: &mut Errors) {
        if let Some(unscaled) = self.own.get(Key::Unscaled).filter(|call| acts(call))
            && let Some(message) = self.groups().weight_of_one()
        {
            errors.at(unscaled.span, message);
        }
        let (Groups::Entries, Some(element)) = (self.groups(), self.acting(Key::Element)) else {
            return;
        };
        let reason = "it charges single entries beside groups, and here λ charges single entries already";
        if element.is_own {
            let message = format!("`element` without groups: {reason}; add `group = ..`, or remove `element`");
            errors.at(element.call.span, message);
        } else if let Some(group) = self.own.get(Key::Group) {
            let message = format!(
                "`group = element` beside `element` of `{}`: λ and `element` would both charge single entries; add \
                 `element = 0`, or choose groups",
                self.ident
            );
            errors.at(group.span, message);
        } else if of_type.insert(Key::Element) {
            let field = self.field.member.to_token_stream();
            let message = format!(
                "`element` without groups on field `{field}`: {reason}; add `group = ..` here or there, or `element = 0` there"
            );
            errors.at(element.call.span, message);
        }
    }
}
