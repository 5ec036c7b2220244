//! What becomes of each variable of a `VarMap`: proof that none was left out unnoticed.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use candle_core::{TensorId, Var};
use candle_nn::VarMap;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::{
    Decision, Error, LeftOut, Origin, Param, ParamPath, Penalty, Reason, Regularizer, Result, kernel, located::Located,
    variables, visitor::Unvisited,
};

/// Every variable of a `VarMap` with what becomes of it, and every parameter of the model that is no variable of it; made by
/// [`Regularizer::coverage`].
///
/// `Display` prints a table; through serde it becomes JSON.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Coverage {
    /// One row for each variable, by name.
    pub variables: Vec<CoverageRow>,
    /// Parameters of the model that are no variables of this `VarMap`: an optimizer that is given the map's variables does not
    /// train them.
    pub strangers: Vec<Stranger>,
}

/// One variable of a [`Coverage`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CoverageRow {
    /// Its name in the `VarMap`.
    pub name: String,
    /// Where the model shows it, and its other places if it is tied; empty if it does not.
    pub paths: Vec<ParamPath>,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// What becomes of it.
    pub status: Status,
    /// The weight decay declared for it; an optimizer's own `weight_decay` is not known here.
    pub decay: Option<f64>,
}

/// What becomes of one variable.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// Penalized.
    #[non_exhaustive]
    Penalized {
        /// The penalty, every scale included; where a schedule has a scale at 0 for now (a warm-up), with a scale of 1 in its place.
        penalty: Penalty,
        /// Whether it is off, and zeros are held; see [`Regularizer::freeze_support`].
        support_is_frozen: bool,
        /// Where it was declared.
        by: Option<Origin>,
    },
    /// Not penalized.
    #[non_exhaustive]
    Unpenalized {
        /// Why.
        reason: Reason,
    },
    /// Skipped.
    #[non_exhaustive]
    Skipped {
        /// The reason that was given.
        reason: Option<&'static str>,
        /// Where.
        by: Option<Origin>,
        /// Whether that is known from its name alone: the skipped field is of a type that hides its tensors.
        by_name: bool,
    },
    /// Nobody has said anything of it.
    #[non_exhaustive]
    Unaccounted {
        /// What is known.
        why: LeftOut,
    },
}

/// A parameter of the model that is no variable of the `VarMap`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stranger {
    /// Where it is.
    pub path: ParamPath,
    /// What it is instead.
    pub what: Strangeness,
}

/// What a parameter is that is no variable of the `VarMap`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Strangeness {
    /// Another tensor than the variable of its name: a copy, or a part of another model.
    Copy,
    /// A tensor that shares the storage of the variable of this name.
    View(String),
    /// Not a variable at all.
    Frozen,
    /// A variable, but none of this `VarMap`.
    Elsewhere,
}

impl fmt::Display for Strangeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy => f.write_str("another tensor than the VarMap's variable of this name (a copy?)"),
            Self::View(name) => write!(f, "a view of the VarMap's `{name}`"),
            Self::Frozen => f.write_str("frozen: not a variable"),
            Self::Elsewhere => f.write_str("a variable, but not of this VarMap"),
        }
    }
}

impl Coverage {
    pub(crate) fn new(regularizer: &Regularizer, varmap: &VarMap) -> Self {
        let variables = variables::by_name(varmap);
        let model = Model::of(regularizer, &variables);
        let rows = variables.iter().map(|(name, var)| {
            let param = regularizer.get(var);
            let status = param.map_or_else(|| model.hidden(name, var), |param| model.status(param));
            let shown = param.filter(|param| !param.hidden);
            let paths = shown.into_iter().flat_map(|param| [&param.path].into_iter().chain(&param.aliases)).cloned();
            let (paths, shape) = (paths.collect(), var.dims().to_vec());
            CoverageRow { name: name.clone(), paths, shape, status, decay: param.and_then(|param| param.decay) }
        });
        Self { variables: rows.collect(), strangers: strangers(regularizer, &variables) }
    }

    /// The variables that nobody has said anything of.
    pub fn unaccounted(&self) -> impl Iterator<Item = &CoverageRow> {
        self.variables.iter().filter(|row| matches!(row.status, Status::Unaccounted { .. }))
    }

    /// Refuses variables that nobody has said anything of, and a `VarMap` without any. Parameters that are no variables of the `VarMap`
    /// are no reason to refuse: what is frozen may be meant to be, and a model may have several.
    ///
    /// # Errors
    /// [`Error::Unaccounted`], with all their names; [`Error::EmptyVarMap`].
    pub fn strict(&self) -> Result<()> {
        if self.variables.is_empty() {
            return Err(Error::EmptyVarMap);
        }
        let left_out = |row: &CoverageRow| match &row.status {
            Status::Unaccounted { why } => Some((row.name.clone(), why.clone())),
            _ => None,
        };
        match self.variables.iter().filter_map(left_out).collect::<Vec<_>>() {
            variables if variables.is_empty() => Ok(()),
            variables => Err(Error::Unaccounted { variables }),
        }
    }

    /// The row of a variable.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<&CoverageRow> {
        self.variables.iter().find(|row| row.name == name)
    }
}

/// The parameters that are no variables of the `VarMap`, and what they are.
fn strangers(regularizer: &Regularizer, variables: &[(String, Var)]) -> Vec<Stranger> {
    let ids: HashSet<TensorId> = variables.iter().map(|(_, var)| var.id()).collect();
    let names: HashSet<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
    let storages: HashMap<usize, &str> =
        variables.iter().map(|(name, var)| (kernel::storage_key(var), name.as_str())).collect();
    let strange = |param: &Param| match storages.get(&kernel::storage_key(&param.tensor)) {
        Some(name) => Strangeness::View((*name).to_owned()),
        None if names.contains(param.path.as_str()) => Strangeness::Copy,
        None if !param.tensor.is_variable() => Strangeness::Frozen,
        None => Strangeness::Elsewhere,
    };
    let is_stranger = |param: &&Param| !param.hidden && !ids.contains(&param.tensor.id());
    let strangers = regularizer.params().iter().filter(is_stranger);
    strangers.map(|param| Stranger { path: param.path.clone(), what: strange(param) }).collect()
}

