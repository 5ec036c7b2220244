//! What became of loss, penalty and zeros while training: a record every so many steps, in bounded memory.

use candle_core::{Tensor, backprop::GradStore};
use candle_nn::Optimizer;
use serde::Serialize;

use crate::{
    Error, Regularizer, Result, kernel,
    optim::{Method, Moves, Stepper},
};

mod event;
mod oscillation;
mod record;
mod table;
mod watched;

pub use event::{GroupChange, GroupEvent};
pub use oscillation::Oscillation;
pub use record::{FieldRecord, HistoryField, HistoryRecord};

use self::{record::Rhythm, watched::Watched};

/// How training went: loss, penalty, zeros and living groups of each penalized field, which groups died and came back, and how much
/// of the movement came from data, penalty and decay.
///
/// Take the steps of a proximal optimizer through it, or tell it of the steps that you take yourself ([`record`](Self::record)):
///
/// ```
/// # use candle_core::{DType, Device, Tensor, Var};
/// # use l1_core::{Regularized, Rule, Visitor};
/// # struct Model(Var);
/// # impl Regularized for Model {
/// #     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
/// #         visitor.field("weight", Rule::l1(1.0), &self.0)
/// #     }
/// # }
/// # fn main() -> candle_core::Result<()> {
/// # let target = Tensor::new(&[3f64, 0.5], &Device::Cpu)?;
/// # let model = Model(Var::from_tensor(&Tensor::ones(2, DType::F64, &Device::Cpu)?)?);
/// # let loss = || (model.0.as_tensor() - &target)?.sqr()?.sum_all()? * 0.5;
/// use candle_nn::Optimizer;
/// use l1_core::{History, ParamsProxSgd, ProxSgd};
///
/// let regularizer = model.regularizer()?;
/// let mut history = History::new(&regularizer)?.every(10).bound(1000);
/// let mut opt = ProxSgd::new(vec![model.0.clone()], ParamsProxSgd { lr: 0.1, ..ParamsProxSgd::new(regularizer) })?;
/// for _ in 0..100 {
///     let loss = loss()?;
///     history.step(&mut opt, &loss.backward()?, &loss)?; // in place of opt.backward_step(&loss)?
/// }
/// println!("{history}");
/// assert_eq!(history.last().map(|record| record.fields[0].zeros), Some(1));
/// std::fs::write(std::env::temp_dir().join("history.csv"), history.to_csv())?;
/// # Ok(()) }
/// ```
///
/// **When.** The first step that it is told of is recorded, then those whose number is a multiple of [`every`](Self::every). Other
/// steps cost a comparison; the loss is not even read from its device. (Through `record` the step before a recorded one costs a pass
/// over the weights; see [`oscillations`](Self::oscillations).) A recorded step costs some passes over the weights in f64, and through
/// [`step`](Self::step) a second step on copies.
///
/// **What it holds.** Beside the bounded list of records (about 100 bytes for each penalized field in each) one byte for each group of
/// each field, and with `record` two more for each entry. At the [`bound`](Self::bound) every second record goes, the first and the
/// last stay, and from then on half as many steps are recorded: the records stay evenly spread over the whole training. Counts of
/// deaths and revivals pass to the record that follows a forgotten one.
///
/// **A loss that is NaN or infinite** is recorded as it is: this is where one wants to see when it began. JSON has `null` for it.
///
/// **Changed on the way.** λ, scales and schedules may change at will: each record has the λ of its step. A regularizer that penalizes
/// other tensors, or other groups, is refused ([`Error::NotRecorded`]), and so is a step that is not after the last one recorded, as after
/// going back to a checkpoint: [`forget_after`](Self::forget_after) goes back too.
#[derive(Clone, Debug, Serialize)]
pub struct History {
    #[serde(rename = "every")]
    rhythm: Rhythm,
    fields: Vec<HistoryField>,
    records: Vec<HistoryRecord>,
    events: Vec<GroupEvent>,
    /// Deaths and revivals beyond the bound.
    events_left_out: usize,
    oscillations: Vec<Oscillation>,
    #[serde(skip)]
    bound: usize,
    #[serde(skip)]
    next_due: u64,
    #[serde(skip)]
    thinned_at: Option<u64>,
    #[serde(skip)]
    watched: Vec<Watched>,
    #[serde(skip)]
    regularizer: Regularizer,
}

