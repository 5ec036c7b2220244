//! The grammar of the values: what may follow a key, and what is checked about it already here.

use proc_macro2::{Delimiter, Ident, Literal, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident};
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprPath, Lit, LitBool, LitStr, Path, Result, Token, UnOp, WherePredicate};

use crate::attr::Key;

/// What may follow a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grammar {
    /// `= EXPR`, a number ≥ 0 or an expression of type `f64`.
    Number,
    /// Nothing, `= true` or `= false`.
    Flag,
    /// `= weight` and the like.
    Role,
    Nothing,
    /// Nothing or `= "reason"`.
    Reason,
    /// `= path::to::function`.
    Function,
    /// `= "path.segment"`.
    Name,
    /// `= path`.
    Path,
    /// `= "T: Trait, .."`.
    Predicates,
}

/// What followed a key.
#[derive(Debug)]
pub(crate) enum Value {
    /// The argument of a method of `Rule`.
    Argument(Argument),
    Nothing,
    Reason(Option<LitStr>),
    Function(ExprPath),
    Name(LitStr),
    Path(Path),
    Predicates(Vec<WherePredicate>),
}

/// The argument of a method of `Rule`.
#[derive(Debug)]
pub(crate) enum Argument {
    Number(TokenStream),
    Flag(bool),
    /// A variant of `RoleName`.
    Role(Ident),
}

impl Grammar {
    /// Reads what follows `key`, from the `=` on.
    pub(crate) fn read(self, key: Key, written: &Ident, input: ParseStream<'_>) -> Result<Value> {
        let Some(equals) = input.parse::<Option<Token![=]>>()? else {
            return match self {
                Self::Nothing => Ok(Value::Nothing),
                Self::Flag => Ok(Value::Argument(Argument::Flag(true))),
                Self::Reason => Ok(Value::Reason(None)),
                _ => Err(self.missing(key, written)),
            };
        };
        if self == Self::Nothing {
            let message = format!("`{0}` takes no value: write just `{0}`", key.name());
            return Err(Error::new(equals.span, message));
        }
        if input.is_empty() || input.peek(Token![,]) {
            return Err(self.missing(key, written));
        }
        self.read_value(key, input)
    }

    fn read_value(self, key: Key, input: ParseStream<'_>) -> Result<Value> {
        let here = input.span();
        let start = input.cursor();
        let expects = format!("`{}` expects {}", key.name(), self.expected());
        let found = found(input);
        let unexpected = |_| Error::new(here, format!("{expects}, found {found}"));
        // A value of several tokens may begin well: syn knows better where it went wrong.
        let unreadable = |error: Error| {
            if input.cursor() == start {
                unexpected(error)
            } else {
                Error::new(error.span(), format!("{expects}: {error}"))
            }
        };
        match self {
            Self::Number => {
                let expr = input.parse().map_err(unreadable)?;
                number(key, &expr).map(Argument::Number).map(Value::Argument)
            }
            Self::Flag | Self::Nothing => {
                let flag: LitBool = input.parse().map_err(unexpected)?;
                Ok(Value::Argument(Argument::Flag(flag.value)))
            }
            Self::Role => {
                let word = input.parse().map_err(unexpected)?;
                role(&word).map(Argument::Role).map(Value::Argument)
            }
            Self::Reason => {
                let reason: LitStr = input.parse().map_err(unexpected)?;
                if reason.value().trim().is_empty() {
                    let message = "an empty reason: say why the field is skipped, or write just `skip`";
                    return Err(Error::new(reason.span(), message));
                }
                Ok(Value::Reason(Some(reason)))
            }
            Self::Function => input.parse().map(Value::Function).map_err(unreadable),
            Self::Name => name(input.parse().map_err(unexpected)?),
            Self::Path => input.call(Path::parse_mod_style).map(Value::Path).map_err(unreadable),
            Self::Predicates => predicates(&input.parse().map_err(unexpected)?),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Number => "a number or an expression of type `f64`",
            Self::Flag => "`true` or `false`",
            Self::Role => "a role without quotes",
            Self::Nothing => "no value",
            Self::Reason => "a string",
            Self::Function => "the path of a function, without quotes",
            Self::Name => "a string",
            Self::Path => "a path, without quotes",
            Self::Predicates => "a string of where-predicates",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Number => "0.001",
            Self::Flag => "true",
            Self::Role => "embedding",
            Self::Nothing => "",
            Self::Reason => r#""a frozen head""#,
            Self::Function => "path::to::function",
            Self::Name => r#""fc1""#,
            Self::Path => "path::to::l1_core",
            Self::Predicates => r#""T: Trait""#,
        }
    }

