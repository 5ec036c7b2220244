//! Rules for names: which parameters a pattern matches, what wins there, and whether it changed anything.

use std::collections::{HashMap, HashSet};

use candle_core::{TensorId, Var};
use globset::{Glob, GlobMatcher};

use crate::{
    Error, Origin, ParamPath, Reason, Result, Role, Rule, explain, named,
    penalty::{STRENGTH, is_strength},
    visitor::{Declarable, Declared, Entry, Found, closed, fitted, innermost_around},
};

/// A rule with the pattern of the names that it is for.
#[derive(Clone, Debug)]
pub(crate) struct NamedRule {
    pattern: String,
    says: Says,
    pub(crate) force: bool,
}

/// What a rule for names says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says {
    Rule(Rule),
    Skip(&'static str),
}

impl NamedRule {
    pub(crate) fn new(pattern: &str, says: Says) -> Self {
        Self { pattern: pattern.to_owned(), says, force: false }
    }

    fn path(&self) -> ParamPath {
        ParamPath::from(self.pattern.as_str())
    }

    fn origin(&self) -> Origin {
        Origin::Pattern(self.path())
    }

    fn matcher(&self) -> Result<GlobMatcher> {
        match Glob::new(&self.pattern) {
            Ok(_) if self.pattern.is_empty() => Err("it is empty; `*` matches every name".to_owned()),
            Ok(glob) => Ok(glob.compile_matcher()),
            Err(error) => Err(error.kind().to_string()),
        }
        .map_err(|why| Error::InvalidPattern { pattern: self.pattern.clone(), why })
    }

    /// Refuses numbers out of their range, as a visit does.
    fn check(&self) -> Result<()> {
        let Says::Rule(rule) = &self.says else { return Ok(()) };
        let strength = |key, value| (!is_strength(value)).then_some((key, value, STRENGTH));
        let invalid = rule.penalty.and_then(|penalty| penalty.invalid());
        let invalid = invalid.or_else(|| strength("decay", rule.decay.unwrap_or(0.0)));
        match invalid.or_else(|| strength("scale", rule.scale)) {
            None => Ok(()),
            Some((key, value, expected)) => Err(Error::InvalidValue { path: self.path(), key, value, expected }),
        }
    }

    /// What the rule has to change somewhere; `lambda = 0` and `decay = 0` take something away and need not.
    fn demands(&self) -> Option<String> {
        match &self.says {
            Says::Skip(_) => Some("skip".to_owned()),
            Says::Rule(rule) => {
                let penalty = rule.penalty.filter(|penalty| !penalty.is_none()).map(Declarable::Penalty);
                let decay = rule.decay.filter(|decay| *decay != 0.0).map(Declarable::Decay);
                penalty.or(decay).map(|what| what.to_string())
            }
        }
    }
}

/// One tensor with all its names.
struct Subject<'v> {
    names: Vec<String>,
    /// Where it was found in the models.
    entries: Vec<usize>,
    /// What is known of a variable that no model shows.
    hidden: Option<Hidden<'v>>,
}

struct Hidden<'v> {
    var: &'v Var,
    role: Role,
    /// The `skip` of a field of a foreign type that it lies in, by name.
    skipped: Option<Reason>,
}

/// Lets every rule act on what was found in the models, and adds the variables that only rules know.
pub(crate) fn apply(rules: &[NamedRule], variables: &[(String, Var)], found: &mut Found) -> Result<()> {
    let matchers = rules.iter().map(NamedRule::matcher).collect::<Result<Vec<_>>>()?;
    rules.iter().try_for_each(NamedRule::check)?;
    let subjects = subjects(variables, found);
    let mut matched = vec![Matched::default(); rules.len()];
    for subject in &subjects {
        let is_match = |matcher: &GlobMatcher| subject.names.iter().any(|name| matcher.is_match(name));
        let hits: Vec<usize> = (0..rules.len()).filter(|&index| is_match(&matchers[index])).collect();
        // Forced rules stand above attributes, and those above the others.
        let forced = hits.iter().rev().find(|&&index| rules[index].force);
        let Some(&winner) = forced.or(hits.last()) else { continue };
        for &hit in &hits {
            let obstacle = if hit == winner {
                act(&rules[hit], subject, found)?
            } else {
                Some(Obstacle::LaterRule(rules[winner].pattern.clone()))
            };
            matched[hit].note(&subject.names[0], obstacle);
        }
    }
    rules.iter().zip(&matched).try_for_each(|(rule, matched)| matched.check(rule, &subjects))
}

