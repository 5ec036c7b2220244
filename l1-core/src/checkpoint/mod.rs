//! Stopping and going on: weights, moments, counts and declarations in one file.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::Path,
};

use candle_core::{TensorId, Var};
use candle_nn::VarMap;
use safetensors::Dtype;

use crate::{
    Error, Result,
    optim::{Method, Stepper},
    variables,
};

mod contents;
mod declared;
mod file;
mod header;
mod replace;
mod unique;

use contents::Contents;
use declared::{Here, difference};
use file::{OLDER_COPY, Opened};

/// Training to be resumed: saved by [`Checkpoint::save`], and what [`Checkpoint::load`] tells of the one it has loaded.
///
/// Going on from a checkpoint gives the same bits as not having stopped, with [`ProxSgd`](crate::ProxSgd),
/// [`ProxAdamW`](crate::ProxAdamW) and [`FtrlProximal`](crate::FtrlProximal), if your program feeds the same batches: let them
/// follow from [`steps`](Self::steps), or keep what they follow from in the [`note`](Self::note). (A
/// [`Proximal`](crate::Proximal) cannot be saved: candle's optimizers do not show their state. A [`Fista`](crate::Fista) has little
/// to save: keep the weights with `VarMap::save`, and `minimize` again from there.)
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{Linear, Module, Optimizer, VarBuilder, VarMap, linear, loss};
/// use l1_core::{Checkpoint, ParamsProxAdamW, ProxAdamW, Regularized, Rule, Visitor};
///
/// struct Model {
///     fc: Linear, // #[l1(lambda = 0.01)]
/// }
///
/// impl Regularized for Model {
///     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
///         visitor.field("fc", Rule::l1(0.01), &self.fc)
///     }
/// }
///
/// /// Trains up to the given step, from the file if there is one, and returns the bias.
/// fn train(path: &std::path::Path, steps: u64) -> l1_core::Result<f32> {
///     let varmap = VarMap::new();
///     let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
///     let model = Model { fc: linear(3, 1, vb.pp("fc"))? };
///     let mut opt = ProxAdamW::new(varmap.all_vars(), ParamsProxAdamW::new(model.regularizer()?))?;
///     if path.exists() {
///         let checkpoint = Checkpoint::load(path, &mut opt, &varmap)?;
///         println!("{} steps are done", checkpoint.steps());
///     }
///     while opt.steps() < steps {
///         let x = Tensor::full(opt.steps() as f32 / 10.0, (4, 3), &Device::Cpu)?; // the batch follows from the step
///         let y = x.narrow(1, 0, 1)?;
///         opt.backward_step(&loss::mse(&model.fc.forward(&x)?, &y)?)?;
///         if opt.steps().is_multiple_of(5) {
///             Checkpoint::save(path, &opt, &varmap)?;
///         }
///     }
///     model.fc.bias().unwrap().get(0)?.to_scalar().map_err(Into::into)
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let [one, other] = ["one.safetensors", "other.safetensors"].map(|name| folder.path().join(name));
/// train(&one, 5)?;
/// std::fs::copy(&one, &other)?;
/// train(&one, 12)?; // stopped after 5 steps, 12 in all
/// let not_stopped = train(&other, 20)?;
/// assert_eq!(train(&one, 20)?.to_bits(), not_stopped.to_bits());
/// # Ok(()) }
/// ```
///
/// # The file
///
/// One safetensors file. The same training gives the same bytes.
///
/// | in the file | what |
/// |---|---|
/// | a tensor `NAME` for every variable of the VarMap | the weights, stepped by the optimizer or not: `VarMap::load` reads them alone |
/// | tensors `l1.state/NAME/STATE` | the optimizer's state: `m`, `v`, …, and `master`, the f32 copy of a half variable |
/// | metadata `l1.checkpoint`, a JSON text | |
/// | — `version`, `optimizer` | of the format: 1; `ProxAdamW` |
/// | — `steps`, `progress` | steps in all, and what the optimizer counts for each variable |
/// | — `learning_rate`, `scale` | the optimizer's, and its regularizer's |
/// | — `scales`, `frozen` | scales of single parameters, and those whose support is frozen; left out where there are none |
/// | — `hyperparameters`, `state` | the others by name, schedules as text; and the names of the state tensors |
/// | — `declarations` | the rules: path → role, penalty or why there is none, decay |
/// | — `note` | your own text |
///
/// Every number that is not an integer is text, the shortest that reads back to the same bits. There is no checksum: a file that
/// is cut off is refused, a weight that a disk has garbled is not noticed.
///
/// # Changed declarations
///
/// A checkpoint is refused if the model or the optimizer is declared otherwise than when it was saved:
///
/// ```text
/// run.safetensors: the checkpoint was saved under other declarations:
///   fc1.weight: lambda = 0.01 in the file, lambda = 0.02 in the model
/// Declare what the file says, or go on under this program's: `Checkpoint::load_with(.., Declarations::Accept)`
/// ```
///
/// [Schedules](crate::Schedules) are compared by their text, functions by their names. Where they are in their course follows from the
/// number of steps.
///
/// The learning rate, the regularizer's scales and what is frozen are not compared but restored: they are meant to change while training. What is done
/// about gradients that are missing or not finite is this program's own choice each time.
///
/// `master_weights` is compared where it has an effect, on variables in bf16 and f16. With [`Declarations::Accept`] copies that the file
/// lacks are made of its weights, and copies that this program does not keep are left in the file.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    steps: u64,
    learning_rate: f64,
    scale: f64,
    note: String,
    changed: Vec<String>,
}

