//! What a checkpoint says beside its tensors.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Var;
use candle_nn::Optimizer;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned, de::Error as _};

use super::{
    declared::{Declared, Here, difference},
    file::{OLDER_COPY, Opened},
    unique::Unique,
};
use crate::{
    Regularizer, Result, Schedules,
    kernel::master::Master,
    optim::{Kept, Method, Stepper},
};

/// The version of the format that is written, and the only one that is read.
const VERSION: u32 = 1;

/// More than any training takes, and few enough to count on from there.
const MOST_STEPS: u64 = u64::MAX / 2;

/// The text in the file's metadata, as JSON.
///
/// * `P`: what the optimizer counts for each variable.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contents<P> {
    version: u32,
    optimizer: String,
    #[serde(deserialize_with = "steps")]
    pub(super) steps: u64,
    #[serde(with = "crate::exact")]
    pub(super) learning_rate: f64,
    /// The regularizer's own.
    #[serde(with = "crate::exact")]
    pub(super) scale: f64,
    /// Of fields, by the path of each parameter, where they are not 1.
    #[serde(default, skip_serializing_if = "Unique::is_empty")]
    scales: Unique<Exact>,
    /// The paths of the parameters whose support is frozen, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    frozen: Vec<String>,
    hyperparameters: Unique<String>,
    /// Names of the tensors that are kept for each stepped variable.
    pub(super) state: Vec<String>,
    /// What the optimizer has counted for each stepped variable.
    progress: Unique<P>,
    declarations: Declared,
    pub(super) note: String,
}

/// A number as text that reads back to the same bits.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Exact(#[serde(with = "crate::exact")] f64);

fn steps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let steps = u64::deserialize(deserializer)?;
    if steps <= MOST_STEPS {
        Ok(steps)
    } else {
        Err(D::Error::custom(format_args!("{steps} steps (expected ≤ {MOST_STEPS})")))
    }
}

/// What is to be known before the rest can be read: the format, and whose progress it is.
#[derive(Deserialize)]
struct Head {
    version: u32,
    optimizer: Option<String>,
}

/// The optimizer that the file names, if any; refuses other versions of the format.
pub(super) fn optimizer(file: &Opened) -> Result<Option<String>> {
    let Head { version, optimizer } = read(file)?;
    if version == VERSION {
        return Ok(optimizer);
    }
    let why = format!(
        "it has version {version} of the format, and this l1-core reads version {VERSION}; read it with the l1-core that wrote it, \
         or its weights alone with `VarMap::load`"
    );
    Err(file.no_checkpoint(why, None))
}

fn read<T: DeserializeOwned>(file: &Opened) -> Result<T> {
    serde_json::from_str(file.text()?).map_err(|error| {
        let why = format!("its text `l1.checkpoint` cannot be read ({error}); {OLDER_COPY}");
        file.no_checkpoint(why, Some(error.into()))
    })
}

impl<P: Copy + Serialize + DeserializeOwned> Contents<P> {
    /// * `names`: of the optimizer's variables, in its order.
    pub(super) fn of<M: Method<Progress = P>>(optimizer: &Stepper<M>, names: &[&str], note: &str) -> Self {
        let progress = names.iter().zip(optimizer.kept());
        Self {
            version: VERSION,
            optimizer: M::NAME.to_owned(),
            steps: optimizer.steps(),
            learning_rate: optimizer.learning_rate(),
            scale: optimizer.regularizer().scale(),
            scales: Unique(scales(optimizer.regularizer())),
            frozen: frozen(optimizer.regularizer()),
            hyperparameters: hyperparameters(optimizer.params()),
            state: state(optimizer),
            progress: Unique(progress.map(|(name, kept)| ((*name).to_owned(), kept.progress)).collect()),
            declarations: Declared::of(optimizer.regularizer()),
            note: note.to_owned(),
        }
    }

    /// * `file`: of an optimizer with this progress.
    pub(super) fn read(file: &Opened) -> Result<Self> {
        read(file)
    }

    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

impl<P: Copy> Contents<P> {
    /// The variables that were stepped.
    pub(super) fn stepped(&self) -> impl Iterator<Item = &str> {
        self.progress.0.keys().map(String::as_str)
    }

    /// What the optimizer had counted for a variable; nothing for one that was not stepped.
    pub(super) fn progress_of(&self, name: &str) -> Option<P> {
        self.progress.0.get(name).copied()
    }

