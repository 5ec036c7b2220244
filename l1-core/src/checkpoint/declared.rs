//! The table of rules that a checkpoint was saved under, and what has changed since.

use std::{collections::BTreeSet, fmt::Display};

use serde::{Deserialize, Serialize};

use super::unique::Unique;
use crate::{Decision, Param, ParamPath, Regularizer, error::readable};

/// What is declared for every parameter of a model, by path.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Declared(Unique<Declaration>);

/// What is declared for one parameter; every number as text that reads back to the same bits.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declaration {
    /// What the tensor is for; none for a field that was not looked into.
    role: Option<String>,
    /// The penalty, or why there is none.
    rule: String,
    /// The declared weight decay.
    decay: Option<String>,
}

impl Declared {
    pub(super) fn of(regularizer: &Regularizer) -> Self {
        let unvisited = regularizer.unvisited().map(|(path, reason)| {
            let declaration = Declaration { role: None, rule: format!("not visited ({reason})"), decay: None };
            (path.as_str().to_owned(), declaration)
        });
        let params = regularizer.params().iter().map(|param| (param.path.as_str().to_owned(), Declaration::of(param)));
        Self(Unique(unvisited.chain(params).collect()))
    }

    /// What differs between the table in a file and the model's, one line each.
    pub(super) fn differences(&self, model: &Self) -> Vec<String> {
        let (file, model) = (&self.0.0, &model.0.0);
        let paths: BTreeSet<_> = file.keys().chain(model.keys()).collect();
        paths.into_iter().flat_map(|path| differences(path, file.get(path), model.get(path))).collect()
    }

    /// Whether each of the two has a path that the other lacks, as after a change of a field's name.
    pub(super) fn may_be_renamed(&self, model: &Self) -> bool {
        let lacks = |one: &Self, other: &Self| other.0.0.keys().any(|path| !one.0.0.contains_key(path));
        lacks(self, model) && lacks(model, self)
    }
}

impl Declaration {
    fn of(param: &Param) -> Self {
        let rule = match &param.decision {
            Decision::Penalized(penalty) => penalty.to_string(),
            Decision::Unpenalized(reason) => format!("not penalized ({reason})"),
        };
        Self { role: Some(param.role.to_string()), rule, decay: param.decay.map(readable) }
    }

    fn role(&self) -> &str {
        self.role.as_deref().unwrap_or("unknown")
    }

    fn decay(&self) -> String {
        self.decay.as_ref().map_or_else(|| "no decay".to_owned(), |decay| format!("decay = {decay}"))
    }
}

fn differences(path: &str, file: Option<&Declaration>, model: Option<&Declaration>) -> Vec<String> {
    let path = ParamPath::from(path);
    let (file, model) = match (file, model) {
        (Some(file), Some(model)) => (file, model),
        (Some(file), None) => return vec![difference(path, &file.rule, "no such parameter", Here::Model)],
        (None, Some(model)) => return vec![difference(path, "no such parameter", &model.rule, Here::Model)],
        (None, None) => return Vec::new(),
    };
    let parts = [
        (format!("role {}", file.role()), format!("role {}", model.role())),
        (file.rule.clone(), model.rule.clone()),
        (file.decay(), model.decay()),
    ];
    parts
        .into_iter()
        .filter(|(file, model)| file != model)
        .map(|(file, model)| difference(&path, file, model, Here::Model))
        .collect()
}

/// What the file is compared with.
#[derive(Clone, Copy)]
pub(super) enum Here {
    Model,
    /// The program around the model, which has made the optimizer.
    Program,
}

/// One line of a list of differences.
pub(super) fn difference(what: impl Display, file: impl Display, found: impl Display, here: Here) -> String {
    let here = match here {
        Here::Model => "the model",
        Here::Program => "this program",
    };
    format!("{what}: {file} in the file, {found} in {here}")
}
