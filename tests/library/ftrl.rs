//! FTRL-Proximal: as Keras and pytorch_optimizer compute it (`fixtures/make_optimizers.py`), as its docs say, and what it refuses.

use candle_core::{DType, Tensor, Var};
use candle_nn::{AdamW, Module, Optimizer, ParamsAdamW, loss};
use l1_core::{
    Charged, Error, FtrlProximal, Guard, ParamsFtrl, ParamsProximal, Proximal, Regularized, Regularizer, Rule,
};

use crate::{
    every_optimizer::told,
    models::{Fixture, LinearModel, Single, assert_close, flat, gradients, zeros},
};

#[test]
fn charged_once_it_follows_keras_and_pytorch_optimizer() {
    let (data, runs) = (Fixture::load("sklearn.safetensors"), Fixture::load("optimizers.safetensors"));
    let labels = data.tensor("logistic.labels").to_dtype(DType::F64).unwrap().unsqueeze(1).unwrap();
    // Another order of additions moves these ends by 4e-15.
    let tolerance = 1e-12;
    for run in ["keras.l1", "keras.l2", "pytorch_optimizer.l1", "pytorch_optimizer.l2"] {
        let name = |part: &str| format!("ftrl.{run}.{part}");
        let at = |key: &str| runs.number(&name(key));
        let [w, b] = [vec![1, 30], vec![1]].map(|shape| Var::zeros(shape, DType::F64, labels.device()).unwrap());
        let model = LinearModel::new(&w, &b, at("lambda"), at("l2"));
        let params = ParamsFtrl {
            lr: at("alpha"),
            beta: at("beta"),
            initial_accumulator: at("n0"),
            charged: Charged::Once,
            ..ParamsFtrl::new(model.regularizer().unwrap())
        };
        let mut opt = FtrlProximal::new(vec![w.clone(), b.clone()], params).unwrap();
        let mut losses = vec![];
        for step in 1..=200 {
            let logits = model.forward(data.tensor("logistic.x")).unwrap();
            let loss = loss::binary_cross_entropy_with_logit(&logits, &labels).unwrap();
            losses.extend(flat(&loss));
            opt.backward_step(&loss).unwrap();
            if step == 10 || step == 200 {
                let suffix = if step == 10 { "10" } else { "" };
                let expected = ["w", "b"].map(|part| runs.numbers(&name(&format!("{part}{suffix}"))));
                assert_eq!(zeros(&flat(&w)), zeros(&expected[0]), "{run}: zeros after {step} steps");
                assert_close(run, &[flat(&w), flat(&b)].concat(), &expected.concat(), tolerance);
            }
        }
        assert_close(run, &losses, &runs.numbers(&name("loss")), tolerance);
    }
}

const START: [f64; 4] = [2.0, -0.3, 0.0, 0.1];

fn ftrl(model: &Single, params: impl Fn(ParamsFtrl) -> ParamsFtrl) -> FtrlProximal {
    let params = params(ParamsFtrl::new(model.regularizer().unwrap()));
    FtrlProximal::new(vec![model.weight.clone()], params).unwrap()
}

/// A gradient that differs from step to step.
fn gradient(step: usize) -> [f64; 4] {
    [0, 1, 2, 3].map(|i| f64::sin((7 * step + 3 * i + 1) as f64))
}

fn take_step(opt: &mut FtrlProximal, model: &Single, gradient: &[f64]) {
    let gradient = Tensor::new(gradient, model.weight.device()).unwrap();
    opt.step(&gradients([(&model.weight, gradient)])).unwrap();
}

/// S(z, a).
fn soft(z: f64, a: f64) -> f64 {
    z.signum() * (z.abs() - a).max(0.0)
}

