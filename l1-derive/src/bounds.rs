//! Which bounds the generated implementation needs: the types behind the visited fields have to be `Regularized`.
//!
//! The idea is serde_derive's. Bounds stand on type parameters and their projections, not on whole field types, because
//! those may be private or recursive.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote};
use syn::visit::{self, Visit};
use syn::{Expr, Macro, Path, QSelf, Type, TypePath};

use crate::model::{Model, Treatment};

/// Types that are `Regularized` whatever their parameter is.
const ASK_FOR_NOTHING: &[&str] = &["PhantomData", "Traced"];

/// The where-predicates beside those of the type itself.
pub(crate) fn predicates(model: &Model) -> Vec<TokenStream> {
    if let Some(bound) = &model.bound {
        return bound.iter().map(ToTokens::to_token_stream).collect();
    }
    let params: Vec<&Ident> = model.generics.type_params().map(|param| &param.ident).collect();
    let mut used = Used::among(&params);
    for field in model.shape.fields() {
        if matches!(field.treatment, Treatment::Visit(_)) {
            used.visit_type(&field.ty);
        }
    }
    let library = &model.library;
    let params = params.iter().filter(|param| used.params.contains(param)).map(|param| quote!(#param));
    let projections = used.projections.iter().map(|projection| written(projection));
    params.chain(projections).map(|ty| quote!(#ty: #library::Regularized)).collect()
}

/// A projection as a where-predicate may begin: `T::Layer` for `<T>::Layer`, whose `<T>` would be read as generics there.
fn written(projection: &TypePath) -> TokenStream {
    if let Some(QSelf { ty, position: 0, .. }) = &projection.qself
        && matches!(&**ty, Type::Path(ty) if ty.qself.is_none() && ty.path.get_ident().is_some())
    {
        let path = &projection.path;
        return quote!(#ty #path);
    }
    quote!(#projection)
}

/// The type parameters that occur in a type.
struct Used<'a> {
    all: &'a [&'a Ident],
    params: Vec<&'a Ident>,
    /// `T::Layer` and `<T as Trait>::Layer`. They say nothing of `T` itself.
    projections: Vec<&'a TypePath>,
}

impl<'a> Used<'a> {
    fn among(all: &'a [&'a Ident]) -> Self {
        Self { all, params: Vec::new(), projections: Vec::new() }
    }

    /// Whether the path starts with a type parameter, as in `T` and `T::Layer`.
    fn param(&self, path: &Path) -> Option<&'a Ident> {
        let first = path.segments.first().filter(|_| path.leading_colon.is_none())?;
        self.all.iter().copied().find(|param| **param == first.ident)
    }

    fn mentions(&self, ty: &'a Type) -> bool {
        let mut inner = Used::among(self.all);
        inner.visit_type(ty);
        !inner.params.is_empty() || !inner.projections.is_empty()
    }

    fn add_projection(&mut self, projection: &'a TypePath) {
        if !self.projections.contains(&projection) {
            self.projections.push(projection);
        }
    }
}

impl<'a> Visit<'a> for Used<'a> {
    fn visit_type_path(&mut self, ty: &'a TypePath) {
        if ty.path.segments.last().is_some_and(|last| ASK_FOR_NOTHING.iter().any(|name| last.ident == name)) {
            return;
        }
        if let Some(qself) = &ty.qself {
            if self.mentions(&qself.ty) {
                self.add_projection(ty);
            }
            return;
        }
        match self.param(&ty.path) {
            Some(param) if ty.path.segments.len() == 1 => self.params.push(param),
            Some(_) => self.add_projection(ty),
            None => visit::visit_type_path(self, ty),
        }
    }

    /// Array lengths hold no fields.
    fn visit_expr(&mut self, _: &'a Expr) {}

    /// What a macro makes of its name and tokens is unknown.
    fn visit_macro(&mut self, _: &'a Macro) {}
}