/// What [`Checkpoint::load_with`] does about a checkpoint that was saved under other declarations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Declarations {
    /// It is refused with [`Error::ChangedDeclarations`].
    #[default]
    MustMatch,
    /// Training goes on under the model's and the optimizer's own declarations, with the file's weights and moments. What has
    /// changed is in [`Checkpoint::changed`]. Scales, and what is frozen, stay as this program has them where they followed a schedule in
    /// the file that this program does not have.
    Accept,
}

impl Checkpoint {
    /// Writes the variables of `varmap` and all that `optimizer` knows to a file.
    ///
    /// * `path`: an old file there is replaced at once when the new one is whole and on the disk: whenever the program is
    ///   killed, the file at `path` is the old or the new one. (A killed save can leave a `.NAME.XXXXXX.tmp` beside it; the next
    ///   save to the same path removes it, so that there is never more than one from one program.) A symbolic link at `path` is
    ///   itself replaced by the file; what it pointed to stays as it was.
    /// * `varmap`: has every variable of the optimizer.
    ///
    /// # Errors
    /// The file is as it was before, and nothing lies beside it.
    /// * [`Error::CheckpointIo`]: the folder does not exist, the disk is full, ….
    /// * [`Error::NotInVarMap`]: a variable of the optimizer is not in `varmap`. [`Error::ReservedName`].
    /// * [`Error::InvalidParameter`]: a learning rate was set that no step could be taken with.
    pub fn save<M: Method>(path: impl AsRef<Path>, optimizer: &Stepper<M>, varmap: &VarMap) -> Result<()> {
        Self::save_with_note(path, optimizer, varmap, "")
    }

