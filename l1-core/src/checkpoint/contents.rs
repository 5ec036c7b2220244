//! What a checkpoint says beside its tensors.

use std::collections::BTreeMap;

use candle_core::Var;
use candle_nn::Optimizer;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    declared::{Declared, Here, difference},
    file::{OLDER_COPY, Opened},
};
use crate::{
    Result,
    kernel::master::Master,
    optim::{Kept, Method, Stepper},
};

/// The version of the format that is written, and the only one that is read.
const VERSION: u32 = 1;

/// The text in the file's metadata, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Contents {
    version: u32,
    pub(super) optimizer: String,
    pub(super) steps: u64,
    #[serde(with = "crate::exact")]
    pub(super) learning_rate: f64,
    /// The regularizer's own.
    #[serde(with = "crate::exact")]
    pub(super) scale: f64,
    hyperparameters: BTreeMap<String, String>,
    /// Names of the tensors that are kept for each stepped variable.
    pub(super) state: Vec<String>,
    /// What the optimizer counts for each stepped variable.
    pub(super) progress: BTreeMap<String, Value>,
    declarations: Declared,
    pub(super) note: String,
}

/// What can be read of every version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Contents {
    /// * `names`: of the optimizer's variables, in its order.
    pub(super) fn of<M: Method>(optimizer: &Stepper<M>, names: &[&str], note: &str) -> serde_json::Result<Self> {
        let progress = names.iter().zip(optimizer.kept());
        let progress = progress.map(|(name, kept)| Ok(((*name).to_owned(), serde_json::to_value(kept.progress)?)));
        Ok(Self {
            version: VERSION,
            optimizer: M::NAME.to_owned(),
            steps: optimizer.steps(),
            learning_rate: optimizer.learning_rate(),
            scale: optimizer.regularizer().scale(),
            hyperparameters: hyperparameters(optimizer.params()),
            state: state(optimizer),
            progress: progress.collect::<serde_json::Result<_>>()?,
            declarations: Declared::of(optimizer.regularizer()),
            note: note.to_owned(),
        })
    }

    pub(super) fn read(file: &Opened) -> Result<Self> {
        let text = file.text()?;
        let unreadable = |error: serde_json::Error| {
            let why = format!("its text `l1.checkpoint` cannot be read ({error}); {OLDER_COPY}");
            file.no_checkpoint(why, Some(error.into()))
        };
        let Versioned { version } = serde_json::from_str(text).map_err(unreadable)?;
        if version != VERSION {
            let why = format!(
                "it has version {version} of the format, and this l1-core reads version {VERSION}; read it with the l1-core \
                 that wrote it, or its weights alone with `VarMap::load`"
            );
            return Err(file.no_checkpoint(why, None));
        }
        serde_json::from_str(text).map_err(unreadable)
    }

    /// What the optimizer had counted for a variable.
    pub(super) fn progress_of<P: DeserializeOwned>(&self, name: &str, file: &Opened) -> Result<P> {
        let progress = self.progress.get(name).cloned().unwrap_or_default();
        serde_json::from_value(progress).map_err(|error| {
            let why = format!("the progress of `{name}` cannot be read ({error}); {OLDER_COPY}");
            file.no_checkpoint(why, Some(error.into()))
        })
    }

    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// Hyperparameters that are others in the file, one line each.
    pub(super) fn changed_hyperparameters<M: Method>(&self, params: &M) -> Vec<String> {
        let here = hyperparameters(params);
        let said = |map: &BTreeMap<_, String>, name: &String| {
            map.get(name).map_or_else(|| format!("no {name}"), |value| format!("{name} = {value}"))
        };
        let names =
            self.hyperparameters.keys().chain(here.keys().filter(|name| !self.hyperparameters.contains_key(*name)));
        let changed = names.filter(|name| self.hyperparameters.get(*name) != here.get(*name));
        let line = |name| difference(M::NAME, said(&self.hyperparameters, name), said(&here, name), Here::Program);
        changed.map(line).collect()
    }

    /// A line if only one of the two keeps f32 copies.
    pub(super) fn changed_master<M: Method>(&self, optimizer: &Stepper<M>) -> Option<String> {
        let [in_file, here] = [&self.state, &state(optimizer)].map(|state| has_master(state));
        let said = |has: bool| format!("master_weights = {has}");
        (in_file != here).then(|| difference(M::NAME, said(in_file), said(here), Here::Program))
    }

    /// Declarations that are others in the file, one line each.
    pub(super) fn changed_declarations<M: Method>(&self, params: &M) -> Vec<String> {
        self.declarations.differences(&Declared::of(params.shared().regularizer))
    }

    /// Whether a field may have got another name since.
    pub(super) fn may_be_renamed<M: Method>(&self, params: &M) -> bool {
        self.declarations.may_be_renamed(&Declared::of(params.shared().regularizer))
    }
}

fn hyperparameters<M: Method>(params: &M) -> BTreeMap<String, String> {
    params.hyperparameters().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The name of a half variable's f32 copy among its state tensors.
const MASTER: &str = "master";

/// The names of the tensors that [`tensors`] gives; the last is of half variables only.
pub(super) fn state<M: Method>(optimizer: &Stepper<M>) -> Vec<String> {
    let names = optimizer.params().state().into_iter().map(|(name, _)| name.to_owned());
    let has_master = optimizer.kept().any(|kept| kept.master.is_some());
    names.chain(has_master.then(|| MASTER.to_owned())).collect()
}

/// The tensors that are kept for a variable beside its weights.
pub(super) fn tensors<'k, P>(kept: &Kept<'k, P>) -> impl Iterator<Item = &'k Var> + use<'k, P> {
    kept.state.iter().chain(kept.master.map(Master::weights))
}

/// Whether f32 copies are among the state tensors of these names.
pub(super) fn has_master(state: &[String]) -> bool {
    state.last().is_some_and(|name| name == MASTER)
}

/// The names of what only an optimizer of the same hyperparameters keeps: an f32 copy can be made anew, and done without.
pub(super) fn own(state: &[String]) -> &[String] {
    &state[..state.len() - usize::from(has_master(state))]
}
