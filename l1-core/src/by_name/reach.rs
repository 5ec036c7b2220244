//! Whether a rule for names has changed anything of what it speaks of, and if not, why.

use crate::{Error, ParamPath, Reason, Result, explain, nearest::nearest};

use super::{NamedRule, Says};

/// What kept a rule from a parameter that it matches.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Obstacle {
    /// A rule that is declared later, or with `force`.
    Rule(String),
    /// The model's own attribute.
    Attribute,
    /// What the parameter is, or a `skip`.
    Reason(Reason),
}

/// The parts of a rule, each of which has to reach something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    Penalty,
    Decay,
    Skip,
}

/// What came of a rule at all places that it matches.
#[derive(Clone, Debug, Default)]
pub(super) struct Matched {
    any: bool,
    reached: Vec<Demand>,
    kept_from: Vec<(Demand, String, Obstacle)>,
}

impl Matched {
    /// Notes what came of one part of the rule at one place.
    pub(super) fn note(&mut self, demand: Demand, name: &str, outcome: Result<(), Obstacle>) {
        self.any = true;
        match outcome {
            Ok(()) => self.reached.push(demand),
            Err(obstacle) => self.kept_from.push((demand, name.to_owned(), obstacle)),
        }
    }

    /// Refuses a rule that matches nothing, or of which a part changes nothing.
    pub(super) fn check<'n>(&self, rule: &NamedRule, names: impl Iterator<Item = &'n str>, hint: &str) -> Result<()> {
        if !self.any {
            let (pattern, nearest) = (rule.pattern.clone(), nearest(&rule.pattern, names));
            return Err(Error::NothingMatches { pattern, nearest, hint: hint.to_owned() });
        }
        rule.demands().try_for_each(|(demand, declared, is_zero)| self.check_part(rule, demand, declared, is_zero))
    }

    fn check_part(&self, rule: &NamedRule, demand: Demand, declared: String, is_zero: bool) -> Result<()> {
        let kept_from = self.kept_from.iter().filter(|(kept, ..)| *kept == demand);
        let kept_from: Vec<_> = kept_from.map(|(_, name, obstacle)| (name.as_str(), obstacle)).collect();
        let is_attribute = |obstacle: &Obstacle| *obstacle == Obstacle::Attribute;
        let kept_from = match demand {
            // "All of this is not to be penalized" is not true of what has a penalty of its own.
            Demand::Skip if kept_from.iter().any(|(_, obstacle)| is_attribute(obstacle)) => {
                kept_from.into_iter().filter(|(_, obstacle)| is_attribute(obstacle)).collect()
            }
            _ if self.reached.contains(&demand) => return Ok(()),
            // To take away what nothing can be given to is no mistake.
            _ if is_zero && kept_from.iter().all(|(_, obstacle)| is_closed(obstacle)) => return Ok(()),
            _ => kept_from,
        };
        Err(Error::Unreached { path: rule.label(), declared, why: explain::rule_unreached(&kept_from) })
    }
}

/// Whether it is what the parameter is that keeps every declaration from it.
fn is_closed(obstacle: &Obstacle) -> bool {
    matches!(obstacle, Obstacle::Reason(reason) if !matches!(reason, Reason::Skipped(_)))
}

impl NamedRule {
    /// The rule in the place of a path.
    pub(super) fn label(&self) -> ParamPath {
        ParamPath::from(format!("rule `{}`", self.pattern).as_str())
    }

    /// Its parts, in words, and whether they only take something away.
    pub(super) fn demands(&self) -> impl Iterator<Item = (Demand, String, bool)> {
        let (penalty, decay, skip) = match &self.says {
            Says::Skip(_) => (None, None, Some((Demand::Skip, "skip".to_owned(), false))),
            Says::Rule(rule) => (
                rule.penalty.map(|penalty| (Demand::Penalty, penalty.to_string(), penalty.is_none())),
                rule.decay.map(|decay| (Demand::Decay, format!("decay = {decay}"), decay == 0.0)),
                None,
            ),
        };
        penalty.into_iter().chain(decay).chain(skip)
    }
}
