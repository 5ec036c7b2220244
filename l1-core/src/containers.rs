//! Visits of std's containers, and of values that hold no parameters.
//!
//! Elements are visited under `0`, `1`, … or their key; `Option`, `Box`, references and the like add no path segment.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    marker::PhantomData,
    rc::Rc,
    sync::Arc,
};

use crate::{Regularized, Result, Visitor};

macro_rules! transparent {
    ($($(#[$attribute:meta])* $type:ty),* $(,)?) => {$(
        $(#[$attribute])*
        impl<T: ?Sized + Regularized> Regularized for $type {
            fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
                T::visit(self, visitor)
            }
        }
    )*};
}

transparent!(&T, &mut T, Box<T>, Rc<T>, Arc<T>);

impl<T: Regularized> Regularized for Option<T> {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        match self {
            Some(value) => value.visit(visitor),
            None => {
                visitor.absent();
                Ok(())
            }
        }
    }
}

impl<T: Regularized> Regularized for [T] {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visit_items(visitor, self.iter().enumerate())
    }
}

impl<T: Regularized, const N: usize> Regularized for [T; N] {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        self.as_slice().visit(visitor)
    }
}

impl<T: Regularized> Regularized for Vec<T> {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        self.as_slice().visit(visitor)
    }
}

impl<K: Ord + Display, V: Regularized> Regularized for BTreeMap<K, V> {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visit_items(visitor, self.iter())
    }
}

/// In the order of the keys, so that every run visits alike.
impl<K: Ord + Display, V: Regularized, S> Regularized for HashMap<K, V, S> {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        let mut items: Vec<_> = self.iter().collect();
        items.sort_unstable_by_key(|(key, _)| *key);
        visit_items(visitor, items)
    }
}

fn visit_items<'i, K: Display, V: Regularized + 'i>(
    visitor: &mut Visitor<'_>,
    items: impl IntoIterator<Item = (K, &'i V)>,
) -> Result<()> {
    let mut items = items.into_iter().peekable();
    if items.peek().is_none() {
        visitor.absent();
    }
    items.try_for_each(|(key, value)| visitor.item(&key.to_string(), value))
}

macro_rules! tuples {
    ($($($name:ident $index:tt)+;)*) => {$(
        impl<$($name: Regularized),+> Regularized for ($($name,)+) {
            fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
                $(visitor.item(stringify!($index), &self.$index)?;)+
                Ok(())
            }
        }
    )*};
}

tuples! {
    A 0;
    A 0 B 1;
    A 0 B 1 C 2;
    A 0 B 1 C 2 D 3;
    A 0 B 1 C 2 D 3 E 4;
    A 0 B 1 C 2 D 3 E 4 F 5;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11;
}

macro_rules! without_parameters {
    ($($type:ty),* $(,)?) => {$(
        impl Regularized for $type {
            fn visit(&self, _: &mut Visitor<'_>) -> Result<()> {
                Ok(())
            }
        }
    )*};
}
pub(crate) use without_parameters;

without_parameters! {
    (), bool, char, str, String,
    u8, u16, u32, u64, u128, usize,
    i8, i16, i32, i64, i128, isize,
    f32, f64, half::bf16, half::f16,
    std::num::NonZeroUsize, std::ops::Range<usize>, std::path::PathBuf, std::time::Duration,
}

impl<T: ?Sized> Regularized for PhantomData<T> {
    fn visit(&self, _: &mut Visitor<'_>) -> Result<()> {
        Ok(())
    }
}
