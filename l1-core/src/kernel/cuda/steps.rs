//! The step of many variables: one launch for each dtype, and one more for each way in which groups are shared.

use candle_core::{DType, Tensor};

use super::{
    batch::{Batch, Operand, Sharing},
    flags::{Bad, Flags},
    gpu::{Gpu, Module},
    table::{Charge, Optimizer},
};
use crate::{
    Grouping, Result,
    kernel::{
        cpu,
        pass::Source,
        proximal,
        step::{OptimizerStep, Work},
        tables::Late,
    },
    penalty::{Groups, Layout},
};

/// Which kernel steps a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// l1 on single entries, fused with the move.
    Plain(Optimizer, DType),
    /// Another curve on single entries.
    Curve(DType),
    Groups(Sharing, DType),
    /// None: a spectrum, which is stepped elsewhere.
    Elsewhere(DType),
}

/// What the tables were built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    class: Class,
    groups: Option<Groups>,
}

/// What an optimizer keeps on the device from one step to the next.
#[derive(Debug, Default)]
pub(in crate::kernel) struct Tables {
    /// How each variable is stepped, if it is.
    kinds: Vec<Option<Kind>>,
    lots: Vec<Lot>,
    /// Whether a step may have passed over gradients that nobody has asked for yet.
    is_late: bool,
}

/// The variables of one class.
#[derive(Debug)]
struct Lot {
    class: Class,
    batch: Batch,
    /// Where they stand among all.
    members: Vec<usize>,
    flags: Flags,
    /// Whether the lines of this step have been sent already, to look through its gradients.
    is_sent: bool,
}

fn layout_of(work: &Work, step: &OptimizerStep) -> Result<Layout> {
    proximal::layout("w", step.penalty(), work.var.dims())
}

fn kind_of(gpu: &Gpu, work: &Work) -> Result<Option<Kind>> {
    let Some((_, step)) = &work.next else { return Ok(None) };
    if work.var.elem_count() == 0 {
        return Ok(None);
    }
    let (dtype, layout) = (work.var.dtype(), layout_of(work, step)?);
    let optimizer = Optimizer::of(step, work.state.len()).ok_or_else(cpu::wrong_state)?;
    // One second moment for a matrix under `singular`, also while a scale of 0 takes the charge away.
    if step.penalty().group() == Grouping::Singular {
        return Ok(Some(Kind { class: Class::Elsewhere(dtype), groups: None }));
    }
    Ok(Some(match layout {
        Layout::Groups(groups) => Kind { class: Class::Groups(Sharing::of(groups, gpu), dtype), groups: Some(groups) },
        _ if proximal::is_plain(step.penalty(), layout) => Kind { class: Class::Plain(optimizer, dtype), groups: None },
        _ => Kind { class: Class::Curve(dtype), groups: None },
    }))
}

impl Tables {
    /// Sees to it that the tables are of these variables.
    fn prepare(&mut self, gpu: &Gpu, work: &[Work]) -> Result<()> {
        self.kinds.resize(work.len(), None);
        let kind = |(work, known): (&Work, &Option<Kind>)| match work.next {
            Some(_) => kind_of(gpu, work),
            // Without a gradient it keeps its place, where the kernels leave it alone.
            None => Ok(*known),
        };
        let kinds = work.iter().zip(&self.kinds).map(kind).collect::<Result<Vec<_>>>()?;
        if kinds == self.kinds {
            return Ok(());
        }
        let mut classes: Vec<Class> = Vec::new();
        for Kind { class, .. } in kinds.iter().flatten() {
            if !classes.contains(class) {
                classes.push(*class);
            }
        }
        let lot = |class| Lot::new(gpu, class, &kinds, work);
        self.lots = classes.into_iter().map(lot).collect::<Result<_>>()?;
        self.kinds = kinds;
        Ok(())
    }

    /// The first variable whose gradient is not finite. Waits for the device.
    pub(crate) fn first_with_non_finite_gradient(&mut self, gpu: &Gpu, work: &[Work]) -> Result<Option<Late>> {
        self.prepare(gpu, work)?;
        for lot in &mut self.lots {
            lot.find(gpu, work)?;
        }
        let mut first = None;
        for lot in &mut self.lots {
            first = earlier(first, lot.found(gpu)?);
            lot.is_sent = true;
        }
        if first.is_some() {
            // There will be no such step.
            self.lots.iter_mut().for_each(|lot| lot.is_sent = false);
        }
        Ok(first)
    }

