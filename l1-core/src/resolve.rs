//! From what a visit found to one decision for each tensor: ties, views, declarations that reach nothing, devices.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use candle_core::{DeviceLocation, TensorId};

use crate::{
    Decision, Error, Param, ParamPath, Reason, Result, kernel,
    visitor::{Declaration, Entry, Found, Unvisited},
};

/// The parameters in the order of the visit, each storage once.
pub(crate) fn params(found: &Found) -> Result<Vec<Param>> {
    check_paths(&found.entries)?;
    let decisions = with_views(&found.entries);
    for declaration in &found.declarations {
        check_reach(declaration, found, &decisions)?;
    }
    let params = merge_ties(&found.entries, &decisions)?;
    let penalized = params.iter().filter(|param| param.decision.penalty().is_some());
    check_devices(penalized.map(|param| (&param.path, param.tensor.device().location())))?;
    Ok(params)
}

fn check_paths(entries: &[Entry]) -> Result<()> {
    let mut seen = BTreeSet::new();
    match entries.iter().find(|entry| !seen.insert(&entry.path)) {
        Some(entry) => Err(Error::DuplicatePath { path: entry.path.clone() }),
        None => Ok(()),
    }
}

/// The decisions of the visit, where "frozen" is sharpened to "a view of PATH" for a tensor that shares a variable's storage.
fn with_views(entries: &[Entry]) -> Vec<Decision> {
    let owners: HashMap<usize, &ParamPath> = entries
        .iter()
        .rev()
        .filter(|entry| entry.tensor.is_variable())
        .map(|entry| (kernel::storage_key(&entry.tensor), &entry.path))
        .collect();
    let sharpened = |entry: &Entry| match &entry.decision {
        Decision::Unpenalized(Reason::Frozen) => match owners.get(&kernel::storage_key(&entry.tensor)) {
            Some(&owner) => Decision::Unpenalized(Reason::View(owner.clone())),
            None => entry.decision.clone(),
        },
        decision => decision.clone(),
    };
    entries.iter().map(sharpened).collect()
}

fn merge_ties(entries: &[Entry], decisions: &[Decision]) -> Result<Vec<Param>> {
    let mut params: Vec<Param> = Vec::new();
    let mut by_id: HashMap<TensorId, usize> = HashMap::new();
    // Where the decision of a tied tensor was taken, for the error that names both places.
    let mut decided_at: Vec<ParamPath> = Vec::new();
    for (entry, decision) in entries.iter().zip(decisions) {
        let Some(&index) = by_id.get(&entry.tensor.id()) else {
            by_id.insert(entry.tensor.id(), params.len());
            decided_at.push(entry.path.clone());
            params.push(Param {
                path: entry.path.clone(),
                aliases: Vec::new(),
                role: entry.role,
                decision: decision.clone(),
                tensor: entry.tensor.clone(),
            });
            continue;
        };
        let param = &mut params[index];
        param.aliases.push(entry.path.clone());
        if param.decision == *decision || decision.yields() {
            continue;
        }
        if param.decision.yields() {
            param.decision = decision.clone();
            decided_at[index] = entry.path.clone();
            continue;
        }
        if let (Decision::Unpenalized(_), Decision::Unpenalized(_)) = (&param.decision, decision) {
            continue; // not penalized for two reasons: the first one is as good as the other
        }
        return Err(Error::ConflictingRules {
            first: decided_at[index].clone(),
            first_rule: param.decision.to_string(),
            second: entry.path.clone(),
            second_rule: decision.to_string(),
        });
    }
    Ok(params)
}

/// A penalty that stands on a field has to reach a parameter below it.
fn check_reach(declaration: &Declaration, found: &Found, decisions: &[Decision]) -> Result<()> {
    let entries = &found.entries[declaration.entries.clone()];
    let decisions = &decisions[declaration.entries.clone()];
    let reached =
        |(entry, decision): (&Entry, &Decision)| entry.rule == declaration.rule && decision.penalty().is_some();
    if declaration.has_absent || entries.iter().zip(decisions).any(reached) {
        return Ok(());
    }
    let unvisited = &found.unvisited[declaration.unvisited.clone()];
    let mut reasons = BTreeSet::new();
    let mut ways_out = BTreeSet::new();
    for (entry, decision) in entries.iter().zip(decisions) {
        let (reason, way_out) = explain(decision);
        let relative = entry.path.as_str().strip_prefix(declaration.path.as_str()).unwrap_or(entry.path.as_str());
        let name = relative.trim_start_matches('.');
        reasons.insert(if name.is_empty() {
            format!("the tensor is {reason}")
        } else {
            format!("`{name}` is {reason}")
        });
        // A buffer is never what the penalty was meant for.
        if *decision != Decision::Unpenalized(Reason::Buffer) || entries.len() == 1 {
            ways_out.insert(way_out);
        }
    }
    for field in unvisited {
        reasons.insert(format!("`{}` is {}", field.path, field.reason));
    }
    let type_name = short_type_name(declaration.type_name);
    let why = if reasons.is_empty() {
        format!("`{type_name}` holds no parameters. Remove the penalty")
    } else {
        let reasons: Vec<_> = reasons.into_iter().collect();
        let ways_out: Vec<_> = ways_out.into_iter().collect();
        let holds = format!("in `{type_name}` {}", shortened(&reasons));
        if ways_out.is_empty() { holds } else { format!("{holds}. {}", ways_out.join(". ")) }
    };
    Err(Error::Unreached { path: declaration.path.clone(), declared: declaration.penalty.to_string(), why })
}

