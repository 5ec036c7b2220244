//! The data sets in `data/`; its `README.md` says where each comes from.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

/// Gene expression in 83 tumours of four kinds (Khan et al. 2001).
pub struct Khan {
    pub train: Labelled,
    pub test: Labelled,
}

/// Patients, images, … (one a row) and what each of them is.
pub struct Labelled {
    /// Rows × features.
    pub x: Tensor,
    /// Classes from 0, U32.
    pub y: Tensor,
}

/// How far diabetes had progressed a year after ten measurements (Efron et al. 2004).
pub struct Diabetes {
    /// 442 × 10, F64.
    pub x: Tensor,
    /// 442 × 1, F64.
    pub y: Tensor,
}

/// Handwritten digits, 8 × 8 pixels each, from 0 (paper) to 1 (ink), F32.
pub struct Digits {
    pub train: Labelled,
    pub test: Labelled,
}

/// Handwritten digits of MNIST, 28 × 28 pixels each, from 0 (paper) to 1 (ink), F32 (LeCun, Cortes & Burges).
pub struct Mnist {
    /// As many of each digit, in turns.
    pub train: Labelled,
    pub test: Labelled,
}

/// The mean sunspot number of each year from 1700 to 2008.
pub struct Sunspots {
    /// One year after another.
    pub years: Vec<u32>,
    pub numbers: Vec<f64>,
}