    /// Gives a regularizer the scales of the file, and freezes what was frozen.
    ///
    /// * `changed`: whether declarations have. Parameters that the regularizer does not penalize are passed over then, and what followed a
    ///   schedule that it does not have stays as it is: nothing would ever move it on from where the file left it.
    pub(super) fn restore(&self, regularizer: &mut Regularizer, changed: bool) -> Result<()> {
        let [whole, scaled, freezing] =
            if changed { self.followed_in_the_file(regularizer) } else { Default::default() };
        let is_known = |path: &str| regularizer.penalized().any(|(param, _)| *param.path() == path);
        let is_taken = |path: &str, own: &[String]| {
            !own.iter().any(|other| other.as_str() == path) && (!changed || is_known(path))
        };
        let here = |paths: &[String]| -> Vec<(String, f64, bool)> {
            let found = paths.iter().filter_map(|path| regularizer.param(path));
            found.map(|param| (param.path().to_string(), param.scale(), param.support_is_frozen())).collect()
        };
        let (own_scales, own_frozen) = (here(&scaled), here(&freezing));
        let scales = self.scales.0.iter().map(|(path, Exact(scale))| (path.as_str(), *scale));
        let scales = scales.filter(|(path, _)| is_taken(path, &scaled));
        let scales: Vec<_> = scales.chain(own_scales.iter().map(|(path, scale, _)| (path.as_str(), *scale))).collect();
        let frozen = self.frozen.iter().map(String::as_str).filter(|path| is_taken(path, &freezing));
        let own_frozen = own_frozen.iter().filter(|(.., is_frozen)| *is_frozen).map(|(path, ..)| path.as_str());
        let frozen: Vec<_> = frozen.chain(own_frozen).collect();
        let scale = if whole.is_empty() { self.scale } else { regularizer.scale() };
        regularizer.restore(scale, &scales, &frozen)
    }

    /// The paths of what follows a schedule in the file and none of the same name here: by the scale of the whole (all paths, or none), by
    /// scales of fields, by freezing.
    fn followed_in_the_file(&self, regularizer: &Regularizer) -> [Vec<String>; 3] {
        let here: BTreeSet<String> =
            regularizer.schedules().into_iter().flat_map(Schedules::declared).map(|(what, _)| what).collect();
        let mut followed = [const { Vec::new() }; 3];
        for what in self.hyperparameters.0.keys().filter(|what| !here.contains(*what)) {
            let Some((kind, field)) = Schedules::named(what) else { continue };
            // A field that is penalized no longer is passed over as a whole.
            let paths = regularizer.below(field).unwrap_or_default();
            followed[kind as usize].extend(paths.iter().map(|&index| regularizer.params()[index].path().to_string()));
        }
        followed
    }

    /// Hyperparameters that are others in the file, one line each.
    pub(super) fn changed_hyperparameters<M: Method>(&self, params: &M) -> Vec<String> {
        let (file, here) = (&self.hyperparameters.0, hyperparameters(params).0);
        let said = |map: &BTreeMap<_, String>, name: &String| {
            map.get(name).map_or_else(|| format!("no {name}"), |value| format!("{name} = {value}"))
        };
        let names = file.keys().chain(here.keys().filter(|name| !file.contains_key(*name)));
        let changed = names.filter(|name| file.get(*name) != here.get(*name));
        let line = |name| difference(M::NAME, said(file, name), said(&here, name), Here::Program);
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

fn scales(regularizer: &Regularizer) -> BTreeMap<String, Exact> {
    let scaled = regularizer.params().iter().filter(|param| param.scale() != 1.0);
    scaled.map(|param| (param.path().to_string(), Exact(param.scale()))).collect()
}

fn frozen(regularizer: &Regularizer) -> Vec<String> {
    let frozen = regularizer.params().iter().filter(|param| param.support_is_frozen());
    let mut frozen: Vec<_> = frozen.map(|param| param.path().to_string()).collect();
    frozen.sort_unstable();
    frozen
}

fn hyperparameters<M: Method>(params: &M) -> Unique<String> {
    let own = params.hyperparameters().into_iter().map(|(name, value)| (name.to_owned(), value));
    let schedules = params.shared().regularizer.schedules().into_iter().flat_map(Schedules::declared);
    Unique(own.chain(schedules).collect())
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
