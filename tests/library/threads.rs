//! The same bits on any number of threads, and the same list on every run.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Optimizer, VarBuilder, VarMap, linear};
use l1_core::{ParamsProxAdamW, Penalty, ProxAdamW, Regularized, Rule, Visitor, kernel};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::models::{Single, flat};

/// Numbers of very different sizes, so that every order of additions rounds in its own way.
fn numbers(count: usize) -> Vec<f64> {
    let mut rng = StdRng::seed_from_u64(7);
    (0..count).map(|_| rng.random_range(-1.0..1.0f64) * 10f64.powi(rng.random_range(-8..8))).collect()
}

fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn the_value_has_the_same_bits_on_any_number_of_threads() {
    for count in [1, 1000, 16 * 1024 + 1, 1_000_003] {
        let w = Tensor::new(numbers(count), &Device::Cpu).unwrap();
        let value = |threads| on_threads(threads, || kernel::value(&w, &Penalty::l1(0.3).with_l2(0.7)).unwrap());
        let alone = value(1);
        for threads in [2, 3, 8] {
            assert_eq!(value(threads).to_bits(), alone.to_bits());
        }
    }
}

#[test]
fn a_step_has_the_same_bits_on_any_number_of_threads() {
    let values = numbers(100_003);
    let step = |threads| {
        on_threads(threads, || {
            let model = Single::new(&values, DType::F32, Rule::l1(1e-3).l2(0.1));
            let params = ParamsProxAdamW { lr: 0.01, ..ParamsProxAdamW::new(model.regularizer().unwrap()) };
            let mut opt = ProxAdamW::new(vec![model.weight.clone()], params).unwrap();
            for _ in 0..3 {
                opt.backward_step(&model.weight.sqr().unwrap().sum_all().unwrap()).unwrap();
            }
            model.weight.to_vec1::<f32>().unwrap().iter().map(|w| w.to_bits()).collect::<Vec<_>>()
        })
    };
    let alone = step(1);
    assert_eq!(step(2), alone);
    assert_eq!(step(5), alone);
}

#[test]
fn the_order_of_the_optimizers_variables_changes_no_bit() {
    // `VarMap::all_vars` comes in another order on every run.
    struct Model(VarMap, Vec<candle_nn::Linear>);
    impl Regularized for Model {
        fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
            visitor.field("layers", Rule::l1(0.01), &self.1)
        }
    }
    let run = |reverse: bool| {
        let varmap = VarMap::new();
        let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
        let layers = (0..5).map(|i| linear(4, 4, vb.pp(format!("layers.{i}"))).unwrap()).collect();
        let model = Model(varmap, layers);
        let regularizer = model.regularizer().unwrap();
        let mut vars: Vec<Var> = vec![];
        for (index, param) in regularizer.params().iter().enumerate() {
            let var = Var::from_tensor(param.tensor()).unwrap();
            let count = var.elem_count();
            let values: Vec<f32> = numbers(100)[index..index + count].iter().map(|x| *x as f32).collect();
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
            vars.push(var);
        }
        assert_eq!(model.0.all_vars().len(), vars.len());
        if reverse {
            vars.reverse();
        }
        let penalty = flat(&regularizer.penalty().unwrap())[0].to_bits();
        let value = regularizer.value().unwrap().to_bits();
        let mut opt = ProxAdamW::new(vars.clone(), ParamsProxAdamW::new(regularizer)).unwrap();
        let squares: Vec<_> = model.1.iter().map(|layer| layer.weight().sqr().unwrap().sum_all().unwrap()).collect();
        opt.backward_step(&Tensor::stack(&squares, 0).unwrap().sum_all().unwrap()).unwrap();
        let weights: Vec<_> = model.1.iter().flat_map(|layer| flat(layer.weight())).map(f64::to_bits).collect();
        (penalty, value, weights)
    };
    assert_eq!(run(false), run(true));
}
