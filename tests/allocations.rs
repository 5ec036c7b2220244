//! A step on given gradients allocates nothing, but for what candle allocates when it hands out a tensor's storage, and rayon when
//! it hands over a job. A file that is refused takes memory for what is in it, whatever it says it holds.
//!
//! A program of its own with a single test: what is counted is what all threads of the process allocate.

use std::{
    alloc::System,
    fs::{self, File},
    hint::black_box,
};

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Var};
use candle_nn::{Optimizer, VarMap};
use l1_core::{Checkpoint, Guard, ParamsProxAdamW, ProxAdamW, Regularized, Schedule, Schedules};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[path = "library/every_optimizer.rs"]
mod every_optimizer;

#[path = "library/models.rs"]
#[allow(dead_code)]
mod models;

use every_optimizer::{EVERY_OPTIMIZER, Make};
use models::Many;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const STEPS: usize = 20;

/// How many tensors each of the optimizers writes for a variable: the weights and its state.
const WRITTEN: [usize; EVERY_OPTIMIZER.len()] = [1, 2, 2, 2, 3, 4, 3, 3, 3];

/// How many more it writes for one with an f32 copy, which a step changes in the place of the weights: the copy before it, the widened
/// gradient, and the weights after it.
const WRITTEN_BY_COPIES: usize = 3;

/// How often memory was asked for, and for how many bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Allocated {
    times: usize,
    bytes: usize,
}

fn allocated(work: impl FnOnce()) -> Allocated {
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    Allocated { times: change.allocations + change.reallocations, bytes: change.bytes_allocated }
}

/// An operation in place that does nothing: what is left is what candle does around one.
struct Nothing;

impl InplaceOp1 for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        Ok(())
    }
}

/// What candle allocates for the writes of these steps: its check of the layout keeps a list of the dimensions.
fn by_candle(vars: &[Var], written: usize) -> Allocated {
    let one =
        allocated(|| vars.iter().filter(|var| var.elem_count() > 0).for_each(|var| var.inplace_op1(&Nothing).unwrap()));
    Allocated { times: one.times * written * STEPS, bytes: one.bytes * written * STEPS }
}

/// How the penalties are.
#[derive(Clone, Copy, PartialEq)]
enum What {
    /// Charged.
    Charged,
    /// Off, by schedule, and zeros are held.
    Frozen,
}

/// What some steps allocate after the first ten. (After the tenth it is asked whether a penalty is lost, and after the hundredth.)
fn by_steps(model: &Many, guard: Guard, make: Make, what: What) -> Allocated {
    let mut regularizer = model.regularizer().unwrap();
    if what == What::Frozen {
        let schedules = Schedules::new().scale_of("weights", Schedule::linear(0.0, 1.0, 100)).freeze(0);
        regularizer.set_schedules(schedules).unwrap();
    }
    // Its marks exist, so that a step looks for them.
    drop(regularizer.penalty().unwrap());
    let mut step = make(regularizer, model.weights.clone(), guard);
    let gradients = [0, 1].map(|index| model.store(&model.gradients(index)));
    (0..10).for_each(|index| step(&gradients[index % 2]).unwrap());
    allocated(|| (0..STEPS).for_each(|index| step(&gradients[index % 2]).unwrap()))
}

#[test]
fn a_step_allocates_nothing_of_its_own_and_a_refused_file_no_more_than_is_in_it() {
    steps();
    refused_files();
}