    fn missing(self, key: Key, written: &Ident) -> Error {
        let key = key.name();
        let message = format!("`{key}` needs {}: write for example `{key} = {}`", self.expected(), self.example());
        Error::new(written.span(), message)
    }
}

/// A literal is checked here, with its own place in the source; anything else when the model is visited.
fn number(key: Key, expr: &Expr) -> Result<TokenStream> {
    let Some((literal, negative)) = literal(expr) else {
        return Ok(expr.to_token_stream());
    };
    let refuse = |what: &str| {
        let sign = if negative { "-" } else { "" };
        let message = format!("`{} = {sign}{}` {what}", key.name(), literal.to_token_stream());
        Err(Error::new_spanned(expr, message))
    };
    let (digits, suffix) = match literal {
        Lit::Int(int) => (int.base10_digits(), int.suffix()),
        Lit::Float(float) => (float.base10_digits(), float.suffix()),
        _ => return refuse("is not a number: expected a finite number ≥ 0, without quotes"),
    };
    if !matches!(suffix, "" | "f64") {
        return refuse(&format!("has the suffix `{suffix}`: strengths are `f64`; write the number without a suffix"));
    }
    match digits.parse::<f64>() {
        Ok(value) if !value.is_finite() => refuse("is not finite: expected a finite number ≥ 0"),
        Ok(value) if negative && value > 0.0 => refuse("is negative: expected a finite number ≥ 0"),
        Ok(value) if matches!(literal, Lit::Int(_)) => {
            let mut float = Literal::f64_unsuffixed(value);
            float.set_span(literal.span());
            Ok(float.into_token_stream())
        }
        Ok(_) => Ok(literal.to_token_stream()),
        Err(_) => refuse("is not a number: expected a finite number ≥ 0"),
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

/// Roles as they are written, and the variants of `RoleName` that they name.
const ROLES: &[(&str, &str)] =
    &[("weight", "Weight"), ("bias", "Bias"), ("norm", "Norm"), ("embedding", "Embedding"), ("buffer", "Buffer")];

fn role(word: &Ident) -> Result<Ident> {
    let written = word.to_string();
    if let Some((_, variant)) = ROLES.iter().find(|(name, _)| *name == written) {
        return Ok(format_ident!("{variant}", span = word.span()));
    }
    let message = match closest(&written, ROLES, |(name, _)| name) {
        Some((name, _)) => format!("unknown role `{written}`: did you mean `{name}`?"),
        None => {
            let names: Vec<_> = ROLES.iter().map(|(name, _)| format!("`{name}`")).collect();
            format!("unknown role `{written}`: expected one of {}", names.join(", "))
        }
    };
    Err(Error::new(word.span(), message))
}

fn name(literal: LitStr) -> Result<Value> {
    let name = literal.value();
    let mistake = if name.is_empty() {
        "an empty name: write a path segment, or `flatten` for none"
    } else if name.split('.').any(str::is_empty) {
        "an empty path segment: a name is segments with single dots between them, such as `encoder.fc1`"
    } else if name.contains(char::is_whitespace) {
        "whitespace in a path segment: remove it"
    } else {
        return Ok(Value::Name(literal));
    };
    Err(Error::new(literal.span(), mistake))
}

fn predicates(literal: &LitStr) -> Result<Value> {
    // As if the macro had written them, or rustc would offer to add a bound behind the closing quote.
    let span = literal.span().resolved_at(Span::call_site());
    LitStr::new(&literal.value(), span)
        .parse_with(Punctuated::<WherePredicate, Token![,]>::parse_terminated)
        .map(|predicates| Value::Predicates(predicates.into_iter().collect()))
        .map_err(|error| {
            let message = format!("`bound` expects where-predicates such as `T: Trait, U: Trait`: {error}");
            Error::new(literal.span(), message)
        })
}

/// The candidate that `written` most likely stands for.
pub(crate) fn closest<T: Copy>(written: &str, candidates: &[T], name: impl Fn(&T) -> &'static str) -> Option<T> {
    candidates
        .iter()
        .map(|candidate| (strsim::jaro_winkler(written, name(candidate)), *candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The next token, for a message.
pub(crate) fn found(input: ParseStream<'_>) -> String {
    match input.cursor().token_tree() {
        None => "the end of `#[l1(..)]`".to_owned(),
        Some((TokenTree::Group(group), _)) => match group.delimiter() {
            Delimiter::Parenthesis => "`(`".to_owned(),
            Delimiter::Brace => "`{`".to_owned(),
            Delimiter::Bracket => "`[`".to_owned(),
            Delimiter::None => format!("`{group}`"),
        },
        Some((token, _)) => format!("`{token}`"),
    }
}