    /// Steps all variables but those with a spectrum, which it returns.
    pub(crate) fn steps(&mut self, gpu: &Gpu, work: &[Work], source: Source) -> Result<Vec<usize>> {
        self.prepare(gpu, work)?;
        let mut elsewhere = Vec::new();
        for lot in &mut self.lots {
            if matches!(lot.class, Class::Elsewhere(_)) {
                elsewhere.extend_from_slice(&lot.members);
            } else {
                lot.step(gpu, work, source)?;
            }
        }
        self.is_late = source == Source::Unchecked;
        Ok(elsewhere)
    }

    /// What the step before has passed over, once. Waits for that step, but for nothing behind it.
    pub(crate) fn take_late(&mut self, gpu: &Gpu) -> Result<Option<Late>> {
        if !std::mem::take(&mut self.is_late) {
            return Ok(None);
        }
        let mut first = None;
        for lot in &mut self.lots {
            if !matches!(lot.class, Class::Elsewhere(_)) {
                first = earlier(first, lot.late(gpu)?);
            }
        }
        Ok(first)
    }
}

fn earlier(a: Option<Late>, b: Option<Late>) -> Option<Late> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if a.index <= b.index { a } else { b }),
        (a, b) => a.or(b),
    }
}

impl Lot {
    fn new(gpu: &Gpu, class: Class, kinds: &[Option<Kind>], work: &[Work]) -> Result<Self> {
        let of_class = kinds.iter().enumerate().filter_map(|(index, kind)| Some((index, (*kind)?)));
        let of_class: Vec<_> = of_class.filter(|(_, kind)| kind.class == class).collect();
        let operands: Vec<_> = of_class.iter().map(|(index, kind)| operand(&work[*index], kind.groups)).collect();
        let batch = Batch::new(gpu, &operands)?;
        let flags = Flags::new(gpu, of_class.len())?;
        Ok(Self {
            class,
            batch,
            members: of_class.into_iter().map(|(index, _)| index).collect(),
            flags,
            is_sent: false,
        })
    }

    /// The gradients, penalties and numbers of this step.
    fn refresh(&mut self, gpu: &Gpu, work: &[Work]) -> Result<()> {
        self.batch.begin();
        for index in &self.members {
            let work = &work[*index];
            let Some((grad, step)) = &work.next else {
                self.batch.push(0, 0, Charge::default());
                continue;
            };
            let optimizer = Optimizer::of(step, work.state.len()).ok_or_else(cpu::wrong_state)?;
            let is_wide = work.var.dtype() == DType::F64;
            let charge = Charge::of_step(step, layout_of(work, step)?, optimizer, is_wide);
            self.batch.push(gpu.address(grad)?, work.hold.into(), charge);
        }
        self.batch.send(gpu)
    }

    fn find(&mut self, gpu: &Gpu, work: &[Work]) -> Result<()> {
        self.refresh(gpu, work)?;
        self.flags.clear(gpu)?;
        self.batch.on_chunks(gpu, Module::Sums, "find", self.flags.args(gpu, self.batch.args(gpu)))
    }

    fn step(&mut self, gpu: &Gpu, work: &[Work], source: Source) -> Result<()> {
        if !std::mem::take(&mut self.is_sent) {
            self.refresh(gpu, work)?;
        }
        let mut args = self.batch.args(gpu);
        if source == Source::Unchecked {
            self.flags.clear(gpu)?;
            args = self.flags.args(gpu, args);
        }
        match self.class {
            Class::Plain(optimizer, _) => self.batch.on_chunks(gpu, Module::Steps, optimizer.kernel(), args)?,
            Class::Curve(_) => self.batch.on_chunks(gpu, Module::Curves, "curve", args)?,
            Class::Groups(..) => {
                if source == Source::Unchecked {
                    // A group is moved as a whole or not at all.
                    self.batch.on_chunks(gpu, Module::Sums, "find", args)?;
                }
                self.batch.on_groups(gpu, "groups", args)?;
            }
            Class::Elsewhere(_) => {}
        }
        if source == Source::Unchecked { self.flags.send(gpu) } else { Ok(()) }
    }

    fn found(&self, gpu: &Gpu) -> Result<Option<Late>> {
        Ok(self.first(&self.flags.read(gpu)?))
    }

    fn late(&mut self, gpu: &Gpu) -> Result<Option<Late>> {
        let flags = self.flags.received(gpu)?;
        Ok(self.first(&flags))
    }

    fn first(&self, flags: &[u64]) -> Option<Late> {
        let found = self.members.iter().zip(flags).filter_map(|(index, flag)| Some((*index, Bad::of(*flag)?)));
        found.min_by_key(|(index, _)| *index).map(|(index, Bad { at, value })| Late { index, at, value })
    }
}

fn operand(work: &Work, groups: Option<Groups>) -> Operand<'_> {
    let copy = work.master.as_ref().map(|master| master.weights().as_tensor());
    let state = work.state.iter().map(|state| -> &Tensor { state }).collect();
    Operand { w: &work.var, copy, state, groups }
}