fn steps() {
    assert_eq!(allocated(|| drop(black_box(Box::new([0u8; 100])))), Allocated { times: 1, bytes: 100 });
    // The threads have begun, and registered themselves where they look for each other's work.
    rayon::broadcast(|_| ());
    rayon::broadcast(|_| ());

    let small = vec![50; 200];
    let with_large = [&small[..], &[300_007, 0, 20_000]].concat();
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let (small, with_large) = (Many::on(&Device::Cpu, &small, dtype), Many::on(&Device::Cpu, &with_large, dtype));
        for ((name, make), written) in EVERY_OPTIMIZER.into_iter().zip(WRITTEN) {
            let has_copies = name.contains("f32 copies") && matches!(dtype, DType::BF16 | DType::F16);
            let written = if has_copies { written + WRITTEN_BY_COPIES } else { written };
            for guard in [Guard::Before, Guard::InPass] {
                // All in one chunk: on the thread that asks.
                let expected = by_candle(&small.weights, written);
                assert_eq!(by_steps(&small, guard, make, What::Charged), expected, "{name}, {guard:?}, {dtype:?}");
                // The gradient is copied and what would move zeros is taken from it; so it is from the first tensor of the state and from
                // an f32 copy, which has a copy of the gradient anyhow.
                let more = 1 + usize::from(!name.ends_with("ProxSgd")) + 1;
                let expected = by_candle(&small.weights, written + more);
                assert_eq!(
                    by_steps(&small, guard, make, What::Frozen),
                    expected,
                    "frozen: {name}, {guard:?}, {dtype:?}"
                );
                // On all threads: rayon puts each job it hands over into a box of some 70 bytes, and the boxes into blocks of a queue,
                // 1.5 KiB for 63 of them. These steps are four jobs, the gradients' check and the step, each of the small tensors
                // together and of the large one, and each is halved until there is a part for every thread. Copies are three more for
                // each of the two large tensors.
                let (found, expected) =
                    (by_steps(&with_large, guard, make, What::Charged), by_candle(&with_large.weights, written));
                let (times, bytes) = (found.times - expected.times, found.bytes - expected.bytes);
                let halvings = rayon::current_num_threads().next_power_of_two().ilog2() as usize;
                let most = STEPS * if has_copies { 10 } else { 4 } * halvings + 4;
                assert!(
                    times <= most && bytes <= most * 100 + 4 * 1536,
                    "{name}, {guard:?}, {dtype:?}: {times} allocations, {bytes} bytes"
                );
            }
        }
    }
}

fn refused_files() {
    let model = Many::on(&Device::Cpu, &[50, 20], DType::F32);
    let varmap = VarMap::new();
    let named = model.weights.iter().enumerate().map(|(index, var)| (format!("w{index}"), var.clone()));
    varmap.data().lock().unwrap().extend(named);
    let mut opt = ProxAdamW::new(varmap.all_vars(), ParamsProxAdamW::new(model.regularizer().unwrap())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    Checkpoint::save(&path, &opt, &varmap).unwrap();
    let files = hostile(&fs::read(&path).unwrap());

    let mut refused = |what: &str, length: usize| {
        let found = allocated(|| assert!(Checkpoint::load(&path, &mut opt, &varmap).is_err(), "{what}"));
        // The worst is a name of some letters, for which maps and texts take 20 times as much; all that was taken is counted, also
        // what was given back. What does not grow with the file is the message.
        assert!(found.bytes <= 32 * length + 16_384, "{what}: {found:?} for {length} bytes");
    };
    for (what, file) in &files {
        fs::write(&path, file).unwrap();
        refused(what, file.len());
    }
    // The tensor that is not there, there: a hole of 2⁴⁰ bytes, where the file system has such holes.
    let (_, file) = &files[0];
    fs::write(&path, file).unwrap();
    if File::options().write(true).open(&path).unwrap().set_len(file.len() as u64 + HUGE).is_ok() {
        refused("a hole", file.len());
    }
}

const HUGE: u64 = 1 << 40;

/// Files that say more than they hold, and such that say much in few bytes.
///
/// * `good`: a checkpoint.
fn hostile(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let start = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let (header, data) = (std::str::from_utf8(&good[8..start]).unwrap().trim_end(), &good[start..]);
    let end = data.len() as u64;
    let file = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
    let tensor = |name: &str, shape: &str, bytes: u64| {
        format!(r#""{name}":{{"dtype":"U8","shape":[{shape}],"data_offsets":[{end},{}]}}"#, end + bytes)
    };
    let with_tensors = |tensors: &str| file(&format!("{},{tensors}}}", header.strip_suffix('}').unwrap()));
    let with_text = |text: &str| {
        let changed = header.replace(r#"hyperparameters\":{"#, &(r#"hyperparameters\":{"#.to_owned() + text));
        assert_ne!(changed, header);
        file(&changed)
    };
    let many = |one: fn(u32) -> String| (0..1 << 16).map(one).collect::<String>();
    let names: Vec<_> = (0..1 << 14).map(|index| tensor(&format!("{index:x}"), "0", 0)).collect();
    vec![
        ("a tensor that is not there", with_tensors(&tensor("huge", &HUGE.to_string(), HUGE))),
        ("a header that is not there", 100_000_000_u64.to_le_bytes().into()),
        ("a header of the largest length", u64::MAX.to_le_bytes().into()),
        ("many dimensions", with_tensors(&tensor("wide", &("0,".repeat(1 << 20) + "0"), 0))),
        ("many tensors", with_tensors(&names.join(","))),
        ("deep lists", with_tensors(&format!("\"deep\":{}", "[".repeat(1 << 20)))),
        ("lists in our text", with_text(&many(|_| "[],".to_owned()))),
        ("names in our text", with_text(&many(|index| format!(r#"\"{index:x}\":\"\","#)))),
    ]
}
