//! Why a penalty or decay reaches nothing, in words, with the way out.

use std::collections::BTreeMap;

use crate::{
    Decision, Param, ParamPath, Reason, by_name,
    visitor::{Declarable, Declaration, Entry, Unvisited},
};

/// What lies below a field whose declaration reaches nothing, and what to do about it.
pub(crate) fn unreached(declaration: &Declaration, entries: &[Entry], unvisited: &[Unvisited]) -> String {
    let words = Words::about(declaration.what);
    let entries =
        entries.iter().map(|entry| (relative(&entry.path, &declaration.path), obstacle(entry, declaration, words)));
    let fields = unvisited.iter();
    let fields =
        fields.map(|field| (relative(&field.path, &declaration.path), Obstacle::out_of_reach(&field.reason, words)));
    why(&short_type_name(declaration.type_name), &grouped(entries.chain(fields)), words)
}

/// Each obstacle with the names that it is in the way of.
fn grouped<'n>(obstacles: impl Iterator<Item = (&'n str, Obstacle)>) -> Vec<(Obstacle, Vec<&'n str>)> {
    let mut grouped: Vec<(Obstacle, Vec<&str>)> = Vec::new();
    for (name, obstacle) in obstacles {
        match grouped.iter_mut().find(|(known, _)| *known == obstacle) {
            Some((_, names)) => names.push(name),
            None => grouped.push((obstacle, vec![name])),
        }
    }
    grouped
}

fn relative<'p>(path: &'p ParamPath, above: &ParamPath) -> &'p str {
    path.as_str().strip_prefix(above.as_str()).unwrap_or(path.as_str()).trim_start_matches('.')
}

/// What is declared, what that does to a parameter, and how it is extended to biases or norms.
#[derive(Clone, Copy)]
struct Words {
    noun: &'static str,
    verb: &'static str,
    add_bias: &'static str,
    add_norm: &'static str,
}

impl Words {
    const OF_RULE: Self = Self {
        noun: "rule",
        verb: "reach",
        add_bias: "Add `.bias(true)` to the rule (`Rule::l1(..).bias(true)`)",
        add_norm: "Add `.norm(true)` to the rule (`Rule::l1(..).norm(true)`)",
    };

    fn about(what: Declarable) -> Self {
        let (noun, verb) = match what {
            Declarable::Penalty(_) => ("penalty", "penalize"),
            Declarable::Decay(_) => ("decay", "decay"),
        };
        Self { noun, verb, add_bias: "Add `bias` to the attribute", add_norm: "Add `norm` to the attribute" }
    }
}

/// What keeps a declaration from some parameters: what they are (one of them, several of them), and what to do about it.
#[derive(PartialEq)]
struct Obstacle {
    one: String,
    /// What a type holds that holds nothing else, where that can be said.
    several: Option<String>,
    way_out: String,
}

impl Obstacle {
    fn new(one: &str, several: &str, way_out: String) -> Self {
        Self { one: one.to_owned(), several: Some(several.to_owned()), way_out }
    }

    fn of_rule(obstacle: &by_name::Obstacle) -> Self {
        let force = || "Remove the rule, or add `.force()` to it to overrule the model".to_owned();
        match obstacle {
            by_name::Obstacle::Rule(pattern) => {
                let what = format!("under the rule `{pattern}`, which wins");
                Self::new(&what, &what, "Of several rules the last one holds, and a forced one above all".to_owned())
            }
            by_name::Obstacle::Attribute => {
                Self::new("under an attribute of its own", "under attributes of their own", force())
            }
            by_name::Obstacle::Reason(reason @ Reason::Skipped(_)) => {
                Self { one: reason.to_string(), several: None, way_out: force() }
            }
            by_name::Obstacle::Reason(reason) => Self::because_of(reason, Words::OF_RULE),
        }
    }

    /// What a parameter is that keeps every declaration from it.
    fn because_of(reason: &Reason, words: Words) -> Self {
        let Words { noun, verb, add_bias, add_norm } = words;
        match reason {
            Reason::Norm => Self::new(
                "a norm parameter",
                "norm parameters",
                format!("{add_norm} to {verb} norm parameters, or remove the {noun}"),
            ),
            Reason::Bias => Self::new("a bias", "biases", format!("{add_bias} to {verb} biases, or remove the {noun}")),
            Reason::Buffer => Self::new("a buffer", "buffers", format!("Buffers are not trained; remove the {noun}")),
            Reason::Frozen => Self::new(
                "frozen (not a variable)",
                "frozen tensors (not variables)",
                format!(
                    "Build it from a VarBuilder over a VarMap (`VarBuilder::from_varmap`) to train it, or remove the {noun}"
                ),
            ),
            Reason::View(path) => {
                let (one, several) = (format!("a view of {path}"), format!("views of {path}"));
                Self::new(&one, &several, format!("Declare the {noun} where the tensor itself is, or remove it"))
            }
            Reason::DType(dtype) => {
                let (one, several) = (dtype.as_str(), format!("tensors of dtype {}", dtype.as_str()));
                Self::new(
                    &format!("of dtype {one}"),
                    &several,
                    format!("Only F32, F64, BF16 and F16 are regularized; remove the {noun}"),
                )
            }
            reason => Self::out_of_reach(reason, words),
        }
    }