#[test]
fn without_a_penalty_it_is_gradient_descent_with_a_rate_of_its_own_for_each_coordinate_at_any_learning_rate() {
    for (beta, accumulator) in [(1.0, 0.0), (0.0, 0.1), (0.7, 2.0)] {
        let model = Single::new(&START, DType::F64, Rule::l1(0.0));
        let mut opt = ftrl(&model, |params| ParamsFtrl { beta, initial_accumulator: accumulator, ..params });
        let (mut w, mut n) = (START, [accumulator; 4]);
        for step in 0..60 {
            let lr = if step < 30 { 0.4 } else { 0.05 * (1.0 + step as f64 / 60.0) };
            opt.set_learning_rate(lr);
            let g = gradient(step);
            take_step(&mut opt, &model, &g);
            for i in 0..4 {
                n[i] += g[i] * g[i];
                w[i] -= lr / (beta + n[i].sqrt()) * g[i];
            }
            // 60 steps of a few roundings of numbers below 100 (z) times τ.
            assert_close("w", &model.values(), &w, 1e-13);
        }
    }
}

#[test]
fn its_first_step_is_a_proximal_gradient_step_from_the_weights_as_they_are() {
    for charged in [Charged::EachStep, Charged::Once] {
        let model = Single::new(&START, DType::F64, Rule::l1(0.5).l2(0.25));
        let mut opt = ftrl(&model, |params| ParamsFtrl { lr: 0.3, charged, ..params });
        let g = gradient(0);
        take_step(&mut opt, &model, &g);
        let expected: Vec<_> = (0..4)
            .map(|i| {
                let rate = 0.3 / (1.0 + g[i].abs());
                soft(START[i] - rate * g[i], rate * 0.5) / (1.0 + rate * 0.25)
            })
            .collect();
        assert_close("w", &model.values(), &expected, 1e-15);
        assert_eq!(zeros(&model.values()), zeros(&expected));
    }
}

#[test]
fn what_it_charges_is_the_sum_of_the_scales_so_far_or_the_scale_of_now() {
    for charged in [Charged::EachStep, Charged::Once] {
        let (lambda, l2, lr, beta) = (0.4, 0.2, 0.5, 1.0);
        let model = Single::new(&START, DType::F64, Rule::l1(lambda).l2(l2));
        let mut opt = ftrl(&model, |params| ParamsFtrl { lr, beta, charged, ..params });
        let (mut w, mut z, mut n, mut charges) = (START, [0.0; 4], [0.0f64; 4], 0.0);
        for (step, scale) in [1.0, 2.0, 0.0, 0.5, 0.5, 1.0].into_iter().enumerate() {
            opt.regularizer_mut().set_scale(scale).unwrap();
            let g = gradient(step);
            take_step(&mut opt, &model, &g);
            charges = if charged == Charged::EachStep { charges + scale } else { scale };
            for i in 0..4 {
                let before = if step == 0 { 0.0 } else { (beta + n[i].sqrt()) / lr };
                n[i] += g[i] * g[i];
                let after = (beta + n[i].sqrt()) / lr;
                z[i] += g[i] - (after - before) * w[i];
                w[i] = -soft(z[i], charges * lambda) / (after + charges * l2);
            }
            assert_close("w", &model.values(), &w, 1e-14); // a few roundings
            assert_eq!(zeros(&model.values()), zeros(&w), "{charged:?}, step {step}");
        }
    }
}

#[test]
fn charged_at_each_step_it_ends_at_the_lasso_and_charged_once_the_penalty_fades() {
    // ½‖w − t‖² + ‖w‖₁.
    let target = [3.0, 0.5, -2.0, -0.25];
    let end = |charged| {
        let model = Single::new(&START, DType::F64, Rule::l1(1.0));
        let mut opt = ftrl(&model, |params| ParamsFtrl { lr: 1.0, charged, ..params });
        for _ in 0..3000 {
            let g: Vec<_> = model.values().iter().zip(target).map(|(w, t)| w - t).collect();
            take_step(&mut opt, &model, &g);
        }
        model.values()
    };
    let lasso = [2.0, 0.0, -1.0, 0.0];
    let each_step = end(Charged::EachStep);
    // z is about 3000 and known to 3000·1e-16, the rate about 1/50.
    assert_close("charged at each step", &each_step, &lasso, 1e-12);
    assert_eq!(zeros(&each_step), zeros(&lasso));
    // The penalty is 1/3000 of the sum of all losses.
    assert_close("charged once", &end(Charged::Once), &target, 1e-3);
}

