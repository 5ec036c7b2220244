//! Numbers and their ranges: a literal is checked here, with its own place in the source; any other expression when the
//! model is visited.

use proc_macro2::{Literal, TokenStream};
use quote::ToTokens;
use syn::{Error, Expr, Lit, Result, UnOp};

/// What a number has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Range {
    /// An `f64`, finite and ≥ 0.
    FromZero,
    /// An `f64`, finite and greater than this.
    Above(f64),
    /// A `usize`, not less than this.
    IntegerFrom(u64),
}

/// A number as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Number {
    pub(crate) tokens: TokenStream,
    /// Its value, where that is known already.
    value: Option<f64>,
}

impl Number {
    pub(crate) fn is_zero(&self) -> bool {
        self.value == Some(0.0)
    }
}

impl Range {
    fn expected(self) -> String {
        match self {
            Self::FromZero => "a finite number ≥ 0".to_owned(),
            Self::Above(limit) => format!("a finite number > {limit}"),
            Self::IntegerFrom(first) => format!("an integer ≥ {first}"),
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::FromZero | Self::Above(_) => "f64",
            Self::IntegerFrom(_) => "usize",
        }
    }

    fn holds(self, value: f64) -> bool {
        match self {
            Self::FromZero => value >= 0.0,
            Self::Above(limit) => value > limit,
            Self::IntegerFrom(first) => value >= first as f64,
        }
    }

    /// Checks a literal; `named` puts it in words, as in `` `lambda = 0.1` ``.
    pub(crate) fn check(self, expr: &Expr, named: impl Fn(&str) -> String) -> Result<Number> {
        let Some((literal, negative)) = literal(expr) else {
            return Ok(Number { tokens: expr.to_token_stream(), value: None });
        };
        let refuse = |what: &str| {
            let sign = if negative { "-" } else { "" };
            let named = named(&format!("{sign}{}", literal.to_token_stream()));
            Err(Error::new_spanned(expr, format!("{named} {what}")))
        };
        let expected = self.expected();
        let (digits, suffix) = match literal {
            Lit::Int(int) => (int.base10_digits(), int.suffix()),
            Lit::Float(float) => (float.base10_digits(), float.suffix()),
            _ => return refuse(&format!("is not a number: expected {expected}, without quotes")),
        };
        let type_name = self.type_name();
        if matches!((self, literal), (Self::IntegerFrom(_), Lit::Float(_))) {
            return refuse(&format!("is not an integer: expected {expected}"));
        }
        if !suffix.is_empty() && suffix != type_name {
            return refuse(&format!(
                "has the suffix `{suffix}`: it is read as `{type_name}`; write the number without a suffix"
            ));
        }
        let Ok(value) = digits.parse::<f64>() else {
            return refuse(&format!("is not a number: expected {expected}"));
        };
        let is_too_large = match self {
            Self::FromZero | Self::Above(_) => !value.is_finite(),
            Self::IntegerFrom(_) => digits.parse::<u64>().is_err(),
        };
        if is_too_large {
            let what = if type_name == "f64" { "is not finite" } else { "is too large" };
            return refuse(&format!("{what}: expected {expected}"));
        }
        if negative && value > 0.0 {
            return refuse(&format!("is negative: expected {expected}"));
        }
        if !self.holds(value) {
            return refuse(&format!("is too small: expected {expected}"));
        }
        let tokens = match (self, literal) {
            (Self::FromZero | Self::Above(_), Lit::Int(_)) => {
                let mut float = Literal::f64_unsuffixed(value);
                float.set_span(literal.span());
                float.into_token_stream()
            }
            _ => literal.to_token_stream(),
        };
        Ok(Number { tokens, value: Some(value) })
    }
}

/// The literal in `1`, `-1`, `(1)`, and whether it is negated.
fn literal(mut expr: &Expr) -> Option<(&Lit, bool)> {
    let mut negative = false;
    loop {
        expr = match expr {
            Expr::Lit(literal) => return Some((&literal.lit, negative)),
            Expr::Paren(inner) => &inner.expr,
            Expr::Group(inner) => &inner.expr,
            Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => {
                negative = !negative;
                &unary.expr
            }
            _ => return None,
        };
    }
}
