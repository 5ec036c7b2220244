//! The model as code. What is written here reads as if a person had written it.
//!
//! Locals have the hygiene of `Span::mixed_site`, so that no name in a user's expression can mean them. `self` has that of
//! `Span::call_site`, so that `self` in a user's expression is the model.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{DeriveInput, Member, Type};

use crate::attr::Key;
use crate::bounds;
use crate::errors::Errors;
use crate::model::{Call, Field, Model, Rule, Shape, Treatment, Variant};
use crate::value::Argument;

/// The whole macro.
pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.to_compile_error(),
    };
    let mut errors = Errors::default();
    let model = Model::read(input, &mut errors);
    if errors.is_empty() {
        let unused = model.shape.fields().next().is_none();
        let visitor = if unused { quote!(_) } else { visitor().into_token_stream() };
        let body = Body::new(&model).of(&model.shape);
        return implement(&model, &visitor, bounds::predicates(&model), &body);
    }
    // An empty implementation beside the mistakes, so that "not `Regularized`" is not reported on top of them.
    let mut tokens = errors.to_compile_errors();
    tokens.extend(implement(&model, &quote!(_), Vec::new(), &quote!(::core::result::Result::Ok(()))));
    tokens
}

fn implement(model: &Model, visitor: &TokenStream, inferred: Vec<TokenStream>, body: &TokenStream) -> TokenStream {
    let Model { ident, generics, library, .. } = model;
    let (parameters, arguments, own) = generics.split_for_impl();
    let own = own.into_iter().flat_map(|clause| &clause.predicates).map(ToTokens::to_token_stream);
    let predicates: Vec<_> = own.chain(inferred).collect();
    let clause = (!predicates.is_empty()).then(|| quote!(where #(#predicates),*));
    quote! {
        #[automatically_derived]
        impl #parameters #library::Regularized for #ident #arguments #clause {
            fn visit(&self, #visitor: &mut #library::Visitor<'_>) -> #library::Result<()> {
                #body
            }
        }
    }
}

fn visitor() -> Ident {
    Ident::new("visitor", Span::mixed_site())
}

/// What the body of `visit` is written with.
struct Body<'a> {
    library: &'a TokenStream,
    visitor: Ident,
    /// The local that holds the type's own rule, if it has one.
    defaults: Option<(Ident, &'a Rule)>,
}

impl<'a> Body<'a> {
    fn new(model: &'a Model) -> Self {
        let defaults =
            (!model.defaults.calls().is_empty()).then(|| (Ident::new("defaults", Span::mixed_site()), &model.defaults));
        Self { library: &model.library, visitor: visitor(), defaults }
    }

    fn of(&self, shape: &Shape) -> TokenStream {
        let fields = match shape {
            Shape::Struct(fields) => fields.iter().map(|field| self.statement(field, &through_self(field))).collect(),
            Shape::Enum(variants) if variants.is_empty() => return quote!(match *self {}),
            Shape::Enum(variants) => {
                let some = variants.iter().any(|variant| !variant.fields.is_empty());
                let arms = variants.iter().map(|variant| {
                    // Like `None`: there is nothing now, but there may be.
                    if some && variant.fields.is_empty() { self.absent(variant) } else { self.arm(variant) }
                });
                quote!(match self { #(#arms)* })
            }
        };
        let defaults = self.defaults.as_ref().map(|(local, rule)| {
            let rule = self.calls(None, rule);
            quote!(let #local = #rule.as_default();)
        });
        quote! {
            #defaults
            #fields
            ::core::result::Result::Ok(())
        }
    }

    fn absent(&self, Variant { ident, fields }: &Variant) -> TokenStream {
        let (visitor, pattern) = (&self.visitor, pattern(fields));
        quote!(Self::#ident #pattern => #visitor.absent(),)
    }

    fn arm(&self, variant: &Variant) -> TokenStream {
        let ident = &variant.ident;
        let pattern = pattern(&variant.fields);
        let statements = variant.fields.iter().map(|field| {
            // On the type, as in a struct.
            let binding = binding(field, ends(&field.ty).0);
            self.statement(field, &binding.into_token_stream())
        });
        quote!(Self::#ident #pattern => { #(#statements)* })
    }

    /// The call that hands the field over; `value` is a reference to it.
    fn statement(&self, field: &Field, value: &TokenStream) -> TokenStream {
        let Self { library, visitor, .. } = self;
        let name = field.segment.as_ref().map(|segment| Literal::string(&segment.name));
        // Where a name is asked for, the empty one adds nothing to the path.
        let always = name.clone().unwrap_or_else(|| Literal::string(""));
        match &field.treatment {
            Treatment::Visit(rule) => {
                let rule = self.rule(rule);
                match name {
                    Some(name) => quote!(#visitor.field(#name, #rule, #value)?;),
                    None => quote!(#visitor.flatten(#rule, #value)?;),
                }
            }
            Treatment::VisitWith(rule, path) => {
                let rule = self.rule(rule);
                match name {
                    Some(name) => quote!(#visitor.field_with(#name, #rule, #value, #path)?;),
                    None => quote!(#visitor.flatten_with(#rule, #value, #path)?;),
                }
            }
            Treatment::Skip(reason) => {
                let reason = match reason {
                    Some(reason) => quote!(::core::option::Option::Some(#reason)),
                    None => quote!(::core::option::Option::None),
                };
                quote! {
                    {
                        use #library::private::{SkipUnvisited as _, SkipVisited as _};
                        (&&#library::private::Field(#value)).skip(#always, #reason, #visitor)?;
                    }
                }
            }
            Treatment::Opaque => quote!(#visitor.opaque(#always)?;),
        }
    }

    /// The rule of a field, on top of the type's.
    fn rule(&self, rule: &Rule) -> TokenStream {
        self.calls(self.defaults.as_ref().map(|(local, _)| local), rule)
    }

    fn calls(&self, start: Option<&Ident>, rule: &Rule) -> TokenStream {
        let library = self.library;
        let (start, calls) = match (start, rule.calls()) {
            (Some(start), calls) => (quote!(#start), calls),
            (None, [Call { key: Key::Lambda, argument, .. }, calls @ ..]) => {
                let lambda = self.argument(argument.as_ref());
                (quote!(#library::Rule::l1(#lambda)), calls)
            }
            (None, calls) => (quote!(#library::Rule::inherit()), calls),
        };
        let calls = calls.iter().map(|Call { key, argument, .. }| {
            let method = format_ident!("{}", key.name());
            let argument = self.argument(argument.as_ref());
            quote!(.#method(#argument))
        });
        quote!(#start #(#calls)*)
    }

    /// Nothing stands for a mistaken value, but nothing is written then.
    fn argument(&self, argument: Option<&Argument>) -> TokenStream {
        match argument {
            Some(Argument::Number(number)) => number.tokens.clone(),
            Some(Argument::Flag(flag)) => quote!(#flag),
            Some(Argument::Word(word)) => word.write(self.library),
            None => TokenStream::new(),
        }
    }
}

/// `&self.field`, in the place of the field's type: that is where "not `Regularized`" has to point.
fn through_self(field: &Field) -> TokenStream {
    let (start, end) = ends(&field.ty);
    let member = match field.member.clone() {
        Member::Named(mut ident) => {
            ident.set_span(end.resolved_at(Span::call_site()));
            Member::Named(ident)
        }
        Member::Unnamed(mut index) => {
            index.span = end.resolved_at(Span::call_site());
            Member::Unnamed(index)
        }
    };
    quote_spanned!(start.resolved_at(Span::call_site())=> &self.#member)
}

/// What follows the name of a variant in the pattern that binds its fields.
fn pattern(fields: &[Field]) -> TokenStream {
    let bindings = fields.iter().map(|field| {
        let binding = binding(field, Span::mixed_site());
        match (&field.member, &field.treatment) {
            (Member::Named(ident), Treatment::Opaque) => quote!(#ident: _),
            (Member::Named(ident), _) => quote!(#ident: #binding),
            (Member::Unnamed(_), Treatment::Opaque) => quote!(_),
            (Member::Unnamed(_), _) => quote!(#binding),
        }
    });
    match fields.first().map(|field| &field.member) {
        // Right for `V`, `V()` and `V {}`.
        None => quote!({ .. }),
        Some(Member::Named(_)) => quote!({ #(#bindings),* }),
        Some(Member::Unnamed(_)) => quote!((#(#bindings),*)),
    }
}

fn binding(field: &Field, place: Span) -> Ident {
    let span = place.resolved_at(Span::mixed_site());
    match &field.member {
        Member::Named(ident) => format_ident!("__{}", ident, span = span),
        Member::Unnamed(index) => format_ident!("__{}", index.index, span = span),
    }
}

/// The first and the last token of a type. `Span::join` does not exist on stable; rustc joins what stands at both ends.
fn ends(ty: &Type) -> (Span, Span) {
    let mut tokens = ty.to_token_stream().into_iter();
    let start = tokens.next().map_or_else(Span::call_site, |token| token.span());
    let end = tokens.last().map_or(start, |token| token.span());
    (start, end)
}
