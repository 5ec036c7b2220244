//! Rules for names: which of them holds where, and what it does there.

use candle_core::Var;
use globset::{GlobBuilder, GlobMatcher};

use crate::{
    Error, Origin, ParamPath, Reason, Result, Role, Rule,
    located::is_in,
    penalty::{STRENGTH, is_strength},
    resolve,
    visitor::{Around, Declared, Entry, Found, Overruled, closed, fitted},
};

mod places;
mod reach;

use places::{At, Hidden, Place, Places};
pub(crate) use reach::Obstacle;
use reach::{Demand, Matched};

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

    fn origin(&self) -> Origin {
        Origin::Pattern(self.pattern.clone())
    }

    fn refused(&self, why: impl Into<String>) -> Error {
        Error::InvalidPattern { pattern: self.pattern.clone(), why: why.into() }
    }

    fn matcher(&self) -> Result<GlobMatcher> {
        if self.pattern.is_empty() {
            return Err(self.refused("it is empty; `*` matches every name"));
        }
        // The same on every system: names have no path separators.
        let glob = GlobBuilder::new(&self.pattern).backslash_escape(true).literal_separator(false).build();
        let glob = glob.map_err(|error| {
            let expected = "expected a glob: `*`, `?`, `[ab]`, `{a,b}`, and `\\[` for the character itself";
            self.refused(format!("{} ({expected})", error.kind()))
        });
        Ok(glob?.compile_matcher())
    }

    /// Refuses numbers out of their range, as a visit does, and a rule that says nothing.
    fn check(&self) -> Result<()> {
        let Says::Rule(rule) = &self.says else { return Ok(()) };
        if rule.penalty.is_none() && rule.decay.is_none() {
            return Err(self.refused(
                "it declares neither a penalty nor a decay; to say that parameters are not to be penalized, `.skip(pattern, why)`",
            ));
        }
        let strength = |key, value| (!is_strength(value)).then_some((key, value, STRENGTH));
        let invalid = rule.penalty.and_then(|penalty| penalty.invalid());
        let invalid = invalid.or_else(|| strength("decay", rule.decay.unwrap_or(0.0)));
        match invalid.or_else(|| strength("scale", rule.scale)) {
            None => Ok(()),
            Some((key, value, expected)) => Err(Error::InvalidValue { path: self.label(), key, value, expected }),
        }
    }
}

/// Lets every rule act on what was found in the models, and adds the variables that only rules know.
///
/// * `varmaps`: the variables of each, by name.
pub(crate) fn apply(rules: &[NamedRule], varmaps: &[Vec<(String, Var)>], found: &mut Found) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let matchers = rules.iter().map(NamedRule::matcher).collect::<Result<Vec<_>>>()?;
    rules.iter().try_for_each(NamedRule::check)?;
    resolve::name_views(&mut found.entries);
    let places = Places::of(found, varmaps);
    let mut matched = vec![Matched::default(); rules.len()];
    for tensor in &places.tensors {
        let hits = tensor.iter().map(|place| hits(place, rules, &matchers, &places)).collect::<Result<Vec<_>>>()?;
        act_on_tensor(rules, tensor, &hits, found, &mut matched)?;
    }
    places.note_reached(found);
    let names = || places.tensors.iter().flatten().flat_map(|place| place.names.iter().map(String::as_str));
    let hint = |rule: &NamedRule| match found.unvisited.first() {
        _ if names().any(|name| is_in(name, &rule.pattern)) => {
            format!(". A pattern matches whole names: `{}.*`?", rule.pattern)
        }
        Some(field) if varmaps.is_empty() => {
            format!(". `{}` is not looked into: show the builder its variables, `.vars(&varmap)`", field.path)
        }
        _ => String::new(),
    };
    rules.iter().zip(&matched).try_for_each(|(rule, matched)| matched.check(rule, names(), &hint(rule)))
}

/// The rules that match a place, each with the name that it matches.
fn hits<'p>(
    place: &'p Place,
    rules: &[NamedRule],
    matchers: &[GlobMatcher],
    places: &Places,
) -> Result<Vec<(usize, &'p str)>> {
    let mut hits = Vec::new();
    for (index, matcher) in matchers.iter().enumerate() {
        let Some(name) = place.names.iter().find(|name| matcher.is_match(name.as_str())) else { continue };
        if places.ambiguous.contains(name) {
            let why = format!(
                "`{name}` means one tensor in the model and another one in the VarMap (a copy, or fields built under other names). \
                 Use the variable itself in the model, or names that differ"
            );
            return Err(rules[index].refused(why));
        }
        hits.push((index, name.as_str()));
    }
    Ok(hits)
}

