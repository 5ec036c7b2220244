//! The annotated type as data: what `#[l1(..)]` says about each field, after validation.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::{Data, DeriveInput, ExprPath, Fields, Generics, LitStr, Member, Type, WherePredicate};

use crate::attr::{Items, Key, Place, refuse_on_parameters, refuse_on_variant};
use crate::errors::Errors;
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
pub(crate) struct Rule(Vec<(Key, Argument)>);

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
        if let Some(shape) = &shape {
            valid::reach(&items, &input.ident, shape, errors);
        }
        let shape = shape.unwrap_or(Shape::Struct(Vec::new()));
        let mut library = quote!(::l1_core);
        let mut bound = None;
        let mut defaults = Rule::default();
        for item in items.into_iter() {
            match item.value {
                Some(Value::Argument(argument)) => defaults.add(item.key, argument),
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
        let mut rule = Rule::default();
        let mut with = None;
        let mut unvisited = None;
        for item in items.into_iter() {
            match (item.key, item.value) {
                (key, Some(Value::Argument(argument))) => rule.add(key, argument),
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

    pub(crate) fn is_visited(&self) -> bool {
        matches!(self.treatment, Treatment::Visit(_) | Treatment::VisitWith(..))
    }
}

impl Rule {
    fn add(&mut self, key: Key, argument: Argument) {
        let at = self.0.partition_point(|(earlier, _)| *earlier < key);
        self.0.insert(at, (key, argument));
    }

    pub(crate) fn calls(&self) -> &[(Key, Argument)] {
        &self.0
    }
}
