//! One penalized parameter under watch: which of its groups live, and what has changed since the last look.

use candle_core::{Tensor, TensorId};

use super::{
    FieldRecord, GroupChange, GroupEvent, HistoryField, Oscillation,
    oscillation::{Hops, sign},
};
use crate::{
    Error, Moves, Param, ParamPath, Penalty, Regularizer, Result,
    kernel::{self, Place, distance::wide},
    penalty::{Groups, Layout},
};

/// Fields of more groups have counts of deaths and revivals, and no list.
const LISTED: usize = 4096;

/// A penalized parameter and what was seen of it last.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    path: ParamPath,
    tensor: Tensor,
    layout: Layout,
    groups: usize,
    /// Which groups are not all 0; empty for singular values, which have no names.
    alive: Vec<bool>,
    living: usize,
    hops: Hops,
    /// Whether its hopping was warned of: once is enough, also where a training goes back.
    warned: bool,
}

/// Where single events go, how many there may be, and how many there were beyond that.
type Events<'e> = (&'e mut Vec<GroupEvent>, usize, &'e mut usize);

impl Watched {
    pub(super) fn of(param: &Param, penalty: &Penalty) -> Result<Self> {
        let layout = layout(penalty, param)?;
        let entries = param.tensor.elem_count();
        let groups = match layout {
            Layout::Elements => entries,
            Layout::Groups(groups) => groups.number(),
            Layout::Singular { rows, columns } => rows.min(columns),
        };
        let (path, tensor) = (param.path.clone(), param.tensor.clone());
        let mut watched = Self {
            path,
            tensor,
            layout,
            groups,
            alive: Vec::new(),
            living: groups,
            hops: Hops::default(),
            warned: false,
        };
        watched.begin_anew(&[])?;
        Ok(watched)
    }

    pub(super) fn field(&self) -> HistoryField {
        HistoryField { path: self.path.clone(), entries: self.tensor.elem_count(), groups: self.groups }
    }

    pub(super) fn id(&self) -> TensorId {
        self.tensor.id()
    }

    /// Its penalty in a regularizer, if that penalizes it in the same groups.
    ///
    /// # Errors
    /// What is not the same, and what to do about it.
    pub(super) fn penalty(&self, regularizer: &Regularizer) -> Result<Penalty, String> {
        let path = &self.path;
        let param = regularizer.get(&self.tensor);
        let penalty = param.and_then(|param| Some((param, regularizer.penalty_of(param)?)));
        let Some((_, penalty)) = penalty.filter(|(param, _)| param.path == *path) else {
            return Err(format!(
                "`{path}` of the model that the history was made from is not penalized by this regularizer: begin a new history with \
                 it"
            ));
        };
        if penalty.layout(self.tensor.dims()).as_ref() == Ok(&self.layout) {
            return Ok(penalty);
        }
        Err(format!(
            "`{path}` has other groups ({}) in this regularizer than in the one that the history was made from: begin a new history \
             with it",
            penalty.group()
        ))
    }

    /// Whether its deaths and revivals are listed one by one.
    pub(super) fn is_listed(&self) -> bool {
        self.groups <= LISTED && !matches!(self.layout, Layout::Singular { .. })
    }

    /// Takes the weights as they are for what they were at the last look.
    ///
    /// * `known`: if its own is among them, it is not looked for again.
    pub(super) fn begin_anew(&mut self, known: &[Oscillation]) -> Result<()> {
        let w = wide(&self.tensor)?;
        self.alive = self.alive(&w);
        self.living = self.living(&self.alive)?;
        self.hops = Hops::new(known.iter().any(|oscillation| oscillation.path == self.path));
        Ok(())
    }

    /// The weights one step before a record.
    pub(super) fn look_before(&mut self) -> Result<()> {
        self.hops.look_before(&wide(&self.tensor)?);
        Ok(())
    }

    /// The weights at a record, for those that hop around 0; warns of them the first time.
    pub(super) fn look(&mut self, step: u64, penalty: &Penalty) -> Result<Option<Oscillation>> {
        if penalty.is_none() {
            self.hops.pause();
            return Ok(None);
        }
        let w = wide(&self.tensor)?;
        let found = self.hops.look(&w).map(|found| Oscillation::new(self.path.clone(), step, w.len(), found));
        if let Some(oscillation) = found.as_ref().filter(|_| !self.warned) {
            oscillation.warn();
            self.warned = true;
        }
        Ok(found)
    }

    /// What is to be recorded of it, and single events.
    pub(super) fn record(
        &mut self,
        step: u64,
        penalty: &Penalty,
        moves: Option<Moves>,
        (events, bound, left_out): Events<'_>,
    ) -> Result<FieldRecord> {
        let w = wide(&self.tensor)?;
        let alive = self.alive(&w);
        let living = self.living(&alive)?;
        let mut changes = Vec::new();
        for (group, (before, now)) in self.alive.iter().zip(&alive).enumerate() {
            match (before, now) {
                (true, false) => changes.push((group, GroupChange::Death)),
                (false, true) => changes.push((group, GroupChange::Revival)),
                _ => {}
            }
        }
        let of = |wanted: GroupChange| changes.iter().filter(|(_, change)| *change == wanted).count();
        let (deaths, revivals) = match self.layout {
            Layout::Singular { .. } => (self.living.saturating_sub(living), living.saturating_sub(self.living)),
            _ => (of(GroupChange::Death), of(GroupChange::Revival)),
        };
        if self.is_listed() {
            let free = bound.saturating_sub(events.len());
            *left_out += changes.len().saturating_sub(free);
            events.extend(changes.into_iter().take(free).map(|(group, change)| GroupEvent {
                step,
                path: self.path.clone(),
                place: self.place(group),
                change,
            }));
        }
        let zeros = w.iter().filter(|w| sign(**w) == 0).count();
        self.alive = alive;
        self.living = living;
        Ok(FieldRecord { lambda: penalty.lambda(), zeros, living, deaths, revivals, moves })
    }

    fn alive(&self, w: &[f64]) -> Vec<bool> {
        match self.layout {
            Layout::Elements => w.iter().map(|w| *w != 0.0).collect(),
            Layout::Groups(groups) => {
                let lives = |start: usize| w[start..start + groups.run].iter().any(|w| *w != 0.0);
                (0..groups.number()).map(|group| groups.runs(group).any(lives)).collect()
            }
            Layout::Singular { .. } => Vec::new(),
        }
    }

    fn living(&self, alive: &[bool]) -> Result<usize> {
        let Layout::Singular { .. } = self.layout else {
            return Ok(alive.iter().filter(|alive| **alive).count());
        };
        let penalty = Penalty::l1(1.0).with_group(crate::Grouping::Singular);
        match kernel::groups(&self.tensor, &penalty) {
            Ok(counted) => Ok(counted.map_or(self.groups, |(total, zeros)| total - zeros)),
            // A matrix with NaN: it has no rank, and is certainly not 0.
            Err(Error::SingularValues { .. }) => Ok(self.groups),
            Err(error) => Err(error),
        }
    }

    fn place(&self, group: usize) -> Place {
        let entry = Groups { slabs: 1, rows: 1, count: self.tensor.elem_count(), run: 1 };
        let groups = if let Layout::Groups(groups) = self.layout { groups } else { entry };
        Place::of_group(self.tensor.dims(), groups, group)
    }
}

fn layout(penalty: &Penalty, param: &Param) -> Result<Layout> {
    penalty.layout(param.tensor.dims()).map_err(|expected| Error::Grouping {
        path: param.path.clone(),
        group: penalty.group(),
        shape: param.tensor.shape().clone(),
        expected,
    })
}