#[test]
fn hyperparameters_that_leave_no_finite_rate_are_refused() {
    let model = |dtype| Single::new(&START, dtype, Rule::l1(0.1));
    let refusal = |dtype, change: fn(ParamsFtrl) -> ParamsFtrl| {
        let model = model(dtype);
        let params = change(ParamsFtrl::new(model.regularizer().unwrap()));
        FtrlProximal::new(vec![model.weight.clone()], params).unwrap_err().to_string()
    };
    let of_f64 = |change| refusal(DType::F64, change);
    assert_eq!(
        of_f64(|params| ParamsFtrl { lr: 0.0, ..params }),
        "lr = 0 (expected finite and > 0; stop before a schedule reaches 0)"
    );
    assert_eq!(
        of_f64(|params| ParamsFtrl { lr: f64::NAN, ..params }),
        "lr = NaN (expected finite and > 0; stop before a schedule reaches 0)"
    );
    assert_eq!(of_f64(|params| ParamsFtrl { beta: -1.0, ..params }), "beta = -1 (expected finite and ≥ 0)");
    assert_eq!(
        of_f64(|params| ParamsFtrl { beta: 0.0, ..params }),
        "beta = 0 (expected > 0 where initial_accumulator is 0)"
    );
    assert_eq!(
        of_f64(|params| ParamsFtrl { initial_accumulator: f64::INFINITY, ..params }),
        "initial_accumulator = inf (expected finite and ≥ 0)"
    );
    let too_fast = "lr = 1e30 (expected in 3e-39 to 3.4e29·(beta + √initial_accumulator) where the arithmetic is f32)";
    assert_eq!(refusal(DType::F16, |params| ParamsFtrl { lr: 1e30, ..params }), too_fast);

    let model = model(DType::F64);
    let mut opt = ftrl(&model, |params| params);
    opt.set_learning_rate(0.0);
    let gradient = Tensor::new(&gradient(0), model.weight.device()).unwrap();
    let error = opt.step(&gradients([(&model.weight, gradient)])).unwrap_err();
    assert_eq!(error.to_string(), "lr = 0 (expected finite and > 0; stop before a schedule reaches 0)");
    assert_eq!(model.values(), START);
}

#[test]
fn a_declared_decay_is_refused_by_optimizers_without_one() {
    let decayed = Single::new(&START, DType::F64, Rule::l1(0.1).decay(0.01));
    let vars = || vec![decayed.weight.clone()];
    let regularizer = || decayed.regularizer().unwrap();
    let message = |optimizer: &str| {
        format!(
            "weight: `decay` does nothing in {optimizer}, which has no decoupled weight decay: declare a ridge, `l2`, or take \
             `ProxSgd` or `ProxAdamW`"
        )
    };
    let is_refused = |error: candle_core::Error, optimizer: &str| {
        assert_eq!(error.to_string(), message(optimizer));
        assert!(matches!(Error::from(error), Error::DecayUnused { path, .. } if path == "weight"));
    };
    is_refused(FtrlProximal::new(vars(), ParamsFtrl::new(regularizer())).unwrap_err(), "FtrlProximal");
    let adam = || ParamsProximal::new(ParamsAdamW::default(), regularizer());
    is_refused(Proximal::<AdamW>::new(vars(), adam()).unwrap_err(), "Proximal");

    // Nor can it come in later; a decay of 0 asks for nothing.
    let plain = Single { weight: decayed.weight.clone(), rule: Rule::l1(0.1).decay(0.0) };
    let grads = gradients([(&decayed.weight, Tensor::new(&gradient(0), decayed.weight.device()).unwrap())]);
    fn replaced<O: Optimizer>(mut opt: O, set: impl Fn(&mut O) -> &mut Regularizer, later: Regularizer) -> O {
        *set(&mut opt) = later;
        opt
    }
    let ftrl = FtrlProximal::new(vars(), ParamsFtrl::new(plain.regularizer().unwrap())).unwrap();
    is_refused(replaced(ftrl, |opt| opt.regularizer_mut(), regularizer()).step(&grads).unwrap_err(), "FtrlProximal");
    let params = ParamsProximal::new(ParamsAdamW::default(), plain.regularizer().unwrap());
    let proximal = Proximal::<AdamW>::new(vars(), params).unwrap();
    is_refused(replaced(proximal, |opt| opt.regularizer_mut(), regularizer()).step(&grads).unwrap_err(), "Proximal");
    assert_eq!(decayed.values(), START);
}

