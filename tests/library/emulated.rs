//! The kernels for CUDA, as plain C++ on an emulated GPU, against those of the CPU.
//!
//! The tolerances are those that `docs/cuda.md` publishes.

use candle_core::{DType, Device, Tensor, Var};
use l1_core::{
    Curve, Grouping, Norm, Penalty,
    kernel::{self, FtrlStep, Hold, OptimizerStep, Source, Step, Work, cpu, emulated},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    every_step::kernels,
    models::{bits, flat},
};

const CURVES: [Curve; 7] =
    [Curve::L1, Curve::Mcp(3.0), Curve::Scad(3.7), Curve::Log(0.5), Curve::Half, Curve::TwoThirds, Curve::L0];

const DTYPES: [DType; 4] = [DType::F64, DType::F32, DType::BF16, DType::F16];

/// Of every way in which threads share groups: by warps, by blocks, across each other, by the whole grid; and single entries.
const SHAPES: [(Grouping, &[usize]); 12] = [
    (Grouping::Element, &[5]),
    (Grouping::Element, &[1300]),
    (Grouping::Dim(0), &[21, 7]),
    (Grouping::Dim(0), &[5, 70]),
    (Grouping::Dim(1), &[23, 9]),
    (Grouping::Dim(1), &[4, 5, 3]),
    (Grouping::Dim(1), &[6, 3, 11]),
    (Grouping::Kernel, &[4, 3, 3, 3]),
    (Grouping::Block(3, 2), &[9, 10]),
    (Grouping::Block(2, 8), &[6, 16]),
    (Grouping::Whole, &[300]),
    (Grouping::Whole, &[9000]),
];

fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// The spacing of numbers near 1.
fn ulp(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F32 => f32::EPSILON.into(),
        DType::BF16 => 2f64.powi(-7),
        _ => 2f64.powi(-10),
    }
}

fn numbers(rng: &mut StdRng, length: usize) -> Vec<f64> {
    (0..length).map(|_| if rng.random_bool(0.15) { 0.0 } else { rng.random_range(-2.0..2.0) }).collect()
}

