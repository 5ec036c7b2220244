//! A Regularizer put together from models, the variables of a `VarMap`, and rules for names.

use std::fmt;

use candle_nn::VarMap;

use crate::{
    Error, Regularized, Regularizer, Result, Rule, by_name,
    by_name::{NamedRule, Says},
    variables,
    visitor::{Found, Visitor},
};

/// What [`Regularizer::builder`] gives: models to visit, a `VarMap`, and rules for names.
///
/// Rules for names are the second choice after attributes and [`Traced`](crate::Traced): for `opaque` fields, and for whole models
/// that somebody else has written.
///
/// # Patterns
///
/// A pattern is a glob over a parameter's dotted path in the model, its other paths if it is tied, and its name in the `VarMap`:
///
/// | in a pattern | stands for |
/// |---|---|
/// | `*` | any characters, dots too |
/// | `?` | one character |
/// | `[ab]`, `[0-9]`, `[!ab]` | one of these characters, none of them |
/// | `{weight,bias}` | one of these |
/// | `\*` | the character itself |
///
/// # What wins
///
/// A rule with [`force`](Self::force), then `#[l1(skip)]`, then the penalty and decay of an attribute (each for itself, with the `bias`
/// and `norm` that stand there), then rules, then nothing. Of several rules that match one path the last one holds, as a whole; at two
/// places of a tied tensor they have to agree. As with attributes only weights and embeddings are penalized, unless a rule says
/// `Rule::bias(true)` or `Rule::norm(true)`, and a `scale` around the field counts. The roles of variables that no model shows follow
/// from their names as for [`Traced`](crate::Traced), and `Rule::role(..)` says otherwise.
///
/// A skipped field of a type that hides its tensors is told by the names that begin with its path, or with where its neighbours in the
/// model are.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{LSTM, LSTMConfig, VarBuilder, VarMap, rnn::lstm};
/// use l1_core::{Grouping, Penalty, Regularizer};
///
/// let varmap = VarMap::new();
/// let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
/// let lstm: LSTM = lstm(3, 4, LSTMConfig::default(), vb.pp("lstm"))?; // hides its tensors
///
/// let regularizer = Regularizer::builder()
///     .vars(&varmap)
///     .rule("lstm.*", Penalty::l1(0.01))
///     .rule("lstm.weight_ih_*", Penalty::l1(0.02).with_group(Grouping::Input))
///     .build()?;
/// let coverage = regularizer.coverage(&varmap);
/// println!("{coverage}");
/// coverage.strict()?;
/// assert_eq!(regularizer.penalized().count(), 2); // not the biases
/// # Ok::<(), l1_core::Error>(())
/// ```
#[must_use = "a builder does nothing before `build`"]
pub struct RegularizerBuilder<'m> {
    models: Vec<Visit<'m>>,
    varmaps: Vec<&'m VarMap>,
    rules: Vec<NamedRule>,
    /// Whether `force` was called before any rule.
    force_of_nothing: bool,
}

type Visit<'m> = Box<dyn Fn(&mut Visitor<'_>) -> Result<()> + 'm>;

impl<'m> RegularizerBuilder<'m> {
    pub(crate) fn new() -> Self {
        Self { models: Vec::new(), varmaps: Vec::new(), rules: Vec::new(), force_of_nothing: false }
    }

    /// Visits a model. The paths begin with its fields.
    pub fn model<M: ?Sized + Regularized>(mut self, model: &'m M) -> Self {
        self.models.push(Box::new(|visitor| model.visit(visitor)));
        self
    }

    /// Visits a model under a path: for one that was built under a prefix, or for one of several. Several models may share tensors:
    /// those count once, as tied tensors do.
    ///
    /// * `path`: what the paths of its parameters begin with, as `actor` or `agents.actor`.
    pub fn model_at<M: ?Sized + Regularized>(mut self, path: &str, model: &'m M) -> Self {
        let path = path.to_owned();
        self.models.push(Box::new(move |visitor| visitor.item(&path, model)));
        self
    }

    /// Lets rules reach the variables of a `VarMap` that no model shows: those of `opaque` fields and foreign models. Those that no
    /// rule matches do not belong to the Regularizer; [`Regularizer::coverage`] names them.
    pub fn vars(mut self, varmap: &'m VarMap) -> Self {
        self.varmaps.push(varmap);
        self
    }

    /// Declares a penalty, or a whole [`Rule`], for all parameters whose name matches.
    ///
    /// * `pattern`: see [`RegularizerBuilder`].
    /// * `rule`: a [`Penalty`](crate::Penalty), or a `Rule` such as `Rule::l1(0.01).bias(true).decay(0.1)`.
    pub fn rule(mut self, pattern: &str, rule: impl Into<Rule>) -> Self {
        self.rules.push(NamedRule::new(pattern, Says::Rule(rule.into())));
        self
    }

    /// Says that all parameters whose name matches are not to be penalized, and why; the rule for names that `#[l1(skip = "..")]` is
    /// among attributes. As there, an optimizer's own `weight_decay` reaches its weights.
    pub fn skip(mut self, pattern: &str, reason: &'static str) -> Self {
        self.rules.push(NamedRule::new(pattern, Says::Skip(reason)));
        self
    }

    /// Lets the rule just declared overrule attributes and `skip`.
    pub fn force(mut self) -> Self {
        match self.rules.last_mut() {
            Some(rule) => rule.force = true,
            None => self.force_of_nothing = true,
        }
        self
    }

    /// Visits the models and settles what is to be done with each parameter.
    ///
    /// # Errors
    /// As [`Regularizer::new`], and:
    /// * [`Error::InvalidPattern`]: no glob, a rule without penalty and decay, a name that means two tensors, `force` before any rule.
    /// * [`Error::NothingMatches`]: a pattern that matches no name, with the nearest ones.
    /// * [`Error::Unreached`]: a rule that matches, but of which the penalty or the decay changes nothing: only biases, say, or
    ///   parameters with attributes of their own; a `skip` that attributes keep from one of its parameters.
    /// * [`Error::ConflictingRules`] also where two rules for names speak of two places of one tensor.
    pub fn build(self) -> Result<Regularizer> {
        if self.force_of_nothing {
            return Err(Error::InvalidPattern {
                pattern: String::new(),
                why: "`force()` stands before any rule; it belongs behind the rule that is to overrule attributes"
                    .to_owned(),
            });
        }
        let mut found = Found::default();
        for visit in &self.models {
            visit(&mut Visitor::new(&mut found))?;
        }
        let varmaps: Vec<_> = self.varmaps.iter().map(|varmap| variables::by_name(varmap)).collect();
        if found.is_empty() && varmaps.iter().all(Vec::is_empty) {
            return Err(Error::EmptyModel);
        }
        by_name::apply(&self.rules, &varmaps, &mut found)?;
        Regularizer::from_found(found)
    }
}

impl fmt::Debug for RegularizerBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegularizerBuilder")
            .field("models", &self.models.len())
            .field("varmaps", &self.varmaps.len())
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