/// What the Regularizer knows, by what a variable can be found by.
struct Model<'r> {
    regularizer: &'r Regularizer,
    by_path: HashSet<&'r str>,
    by_storage: HashMap<usize, &'r ParamPath>,
    fields: Vec<Located<'r>>,
}

impl<'r> Model<'r> {
    fn of(regularizer: &'r Regularizer, variables: &[(String, Var)]) -> Self {
        let params = regularizer.params();
        let names: HashMap<TensorId, &str> = variables.iter().map(|(name, var)| (var.id(), name.as_str())).collect();
        let paths = |param: &'r Param| [&param.path].into_iter().chain(&param.aliases);
        let shown = params.iter().filter(|param| !param.hidden).flat_map(|param| {
            let name = names.get(&param.tensor.id()).copied();
            paths(param).map(move |path| (path.as_str(), name))
        });
        let shown: Vec<_> = shown.collect();
        Self {
            regularizer,
            by_path: shown.iter().map(|(path, _)| *path).collect(),
            by_storage: params.iter().map(|param| (kernel::storage_key(&param.tensor), &param.path)).collect(),
            fields: Located::all(
                regularizer.fields_not_looked_into(),
                &shown,
                variables.iter().map(|(name, _)| name.as_str()),
            ),
        }
    }

    fn status(&self, param: &Param) -> Status {
        match (self.regularizer.penalty_to_come(param), &param.decision) {
            (Some(penalty), _) if penalty.is_none() => Status::Unpenalized { reason: Reason::NoStrength },
            (Some(penalty), _) => {
                let support_is_frozen = param.support_is_frozen;
                Status::Penalized { penalty, support_is_frozen, by: param.origin.clone() }
            }
            (None, Decision::Unpenalized(Reason::Skipped(reason))) => {
                Status::Skipped { reason: *reason, by: param.origin.clone(), by_name: false }
            }
            (None, Decision::Unpenalized(reason)) => Status::Unpenalized { reason: reason.clone() },
            (None, Decision::Penalized(_)) => Status::Unpenalized { reason: Reason::NothingDeclared },
        }
    }

    /// What can be said of a variable that the Regularizer does not know.
    fn hidden(&self, name: &str, var: &Var) -> Status {
        let field = Located::around(&self.fields, name).map(|located| located.field);
        let why = match field {
            Some(Unvisited { reason: Reason::Skipped(reason), origin, .. }) => {
                return Status::Skipped { reason: *reason, by: origin.clone(), by_name: true };
            }
            _ if self.by_storage.contains_key(&kernel::storage_key(var)) => {
                LeftOut::View(self.by_storage[&kernel::storage_key(var)].clone())
            }
            _ if self.by_path.contains(name) => LeftOut::Copy,
            Some(field) => LeftOut::Opaque(field.path.clone()),
            None => LeftOut::NotShown,
        };
        Status::Unaccounted { why }
    }
}

impl CoverageRow {
    /// Name, shape, what becomes of it, and who says so.
    fn cells(&self) -> [String; 4] {
        let by = |by: &Option<Origin>| by.as_ref().map_or_else(String::new, Origin::to_string);
        let (mut what, by) = match &self.status {
            Status::Penalized { penalty, support_is_frozen, by: origin } => {
                let frozen = if *support_is_frozen { ", support frozen" } else { "" };
                (format!("penalized ({penalty}){frozen}"), by(origin))
            }
            Status::Unpenalized { reason: Reason::NothingDeclared } if self.decay.is_some() => {
                ("– no penalty".to_owned(), String::new())
            }
            Status::Unpenalized { reason } => (format!("– {reason}"), String::new()),
            Status::Skipped { reason, by: origin, by_name } => {
                let by_name = if *by_name { ", by name" } else { "" };
                (format!("– {}", Reason::Skipped(*reason)), format!("{}{by_name}", by(origin)))
            }
            Status::Unaccounted { why } => (format!("UNACCOUNTED: {why}"), String::new()),
        };
        if let Some(decay) = self.decay {
            what.push_str(&format!(", decay = {decay}"));
        }
        let shape: Vec<_> = self.shape.iter().map(usize::to_string).collect();
        let shape = if shape.is_empty() { "scalar".to_owned() } else { shape.join("×") };
        // Where the model calls it otherwise.
        let other = self.paths.iter().map(ParamPath::as_str).filter(|path| *path != self.name);
        let name = [self.name.as_str()].into_iter().chain(other).collect::<Vec<_>>().join(" = ");
        [name, shape, what, by]
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["variable", "shape", "what becomes of it", "declared by"]);
        for row in &self.variables {
            table.add_row(row.cells());
        }
        writeln!(f, "{table}")?;
        for Stranger { path, what } in &self.strangers {
            writeln!(f, "the model's {path} is {what}")?;
        }
        let count = |is: fn(&Status) -> bool| self.variables.iter().filter(|row| is(&row.status)).count();
        write!(
            f,
            "{} variables: {} penalized, {} unpenalized, {} skipped, {} unaccounted for",
            self.variables.len(),
            count(|status| matches!(status, Status::Penalized { .. })),
            count(|status| matches!(status, Status::Unpenalized { .. })),
            count(|status| matches!(status, Status::Skipped { .. })),
            self.unaccounted().count(),
        )
    }
}