fn tensor(numbers: &[f64], dims: &[usize], dtype: DType) -> Tensor {
    Tensor::from_slice(numbers, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// Whether the same formulas are computed in the same order: then the bits are the same. Groups are summed in another order.
fn is_exact(penalty: &Penalty) -> bool {
    penalty.group() == Grouping::Element
}

/// What a GPU's result is compared with: the CPU's kernels by their names, whatever device the tests are told.
fn prox_on_cpu(z: &Tensor, penalty: &Penalty, step: Step<'_>) -> Tensor {
    let result = z.force_contiguous().unwrap();
    cpu::prox_in_place(&result, penalty, step).unwrap();
    result
}

fn subgradient_on_cpu(w: &Tensor, penalty: &Penalty) -> Tensor {
    let result = w.zeros_like().unwrap();
    cpu::add_subgradient(&result, w, penalty).unwrap();
    result
}

#[track_caller]
fn agree(found: &Tensor, expected: &Tensor, is_exact: bool, ulps: f64, what: &str) {
    if is_exact {
        assert!(bits(found) == bits(expected), "{what}: {:?} instead of {:?}", flat(found), flat(expected));
        return;
    }
    // Computed in f32 or f64 up to some roundings, and rounded once more to a half type.
    let half = if ulp(found.dtype()) > 1e-6 { ulp(found.dtype()) } else { 0.0 };
    let allowed = half + ulps * ulp(wide(found.dtype()));
    for (index, (found, expected)) in flat(found).into_iter().zip(flat(expected)).enumerate() {
        let is_near = (found - expected).abs() <= allowed * expected.abs().max(1.0);
        assert!(is_near || (found.is_nan() && expected.is_nan()), "{what}: {found} instead of {expected} at {index}");
    }
}

fn penalties(group: Grouping, curve: Curve) -> Vec<Penalty> {
    let penalty = Penalty::l1(0.3).with_curve(curve).with_group(group);
    let mut all = vec![penalty, penalty.with_l2(0.2), penalty.with_positive(true).with_l2(0.1)];
    if group != Grouping::Element {
        all.push(penalty.with_element(0.1).with_unscaled(true));
        all.push(penalty.with_element(0.1).with_positive(true).with_l2(0.1));
    }
    all
}

#[test]
fn value_subgradient_and_prox_are_those_of_the_cpu() {
    let rng = &mut StdRng::seed_from_u64(71);
    for (group, dims) in SHAPES {
        let length = dims.iter().product();
        for penalty in CURVES.into_iter().flat_map(|curve| penalties(group, curve)) {
            for dtype in DTYPES {
                let what = format!("{penalty}, {dims:?}, {dtype:?}");
                let w = tensor(&numbers(rng, length), dims, dtype);
                let (found, expected) =
                    (emulated::value(&w, &penalty).unwrap().unwrap(), cpu::value(&w, &penalty).unwrap());
                // Both are sums in f64.
                assert!(
                    (found - expected).abs() <= 1e-13 * expected.abs() || found == expected,
                    "{what}: {found} instead of {expected}"
                );
                let subgradient = emulated::subgradient(&w, &penalty).unwrap().unwrap();
                agree(&subgradient, &subgradient_on_cpu(&w, &penalty), is_exact(&penalty), 4.0, &what);
                let steps: Vec<f64> = (0..length).map(|_| rng.random_range(0.0..1.5)).collect();
                let steps = tensor(&steps, dims, wide(dtype));
                for step in [Step::Scalar(0.0), Step::Scalar(0.7), Step::Diagonal(&steps)] {
                    let found = w.force_contiguous().unwrap();
                    emulated::prox_in_place(&found, &penalty, step).unwrap().unwrap();
                    agree(&found, &prox_on_cpu(&w, &penalty, step), is_exact(&penalty), 16.0, &what);
                }
            }
        }
    }
}

/// State of a step: what is squared or under a root is positive, buffers and sums have either sign.
fn state(rng: &mut StdRng, states: usize, length: usize) -> Vec<Vec<f64>> {
    let any = |index: usize, x: f64| if index == 0 { x } else { x.abs() + 0.1 };
    (0..states).map(|index| numbers(rng, length).into_iter().map(|x| any(index, x)).collect()).collect()
}

/// A step with its penalty charged several times, where that is not the same as a larger λ.
fn charged(step: OptimizerStep, curve: Curve) -> OptimizerStep {
    match (step, curve) {
        (OptimizerStep::Ftrl(step), Curve::Mcp(_) | Curve::Scad(_)) => {
            OptimizerStep::Ftrl(FtrlStep { times: 2.5, drift: -0.1, ..step })
        }
        (step, _) => step,
    }
}

#[test]
fn steps_of_many_tensors_at_once_are_those_of_the_cpu() {
    let rng = &mut StdRng::seed_from_u64(72);
    let holds = [Hold::Nothing, Hold::Zeros, Hold::ZerosAnew];
    for curve in CURVES {
        for kind in 0..6 {
            for (source, hold) in [Source::Checked, Source::Unchecked].into_iter().flat_map(|s| holds.map(|h| (s, h))) {
                // Every shape and dtype in one job, with and without f32 copies.
                let (mut ours, mut theirs, mut told) = (Vec::new(), Vec::new(), Vec::new());
                for (group, dims) in SHAPES {
                    let length = dims.iter().product();
                    for (index, penalty) in penalties(group, curve).into_iter().enumerate() {
                        let (step, states) = kernels(penalty)[kind];
                        let step = charged(step, curve);
                        for dtype in DTYPES {
                            let w = tensor(&numbers(rng, length), dims, dtype);
                            let g = tensor(&numbers(rng, length), dims, dtype);
                            let state = state(rng, states, length);
                            let work = || {
                                let state = state
                                    .iter()
                                    .map(|state| Var::from_tensor(&tensor(state, dims, wide(dtype))).unwrap());
                                let var = Var::from_tensor(&w.force_contiguous().unwrap()).unwrap();
                                let mut work = Work::new(var, state.collect(), Some((g.clone(), step)));
                                work.hold = hold;
                                if index % 2 == 0 { work.with_master().unwrap() } else { work }
                            };
                            ours.push(work());
                            theirs.push(work());
                            told.push((
                                format!("{penalty}, {dims:?}, {dtype:?}, {hold:?}, {step:?}"),
                                is_exact(&penalty),
                            ));
                        }
                    }
                }
                assert_eq!(emulated::steps(&mut ours, source, 1).unwrap(), None);
                for ((ours, mut theirs), (what, is_exact)) in ours.iter().zip(theirs).zip(told) {
                    emulated::steps_on_cpu(std::slice::from_mut(&mut theirs), source).unwrap();
                    agree(&ours.var, &theirs.var, is_exact, 32.0, &what);
                    if let (Some(ours), Some(theirs)) = (ours.copy(), theirs.copy()) {
                        agree(ours, theirs, is_exact, 32.0, &what);
                    }
                    for (ours, theirs) in ours.state.iter().zip(&theirs.state) {
                        agree(ours, theirs, true, 0.0, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn gradients_that_are_not_finite_are_passed_over_as_on_the_cpu() {
    let rng = &mut StdRng::seed_from_u64(73);
    for (group, dims) in SHAPES {
        let length: usize = dims.iter().product();
        for curve in CURVES {
            let penalty = Penalty::l1(0.3).with_curve(curve).with_group(group).with_l2(0.1);
            for dtype in DTYPES {
                for (step, states) in kernels(penalty) {
                    let w = tensor(&numbers(rng, length), dims, dtype);
                    let mut g = numbers(rng, length);
                    for (at, bad) in
                        [(length - 1, f64::NAN), (length / 2, f64::NEG_INFINITY), (length / 2 + 1, f64::INFINITY)]
                    {
                        g[at] = bad;
                    }
                    let step = charged(step, curve);
                    let state = state(rng, states, length);
                    let work = || {
                        let state =
                            state.iter().map(|state| Var::from_tensor(&tensor(state, dims, wide(dtype))).unwrap());
                        let var = Var::from_tensor(&w.force_contiguous().unwrap()).unwrap();
                        Work::new(var, state.collect(), Some((tensor(&g, dims, dtype), step)))
                    };
                    let (mut ours, theirs) = ([work()], work());
                    let what = format!("{penalty}, {dims:?}, {dtype:?}, {step:?}");
                    let found = emulated::steps(&mut ours, Source::Unchecked, 1).unwrap();
                    assert_eq!(found, Some((0, length / 2, f64::NEG_INFINITY)), "{what}");
                    assert!(cpu::step(&theirs, Source::Unchecked).unwrap());
                    agree(&ours[0].var, &theirs.var, is_exact(&penalty), 32.0, &what);
                    for (ours, theirs) in ours[0].state.iter().zip(&theirs.state) {
                        agree(ours, theirs, is_exact(&penalty), 32.0, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn counts_norms_and_clipping_are_those_of_the_cpu() {
    let rng = &mut StdRng::seed_from_u64(74);
    for length in [1, 15, 513, 5000] {
        for dtype in DTYPES {
            let w = tensor(&numbers(rng, length), &[length], dtype);
            let (found, expected) = (emulated::counts(&w).unwrap(), cpu::counts(&w).unwrap());
            assert_eq!(found.zeros, expected.zeros);
            assert!((found.l1_norm - expected.l1_norm).abs() <= 1e-13 * expected.l1_norm);
            for norm in [Norm::L1, Norm::L2, Norm::Inf, Norm::P(3.5)] {
                let expected = cpu::norm(&w, norm).unwrap();
                let found = emulated::clip(&[w.force_contiguous().unwrap()], norm, f64::INFINITY).unwrap();
                assert!(
                    (found - expected).abs() <= 1e-13 * expected,
                    "{norm:?}, {dtype:?}: {found} instead of {expected}"
                );
            }
        }
    }
}

#[test]
fn many_gradients_are_clipped_by_their_common_norm_whatever_their_order() {
    let rng = &mut StdRng::seed_from_u64(75);
    let tensors: Vec<_> = (0..40).map(|k| tensor(&numbers(rng, 7 * k + 1), &[7 * k + 1], DTYPES[k % 4])).collect();
    let squares: f64 = tensors.iter().flat_map(flat).map(|x| x * x).sum();
    let clipped = |order: Vec<&Tensor>| {
        let own: Vec<_> = order.iter().map(|tensor| tensor.force_contiguous().unwrap()).collect();
        (emulated::clip(&own, Norm::L2, 3.0).unwrap(), own)
    };
    let (norm, own) = clipped(tensors.iter().collect());
    assert!((norm - squares.sqrt()).abs() <= 1e-12 * norm);
    for (before, after) in tensors.iter().zip(&own) {
        let dtype = before.dtype();
        for (before, after) in flat(before).into_iter().zip(flat(after)) {
            let expected = before * 3.0 / (norm + 1e-6);
            // One product in the arithmetic of the dtype, rounded to it.
            assert!((after - expected).abs() <= 2.0 * ulp(dtype) * expected.abs(), "{dtype:?}: {after} {expected}");
        }
    }
    // Dtypes are measured one after the other; within each the order does not count.
    let (reversed, _) = clipped(tensors.iter().rev().collect());
    assert_eq!(norm.to_bits(), reversed.to_bits());
}

#[test]
fn extreme_norms_neither_overflow_nor_vanish() {
    for (value, dtype) in [(1e200, DType::F64), (1e-200, DType::F64), (1e30, DType::F32), (1e-30, DType::F32)] {
        let x = tensor(&[3.0 * value, -4.0 * value, 0.0], &[3], dtype);
        for (norm, expected) in [(Norm::L2, 5.0), (Norm::P(3.0), 91f64.cbrt()), (Norm::L1, 7.0), (Norm::Inf, 4.0)] {
            let found = emulated::clip(std::slice::from_ref(&x), norm, f64::INFINITY).unwrap();
            assert!((found / value - expected).abs() <= 1e-6, "{norm:?} {value}: {found}");
        }
    }
    let zeros = tensor(&[0.0; 3], &[3], DType::F64);
    assert_eq!(emulated::clip(&[zeros], Norm::L2, f64::INFINITY).unwrap(), 0.0);
    for bad in [f64::NAN, f64::INFINITY] {
        let x = tensor(&[1.0, bad], &[2], DType::F64);
        for norm in [Norm::L2, Norm::P(3.0), Norm::L1, Norm::Inf] {
            let found = emulated::clip(&[x.force_contiguous().unwrap()], norm, f64::INFINITY).unwrap();
            assert_eq!(found.is_nan(), bad.is_nan(), "{norm:?}: {found}");
            assert!(!found.is_finite());
        }
    }
}

#[test]
fn subgradients_are_added_to_many_gradients_at_once() {
    let rng = &mut StdRng::seed_from_u64(76);
    let mut work = Vec::new();
    for (group, dims) in SHAPES {
        let length = dims.iter().product();
        for curve in [Curve::L1, Curve::Scad(3.7), Curve::Log(0.5)] {
            for dtype in DTYPES {
                let penalty = Penalty::l1(0.3).with_curve(curve).with_group(group).with_l2(0.2);
                work.push((
                    tensor(&numbers(rng, length), dims, dtype),
                    tensor(&numbers(rng, length), dims, dtype),
                    penalty,
                ));
            }
        }
    }
    let jobs: Vec<_> = work.iter().map(|(g, w, penalty)| (g.force_contiguous().unwrap(), w, *penalty)).collect();
    assert!(emulated::add_subgradients(&jobs).unwrap().is_empty());
    for ((found, ..), (g, w, penalty)) in jobs.iter().zip(&work) {
        let expected = g.force_contiguous().unwrap();
        cpu::add_subgradient(&expected, w, penalty).unwrap();
        agree(found, &expected, is_exact(penalty), 4.0, &format!("{penalty}, {:?}, {:?}", w.dims(), w.dtype()));
    }
}

/// One step of a variable with a penalty, and its bits after it.
fn stepped(w: &Tensor, g: &Tensor, penalty: Penalty, kind: usize) -> Vec<Vec<u64>> {
    let (step, states) = kernels(penalty)[kind];
    let state = (0..states).map(|_| Var::ones(w.shape(), wide(w.dtype()), &Device::Cpu).unwrap()).collect();
    let var = Var::from_tensor(&w.force_contiguous().unwrap()).unwrap();
    let mut work = [Work::new(var, state, Some((g.clone(), step)))];
    emulated::steps(&mut work, Source::Checked, 1).unwrap();
    std::iter::once(&work[0].var).chain(&work[0].state).map(|var| bits(var)).collect()
}

#[test]
fn every_run_gives_the_same_bits_whichever_thread_comes_first() {
    let rng = &mut StdRng::seed_from_u64(77);
    for (group, dims) in SHAPES {
        let length = dims.iter().product();
        let (w, g) = (numbers(rng, length), numbers(rng, length));
        for dtype in DTYPES {
            let (w, g) = (tensor(&w, dims, dtype), tensor(&g, dims, dtype));
            let penalty = Penalty::l1(0.3).with_curve(Curve::Log(0.5)).with_group(group);
            for kind in [0, 3] {
                // The emulated GPU lets its threads begin from the other end every other time.
                let runs: Vec<_> = (0..4).map(|_| stepped(&w, &g, penalty, kind)).collect();
                assert!(runs.iter().all(|run| *run == runs[0]), "{penalty}, {dims:?}, {dtype:?}");
                let values: Vec<_> =
                    (0..4).map(|_| emulated::value(&w, &penalty).unwrap().unwrap().to_bits()).collect();
                assert!(values.iter().all(|value| *value == values[0]), "{penalty}, {dims:?}, {dtype:?}");
            }
        }
    }
}

#[test]
fn a_gradient_that_begins_anywhere_in_its_storage_gives_the_same_bits() {
    let rng = &mut StdRng::seed_from_u64(78);
    for dtype in DTYPES {
        let length = 1301;
        let (w, g) = (tensor(&numbers(rng, length), &[length], dtype), numbers(rng, length));
        let aligned = tensor(&g, &[length], dtype);
        for offset in 1..6 {
            let padded: Vec<f64> = std::iter::repeat_n(7.0, offset).chain(g.iter().copied()).collect();
            let shifted = tensor(&padded, &[length + offset], dtype).narrow(0, offset, length).unwrap();
            assert!(shifted.is_contiguous());
            for kind in 0..6 {
                let penalty = Penalty::l1(0.3).with_l2(0.1);
                assert!(
                    stepped(&w, &shifted, penalty, kind) == stepped(&w, &aligned, penalty, kind),
                    "{dtype:?}, {offset}"
                );
            }
        }
    }
}

#[test]
fn a_tensor_that_begins_anywhere_in_its_storage_has_the_same_sums() {
    let rng = &mut StdRng::seed_from_u64(79);
    let (length, penalty) = (1301, Penalty::l1(0.3).with_l2(0.1));
    for dtype in DTYPES {
        let w = numbers(rng, length);
        let sums = (0..6).map(|offset| {
            let padded: Vec<f64> = std::iter::repeat_n(7.0, offset).chain(w.iter().copied()).collect();
            let shifted = tensor(&padded, &[length + offset], dtype).narrow(0, offset, length).unwrap();
            let norm = emulated::clip(std::slice::from_ref(&shifted), Norm::L2, f64::INFINITY).unwrap();
            [emulated::value(&shifted, &penalty).unwrap().unwrap().to_bits(), norm.to_bits()]
        });
        let sums: Vec<_> = sums.collect();
        assert!(sums.iter().all(|of_one| *of_one == sums[0]), "{dtype:?}");
    }
}

#[test]
fn extreme_groups_come_out_as_on_the_cpu() {
    // NaN, infinities, zeros, numbers whose squares vanish or overflow; in every way in which threads share groups.
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    for extreme in [nan, inf, 0.0, 1e-200, 1e200, 1e-310] {
        for (group, dims) in SHAPES {
            let length: usize = dims.iter().product();
            for (dtype, curve) in [
                (DType::F64, Curve::L1),
                (DType::F64, Curve::Mcp(3.0)),
                (DType::F32, Curve::L1),
                (DType::F64, Curve::Half),
            ] {
                // Of a strength that moves numbers of this size, and does not hold them all at 0.
                let size = if extreme.is_finite() && extreme != 0.0 { extreme } else { 1.0 };
                let penalty = Penalty::l1(0.3 * size).with_curve(curve).with_group(group).with_unscaled(true);
                let mut numbers = vec![extreme; length];
                numbers[length / 2] = if extreme.is_nan() { 1.0 } else { -extreme };
                let z = tensor(&numbers, dims, dtype);
                let steps =
                    tensor(&(0..length).map(|k| 0.1 + k as f64 / length as f64).collect::<Vec<_>>(), dims, wide(dtype));
                for step in [Step::Scalar(0.7), Step::Diagonal(&steps)] {
                    let found = z.force_contiguous().unwrap();
                    emulated::prox_in_place(&found, &penalty, step).unwrap().unwrap();
                    let expected = prox_on_cpu(&z, &penalty, step);
                    let same = flat(&found).into_iter().zip(flat(&expected)).all(|(found, expected)| {
                        found == expected
                            || (found.is_nan() && expected.is_nan())
                            || (found / expected - 1.0).abs() < if dtype == DType::F64 { 1e-9 } else { 1e-5 }
                    });
                    assert!(
                        same,
                        "{extreme}, {penalty}, {dims:?}, {dtype:?}, {step:?}: {:?} instead of {:?}",
                        flat(&found),
                        flat(&expected)
                    );
                }
            }
        }
    }
}

#[test]
fn a_number_that_is_none_spoils_what_it_spoils_on_the_cpu() {
    let w = tensor(&[f64::NAN, 1.0, 2.0, 3.0, 0.0, -1.0], &[2, 3], DType::F64);
    for curve in CURVES {
        for group in [Grouping::Dim(0), Grouping::Dim(1), Grouping::Element] {
            let penalty = Penalty::l1(0.3).with_curve(curve).with_group(group).with_l2(0.1);
            let found = flat(&emulated::subgradient(&w, &penalty).unwrap().unwrap());
            for (found, expected) in found.into_iter().zip(flat(&subgradient_on_cpu(&w, &penalty))) {
                assert!(found.is_nan() == expected.is_nan(), "{penalty}: {found} instead of {expected}");
            }
        }
    }
}

fn adamw(w: &Tensor, lambda: f64, g: &Tensor) -> Work {
    let (step, _) = kernels(Penalty::l1(lambda))[3];
    let zeros = || Var::zeros(w.shape(), wide(w.dtype()), &Device::Cpu).unwrap();
    Work::new(
        Var::from_tensor(&w.force_contiguous().unwrap()).unwrap(),
        vec![zeros(), zeros()],
        Some((g.clone(), step)),
    )
}

#[test]
fn a_thousand_tensors_with_a_thousand_strengths_are_one_launch() {
    let (w, g) = (tensor(&[1.0, -2.0, 0.5], &[3], DType::F32), tensor(&[0.1, 0.2, -0.3], &[3], DType::F32));
    let mut work: Vec<_> = (0..1000).map(|k| adamw(&w, 1e-3 * f64::from(k), &g)).collect();
    for source in [Source::Checked, Source::Unchecked] {
        let before = kernel::launches();
        emulated::steps(&mut work, source, 1).unwrap();
        assert_eq!(kernel::launches() - before, 1);
    }
    let half = tensor(&[1.0, -2.0, 0.5], &[3], DType::BF16);
    work.push(adamw(&half, 0.1, &tensor(&[0.1, 0.2, -0.3], &[3], DType::BF16)));
    let before = kernel::launches();
    emulated::steps(&mut work, Source::Checked, 1).unwrap();
    assert_eq!(kernel::launches() - before, 2, "one for each dtype");
}

#[test]
fn a_variable_without_a_gradient_is_left_alone() {
    let (w, g) = (tensor(&[1.0, -2.0, 0.5], &[3], DType::F32), tensor(&[0.1, 0.2, -0.3], &[3], DType::F32));
    let mut work = [adamw(&w, 0.1, &g), adamw(&w, 0.1, &g)];
    work[0].next = None;
    emulated::steps(&mut work, Source::Unchecked, 3).unwrap();
    assert_eq!(bits(&work[0].var), bits(&w));
    assert!(bits(&work[1].var) != bits(&w));
}

#[test]
fn gradients_of_spectra_are_looked_through_in_their_own_dtypes() {
    let penalty = Penalty::l1(0.1).with_group(Grouping::Singular);
    let work = |dtype, g: f64| {
        let w = tensor(&[1.0; 6], &[2, 3], dtype);
        let (step, _) = kernels(penalty)[0];
        Work::new(Var::from_tensor(&w).unwrap(), vec![], Some((tensor(&[g; 6], &[2, 3], dtype), step)))
    };
    for order in [DTYPES, [DType::BF16, DType::F16, DType::F32, DType::F64]] {
        let good: Vec<_> = order.into_iter().map(|dtype| work(dtype, 1e-3)).collect();
        assert_eq!(emulated::first_with_non_finite_gradient(&good).unwrap(), None);
        for bad in 0..4 {
            let work: Vec<_> = order
                .into_iter()
                .enumerate()
                .map(|(k, dtype)| work(dtype, if k == bad { f64::INFINITY } else { 1.0 }))
                .collect();
            assert_eq!(emulated::first_with_non_finite_gradient(&work).unwrap(), Some((bad, 0, f64::INFINITY)));
        }
    }
}
