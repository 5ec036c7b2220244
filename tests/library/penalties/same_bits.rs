//! The same numbers on any number of threads, and by way of the copies that other devices make: on the CPU,
//! whose threads these are, and where one can see what the copies change.

use candle_core::{DType, Tensor, Var};
use l1_core::{
    Curve, Grouping, Guard, Penalty, Regularized, Rule, Visitor,
    kernel::{self, Source, Step, Work, composed, cpu},
};

use super::{CURVES, DTYPES, numbers, on_cpu, rng, spread_steps, wide};
use crate::{
    every_optimizer::EVERY_OPTIMIZER,
    every_step::kernels,
    models::{bits, flat, gradients},
};

/// Here the CPU is compared with itself; `emulated.rs` and `cuda_device.rs` compare a GPU with it.
const WHY: &str = "this is of the CPU's threads and copies";

fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

/// Few long groups, many short ones, and one of everything.
const CASES: [(Grouping, &[usize]); 8] = [
    (Grouping::Element, &[20_001]),
    (Grouping::Whole, &[20_001]),
    (Grouping::Dim(0), &[3, 9_000]),
    (Grouping::Dim(1), &[3, 9_000]),
    (Grouping::Dim(0), &[2_001, 10]),
    (Grouping::Block(4, 50), &[100, 250]),
    (Grouping::Kernel, &[40, 20, 5, 5]),
    (Grouping::Singular, &[20, 30]),
];

#[test]
fn value_subgradient_and_prox_have_the_same_bits_on_any_number_of_threads() {
    if tests::is_on_gpu() {
        return tests::skipped(WHY);
    }
    let rng = &mut rng(41);
    for (group, dims) in CASES {
        let length = dims.iter().product();
        for curve in CURVES {
            let penalty = Penalty::l1(0.1).with_curve(curve).with_group(group).with_l2(0.1);
            for dtype in [DType::F64, DType::F32, DType::BF16] {
                let w = on_cpu(&numbers(rng, length), dims, dtype);
                let steps = on_cpu(&spread_steps(rng, length), dims, wide(dtype));
                let compute = |threads| {
                    on_threads(threads, || {
                        let mut results = vec![
                            bits(&kernel::subgradient(&w, &penalty).unwrap()),
                            bits(&kernel::prox(&w, &penalty, 0.7).unwrap()),
                            vec![kernel::value(&w, &penalty).unwrap().to_bits()],
                        ];
                        if group != Grouping::Singular {
                            results.push(bits(&kernel::prox(&w, &penalty, &steps).unwrap()));
                        }
                        results
                    })
                };
                let alone = compute(1);
                for threads in [2, 3, 8] {
                    assert!(compute(threads) == alone, "{penalty}, {dims:?}, {dtype:?}, {threads} threads");
                }
            }
        }
    }
}

/// Weights of several shapes, each with a penalty of its own.
struct Many(Vec<(Var, Penalty)>);

impl Regularized for Many {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        self.0.iter().enumerate().try_for_each(|(index, (var, penalty))| {
            visitor.field(&format!("weights{index}"), Rule::inherit().penalty(*penalty), var)
        })
    }
}

impl Many {
    fn new(curve: Curve) -> Self {
        let rng = &mut rng(42);
        let small: [(Grouping, &[usize]); 4] = [
            (Grouping::Element, &[7]),
            (Grouping::Dim(0), &[30, 30]),
            (Grouping::Dim(1), &[30, 30]),
            (Grouping::Singular, &[6, 5]),
        ];
        let var = |(group, dims): (Grouping, &[usize])| {
            let var = Var::from_tensor(&on_cpu(&numbers(rng, dims.iter().product()), dims, DType::F32)).unwrap();
            (var, Penalty::l1(0.05).with_curve(curve).with_group(group).with_l2(0.01))
        };
        Self(small.into_iter().chain(CASES).map(var).collect())
    }
}

#[test]
fn steps_have_the_same_bits_on_any_number_of_threads() {
    if tests::is_on_gpu() {
        return tests::skipped(WHY);
    }
    for curve in [Curve::Mcp(3.0), Curve::Half] {
        for (name, make) in EVERY_OPTIMIZER {
            for guard in [Guard::Before, Guard::InPass] {
                let after = |threads| {
                    let model = Many::new(curve);
                    let vars: Vec<_> = model.0.iter().map(|(var, _)| var.clone()).collect();
                    let mut step = make(model.regularizer().unwrap(), vars.clone(), guard);
                    let gradients: Vec<Vec<Tensor>> = (0..2)
                        .map(|index| {
                            let rng = &mut rng(43 + index);
                            vars.iter()
                                .map(|var| on_cpu(&numbers(rng, var.elem_count()), var.dims(), DType::F32))
                                .collect()
                        })
                        .collect();
                    on_threads(threads, || {
                        for given in &gradients {
                            step(&self::gradients(vars.iter().zip(given.iter().cloned()))).unwrap();
                        }
                    });
                    vars.iter().map(|var| bits(var)).collect::<Vec<_>>()
                };
                let alone = after(1);
                for threads in [2, 3, 8] {
                    assert!(after(threads) == alone, "{name}, {curve}, {guard:?}, {threads} threads");
                }
            }
        }
    }
}

