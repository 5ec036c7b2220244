//! A model in training that can be stopped, saved and looked into.

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Tensor, Var};
use candle_nn::{Init, Optimizer, VarBuilder, VarMap};
use l1_core::{
    Checkpoint, FtrlProximal, ParamsProxAdamW, ParamsProxSgd, ProxAdamW, ProxSgd, Regularized, Regularizer, Result,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tests::{device, rounded};

use crate::models::flat;

/// Three tensors under rules, and in its VarMap also one without entries and one of integers.
#[derive(Regularized)]
pub struct Model {
    #[l1(lambda = self.lambda, decay = self.decay)]
    pub first: Tensor,
    #[l1(lambda = 0.05, l2 = 0.1)]
    pub second: Tensor,
    pub bias: Tensor,
    pub lambda: f64,
    pub decay: f64,
}

impl Model {
    /// Starts from numbers that `seed` determines.
    pub fn new(varmap: &VarMap, dtype: DType, seed: u64) -> Self {
        Self::with_first(varmap, dtype, seed, 40)
    }

    pub fn with_first(varmap: &VarMap, dtype: DType, seed: u64, entries: usize) -> Self {
        let vb = VarBuilder::from_varmap(varmap, dtype, &device());
        let var = |name, shape: &[usize]| vb.get_with_hints(shape, name, Init::Const(0.0)).unwrap();
        let [first, second, bias] = [("first", vec![entries]), ("second", vec![5, 4]), ("bias", vec![4])]
            .map(|(name, shape)| var(name, &shape));
        for (seed, tensor) in (seed..).zip([&first, &second, &bias]) {
            Var::from_tensor(tensor).unwrap().set(&drawn(tensor, seed)).unwrap();
        }
        let model = Self { first, second, bias, lambda: 0.1, decay: 0.0 };
        var("empty", &[0, 3]);
        let integers = Var::new(&[seed as u32, 7], &device()).unwrap();
        varmap.data().lock().unwrap().insert("integers".to_owned(), integers);
        model
    }

    /// Its minimum is elsewhere at each step.
    pub fn loss(&self, step: u64) -> Tensor {
        let distance = |(seed, w): (u64, &Tensor)| (w - drawn(w, seed)).unwrap().sqr().unwrap().sum_all().unwrap();
        let distances = (1000 * step..).zip([&self.first, &self.second, &self.bias]).map(distance);
        distances.reduce(|a, b| (a + b).unwrap()).unwrap()
    }
}

pub fn drawn(like: &Tensor, seed: u64) -> Tensor {
    let mut rng = StdRng::seed_from_u64(seed);
    let values: Vec<f64> = (0..like.elem_count()).map(|_| rng.random_range(-1.0..1.0)).collect();
    rounded(values, like.dtype()).reshape(like.shape()).unwrap()
}

/// What the tests ask of an optimizer that can be saved.
pub trait Saved: Optimizer {
    fn regularizer_mut(&mut self) -> &mut Regularizer;
    fn steps(&self) -> u64;
    fn save(&self, path: &Path, varmap: &VarMap) -> Result<()>;
    fn load(&mut self, path: &Path, varmap: &VarMap) -> Result<Checkpoint>;
}

macro_rules! saved {
    ($($optimizer:ty),*) => {$(
        impl Saved for $optimizer {
            fn regularizer_mut(&mut self) -> &mut Regularizer {
                self.regularizer_mut()
            }
            fn steps(&self) -> u64 {
                self.steps()
            }
            fn save(&self, path: &Path, varmap: &VarMap) -> Result<()> {
                Checkpoint::save(path, self, varmap)
            }
            fn load(&mut self, path: &Path, varmap: &VarMap) -> Result<Checkpoint> {
                Checkpoint::load(path, self, varmap)
            }
        }
    )*};
}

saved!(ProxSgd, ProxAdamW, FtrlProximal);

pub struct Training<O> {
    pub varmap: VarMap,
    pub model: Model,
    pub opt: O,
}

impl<O: Saved> Training<O> {
    pub fn new(dtype: DType, seed: u64, params: impl Fn(Regularizer) -> O::Config) -> Self {
        let varmap = VarMap::new();
        let model = Model::new(&varmap, dtype, seed);
        Self::of(varmap, model, params)
    }

    pub fn of(varmap: VarMap, model: Model, params: impl Fn(Regularizer) -> O::Config) -> Self {
        let opt = O::new(varmap.all_vars(), params(model.regularizer().unwrap())).unwrap();
        Self { varmap, model, opt }
    }

    /// Learning rate and scale follow from their own last values.
    pub fn steps(&mut self, steps: u64) {
        for _ in 0..steps {
            self.opt.backward_step(&self.model.loss(self.opt.steps())).unwrap();
            self.opt.set_learning_rate(self.opt.learning_rate() * 0.97);
            let scale = self.opt.regularizer_mut().scale() * 1.03;
            self.opt.regularizer_mut().set_scale(scale).unwrap();
        }
    }

    /// All there is to know, as the bytes of a checkpoint.
    pub fn bytes(&self, folder: &TempDir) -> Vec<u8> {
        let path = folder.path().join("bytes.safetensors");
        self.opt.save(&path, &self.varmap).unwrap();
        fs::read(path).unwrap()
    }

    pub fn weights(&self) -> Vec<Vec<u64>> {
        let tensors = [&self.model.first, &self.model.second, &self.model.bias];
        tensors.map(|tensor| flat(tensor).into_iter().map(f64::to_bits).collect()).into()
    }

    pub fn refuses(&mut self, path: &Path, message: &str) {
        let folder = folder();
        let before = self.bytes(&folder);
        let error = self.opt.load(path, &self.varmap).unwrap_err();
        assert_eq!(error.to_string(), message.replace("FILE", &path.display().to_string()));
        assert!(self.bytes(&folder) == before, "a refused load has changed something");
    }
}

pub fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub fn adamw(regularizer: Regularizer) -> ParamsProxAdamW {
    ParamsProxAdamW { lr: 0.05, weight_decay: 0.01, ..ParamsProxAdamW::new(regularizer) }
}

pub fn amsgrad(regularizer: Regularizer) -> ParamsProxAdamW {
    ParamsProxAdamW { amsgrad: true, ..adamw(regularizer) }
}

pub fn with_copies(regularizer: Regularizer) -> ParamsProxAdamW {
    ParamsProxAdamW { master_weights: true, ..adamw(regularizer) }
}

pub fn momentum(regularizer: Regularizer) -> ParamsProxSgd {
    ParamsProxSgd { lr: 0.03, momentum: 0.9, dampening: 0.3, ..ParamsProxSgd::new(regularizer) }
}

/// Seven steps of `adamw` on the model of seed 1, in the file `run.safetensors`.
pub fn saved() -> (TempDir, PathBuf, Training<ProxAdamW>) {
    let (folder, mut training) = (folder(), Training::<ProxAdamW>::new(DType::F32, 1, adamw));
    training.steps(7);
    let path = folder.path().join("run.safetensors");
    training.opt.save(&path, &training.varmap).unwrap();
    (folder, path, training)
}

/// Where the tensors start, and the header's JSON.
pub fn header_of(bytes: &[u8]) -> (usize, serde_json::Value) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (8 + length, serde_json::from_slice(&bytes[8..8 + length]).unwrap())
}

/// Changes the text in a checkpoint's metadata.
pub fn rewrite(path: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let bytes = fs::read(path).unwrap();
    let (start, mut header) = header_of(&bytes);
    let text = &mut header["__metadata__"]["l1.checkpoint"];
    let mut contents = serde_json::from_str(text.as_str().unwrap()).unwrap();
    change(&mut contents);
    *text = contents.to_string().into();
    let header = header.to_string();
    let mut changed = (header.len() as u64).to_le_bytes().to_vec();
    changed.extend(header.as_bytes());
    changed.extend(&bytes[start..]);
    fs::write(path, changed).unwrap();
}