#[test]
fn a_coordinate_that_was_passed_over_goes_on_as_if_it_had_only_now_begun_there() {
    // The first step, a change of the learning rate, and many charges: z has to know them all.
    for bad_steps in [1..2, 4..5, 3..23] {
        let model = Single::new(&[0.8, 0.8, 0.0, 0.0], DType::F64, Rule::l1(0.01).l2(0.1));
        let mut opt = ftrl(&model, |params| ParamsFtrl { lr: 0.1, guard: Guard::InPass, ..params });
        let target = [1.0, 1.0, 0.002, 0.002];
        for step in 1..=40 {
            opt.set_learning_rate(if step < 4 { 0.1 } else { 0.01 + 0.001 * f64::from(step) });
            let before = model.values();
            let mut gradient: Vec<_> = before.iter().zip(target).map(|(w, t)| w - t).collect();
            let is_bad = bad_steps.contains(&step);
            if is_bad {
                (gradient[1], gradient[3]) = (f64::NAN, f64::INFINITY);
            }
            let gradient = Tensor::new(gradient, model.weight.device()).unwrap();
            assert_eq!(told(&mut opt, &gradients([(&model.weight, gradient)])).is_err(), is_bad);
            let after = model.values();
            assert!(!is_bad || (after[1], after[3]) == (before[1], before[3]), "step {step}: {before:?} {after:?}");
            // No step moves a weight by more than its rate times gradient and penalty.
            let largest = 0.1 * (1.0 + 0.01 + 0.1);
            for (before, after) in before.iter().zip(&after) {
                assert!((before - after).abs() <= largest, "step {step}: {before} {after}");
            }
        }
    }
}

#[test]
fn another_penalty_counts_from_the_next_step_on_however_it_is_set() {
    let run = |change: &dyn Fn(&mut FtrlProximal, &Single)| {
        let mut model = Single::new(&[0.0], DType::F64, Rule::l1(1.0));
        let mut opt = ftrl(&model, |params| ParamsFtrl { lr: 1.0, ..params });
        for step in 0..1001 {
            if step == 1000 {
                model.rule = Rule::l1(0.1);
                change(&mut opt, &model);
            }
            let gradient = model.values()[0] - 3.0;
            take_step(&mut opt, &model, &[gradient]);
        }
        model.values()[0]
    };
    let by_scale = run(&|opt, _| opt.regularizer_mut().set_scale(0.1).unwrap());
    let by_regularizer = run(&|opt, model| *opt.regularizer_mut() = model.regularizer().unwrap());
    assert!((by_scale - 2.0).abs() < 0.1, "{by_scale}");
    assert!((by_scale - by_regularizer).abs() < 1e-12, "{by_scale} {by_regularizer}");
}

#[test]
fn hyperparameters_whose_rate_is_no_number_in_the_arithmetic_are_refused() {
    for (dtype, beta, n0, lr) in [
        (DType::F32, 0.0, 1e-50, 0.1),
        (DType::F32, 1e-46, 0.0, 1e-38),
        (DType::F64, 1e-320, 0.0, 0.1),
        (DType::F64, 1e-300, 0.0, 1e10),
    ] {
        let model = Single::new(&[1.0], dtype, Rule::l1(0.1));
        let params = ParamsFtrl { beta, initial_accumulator: n0, lr, ..ParamsFtrl::new(model.regularizer().unwrap()) };
        let error = FtrlProximal::new(vec![model.weight.clone()], params).unwrap_err().to_string();
        assert!(error.starts_with("lr = "), "{error}");
    }
}
