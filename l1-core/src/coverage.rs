//! What becomes of each variable of a `VarMap`: proof that none was left out unnoticed.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use candle_core::TensorId;
use candle_nn::VarMap;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::{Decision, Error, Origin, Param, ParamPath, Penalty, Reason, Regularizer, Result, kernel, variables};

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
}

/// What becomes of one variable.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// Penalized.
    Penalized {
        /// The penalty, every scale included.
        penalty: Penalty,
        /// Where it was declared.
        by: Option<Origin>,
    },
    /// Not penalized.
    Unpenalized {
        /// Why.
        reason: Reason,
    },
    /// Skipped.
    Skipped {
        /// The reason that was given.
        reason: Option<&'static str>,
        /// Where.
        by: Option<Origin>,
        /// Whether that is known from its name alone: the skipped field is of a type that hides its tensors.
        by_name: bool,
    },
    /// Nobody has said anything of it.
    Unaccounted {
        /// What is known.
        why: String,
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
        let model = Model::of(regularizer);
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
        let strangers = regularizer.params().iter().filter(|param| !ids.contains(&param.tensor.id()));
        let strangers = strangers.map(|param| Stranger { path: param.path.clone(), what: strange(param) }).collect();
        let row = |(name, var): &(String, candle_core::Var)| {
            let param = regularizer.get(var);
            let status = match param {
                Some(param) => model.status(param),
                None => model.hidden(name, kernel::storage_key(var)),
            };
            let paths = param.into_iter().flat_map(|param| [&param.path].into_iter().chain(&param.aliases)).cloned();
            CoverageRow { name: name.clone(), paths: paths.collect(), shape: var.dims().to_vec(), status }
        };
        Self { variables: variables.iter().map(row).collect(), strangers }
    }

    /// The variables that nobody has said anything of.
    pub fn unaccounted(&self) -> impl Iterator<Item = &CoverageRow> {
        self.variables.iter().filter(|row| matches!(row.status, Status::Unaccounted { .. }))
    }

    /// Refuses variables that nobody has said anything of. Parameters that are no variables of the `VarMap` are no reason to refuse:
    /// what is frozen may be meant to be.
    ///
    /// # Errors
    /// [`Error::Unaccounted`], with all their names.
    pub fn strict(&self) -> Result<()> {
        let said = |row: &CoverageRow| match &row.status {
            Status::Unaccounted { why } => Some(format!("{}: {why}", row.name)),
            _ => None,
        };
        match self.variables.iter().filter_map(said).collect::<Vec<_>>() {
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

/// What the Regularizer knows, by what a variable can be found by.
struct Model<'r> {
    regularizer: &'r Regularizer,
    by_path: HashSet<&'r str>,
    by_storage: HashMap<usize, &'r ParamPath>,
}

impl<'r> Model<'r> {
    fn of(regularizer: &'r Regularizer) -> Self {
        let params = regularizer.params();
        Self {
            regularizer,
            by_path: params.iter().map(|param| param.path.as_str()).collect(),
            by_storage: params.iter().map(|param| (kernel::storage_key(&param.tensor), &param.path)).collect(),
        }
    }

    fn status(&self, param: &Param) -> Status {
        let by = || param.origin.clone();
        match &param.decision {
            Decision::Penalized(penalty) => {
                Status::Penalized { penalty: self.regularizer.penalty_of(param).unwrap_or(*penalty), by: by() }
            }
            Decision::Unpenalized(Reason::Skipped(reason)) => {
                Status::Skipped { reason: *reason, by: by(), by_name: false }
            }
            Decision::Unpenalized(reason) => Status::Unpenalized { reason: reason.clone() },
        }
    }

    /// What can be said of a variable that the Regularizer does not know.
    fn hidden(&self, name: &str, storage: usize) -> Status {
        let field = self.regularizer.field_around(name);
        if let Some((path, Reason::Skipped(reason))) = field {
            return Status::Skipped { reason: *reason, by: Some(Origin::Field(path.clone())), by_name: true };
        }
        let why = if let Some(path) = self.by_storage.get(&storage) {
            format!("the model holds only a view of it, at `{path}`")
        } else if self.by_path.contains(name) {
            "the model holds another tensor there (a copy?), so that training this one changes nothing in it".to_owned()
        } else if let Some((path, _)) = field {
            format!("in `{path}`, which is opaque, and no rule matches it")
        } else {
            "no field of the model shows it, and no rule matches it".to_owned()
        };
        Status::Unaccounted { why }
    }
}

impl Status {
    /// What becomes of it, and who says so.
    fn cells(&self) -> [String; 2] {
        let by = |by: &Option<Origin>| by.as_ref().map_or_else(String::new, Origin::to_string);
        match self {
            Self::Penalized { penalty, by: origin } => [format!("penalized ({penalty})"), by(origin)],
            Self::Unpenalized { reason } => [format!("– {reason}"), String::new()],
            Self::Skipped { reason, by: origin, by_name } => {
                let by_name = if *by_name { ", by name" } else { "" };
                [format!("– {}", Reason::Skipped(*reason)), format!("{}{by_name}", by(origin))]
            }
            Self::Unaccounted { why } => [format!("UNACCOUNTED: {why}"), String::new()],
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["variable", "shape", "what becomes of it", "declared by"]);
        for row in &self.variables {
            let shape: Vec<_> = row.shape.iter().map(usize::to_string).collect();
            let shape = if shape.is_empty() { "scalar".to_owned() } else { shape.join("×") };
            // Where the model calls it otherwise.
            let other: Vec<_> =
                row.paths.iter().filter(|path| path.as_str() != row.name).map(ParamPath::as_str).collect();
            let name =
                if other.is_empty() { row.name.clone() } else { format!("{} = {}", row.name, other.join(" = ")) };
            let [what, by] = row.status.cells();
            table.add_row([name, shape, what, by]);
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
