//! From what a visit found to one decision for each tensor: ties, views, declarations that reach nothing, devices.

use std::collections::{BTreeSet, HashMap};

use candle_core::{DeviceLocation, TensorId};

use crate::{
    Decision, Error, Param, ParamPath, Reason, Result, explain, kernel,
    visitor::{Declaration, Entry, Found},
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
    Err(Error::Unreached {
        path: declaration.path.clone(),
        declared: declaration.penalty.to_string(),
        why: explain::unreached(declaration, entries, decisions, unvisited),
    })
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
}
