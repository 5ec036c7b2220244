//! Values that are words, some with parameters in parentheses: roles, curves, groups.
//!
//! To add a word, add a row to its table: its name, the variant it means, and for each parameter its symbol, its range and
//! a usual value. What users of other libraries call it may get a row among the synonyms.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, Result, Token, parenthesized, token};

use crate::number::Range;
use crate::value::closest;

/// The words that one key takes.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    /// What one of them is.
    pub(crate) noun: &'static str,
    /// One of them, for messages.
    pub(crate) example: &'static str,
    /// The enum of l1-core whose variants they name.
    type_name: &'static str,
    words: &'static [Word],
    /// What others call them, and what to answer.
    synonyms: &'static [(&'static [&'static str], &'static str)],
    /// What else to say to somebody who gives a wrong number of parameters.
    hint: &'static str,
}

#[derive(Debug)]
struct Word {
    name: &'static str,
    variant: &'static str,
    parameters: &'static [Parameter],
}

#[derive(Debug)]
struct Parameter {
    symbol: &'static str,
    range: Range,
    usual: &'static str,
}

const fn word(name: &'static str, variant: &'static str, parameters: &'static [Parameter]) -> Word {
    Word { name, variant, parameters }
}

const fn parameter(symbol: &'static str, range: Range, usual: &'static str) -> Parameter {
    Parameter { symbol, range, usual }
}

pub(crate) static ROLES: Vocabulary = Vocabulary {
    noun: "role",
    example: "embedding",
    type_name: "RoleName",
    words: &[
        word("weight", "Weight", &[]),
        word("bias", "Bias", &[]),
        word("norm", "Norm", &[]),
        word("embedding", "Embedding", &[]),
        word("buffer", "Buffer", &[]),
    ],
    synonyms: &[],
    hint: "",
};

pub(crate) static CURVES: Vocabulary = Vocabulary {
    noun: "curve",
    example: "mcp(3.0)",
    type_name: "Curve",
    words: &[
        word("l1", "L1", &[]),
        word("mcp", "Mcp", &[parameter("γ", Range::Above(1.0), "3.0")]),
        word("scad", "Scad", &[parameter("γ", Range::Above(2.0), "3.7")]),
        word("log", "Log", &[parameter("ε", Range::Above(0.0), "0.1")]),
        word("half", "Half", &[]),
        word("two_thirds", "TwoThirds", &[]),
        word("l0", "L0", &[]),
    ],
    synonyms: &[
        (&["lasso", "abs", "soft", "soft_threshold"], "`l1`"),
        (&["hard", "hard_threshold", "count"], "`l0`"),
        (&["mcplus", "minimax", "firm"], "`mcp(3.0)`"),
        (&["log_sum", "logsum", "lsp", "log1p", "reweighted"], "`log(0.1)`"),
        (&["l1_2", "l05", "sqrt"], "`half`"),
        (&["l23", "l2_3"], "`two_thirds`"),
        (&["l2", "ridge", "elastic_net"], "`l2 = ..`, a key of its own"),
        (&["l21", "l12", "group", "group_lasso"], "`group = output`, a key of its own"),
        (&["nuclear", "rank", "low_rank"], "`group = singular`, a key of its own"),
    ],
    hint: "; λ is a key of its own, `lambda = ..`",
};

pub(crate) static GROUPS: Vocabulary = Vocabulary {
    noun: "group",
    example: "output",
    type_name: "Grouping",
    words: &[
        word("element", "Element", &[]),
        word("output", "Output", &[]),
        word("input", "Input", &[]),
        word("dim", "Dim", &[parameter("n", Range::IntegerFrom(0), "0")]),
        word("kernel", "Kernel", &[]),
        word(
            "block",
            "Block",
            &[parameter("r", Range::IntegerFrom(1), "4"), parameter("c", Range::IntegerFrom(1), "4")],
        ),
        word("whole", "Whole", &[]),
        word("singular", "Singular", &[]),
    ],
    synonyms: &[
        (&["entry", "entries", "none", "elementwise", "unstructured", "l1"], "`element`"),
        (&["row", "rows"], "`output`, the rows of a `Linear`, or `dim(0)`"),
        (&["col", "cols", "column", "columns"], "`input`, the columns of a `Linear`, or `dim(1)`"),
        (&["neuron", "neurons", "unit", "units", "filter", "filters", "out", "l21", "group_lasso"], "`output`"),
        (&["feature", "features", "token", "tokens", "in"], "`input`"),
        (&["channel", "channels"], "`output`, what makes a channel, or `input`, what one is used for"),
        (&["axis", "dimension"], "`dim(0)`"),
        (&["tile", "tiles"], "`block(4, 4)`"),
        (&["all", "tensor", "matrix", "layer", "global"], "`whole`"),
        (&["nuclear", "trace", "rank", "low_rank", "spectral", "svd", "schatten"], "`singular`"),
    ],
    hint: "",
};