    /// [`save`](Self::save) with a text of your own in the same file, such as the epoch or the state of a random generator.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_with_note<M: Method>(
        path: impl AsRef<Path>,
        optimizer: &Stepper<M>,
        varmap: &VarMap,
        note: &str,
    ) -> Result<()> {
        let path = path.as_ref();
        optimizer.check(optimizer.params())?;
        let variables = Variables::of(varmap)?;
        let names = variables.names(optimizer)?;
        let text = Contents::of(optimizer, &names, note).to_json();
        let unwritable =
            |error| Error::CheckpointIo { path: path.to_owned(), action: "written", cause: io::Error::from(error) };
        let text = text.map_err(unwritable)?;

        let weights = variables.0.iter().map(|(name, var)| (name.clone(), var.as_tensor()));
        let states = contents::state(optimizer);
        let states = names.iter().zip(optimizer.kept()).flat_map(|(name, kept)| {
            let tensors = states.iter().zip(contents::tensors(&kept));
            tensors.map(|(state, tensor)| (state_name(name, state), tensor.as_tensor()))
        });
        file::write(path, text, weights.chain(states).collect())
    }

    /// Goes on from a file: copies its tensors into the variables of `varmap` and into the optimizer's state, and sets the
    /// optimizer's steps and learning rate and its regularizer's scale. The variables stay the same ones, so that the model and
    /// its regularizer see the new values.
    ///
    /// The model and the optimizer are built as in the program that saved it; they may be on another device. The file is read into
    /// memory as a whole, once its header is known to describe the variables here: one that claims to be large takes no memory.
    ///
    /// # Errors
    /// Everything is checked before anything is changed; only a device that fails while it is copied to leaves things half done.
    /// * [`Error::CheckpointIo`]: the file cannot be read. [`Error::NotACheckpoint`]: it is cut off, or something else, or says what
    ///   no training says (a rate of NaN, a tensor in another's place, a name twice).
    /// * [`Error::CheckpointMismatch`]: it is of another optimizer or has other variables, shapes or dtypes.
    /// * [`Error::ChangedDeclarations`]: rules or hyperparameters have changed since.
    /// * [`Error::NotInVarMap`], [`Error::ReservedName`], as in [`save`](Self::save).
    pub fn load<M: Method>(path: impl AsRef<Path>, optimizer: &mut Stepper<M>, varmap: &VarMap) -> Result<Self> {
        Self::load_with(path, optimizer, varmap, Declarations::MustMatch)
    }

    /// [`load`](Self::load), if need be under other declarations.
    ///
    /// # Errors
    /// As [`load`](Self::load), but with [`Declarations::Accept`] no [`Error::ChangedDeclarations`]; instead
    /// [`Error::InvalidParameter`] or [`Error::InvalidValue`] where the file's learning rate or scale is out of the range of the
    /// new declarations.
    pub fn load_with<M: Method>(
        path: impl AsRef<Path>,
        optimizer: &mut Stepper<M>,
        varmap: &VarMap,
        declarations: Declarations,
    ) -> Result<Self> {
        let path = path.as_ref();
        let variables = Variables::of(varmap)?;
        let names = variables.names(optimizer)?;
        let file = Opened::read(path)?;
        Misfits::of_optimizer(contents::optimizer(&file)?.as_deref(), M::NAME).refuse(path)?;
        let contents = Contents::read(&file)?;
        Misfits::of(&file, &contents, optimizer, &variables, &names).refuse(path)?;
        let mut changed = contents.changed_hyperparameters(optimizer.params());
        changed.extend(contents.changed_master(optimizer));
        changed.extend(contents.changed_declarations(optimizer.params()));
        if declarations == Declarations::MustMatch && !changed.is_empty() {
            let may_be_renamed = contents.may_be_renamed(optimizer.params());
            return Err(Error::ChangedDeclarations { path: path.to_owned(), differences: changed, may_be_renamed });
        }
        let mut params = optimizer.params().clone();
        let (lr, regularizer) = params.shared_mut();
        *lr = contents.learning_rate;
        let in_range = contents.restore(regularizer, !changed.is_empty()).and_then(|()| optimizer.check(&params));
        in_range.map_err(|error| {
            if !changed.is_empty() {
                return error;
            }
            // Under the same declarations it would not have been saved.
            let why = format!("no step can be taken from it ({error}); {OLDER_COPY}");
            file.no_checkpoint(why, Some(error.into()))
        })?;
        let progress = names.iter().map(|name| contents.progress_of(name).unwrap_or_default()).collect();
        // Only now, when all that the file describes is known to be the model's, is so much memory taken.
        let data = file.into_data()?;

        for (name, var) in &variables.0 {
            data.copy(name, var)?;
        }
        for (name, kept) in names.iter().zip(optimizer.kept()) {
            let tensors = contents.state.iter().zip(contents::tensors(&kept));
            tensors.into_iter().try_for_each(|(state, var)| data.copy(&state_name(name, state), var))?;
            if let (Some(master), false) = (kept.master, contents::has_master(&contents.state)) {
                master.restart(kept.var)?;
            }
        }
        optimizer.go_on(params, contents.steps, progress);
        let Contents { steps, learning_rate, scale, note, .. } = contents;
        Ok(Self { steps, learning_rate, scale, note, changed })
    }

    /// Steps taken when it was saved; also [`Stepper::steps`].
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The optimizer's learning rate when it was saved.
    #[must_use]
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// The regularizer's scale when it was saved.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The text of [`save_with_note`](Self::save_with_note); empty after [`save`](Self::save).
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The differences that [`Declarations::Accept`] accepted, one line each.
    #[must_use]
    pub fn changed(&self) -> &[String] {
        &self.changed
    }
}

