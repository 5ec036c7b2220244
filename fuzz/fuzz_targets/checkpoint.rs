//! A checkpoint changed in any way is refused with nothing changed, or loaded as a whole.
#![no_main]

use std::{cell::RefCell, fs, path::PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Optimizer, VarMap};
use l1_core::{Checkpoint, ParamsProxAdamW, ProxAdamW, Regularized, Rule, Visitor};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

struct Model {
    weight: Var,
    bias: Var,
}

impl Regularized for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("weight", Rule::l1(0.1), &self.weight)?;
        visitor.field("bias", Rule::inherit().decay(0.1).bias(true), &self.bias)
    }
}

/// A training that is offered one file after the other.
struct Training {
    folder: TempDir,
    varmap: VarMap,
    optimizer: ProxAdamW,
    /// A checkpoint of it.
    good: Vec<u8>,
}

impl Training {
    fn new() -> candle_core::Result<Self> {
        let varmap = VarMap::new();
        let var = |name: &str, shape: &[usize]| -> candle_core::Result<Var> {
            let var = Var::from_tensor(&Tensor::arange(1f32, 7.0, &Device::Cpu)?.reshape(shape)?)?;
            varmap.data().lock().unwrap().insert(name.to_owned(), var.clone());
            Ok(var)
        };
        let model = Model { weight: var("weight", &[2, 3])?, bias: var("bias", &[6])? };
        varmap.data().lock().unwrap().insert("empty".to_owned(), Var::zeros((0, 3), DType::F32, &Device::Cpu)?);
        let params = ParamsProxAdamW { weight_decay: 0.01, ..ParamsProxAdamW::new(model.regularizer()?) };
        let mut optimizer = ProxAdamW::new(varmap.all_vars(), params)?;
        optimizer.backward_step(&(model.weight.sqr()?.sum_all()? + model.bias.sum_all()?)?)?;
        let mut training = Self { folder: tempfile::tempdir()?, varmap, optimizer, good: Vec::new() };
        training.good = training.saved();
        Ok(training)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("run.safetensors")
    }

    fn saved(&self) -> Vec<u8> {
        Checkpoint::save(self.path(), &self.optimizer, &self.varmap).unwrap();
        fs::read(self.path()).unwrap()
    }

    fn load(&mut self, file: &[u8]) -> l1_core::Result<Checkpoint> {
        fs::write(self.path(), file).unwrap();
        Checkpoint::load(self.path(), &mut self.optimizer, &self.varmap)
    }

    fn offer(&mut self, file: &[u8]) {
        let good = self.good.clone();
        if self.load(file).is_err() {
            assert!(self.saved() == good, "a refused load has changed something");
            return;
        }
        // What was loaded can be saved, and is the same when it is loaded again.
        let saved = self.saved();
        self.load(&good).unwrap();
        self.load(&saved).unwrap();
        assert!(self.saved() == saved, "loaded twice, it is something else");
        self.load(&good).unwrap();
    }
}

thread_local! {
    static TRAINING: RefCell<Training> = RefCell::new(Training::new().unwrap());
}

fuzz_target!(|input: &[u8]| {
    TRAINING.with_borrow_mut(|training| {
        let file = changed(&training.good, input);
        training.offer(&file);
    });
});

/// Bytes that are the file, or its header, or say what is to be changed in a good one.
fn changed(good: &[u8], input: &[u8]) -> Vec<u8> {
    let Some((kind, input)) = input.split_first() else { return Vec::new() };
    let start = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let (header, data) = (&good[8..start], &good[start..]);
    let file = |header: &[u8]| [&(header.len() as u64).to_le_bytes()[..], header, data].concat();
    match kind % 4 {
        0 => input.to_vec(),
        1 => file(input),
        2 => {
            // Three bytes each: where, and what is to stand there.
            let mut changed = good.to_vec();
            for change in input.chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % good.len();
                changed[at] = change[2];
            }
            changed
        }
        _ => {
            // Where in the header, how much of it to take away, and what to put there.
            let [low, high, gone, new @ ..] = input else { return good.to_vec() };
            let at = usize::from(u16::from_le_bytes([*low, *high])) % header.len();
            let end = (at + usize::from(*gone)).min(header.len());
            file(&[&header[..at], new, &header[end..]].concat())
        }
    }
}