/// A word as it is written, with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) name: &'static str,
    type_name: &'static str,
    variant: Ident,
    parameters: Vec<TokenStream>,
}

impl Said {
    /// The value it means.
    pub(crate) fn write(&self, library: &TokenStream) -> TokenStream {
        let Self { variant, parameters, .. } = self;
        let type_name = format_ident!("{}", self.type_name);
        let parameters = (!parameters.is_empty()).then(|| quote!((#(#parameters),*)));
        quote!(#library::#type_name::#variant #parameters)
    }
}

impl Vocabulary {
    /// Reads the parameters behind `written`, and what the two mean.
    pub(crate) fn read(&'static self, written: &Ident, input: ParseStream<'_>) -> Result<Said> {
        let in_parentheses = input.peek(token::Paren);
        let name = written.to_string();
        let Some(word) = self.words.iter().find(|word| word.name == name) else {
            return Err(self.unknown(written, in_parentheses));
        };
        let given: Vec<Expr> = if in_parentheses {
            let inside;
            parenthesized!(inside in input);
            let given = inside.parse_terminated(Expr::parse, Token![,]);
            let expects = |error: Error| Error::new(error.span(), format!("`{name}` expects parameters: {error}"));
            given.map_err(expects)?.into_iter().collect()
        } else {
            Vec::new()
        };
        if given.len() != word.parameters.len() || in_parentheses == word.parameters.is_empty() {
            let place = given.get(word.parameters.len()).map_or(written.span(), Spanned::span);
            return Err(Error::new(place, word.wrong_count(given.len()) + self.hint_for(word, given.len())));
        }
        let mut parameters = Vec::new();
        let mut mistakes: Option<Error> = None;
        for (parameter, expr) in word.parameters.iter().zip(&given) {
            match word.parameter(parameter, expr) {
                Ok(tokens) => parameters.push(tokens),
                Err(error) => match &mut mistakes {
                    Some(earlier) => earlier.combine(error),
                    None => mistakes = Some(error),
                },
            }
        }
        let variant = format_ident!("{}", word.variant, span = written.span());
        mistakes.map_or(Ok(Said { name: word.name, type_name: self.type_name, variant, parameters }), Err)
    }

    /// Too many parameters are most likely too many strengths.
    fn hint_for(&self, word: &Word, given: usize) -> &'static str {
        if given > word.parameters.len() { self.hint } else { "" }
    }

    fn unknown(&self, written: &Ident, in_parentheses: bool) -> Error {
        let lower = written.to_string().to_lowercase();
        let synonym = self.synonyms.iter().find(|(names, _)| names.contains(&lower.as_str()));
        let likely = || {
            let word = closest(&lower, self.words, |word| word.name)?;
            Some(if in_parentheses { format!("`{}`", word.name) } else { format!("`{}`", word.example()) })
        };
        let message = match synonym.map(|(_, answer)| (*answer).to_owned()).or_else(likely) {
            Some(answer) => format!("unknown {} `{written}`: did you mean {answer}?", self.noun),
            None => {
                let forms: Vec<_> = self.words.iter().map(|word| format!("`{}`", word.form())).collect();
                format!("unknown {} `{written}`: expected one of {}", self.noun, forms.join(", "))
            }
        };
        Error::new(written.span(), message)
    }
}

impl Word {
    fn with(&self, part: impl Fn(&Parameter) -> &'static str) -> String {
        let parts: Vec<_> = self.parameters.iter().map(part).collect();
        if parts.is_empty() { self.name.to_owned() } else { format!("{}({})", self.name, parts.join(", ")) }
    }

    /// `mcp(γ)`.
    fn form(&self) -> String {
        self.with(|parameter| parameter.symbol)
    }

    /// `mcp(3.0)`.
    fn example(&self) -> String {
        self.with(|parameter| parameter.usual)
    }

    fn wrong_count(&self, given: usize) -> String {
        let Self { name, parameters, .. } = self;
        if parameters.is_empty() {
            return format!("`{name}` takes no parameter: write just `{name}`");
        }
        let symbols: Vec<_> = parameters.iter().map(|parameter| parameter.symbol).collect();
        let (symbols, example) = (symbols.join(" and "), self.example());
        match given {
            0 => format!("`{name}` needs its {symbols}: write for example `{example}`"),
            1 => format!("`{name}` takes {symbols}, found 1 parameter: write for example `{example}`"),
            _ => format!("`{name}` takes {symbols}, found {given} parameters: write for example `{example}`"),
        }
    }

    fn parameter(&self, parameter: &Parameter, expr: &Expr) -> Result<TokenStream> {
        let (Self { name, .. }, Parameter { symbol, range, .. }) = (self, parameter);
        if let Expr::Assign(assign) = expr {
            let message = format!("`{name}` takes its {symbol} without a name: write for example `{}`", self.example());
            return Err(Error::new_spanned(&assign.left, message));
        }
        let named = |literal: &str| format!("{symbol} = {literal} in `{}`", self.form());
        Ok(range.check(expr, named)?.tokens)
    }
}