fn subjects<'v>(variables: &'v [(String, Var)], found: &Found) -> Vec<Subject<'v>> {
    let mut subjects: Vec<Subject<'v>> = Vec::new();
    let mut by_id: HashMap<TensorId, usize> = HashMap::new();
    for (index, entry) in found.entries.iter().enumerate() {
        let subject = *by_id.entry(entry.tensor.id()).or_insert(subjects.len());
        if subject == subjects.len() {
            subjects.push(Subject { names: Vec::new(), entries: Vec::new(), hidden: None });
        }
        subjects[subject].names.push(entry.path.as_str().to_owned());
        subjects[subject].entries.push(index);
    }
    let taken: HashSet<&str> = found.entries.iter().map(|entry| entry.path.as_str()).collect();
    let roles = named::roles(variables.iter().map(|(name, var)| (name.as_str(), var.as_tensor())));
    for ((name, var), role) in variables.iter().zip(roles) {
        if let Some(&subject) = by_id.get(&var.id()) {
            if !subjects[subject].names.contains(name) {
                subjects[subject].names.push(name.clone());
            }
        } else if !taken.contains(name.as_str()) {
            // Where the model has another tensor of this name, coverage says so.
            by_id.insert(var.id(), subjects.len());
            let skipped = innermost_around(&found.unvisited, name).map(|field| &field.reason);
            let skipped = skipped.filter(|reason| matches!(reason, Reason::Skipped(_))).cloned();
            let hidden = Some(Hidden { var, role, skipped });
            subjects.push(Subject { names: vec![name.clone()], entries: Vec::new(), hidden });
        }
    }
    subjects
}

/// What kept a rule from a parameter that it matches.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Obstacle {
    /// A rule that is declared later, or with `force`.
    LaterRule(String),
    /// The model's own attribute.
    Attribute,
    /// What the parameter is, or a `skip`.
    Reason(Reason),
}

/// Lets the rule that holds for a tensor act on it.
fn act(rule: &NamedRule, subject: &Subject<'_>, found: &mut Found) -> Result<Option<Obstacle>> {
    let first = match (&subject.hidden, subject.entries.first()) {
        (Some(Hidden { skipped: Some(reason), .. }), _) if !rule.force => {
            return Ok(Some(Obstacle::Reason(reason.clone())));
        }
        (Some(hidden), _) => {
            let path = ParamPath::from(subject.names[0].as_str());
            found.entries.push(Entry {
                path,
                tensor: hidden.var.as_tensor().clone(),
                role: hidden.role,
                closed: closed(hidden.role, hidden.var, false, false),
                skip: None,
                penalty: None,
                decay: None,
                forced: false,
            });
            found.entries.len() - 1
        }
        (None, Some(&first)) => first,
        (None, None) => return Ok(None),
    };
    let others = subject.entries.get(1..).unwrap_or_default();
    let entries = || [first].into_iter().chain(others.iter().copied());
    if rule.force {
        entries().for_each(|index| forget(&mut found.entries[index], &rule.says));
    }
    let is_skipped = |entry: &Entry| matches!(entry.closed, Some(Reason::Skipped(_)));
    if let Some(index) = entries().find(|&index| is_skipped(&found.entries[index])) {
        return Ok(found.entries[index].closed.clone().map(Obstacle::Reason));
    }
    let has_penalty = entries().any(|index| found.entries[index].penalty.is_some());
    let has_decay = entries().any(|index| found.entries[index].decay.is_some());
    match &rule.says {
        Says::Skip(_) if has_penalty || has_decay => Ok(Some(Obstacle::Attribute)),
        Says::Skip(reason) => {
            let skip = found.declared((), rule.origin());
            for index in entries() {
                let entry = &mut found.entries[index];
                (entry.closed, entry.skip) = (Some(Reason::Skipped(Some(reason))), Some(skip.number));
            }
            Ok(None)
        }
        Says::Rule(says) => {
            let penalty = says.penalty.filter(|_| !has_penalty);
            let decay = says.decay.filter(|_| !has_decay);
            if penalty.is_none() && decay.is_none() && (says.penalty.is_some() || says.decay.is_some()) {
                return Ok(Some(Obstacle::Attribute));
            }
            let penalty = penalty.map(|penalty| found.declared(penalty, rule.origin()));
            let decay = decay.map(|decay| found.declared(decay, rule.origin()));
            declare(&mut found.entries[first], says, penalty, decay)
        }
    }
}