/// What the model says of a tensor, at any of its places.
struct OfModel {
    penalty: bool,
    decay: bool,
    skipped: Option<Reason>,
}

impl OfModel {
    fn new(places: &[Place], entries: &[Entry]) -> Self {
        let shown = || places.iter().filter_map(|place| shown(place, entries));
        let skipped = places.iter().find_map(|place| match &place.at {
            At::Shown(index) => entries[*index].closed.clone().filter(|reason| matches!(reason, Reason::Skipped(_))),
            At::Hidden(hidden) => hidden.skipped.clone(),
        });
        Self {
            penalty: shown().any(|entry| entry.penalty.is_some()),
            decay: shown().any(|entry| entry.decay.is_some()),
            skipped,
        }
    }
}

fn shown<'e>(place: &Place, entries: &'e [Entry]) -> Option<&'e Entry> {
    match place.at {
        At::Shown(index) => Some(&entries[index]),
        At::Hidden(_) => None,
    }
}

/// At each place the last rule holds that matches there. Where a forced one matches, only forced ones do.
fn act_on_tensor(
    rules: &[NamedRule],
    places: &[Place],
    hits: &[Vec<(usize, &str)>],
    found: &mut Found,
    matched: &mut [Matched],
) -> Result<()> {
    let is_forced = |(index, _): &&(usize, &str)| rules[*index].force;
    let forced = hits.iter().flatten().filter(is_forced).map(|(index, _)| *index).max();
    let winner = |hits: &[(usize, &str)]| match forced {
        Some(_) => hits.iter().rfind(is_forced).map(|(index, _)| *index),
        None => hits.last().map(|(index, _)| *index),
    };
    for rule in hits.iter().filter_map(|hits| winner(hits)).filter(|index| rules[*index].force) {
        for place in places {
            if let At::Shown(index) = place.at {
                forget(&mut found.entries[index], &rules[rule].says);
            }
        }
    }
    let of_model = OfModel::new(places, &found.entries);
    for (place, hits) in places.iter().zip(hits) {
        let winner = winner(hits);
        for &(index, name) in hits {
            let rule = &rules[index];
            if Some(index) == winner {
                for (demand, outcome) in act(rule, place, &of_model, found)? {
                    if rule.force && outcome.is_ok() {
                        note_overruled(places, demand, found);
                    }
                    matched[index].note(demand, name, outcome);
                }
            } else {
                let stronger = winner.or(forced).map_or_else(String::new, |index| rules[index].pattern.clone());
                for (demand, ..) in rule.demands() {
                    matched[index].note(demand, name, Err(Obstacle::Rule(stronger.clone())));
                }
            }
        }
    }
    Ok(())
}

/// Excuses the declarations whose place a forced rule has taken.
fn note_overruled(places: &[Place], demand: Demand, found: &mut Found) {
    for place in places {
        if let At::Shown(index) = place.at {
            let overruled = &mut found.entries[index].overruled;
            overruled.penalty |= demand != Demand::Decay;
            overruled.decay |= demand != Demand::Penalty;
        }
    }
}

/// Takes away what the model says where a forced rule speaks.
fn forget(entry: &mut Entry, says: &Says) {
    if matches!(entry.closed, Some(Reason::Skipped(_))) {
        // A skip has kept back what was inherited, and does so still.
        (entry.penalty, entry.decay, entry.skip) = (None, None, None);
        entry.closed = closed(entry.role, &entry.tensor, entry.around);
    }
    let (penalty, decay) = match says {
        Says::Skip(_) => (true, true),
        Says::Rule(rule) => (rule.penalty.is_some(), rule.decay.is_some()),
    };
    entry.penalty = entry.penalty.filter(|_| !penalty);
    entry.decay = entry.decay.filter(|_| !decay);
}