#[test]
fn by_way_of_copies_on_the_host_everything_is_as_on_the_cpu() {
    if tests::is_on_gpu() {
        return tests::skipped(WHY);
    }
    let rng = &mut rng(44);
    let dims = [6, 10];
    let groupings = [
        Grouping::Element,
        Grouping::Dim(0),
        Grouping::Dim(1),
        Grouping::Block(3, 5),
        Grouping::Whole,
        Grouping::Singular,
    ];
    for group in groupings {
        for curve in CURVES {
            let penalty = Penalty::l1(0.2).with_curve(curve).with_group(group).with_l2(0.1);
            for dtype in DTYPES {
                let what = format!("{penalty}, {dtype:?}");
                let (w, g) = (on_cpu(&numbers(rng, 60), &dims, dtype), on_cpu(&numbers(rng, 60), &dims, dtype));
                // l1 on single entries is composed of candle's operations, which round in another order: `composed.rs`.
                let is_on_host = group != Grouping::Element || curve != Curve::L1;
                if !is_on_host {
                    continue;
                }
                // On a strided tensor too.
                let strided = w.t().unwrap().contiguous().unwrap().t().unwrap();
                for w in [&w, &strided] {
                    assert_eq!(composed::value(w, &penalty).unwrap(), kernel::value(w, &penalty).unwrap(), "{what}");
                    let (found, expected) = (composed::subgradient(w, &penalty), kernel::subgradient(w, &penalty));
                    assert!(bits(&found.unwrap()) == bits(&expected.unwrap()), "{what}");
                    let (found, expected) =
                        (composed::prox(w, &penalty, Step::Scalar(0.4)), kernel::prox(w, &penalty, 0.4));
                    assert!(bits(&found.unwrap()) == bits(&expected.unwrap()), "{what}");
                }
                if group != Grouping::Singular {
                    let steps = on_cpu(&spread_steps(rng, 60), &dims, wide(dtype));
                    let (found, expected) =
                        (composed::prox(&w, &penalty, Step::Diagonal(&steps)), kernel::prox(&w, &penalty, &steps));
                    assert!(bits(&found.unwrap()) == bits(&expected.unwrap()), "{what}");
                }
                let sum = g.force_contiguous().unwrap();
                cpu::add_subgradient(&sum, &w, &penalty).unwrap();
                let composed_sum = composed::plus_subgradient(&g, &w, &penalty).unwrap();
                for (found, expected) in flat(&composed_sum).into_iter().zip(flat(&sum)) {
                    // The subgradient of a half type is rounded once more on its way from the host.
                    let ulp = match dtype {
                        DType::BF16 => 2f64.powi(-8),
                        DType::F16 => 2f64.powi(-11),
                        _ => 0.0,
                    };
                    assert!(
                        (found - expected).abs() <= 2.0 * ulp * (expected.abs() + 1.0),
                        "{what}: {found} {expected}"
                    );
                }
                for (step, states) in kernels(penalty) {
                    let state: Vec<_> = (0..states)
                        .map(|_| numbers(rng, 60).iter().map(|x| x.abs() + 0.1).collect::<Vec<_>>())
                        .collect();
                    let mut spoilt = flat(&g);
                    spoilt[17] = f64::NAN;
                    for (source, g) in
                        [(Source::Checked, flat(&g)), (Source::Unchecked, flat(&g)), (Source::Unchecked, spoilt)]
                    {
                        let work = || {
                            let state =
                                state.iter().map(|state| Var::from_tensor(&on_cpu(state, &dims, wide(dtype))).unwrap());
                            Work::new(
                                Var::from_tensor(&w).unwrap(),
                                state.collect(),
                                Some((on_cpu(&g, &dims, dtype), step)),
                            )
                        };
                        let (fast, slow) = (work(), work());
                        assert_eq!(cpu::step(&fast, source).unwrap(), composed::step(&slow, source).unwrap(), "{what}");
                        let all = |work: &Work| -> Vec<_> {
                            std::iter::once(&work.var).chain(&work.state).map(|var| bits(var)).collect()
                        };
                        assert!(all(&fast) == all(&slow), "{what}, {step:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn by_way_of_copies_on_the_host_the_penalty_has_its_value_and_its_gradient() {
    if tests::is_on_gpu() {
        return tests::skipped(WHY);
    }
    let rng = &mut rng(45);
    for group in [Grouping::Element, Grouping::Dim(1), Grouping::Singular] {
        for curve in [Curve::Mcp(3.0), Curve::Scad(3.7), Curve::Log(0.5)] {
            for dtype in DTYPES {
                let penalty = Penalty::l1(0.2).with_curve(curve).with_group(group).with_l2(0.1);
                let w = Var::from_tensor(&on_cpu(&numbers(rng, 60), &[6, 10], dtype)).unwrap();
                let total = composed::penalty(&w, &penalty, wide(dtype)).unwrap();
                let expected = kernel::value(&w, &penalty).unwrap();
                assert!((flat(&total)[0] - expected).abs() <= 6e-8 * expected, "{penalty}, {dtype:?}");
                let grads = (&total * 2.0).unwrap().backward().unwrap();
                let expected = flat(&kernel::subgradient(&w, &penalty).unwrap());
                for (found, expected) in flat(grads.get(&w).unwrap()).into_iter().zip(expected) {
                    assert_eq!(found, 2.0 * expected, "{penalty}, {dtype:?}");
                }
            }
        }
    }
}
