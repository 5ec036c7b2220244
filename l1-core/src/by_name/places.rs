//! The places that patterns can match: those that models show, and the variables that no model does.

use std::collections::{HashMap, HashSet};

use candle_core::{Tensor, TensorId, Var};

use crate::{
    Reason, Role,
    kernel::storage_key,
    located::{Located, Shown},
    roles_by_name,
    visitor::{Around, Found},
};

/// One place of a tensor with all its names.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) names: Vec<String>,
    pub(super) at: At,
}

/// Where a place is.
#[derive(Debug)]
pub(super) enum At {
    /// In a model: an entry of what was found.
    Shown(usize),
    /// In a `VarMap` alone.
    Hidden(Hidden),
}

/// A variable that no model shows.
#[derive(Debug)]
pub(super) struct Hidden {
    /// Its name, made unique if a model has another tensor of that name.
    pub(super) path: String,
    pub(super) tensor: Tensor,
    pub(super) role: Role,
    /// The field that it lies in, by name.
    pub(super) field: Option<usize>,
    /// The `skip` of that field.
    pub(super) skipped: Option<Reason>,
    /// What the attributes around that field say.
    pub(super) around: Around,
}

/// All places, grouped by tensor.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) tensors: Vec<Vec<Place>>,
    /// Names that mean one tensor in the model and another one in a `VarMap`.
    pub(super) ambiguous: HashSet<String>,
    /// The paths of hidden variables.
    taken: HashSet<String>,
}

impl Places {
    /// * `varmaps`: the variables of each, by name.
    pub(super) fn of(found: &Found, varmaps: &[Vec<(String, Var)>]) -> Self {
        let mut tensors: Vec<Vec<Place>> = Vec::new();
        let mut by_id: HashMap<TensorId, usize> = HashMap::new();
        for (index, entry) in found.entries.iter().enumerate() {
            let tensor = *by_id.entry(entry.tensor.id()).or_insert(tensors.len());
            if tensor == tensors.len() {
                tensors.push(Vec::new());
            }
            tensors[tensor].push(Place { names: vec![entry.path.as_str().to_owned()], at: At::Shown(index) });
        }
        let mut places = Self { tensors, ambiguous: HashSet::new(), taken: HashSet::new() };
        for (number, variables) in varmaps.iter().enumerate() {
            places.add(found, &by_id, number, variables);
        }
        places
    }

    fn add(&mut self, found: &Found, by_id: &HashMap<TensorId, usize>, number: usize, variables: &[(String, Var)]) {
        let names: HashMap<TensorId, &str> = variables.iter().map(|(name, var)| (var.id(), name.as_str())).collect();
        let shown: Vec<Shown<'_>> =
            found.entries.iter().map(|entry| (entry.path.as_str(), names.get(&entry.tensor.id()).copied())).collect();
        let fields = Located::all(&found.unvisited, &shown, variables.iter().map(|(name, _)| name.as_str()));
        let by_path: HashMap<&str, &Tensor> =
            found.entries.iter().map(|entry| (entry.path.as_str(), &entry.tensor)).collect();
        let roles = roles_by_name::roles(variables.iter().map(|(name, var)| (name.as_str(), var.as_tensor())));
        for ((name, var), role) in variables.iter().zip(roles) {
            let namesake = by_path.get(name.as_str()).filter(|tensor| tensor.id() != var.id());
            // A view is no other tensor.
            if namesake.is_some_and(|tensor| storage_key(tensor) != storage_key(var)) {
                self.ambiguous.insert(name.clone());
            }
            if let Some(&tensor) = by_id.get(&var.id()) {
                let places = &mut self.tensors[tensor];
                // A name that is no path of its own is one more name of every place.
                if !places.iter().any(|place| place.names[0] == *name) {
                    places.iter_mut().for_each(|place| place.names.push(name.clone()));
                }
                continue;
            }
            let field = Located::around(&fields, name).map(|located| located.field);
            let skipped = field.map(|field| &field.reason).filter(|reason| matches!(reason, Reason::Skipped(_)));
            let hidden = Hidden {
                path: self.unique(name, namesake.is_some(), number),
                tensor: var.as_tensor().clone(),
                role,
                field: field.and_then(|field| found.unvisited.iter().position(|other| std::ptr::eq(other, field))),
                skipped: skipped.cloned(),
                around: field.map_or(Around::NOTHING, |field| field.around),
            };
            self.tensors.push(vec![Place { names: vec![name.clone()], at: At::Hidden(hidden) }]);
        }
    }

    fn unique(&mut self, name: &str, is_taken: bool, number: usize) -> String {
        let is_free = self.taken.insert(name.to_owned());
        if is_taken || !is_free { format!("{name} (VarMap {})", number + 1) } else { name.to_owned() }
    }

    /// Notes the fields of whose variables none is left that no rule has reached.
    pub(super) fn note_reached(&self, found: &mut Found) {
        let reached: HashSet<TensorId> =
            found.entries.iter().filter(|entry| entry.hidden).map(|entry| entry.tensor.id()).collect();
        let mut counts = vec![(0, 0); found.unvisited.len()];
        for place in self.tensors.iter().flatten() {
            if let At::Hidden(Hidden { field: Some(field), tensor, .. }) = &place.at {
                counts[*field].0 += 1;
                counts[*field].1 += usize::from(reached.contains(&tensor.id()));
            }
        }
        for (field, (all, reached)) in found.unvisited.iter_mut().zip(counts) {
            field.is_reached = all > 0 && all == reached;
        }
    }
}
