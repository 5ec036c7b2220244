//! The CPU kernels against the same operations in candle's own tensor operations, which run on every device.

use candle_core::{DType, Device, Tensor, Var};
use l1_core::{
    Penalty,
    kernel::{self, AdamWStep, FtrlStep, Norm, OptimizerStep, SgdStep, Source, Step, Work, composed, cpu},
};
use proptest::prelude::*;

use crate::models::flat;

const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::BF16, DType::F16];

/// Two roundings of the dtype: the operations are the same up to the order of additions and divisions.
fn tolerance(dtype: DType) -> f64 {
    2.0 * match dtype {
        DType::F64 => 1e-14,
        DType::F32 => 1e-6,
        DType::BF16 => 7.9e-3,
        _ => 9.8e-4,
    }
}

fn close(found: &Tensor, expected: &Tensor, dtype: DType) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.dtype(), expected.dtype());
    prop_assert_eq!(found.dims(), expected.dims());
    for (found, expected) in flat(found).into_iter().zip(flat(expected)) {
        let difference = (found - expected).abs();
        prop_assert!(difference <= tolerance(dtype) * expected.abs().max(1.0), "{:?}: {} {}", dtype, found, expected);
    }
    Ok(())
}

fn values(length: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop_oneof![Just(0.0), -3.0..3.0f64], length)
}

fn cases() -> impl Strategy<Value = ([Vec<f64>; 4], Penalty)> {
    let penalty = (0.0..2.0f64, 0.0..2.0f64, any::<bool>())
        .prop_map(|(lambda, l2, positive)| Penalty::l1(lambda).with_l2(l2).with_positive(positive));
    // Lengths of 0, 1, odd ones, and some that are split over threads.
    let length = prop_oneof![12 => 0..40usize, 1 => Just(16 * 1024), 1 => Just(40_001)];
    (length.prop_flat_map(|n| [values(n), values(n), values(n), values(n)]), penalty)
}

fn tensor(values: &[f64], dtype: DType) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn var(values: &[f64], dtype: DType) -> Var {
    Var::from_tensor(&tensor(values, dtype)).unwrap()
}