/// What the names of an optimizer's state tensors begin with.
const STATE: &str = "l1.state/";

fn state_name(name: &str, state: &str) -> String {
    format!("{STATE}{name}/{state}")
}

/// All variables of a VarMap in the order of their names.
struct Variables(Vec<(String, Var)>);

impl Variables {
    fn of(varmap: &VarMap) -> Result<Self> {
        let variables = variables::by_name(varmap);
        match variables.iter().find(|(name, _)| name == header::NAME || name.starts_with(STATE)) {
            None => Ok(Self(variables)),
            Some((name, _)) => Err(Error::ReservedName { name: name.clone() }),
        }
    }

    /// The names of an optimizer's variables, in its order.
    fn names<M: Method>(&self, optimizer: &Stepper<M>) -> Result<Vec<&str>> {
        let mut by_id: HashMap<TensorId, &str> = HashMap::new();
        for (name, var) in &self.0 {
            // One that has two names is known by the first.
            by_id.entry(var.id()).or_insert(name);
        }
        let name = |(index, var): (usize, &Var)| {
            by_id.get(&var.id()).copied().ok_or_else(|| Error::NotInVarMap { path: optimizer.path(index) })
        };
        optimizer.kept().map(|kept| kept.var).enumerate().map(name).collect()
    }
}

/// All for which the file's tensors cannot be these variables', one line each.
#[derive(Default)]
struct Misfits {
    lines: Vec<String>,
    /// Whether a variable of the program is not in the file.
    is_missing: bool,
    /// Whether a variable has another shape or dtype there.
    is_different: bool,
}

impl Misfits {
    /// * `file`: the name of the optimizer there; whether there is one is asked later.
    fn of_optimizer(file: Option<&str>, here: &str) -> Self {
        let line = file.filter(|name| *name != here).map(|name| difference("optimizer", name, here, Here::Program));
        Self { lines: line.into_iter().collect(), ..Self::default() }
    }

    fn of<M: Method>(
        file: &Opened,
        contents: &Contents<M::Progress>,
        optimizer: &Stepper<M>,
        variables: &Variables,
        names: &[&str],
    ) -> Self {
        let mut misfits = Self::default();
        let misfitting = misfits.add_variables(file, variables);
        misfits.add_stepped(file, contents, variables, names);
        let states = contents::state(optimizer);
        if contents::own(&contents.state) != contents::own(&states) {
            let list = |states: &[String]| if states.is_empty() { "no state".to_owned() } else { states.join(", ") };
            let (in_file, here) = (format!("keeps {}", list(&contents.state)), format!("keeps {}", list(&states)));
            misfits.lines.push(difference(M::NAME, in_file, here, Here::Program));
            // Some of these will be why.
            misfits.lines.extend(contents.changed_hyperparameters(optimizer.params()));
            misfits.lines.extend(contents.changed_master(optimizer));
            return misfits;
        }
        let mut kept: Vec<_> = names.iter().zip(optimizer.kept()).collect();
        // The optimizer's order may be that of a VarMap, which is another one in each run.
        kept.sort_unstable_by_key(|(name, _)| **name);
        for (name, kept) in kept {
            if contents.progress_of(name).is_some() && !misfitting.contains(name) {
                // An f32 copy that only one of the two keeps is not among these.
                let tensors = contents.state.iter().zip(contents::tensors(&kept));
                misfits.lines.extend(tensors.filter_map(|(state, var)| misfit(file, &state_name(name, state), var)));
            }
        }
        // An f32 copy may be kept by one of the two alone.
        let all = if contents.state.len() > states.len() { &contents.state } else { &states };
        misfits.add_left_over(file, names, all);
        misfits
    }

