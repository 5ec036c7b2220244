//! What a history says of a training, and what it warns of.

use candle_core::{DType, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, SGD};
use l1_core::{
    Charged, Curve, Error, FtrlProximal, GroupChange, Grouping, History, Moves, ParamsFtrl, ParamsProxAdamW,
    ParamsProxSgd, ParamsProximal, Phases, ProxAdamW, ProxSgd, Proximal, Regularized, Rule, Schedules, Stepper,
    optim::Method,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tests::{rounded, tolerance};

use crate::{
    models::{Single, assert_close, gradients},
    warned::{Said, warnings},
};

fn tensor(values: &[f64], dtype: DType) -> Tensor {
    rounded(values, dtype)
}

/// Sets the weights by hand, as if an optimizer had.
fn put(model: &Single, values: &[f64]) {
    model.weight.set(&tensor(values, model.weight.dtype()).reshape(model.weight.shape()).unwrap()).unwrap();
}

fn matrix(rule: Rule, rows: usize, values: &[f64]) -> Single {
    let columns = values.len() / rows;
    let values = tensor(values, DType::F64).reshape((rows, columns)).unwrap();
    Single { weight: Var::from_tensor(&values).unwrap(), rule }
}

mod moves {
    use super::*;

    const W: [f64; 6] = [1.0, -0.5, 0.0, 0.01, 2.0, -3.0];

    fn gradient(step: usize, dtype: DType) -> Tensor {
        let values: Vec<_> = (0..6).map(|i| (1.3 * i as f64 + 3.0 * step as f64).cos()).collect();
        tensor(&values, dtype).reshape((2, 3)).unwrap()
    }

    /// Steps through `split_step` and checks each split against what has become of the weights.
    fn splits<M: Method>(name: &str, dtype: DType, rule: Rule, params: impl Fn(&Single) -> M, tolerance: f64) {
        let model = || {
            let values = tensor(&W, dtype).reshape((2, 3)).unwrap();
            Single { weight: Var::from_tensor(&values).unwrap(), rule }
        };
        let (split, plain) = (model(), model());
        let mut opt = Stepper::new(vec![split.weight.clone()], params(&split)).unwrap();
        let mut other = Stepper::new(vec![plain.weight.clone()], params(&plain)).unwrap();
        for step in 0..4 {
            let before = split.values();
            let parts = opt.split_step(&gradients([(&split.weight, gradient(step, dtype))])).unwrap();
            other.step(&gradients([(&plain.weight, gradient(step, dtype))])).unwrap();
            assert_eq!(split.values(), plain.values(), "{name}: looking changes the step");
            let (id, parts) = &parts[0];
            assert_eq!(*id, split.weight.id());
            let moved: Vec<_> = split.values().iter().zip(&before).map(|(after, before)| after - before).collect();
            let sum = parts.data.iter().zip(&parts.penalty).zip(&parts.decay);
            let sum: Vec<_> = sum.map(|((data, penalty), decay)| data + penalty + decay).collect();
            assert_close(&format!("{name}, {dtype:?}, step {step}"), &sum, &moved, tolerance);
        }
    }

    #[test]
    fn the_three_parts_add_up_to_the_move_of_every_optimizer() {
        let rules = [
            Rule::l1(0.3),
            Rule::l1(0.3).l2(0.1).group(Grouping::Dim(0)).element(0.05),
            Rule::l1(0.3).curve(Curve::Mcp(3.0)),
            Rule::l1(0.3).curve(Curve::Half).group(Grouping::Dim(1)),
            Rule::l1(0.3).group(Grouping::Singular),
            Rule::l1(0.3).positive(true),
        ];
        for rule in rules {
            for dtype in [DType::F64, DType::F32, DType::BF16] {
                // The parts are differences of numbers of at most 3, taken in f64: the sum rounds three times, whatever the dtype.
                let tolerance = 1e-13;
                let sgd = |model: &Single| ParamsProxSgd {
                    lr: 0.1,
                    momentum: 0.9,
                    nesterov: true,
                    weight_decay: 0.2,
                    ..ParamsProxSgd::new(model.regularizer().unwrap())
                };
                splits("sgd", dtype, rule, sgd, tolerance);
                let adamw = |model: &Single| ParamsProxAdamW {
                    lr: 0.1,
                    weight_decay: 0.2,
                    amsgrad: true,
                    ..ParamsProxAdamW::new(model.regularizer().unwrap())
                };
                splits("adamw", dtype, rule, adamw, tolerance);
                for charged in [Charged::EachStep, Charged::Once] {
                    let ftrl = |model: &Single| ParamsFtrl {
                        lr: 0.1,
                        charged,
                        ..ParamsFtrl::new(model.regularizer().unwrap())
                    };
                    splits("ftrl", dtype, rule, ftrl, tolerance);
                }
            }
        }
    }

    #[test]
    fn a_step_of_sgd_is_split_into_its_formula() {
        let model = Single::new(&[1.0, -0.5, 0.0], DType::F64, Rule::l1(0.5));
        let regularizer = model.regularizer().unwrap();
        let params = ParamsProxSgd { lr: 0.125, weight_decay: 0.25, ..ParamsProxSgd::new(regularizer) };
        let mut opt = ProxSgd::new(vec![model.weight.clone()], params).unwrap();
        let grads = gradients([(&model.weight, tensor(&[2.0, 1.0, 0.25], DType::F64))]);
        let (_, parts) = opt.split_step(&grads).unwrap().remove(0);
        assert_eq!(parts.data, [-0.25, -0.125, -0.03125]); // −lr·g
        assert_eq!(parts.decay, [-0.03125, 0.015625, 0.0]); // −lr·wd·w
        // −lr·λ·sign; what is held at 0 goes back all the way.
        assert_eq!(parts.penalty, [-0.0625, 0.0625, 0.03125]);
    }

    #[test]
    fn each_step_of_ftrl_is_split_into_its_own_gradient_and_its_own_charge() {
        for charged in [Charged::EachStep, Charged::Once] {
            let model = Single::new(&[3.0, -2.0, 0.0], DType::F64, Rule::l1(0.25));
            let params = ParamsFtrl { lr: 0.5, charged, ..ParamsFtrl::new(model.regularizer().unwrap()) };
            let (beta, lr) = (params.beta, params.lr);
            let mut opt = FtrlProximal::new(vec![model.weight.clone()], params).unwrap();
            let (g, mut squares) = ([0.5, 0.25, 0.03125], [0.0; 3]);
            for step in 0..5 {
                let grads = gradients([(&model.weight, tensor(&g, DType::F64))]);
                let (_, parts) = opt.split_step(&grads).unwrap().remove(0);
                let mut expected = (vec![0.0; 3], vec![0.0; 3]);
                for i in 0..3 {
                    squares[i] += g[i] * g[i];
                    let rate = lr / (beta + f64::sqrt(squares[i]));
                    let charge = if charged == Charged::EachStep || step == 0 { 0.25 } else { 0.0 };
                    expected.0[i] = -rate * g[i];
                    expected.1[i] = -rate * charge * [1.0, -1.0, 0.0][i];
                }
                // The third weight is 0 and held there, in the first step from where its gradient has led it.
                let dead = if step == 0 { expected.0[2] } else { 0.0 };
                (expected.0[2], expected.1[2]) = (dead, -dead);
                // The charges so far, up to 5·0.25 times the rate, are subtracted again: some ulps of 3.
                assert_close("data", &parts.data, &expected.0, 1e-13);
                if expected.1.iter().any(|part| *part != 0.0) {
                    assert_close("penalty", &parts.penalty, &expected.1, 1e-13);
                } else {
                    assert!(parts.penalty.iter().all(|part| *part == 0.0), "{:?}", parts.penalty);
                }
            }
        }
    }

    #[test]
    fn master_weights_are_split_in_f32_where_rounding_hides_the_move() {
        let rule = Rule::l1(1e-3);
        let model = Single::new(&[1.0, -2.0], DType::BF16, rule);
        let regularizer = model.regularizer().unwrap();
        let params = ParamsProxSgd { lr: 0.1, master_weights: true, ..ParamsProxSgd::new(regularizer) };
        let mut opt = ProxSgd::new(vec![model.weight.clone()], params).unwrap();
        let grads = gradients([(&model.weight, tensor(&[1e-3, 1e-3], DType::BF16))]);
        let (_, parts) = opt.split_step(&grads).unwrap().remove(0);
        assert_eq!(model.values(), [1.0, -2.0], "a move of 1e-4 is far below an ulp of bf16 at 1");
        // ulps of f32 at 2 beside a move of 1e-4; 1e-3 itself is rounded to bf16's 8 bits.
        assert_close("data", &parts.data, &[-1e-4, -1e-4], 4e-3);
        assert_close("penalty", &parts.penalty, &[-1e-4, 1e-4], 4e-3);
    }

    #[test]
    fn a_record_has_the_lengths_of_the_parts() {
        let model = Single::new(&[3.0, -4.0], DType::F64, Rule::l1(0.5));
        let regularizer = model.regularizer().unwrap();
        let mut history = History::new(&regularizer).unwrap();
        let params = ParamsProxSgd { lr: 0.5, weight_decay: 0.5, ..ParamsProxSgd::new(regularizer) };
        let mut opt = ProxSgd::new(vec![model.weight.clone()], params).unwrap();
        let grads = gradients([(&model.weight, tensor(&[0.75, 1.0], DType::F64))]);
        history.step(&mut opt, &grads, 0.0).unwrap();
        let Moves { data, penalty, decay, .. } = history.last().unwrap().fields[0].moves.unwrap();
        assert_eq!((data, decay), (0.625, 1.25)); // 0.5·‖(0.75, 1)‖ and 0.25·‖(3, 4)‖
        assert!((penalty - 0.25 * 2f64.sqrt()).abs() < tolerance(1e-15), "lr·λ in two places, {penalty}"); // an ulp of 0.35 is 6e-17
    }

    /// One step before the support is frozen, and two after.
    fn frozen<M: Method>(name: &str, dtype: DType, params: impl Fn(&Single) -> M) {
        let model = Single::new(&[1.0, 0.0, -0.5, 0.0], dtype, Rule::l1(0.25));
        let mut opt = Stepper::new(vec![model.weight.clone()], params(&model)).unwrap();
        for step in 0..3 {
            if step == 1 {
                opt.regularizer_mut().freeze_support().unwrap();
            }
            let grads = gradients([(&model.weight, tensor(&[0.5, 0.125, 0.25, -0.0625], dtype))]);
            let zeros: Vec<_> = model.values().iter().map(|w| *w == 0.0).collect();
            let (_, parts) = opt.split_step(&grads).unwrap().remove(0);
            if step == 0 {
                continue;
            }
            assert!(parts.penalty.iter().all(|part| *part == 0.0), "{name}, {dtype:?}: {:?}", parts.penalty);
            for (is_zero, data) in zeros.iter().zip(&parts.data) {
                assert_eq!(*is_zero, *data == 0.0, "{name}, {dtype:?}: {:?}", parts.data);
            }
        }
    }

    #[test]
    fn a_frozen_support_is_moved_by_the_data_alone_and_its_zeros_by_nothing() {
        for dtype in [DType::F64, DType::F32, DType::BF16] {
            let regularizer = |model: &Single| model.regularizer().unwrap();
            frozen("sgd", dtype, |model| ParamsProxSgd {
                lr: 0.25,
                momentum: 0.5,
                master_weights: true,
                ..ParamsProxSgd::new(regularizer(model))
            });
            frozen("adamw", dtype, |model| ParamsProxAdamW {
                lr: 0.0625,
                master_weights: true,
                ..ParamsProxAdamW::new(regularizer(model))
            });
            for charged in [Charged::EachStep, Charged::Once] {
                frozen("ftrl", dtype, |model| ParamsFtrl { lr: 0.25, charged, ..ParamsFtrl::new(regularizer(model)) });
            }
        }
    }

    #[test]
    fn where_nothing_is_charged_the_penalty_moves_nothing() {
        for dtype in [DType::F32, DType::BF16] {
            let model = Single::new(&[0.3, -4.1, 0.0], dtype, Rule::l1(0.5).curve(Curve::Scad(3.7)));
            let mut regularizer = model.regularizer().unwrap();
            regularizer.set_scale(0.0).unwrap();
            let params = ParamsProxAdamW { weight_decay: 0.1, ..ParamsProxAdamW::new(regularizer) };
            let mut opt = ProxAdamW::new(vec![model.weight.clone()], params).unwrap();
            let grads = gradients([(&model.weight, tensor(&[0.7, 0.1, -0.3], dtype))]);
            let (_, parts) = opt.split_step(&grads).unwrap().remove(0);
            assert_eq!(parts.penalty, [0.0; 3], "to the last bit: both steps round alike");
        }
    }
}

mod records {
    use super::*;

    #[test]
    fn groups_that_die_and_come_back_are_told_by_place_and_step() {
        let rule = Rule::l1(1.0).group(Grouping::Dim(0));
        let model = matrix(rule, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut history = History::new(&model.regularizer().unwrap()).unwrap();
        put(&model, &[0.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
        history.record(1, 0.5).unwrap();
        put(&model, &[0.0, 2.0, 0.0, 0.0, 0.0, 6.0]);
        history.record(2, 0.5).unwrap();
        let events: Vec<_> =
            history.events().iter().map(|event| (event.step, event.place.to_string(), event.change)).collect();
        let (dead, back) = (GroupChange::Death, GroupChange::Revival);
        assert_eq!(events, [(1, "[1, ..]".into(), dead), (1, "[2, ..]".into(), dead), (2, "[2, ..]".into(), back)]);
        let counts: Vec<_> = history.records().iter().map(|record| record.fields[0]).collect();
        let counts: Vec<_> = counts.iter().map(|of| (of.zeros, of.living, of.deaths, of.revivals)).collect();
        assert_eq!(counts, [(5, 1, 2, 0), (4, 2, 0, 1)]);
        let csv = history.events_to_csv();
        assert_eq!(csv.lines().nth(1), Some("1,weight,\"[1, ..]\",death"));
    }

    #[test]
    fn entries_are_groups_of_one_and_many_of_them_are_counted_only() {
        let values = vec![1.0; 5000];
        let model = Single::new(&values, DType::F32, Rule::l1(1.0));
        let mut history = History::new(&model.regularizer().unwrap()).unwrap();
        put(&model, &vec![0.0; 5000]);
        history.record(1, 0.5).unwrap();
        let field = history.last().unwrap().fields[0];
        assert_eq!((field.deaths, field.living, history.events().len(), history.events_left_out()), (5000, 0, 0, 0));
    }

    #[test]
    fn singular_values_live_up_to_the_rank() {
        let model = matrix(Rule::l1(1.0).group(Grouping::Singular), 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut history = History::new(&model.regularizer().unwrap()).unwrap();
        assert_eq!(history.fields()[0].groups, 2);
        put(&model, &[1.0, 2.0, 3.0, 2.0, 4.0, 6.0]);
        history.record(1, 0.5).unwrap();
        put(&model, &[f64::NAN; 6]);
        history.record(2, f64::NAN).unwrap();
        let seen: Vec<_> = history.records().iter().map(|record| record.fields[0]).collect();
        assert_eq!((seen[0].living, seen[0].deaths, seen[1].living, seen[1].zeros), (1, 1, 2, 0));
        assert!(history.last().unwrap().penalty.is_nan());
    }

    #[test]
    fn at_the_bound_records_are_thinned_out_evenly_and_lose_no_death() {
        let model = Single::new(&[1.0; 64], DType::F64, Rule::l1(1.0));
        let mut history = History::new(&model.regularizer().unwrap()).unwrap().bound(10);
        for step in 1..=64 {
            let values: Vec<_> = (0..64).map(|i| if i < step { 0.0 } else { 1.0 }).collect();
            put(&model, &values);
            history.record(step as u64, step as f64).unwrap();
        }
        let steps: Vec<_> = history.records().iter().map(|record| record.step).collect();
        assert_eq!(steps, [1, 8, 16, 24, 32, 40, 48, 56, 64]);
        assert_eq!(history.interval(), 8);
        let deaths = history.records().iter().map(|record| record.fields[0].deaths).sum::<usize>();
        assert_eq!(deaths, 64);
        assert!(history.records().iter().all(|record| record.loss == record.step as f64));
        // There are 64 deaths, and room for 10.
        assert!(history.events().len() == 10 && history.events_left_out() == 54);
    }

    #[test]
    fn epochs_far_apart_stay_even_too() {
        let model = Single::new(&[1.0], DType::F64, Rule::l1(1.0));
        for (first, bound) in [0, 50].into_iter().flat_map(|first| (0..8).map(move |bound| (first, bound))) {
            let mut history = History::new(&model.regularizer().unwrap()).unwrap().bound(bound);
            for epoch in 1..=64 {
                history.record(first + 100 * epoch, 0.0).unwrap();
            }
            let steps: Vec<_> = history.records().iter().map(|record| record.step).collect();
            assert!(steps.len() <= bound.max(3) && steps[0] == first + 100, "{steps:?}");
            // The first and the last may stand apart.
            let row = &steps[1..steps.len() - 1];
            let gaps: Vec<_> = row.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(gaps.iter().all(|gap| *gap == history.interval()), "{steps:?}, every {}", history.interval());
        }
    }

    #[test]
    fn one_pause_in_the_steps_does_not_make_the_history_blind() {
        let model = Single::new(&[1.0], DType::F64, Rule::l1(1.0));
        let mut history = History::new(&model.regularizer().unwrap()).unwrap().bound(10);
        let steps: Vec<_> = (1..=10).chain(100_000..100_040).collect();
        for step in steps {
            history.record(step, 0.0).unwrap();
        }
        assert!(history.interval() <= 16, "every {}", history.interval());
        assert!(history.last().unwrap().step > 100_020);
    }

    #[test]
    fn the_schedules_that_it_was_made_with_are_followed() {
        let model = Single::new(&[1.0, -2.0], DType::F64, Rule::l1(0.5));
        let mut regularizer = model.regularizer().unwrap();
        let phases = Phases::new().warm_up(10).ramp(0).penalize(10);
        regularizer.set_schedules(Schedules::new().phases(phases)).unwrap();
        let mut history = History::new(&regularizer).unwrap();
        for step in 1..=12 {
            history.record(step, 0.0).unwrap();
        }
        let seen: Vec<_> = history.records().iter().map(|record| (record.fields[0].lambda, record.penalty)).collect();
        assert_eq!((seen[0], seen[9]), ((0.0, 0.0), (0.0, 0.0)), "steps 1 to 10 warm up");
        assert_eq!(seen[10..], [(0.5, 1.5); 2]);
    }

    #[test]
    fn what_was_left_out_of_the_list_is_forgotten_too() {
        let model = Single::new(&[1.0; 8], DType::F64, Rule::l1(1.0));
        let mut history = History::new(&model.regularizer().unwrap()).unwrap().bound(3);
        put(&model, &[0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        history.record(1, 0.0).unwrap();
        put(&model, &[0.0; 8]);
        history.record(2, 0.0).unwrap();
        assert_eq!((history.events().len(), history.events_left_out()), (3, 5));
        history.forget_after(1).unwrap();
        assert_eq!((history.events().len(), history.events_left_out()), (1, 0));
    }

    #[test]
    fn steps_that_are_not_due_read_no_loss() {
        let model = Single::new(&[1.0, 2.0], DType::F64, Rule::l1(0.1));
        let regularizer = model.regularizer().unwrap();
        let mut history = History::new(&regularizer).unwrap().every(10);
        let mut opt = ProxSgd::new(vec![model.weight.clone()], ParamsProxSgd::new(regularizer)).unwrap();
        let grads = || gradients([(&model.weight, tensor(&[1.0, 1.0], DType::F64))]);
        let no_scalar = tensor(&[1.0, 2.0], DType::F64);
        history.step(&mut opt, &grads(), 1.0).unwrap();
        for _ in 2..10 {
            history.step(&mut opt, &grads(), &no_scalar).unwrap();
        }
        let error = history.step(&mut opt, &grads(), &no_scalar).unwrap_err();
        assert!(matches!(error, Error::LossShape { .. }), "{error}");
        assert_eq!(opt.steps(), 9, "refused before the step");
        history.step(&mut opt, &grads(), 1.0).unwrap();
        let steps: Vec<_> = history.records().iter().map(|record| record.step).collect();
        assert_eq!(steps, [1, 10]);
    }

    #[test]
    fn csv_and_json_read_back() {
        let model = Single::new(&[1.0, 0.0, -0.1], DType::F64, Rule::l1(0.1));
        let mut history = History::new(&model.regularizer().unwrap()).unwrap();
        history.record(1, 1.0 / 3.0).unwrap();
        history.record(2, f64::NAN).unwrap();
        let csv = history.to_csv();
        let rows: Vec<Vec<_>> = csv.lines().map(|line| line.split(',').collect()).collect();
        assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{csv}");
        let column = |name: &str| rows[0].iter().position(|head| *head == name).unwrap();
        assert_eq!(rows[1][column("loss")].parse::<f64>().unwrap().to_bits(), (1.0f64 / 3.0).to_bits());
        assert_eq!((rows[2][column("loss")], rows[1][column("zeros")], rows[1][column("data")]), ("NaN", "1", ""));
        let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&history).unwrap()).unwrap();
        assert_eq!(json["records"][0]["fields"][0]["living"], 2);
        assert!(json["records"][1]["loss"].is_null());
        assert_eq!(json["fields"][0]["path"], "weight");
    }

    #[test]
    fn the_summary_names_fields_and_what_became_of_them() {
        let model = Single::new(&[1.0, 2.0], DType::F64, Rule::l1(0.1));
        let mut history = History::new(&model.regularizer().unwrap()).unwrap();
        assert_eq!(history.to_string(), "no step recorded yet");
        put(&model, &[0.0, 2.0]);
        history.record(1, 4.0).unwrap();
        let text = history.to_string();
        assert!(text.contains("weight") && text.contains("loss 4 → 4"), "{text}");
    }
}

mod refused {
    use super::*;

    #[test]
    fn steps_that_go_back_are_refused_until_what_came_after_is_forgotten() {
        let model = Single::new(&[1.0, 2.0], DType::F64, Rule::l1(0.1));
        let mut history = History::new(&model.regularizer().unwrap()).unwrap().every(10);
        for step in 1..=30 {
            history.record(step, 0.0).unwrap();
        }
        for step in [0, 5, 20, 30] {
            let error = history.record(step, 0.0).unwrap_err();
            assert!(matches!(error, Error::NotRecorded { step: found, .. } if found == step), "{error}");
        }
        put(&model, &[0.0, 2.0]);
        history.forget_after(10).unwrap();
        history.record(11, 0.0).unwrap();
        history.record(20, 0.0).unwrap();
        let steps: Vec<_> = history.records().iter().map(|record| record.step).collect();
        assert_eq!(steps, [1, 10, 20]);
        assert_eq!(
            history.last().unwrap().fields[0].deaths,
            0,
            "the weights that were loaded are where counting begins"
        );
    }

    #[test]
    fn an_optimizer_that_went_back_is_refused_before_it_steps() {
        let model = Single::new(&[1.0], DType::F64, Rule::l1(0.1));
        let regularizer = model.regularizer().unwrap();
        let mut history = History::new(&regularizer).unwrap();
        history.record(5, 0.0).unwrap();
        let mut opt = ProxSgd::new(vec![model.weight.clone()], ParamsProxSgd::new(regularizer)).unwrap();
        let error = history.step(&mut opt, &gradients([(&model.weight, tensor(&[1.0], DType::F64))]), 0.0).unwrap_err();
        assert!(matches!(error, Error::NotRecorded { step: 1, .. }), "{error}");
        assert_eq!((opt.steps(), model.values()), (0, vec![1.0]));
    }

    #[test]
    fn another_model_and_other_groups_are_refused_and_another_lambda_is_recorded() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let model = matrix(Rule::l1(0.5), 2, &values);
        let mut history = History::new(&model.regularizer().unwrap()).unwrap();
        let other = matrix(Rule::l1(0.5), 2, &values).regularizer().unwrap();
        let mut model = model;
        model.rule = Rule::l1(0.5).group(Grouping::Dim(0));
        for regularizer in [other, model.regularizer().unwrap()] {
            let error = history.record_under(&regularizer, 1, 0.0).unwrap_err();
            assert!(matches!(error, Error::NotRecorded { .. }) && error.to_string().contains("weight"), "{error}");
        }
        model.rule = Rule::l1(0.75);
        history.record_under(&model.regularizer().unwrap(), 1, 0.0).unwrap();
        let record = history.last().unwrap();
        assert_eq!((record.fields[0].lambda, record.penalty), (0.75, 7.5));
    }

    #[test]
    fn a_refused_step_leaves_no_record() {
        let model = Single::new(&[1.0], DType::F64, Rule::l1(0.1));
        let regularizer = model.regularizer().unwrap();
        let mut history = History::new(&regularizer).unwrap();
        let mut opt = ProxSgd::new(vec![model.weight.clone()], ParamsProxSgd::new(regularizer)).unwrap();
        let nan = gradients([(&model.weight, tensor(&[f64::NAN], DType::F64))]);
        assert!(matches!(history.step(&mut opt, &nan, 0.0), Err(Error::NonFiniteGradient { .. })));
        assert!(history.records().is_empty() && opt.steps() == 0);
    }

    #[test]
    fn a_loss_that_is_nan_is_recorded_as_it_is() {
        let model = Single::new(&[1.0], DType::F64, Rule::l1(0.1));
        let mut history = History::new(&model.regularizer().unwrap()).unwrap();
        history.record(1, f64::NAN).unwrap();
        history.record(2, f64::INFINITY).unwrap();
        assert!(history.records()[0].loss.is_nan() && history.records()[1].objective().is_infinite());
    }
}

mod oscillation {
    use super::*;

    /// A regression on 40 inputs of which 4 matter, with some noise in the targets.
    struct Regression {
        x: Vec<[f64; 40]>,
        y: Vec<f64>,
        rng: StdRng,
    }

    impl Regression {
        fn new() -> Self {
            Self::noisy(1, 0.2)
        }

        fn noisy(seed: u64, noise: f64) -> Self {
            let mut rng = StdRng::seed_from_u64(seed);
            let x: Vec<[f64; 40]> = (0..200).map(|_| std::array::from_fn(|_| rng.random_range(-1.7..1.7))).collect();
            let y = x.iter().map(|row| row[..4].iter().sum::<f64>() + rng.random_range(-noise..noise)).collect();
            Self { x, y, rng }
        }

        /// ½ the mean squared error, over all examples or 20 drawn at random.
        fn loss(&mut self, weight: &Var, all: bool) -> Tensor {
            let rows: Vec<_> = match all {
                true => (0..200).collect(),
                false => (0..20).map(|_| self.rng.random_range(0..200)).collect(),
            };
            let x: Vec<_> = rows.iter().flat_map(|row| self.x[*row]).collect();
            let y: Vec<_> = rows.iter().map(|row| self.y[*row]).collect();
            let x = tensor(&x, DType::F64).reshape((rows.len(), 40)).unwrap();
            let y = tensor(&y, DType::F64).reshape((rows.len(), 1)).unwrap();
            let error = (x.matmul(&weight.as_tensor().unsqueeze(1).unwrap()).unwrap() - y).unwrap();
            (error.sqr().unwrap().mean_all().unwrap() * 0.5).unwrap()
        }
    }

    fn model(lambda: f64) -> Single {
        let values: Vec<_> = (0..40).map(|i| 0.3 * (1.7 * f64::from(i)).sin()).collect();
        Single::new(&values, DType::F64, Rule::l1(lambda))
    }

    fn train(
        model: &Single,
        every: u64,
        steps: u64,
        mut step: impl FnMut(&mut Regression, u64),
    ) -> (History, Vec<Said>) {
        let mut history = History::new(&model.regularizer().unwrap()).unwrap().every(every);
        let mut data = Regression::new();
        let said = warnings(|| {
            for k in 1..=steps {
                step(&mut data, k);
                history.record(k, 0.0).unwrap();
            }
        });
        (history, said)
    }

    #[test]
    fn a_penalty_in_the_loss_is_warned_of_once() {
        for every in [1, 7, 10] {
            for all in [true, false] {
                let model = model(0.1);
                let regularizer = model.regularizer().unwrap();
                let mut sgd = SGD::new(vec![model.weight.clone()], 0.05).unwrap();
                let (history, said) = train(&model, every, 100 * every, |data, _| {
                    let loss = data.loss(&model.weight, all);
                    sgd.backward_step(&(loss + regularizer.penalty().unwrap()).unwrap()).unwrap();
                });
                assert_eq!((history.oscillations().len(), said.len()), (1, 1), "every {every}, all {all}");
                let found = &history.oscillations()[0];
                // 36 inputs do not matter; some of them may sit on one side for a while.
                assert!(found.path == "weight" && (10..=36).contains(&found.weights), "{found}");
                // A step of λ is 0.005, and a minibatch adds as much again.
                assert!(found.largest < 0.03, "{found}");
                assert!(said[0].text("message").contains("ProxSgd") && said[0].number("entries") == 40.0);
                assert!(history.to_string().contains("hop around 0"));
            }
        }
    }

    #[test]
    fn a_penalty_in_the_loss_of_adam_is_warned_of() {
        let model = model(0.1);
        let regularizer = model.regularizer().unwrap();
        let params = ParamsAdamW { lr: 0.01, weight_decay: 0.0, ..ParamsAdamW::default() };
        let mut adam = AdamW::new(vec![model.weight.clone()], params).unwrap();
        let (history, _) = train(&model, 10, 1500, |data, _| {
            let loss = data.loss(&model.weight, false);
            adam.backward_step(&(loss + regularizer.penalty().unwrap()).unwrap()).unwrap();
        });
        assert_eq!(history.oscillations().len(), 1);
    }

    #[test]
    fn a_proximal_optimizer_is_not_warned_of() {
        for all in [true, false] {
            let model = model(0.1);
            let regularizer = model.regularizer().unwrap();
            let mut opt =
                Proximal::<SGD>::new(vec![model.weight.clone()], ParamsProximal::new(0.05, regularizer)).unwrap();
            let (history, said) =
                train(&model, 1, 300, |data, _| opt.backward_step(&data.loss(&model.weight, all)).unwrap());
            assert!(history.oscillations().is_empty() && said.is_empty());
            assert!(history.last().unwrap().zeros() > 10, "it does make zeros");
        }
    }

    #[test]
    fn a_proximal_optimizer_whose_zeros_come_and_go_in_noise_is_not_warned_of() {
        for seed in 1..=4 {
            let model = model(0.1);
            let regularizer = model.regularizer().unwrap();
            let mut history = History::new(&regularizer).unwrap();
            let mut opt =
                Proximal::<SGD>::new(vec![model.weight.clone()], ParamsProximal::new(0.05, regularizer)).unwrap();
            let mut data = Regression::noisy(seed, 1.0);
            for step in 1..=300 {
                opt.backward_step(&data.loss(&model.weight, false)).unwrap();
                history.record(step, 0.0).unwrap();
            }
            assert!(history.oscillations().is_empty(), "seed {seed}: {history}");
        }
    }

    #[test]
    fn what_hops_again_after_going_back_is_listed_again_and_warned_of_once() {
        let model = model(0.1);
        let mut history = History::new(&model.regularizer().unwrap()).unwrap();
        let hop = |history: &mut History, steps: std::ops::RangeInclusive<u64>| {
            for step in steps {
                let small = if step % 2 == 0 { 0.01 } else { -0.01 };
                let values: Vec<_> = (0..40).map(|i| if i == 0 { 1.0 } else { small }).collect();
                put(&model, &values);
                history.record(step, 0.0).unwrap();
            }
        };
        let said = warnings(|| {
            hop(&mut history, 1..=60);
            assert_eq!(history.oscillations().len(), 1);
            history.forget_after(10).unwrap();
            assert!(history.oscillations().is_empty());
            hop(&mut history, 11..=120);
            assert_eq!(history.oscillations().len(), 1);
            history.forget_after(110).unwrap();
            hop(&mut history, 111..=200);
            assert_eq!(history.oscillations().len(), 1, "it is known already");
        });
        assert_eq!(said.len(), 1);
    }

    #[test]
    fn training_without_a_penalty_is_not_warned_of() {
        for all in [true, false] {
            let model = model(0.1);
            let mut regularizer = model.regularizer().unwrap();
            regularizer.set_scale(0.0).unwrap();
            let mut history = History::new(&regularizer).unwrap();
            let mut sgd = SGD::new(vec![model.weight.clone()], 0.05).unwrap();
            let mut data = Regression::new();
            let said = warnings(|| {
                for step in 1..=300 {
                    sgd.backward_step(&data.loss(&model.weight, all)).unwrap();
                    history.record(step, 0.0).unwrap();
                }
            });
            assert!(history.oscillations().is_empty() && said.is_empty());
        }
        // Nor where λ is declared, but not in the loss, unless noise alone makes weights hop.
        let model = model(0.1);
        let mut sgd = SGD::new(vec![model.weight.clone()], 0.05).unwrap();
        let (history, said) =
            train(&model, 1, 300, |data, _| sgd.backward_step(&data.loss(&model.weight, true)).unwrap());
        assert!(history.oscillations().is_empty() && said.is_empty());
    }

    #[test]
    fn weights_that_cross_zero_once_and_training_that_diverges_are_not_warned_of() {
        let model = model(0.1);
        let (history, _) = train(&model, 1, 200, |_, step| {
            let values: Vec<_> = (0..40).map(|i| (100.0 - step as f64 - f64::from(i)) / 100.0).collect();
            put(&model, &values);
        });
        assert!(history.oscillations().is_empty(), "each crosses once");
        let (history, _) = train(&model, 1, 200, |_, step| {
            let sign = if step % 2 == 0 { 1.0 } else { -1.0 };
            put(&model, &[sign * 1.05f64.powi(step as i32); 40]);
        });
        assert!(history.oscillations().is_empty(), "all of them hop, but they are large");
    }
}