/// What the parameters of a model are in which nothing is penalized, and what to do about it.
pub(crate) fn why_nothing_is_penalized(params: &[Param], unvisited: &[Unvisited]) -> String {
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
    let mut parts: Vec<_> = kinds.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    parts.extend(unvisited.iter().map(|field| format!("`{}` {}", field.path, field.reason)));
    let mut why = if parts.is_empty() { "the model is empty".to_owned() } else { parts.join(", ") };
    if undeclared {
        why.push_str(". Declare `#[l1(lambda = ..)]` on a field or on the struct");
    }
    if frozen {
        why.push_str(". Build frozen layers from a VarBuilder over a VarMap (`VarBuilder::from_varmap`) to train them");
    }
    why
}

/// What a parameter is, in words, and what to do so that a penalty reaches it.
fn explain(decision: &Decision) -> (String, &'static str) {
    match decision {
        Decision::Penalized(_) => {
            ("under a nearer rule of its own".to_owned(), "Remove the outer declaration, or the nearer one")
        }
        Decision::Unpenalized(reason) => match reason {
            Reason::Norm => (
                "a norm parameter".to_owned(),
                "Add `norm` to the attribute to penalize norm parameters, or remove the penalty",
            ),
            Reason::Bias => {
                ("a bias".to_owned(), "Add `bias` to the attribute to penalize biases, or remove the penalty")
            }
            Reason::Buffer => ("a buffer".to_owned(), "Buffers are not trained; remove the penalty"),
            Reason::Frozen => (
                "frozen (not a variable)".to_owned(),
                "Build it from a VarBuilder over a VarMap (`VarBuilder::from_varmap`) to train it, or remove the penalty",
            ),
            Reason::View(path) => {
                (format!("a view of {path}"), "Declare the penalty where the tensor itself is, or remove it")
            }
            Reason::DType(dtype) => (
                format!("of dtype {}", dtype.as_str()),
                "Only F32, F64, BF16 and F16 are regularized; remove the penalty",
            ),
            reason => (reason.to_string(), "Remove the penalty, or the `skip` or `opaque` below it"),
        },
    }
}

fn shortened(reasons: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = reasons[..reasons.len().min(SHOWN)].join(", ");
    if reasons.len() > SHOWN {
        text.push_str(&format!(" and {} more", reasons.len() - SHOWN));
    }
    text
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

fn check_devices<'p>(penalized: impl Iterator<Item = (&'p ParamPath, DeviceLocation)>) -> Result<()> {
    let mut penalized = penalized.peekable();
    let Some((first, first_device)) = penalized.peek().cloned() else { return Ok(()) };
    match penalized.find(|(_, device)| *device != first_device) {
        None => Ok(()),
        Some((second, second_device)) => {
            Err(Error::TwoDevices { first: first.clone(), first_device, second: second.clone(), second_device })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalized_parameters_on_two_devices_are_refused_with_both_paths() {
        let (cpu, gpu) = (DeviceLocation::Cpu, DeviceLocation::Cuda { gpu_id: 1 });
        let paths = ["a.weight", "b.weight", "c.weight"].map(ParamPath::from);
        let on = |devices: [DeviceLocation; 3]| check_devices(paths.iter().zip(devices));
        assert!(on([gpu, gpu, gpu]).is_ok());
        let error = on([cpu, cpu, gpu]).map_err(|error| error.to_string());
        let message =
            "c.weight is on Cuda { gpu_id: 1 } but a.weight is on Cpu; penalized parameters must share one device";
        assert_eq!(error, Err(message.to_owned()));
    }

    #[test]
    fn a_type_name_loses_its_modules() {
        assert_eq!(short_type_name("core::option::Option<candle_nn::linear::Linear>"), "Option<Linear>");
        assert_eq!(short_type_name("[alloc::vec::Vec<(u8, a::B)>]"), "[Vec<(u8, B)>]");
    }
}