    /// Returns the variables that do not fit their tensors.
    fn add_variables<'v>(&mut self, file: &Opened, variables: &'v Variables) -> HashSet<&'v str> {
        let mut misfitting = HashSet::new();
        for (name, var) in &variables.0 {
            if let Some(line) = misfit(file, name, var) {
                self.lines.push(line);
                misfitting.insert(name.as_str());
                *if file.info(name).is_none() { &mut self.is_missing } else { &mut self.is_different } = true;
            }
        }
        let known: HashSet<&str> = variables.0.iter().map(|(name, _)| name.as_str()).collect();
        let mut unknown = file.names();
        unknown.retain(|name| !name.starts_with(STATE) && !known.contains(name.as_str()));
        unknown.sort_unstable();
        let line = |name| difference(name, "a variable", "no such variable", Here::Program);
        self.lines.extend(unknown.into_iter().map(line));
        misfitting
    }

    fn add_stepped<P: Copy>(&mut self, file: &Opened, contents: &Contents<P>, variables: &Variables, names: &[&str]) {
        let stepped: HashSet<&str> = names.iter().copied().collect();
        for (name, _) in &variables.0 {
            let (in_file, here) = match (contents.progress_of(name).is_some(), stepped.contains(name.as_str())) {
                (true, false) => ("stepped by the optimizer", "not stepped"),
                (false, true) if file.info(name).is_some() => ("not stepped by the optimizer", "stepped"),
                _ => continue,
            };
            self.lines.push(difference(name, in_file, here, Here::Program));
        }
        let known: HashSet<&str> = variables.0.iter().map(|(name, _)| name.as_str()).collect();
        // One whose tensor is there is reported as an unknown variable.
        let unknown = contents.stepped().filter(|name| !known.contains(name) && file.info(name).is_none());
        let line = |name| difference(name, "stepped by the optimizer", "no such variable", Here::Program);
        self.lines.extend(unknown.map(line));
    }

    /// State that nothing asks for; all of it, where variables or names of state are others, is known by then.
    fn add_left_over(&mut self, file: &Opened, names: &[&str], states: &[String]) {
        if !self.lines.is_empty() {
            return;
        }
        let asked: HashSet<String> =
            names.iter().flat_map(|name| states.iter().map(|state| state_name(name, state))).collect();
        let left_over = file.names().into_iter().filter(|name| name.starts_with(STATE) && !asked.contains(name));
        self.lines.extend(left_over.map(|name| difference(name, "a tensor", "no such state", Here::Program)));
    }

    fn refuse(self, path: &Path) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let way_out = self.way_out();
        Err(Error::CheckpointMismatch { path: path.to_owned(), differences: self.lines, way_out })
    }

    fn way_out(&self) -> &'static str {
        match self {
            // No tensor of another shape or dtype can be read into it.
            Self { is_different: true, .. } => "Build the model and its optimizer as they were when it was saved",
            Self { is_missing: true, .. } => {
                "Build the model and its optimizer as they were when it was saved. To add a layer to trained ones, read the \
                 weights alone with `VarMap::load` before the new layer is built"
            }
            _ => {
                "Build the model and its optimizer as they were when it was saved, or begin anew from its weights alone, which \
                 `VarMap::load` reads"
            }
        }
    }
}

/// Why a tensor of the file cannot be copied into a variable.
fn misfit(file: &Opened, name: &str, var: &Var) -> Option<String> {
    let Some(info) = file.info(name) else {
        return Some(difference(name, "no such tensor", "a variable", Here::Program));
    };
    let dtype = Dtype::from(var.dtype());
    if info.shape != var.dims() {
        let shape = |dims: &[usize]| format!("shape {dims:?}");
        Some(difference(name, shape(&info.shape), shape(var.dims()), Here::Model))
    } else if info.dtype != dtype {
        Some(difference(name, info.dtype, dtype, Here::Model))
    } else {
        None
    }
}