/// Lets the rule that holds at a place act there. Returns what came of each of its parts.
fn act(
    rule: &NamedRule,
    place: &Place,
    of_model: &OfModel,
    found: &mut Found,
) -> Result<Vec<(Demand, Result<(), Obstacle>)>> {
    let all = |obstacle: Obstacle| rule.demands().map(|(demand, ..)| (demand, Err(obstacle.clone()))).collect();
    if let (Some(reason), false) = (&of_model.skipped, rule.force) {
        return Ok(all(Obstacle::Reason(reason.clone())));
    }
    let has_own = of_model.penalty || of_model.decay;
    match &rule.says {
        Says::Skip(_) if has_own => Ok(all(Obstacle::Attribute)),
        Says::Skip(reason) => {
            let skip = found.declared((), rule.origin());
            let entry = entry_at(place, found);
            (entry.closed, entry.skip) = (Some(Reason::Skipped(Some(reason))), Some(skip.number));
            Ok(vec![(Demand::Skip, Ok(()))])
        }
        // A role for all that is declared there is not for this rule to change, unless it is forced.
        Says::Rule(says) if has_own && says.role.is_some() && !rule.force => Ok(all(Obstacle::Attribute)),
        Says::Rule(says) => declare(rule, says, place, of_model, found),
    }
}

fn declare(
    rule: &NamedRule,
    says: &Rule,
    place: &Place,
    of_model: &OfModel,
    found: &mut Found,
) -> Result<Vec<(Demand, Result<(), Obstacle>)>> {
    let penalty = says.penalty.filter(|_| !of_model.penalty).map(|penalty| found.declared(penalty, rule.origin()));
    let decay = says.decay.filter(|_| !of_model.decay).map(|decay| found.declared(decay, rule.origin()));
    let entry = entry_at(place, found);
    let of_attributes = entry.around;
    let (bias, norm) = match rule.force {
        true => (says.bias.or(of_attributes.bias), says.norm.or(of_attributes.norm)),
        false => (of_attributes.bias.or(says.bias), of_attributes.norm.or(says.norm)),
    };
    let around = Around { bias, norm, ..of_attributes };
    let mut kept = None;
    if (of_model.penalty || of_model.decay) && !rule.force {
        // What `bias` and `norm` open, they open to the model's own declarations too.
        if entry.closed.is_some() && closed(entry.role, &entry.tensor, around).is_none() {
            kept = Some(Obstacle::Attribute);
        }
    } else {
        entry.role = says.role.map_or(entry.role, Role::from);
        if !matches!(entry.closed, Some(Reason::View(_))) {
            entry.closed = closed(entry.role, &entry.tensor, around);
        }
    }
    let kept = kept.or_else(|| entry.closed.clone().map(Obstacle::Reason));
    if let Some(penalty) = penalty {
        let scale = entry.around.scale * says.scale;
        let value = match &entry.closed {
            None => {
                let label = ParamPath::from(format!("{}, by {}", entry.path, rule.label()).as_str());
                fitted(penalty.value, scale, &label, entry.role, &entry.tensor)?
            }
            Some(_) => penalty.value.scaled(scale),
        };
        entry.penalty = Some(Declared { value, ..penalty });
    }
    entry.decay = decay.or(entry.decay);
    let outcome = |is_taken: bool| match (&kept, is_taken) {
        (_, true) => Err(Obstacle::Attribute),
        (Some(obstacle), _) => Err(obstacle.clone()),
        (None, false) => Ok(()),
    };
    let parts = [
        says.penalty.map(|_| (Demand::Penalty, outcome(of_model.penalty))),
        says.decay.map(|_| (Demand::Decay, outcome(of_model.decay))),
    ];
    Ok(parts.into_iter().flatten().collect())
}

/// The entry of a place; that of a variable which no model shows is made now.
fn entry_at<'f>(place: &Place, found: &'f mut Found) -> &'f mut Entry {
    let index = match &place.at {
        At::Shown(index) => *index,
        At::Hidden(hidden) => {
            found.entries.push(hidden_entry(hidden));
            found.entries.len() - 1
        }
    };
    &mut found.entries[index]
}

fn hidden_entry(hidden: &Hidden) -> Entry {
    Entry {
        path: ParamPath::from(hidden.path.as_str()),
        tensor: hidden.tensor.clone(),
        role: hidden.role,
        closed: closed(hidden.role, &hidden.tensor, hidden.around),
        skip: None,
        penalty: None,
        decay: None,
        around: hidden.around,
        overruled: Overruled::default(),
        hidden: true,
    }
}