/// A loss: a number, or a scalar tensor, which is read only where it is recorded.
#[derive(Clone, Copy, Debug)]
pub enum LossValue<'t> {
    /// A number, such as the mean over an epoch.
    Number(f64),
    /// A tensor without dimensions.
    Tensor(&'t Tensor),
}

impl From<f64> for LossValue<'_> {
    fn from(loss: f64) -> Self {
        Self::Number(loss)
    }
}

impl<'t> From<&'t Tensor> for LossValue<'t> {
    fn from(loss: &'t Tensor) -> Self {
        Self::Tensor(loss)
    }
}

impl LossValue<'_> {
    fn read(self) -> Result<f64> {
        match self {
            Self::Number(loss) => Ok(loss),
            Self::Tensor(loss) if loss.rank() == 0 => kernel::number(loss),
            Self::Tensor(loss) => Err(Error::LossShape { found: loss.shape().clone() }),
        }
    }
}

impl History {
    /// An empty history of what a regularizer penalizes: every step, at most 10 000 records.
    ///
    /// The weights are read once: what dies at the first recorded step was alive now.
    ///
    /// # Errors
    /// [`Error::NothingPenalized`]; candle's, when a tensor cannot be read.
    pub fn new(regularizer: &Regularizer) -> Result<Self> {
        regularizer.check_not_empty()?;
        let watched = regularizer.penalized().map(|(param, penalty)| Watched::of(param, &penalty));
        let watched = watched.collect::<Result<Vec<_>>>()?;
        Ok(Self {
            rhythm: Rhythm::new(1),
            fields: watched.iter().map(Watched::field).collect(),
            records: Vec::new(),
            events: Vec::new(),
            events_left_out: 0,
            oscillations: Vec::new(),
            bound: 10_000,
            next_due: 0,
            thinned_at: None,
            watched,
            regularizer: regularizer.clone(),
        })
    }

    /// Records steps whose number is a multiple of this; 0 counts as 1.
    #[must_use]
    pub fn every(self, steps: u64) -> Self {
        Self { rhythm: Rhythm::new(steps.max(1)), ..self }
    }

    /// Keeps at most so many records, and so many single deaths and revivals; less than 3 counts as 3.
    ///
    /// Where the records would be more, they are thinned out evenly (see [`History`]). Where the deaths and revivals would be more, later ones
    /// are in the counts alone.
    #[must_use]
    pub fn bound(self, records: usize) -> Self {
        Self { bound: records.max(3), ..self }
    }

    /// Steps between two records, as it is now: it doubles whenever the bound is reached.
    #[must_use]
    pub fn interval(&self) -> u64 {
        self.rhythm.every
    }

    /// The penalized parameters, in the order of every record's `fields`.
    #[must_use]
    pub fn fields(&self) -> &[HistoryField] {
        &self.fields
    }

    /// The records, in the order of their steps.
    #[must_use]
    pub fn records(&self) -> &[HistoryRecord] {
        &self.records
    }

    /// The newest record.
    #[must_use]
    pub fn last(&self) -> Option<&HistoryRecord> {
        self.records.last()
    }

