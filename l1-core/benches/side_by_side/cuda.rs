//! A step on a GPU, beside candle's own operations there and beside the copy of memory: `--device cuda`.
//!
//! Each round times a row of steps and then waits for the GPU once: the host prepares a step while another runs, as in training. The limit
//! is a copy on the GPU, which reads and writes each byte, in the same rounds. Tensors that fit in the GPU's cache can be above it.

use std::{error::Error, fs};

use candle_core::{Device, Result, Tensor, Var};
use candle_nn::Optimizer;
use comfy_table::{CellAlignment, Table, presets};
use l1_core::{Guard, kernel};
use serde_json::{Map, Value, json};

use crate::{
    Against, Arguments, Work,
    rounds::{Contender, medians},
    time,
    works::Model,
};

/// Parameters in all, and how many tensors they are.
const SIZES: [usize; 3] = [1_000_000, 100_000_000, 1_000_000_000];
const TENSORS: [usize; 3] = [1, 100, 1000];
const GUARDS: [Guard; 2] = [Guard::InPass, Guard::Before];

/// What `--quick` divides all sizes by. It also runs on the CPU, which shows that the programs work, and no more.
const QUICK: usize = 1000;

/// Numbers that are copied: 1 GiB, or 64 MiB.
const COPIED: usize = 1 << 28;
const COPIED_QUICK: usize = 1 << 24;

/// The first GPU.
pub(crate) fn device() -> std::result::Result<Device, Box<dyn Error>> {
    if !candle_core::utils::cuda_is_available() {
        return Err(
            "built without the feature `cuda`: cargo bench -p l1-core --features cuda --bench side_by_side -- \
                    --device cuda"
                .into(),
        );
    }
    Ok(Device::new_cuda(0)?)
}

/// A line of the table.
struct Row {
    parameters: usize,
    tensors: usize,
    guard: Guard,
}

impl Row {
    /// In the order of the table.
    fn all(quick: bool) -> impl Iterator<Item = Self> {
        let sizes = SIZES.map(|size| if quick { size / QUICK } else { size });
        let splits = sizes.into_iter().flat_map(|parameters| TENSORS.map(|tensors| (parameters, tensors)));
        splits.flat_map(|(parameters, tensors)| GUARDS.map(|guard| Self { parameters, tensors, guard }))
    }

    fn key(&self) -> String {
        let guard = if self.reads_before() { "_guard_before" } else { "" };
        format!("{}_in_{}{guard}", short(self.parameters).to_lowercase().replace(' ', ""), self.tensors)
    }

    fn title(&self) -> String {
        let tensors = if self.tensors == 1 { "tensor" } else { "tensors" };
        let guard = if self.reads_before() { ", Guard::Before" } else { "" };
        format!("{} in {} {tensors}{guard}", short(self.parameters), self.tensors)
    }

    fn reads_before(&self) -> bool {
        self.guard == Guard::Before
    }

    /// Weights and two moments are read and written, the gradient is read: once, or a second time before the step.
    fn bytes(&self) -> usize {
        self.parameters * if self.reads_before() { 32 } else { 28 }
    }

    /// Drawn on the device, which at this size takes less time than to send them there.
    fn tensors(&self, size: f32, device: &Device) -> Result<Vec<Tensor>> {
        let length = self.parameters / self.tensors;
        (0..self.tensors).map(|_| Tensor::randn(0f32, size, length, device)).collect()
    }

    fn model(&self, device: &Device) -> Result<Model> {
        self.tensors(0.05, device)?.iter().map(Var::from_tensor).collect::<Result<_>>().map(Model)
    }

    /// A step on given gradients, and how many kernels it launches.
    fn l1(&self, device: &Device) -> Result<(Contender, u64)> {
        let model = self.model(device)?;
        let mut opt = model.prox_adamw(self.guard)?;
        let grads = model.store(&self.tensors(0.01, device)?)?;
        opt.step(&grads)?; // makes the moments
        let before = kernel::launches();
        opt.step(&grads)?;
        let launches = kernel::launches() - before;
        Ok((Contender::in_a_row(device, move || opt.step(&grads))?, launches))
    }

    /// It has no guard.
    fn candle(&self, device: &Device) -> Result<Option<Contender>> {
        if self.reads_before() {
            return Ok(None);
        }
        Contender::in_a_row(device, self.model(device)?.adamw_with_abs()?).map(Some)
    }
}

/// The words for which rows can be asked.
pub(crate) fn keys(quick: bool) -> Vec<String> {
    Row::all(quick).map(|row| row.key()).collect()
}

/// 1 k, 1 M, 1 B.
fn short(count: usize) -> String {
    match count {
        count if count >= 1_000_000_000 => format!("{} B", count / 1_000_000_000),
        count if count >= 1_000_000 => format!("{} M", count / 1_000_000),
        count => format!("{} k", count / 1000),
    }
}

/// The memory's speed: a copy on the device.
struct Copies {
    from: Tensor,
    to: Var,
}

impl Copies {
    fn new(quick: bool, device: &Device) -> Result<Self> {
        let from = Tensor::randn(0f32, 1.0, if quick { COPIED_QUICK } else { COPIED }, device)?;
        Ok(Self { to: Var::from_tensor(&from.zeros_like()?)?, from })
    }

