//! Models and data that several tests use.

use std::{collections::HashMap, path::Path};

use candle_core::{DType, Device, Result, Tensor, Var, backprop::GradStore};
use candle_nn::{Linear, Module};
use l1_core::Regularized;
use tests::{device, rounded, rounded_on, tolerance};

/// A file of `tests/fixtures`.
pub struct Fixture(HashMap<String, Tensor>);

impl Fixture {
    pub fn load(file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(file);
        Self(candle_core::safetensors::load(path, &device()).unwrap())
    }

    pub fn tensor(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("{name} is not in the fixture"))
    }

    pub fn number(&self, name: &str) -> f64 {
        self.tensor(name).to_scalar().unwrap()
    }

    pub fn numbers(&self, name: &str) -> Vec<f64> {
        flat(self.tensor(name))
    }

    pub fn var(&self, name: &str) -> Var {
        Var::from_tensor(self.tensor(name)).unwrap()
    }
}

/// One linear layer under an elastic net; the bias is left alone by its role.
#[derive(Regularized)]
pub struct LinearModel {
    #[l1(lambda = self.lambda, l2 = self.l2)]
    pub fc: Linear,
    pub lambda: f64,
    pub l2: f64,
}

impl LinearModel {
    pub fn new(weight: &Var, bias: &Var, lambda: f64, l2: f64) -> Self {
        Self { fc: linear(weight, bias), lambda, l2 }
    }
}

impl Module for LinearModel {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.fc.forward(x)
    }
}

/// Two layers with ReLU between, each with its own strengths.
#[derive(Regularized)]
pub struct Mlp {
    #[l1(lambda = self.lambda.0)]
    pub fc1: Linear,
    #[l1(lambda = self.lambda.1, l2 = self.l2)]
    pub fc2: Linear,
    pub lambda: (f64, f64),
    pub l2: f64,
}

impl Mlp {
    /// From the start in the fixture, with its four variables in the fixture's order.
    pub fn start(fixture: &Fixture, lambda: (f64, f64), l2: f64) -> (Self, Vec<Var>) {
        let vars: Vec<_> = MLP_PARAMETERS.map(|name| fixture.var(&format!("mlp.start.{name}"))).into();
        let model = Self { fc1: linear(&vars[0], &vars[1]), fc2: linear(&vars[2], &vars[3]), lambda, l2 };
        (model, vars)
    }
}

pub const MLP_PARAMETERS: [&str; 4] = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"];

impl Module for Mlp {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.fc2.forward(&self.fc1.forward(x)?.relu()?)
    }
}

pub fn linear(weight: &Var, bias: &Var) -> Linear {
    Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone()))
}

/// One bare variable under any rule.
pub struct Single {
    pub weight: Var,
    pub rule: l1_core::Rule,
}

impl Single {
    pub fn new(values: &[f64], dtype: DType, rule: l1_core::Rule) -> Self {
        let values = rounded(values, dtype);
        Self { weight: Var::from_tensor(&values).unwrap(), rule }
    }

    pub fn values(&self) -> Vec<f64> {
        flat(&self.weight)
    }
}

impl Regularized for Single {
    fn visit(&self, visitor: &mut l1_core::Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("weight", self.rule, &self.weight)
    }
}

/// Many penalized variables, `weights.0` and so on.
#[derive(Regularized)]
pub struct Many {
    #[l1(lambda = self.lambda, l2 = self.l2)]
    pub weights: Vec<Var>,
    pub lambda: f64,
    pub l2: f64,
}

impl Many {
    /// Variables of these lengths, filled by a number's place.
    pub fn new(lengths: &[usize], dtype: DType) -> Self {
        Self::on(&device(), lengths, dtype)
    }

    /// The same on a given device.
    pub fn on(device: &Device, lengths: &[usize], dtype: DType) -> Self {
        let var = |(index, length): (usize, &usize)| {
            let values: Vec<_> = (0..*length).map(|i| (0.7 * i as f64 + index as f64).sin()).collect();
            Var::from_tensor(&rounded_on(device, values, dtype)).unwrap()
        };
        Self { weights: lengths.iter().enumerate().map(var).collect(), lambda: 0.1, l2: 0.01 }
    }

    /// Gradients that differ from step to step and from place to place.
    pub fn gradients(&self, step: usize) -> Vec<Vec<f64>> {
        let of = |(index, var): (usize, &Var)| {
            (0..var.elem_count()).map(|i| (1.3 * i as f64 + (7 * index + 3 * step) as f64).cos()).collect()
        };
        self.weights.iter().enumerate().map(of).collect()
    }

    /// These numbers in the variables' dtype.
    pub fn store(&self, numbers: &[Vec<f64>]) -> GradStore {
        gradients(
            self.weights
                .iter()
                .zip(numbers)
                .map(|(var, numbers)| (var, rounded_on(var.device(), numbers.as_slice(), var.dtype()))),
        )
    }

    pub fn bits(&self) -> Vec<Vec<u64>> {
        self.weights.iter().map(|var| bits(var)).collect()
    }
}

/// Gradients that come from no loss.
pub fn gradients<'v>(given: impl IntoIterator<Item = (&'v Var, Tensor)>) -> GradStore {
    // candle makes a store only for a loss.
    let nothing = Var::zeros((), DType::F32, &device()).unwrap();
    let mut grads = nothing.backward().unwrap();
    grads.remove(&nothing);
    for (var, gradient) in given {
        grads.insert(var, gradient);
    }
    grads
}

pub fn flat(tensor: &Tensor) -> Vec<f64> {
    // On the CPU, since CUDA's casts fail where there is no entry.
    tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The numbers' bits, so that −0 is not 0 and NaN is NaN.
pub fn bits(tensor: &Tensor) -> Vec<u64> {
    flat(tensor).into_iter().map(f64::to_bits).collect()
}

pub fn zeros(values: &[f64]) -> Vec<bool> {
    values.iter().map(|value| *value == 0.0).collect()
}

/// The largest difference, relative to the largest of the reference values: an entry near 0 has no more correct digits than its
/// neighbours.
pub fn worst(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(0.0, |size, value| f64::max(size, value.abs()));
    let differences = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
    let worst = differences.fold(0.0, |worst, difference| {
        assert!(!difference.is_nan());
        f64::max(worst, difference)
    });
    if worst == 0.0 { 0.0 } else { worst / size }
}

#[track_caller]
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], on_cpu: f64) {
    let (worst, tolerance) = (worst(found, expected), tolerance(on_cpu));
    assert!(worst <= tolerance, "{what}: differs by {worst:e}, more than {tolerance:e}");
}