    /// Where a field stands among the [`fields`](Self::fields), by its path.
    #[must_use]
    pub fn position(&self, path: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.path == path)
    }

    /// Single groups that died or came back, with the record's step at which it was seen, in fields of at most 4096 groups (or entries,
    /// where those are penalized each for itself); of larger fields, and of singular values, records have the counts.
    #[must_use]
    pub fn events(&self) -> &[GroupEvent] {
        &self.events
    }

    /// How many deaths and revivals are not among the [`events`](Self::events), since there were more than the bound.
    #[must_use]
    pub fn events_left_out(&self) -> usize {
        self.events_left_out
    }

    /// Fields whose small weights hop around 0 without reaching it, as they do under a penalty in the loss; at most one for each field.
    ///
    /// Looked for among what [`record`](Self::record) is told, not in [`step`](Self::step), whose optimizers are proximal. A field is
    /// meant where over 40 records at least 5 % of its weights are at most a tenth of its largest, have changed their sign 3 times and
    /// more in 20 records and again in the next 20, and hardly ever a weight has become exactly 0. The signs compared are those of a recorded
    /// step and the one before, if `record` is told of both. A `tracing` warning says it too, once.
    ///
    /// A field with a scale of 0 is not looked at. What the loss holds cannot be seen from here: a λ that is declared, but not in the loss,
    /// may be reported where the noise of minibatches alone makes so many weights hop.
    #[must_use]
    pub fn oscillations(&self) -> &[Oscillation] {
        &self.oscillations
    }

    /// Whether [`record`](Self::record) has anything to do at this step: so that a loss is read from its device only then.
    #[must_use]
    pub fn is_due(&self, step: u64) -> bool {
        step.saturating_add(1) >= self.next_due
    }

    /// Takes a step of a proximal optimizer, and records it when it is due, with the parts of its move ([`Moves`]).
    ///
    /// * `grads`: of the loss alone, as the optimizer takes them.
    /// * `loss`: a number or a scalar tensor, most often the loss that the gradients are of: at the weights before the step. All
    ///   else is recorded as it is after the step.
    ///
    /// # Errors
    /// The optimizer's own, and then nothing is recorded. Before the step [`Error::NotRecorded`] (see [`History`]), and at a recorded one
    /// [`Error::LossShape`].
    pub fn step<'l, M: Method>(
        &mut self,
        opt: &mut Stepper<M>,
        grads: &GradStore,
        loss: impl Into<LossValue<'l>>,
    ) -> Result<()> {
        let step = opt.steps() + 1;
        self.check_after_last(step)?;
        if step < self.next_due {
            return Ok(opt.step(grads)?);
        }
        self.same_fields(opt.regularizer(), step)?;
        let loss = loss.into().read()?;
        let parts = opt.split_step(grads)?;
        // Schedules have moved λ within the step.
        let penalties = self.same_fields(opt.regularizer(), step)?;
        let moves = self.watched.iter().map(|watched| {
            let parts = parts.iter().find(|(id, _)| *id == watched.id());
            Some(parts.map_or_else(Moves::default, |(_, parts)| parts.lengths()))
        });
        let moves = moves.collect();
        let penalty = value(opt.regularizer())?;
        self.write_down(step, loss, penalty, penalties, moves)
    }

    /// Tells of a step that was taken by any optimizer, or of an epoch; recorded when it is due, without the parts of its move.
    ///
    /// * `step`: its number, from 1 on.
    /// * `loss`: without the penalty, if the two are to be told apart later; a number or a scalar tensor.
    ///
    /// The penalty is that of the regularizer that the history was made from: schedules that it had then are followed, as an optimizer
    /// follows them in its `step`-th step; other scales are as they were then. [`record_under`](Self::record_under) takes another.
    ///
    /// # Errors
    /// [`Error::NotRecorded`], [`Error::LossShape`]; those of [`Regularizer::at_step`]; candle's.
    pub fn record<'l>(&mut self, step: u64, loss: impl Into<LossValue<'l>>) -> Result<()> {
        if self.passes_over(step)? {
            return Ok(());
        }
        let mut regularizer = self.regularizer.clone();
        // An optimizer's first step is the one before which no step was taken.
        regularizer.at_step(step.saturating_sub(1))?;
        self.write_down_under(&regularizer, step, loss.into())
    }

    /// [`record`](Self::record) with the penalty of a regularizer whose scales or λ have changed, as it is now.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn record_under<'l>(
        &mut self,
        regularizer: &Regularizer,
        step: u64,
        loss: impl Into<LossValue<'l>>,
    ) -> Result<()> {
        if self.passes_over(step)? {
            return Ok(());
        }
        self.write_down_under(regularizer, step, loss.into())
    }

    /// Whether a step that `record` is told of is not to be recorded; then it costs no more than a look at the weights, if that.
    fn passes_over(&mut self, step: u64) -> Result<bool> {
        self.check_after_last(step)?;
        if step < self.next_due && step + 1 == self.next_due {
            self.watched.iter_mut().try_for_each(Watched::look_before)?;
        }
        Ok(step < self.next_due)
    }

    fn write_down_under(&mut self, regularizer: &Regularizer, step: u64, loss: LossValue<'_>) -> Result<()> {
        let penalties = self.same_fields(regularizer, step)?;
        let loss = loss.read()?;
        let penalty = value(regularizer)?;
        for (watched, penalty) in self.watched.iter_mut().zip(&penalties) {
            self.oscillations.extend(watched.look(step, penalty)?);
        }
        let moves = vec![None; self.watched.len()];
        self.write_down(step, loss, penalty, penalties, moves)
    }

    /// Forgets what came after a step, when training has gone back to a checkpoint. The weights as they are now are what the next
    /// record's deaths and revivals are counted from. What hops around 0 again is listed again, and not warned of again.
    ///
    /// # Errors
    /// Candle's, when a tensor cannot be read.
    pub fn forget_after(&mut self, step: u64) -> Result<()> {
        self.oscillations.retain(|oscillation| oscillation.step <= step);
        for watched in &mut self.watched {
            watched.begin_anew(&self.oscillations)?;
        }
        self.records.retain(|record| record.step <= step);
        self.events.retain(|event| event.step <= step);
        // The records that are left count all of them.
        let counted = self.records.iter().map(|record| {
            let fields = self.watched.iter().zip(&record.fields).filter(|(watched, _)| watched.is_listed());
            fields.map(|(_, field)| field.deaths + field.revivals).sum::<usize>()
        });
        self.events_left_out = self.events_left_out.min(counted.sum::<usize>().saturating_sub(self.events.len()));
        self.next_due = self.due_after_last();
        Ok(())
    }

    fn check_after_last(&self, step: u64) -> Result<()> {
        match self.records.last() {
            Some(last) if step <= last.step => {
                let why = format!(
                    "step {} is there already. Number the steps upwards; after going back to a checkpoint call `forget_after` with its \
                     step",
                    last.step
                );
                Err(Error::NotRecorded { step, why })
            }
            _ => Ok(()),
        }
    }

    /// The penalties of the fields, if they are those that the history was made for.
    fn same_fields(&self, regularizer: &Regularizer, step: u64) -> Result<Vec<crate::Penalty>> {
        let penalties = self.watched.iter().map(|watched| watched.penalty(regularizer));
        let penalized = regularizer.penalized().count();
        match penalties.collect::<Result<Vec<_>, String>>() {
            Ok(penalties) if penalties.len() == penalized => Ok(penalties),
            Ok(penalties) => {
                let why = format!(
                    "the regularizer penalizes {penalized} parameters, the one that the history was made from {}: begin a new history \
                     with this one",
                    penalties.len()
                );
                Err(Error::NotRecorded { step, why })
            }
            Err(why) => Err(Error::NotRecorded { step, why }),
        }
    }

    fn write_down(
        &mut self,
        step: u64,
        loss: f64,
        penalty: f64,
        penalties: Vec<crate::Penalty>,
        moves: Vec<Option<Moves>>,
    ) -> Result<()> {
        let mut fields = Vec::with_capacity(self.watched.len());
        for ((watched, penalty), moves) in self.watched.iter_mut().zip(penalties).zip(moves) {
            let events = (&mut self.events, self.bound, &mut self.events_left_out);
            fields.push(watched.record(step, &penalty, moves, events)?);
        }
        let mut record = HistoryRecord { step, loss, penalty, fields };
        // The last record when the list was thinned out stood there only as long as it was the last.
        if self.records.len() > 1
            && let Some(last) =
                self.records.pop_if(|last| !self.rhythm.has(last.step) && self.thinned_at == Some(last.step))
        {
            record.inherit(&last);
        }
        self.records.push(record);
        if self.records.len() > self.bound {
            self.rhythm = record::thin_out(&mut self.records, self.rhythm);
            self.thinned_at = Some(step);
        }
        self.next_due = self.due_after_last();
        Ok(())
    }

    fn due_after_last(&self) -> u64 {
        self.records.last().map_or(0, |last| self.rhythm.after(last.step))
    }
}

/// The penalty, NaN where a matrix has become NaN: this is no reason to stop a training that does not stop itself.
fn value(regularizer: &Regularizer) -> Result<f64> {
    match regularizer.value() {
        Err(Error::SingularValues { .. }) => Ok(f64::NAN),
        value => value,
    }
}
