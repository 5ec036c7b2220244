//! Gradients that are not finite: nothing is written, or what they belong to stays and all else is stepped.

use candle_core::{DType, Tensor, Var};
use l1_core::{
    Error, Grouping, Guard, Penalty, Regularized, Rule, Visitor,
    kernel::{OptimizerStep, Source, Work, cpu},
};
use tests::tolerance;

use super::{
    CURVES,
    losses::Model,
    numbers, on_cpu, rng,
    steps::{METHODS, Method, Plain},
    tensor, wide,
};
use crate::{
    every_step::kernels,
    models::{bits, flat, gradients},
};

const DIMS: [usize; 2] = [6, 8];
const GROUPINGS: [Grouping; 5] =
    [Grouping::Element, Grouping::Dim(0), Grouping::Dim(1), Grouping::Block(3, 2), Grouping::Singular];
const BAD: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

/// Two weights under one penalty.
struct Pair([Var; 2], Penalty);

impl Regularized for Pair {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("a", Rule::inherit().penalty(self.1), &self.0[0])?;
        visitor.field("b", Rule::inherit().penalty(self.1), &self.0[1])
    }
}

impl Pair {
    fn new(penalty: Penalty) -> Self {
        let var = |seed| Var::from_tensor(&tensor(&numbers(&mut rng(seed), 48), &DIMS, DType::F32)).unwrap();
        Self([var(61), var(62)], penalty)
    }

    fn bits(&self) -> [Vec<u64>; 2] {
        self.0.each_ref().map(|var| bits(var))
    }
}

/// Gradients of step `index`, spoilt at one place of the first weight.
fn given(index: u64, spoilt: Option<(usize, f64)>) -> [Tensor; 2] {
    [0, 1].map(|which| {
        let mut numbers = numbers(&mut rng(63 + 2 * index + which), 48);
        if let (0, Some((at, value))) = (which, spoilt) {
            numbers[at] = value;
        }
        tensor(&numbers, &DIMS, DType::F32)
    })
}

fn each_case(mut run: impl FnMut(Method, Penalty, f64)) {
    for (index, method) in METHODS.into_iter().enumerate() {
        for group in GROUPINGS {
            for curve in CURVES {
                run(method, Penalty::l1(0.05).with_curve(curve).with_group(group).with_l2(0.1), BAD[index % 3]);
            }
        }
    }
}

#[test]
fn before_a_step_nothing_at_all_is_written() {
    each_case(|method, penalty, bad| {
        let [model, untouched] = [Pair::new(penalty), Pair::new(penalty)];
        let optimizer = |model: &Pair| method.optimizer(model.regularizer().unwrap(), model.0.to_vec(), Guard::Before);
        let (mut step, mut good_step) = (optimizer(&model), optimizer(&untouched));
        for index in 0..3 {
            let before = model.bits();
            let error = step(&gradients(model.0.iter().zip(given(index, Some((17, bad)))))).unwrap_err();
            assert!(matches!(error.into(), Error::NonFiniteGradient { index: 17, guard: Guard::Before, .. }));
            assert!(model.bits() == before, "{method:?}, {penalty}");
            step(&gradients(model.0.iter().zip(given(index, None)))).unwrap();
            good_step(&gradients(untouched.0.iter().zip(given(index, None)))).unwrap();
            // Neither did the moments change, nor the counts.
            assert!(model.bits() == untouched.bits(), "{method:?}, {penalty}, step {index}");
        }
    });
}

#[test]
fn in_the_pass_a_bad_entry_stays_with_its_whole_tensor_where_there_are_groups_and_all_else_is_stepped() {
    each_case(|method, penalty, bad| {
        let [model, reference] = [Pair::new(penalty), Pair::new(penalty)];
        let mut step = method.optimizer(model.regularizer().unwrap(), model.0.to_vec(), Guard::InPass);
        let mut good_step = method.optimizer(reference.regularizer().unwrap(), reference.0.to_vec(), Guard::Before);
        step(&gradients(model.0.iter().zip(given(0, None)))).unwrap();
        good_step(&gradients(reference.0.iter().zip(given(0, None)))).unwrap();
        assert!(model.bits() == reference.bits(), "{method:?}, {penalty}");
        let before = model.bits();
        for index in 1..3 {
            let error = step(&gradients(model.0.iter().zip(given(index, Some((17, bad)))))).unwrap_err();
            assert!(matches!(error.into(), Error::NonFiniteGradient { index: 17, guard: Guard::InPass, .. }));
            good_step(&gradients(reference.0.iter().zip(given(index, None)))).unwrap();
            let (found, expected) = (model.bits(), reference.bits());
            let stays = |at: usize| penalty.group() != Grouping::Element || at == 17;
            for at in 0..48 {
                let expected = if stays(at) { before[0][at] } else { expected[0][at] };
                assert_eq!(found[0][at], expected, "{method:?}, {penalty}, step {index}, entry {at}");
            }
            assert!(found[1] == expected[1], "{method:?}, {penalty}, step {index}: the other tensor");
        }
    });
}

