//! A model that is stepped in one thread while others read it: nobody waits for ever. It is the CPU's threads and
//! candle's locks around its storages that could.

use std::{
    env,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use candle_core::{DType, Device, Tensor, Var};
use l1_core::{Guard, Regularized, Regularizer, Rule, Visitor};

use crate::{every_optimizer::EVERY_OPTIMIZER, models::gradients};

/// Set in the process that is watched.
const WATCHED: &str = "L1_TEST_WATCHED";

/// Small tensors, which are stepped together, and larger ones, which are shared by all threads.
struct Model(Vec<Var>);

impl Model {
    fn new(dtype: DType) -> Self {
        let lengths = [300_000, 100, 20_000, 5_000, 150_000, 30_000, 64, 40_000];
        let var = |length: usize| Var::ones((length / 4, 4), dtype, &Device::Cpu).unwrap();
        Self(lengths.map(var).into())
    }
}

impl Regularized for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("weights", Rule::l1(1e-3), &self.0)
    }
}

#[test]
fn steps_and_readers_in_other_threads_never_wait_for_each_other() {
    if env::var_os(WATCHED).is_some() {
        train_while_others_read(DType::F32, |_| true);
        return train_while_others_read(DType::F16, |name| name.contains("f32 copies"));
    }
    for threads in ["1", "2", "4"] {
        let program = env::current_exe().unwrap();
        let mut child = Command::new(program)
            .args(["--exact", "concurrent::steps_and_readers_in_other_threads_never_wait_for_each_other"])
            .env(WATCHED, "1")
            .env("RAYON_NUM_THREADS", threads)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // It takes about a second; a deadlock lasts for ever.
        let end = Instant::now() + Duration::from_secs(120);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > end {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            thread::sleep(Duration::from_millis(20));
        };
        let status = status.unwrap_or_else(|| panic!("still waiting after two minutes, with {threads} threads"));
        assert!(status.success(), "{threads} threads: {status}");
    }
}

fn train_while_others_read(dtype: DType, is_chosen: fn(&str) -> bool) {
    let model = Model::new(dtype);
    let regularizer = model.regularizer().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reader = |read: fn(&Regularizer, &Tensor)| {
        let (regularizer, done, weight) = (regularizer.clone(), done.clone(), model.0[4].as_tensor().clone());
        thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                read(&regularizer, &weight);
            }
        })
    };
    let readers = [
        reader(|regularizer, _| assert!(regularizer.value().is_ok())),
        reader(|regularizer, _| assert!(regularizer.report().is_ok())),
        reader(|regularizer, _| assert!(regularizer.penalty().and_then(|penalty| Ok(penalty.backward()?)).is_ok())),
        reader(|_, weight| assert!(weight.t().and_then(|t| t.matmul(weight)).is_ok())),
    ];
    for (_, make) in EVERY_OPTIMIZER.into_iter().filter(|(name, _)| is_chosen(name)) {
        for guard in [Guard::Before, Guard::InPass] {
            let mut step = make(regularizer.clone(), model.0.clone(), guard);
            let grads = gradients(model.0.iter().map(|var| (var, (var.as_tensor() * 0.01).unwrap())));
            for _ in 0..12 {
                step(&grads).unwrap();
            }
            let sums = regularizer.add_subgradient(grads).unwrap();
            assert!(sums.get(&model.0[0]).is_some());
        }
    }
    done.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}