fn moments(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_kernel_agrees_with_candles_operations(([w, g, a, b], penalty) in cases(), step in 0.0..2.0f64) {
        for dtype in DTYPES {
            let (w, g) = (tensor(&w, dtype), tensor(&g, dtype));
            // Steps come in the dtype of the arithmetic, as an optimizer's do.
            let steps = tensor(&b.iter().map(|b| 0.999 * b.abs()).collect::<Vec<_>>(), moments(dtype));

            let (found, expected) = (cpu::value(&w, &penalty).unwrap(), composed::value(&w, &penalty).unwrap());
            // candle adds up to 40 000 f32 terms in f32.
            let slack = if dtype == DType::F64 { 1e-12 } else { 1e-4 };
            prop_assert!(found == expected || (found - expected).abs() <= slack * expected.abs(), "{} {}", found, expected);

            close(&kernel::subgradient(&w, &penalty).unwrap(), &composed::subgradient(&w, &penalty).unwrap(), dtype)?;
            for step in [Step::Scalar(step), Step::Diagonal(&steps)] {
                let expected = composed::prox(&w, &penalty, step).unwrap();
                close(&kernel::prox(&w, &penalty, step).unwrap(), &expected, dtype)?;
            }

            let expected = composed::plus_subgradient(&g, &w, &penalty).unwrap();
            let sum = g.force_contiguous().unwrap();
            cpu::add_subgradient(&sum, &w, &penalty).unwrap();
            close(&sum, &expected, dtype)?;

            let (found, expected) = (cpu::counts(&w).unwrap(), composed::counts(&w).unwrap());
            prop_assert_eq!(found.zeros, expected.zeros);
            prop_assert!((found.l1_norm - expected.l1_norm).abs() <= slack * expected.l1_norm);
            prop_assert_eq!(cpu::first_non_finite(&w).unwrap(), None);
            prop_assert_eq!(composed::first_non_finite(&w).unwrap(), None);
            for norm in [Norm::L1, Norm::L2, Norm::Inf, Norm::P(3.0)] {
                let (found, expected) = (cpu::norm(&w, norm).unwrap(), flat(&composed::norm(&w, norm).unwrap())[0]);
                prop_assert!((found - expected).abs() <= slack * expected.max(1.0), "{:?}: {} {}", norm, found, expected);
            }

            let (w, g, a, b) = (flat(&w), flat(&g), a.clone(), b.clone());
            let squares: Vec<_> = b.iter().map(|b| b * b).collect();
            let larger: Vec<_> = squares.iter().map(|b| b + 0.1).collect();
            let sgd = SgdStep {
                momentum: 0.9, gradient_weight: 0.5, lookahead: None, lr: 0.1, keep: 0.99, prox_step: step, penalty,
            };
            let adamw = AdamWStep {
                beta1: 0.9, beta2: 0.99, m_correction: 1.5, v_correction: 3.0, lr: 0.05, eps: 1e-3, keep: 0.99, penalty,
            };
            let ftrl = FtrlStep { lr: 0.5, beta: 0.3, drift: 0.25, penalty, times: 1.0 };
            let steps: [(OptimizerStep, Vec<&[f64]>); 6] = [
                (OptimizerStep::Sgd(sgd), vec![]),
                (OptimizerStep::Sgd(sgd), vec![&a]),
                (OptimizerStep::Sgd(SgdStep { lookahead: Some(0.9), ..sgd }), vec![&a]),
                (OptimizerStep::AdamW(adamw), vec![&a, &squares]),
                (OptimizerStep::AdamW(adamw), vec![&a, &squares, &larger]),
                (OptimizerStep::Ftrl(ftrl), vec![&a, &squares]),
            ];
            let mut spoilt = g.clone();
            spoilt.iter_mut().step_by(7).for_each(|g| *g = f64::NAN);
            for (step, state) in steps {
                for (source, g) in [(Source::Checked, &g), (Source::Unchecked, &g), (Source::Unchecked, &spoilt)] {
                    let work = || {
                        let state = state.iter().map(|state| var(state, moments(dtype))).collect();
                        Work::new(var(&w, dtype), state, Some((tensor(g, dtype), step)))
                    };
                    let (fast, slow) = (work(), work());
                    let passed_over = cpu::step(&fast, source).unwrap();
                    prop_assert_eq!(passed_over, composed::step(&slow, source).unwrap());
                    prop_assert_eq!(passed_over, g.iter().any(|g| g.is_nan()));
                    // Steps of up to lr/ε = 50 magnify the roundings of m̂ where a gradient is small.
                    let loose = if dtype == DType::F32 { 2e-5 } else { tolerance(dtype) };
                    let found = flat(&fast.var);
                    for (found, expected) in found.iter().zip(flat(&slow.var)) {
                        let error = (found - expected).abs();
                        prop_assert!(error <= loose * expected.abs().max(1.0), "{:?} {:?}: {} {}", dtype, step, found, expected);
                    }
                    for (fast, slow) in fast.state.iter().zip(&slow.state) {
                        close(fast, slow, moments(dtype))?;
                    }
                    for (index, old) in w.iter().enumerate().filter(|(index, _)| g[*index].is_nan()) {
                        prop_assert_eq!(found[index], *old);
                    }
                }
            }
        }
    }
}

#[test]
fn the_first_value_that_is_not_finite_is_found_anywhere() {
    for (length, at) in [(5, 0), (5, 4), (100_000, 77_777)] {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for dtype in DTYPES {
                let mut values = vec![1.0; length];
                values[at] = value;
                let bad = tensor(&values, dtype);
                for found in [cpu::first_non_finite(&bad).unwrap(), composed::first_non_finite(&bad).unwrap()] {
                    let (index, found) = found.unwrap();
                    assert_eq!((index, found.to_string()), (at, value.to_string()));
                }
            }
        }
    }
}