#[test]
fn in_the_pass_the_moments_of_what_stays_keep_their_bits_too() {
    // Of the CPU's kernel, called by its name.
    for group in GROUPINGS {
        for curve in CURVES {
            let penalty = Penalty::l1(0.05).with_curve(curve).with_group(group);
            for dtype in [DType::F32, DType::F64, DType::BF16] {
                for (step, states) in kernels(penalty) {
                    // FTRL's z follows the rate and the charges, so that the weight stays.
                    if matches!(step, OptimizerStep::Ftrl(_)) {
                        continue;
                    }
                    let rng = &mut rng(71);
                    let mut g = numbers(rng, 48);
                    g[17] = f64::INFINITY;
                    let positive = |rng: &mut _| numbers(rng, 48).iter().map(|x| x.abs() + 0.1).collect::<Vec<_>>();
                    let state: Vec<_> = (0..states)
                        .map(|_| Var::from_tensor(&on_cpu(&positive(rng), &DIMS, wide(dtype))).unwrap())
                        .collect();
                    let var = Var::from_tensor(&on_cpu(&numbers(rng, 48), &DIMS, dtype)).unwrap();
                    let work = Work::new(var, state, Some((on_cpu(&g, &DIMS, dtype), step)));
                    let all =
                        || -> Vec<_> { std::iter::once(&work.var).chain(&work.state).map(|var| bits(var)).collect() };
                    let before = all();
                    assert!(cpu::step(&work, Source::Unchecked).unwrap());
                    for (before, after) in before.into_iter().zip(all()) {
                        for at in 0..48 {
                            let stays = group != Grouping::Element || at == 17;
                            assert!(!stays || before[at] == after[at], "{penalty}, {dtype:?}, {step:?}, entry {at}");
                        }
                    }
                }
            }
        }
    }
}

/// Takes two good steps, three bad ones and two good ones in f64, and asks what became of the weights.
fn good_and_bad(method: Method, penalty: Penalty, mut check: impl FnMut(usize, &[f64], &[f64], &[f64])) {
    let model = Model::new(&tensor(&numbers(&mut rng(81), 48), &DIMS, DType::F64), penalty);
    let mut step = method.optimizer(model.regularizer().unwrap(), vec![model.weight.clone()], Guard::InPass);
    for index in 0..7 {
        let is_bad = (2..5).contains(&index);
        let [gradient, _] = given(index as u64, is_bad.then_some((17, f64::NAN)));
        let gradient = gradient.to_dtype(DType::F64).unwrap();
        let (w, g) = (flat(&model.weight), flat(&gradient));
        assert_eq!(step(&gradients([(&model.weight, gradient)])).is_err(), is_bad);
        check(index, &w, &g, &flat(&model.weight));
    }
}

#[test]
fn after_bad_steps_a_good_one_is_taken_from_the_weights_and_moments_that_stayed() {
    for method in METHODS {
        for group in GROUPINGS.into_iter().filter(|group| *group != Grouping::Singular) {
            for curve in CURVES {
                let penalty = Penalty::l1(0.03).with_curve(curve).with_group(group);
                for penalty in [penalty, penalty.with_element(0.01).with_l2(0.1)] {
                    let mut plain = Plain::new(method, penalty, &DIMS);
                    good_and_bad(method, penalty, |index, w, g, found| {
                        let expected = plain.guarded_step(w, g);
                        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                            // Roundings of sums around 10.
                            let right = (found - expected).abs() <= 1e-12 && (*found == 0.0) == (*expected == 0.0);
                            assert!(right, "{method:?}, {penalty}, step {index}, entry {at}: {found:e} {expected:e}");
                        }
                    });
                }
            }
        }
    }
}

#[test]
fn a_matrix_that_ftrl_has_passed_over_does_not_jump_at_a_step_without_a_gradient() {
    for curve in CURVES {
        let penalty = Penalty::l1(0.03).with_curve(curve).with_group(Grouping::Singular);
        let method = Method::Ftrl { once: true };
        let model = Model::new(&tensor(&numbers(&mut rng(81), 48), &DIMS, DType::F64), penalty);
        let mut step = method.optimizer(model.regularizer().unwrap(), vec![model.weight.clone()], Guard::InPass);
        let mut take = |index, spoilt| {
            let [gradient, _] = given(index, spoilt);
            step(&gradients([(&model.weight, gradient.to_dtype(DType::F64).unwrap())]))
        };
        take(0, None).unwrap();
        take(1, None).unwrap();
        let before = flat(&model.weight);
        take(2, Some((17, f64::NAN))).unwrap_err();
        // The penalty is charged once and for all: a gradient of 0 moves nothing.
        step(&gradients([(&model.weight, model.weight.zeros_like().unwrap())])).unwrap();
        for (at, (after, before)) in flat(&model.weight).iter().zip(&before).enumerate() {
            // Decomposed three times: some roundings of ‖w‖, 1e-15 each.
            assert!((after - before).abs() <= tolerance(1e-13), "{penalty}, entry {at}: {before:e} {after:e}");
        }
    }
}
