//! l1 beside candle and beside this machine's memory, in one run: `cargo bench -p l1-core --bench side_by_side`.
//!
//! Every contender of a work takes its turn in each round, so that a busy machine spoils all alike; a figure is the median over
//! the rounds. The limit is a bare loop over the same arrays on all cores: each read and written as the work has to, with one
//! addition a number.
//!
//!     cargo bench -p l1-core --bench side_by_side -- [--rounds N] [--json FILE] [WORK ..]
//!
//! On a GPU, steps alone, of up to 1 B parameters beside candle and a copy of memory; `--quick`: a thousandth of the parameters, which is
//! the same table on the CPU too.
//!
//!     cargo bench -p l1-core --features cuda --bench side_by_side -- --device cuda [--quick] [--rounds N] [--json FILE] [WORK ..]

mod cuda;
mod limits;
mod rounds;
mod works;

use std::{collections::BTreeMap, error::Error, fs};

use candle_core::Device;
use comfy_table::{CellAlignment, Table, presets};

use rounds::{Contender, medians};
use works::Group;

/// One line of the table.
struct Work {
    /// Its name on the command line and in the file.
    key: &'static str,
    /// What is done.
    title: &'static str,
    l1: Contender,
    candle: Option<Contender>,
    limit: Option<Contender>,
    against: Against,
}

/// What stands in the column of limits.
#[derive(Clone, Copy)]
enum Against {
    /// The least time that the work can take.
    Limit,
    /// The work that this one is added to.
    Whole,
}

struct Arguments {
    rounds: usize,
    json: Option<String>,
    works: Vec<String>,
    on: On,
    /// The GPU's table in small.
    quick: bool,
}

/// Where to compute.
#[derive(Clone, Copy, PartialEq)]
enum On {
    Cpu,
    Cuda,
}

impl Arguments {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut arguments = Self { rounds: 21, json: None, works: Vec::new(), on: On::Cpu, quick: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--bench" => {} // cargo's
                "--rounds" => arguments.rounds = words.next().ok_or("--rounds needs a number")?.parse()?,
                "--json" => arguments.json = Some(words.next().ok_or("--json needs a file")?),
                "--quick" => arguments.quick = true,
                "--device" => {
                    arguments.on = match words.next().as_deref() {
                        Some("cpu") => On::Cpu,
                        Some("cuda") => On::Cuda,
                        _ => return Err("--device needs `cpu` or `cuda`".into()),
                    }
                }
                option if option.starts_with('-') => return Err(format!("unknown option {option}").into()),
                work => arguments.works.push(work.to_owned()),
            }
        }
        let known = if arguments.is_for_gpus() {
            cuda::keys(arguments.quick)
        } else {
            works::ALL.iter().flat_map(|group| group.keys).map(|key| (*key).to_owned()).collect()
        };
        if let Some(unknown) = arguments.works.iter().find(|work| !known.contains(work)) {
            return Err(format!("unknown work {unknown} (expected some of {})", known.join(", ")).into());
        }
        Ok(arguments)
    }

    /// Which of the two tables.
    fn is_for_gpus(&self) -> bool {
        self.on == On::Cuda || self.quick
    }

    fn wants(&self, key: &str) -> bool {
        self.works.is_empty() || self.works.iter().any(|work| work == key)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read()?;
    if arguments.is_for_gpus() {
        let device = if arguments.on == On::Cuda { cuda::device()? } else { Device::Cpu };
        return cuda::run(&arguments, &device);
    }
    let threads = rayon::current_num_threads();
    println!("{threads} threads, {}, {} rounds; medians", simd_name(), arguments.rounds);
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["work", "l1", "candle", "candle / l1", "limit", "share of the limit"]);
    let mut seconds = BTreeMap::new();
    for Group { keys, make } in works::ALL {
        if !keys.iter().any(|key| arguments.wants(key)) {
            continue;
        }
        let mut works = make()?;
        assert!(works.iter().map(|work| work.key).eq(keys.iter().copied()), "a group's keys are those of its works");
        works.retain(|work| arguments.wants(work.key));
        for (work, [l1, candle, limit]) in medians(works, arguments.rounds)? {
            let Some(l1) = l1 else { continue };
            let ratio = candle.map(|candle| format!("{:.1}×", candle / l1));
            let share = limit.map(|limit| match work.against {
                Against::Limit => format!("{:.0} %", 100.0 * limit / l1),
                Against::Whole => format!("{:.1} % of it", 100.0 * l1 / limit),
            });
            let shown = [Some(time(l1)), candle.map(time), ratio, limit.map(time), share];
            let cells = shown.map(|cell| cell.unwrap_or_else(|| "–".to_owned()));
            table.add_row([work.title.to_owned()].into_iter().chain(cells));
            for (who, figure) in [("l1", Some(l1)), ("candle", candle), ("limit", limit)] {
                if let Some(figure) = figure {
                    seconds.entry(work.key).or_insert_with(BTreeMap::new).insert(who, figure);
                }
            }
        }
    }
    for column in 1..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
    if let Some(file) = arguments.json {
        fs::write(file, serde_json::to_string_pretty(&serde_json::json!({ "threads": threads, "works": seconds }))?)?;
    }
    Ok(())
}

/// The instruction set that the kernels choose.
fn simd_name() -> String {
    format!("{:?}", pulp::Arch::new()).split(['(', ' ']).next().unwrap_or_default().to_owned()
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.1} µs", s * 1e6),
    }
}