#[test]
fn both_take_nan_and_infinities_alike() {
    let w = tensor(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1.0], DType::F64);
    let penalty = Penalty::l1(0.5);
    let text = |tensor: Tensor| format!("{:?}", flat(&tensor)).replace("-0.0", "0.0");
    let subgradient = text(kernel::subgradient(&w, &penalty).unwrap());
    assert_eq!(subgradient, text(composed::subgradient(&w, &penalty).unwrap()));
    assert_eq!(subgradient, "[NaN, 0.5, -0.5, 0.0, 0.5]");
    let step = Step::Scalar(1.0);
    for (penalty, expected) in
        [(penalty, "[NaN, inf, -inf, 0.0, 0.5]"), (penalty.with_positive(true), "[NaN, inf, 0.0, 0.0, 0.5]")]
    {
        for prox in [kernel::prox(&w, &penalty, step).unwrap(), composed::prox(&w, &penalty, step).unwrap()] {
            assert_eq!(text(prox), expected);
        }
    }
    assert!(cpu::value(&w, &penalty).unwrap().is_nan() && composed::value(&w, &penalty).unwrap().is_nan());

    let infinite = tensor(&[f64::INFINITY, 1.0], DType::F64);
    for (penalty, value) in
        [(Penalty::NONE, 0.0), (Penalty::l1(1.0), f64::INFINITY), (Penalty::ridge(1.0), f64::INFINITY)]
    {
        assert_eq!(
            [cpu::value(&infinite, &penalty).unwrap(), composed::value(&infinite, &penalty).unwrap()],
            [value; 2]
        );
    }
}

#[test]
fn a_norm_is_nan_wherever_the_nan_stands() {
    for dtype in DTYPES {
        for values in [[f64::NAN, 1.0, 2.0], [1.0, f64::NAN, 2.0], [1.0, 2.0, f64::NAN]] {
            for norm in [Norm::L1, Norm::L2, Norm::Inf, Norm::P(3.0)] {
                let x = tensor(&values, dtype);
                assert!(cpu::norm(&x, norm).unwrap().is_nan() && flat(&composed::norm(&x, norm).unwrap())[0].is_nan());
            }
        }
    }
}

#[test]
fn a_norm_neither_overflows_nor_vanishes_where_its_powers_do() {
    let cases = [
        ([1e200, 1e200], Norm::L2),
        ([1e-200, 1e-200], Norm::L2),
        ([1e-4, 1e-4], Norm::P(100.0)),
        ([1e4, 0.0], Norm::P(100.0)),
    ];
    for (values, norm) in cases {
        let expected = values[0] * values.iter().filter(|x| **x != 0.0).count() as f64;
        let expected =
            if values[1] == 0.0 { values[0] } else { values[0] * (expected / values[0]).powf(norm.p().recip()) };
        let x = tensor(&values, DType::F64);
        for found in [cpu::norm(&x, norm).unwrap(), flat(&composed::norm(&x, norm).unwrap())[0]] {
            assert!((found / expected - 1.0).abs() < 1e-13, "{norm:?} {values:?}: {found:e} {expected:e}");
        }
    }
    let zeros = tensor(&[0.0, 0.0], DType::F64);
    assert_eq!([cpu::norm(&zeros, Norm::L2).unwrap(), flat(&composed::norm(&zeros, Norm::L2).unwrap())[0]], [0.0; 2]);
}

#[test]
fn a_huge_gradient_does_not_freeze_a_weight_for_good() {
    let step = AdamWStep {
        beta1: 0.9,
        beta2: 0.5,
        m_correction: 1.0,
        v_correction: 1.0,
        lr: 0.1,
        eps: 1e-8,
        keep: 1.0,
        penalty: Penalty::NONE,
    };
    for run in [cpu::step, composed::step] {
        let zero = || var(&[0.0], DType::F32);
        let mut work = Work::new(var(&[1.0], DType::F32), vec![zero(), zero()], None);
        for index in 0..300 {
            let grad = tensor(&[if index == 0 { 3e38 } else { 1.0 }], DType::F32);
            work.next = Some((grad, OptimizerStep::AdamW(step)));
            run(&work, Source::Checked).unwrap();
        }
        let v = flat(&work.state[1])[0];
        assert!((v - 1.0).abs() < 1e-3 && flat(&work.var)[0].is_finite(), "v = {v}");
    }
}

#[test]
fn the_composed_penalty_is_differentiable_with_gradient_0_at_0() {
    for dtype in DTYPES {
        let w = var(&[1.5, 0.0, -2.0], dtype);
        let penalty = Penalty::l1(0.5).with_l2(0.25);
        let value = composed::penalty(&w, &penalty, moments(dtype)).unwrap();
        assert_eq!(flat(&value), [0.5 * 3.5 + 0.125 * 6.25]);
        let grads = value.backward().unwrap();
        assert_eq!(flat(grads.get(&w).unwrap()), [0.875, 0.0, -1.0]);
    }
}