    /// Read and written.
    fn bytes(&self) -> usize {
        2 * size_of::<f32>() * self.from.elem_count()
    }

    fn contender(&self, device: &Device) -> Result<Contender> {
        let (from, to) = (self.from.clone(), self.to.clone());
        Contender::in_a_row(device, move || to.set(&from))
    }
}

/// `None` where the device's memory is too small.
fn if_it_fits<T>(made: Result<T>) -> Result<Option<T>> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(error) if error.to_string().to_lowercase().replace('_', " ").contains("out of memory") => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a row came to, in seconds a step.
struct Measured {
    l1: f64,
    launches: u64,
    candle: Candle,
    /// Bytes a second, read and written.
    copy_speed: f64,
}

enum Candle {
    Took(f64),
    DoesNotFit,
    HasNone,
}

impl Measured {
    /// `None` if the row does not fit in the device's memory.
    fn of(row: &Row, copies: &Copies, rounds: usize, device: &Device) -> Result<Option<Self>> {
        let Some((l1, launches)) = if_it_fits(row.l1(device))? else { return Ok(None) };
        let candle = if_it_fits(row.candle(device))?;
        let fits = candle.is_some();
        let work = Work {
            key: "step",
            title: "a step",
            l1,
            candle: candle.flatten(),
            limit: Some(copies.contender(device)?),
            against: Against::Limit,
        };
        let seconds = medians(vec![work], rounds)?.pop().map(|(_, seconds)| seconds);
        let Some([Some(l1), candle, Some(copy)]) = seconds else { return Ok(None) };
        let candle = match candle {
            Some(seconds) => Candle::Took(seconds),
            None if fits => Candle::HasNone,
            None => Candle::DoesNotFit,
        };
        Ok(Some(Self { l1, launches, candle, copy_speed: copies.bytes() as f64 / copy }))
    }

    fn cells(&self, row: &Row) -> [String; 7] {
        let speed = row.bytes() as f64 / self.l1;
        let (candle, ratio) = match self.candle {
            Candle::Took(seconds) => (time(seconds), format!("{:.1}×", seconds / self.l1)),
            Candle::DoesNotFit => (TOO_LARGE.to_owned(), NONE.to_owned()),
            Candle::HasNone => (NONE.to_owned(), NONE.to_owned()),
        };
        let share = format!("{:.0} %", 100.0 * speed / self.copy_speed);
        let launches = if self.launches == 0 { NONE.to_owned() } else { self.launches.to_string() };
        [row.title(), time(self.l1), format!("{:.0}", 1e-9 * speed), share, launches, candle, ratio]
    }

    fn json(&self, row: &Row) -> Value {
        let candle = if let Candle::Took(seconds) = self.candle { Some(seconds) } else { None };
        json!({
            "title": row.title(), "parameters": row.parameters, "tensors": row.tensors, "bytes": row.bytes(), "launches": self.launches,
            "l1": self.l1, "candle": candle, "copy_bytes_per_second": self.copy_speed,
        })
    }
}

const HEAD: [&str; 7] =
    ["AdamW + L1 to zeros", "l1", "GB/s", "share of a copy's", "launches a step", "candle", "candle / l1"];
const NONE: &str = "–";
const TOO_LARGE: &str = "does not fit";

/// Runs the rows that are asked for, prints them, and writes them to the file.
pub(crate) fn run(arguments: &Arguments, device: &Device) -> std::result::Result<(), Box<dyn Error>> {
    let name = name_of(device)?;
    println!(
        "{name}, {} rounds; medians. A copy: {}",
        arguments.rounds,
        if arguments.quick { "64 MiB" } else { "1 GiB" }
    );
    let copies = Copies::new(arguments.quick, device)?;
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(HEAD);
    let (mut figures, mut copy_speeds) = (Map::new(), Vec::new());
    for row in Row::all(arguments.quick).filter(|row| arguments.wants(&row.key())) {
        let Some(measured) = Measured::of(&row, &copies, arguments.rounds, device)? else {
            table.add_row([row.title(), TOO_LARGE.to_owned()]);
            continue;
        };
        table.add_row(measured.cells(&row));
        copy_speeds.push(measured.copy_speed);
        figures.insert(row.key(), measured.json(&row));
    }
    for column in 1..HEAD.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
    copy_speeds.sort_by(f64::total_cmp);
    if let Some(speed) = copy_speeds.get(copy_speeds.len() / 2) {
        println!(
            "A copy: {:.0} GB/s, read and written. A step: 28 bytes a parameter, with Guard::Before 32.",
            1e-9 * speed
        );
    }
    if let Some(file) = &arguments.json {
        let all = json!({ "device": name, "rounds": arguments.rounds, "steps": figures });
        fs::write(file, serde_json::to_string_pretty(&all)?)?;
    }
    Ok(())
}

/// What the driver calls a GPU.
#[cfg(feature = "cuda")]
fn name_of(device: &Device) -> std::result::Result<String, Box<dyn Error>> {
    Ok(match device {
        Device::Cuda(cuda) => cuda.cuda_stream().context().name()?,
        _ => "CPU".to_owned(),
    })
}

#[cfg(not(feature = "cuda"))]
fn name_of(_: &Device) -> std::result::Result<String, Box<dyn Error>> {
    Ok("CPU".to_owned())
}
