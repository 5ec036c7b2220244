//! The works: what l1 does, what candle's own operations do in its place, and the limit.

mod family;
mod lenet;
mod penalties;
mod steps;
mod visits;

use candle_core::{DType, Device, Result, Tensor, Var, backprop::GradStore};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use l1_core::{Guard, ParamsProxAdamW, ProxAdamW, Regularized, Rule, Visitor};

use crate::Work;

/// Works that share their arrays.
pub(crate) struct Group {
    /// The keys of its works, known before any array is made.
    pub(crate) keys: &'static [&'static str],
    pub(crate) make: fn() -> Result<Vec<Work>>,
}

/// In the order of the table.
pub(crate) const ALL: [Group; 7] = [
    penalties::GROUP,
    steps::LARGE_TENSORS,
    steps::SMALL_TENSORS,
    family::ADAMW,
    family::SGD,
    lenet::GROUP,
    visits::GROUP,
];

const LAMBDA: f64 = 1e-3;
const LR: f64 = 1e-3;

/// 16.8 M parameters in 16 tensors.
const LARGE: (usize, usize) = (16, 1 << 20);

/// Some tensors under one λ.
pub(crate) struct Model(pub(crate) Vec<Var>);

impl Model {
    fn new((count, length): (usize, usize)) -> Result<Self> {
        (0..count).map(|index| waves(length, 0.05, index)).collect::<Result<_>>().map(Self)
    }

    /// Gradients for it, as `backward` leaves them. The tensors are made once, the store anew each time.
    pub(crate) fn store(&self, gradients: &[Tensor]) -> Result<GradStore> {
        let mut grads = Tensor::zeros((), DType::F32, &Device::Cpu)?.backward()?;
        for (var, gradient) in self.0.iter().zip(gradients) {
            grads.insert(var, gradient.clone());
        }
        Ok(grads)
    }

    fn gradients(&self) -> Result<Vec<Tensor>> {
        let gradient = |(index, var): (usize, &Var)| Ok(waves(var.elem_count(), 0.01, index + 7)?.as_detached_tensor());
        self.0.iter().enumerate().map(gradient).collect()
    }

    /// Steps that end at exact zeros.
    pub(crate) fn prox_adamw(&self, guard: Guard) -> Result<ProxAdamW> {
        let params = ParamsProxAdamW { lr: LR, guard, ..ParamsProxAdamW::new(self.regularizer()?) };
        ProxAdamW::new(self.0.clone(), params)
    }

    /// The penalty in the loss, whose gradient is all that each step gets: no zeros at the end.
    pub(crate) fn adamw_with_abs(self) -> Result<impl FnMut() -> Result<()>> {
        let params = ParamsAdamW { lr: LR, weight_decay: 0.0, ..ParamsAdamW::default() };
        let mut opt = AdamW::new(self.0.clone(), params)?;
        Ok(move || opt.step(&self.abs()?.backward()?))
    }

    /// λ·Σ|w| in candle's operations.
    fn abs(&self) -> Result<Tensor> {
        let mut sum = Tensor::zeros((), DType::F32, self.0.first().map_or(&Device::Cpu, |var| var.device()))?;
        for var in &self.0 {
            sum = (sum + var.abs()?.sum_all()?)?;
        }
        sum * LAMBDA
    }
}

impl Regularized for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("layers", Rule::l1(LAMBDA), &self.0)
    }
}

/// Numbers of both signs that no compiler foresees, the same on every run.
fn waves(length: usize, size: f32, seed: usize) -> Result<Var> {
    let values: Vec<f32> = (0..length).map(|i| size * ((i * 7 + seed * 13) as f32).sin()).collect();
    Var::from_vec(values, length, &Device::Cpu)
}
