//! The annotated type as data: what `#[l1(..)]` says about each field, after validation.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::{Data, DeriveInput, ExprPath, Fields, Generics, LitStr, Member, Type, WherePredicate};

use crate::attr::{Items, Key, Place, refuse_on_parameters, refuse_on_variant};
use crate::errors::Errors;
use crate::penalty;
use crate::valid;
use crate::value::{Argument, Value};

/// The type, ready to be written down.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    /// The path of `l1_core`.
    pub(crate) library: TokenStream,
    /// What the type says for its fields.
    pub(crate) defaults: Rule,
    /// What stands in `bound = ".."`, in place of the inferred bounds.
    pub(crate) bound: Option<Vec<WherePredicate>>,
    pub(crate) shape: Shape,
}

#[derive(Debug)]
pub(crate) enum Shape {
    Struct(Vec<Field>),
    Enum(Vec<Variant>),
}

#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) ident: Ident,
    pub(crate) fields: Vec<Field>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) member: Member,
    pub(crate) ty: Type,
    /// `None` where the field adds nothing to the path.
    pub(crate) segment: Option<Segment>,
    pub(crate) treatment: Treatment,
}

/// A part of a path, and where the attribute gave it, if it did.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) rename: Option<Span>,
}

/// What `visit` does with a field.
#[derive(Debug)]
pub(crate) enum Treatment {
    Visit(Rule),
    VisitWith(Rule, ExprPath),
    Skip(Option<LitStr>),
    Opaque,
}

/// What is declared at one place: calls of methods of `Rule`, in the order of [`Key`].
#[derive(Debug, Default)]
pub(crate) struct Rule {
    calls: Vec<Call>,
    /// Whether something beside them could not be understood.
    pub(crate) unknown: bool,
}

/// A call of the method of `Rule` that has the name of the key.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) key: Key,
    pub(crate) span: Span,
    /// `None` when the value was mistaken.
    pub(crate) argument: Option<Argument>,
}

impl Model {
    /// Reads the whole type. What comes back is to be used only if no mistake was found.
    pub(crate) fn read(mut input: DeriveInput, errors: &mut Errors) -> Self {
        let items = Items::read(&input.attrs, Place::Type, errors);
        refuse_on_parameters(&mut input.generics, errors);
        let shape = match input.data {
            Data::Struct(data) => {
                let naming = valid::transparent_struct(&items, &input.ident, &data.fields, errors);
                Some(Shape::Struct(read_fields(data.fields, naming, errors)))
            }
            Data::Enum(data) => {
                valid::transparent_enum(&items, errors);
                Some(Shape::Enum(data.variants.into_iter().map(|variant| Variant::read(variant, errors)).collect()))
            }
            Data::Union(data) => {
                let message =
                    "a union cannot be `Regularized`: nobody knows which of its fields is active; use an enum";
                errors.at(data.union_token.span, message);
                None
            }
        };
        let mut defaults = Rule::of(&items);
        if let Some(shape) = &shape {
            valid::reach(&defaults, &input.ident, shape, errors);
            penalty::check(&input.ident, &defaults, shape, errors);
        }
        let mut shape = shape.unwrap_or(Shape::Struct(Vec::new()));
        penalty::hand_down(&mut defaults, &mut shape);
        let mut library = quote!(::l1_core);
        let mut bound = None;
        for item in items.into_iter() {
            match item.value {
                Some(Value::Path(path)) => library = quote!(#path),
                Some(Value::Predicates(predicates)) => bound = Some(predicates),
                _ => {}
            }
        }
        Self { ident: input.ident, generics: input.generics, library, defaults, bound, shape }
    }
}

impl Shape {
    /// All fields, of whichever variant.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        let (fields, variants) = match self {
            Self::Struct(fields) => (fields.as_slice(), [].as_slice()),
            Self::Enum(variants) => ([].as_slice(), variants.as_slice()),
        };
        fields.iter().chain(variants.iter().flat_map(|variant: &Variant| &variant.fields))
    }

    /// The rules of all fields that are visited.
    pub(crate) fn rules_mut(&mut self) -> impl Iterator<Item = &mut Rule> {
        let (fields, variants) = match self {
            Self::Struct(fields) => (fields.as_mut_slice(), [].as_mut_slice()),
            Self::Enum(variants) => ([].as_mut_slice(), variants.as_mut_slice()),
        };
        let fields = fields.iter_mut().chain(variants.iter_mut().flat_map(|variant: &mut Variant| &mut variant.fields));
        fields.filter_map(|field| match &mut field.treatment {
            Treatment::Visit(rule) | Treatment::VisitWith(rule, _) => Some(rule),
            Treatment::Skip(_) | Treatment::Opaque => None,
        })
    }
}

