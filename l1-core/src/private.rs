//! What generated code needs and nobody else: a skipped field is visited if its type allows it, else noted by name.
//!
//! Method resolution tries `&&Field` before `&Field`, so the first trait wins wherever `T: Regularized` is known
//! (autoref specialization).

use crate::{Regularized, Result, Visitor};

#[derive(Debug)]
pub struct Field<'a, T: ?Sized>(pub &'a T);

pub trait SkipVisited {
    fn skip(&self, name: &str, reason: Option<&'static str>, visitor: &mut Visitor<'_>) -> Result<()>;
}

impl<T: ?Sized + Regularized> SkipVisited for &Field<'_, T> {
    fn skip(&self, name: &str, reason: Option<&'static str>, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.skip(name, reason, self.0)
    }
}

pub trait SkipUnvisited {
    fn skip(&self, name: &str, reason: Option<&'static str>, visitor: &mut Visitor<'_>) -> Result<()>;
}

impl<T: ?Sized> SkipUnvisited for Field<'_, T> {
    fn skip(&self, name: &str, reason: Option<&'static str>, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.skip_unvisited(name, reason)
    }
}
