//! Tensors that one kernel works on together: their table, built once, and the lines of each step.

use candle_core::{DType, Tensor};

use super::{
    gpu::{Gpu, Memory, Module, Together, suffix},
    table::{Args, Charge, Job, Place, Turn},
};
use crate::{Result, penalty::Groups};

/// How the threads of the device share groups: `Sharing` of `team.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// A warp for each.
    ByWarp,
    /// A block for each.
    ByBlock,
    /// Groups that lie across each other: a block for as many as a warp is wide.
    Across,
    /// All blocks at one group after the other.
    ByGrid,
}

/// Few groups of at least this many blocks' chunks keep all blocks busy.
const LARGE: usize = 16;

/// With more groups than these single blocks, all at once, are sooner done than the grid with one after the other.
const FEW: usize = 8;

impl Sharing {
    pub(super) fn of(groups: Groups, gpu: &Gpu) -> Self {
        if groups.number() <= FEW && groups.size() >= LARGE * gpu.chunk() {
            Self::ByGrid
        } else if groups.rows > 1 && groups.run < gpu.warp() {
            Self::Across
        } else if groups.size() <= gpu.threads() {
            Self::ByWarp
        } else {
            Self::ByBlock
        }
    }

    /// How many jobs the groups of a tensor are.
    fn jobs(self, place: &Place, gpu: &Gpu) -> u64 {
        let (threads, warp) = (gpu.threads() as u64, gpu.warp() as u64);
        let number = place.slabs * place.count;
        match self {
            Self::ByWarp => number.div_ceil(threads / warp),
            Self::ByBlock | Self::ByGrid => number,
            Self::Across => place.slabs * place.count.div_ceil(warp / place.run),
        }
    }
}

/// One tensor of a batch.
#[derive(Clone, Debug)]
pub(super) struct Operand<'t> {
    pub(super) w: &'t Tensor,
    /// The f32 copy that is stepped in its place.
    pub(super) copy: Option<&'t Tensor>,
    /// At most three.
    pub(super) state: Vec<&'t Tensor>,
    pub(super) groups: Option<Groups>,
}

impl<'t> Operand<'t> {
    pub(super) fn alone(w: &'t Tensor) -> Self {
        Self { w, copy: None, state: Vec::new(), groups: None }
    }
}

/// What blocks work on, and where each tensor's part begins.
#[derive(Debug)]
pub(super) struct Jobs {
    jobs: Memory,
    pub(super) count: usize,
    /// The first job of each tensor, and one past the last.
    pub(super) first: Vec<u64>,
}

impl Jobs {
    fn new(gpu: &Gpu, parts: impl Iterator<Item = u64>) -> Result<Self> {
        let (mut jobs, mut first) = (Vec::new(), vec![0]);
        for (tensor, parts) in parts.enumerate() {
            jobs.extend((0..parts).map(|part| Job { tensor: tensor as u32, part: part as u32 }));
            first.push(jobs.len() as u64);
        }
        Ok(Self { jobs: gpu.upload(&jobs)?, count: jobs.len(), first })
    }
}

/// Tensors of one dtype with their table on the device.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) dtype: DType,
    pub(super) number: usize,
    places: Memory,
    pub(super) chunks: Jobs,
    groups: Option<(Sharing, Jobs)>,
    /// Turns, and behind them charges.
    lines: Memory,
    turns: Vec<Turn>,
    charges: Vec<Charge>,
}

