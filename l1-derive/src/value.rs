//! The grammar of the values: what may follow a key, and what is checked about it already here.

use proc_macro2::{Delimiter, Ident, Span, TokenTree};
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{Error, ExprPath, LitBool, LitStr, Path, Result, Token, WherePredicate};

use crate::attr::Key;
use crate::number::{Number, Range};
use crate::word::{Said, Vocabulary};

/// What may follow a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Grammar {
    /// `= EXPR`, a number ≥ 0 or an expression of type `f64`.
    Number,
    /// Nothing, `= true` or `= false`.
    Flag,
    /// `= weight`, `= mcp(3.0)` and the like.
    Word(&'static Vocabulary),
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
#[derive(Clone, Debug)]
pub(crate) enum Argument {
    Number(Number),
    Flag(bool),
    Word(Said),
}

impl Argument {
    /// Whether it takes something away: `= 0` and `= false`.
    pub(crate) fn is_nothing(&self) -> bool {
        match self {
            Self::Number(number) => number.is_zero(),
            Self::Flag(flag) => !flag,
            Self::Word(_) => false,
        }
    }
}

impl Grammar {
    /// Whether the value is the argument of a method of `Rule`.
    pub(crate) fn is_argument(self) -> bool {
        matches!(self, Self::Number | Self::Flag | Self::Word(_))
    }

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
        if matches!(self, Self::Nothing) {
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
                let number = Range::FromZero.check(&expr, |literal| format!("`{} = {literal}`", key.name()))?;
                Ok(Value::Argument(Argument::Number(number)))
            }
            Self::Flag | Self::Nothing => {
                let flag: LitBool = input.parse().map_err(unexpected)?;
                Ok(Value::Argument(Argument::Flag(flag.value)))
            }
            Self::Word(vocabulary) => {
                let word = input.parse().map_err(unexpected)?;
                vocabulary.read(&word, input).map(Argument::Word).map(Value::Argument)
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

    fn expected(self) -> String {
        let expected = match self {
            Self::Word(vocabulary) => return format!("a {} without quotes", vocabulary.noun),
            Self::Number => "a number or an expression of type `f64`",
            Self::Flag => "`true` or `false`",
            Self::Nothing => "no value",
            Self::Reason => "a string",
            Self::Function => "the path of a function, without quotes",
            Self::Name => "a string",
            Self::Path => "a path, without quotes",
            Self::Predicates => "a string of where-predicates",
        };
        expected.to_owned()
    }

    fn example(self) -> &'static str {
        match self {
            Self::Number => "0.001",
            Self::Flag => "true",
            Self::Word(vocabulary) => vocabulary.example,
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
pub(crate) fn closest<'a, T>(written: &str, candidates: &'a [T], name: impl Fn(&T) -> &'static str) -> Option<&'a T> {
    let similarity = |name: &str| {
        // One slip in a short word (`mpc`) counts for little in the other measure.
        let is_one_slip = written.len().min(name.len()) > 2 && strsim::osa_distance(written, name) == 1;
        strsim::jaro_winkler(written, name).max(if is_one_slip { 0.81 } else { 0.0 })
    };
    candidates
        .iter()
        .map(|candidate| (similarity(name(candidate)), candidate))
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
