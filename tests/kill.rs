//! A training program that is killed again and again comes to the same final bits as one that was left in peace.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use candle_core::{DType, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer, VarBuilder, VarMap, linear, loss};
use l1_core::{Checkpoint, ParamsProxAdamW, ProxAdamW, Regularized, Schedule, Schedules};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tests::device;

const STEPS: u64 = 600;
/// Killed before and after.
const FREEZES_AT: u64 = 100;
const STEPS_A_SAVE: u64 = 3;
const KILLS: usize = 25;
/// Far fewer in all than there are steps: every kill finds the program at work.
const STEPS_A_LIFE: u64 = 15;

/// Says to this very program, started once more, where to train.
const FILE: &str = "L1_TESTS_CHECKPOINT";

#[derive(Regularized)]
struct Mlp {
    #[l1(lambda = 0.003)]
    fc1: Linear,
    #[l1(lambda = 0.001, l2 = 0.01)]
    fc2: Linear,
}

fn draw(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = StdRng::seed_from_u64(seed);
    let values = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0f32)).collect();
    Tensor::from_vec(values, shape, &device()).unwrap()
}

/// Trains to the last step, from the file if there is one. It says on standard output what it is about to do.
#[test]
fn training_program() {
    let Ok(path) = env::var(FILE) else { return };
    let path = Path::new(&path);
    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F32, &device());
    let mlp = Mlp { fc1: linear(32, 64, vb.pp("fc1")).unwrap(), fc2: linear(64, 1, vb.pp("fc2")).unwrap() };
    for (seed, layer) in (0..).zip([&mlp.fc1, &mlp.fc2]) {
        for (seed, tensor) in (2 * seed..).zip([layer.weight(), layer.bias().unwrap()]) {
            Var::from_tensor(tensor).unwrap().set(&(draw(tensor.dims(), seed) * 0.3).unwrap()).unwrap();
        }
    }
    let mut regularizer = mlp.regularizer().unwrap();
    let ramp = Schedule::constant(0.5).lasting(20).then(Schedule::linear(0.5, 1.0, 40));
    regularizer.set_schedules(Schedules::new().scale_of("fc1", ramp).freeze(FREEZES_AT)).unwrap();
    let params = ParamsProxAdamW { lr: 0.01, amsgrad: true, ..ParamsProxAdamW::new(regularizer) };
    let mut opt = ProxAdamW::new(varmap.all_vars(), params).unwrap();
    if path.exists() {
        let checkpoint = Checkpoint::load(path, &mut opt, &varmap).unwrap();
        assert_eq!(checkpoint.steps() % STEPS_A_SAVE, 0);
        assert_eq!(checkpoint.note(), note(checkpoint.steps()));
    }
    while opt.steps() < STEPS {
        println!("step");
        // The batch follows from the step; rate and scale from their own last values.
        let x = draw(&[16, 32], 1000 + opt.steps());
        let y = (x.narrow(1, 0, 1).unwrap() * x.narrow(1, 1, 1).unwrap()).unwrap();
        let y_hat = mlp.fc2.forward(&mlp.fc1.forward(&x).unwrap().relu().unwrap()).unwrap();
        opt.backward_step(&loss::mse(&y_hat, &y).unwrap()).unwrap();
        opt.set_learning_rate(opt.learning_rate() * 0.999);
        let scale = opt.regularizer().scale() * 1.001;
        opt.regularizer_mut().set_scale(scale).unwrap();
        if opt.steps().is_multiple_of(STEPS_A_SAVE) {
            println!("step, and then a save");
            Checkpoint::save_with_note(path, &opt, &varmap, &note(opt.steps())).unwrap();
        }
    }
    assert!(opt.regularizer().report().unwrap().totals.penalized_zeros > 100);
}

fn note(steps: u64) -> String {
    format!("{steps} steps")
}

struct Program(Child);

impl Program {
    fn start(path: &Path) -> Self {
        let mut program = Command::new(env::current_exe().unwrap());
        program.args(["--exact", "training_program", "--nocapture"]);
        Self(program.env(FILE, path).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Reads on until the program has announced so many steps, or to its end.
    fn read(&mut self, steps: u64) {
        let mut lines = BufReader::new(self.0.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
        let mut left = steps;
        while left > 0 && lines.next().inspect(|line| left -= u64::from(line.contains("step"))).is_some() {}
    }

    fn kill(mut self) -> ExitStatus {
        self.0.kill().unwrap();
        self.0.wait().unwrap()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

fn run_in_peace(path: &PathBuf) -> Vec<u8> {
    let mut program = Program::start(path);
    program.read(u64::MAX);
    assert!(program.0.wait().unwrap().success());
    fs::read(path).unwrap()
}

#[test]
fn a_killed_program_comes_to_the_same_bits_as_one_left_in_peace() {
    let folder = tempfile::tempdir().unwrap();
    let [peace, war] = ["peace", "war"].map(|name| folder.path().join(name));
    fs::create_dir(&peace).unwrap();
    fs::create_dir(&war).unwrap();
    let expected = run_in_peace(&peace.join("run.safetensors"));

    let path = war.join("run.safetensors");
    let mut rng = StdRng::seed_from_u64(1);
    let mut interrupted_saves = 0;
    for _ in 0..KILLS {
        let mut program = Program::start(&path);
        // Some are killed before their first step, others while they write.
        program.read(rng.random_range(0..=STEPS_A_LIFE));
        thread::sleep(Duration::from_micros(rng.random_range(0..3000)));
        let status = program.kill();
        #[cfg(unix)]
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
        assert!(!status.success());
        // At most the file of one interrupted save lies beside the last whole one.
        let names = names(&war);
        let beside = names.iter().filter(|name| *name != "run.safetensors").count();
        assert!(beside <= 1, "{names:?}");
        interrupted_saves += beside;
    }
    println!("{interrupted_saves} of {KILLS} kills found an unfinished file");
    assert!(run_in_peace(&path) == expected, "another end after {KILLS} kills");
    assert_eq!(names(&war), ["run.safetensors"]);
}
