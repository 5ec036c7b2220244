//! From what a visit found to one decision for each tensor: ties, views, declarations that reach nothing, devices.

use std::collections::{BTreeSet, HashMap};

use candle_core::{DeviceLocation, TensorId};

use crate::{
    Decision, Error, Param, ParamPath, Penalty, Reason, Result, explain, kernel,
    mark::Mark,
    visitor::{Declaration, Declared, Entry, Found},
};

/// The parameters in the order of the visit, each storage once.
pub(crate) fn params(found: &mut Found) -> Result<Vec<Param>> {
    check_paths(&found.entries)?;
    name_views(&mut found.entries);
    for declaration in &found.declarations {
        check_reach(declaration, found)?;
    }
    let params = merge_ties(found)?;
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

/// Sharpens "frozen" to "a view of PATH" for a tensor that shares a variable's storage.
pub(crate) fn name_views(entries: &mut [Entry]) {
    let owners: HashMap<usize, ParamPath> = entries
        .iter()
        .rev()
        .filter(|entry| entry.tensor.is_variable())
        .map(|entry| (kernel::storage_key(&entry.tensor), entry.path.clone()))
        .collect();
    for entry in entries.iter_mut().filter(|entry| entry.closed == Some(Reason::Frozen)) {
        if let Some(owner) = owners.get(&kernel::storage_key(&entry.tensor)) {
            entry.closed = Some(Reason::View(owner.clone()));
        }
    }
}

/// What came of the declarations for a tensor, or why nothing did, and the place that decided it.
struct Outcome<T> {
    value: Result<T, Reason>,
    at: ParamPath,
    /// The number of the declaration or the `skip`.
    number: Option<usize>,
}

impl<T: Copy + PartialEq> Outcome<T> {
    fn new(entry: &Entry, declared: Option<Declared<T>>) -> Self {
        let value = match (&entry.closed, declared) {
            (None, Some(declared)) => Ok(declared.value),
            // `bias` and `norm` decide about declarations, and there is none.
            (None | Some(Reason::Bias | Reason::Norm), None) => Err(Reason::NothingDeclared),
            (Some(reason), _) => Err(reason.clone()),
        };
        let number = if value.is_ok() { declared.map(|declared| declared.number) } else { entry.skip };
        Self { value, at: entry.path.clone(), number }
    }

    /// Takes in the outcome at another place of the same tensor: nothing declared yields, everything else has to agree.
    fn merge(&mut self, other: Self, say: impl Fn(&Result<T, Reason>) -> String) -> Result<()> {
        match (&self.value, &other.value) {
            (_, Err(Reason::NothingDeclared)) => {}
            (Err(Reason::NothingDeclared), _) => *self = other,
            // For two reasons: the first one is as good as the other.
            (Err(_), Err(_)) => {}
            (Ok(first), Ok(second)) if first == second => {}
            (first, second) => {
                return Err(Error::ConflictingRules {
                    first_rule: say(first),
                    first: self.at.clone(),
                    second_rule: say(second),
                    second: other.at,
                });
            }
        }
        Ok(())
    }
}

/// One tensor with all its places.
struct Tied<'e> {
    entry: &'e Entry,
    aliases: Vec<ParamPath>,
    penalty: Outcome<Penalty>,
    decay: Outcome<f64>,
}

fn merge_ties(found: &Found) -> Result<Vec<Param>> {
    let mut tied: Vec<Tied<'_>> = Vec::new();
    let mut by_id: HashMap<TensorId, usize> = HashMap::new();
    for entry in &found.entries {
        let (penalty, decay) = (Outcome::new(entry, entry.penalty), Outcome::new(entry, entry.decay));
        let Some(&index) = by_id.get(&entry.tensor.id()) else {
            by_id.insert(entry.tensor.id(), tied.len());
            tied.push(Tied { entry, aliases: Vec::new(), penalty, decay });
            continue;
        };
        let first = &mut tied[index];
        first.aliases.push(entry.path.clone());
        first.penalty.merge(penalty, |outcome| Decision::of(outcome.clone()).to_string())?;
        first.decay.merge(decay, |outcome| match outcome {
            Ok(decay) => format!("decayed (decay = {decay})"),
            Err(reason) => format!("not decayed ({reason})"),
        })?;
    }
    let param = |Tied { entry, aliases, penalty, decay }: Tied<'_>| Param {
        mark: penalty.value.is_ok().then(|| Mark::of(&entry.tensor)),
        path: entry.path.clone(),
        aliases,
        role: entry.role,
        decision: Decision::of(penalty.value),
        origin: penalty.number.and_then(|number| found.origin(number)).cloned(),
        decay: decay.value.ok(),
        hidden: entry.hidden,
        tensor: entry.tensor.clone(),
        scale: 1.0,
        support_is_frozen: false,
    };
    Ok(tied.into_iter().map(param).collect())
}

/// A penalty or decay that stands on a field has to reach a parameter below it.
fn check_reach(declaration: &Declaration, found: &Found) -> Result<()> {
    let entries = &found.entries[declaration.entries.clone()];
    let reached =
        |entry: &Entry| declaration.is_overruled_at(entry) || (entry.closed.is_none() && declaration.holds_for(entry));
    if declaration.has_absent || entries.iter().any(reached) {
        return Ok(());
    }
    let unvisited = &found.unvisited[declaration.unvisited.clone()];
    Err(Error::Unreached {
        path: declaration.path.clone(),
        declared: declaration.what.to_string(),
        why: explain::unreached(declaration, entries, unvisited),
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
        let message = "c.weight is on Cuda { gpu_id: 1 } but a.weight is on Cpu; penalized parameters must share one device. \
                       Build the model on one, or declare `#[l1(skip)]` on what lies elsewhere";
        assert_eq!(error, Err(message.to_owned()));
    }
}