impl Khan {
    /// The kinds of tumours, in the order of their classes.
    pub const TUMOURS: [&'static str; 4] = ["BL", "EWS", "NB", "RMS"];

    /// What the short names stand for.
    pub const TUMOUR_NAMES: [&'static str; 4] =
        ["BL: Burkitt lymphoma", "EWS: Ewing's sarcoma", "NB: neuroblastoma", "RMS: rhabdomyosarcoma"];

    /// 63 patients to learn from and 20 held out, F64.
    pub fn load(device: &Device) -> Result<Self> {
        let file = Tensors::open("khan.safetensors", device)?;
        Ok(Self {
            train: Labelled { x: file.get("x_train")?, y: file.get("y_train")? },
            test: Labelled { x: file.get("x_test")?, y: file.get("y_test")? },
        })
    }

    /// Every gene with mean 0 and standard deviation 1 over the patients to learn from.
    pub fn standardized(self) -> Result<Self> {
        let Self { train, test } = self;
        let scale = Standardization::of(&train.x)?;
        Ok(Self {
            train: Labelled { x: scale.apply(&train.x)?, y: train.y },
            test: Labelled { x: scale.apply(&test.x)?, y: test.y },
        })
    }
}

impl Diabetes {
    /// The measurements, in the order of the columns: name and meaning.
    pub const FEATURES: [(&'static str, &'static str); 10] = [
        ("age", "age"),
        ("sex", "sex"),
        ("bmi", "body mass index"),
        ("bp", "blood pressure"),
        ("s1", "cholesterol"),
        ("s2", "LDL"),
        ("s3", "HDL"),
        ("s4", "cholesterol / HDL"),
        ("s5", "log of triglycerides"),
        ("s6", "blood sugar"),
    ];

    pub fn load(device: &Device) -> Result<Self> {
        let file = Tensors::open("diabetes.safetensors", device)?;
        Ok(Self { x: file.get("x")?, y: file.get("y")?.unsqueeze(1)? })
    }
}

impl Digits {
    /// Rows and columns of an image.
    pub const SIDE: usize = 8;

    /// All 1797 digits in an order drawn with `seed`: the first three quarters to learn from, the rest held out.
    pub fn load(seed: u64, device: &Device) -> Result<Self> {
        let file = Tensors::open("digits.safetensors", device)?;
        let (images, labels) = ((file.get("images")?.to_dtype(DType::F32)? / 16.0)?, file.get("labels")?);
        let count = labels.elem_count();
        let order = shuffled(count, &mut StdRng::seed_from_u64(seed), device)?;
        let part = |start: usize, len: usize| -> Result<Labelled> {
            let rows = order.narrow(0, start, len)?;
            Ok(Labelled { x: images.index_select(&rows, 0)?, y: labels.index_select(&rows, 0)? })
        };
        let train = count * 3 / 4;
        Ok(Self { train: part(0, train)?, test: part(train, count - train)? })
    }
}

impl Mnist {
    /// Rows and columns of an image.
    pub const SIDE: usize = 28;

    /// 1500 images to learn from and 500 held out.
    pub fn load(device: &Device) -> Result<Self> {
        let file = Tensors::open("mnist.safetensors", device)?;
        let images = |name: &str| -> Result<Tensor> { Ok((file.get(name)?.to_dtype(DType::F32)? / 255.0)?) };
        Ok(Self {
            train: Labelled { x: images("x_train")?, y: file.get("y_train")? },
            test: Labelled { x: images("x_test")?, y: file.get("y_test")? },
        })
    }
}

impl Sunspots {
    pub fn load() -> Result<Self> {
        let file = Tensors::open("sunspots.safetensors", &Device::Cpu)?;
        Ok(Self { years: file.get("years")?.to_vec1()?, numbers: file.get("numbers")?.to_vec1()? })
    }

    /// The number of a year in the series.
    pub fn of(&self, year: u32) -> f64 {
        self.numbers[(year - self.years[0]) as usize]
    }
}

impl Labelled {
    pub fn rows(&self) -> usize {
        self.y.elem_count()
    }

    pub fn device(&self) -> &Device {
        self.x.device()
    }

    /// The first rows alone.
    pub fn first(&self, rows: usize) -> Result<Self> {
        Ok(Self { x: self.x.narrow(0, 0, rows)?.contiguous()?, y: self.y.narrow(0, 0, rows)?.contiguous()? })
    }

    /// Once through the data in an order drawn from `rng`, `size` rows at a time; rows left over at the end wait for
    /// another pass.
    pub fn batches(&self, size: usize, rng: &mut StdRng) -> Result<Vec<Self>> {
        let order = shuffled(self.rows(), rng, self.device())?;
        let batch = |index: usize| -> Result<Self> {
            let rows = order.narrow(0, index * size, size)?;
            Ok(Self { x: self.x.index_select(&rows, 0)?, y: self.y.index_select(&rows, 0)? })
        };
        (0..self.rows() / size).map(batch).collect()
    }
}

/// Shifts and scales that bring every column of one table to mean 0 and standard deviation 1 (with 1/n).
pub struct Standardization {
    mean: Tensor,
    deviation: Tensor,
}

impl Standardization {
    /// What `x` needs. Held-out rows get the same: nothing is learned from them.
    pub fn of(x: &Tensor) -> candle_core::Result<Self> {
        let mean = x.mean_keepdim(0)?;
        let deviation = x.broadcast_sub(&mean)?.sqr()?.mean_keepdim(0)?.sqrt()?;
        Ok(Self { mean, deviation })
    }

    pub fn apply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.broadcast_sub(&self.mean)?.broadcast_div(&self.deviation)
    }
}

fn shuffled(count: usize, rng: &mut StdRng, device: &Device) -> Result<Tensor> {
    let mut rows: Vec<u32> = (0..u32::try_from(count)?).collect();
    rows.shuffle(rng);
    Ok(Tensor::from_vec(rows, count, device)?)
}

/// A file of named tensors.
struct Tensors {
    name: &'static str,
    tensors: HashMap<String, Tensor>,
}

impl Tensors {
    fn open(name: &'static str, device: &Device) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name);
        let tensors =
            candle_core::safetensors::load(&path, device).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { name, tensors })
    }

    fn get(&self, tensor: &str) -> Result<Tensor> {
        self.tensors.get(tensor).cloned().with_context(|| format!("{} holds no tensor `{tensor}`", self.name))
    }
}