    fn out_of_reach(reason: &Reason, Words { noun, .. }: Words) -> Self {
        let way_out = format!("Remove the {noun}, or the `skip` or `opaque` below it");
        Self { one: reason.to_string(), several: None, way_out }
    }
}

fn obstacle(entry: &Entry, declaration: &Declaration, words: Words) -> Obstacle {
    let reason = match &entry.closed {
        Some(reason @ Reason::Skipped(_)) => return Obstacle::out_of_reach(reason, words),
        Some(reason) if declaration.holds_for(entry) => reason,
        _ => {
            let what = "under a nearer rule of its own";
            let way_out = "Remove the outer declaration, or the nearer one".to_owned();
            return Obstacle::new(what, "parameters under nearer rules of their own", way_out);
        }
    };
    Obstacle::because_of(reason, words)
}

/// The obstacles in words, and the ways out.
fn why(type_name: &str, obstacles: &[(Obstacle, Vec<&str>)], Words { noun, .. }: Words) -> String {
    let found = match obstacles {
        [] => return format!("`{type_name}` holds no parameters. Remove the {noun}"),
        [(Obstacle { one, .. }, names)] if names.as_slice() == [""] => format!("the tensor is {one}"),
        [(Obstacle { several: Some(several), .. }, names)] if names.len() > 1 => {
            format!("`{type_name}` holds only {several}")
        }
        obstacles => {
            let parts: Vec<_> = obstacles.iter().map(|(obstacle, names)| listed(obstacle, names)).collect();
            format!("in `{type_name}` {}", parts.join("; "))
        }
    };
    format!("{found}. {}", ways_out(obstacles))
}

fn ways_out(obstacles: &[(Obstacle, Vec<&str>)]) -> String {
    // A buffer is never what the declaration was meant for.
    let mut ways_out: Vec<_> = obstacles.iter().map(|(obstacle, _)| obstacle.way_out.as_str()).collect();
    ways_out.dedup();
    if ways_out.len() > 1 {
        ways_out.retain(|way_out| !way_out.starts_with("Buffers"));
    }
    ways_out.join(". ")
}

fn listed(obstacle: &Obstacle, names: &[&str]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(SHOWN);
    let names_shown = if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) };
    match (names.len(), &obstacle.several) {
        (1, _) => format!("{names_shown} is {}", obstacle.one),
        (_, several) => format!("{names_shown} are {}", several.as_ref().unwrap_or(&obstacle.one)),
    }
}

/// What kept a rule for names from the parameters that it matches, and what to do about it.
pub(crate) fn rule_unreached(kept_from: &[(&str, &by_name::Obstacle)]) -> String {
    let obstacles = grouped(kept_from.iter().map(|(name, obstacle)| (*name, Obstacle::of_rule(obstacle))));
    let parts: Vec<_> = obstacles.iter().map(|(obstacle, names)| listed(obstacle, names)).collect();
    format!("{}. {}", parts.join("; "), ways_out(&obstacles))
}

/// What the parameters of a model are in which nothing is penalized, and what to do about it.
pub(crate) fn nothing_penalized(params: &[Param], unvisited: &[Unvisited]) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut frozen = false;
    let mut undeclared = params.is_empty() && unvisited.is_empty();
    for param in params {
        if let Decision::Unpenalized(reason) = &param.decision {
            *kinds.entry(reason.to_string()).or_default() += 1;
            frozen |= *reason == Reason::Frozen;
            undeclared |= *reason == Reason::NothingDeclared;
        }
    }
    let mut parts: Vec<_> = kinds.into_iter().map(|(kind, count)| format!("{kind} ({count})")).collect();
    parts.extend(unvisited.iter().map(|field| format!("{} (`{}`)", field.reason, field.path)));
    let mut why = if parts.is_empty() { "the model is empty".to_owned() } else { parts.join(", ") };
    if undeclared {
        why.push_str(
            ". Declare `#[l1(lambda = ..)]` on a field or on the struct, or add a rule for names. To train without a penalty, for comparison: declare \
             `decay = ..` alone, take candle's own optimizer, or declare a λ and `set_scale(0.0)`",
        );
    }
    if frozen {
        why.push_str(". Build frozen layers from a VarBuilder over a VarMap (`VarBuilder::from_varmap`) to train them");
    }
    if !undeclared && !frozen {
        why.push_str(
            ". A λ on a weight or an embedding penalizes it; `bias` and `norm` in the attribute let it reach those too, and a `skip` \
             keeps it away",
        );
    }
    why
}

/// `Option<Linear>` of `core::option::Option<candle_nn::linear::Linear>`.
fn short_type_name(name: &str) -> String {
    let mut short = String::new();
    let mut segment = String::new();
    for character in name.chars() {
        if character.is_alphanumeric() || character == '_' {
            segment.push(character);
        } else if character == ':' {
            segment.clear();
        } else {
            short.push_str(&segment);
            segment.clear();
            short.push(character);
        }
    }
    short + &segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_name_loses_its_modules() {
        assert_eq!(short_type_name("core::option::Option<candle_nn::linear::Linear>"), "Option<Linear>");
        assert_eq!(short_type_name("[alloc::vec::Vec<(u8, a::B)>]"), "[Vec<(u8, B)>]");
    }
}