impl Variant {
    fn read(variant: syn::Variant, errors: &mut Errors) -> Self {
        refuse_on_variant(&variant.attrs, errors);
        let naming = match &variant.fields {
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => Naming::Alone,
            _ => Naming::Own,
        };
        Self { ident: variant.ident, fields: read_fields(variant.fields, naming, errors) }
    }
}

/// What a field adds to the path where its own `#[l1(..)]` says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Its name or number.
    Own,
    /// Nothing: it is the single unnamed field of a variant.
    Alone,
    /// Nothing: the struct is `transparent`.
    Transparent,
}

fn read_fields(fields: Fields, naming: Naming, errors: &mut Errors) -> Vec<Field> {
    let members: Vec<Member> = fields.members().collect();
    let fields: Vec<Field> =
        members.into_iter().zip(fields).map(|(member, field)| Field::read(member, field, naming, errors)).collect();
    valid::segments(&fields, errors);
    fields
}

impl Field {
    fn read(member: Member, field: syn::Field, naming: Naming, errors: &mut Errors) -> Self {
        let items = Items::read(&field.attrs, Place::Field, errors);
        valid::field(&items, naming, errors);
        let own = match &member {
            Member::Named(ident) => ident.unraw().to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        };
        let mut segment = match naming {
            Naming::Own => Some(Segment { name: own, rename: None }),
            Naming::Alone | Naming::Transparent => None,
        };
        let rule = Rule::of(&items);
        let mut with = None;
        let mut unvisited = None;
        for item in items.into_iter() {
            match (item.key, item.value) {
                (_, Some(Value::Function(path))) => with = Some(path),
                (_, Some(Value::Reason(reason))) => unvisited = Some(Treatment::Skip(reason)),
                (_, Some(Value::Name(name))) => {
                    segment = Some(Segment { name: name.value(), rename: Some(name.span()) });
                }
                (Key::Opaque, _) => unvisited = Some(Treatment::Opaque),
                (Key::Flatten, _) => segment = None,
                _ => {}
            }
        }
        let treatment = match (unvisited, with) {
            (Some(unvisited), _) => unvisited,
            (None, Some(path)) => Treatment::VisitWith(rule, path),
            (None, None) => Treatment::Visit(rule),
        };
        Self { member, ty: field.ty, segment, treatment }
    }

    /// Its rule, if it is visited.
    pub(crate) fn rule(&self) -> Option<&Rule> {
        match &self.treatment {
            Treatment::Visit(rule) | Treatment::VisitWith(rule, _) => Some(rule),
            Treatment::Skip(_) | Treatment::Opaque => None,
        }
    }
}

impl Rule {
    fn of(items: &Items) -> Self {
        let mut rule = Self { calls: Vec::new(), unknown: items.unknown };
        for item in items.iter().filter(|item| item.key.is_of_rule()) {
            let argument = match &item.value {
                Some(Value::Argument(argument)) => Some(argument.clone()),
                _ => None,
            };
            rule.add(Call { key: item.key, span: item.span, argument });
        }
        rule
    }

    pub(crate) fn add(&mut self, call: Call) {
        let at = self.calls.partition_point(|earlier| earlier.key < call.key);
        self.calls.insert(at, call);
    }

    pub(crate) fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Call> {
        self.calls.iter().find(|call| call.key == key)
    }

    /// Takes the calls of these keys out of it.
    pub(crate) fn take(&mut self, keys: &[Key]) -> Vec<Call> {
        self.calls.extract_if(.., |call| keys.contains(&call.key)).collect()
    }
}