/// Takes away what the model says of an entry where a forced rule speaks.
fn forget(entry: &mut Entry, says: &Says) {
    entry.forced = true;
    if matches!(entry.closed, Some(Reason::Skipped(_))) {
        // A skip has kept back what was inherited, and does so still.
        (entry.penalty, entry.decay, entry.skip) = (None, None, None);
        entry.closed = closed(entry.role, &entry.tensor, false, false);
    }
    match says {
        Says::Skip(_) => (entry.penalty, entry.decay) = (None, None),
        Says::Rule(rule) => {
            entry.penalty = entry.penalty.filter(|_| rule.penalty.is_none());
            entry.decay = entry.decay.filter(|_| rule.decay.is_none());
        }
    }
}

fn declare(
    entry: &mut Entry,
    rule: &Rule,
    penalty: Option<Declared<crate::Penalty>>,
    decay: Option<Declared<f64>>,
) -> Result<Option<Obstacle>> {
    // The attributes around a bias or norm parameter that is not closed have asked for it.
    let asked_for = |role| entry.closed.is_none() && entry.role == role;
    let bias = rule.bias.unwrap_or_else(|| asked_for(Role::Bias));
    let norm = rule.norm.unwrap_or_else(|| asked_for(Role::Norm));
    entry.role = rule.role.map_or(entry.role, Role::from);
    entry.closed = closed(entry.role, &entry.tensor, bias, norm);
    if let Some(penalty) = penalty {
        let value = match &entry.closed {
            None => fitted(penalty.value, rule.scale, &entry.path, entry.role, &entry.tensor)?,
            Some(_) => penalty.value.scaled(rule.scale),
        };
        entry.penalty = Some(Declared { value, ..penalty });
    }
    entry.decay = decay.or(entry.decay);
    Ok(entry.closed.clone().map(Obstacle::Reason))
}

/// What a rule has matched, and what kept it from some of that.
#[derive(Clone, Debug, Default)]
struct Matched {
    reached: bool,
    kept_from: Vec<(String, Obstacle)>,
}

impl Matched {
    fn note(&mut self, name: &str, obstacle: Option<Obstacle>) {
        match obstacle {
            None => self.reached = true,
            Some(obstacle) => self.kept_from.push((name.to_owned(), obstacle)),
        }
    }

    fn check(&self, rule: &NamedRule, subjects: &[Subject<'_>]) -> Result<()> {
        if self.reached {
            return Ok(());
        }
        if self.kept_from.is_empty() {
            let names = subjects.iter().flat_map(|subject| subject.names.iter().map(String::as_str));
            return Err(Error::NothingMatches {
                pattern: rule.pattern.clone(),
                nearest: nearest(&rule.pattern, names),
            });
        }
        match rule.demands() {
            None => Ok(()),
            Some(declared) => Err(Error::Unreached {
                path: ParamPath::from(rule.origin().to_string().as_str()),
                declared,
                why: explain::rule_unreached(&self.kept_from),
            }),
        }
    }
}

/// The names that were most likely meant by a pattern, the best first.
fn nearest<'n>(pattern: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    const SHOWN: usize = 3;
    // A pattern is compared without its wildcards, and with as many segments of a name as it has itself.
    let plain: String = pattern.chars().filter(|character| !"*?[]{}!\\".contains(*character)).collect();
    let plain = plain.trim_matches('.');
    let likeness = |name: &str| {
        let ends = name.match_indices('.').map(|(end, _)| end).chain([name.len()]);
        let starts = ends.map(|end| strsim::normalized_damerau_levenshtein(plain, &name[..end]));
        let last = name.rsplit('.').next().unwrap_or(name);
        starts.chain([strsim::normalized_damerau_levenshtein(plain, last)]).fold(0.0, f64::max)
    };
    let mut names: Vec<(f64, &str)> = names.map(|name| (likeness(name), name)).collect();
    names.sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.cmp(other)));
    names.into_iter().take(SHOWN).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first() {
        let names = ["encoder.fc.weight", "encoder.lstm.weight_ih_l0", "head.bias", "decoder.weight"];
        let nearest = |pattern| nearest(pattern, names.into_iter())[0].clone();
        assert_eq!(nearest("encoder.lsmt.*"), "encoder.lstm.weight_ih_l0");
        assert_eq!(nearest("haed.*"), "head.bias");
        assert_eq!(nearest("*.baes"), "head.bias");
    }
}
