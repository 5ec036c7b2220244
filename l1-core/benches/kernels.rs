//! Single kernels, by length and dtype: `cargo bench -p l1-core --bench kernels`.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use candle_core::{DType, Device, Tensor, Var, backprop::GradStore};
use candle_nn::Optimizer;
use divan::{Bencher, counter::BytesCount};
use l1_core::{
    FtrlProximal, Guard, ParamsFtrl, ParamsProxAdamW, ParamsProxSgd, Penalty, ProxAdamW, ProxSgd, Regularized, Rule,
    Visitor, kernel,
};

fn main() {
    divan::main();
}

const LENGTHS: [usize; 3] = [1_000, 100_000, 4_000_000];
const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::BF16, DType::F16];

struct Model(Var, Rule);

struct Many(Vec<Var>);

impl Regularized for Many {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("weights", Rule::l1(1e-3), &self.0)
    }
}

impl Regularized for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("weight", self.1, &self.0)
    }
}

fn numbers(length: usize, dtype: DType) -> Tensor {
    let values: Vec<f64> = (0..length).map(|i| 0.05 * (i as f64).sin()).collect();
    Tensor::from_vec(values, length, &Device::Cpu).and_then(|x| x.to_dtype(dtype)).unwrap()
}

fn bytes(length: usize, dtype: DType) -> BytesCount {
    BytesCount::new(length * dtype.size_in_bytes())
}

/// Every length with every dtype.
fn cases() -> Vec<(usize, DType)> {
    LENGTHS.iter().flat_map(|length| DTYPES.map(|dtype| (*length, dtype))).collect()
}

#[divan::bench(args = cases())]
fn value(bencher: Bencher, (length, dtype): (usize, DType)) {
    let w = numbers(length, dtype);
    bencher.counter(bytes(length, dtype)).bench(|| kernel::value(&w, &Penalty::l1(0.1)));
}

#[divan::bench(args = cases())]
fn value_with_ridge(bencher: Bencher, (length, dtype): (usize, DType)) {
    let w = numbers(length, dtype);
    bencher.counter(bytes(length, dtype)).bench(|| kernel::value(&w, &Penalty::l1(0.1).with_l2(0.2)));
}

#[divan::bench(args = cases())]
fn subgradient(bencher: Bencher, (length, dtype): (usize, DType)) {
    let w = numbers(length, dtype);
    bencher.counter(bytes(length, dtype)).bench(|| kernel::subgradient(&w, &Penalty::l1(0.1)));
}

#[divan::bench(args = cases())]
fn prox(bencher: Bencher, (length, dtype): (usize, DType)) {
    let w = numbers(length, dtype);
    bencher.counter(bytes(length, dtype)).bench(|| kernel::prox(&w, &Penalty::l1(0.1), 0.1));
}

/// A step of one tensor on a given gradient.
fn step<O: Optimizer>(
    bencher: Bencher,
    (length, dtype): (usize, DType),
    rule: Rule,
    params: impl Fn(l1_core::Regularizer) -> O::Config,
) {
    let model = Model(Var::from_tensor(&numbers(length, dtype)).unwrap(), rule);
    let mut grads: GradStore = Tensor::zeros((), DType::F32, &Device::Cpu).and_then(|x| x.backward()).unwrap();
    grads.insert(&model.0, (numbers(length, dtype) * 0.2).unwrap());
    let mut opt = O::new(vec![model.0.clone()], params(model.regularizer().unwrap())).unwrap();
    bencher.counter(bytes(length, dtype)).bench_local(|| opt.step(&grads));
}

#[divan::bench(args = cases())]
fn prox_adamw(bencher: Bencher, case: (usize, DType)) {
    step::<ProxAdamW>(bencher, case, Rule::l1(1e-3), |regularizer| ParamsProxAdamW {
        guard: Guard::InPass,
        ..ParamsProxAdamW::new(regularizer)
    });
}

#[divan::bench(args = cases())]
fn prox_adamw_elastic_net(bencher: Bencher, case: (usize, DType)) {
    step::<ProxAdamW>(bencher, case, Rule::l1(1e-3).l2(1e-3), |regularizer| ParamsProxAdamW {
        guard: Guard::InPass,
        ..ParamsProxAdamW::new(regularizer)
    });
}

#[divan::bench(args = cases())]
fn prox_adamw_amsgrad(bencher: Bencher, case: (usize, DType)) {
    step::<ProxAdamW>(bencher, case, Rule::l1(1e-3), |regularizer| ParamsProxAdamW {
        guard: Guard::InPass,
        amsgrad: true,
        ..ParamsProxAdamW::new(regularizer)
    });
}

#[divan::bench(args = cases())]
fn prox_adamw_guard_before(bencher: Bencher, case: (usize, DType)) {
    step::<ProxAdamW>(bencher, case, Rule::l1(1e-3), ParamsProxAdamW::new);
}

#[divan::bench(args = cases())]
fn prox_sgd(bencher: Bencher, case: (usize, DType)) {
    step::<ProxSgd>(bencher, case, Rule::l1(1e-3), |regularizer| ParamsProxSgd {
        guard: Guard::InPass,
        ..ParamsProxSgd::new(regularizer)
    });
}

#[divan::bench(args = cases())]
fn prox_sgd_momentum(bencher: Bencher, case: (usize, DType)) {
    step::<ProxSgd>(bencher, case, Rule::l1(1e-3), |regularizer| ParamsProxSgd {
        momentum: 0.9,
        guard: Guard::InPass,
        ..ParamsProxSgd::new(regularizer)
    });
}

#[divan::bench(args = cases())]
fn ftrl_proximal(bencher: Bencher, case: (usize, DType)) {
    step::<FtrlProximal>(bencher, case, Rule::l1(1e-3), |regularizer| ParamsFtrl {
        guard: Guard::InPass,
        ..ParamsFtrl::new(regularizer)
    });
}

/// What a step costs for each tensor, however small.
#[divan::bench(args = [100, 1000, 10_000])]
fn prox_adamw_of_tensors_of_8(bencher: Bencher, count: usize) {
    let model = Many((0..count).map(|_| Var::from_tensor(&numbers(8, DType::F32)).unwrap()).collect());
    let mut grads: GradStore = Tensor::zeros((), DType::F32, &Device::Cpu).and_then(|x| x.backward()).unwrap();
    for var in &model.0 {
        grads.insert(var, numbers(8, DType::F32));
    }
    let params = ParamsProxAdamW { guard: Guard::InPass, ..ParamsProxAdamW::new(model.regularizer().unwrap()) };
    let mut opt = ProxAdamW::new(model.0.clone(), params).unwrap();
    bencher.counter(divan::counter::ItemsCount::new(count)).bench_local(|| opt.step(&grads));
}
