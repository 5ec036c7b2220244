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
    let mut obstacles: Vec<(Obstacle, Vec<&str>)> = Vec::new();
    let mut note = |obstacle: Obstacle, path| {
        let name = relative(path, &declaration.path);
        match obstacles.iter_mut().find(|(known, _)| *known == obstacle) {
            Some((_, names)) => names.push(name),
            None => obstacles.push((obstacle, vec![name])),
        }
    };
    for (entry, decision) in entries.iter().zip(decisions) {
        note(obstacle(entry, decision, declaration), &entry.path);
    }
    for field in &found.unvisited[declaration.unvisited.clone()] {
        note(Obstacle::out_of_reach(&field.reason), &field.path);
    }
    let (path, declared) = (declaration.path.clone(), declaration.penalty.to_string());
    Err(Error::Unreached { path, declared, why: why(&short_type_name(declaration.type_name), &obstacles) })
}

fn relative<'p>(path: &'p ParamPath, above: &ParamPath) -> &'p str {
    path.as_str().strip_prefix(above.as_str()).unwrap_or(path.as_str()).trim_start_matches('.')
}

/// What keeps a penalty from some parameters: what they are (one of them, several of them), and what to do about it.
#[derive(PartialEq)]
struct Obstacle {
    one: String,
    /// What a type holds that holds nothing else, where that can be said.
    several: Option<String>,
    way_out: &'static str,
}

impl Obstacle {
    fn new(one: &str, several: &str, way_out: &'static str) -> Self {
        Self { one: one.to_owned(), several: Some(several.to_owned()), way_out }
    }

    fn out_of_reach(reason: &Reason) -> Self {
        let way_out = "Remove the penalty, or the `skip` or `opaque` below it";
        Self { one: reason.to_string(), several: None, way_out }
    }
}

fn obstacle(entry: &Entry, decision: &Decision, declaration: &Declaration) -> Obstacle {
    let reason = match decision {
        Decision::Unpenalized(reason @ Reason::Skipped(_)) => return Obstacle::out_of_reach(reason),
        _ if entry.rule != declaration.rule => {
            let what = "under a nearer rule of its own";
            let way_out = "Remove the outer declaration, or the nearer one";
            return Obstacle::new(what, "parameters under nearer rules of their own", way_out);
        }
        Decision::Penalized(_) => &Reason::NothingDeclared,
        Decision::Unpenalized(reason) => reason,
    };
    match reason {
        Reason::Norm => Obstacle::new(
            "a norm parameter",
            "norm parameters",
            "Add `norm` to the attribute to penalize norm parameters, or remove the penalty",
        ),
        Reason::Bias => {
            Obstacle::new("a bias", "biases", "Add `bias` to the attribute to penalize biases, or remove the penalty")
        }
        Reason::Buffer => Obstacle::new("a buffer", "buffers", "Buffers are not trained; remove the penalty"),
        Reason::Frozen => Obstacle::new(
            "frozen (not a variable)",
            "frozen tensors (not variables)",
            "To train them build the layer from a VarBuilder over a VarMap (`VarBuilder::from_varmap`), or remove the penalty",
        ),
        Reason::View(path) => {
            let (one, several) = (format!("a view of {path}"), format!("views of {path}"));
            Obstacle::new(&one, &several, "Declare the penalty where the tensor itself is, or remove it")
        }
        Reason::DType(dtype) => {
            let (one, several) = (dtype.as_str(), format!("tensors of dtype {}", dtype.as_str()));
            Obstacle::new(
                &format!("of dtype {one}"),
                &several,
                "Only F32, F64, BF16 and F16 are regularized; remove the penalty",
            )
        }
        reason => Obstacle::out_of_reach(reason),
    }
}

/// The obstacles in words, and the ways out.
fn why(type_name: &str, obstacles: &[(Obstacle, Vec<&str>)]) -> String {
    let found = match obstacles {
        [] => return format!("`{type_name}` holds no parameters. Remove the penalty"),
        [(Obstacle { one, .. }, names)] if names.as_slice() == [""] => format!("the tensor is {one}"),
        [(Obstacle { several: Some(several), .. }, names)] if names.len() > 1 => {
            format!("`{type_name}` holds only {several}")
        }
        obstacles => {
            let parts: Vec<_> = obstacles.iter().map(|(obstacle, names)| listed(obstacle, names)).collect();
            format!("in `{type_name}` {}", parts.join("; "))
        }
    };
    // A buffer is never what the penalty was meant for.
    let mut ways_out: Vec<_> = obstacles.iter().map(|(obstacle, _)| obstacle.way_out).collect();
    ways_out.dedup();
    if ways_out.len() > 1 {
        ways_out.retain(|way_out| !way_out.starts_with("Buffers"));
    }
    format!("{found}. {}", ways_out.join(". "))
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