impl Batch {
    /// * `operands`: all of one dtype, and with groups that are shared alike, or none.
    pub(super) fn new(gpu: &Gpu, operands: &[Operand<'_>]) -> Result<Self> {
        let places = operands.iter().map(|operand| place(gpu, operand)).collect::<Result<Vec<_>>>()?;
        let dtype = operands.first().map_or(DType::F32, |operand| operand.w.dtype());
        let sharing = operands.first().and_then(|operand| operand.groups).map(|groups| Sharing::of(groups, gpu));
        Self::of_places(gpu, dtype, &places, sharing)
    }

    /// The same of places that have been told more, or are of no tensor.
    ///
    /// * `sharing`: of the groups, where kernels work on those.
    pub(super) fn of_places(gpu: &Gpu, dtype: DType, places: &[Place], sharing: Option<Sharing>) -> Result<Self> {
        let chunk = gpu.chunk() as u64;
        let jobs = |sharing: Sharing| Jobs::new(gpu, places.iter().map(|place| sharing.jobs(place, gpu)));
        Ok(Self {
            dtype,
            number: places.len(),
            places: gpu.upload(places)?,
            chunks: Jobs::new(gpu, places.iter().map(|place| place.length.div_ceil(chunk)))?,
            groups: sharing.map(|sharing| Ok::<_, crate::Error>((sharing, jobs(sharing)?))).transpose()?,
            lines: gpu.zeros(0)?,
            turns: Vec::new(),
            charges: Vec::new(),
        })
    }

    /// Forgets the lines of the step before.
    pub(super) fn begin(&mut self) {
        self.turns.clear();
        self.charges.clear();
    }

    /// The line of the next tensor.
    pub(super) fn push(&mut self, g: u64, hold: u32, charge: Charge) {
        // As a rule many tensors share a charge, and then those beside each other do.
        const LOOK_BACK: usize = 16;
        let last = self.charges.len().saturating_sub(LOOK_BACK);
        let known = self.charges[last..].iter().rposition(|known| *known == charge).map(|at| last + at);
        let index = known.unwrap_or_else(|| {
            self.charges.push(charge);
            self.charges.len() - 1
        });
        self.turns.push(Turn { g, charge: index as u32, hold });
    }

    /// Sends the lines of this step to the device.
    pub(super) fn send(&mut self, gpu: &Gpu) -> Result<()> {
        let (turns, charges) = (size_of_val(&self.turns[..]), size_of_val(&self.charges[..]));
        if self.lines.room() < turns + charges {
            self.lines = gpu.zeros((turns + charges).next_power_of_two())?;
        }
        // One copy: a call costs more than its bytes.
        let mut bytes = Vec::with_capacity(turns + charges);
        bytes.extend_from_slice(super::bytes::of(&self.turns));
        bytes.extend_from_slice(super::bytes::of(&self.charges));
        self.lines.write(gpu, &bytes)
    }

    /// What kernels are told of these tensors.
    pub(super) fn args(&self, gpu: &Gpu) -> Args {
        let lines = self.lines.address(gpu);
        Args {
            places: self.places.address(gpu),
            turns: lines,
            charges: lines + size_of_val(&self.turns[..]) as u64,
            count: self.number as u64,
            ..Args::default()
        }
    }

    /// Launches a kernel of this dtype on every chunk.
    pub(super) fn on_chunks(&self, gpu: &Gpu, module: Module, kernel: &str, args: Args) -> Result<()> {
        let name = format!("{kernel}_{}", suffix(self.dtype)?);
        let args = Args { jobs: self.chunks.jobs.address(gpu), count: self.chunks.count as u64, ..args };
        gpu.launch(module, &name, self.chunks.count, Together::No, &args)
    }

    /// Launches a kernel of this dtype on every group.
    pub(super) fn on_groups(&self, gpu: &Gpu, kernel: &str, args: Args) -> Result<()> {
        let Some((sharing, jobs)) = &self.groups else { return Ok(()) };
        let name = format!("{kernel}_{}", suffix(self.dtype)?);
        let mode = *sharing as u32;
        let args = Args { jobs: jobs.jobs.address(gpu), count: jobs.count as u64, mode, ..args };
        if *sharing != Sharing::ByGrid {
            return gpu.launch(Module::Groups, &name, jobs.count, Together::No, &args);
        }
        let blocks = gpu.resident_blocks(Module::Groups, &name)?.max(1);
        // Two sums of two numbers from every block, and how many blocks have arrived.
        let room = gpu.zeros(blocks * 2 * 16 + 8)?;
        let sums = room.address(gpu);
        let args = Args { other: sums, input: sums + (blocks * 2 * 16) as u64, ..args };
        gpu.launch(Module::Groups, &name, blocks, Together::Yes, &args)
    }
}

/// Where a tensor and what belongs to it lies.
pub(super) fn place(gpu: &Gpu, operand: &Operand<'_>) -> Result<Place> {
    let mut state = [0; 3];
    for (address, tensor) in state.iter_mut().zip(&operand.state) {
        *address = gpu.address(tensor)?;
    }
    let copy = operand.copy.map_or(Ok(0), |copy| gpu.address(copy))?;
    let place =
        Place { w: gpu.address(operand.w)?, copy, state, length: operand.w.elem_count() as u64, ..Place::default() };
    Ok(place.with_groups(operand.groups))
}
