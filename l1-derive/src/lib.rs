//! The derive macro of `l1-core`, which re-exports it. See [`Regularized`](macro@Regularized).
//!
//! The way of a type through this crate: `attr`, `value`, `number` and `word` read `#[l1(..)]`, `model` merges what they read
//! with the type, `valid` and `penalty` refuse what makes no sense together, `bounds` infers what generic parameters need, and
//! `expand` writes the implementation. Mistakes gather in `errors` on the way and are reported together.

mod attr;
mod bounds;
mod errors;
mod expand;
mod model;
mod number;
mod penalty;
mod valid;
mod value;
mod word;

#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Derives `Regularized`: hands every parameter of a model to `l1-core` with its dotted path and its rule.
///
/// ```rust,ignore
/// #[derive(Regularized)]
/// #[l1(lambda = 0.001)]
/// struct Mlp {
///     fc1: Linear,
///     #[l1(lambda = 0.01, positive)]
///     fc2: Linear,
///     #[l1(skip = "a frozen head")]
///     head: Linear,
/// }
/// ```
///
/// The implementation is what a person would write:
///
/// ```rust,ignore
/// impl Regularized for Mlp {
///     fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
///         let defaults = Rule::l1(0.001).as_default();
///         visitor.field("fc1", defaults, &self.fc1)?;
///         visitor.field("fc2", defaults.lambda(0.01).positive(true), &self.fc2)?;
///         (&&private::Field(&self.head)).skip("head", Some("a frozen head"), visitor)?;
///         Ok(())
///     }
/// }
/// ```
///
/// # Keys of `#[l1(..)]`
///
/// | key | on the type | on a field | meaning |
/// |---|---|---|---|
/// | `lambda = EXPR` | ✓ | ✓ | strength λ of the penalty |
/// | `curve = CURVE` | ✓ | ✓ | how λ charges the size of a weight or the norm of a group; `l1` if nothing is said |
/// | `group = GROUP` | ✓ | ✓ | what λ charges together; `element` if nothing is said |
/// | `unscaled` | ✓ | ✓ | every group has weight 1 in place of √size |
/// | `element = EXPR` | ✓ | ✓ | adds element·‖w‖₁ under groups (sparse group lasso) |
/// | `l2 = EXPR` | ✓ | ✓ | adds the ridge ½·l2·‖w‖² |
/// | `positive` | ✓ | ✓ | constrains weights to w ≥ 0 |
/// | `decay = EXPR` | ✓ | ✓ | decoupled weight decay (AdamW's), in place of the optimizer's own `weight_decay`; 0: none |
/// | `bias` | ✓ | ✓ | penalizes and decays biases too |
/// | `norm` | ✓ | ✓ | penalizes and decays scales and shifts of normalizations too |
/// | `scale = EXPR` | | ✓ | multiplies λ, element and l2 of everything below the field |
/// | `role = ROLE` | | ✓ | what a bare tensor is: `weight`, `bias`, `norm`, `embedding` or `buffer` |
/// | `skip`, `skip = ".."` | | ✓ | no declaration reaches it (but an optimizer's own `weight_decay` does), with the reason that reports show |
/// | `opaque` | | ✓ | not looked into; reports say so |
/// | `with = path` | | ✓ | visited by `fn(&Foreign, &mut Visitor<'_>) -> Result<()>`, for a type that is not `Regularized` |
/// | `rename = ".."` | | ✓ | path segment of the field; may hold dots |
/// | `flatten` | | ✓ | the field adds no path segment |
/// | `transparent` | ✓ | | the only field of the struct adds no path segment |
/// | `crate = path` | ✓ | | where `l1_core` is, if not at `::l1_core` |
/// | `bound = ".."` | ✓ | | where-predicates that replace the inferred ones; may be empty |
///
/// `EXPR` is a number or any expression of type `f64` with `self` in scope (in an enum, the whole enum). Literals are
/// checked here (finite, ≥ 0), other expressions when the model is visited. `unscaled`, `positive`, `bias` and `norm` may be
/// followed by `= true` or `= false`.
///
/// | CURVE | charges a norm r ≥ 0 | parameter |
/// |---|---|---|
/// | `l1` | λr | |
/// | `mcp(γ)` | less and less, nothing more from γλ on | γ > 1, 3 is usual |
/// | `scad(γ)` | as `l1` up to λ, nothing more from γλ on | γ > 2, 3.7 is usual |
/// | `log(ε)` | λ·ln(1 + r/ε) | ε > 0 |
/// | `half` | λ√r | |
/// | `two_thirds` | λr^⅔ | |
/// | `l0` | λ for every r > 0 | |
///
/// | GROUP | what is charged together, and becomes 0 together |
/// |---|---|
/// | `element` | every entry by itself |
/// | `output`, `input` | what makes one output feature, what one input feature is used for; for layers, which know their dimensions |
/// | `dim(n)` | what has one index in dimension n, from 0 |
/// | `kernel` | one kernel of a convolution |
/// | `block(r, c)` | r rows and c columns of a matrix, r and c ≥ 1, which they have to divide |
/// | `whole` | the whole tensor |
/// | `singular` | no entries, but the singular values of a matrix; not with `element` or `positive` |
///
/// γ and ε are like EXPR; n, r and c are integers or expressions of type `usize`. Whether a tensor has such groups is known when
/// the model is visited.
///
/// Keys on the type are defaults for its fields; a field overrides them key by key. Across types the nearest penalty replaces
/// the whole penalty, and `decay`, `bias` and `norm` are inherited each for itself. Several `#[l1(..)]` on one item are one.
///
/// `curve`, `group`, `unscaled` and `element` say how a λ charges: they need a `lambda` on the field or its type. On a type
/// without one they hold for those of its fields that have one.
///
/// # Paths
///
/// A field adds its name to the path, and a field of a tuple its number: `fc1.weight`, `0.weight`. The active variant of an
/// enum adds nothing, and neither does the field of a variant with a single unnamed field, unless it is renamed. A variant
/// without fields is to the enum what `None` is to an `Option`: a penalty or decay above it need not reach anything.
///
/// # Bounds
///
/// A type parameter that occurs in the type of a visited field has to be `Regularized`, an associated type such as
/// `T::Layer` likewise. Fields with `skip`, `opaque` or `with` ask for nothing, and neither do `PhantomData<T>` and
/// `Traced<T>`.
///
/// # Errors
///
/// All mistakes of a type are reported at once, each at its own token:
///
/// ```text
/// error: unknown key `lamda`: did you mean `lambda`?
/// error: `lambda = -1` is negative: expected a finite number ≥ 0
/// error: `mcp` needs its γ: write for example `mcp(3.0)`
/// error: `l2` beside `skip`: a skipped field takes no key but `rename`; remove one of the two
/// ```
#[proc_macro_derive(Regularized, attributes(l1))]
pub fn derive_regularized(input: TokenStream) -> TokenStream {
    expand::derive(input.into()).into()
}
