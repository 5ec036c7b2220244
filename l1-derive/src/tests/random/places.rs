//! Where a mistake points to: tokens of the input, or nowhere.

use std::collections::HashSet;
use std::ops::Range;

use proc_macro2::{Span, TokenStream, TokenTree};

/// Where tokens of an input begin and end, groups and what opens and closes them included.
#[derive(Debug, Default)]
pub(super) struct Places {
    starts: HashSet<usize>,
    ends: HashSet<usize>,
}

impl Places {
    pub(super) fn of(tokens: &TokenStream) -> Self {
        let mut places = Self::default();
        places.add_all(tokens.clone());
        places
    }

    fn add_all(&mut self, tokens: TokenStream) {
        for token in tokens {
            self.add(token.span());
            if let TokenTree::Group(group) = token {
                self.add(group.span_open());
                self.add(group.span_close());
                self.add_all(group.stream());
            }
        }
    }

    fn add(&mut self, span: Span) {
        let Range { start, end } = span.byte_range();
        self.starts.insert(start);
        self.ends.insert(end);
    }

    /// Whether it is a token of the input, or several with what is between them.
    pub(super) fn contain(&self, place: &Range<usize>) -> bool {
        !place.is_empty() && self.starts.contains(&place.start) && self.ends.contains(&place.end)
    }
}

/// A `compile_error!` of the macro's answer, with the places of its first and its last token, between which a compiler shows it.
#[derive(Debug)]
#[allow(dead_code, reason = "the message is for whoever reads a failure")]
pub(super) struct Mistake {
    pub(super) message: String,
    pub(super) first: Range<usize>,
    pub(super) last: Range<usize>,
}

impl Mistake {
    /// Whether it points to no token of any input: in a compiler, to the name in `#[derive(..)]`.
    pub(super) fn is_nowhere(&self) -> bool {
        self.first.is_empty() && self.last.is_empty()
    }
}

/// Every `compile_error!` in what the macro answers.
pub(super) fn mistakes(answer: &TokenStream) -> Vec<Mistake> {
    let mut tokens = answer.clone().into_iter();
    let mut mistakes = Vec::new();
    while let Some(token) = tokens.next() {
        if !matches!(&token, TokenTree::Ident(ident) if ident == "compile_error") {
            continue;
        }
        let group = |token| if let TokenTree::Group(group) = token { Some(group) } else { None };
        let body = tokens.find_map(group).unwrap();
        let message = syn::parse2::<syn::LitStr>(body.stream()).unwrap().value();
        mistakes.push(Mistake { message, first: token.span().byte_range(), last: body.span().byte_range() });
    }
    mistakes
}
