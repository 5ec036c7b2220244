//! Schedules: their numbers, who follows them, and that a training which is stopped and resumed follows them to the bit.

use candle_core::{DType, Tensor, Var, backprop::GradStore};
use candle_nn::{Optimizer, SGD, VarMap};
use l1_core::{
    Checkpoint, Curve, Declarations, Error, Fista, FtrlProximal, Grouping, Guard, ParamsFista, ParamsFtrl,
    ParamsProxAdamW, ParamsProxSgd, ParamsProximal, Penalty, Phase, Phases, ProxAdamW, ProxSgd, Proximal, Regularized,
    Regularizer, Rule, Schedule, Schedules, Stepper, Visitor, optim::Method,
};
use proptest::prelude::*;
use tests::device;

use crate::{
    freezing::OPTIMIZERS,
    models::{Many, Single, bits, flat, gradients},
};

fn close(found: f64, expected: f64) {
    // Three operations of f64 on numbers up to 1.
    assert!((found - expected).abs() < 1e-15, "{found} {expected}");
}

#[test]
fn schedules_have_the_numbers_of_their_formulas() {
    close(Schedule::linear(0.2, 1.0, 8).value(2), 0.4);
    // cos(π/3) = 1/2.
    close(Schedule::cosine(1.0, 0.2, 6).value(2), 0.2 + 0.8 * 0.75);
    // Zhu & Gupta, eq. 1: s_f + (s_i − s_f)(1 − (k − k₀)/K)³, from 10 % to 90 % over 100 steps after the 20th.
    let target = Schedule::cubic(0.1, 0.9, 100).after(20);
    close(target.value(45), 0.9 - 0.8 * 0.421_875); // (3/4)³ = 27/64
    assert_eq!([0, 20, 120, 5000].map(|step| target.value(step)), [0.1, 0.1, 0.9, 0.9]);
    let square = Schedule::function("square", |step| (step * step) as f64);
    assert_eq!(square.after(1).value(4), 9.0);
    let pieces = Schedule::steps([(0, 1.0), (3, 0.5), (10, 0.0)]);
    assert_eq!([0, 2, 3, 9, 10, u64::MAX].map(|step| pieces.value(step)), [1.0, 1.0, 0.5, 0.5, 0.0, 0.0]);
    assert_eq!(Schedule::linear(0.0, 1.0, 10).lasting(5).value(8), 0.5);
}

/// Any schedule that goes from one number to another.
fn course() -> impl Strategy<Value = (Schedule, f64, f64, u64)> {
    let make = [Schedule::linear as fn(f64, f64, u64) -> Schedule, Schedule::cosine, Schedule::cubic];
    (0..3usize, 0.0..1e3f64, 0.0..1e3f64, 1..1000u64)
        .prop_map(move |(which, from, to, steps)| (make[which](from, to, steps), from, to, steps))
}

proptest! {
    #[test]
    fn a_course_begins_at_its_first_number_goes_straight_for_the_other_and_stays_there(
        (schedule, from, to, steps) in course()
    ) {
        // Rounding of numbers up to 1000, a few operations.
        let rounding = 1e-12;
        prop_assert!((schedule.value(0) - from).abs() <= rounding);
        let mut before = schedule.value(0);
        for step in 1..=steps {
            let value = schedule.value(step);
            prop_assert!((value - before) * (to - from).signum() >= -rounding, "{schedule} at {step}");
            before = value;
        }
        prop_assert_eq!(schedule.value(steps).to_bits(), to.to_bits());
        prop_assert_eq!(schedule.value(steps + 1000).to_bits(), to.to_bits());
        prop_assert_eq!(schedule.length(), Some(steps));
    }

    #[test]
    fn composed_schedules_are_their_parts_one_behind_the_other(
        (first, ..) in course(), (second, ..) in course(), delay in 0..500u64, step in 0..3000u64
    ) {
        let length = first.length().unwrap();
        let joined = first.clone().then(second.clone());
        let expected = if step < length { first.value(step) } else { second.value(step - length) };
        prop_assert_eq!(joined.value(step).to_bits(), expected.to_bits());
        prop_assert_eq!(joined.length(), Some(length + second.length().unwrap()));
        let later = joined.clone().after(delay);
        prop_assert_eq!(later.value(step).to_bits(), joined.value(step.saturating_sub(delay)).to_bits());
        prop_assert!(later.check().is_ok());
    }

    #[test]
    fn the_phases_of_a_step_agree_with_its_scale(
        warm_up in 0..20u64, ramp in 0..20u64, penalize in prop::option::of(0..20u64), step in 0..80u64
    ) {
        let phases = Phases::new().warm_up(warm_up).ramp(ramp);
        let phases = penalize.map_or(phases, |steps| phases.penalize(steps));
        let scale = phases.schedule().value(step);
        match phases.phase(step) {
            Phase::WarmUp => prop_assert_eq!(scale, 0.0),
            Phase::Ramp => prop_assert!((0.0..1.0).contains(&scale)),
            Phase::Penalize => prop_assert_eq!(scale, 1.0),
            Phase::Freeze => prop_assert!(phases.freezes_at().is_some_and(|at| step >= at)),
            phase => prop_assert!(false, "{phase}"),
        }
    }
}

#[test]
fn a_schedule_is_written_as_in_a_program() {
    let schedule = Schedule::constant(0.0).lasting(3).then(Schedule::cosine(0.1, 1e-12, 5)).after(2);
    assert_eq!(schedule.to_string(), "constant(0).lasting(3).then(cosine(0.1, 1e-12, 5)).after(2)");
    let others = [Schedule::steps([(0, 1.0), (7, 0.5)]), Schedule::function("mine", |_| 1.0)];
    assert_eq!(others.map(|schedule| format!("{schedule:?}")), ["steps([(0, 1), (7, 0.5)])", "function(\"mine\")"]);
    let schedules = Schedules::new().scale_of("a", Schedule::constant(1.0)).freeze(7).freeze_of("b", 9);
    assert_eq!(schedules.to_string(), "scale of `a`: constant(1); frozen from step 7 on; `b` frozen from step 9 on");
    assert_eq!(Schedules::new().to_string(), "nothing is scheduled");
}

#[test]
fn what_is_no_schedule_is_refused_and_the_message_says_why() {
    let constant = Schedule::constant;
    let invalid = [
        (constant(f64::NAN), "it holds NaN"),
        (Schedule::linear(0.0, f64::INFINITY, 3), "it holds inf"),
        (Schedule::cubic(0.0, 1.0, 0), "0 steps"),
        (Schedule::steps([]), "no value"),
        (Schedule::steps([(2, 1.0)]), "begins at step 2"),
        (Schedule::steps([(0, 1.0), (5, 2.0), (5, 3.0)]), "step 5 stands before step 5"),
        (Schedule::steps([(0, 1.0), (5, 2.0), (4, 3.0)]), "step 5 stands before step 4"),
        (Schedule::steps([(0, 1.0), (5, f64::NAN)]), "it holds NaN"),
        (constant(1.0).then(constant(2.0)), "has no end"),
        (constant(1.0).lasting(2).then(constant(f64::NAN)).after(3), "it holds NaN"),
    ];
    let model = Single::new(&[1.0], DType::F32, Rule::l1(0.1));
    let mut regularizer = model.regularizer().unwrap();
    for (schedule, why) in invalid {
        let alone = schedule.check().unwrap_err();
        assert!(matches!(&alone, Error::InvalidSchedule { .. }) && alone.to_string().contains(why), "{alone}");
        let error = regularizer.set_schedules(Schedules::new().scale_of("weight", schedule)).unwrap_err();
        assert!(error.to_string().contains(why) && error.to_string().contains("the scale of `weight`"), "{error}");
    }
    let negative = constant(-1.0);
    negative.check().unwrap(); // a number as any other, but no scale
    assert!(matches!(regularizer.set_schedules(Schedules::new().scale(negative)), Err(Error::InvalidSchedule { .. })));
    assert!(regularizer.schedules().is_none() && regularizer.scale() == 1.0);
}

/// Two penalized fields, and one that is not.
struct Fields([Var; 3]);

impl Fields {
    fn new() -> Self {
        Self([[1f32, 0.5], [2.0, -1.0], [3.0, 4.0]].map(|values| Var::new(&values, &device()).unwrap()))
    }
}

impl Regularized for Fields {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("a.weight", Rule::l1(0.1), &self.0[0])?;
        visitor.field("b.weight", Rule::l1(0.2), &self.0[1])?;
        visitor.field("c.weight", Rule::inherit(), &self.0[2])
    }
}

#[test]
fn a_schedule_for_nothing_or_two_for_one_thing_are_refused_and_leave_all_as_it_was() {
    let one = || Schedule::constant(0.5);
    let mut regularizer = Fields::new().regularizer().unwrap();
    regularizer.set_schedules(Schedules::new().scale(Schedule::constant(0.25))).unwrap();
    let two = [
        Schedules::new().scale(one()).scale(one()),
        Schedules::new().scale_of("a", one()).scale_of("a.weight", one()),
        Schedules::new().scale_of("b", one()).scale_of("", one()),
        Schedules::new().freeze(3).freeze_of("a", 3),
    ];
    for schedules in two {
        let error = regularizer.set_schedules(schedules).unwrap_err();
        assert!(matches!(error, Error::TwoSchedules { .. }), "{error}");
    }
    for schedules in [
        Schedules::new().scale_of("d", one()),
        Schedules::new().scale_of("c", one()), // not penalized
        Schedules::new().freeze_of("c.weight", 3),
    ] {
        let error = regularizer.set_schedules(schedules).unwrap_err();
        assert!(matches!(error, Error::UnknownField { .. }), "{error}");
    }
    assert_eq!(regularizer.scale(), 0.25);
    assert_eq!(regularizer.schedules().unwrap().to_string(), "scale: constant(0.25)");
    // A scale of the whole beside one of a field is no contradiction: they multiply.
    regularizer.set_schedules(Schedules::new().scale(one()).scale_of("a", one())).unwrap();
    let lambdas: Vec<_> = regularizer.penalized().map(|(_, penalty)| penalty.lambda()).collect();
    assert_eq!(lambdas, [0.1 * 0.25, 0.2 * 0.5]);

    let unpenalized = Single::new(&[1.0], DType::F32, Rule::inherit());
    let refused = unpenalized.regularizer().unwrap().set_schedules(Schedules::new().scale(one()));
    assert!(matches!(refused, Err(Error::NothingPenalized { .. })));
    let spectral = Rule::from(Penalty::l1(0.1).with_group(Grouping::Singular));
    let matrix = Tensor::ones((2, 2), DType::F32, &device()).unwrap();
    let spectral = Single { weight: Var::from_tensor(&matrix).unwrap(), rule: spectral };
    let refused = spectral.regularizer().unwrap().set_schedules(Schedules::new().freeze(5));
    assert!(matches!(refused, Err(Error::SupportOfSingularValues { .. })));
}

#[test]
fn what_follows_a_schedule_cannot_be_set_by_hand_and_everything_else_can() {
    let mut regularizer = Fields::new().regularizer().unwrap();
    let schedules =
        Schedules::new().scale(Schedule::constant(0.5)).scale_of("a", Schedule::constant(2.0)).freeze_of("b", 9);
    regularizer.set_schedules(schedules).unwrap();
    let refused = [
        regularizer.set_scale(1.0),
        regularizer.set_scale_of("a", 1.0),
        regularizer.set_scale_of("", 1.0),
        regularizer.freeze_support(),
        regularizer.freeze_support_of("b"),
        regularizer.release_support(),
        regularizer.release_support_of("b.weight"),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(Error::FollowsSchedule { .. })), "{refused:?}");
    }
    regularizer.set_scale_of("b", 3.0).unwrap();
    regularizer.freeze_support_of("a").unwrap();
    regularizer.at_step(5).unwrap();
    assert_eq!(regularizer.scale_of("b").unwrap(), Some(3.0));
    assert_eq!(
        [regularizer.support_is_frozen("a").unwrap(), regularizer.support_is_frozen("b").unwrap()],
        [Some(true), Some(false)]
    );
    regularizer.clear_schedules();
    regularizer.set_scale(1.0).unwrap();
    assert_eq!(regularizer.scale_of("a").unwrap(), Some(2.0), "it stays as it was left");
    regularizer.freeze_support().unwrap();
}

#[test]
fn a_step_by_hand_depends_on_its_number_alone() {
    let mut regularizer = Fields::new().regularizer().unwrap();
    regularizer.at_step(7).unwrap(); // without schedules: nothing
    regularizer.set_schedules(Schedules::new().phases_of("a", Phases::new().warm_up(2).ramp(4).penalize(4))).unwrap();
    assert_eq!(regularizer.scale_of("a").unwrap(), Some(0.0), "as at step 0 at once");
    for step in [1, 3, 7, 10, 25, 9, 0] {
        regularizer.at_step(step).unwrap();
        let expected = match step {
            0..=2 => 0.0,
            3..6 => (step - 2) as f64 / 4.0,
            _ => 1.0,
        };
        assert_eq!(regularizer.scale_of("a").unwrap(), Some(expected), "step {step}");
        assert_eq!(regularizer.support_is_frozen("a").unwrap(), Some(step >= 10), "step {step}");
        assert_eq!(regularizer.scale_of("b").unwrap(), Some(1.0));
    }
}

/// Weights that come to 0 within a few steps under the scale 1.
fn many(dtype: DType) -> Many {
    let mut model = Many::new(&[40, 7, 3], dtype);
    model.lambda = 1.0;
    model
}

fn phased(regularizer: &mut Regularizer) {
    let scale =
        Schedule::constant(0.0).lasting(3).then(Schedule::linear(0.0, 1.0, 4)).then(Schedule::cosine(1.0, 0.5, 9));
    let schedules = Schedules::new().scale(scale).scale_of("weights.1", Schedule::cubic(2.0, 1.0, 10)).freeze(12);
    regularizer.set_schedules(schedules).unwrap();
}

#[test]
fn every_optimizer_follows_schedules_as_if_they_were_set_by_hand_before_each_step() {
    for (name, make) in OPTIMIZERS {
        for dtype in [DType::F32, DType::BF16] {
            let run = |scheduled: bool| {
                let model = many(dtype);
                let mut follows = model.regularizer().unwrap();
                phased(&mut follows);
                let mut opt = make(
                    if scheduled { follows.clone() } else { model.regularizer().unwrap() },
                    model.weights.clone(),
                    Guard::Before,
                );
                let mut zeros = Vec::new();
                for step in 0..20u64 {
                    if !scheduled {
                        follows.at_step(step).unwrap();
                        let by_hand = opt.regularizer_mut();
                        by_hand.set_scale(follows.scale()).unwrap();
                        by_hand.set_scale_of("weights.1", follows.scale_of("weights.1").unwrap().unwrap()).unwrap();
                        if step == 12 {
                            by_hand.freeze_support().unwrap();
                        }
                    }
                    opt.step(&model.store(&model.gradients(step as usize))).unwrap();
                    zeros.push(model.weights.iter().flat_map(|w| flat(w)).filter(|w| *w == 0.0).count());
                }
                (model.bits(), zeros)
            };
            let (bits, zeros) = run(true);
            assert!(bits == run(false).0, "{name}, {dtype:?}");
            assert_eq!(zeros[2], 0, "{name}: zeros in the warm-up");
            assert!(zeros[11] > 1, "{name}: no zeros under the penalty");
            assert!(zeros[12..].iter().all(|count| *count >= zeros[11]), "{name}: {zeros:?}");
        }
    }
}

/// Stops after each step and goes on from the file: in every phase and at every boundary.
fn resumed<M: Method>(params: impl Fn(Regularizer) -> M, dtype: DType) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let start = || {
        let model = many(dtype);
        let varmap = VarMap::new();
        for (index, var) in model.weights.iter().enumerate() {
            varmap.data().lock().unwrap().insert(format!("w{index}"), var.clone());
        }
        let mut regularizer = model.regularizer().unwrap();
        phased(&mut regularizer);
        let opt = Stepper::new(model.weights.clone(), params(regularizer)).unwrap();
        (model, varmap, opt)
    };
    let step = |model: &Many, opt: &mut Stepper<M>| {
        let gradients = model.gradients(opt.steps() as usize);
        opt.step(&model.store(&gradients)).unwrap();
    };
    let (peace, peace_varmap, mut opt) = start();
    let mut states = Vec::new();
    for _ in 0..18 {
        step(&peace, &mut opt);
        Checkpoint::save(&path, &opt, &peace_varmap).unwrap();
        states.push(std::fs::read(&path).unwrap());
    }
    for (index, state) in states.iter().enumerate() {
        std::fs::write(&path, state).unwrap();
        let (model, varmap, mut opt) = start();
        Checkpoint::load(&path, &mut opt, &varmap).unwrap();
        assert_eq!(opt.regularizer().support_is_frozen("").unwrap(), Some(index >= 12), "as in the step before");
        while opt.steps() < 18 {
            step(&model, &mut opt);
        }
        assert!(model.bits() == peace.bits(), "{}, {dtype:?}, stopped after {} steps", M::NAME, index + 1);
        Checkpoint::save(&path, &opt, &varmap).unwrap();
        assert!(std::fs::read(&path).unwrap() == states[17], "moments or numbers differ");
    }
}

#[test]
fn a_training_that_is_stopped_in_any_phase_goes_on_to_the_bit() {
    for dtype in [DType::F32, DType::BF16] {
        resumed(|r| ParamsProxSgd { lr: 0.05, momentum: 0.9, ..ParamsProxSgd::new(r) }, dtype);
        resumed(|r| ParamsProxSgd { lr: 0.05, momentum: 0.9, master_weights: true, ..ParamsProxSgd::new(r) }, dtype);
        resumed(|r| ParamsProxAdamW { lr: 0.05, weight_decay: 0.1, ..ParamsProxAdamW::new(r) }, dtype);
        resumed(|r| ParamsFtrl { lr: 0.5, ..ParamsFtrl::new(r) }, dtype);
    }
}

#[test]
fn a_checkpoint_of_other_schedules_is_refused_with_both_and_can_be_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let model = Single::new(&[1.0, -2.0], DType::F32, Rule::l1(0.1));
    let varmap = VarMap::new();
    varmap.data().lock().unwrap().insert("weight".to_owned(), model.weight.clone());
    let start = |schedules: Option<Schedules>| {
        let mut regularizer = model.regularizer().unwrap();
        if let Some(schedules) = schedules {
            regularizer.set_schedules(schedules).unwrap();
        }
        ProxSgd::new(vec![model.weight.clone()], ParamsProxSgd::new(regularizer)).unwrap()
    };
    let saved = Schedules::new().scale(Schedule::linear(0.5, 1.0, 10)).freeze_of("weight", 20);
    Checkpoint::save(&path, &start(Some(saved.clone())), &varmap).unwrap();
    Checkpoint::load(&path, &mut start(Some(saved)), &varmap).unwrap();

    let mut other = start(Some(Schedules::new().scale(Schedule::linear(0.5, 1.0, 11))));
    let error = Checkpoint::load(&path, &mut other, &varmap).unwrap_err();
    let Error::ChangedDeclarations { differences, .. } = &error else { panic!("{error}") };
    assert_eq!(differences.len(), 2, "{differences:?}");
    assert!(differences[0].contains("no schedule of freezing `weight` in this program"), "{differences:?}");
    assert!(differences[1].contains("linear(0.5, 1, 10) in the file") && differences[1].contains("linear(0.5, 1, 11)"));
    let accepted = Checkpoint::load_with(&path, &mut other, &varmap, Declarations::Accept).unwrap();
    assert_eq!((accepted.changed().len(), accepted.scale()), (2, 0.5));
    assert!(matches!(Checkpoint::load(&path, &mut start(None), &varmap), Err(Error::ChangedDeclarations { .. })));
}

#[test]
fn a_function_that_gives_no_strength_stops_the_step_before_anything_is_written() {
    for value in [f64::NAN, -1.0, f64::INFINITY] {
        let model = Single::new(&[1.0, -2.0], DType::F32, Rule::l1(0.1));
        let mut regularizer = model.regularizer().unwrap();
        let schedule = Schedule::function("breaks at 2", move |step| if step == 2 { value } else { 1.0 });
        regularizer.set_schedules(Schedules::new().scale(schedule)).unwrap();
        let mut opt = ProxSgd::new(vec![model.weight.clone()], ParamsProxSgd::new(regularizer)).unwrap();
        let grads = gradients([(&model.weight, model.weight.ones_like().unwrap())]);
        (0..2).for_each(|_| opt.step(&grads).unwrap());
        let before = bits(&model.weight);
        let error = Error::from(opt.step(&grads).unwrap_err());
        assert!(matches!(&error, Error::InvalidSchedule { .. }) && error.to_string().contains("at step 2"), "{error}");
        assert_eq!((bits(&model.weight), opt.steps()), (before, 2));
        assert_eq!(opt.regularizer().scale(), 1.0);
    }
}

#[test]
fn a_scale_that_overflows_on_its_way_stops_the_step_and_one_at_its_start_is_refused() {
    let model = Single::new(&[1.0], DType::F32, Rule::l1(10.0));
    let mut regularizer = model.regularizer().unwrap();
    let refused = regularizer.set_schedules(Schedules::new().scale(Schedule::constant(1e38)));
    assert!(matches!(refused, Err(Error::InvalidValue { .. })), "{refused:?}");
    assert!(regularizer.schedules().is_none());
    // Each for itself is in range.
    let large = || Schedule::steps([(0, 1.0), (5, 1e20)]);
    regularizer.set_schedules(Schedules::new().scale(large()).scale_of("weight", large())).unwrap();
    regularizer.at_step(4).unwrap();
    assert!(matches!(regularizer.at_step(5), Err(Error::InvalidValue { .. })));
    assert_eq!((regularizer.scale(), regularizer.scale_of("weight").unwrap()), (1.0, Some(1.0)), "nothing is changed");
    assert!(regularizer.schedules().is_some());
}

#[test]
fn fista_follows_no_schedule_and_says_so() {
    let model = Single::new(&[1.0, -2.0], DType::F64, Rule::l1(0.1));
    let mut regularizer = model.regularizer().unwrap();
    let schedules = || Schedules::new().scale(Schedule::linear(0.0, 1.0, 10));
    let loss = || model.weight.sqr()?.sum_all();
    let mut opt = Fista::new(vec![model.weight.clone()], ParamsFista::new(regularizer.clone(), loss)).unwrap();
    opt.regularizer_mut().set_schedules(schedules()).unwrap();
    assert!(matches!(opt.minimize(1e-9, 10), Err(Error::ScheduleUnused { .. })));
    assert!(matches!(Error::from(opt.backward_step(&loss().unwrap()).unwrap_err()), Error::ScheduleUnused { .. }));
    regularizer.set_schedules(schedules()).unwrap();
    let refused = Fista::new(vec![model.weight.clone()], ParamsFista::new(regularizer, loss));
    assert!(matches!(Error::from(refused.unwrap_err()), Error::ScheduleUnused { .. }));
    opt.regularizer_mut().at_step(5).unwrap();
    opt.regularizer_mut().clear_schedules();
    assert!(opt.minimize(1e-9, 100).unwrap().converged);
    assert_eq!(opt.regularizer().scale(), 0.5);
}

/// Takes a step, if it can, and says so, and by which scale.
type Followed = Box<dyn FnMut(&GradStore) -> (bool, f64)>;

#[test]
fn a_refused_step_is_none_for_a_schedule_either() {
    let model = Single::new(&[1.0, -2.0], DType::F32, Rule::l1(0.1));
    let mut regularizer = model.regularizer().unwrap();
    regularizer.set_schedules(Schedules::new().scale(Schedule::function("the step", |step| step as f64))).unwrap();
    let mut steps: [Followed; 2] = {
        let mut own = ProxAdamW::new(vec![model.weight.clone()], ParamsProxAdamW::new(regularizer.clone())).unwrap();
        let params = ParamsProximal::new(0.1, regularizer);
        let mut proximal = Proximal::<SGD>::new(vec![model.weight.clone()], params).unwrap();
        [
            Box::new(move |grads| (own.step(grads).is_ok(), own.regularizer().scale())),
            Box::new(move |grads| (proximal.step(grads).is_ok(), proximal.regularizer().scale())),
        ]
    };
    let grads = |value: f32| gradients([(&model.weight, Tensor::full(value, 2, &device()).unwrap())]);
    for step in &mut steps {
        assert_eq!(step(&grads(0.1)), (true, 0.0));
        assert_eq!(step(&grads(f32::NAN)), (false, 1.0));
        assert_eq!(step(&grads(0.1)), (true, 1.0));
        assert_eq!(step(&grads(0.1)), (true, 2.0));
    }
}

#[test]
fn optimizers_of_one_regularizer_go_each_by_its_own_steps() {
    let model = Single::new(&[1.0, -2.0], DType::F32, Rule::l1(0.1));
    let mut regularizer = model.regularizer().unwrap();
    regularizer.set_schedules(Schedules::new().scale(Schedule::function("the step", |step| step as f64))).unwrap();
    let opt = || FtrlProximal::new(vec![model.weight.clone()], ParamsFtrl::new(regularizer.clone())).unwrap();
    let (mut one, mut other) = (opt(), opt());
    let grads = gradients([(&model.weight, model.weight.ones_like().unwrap())]);
    (0..3).for_each(|_| one.step(&grads).unwrap());
    other.step(&grads).unwrap();
    assert_eq!([one.regularizer().scale(), other.regularizer().scale(), regularizer.scale()], [2.0, 0.0, 0.0]);
}

#[test]
fn a_warm_up_does_not_hide_a_parameter_without_a_gradient() {
    let fields = Fields::new();
    let mut regularizer = fields.regularizer().unwrap();
    let warm_up = || Phases::new().warm_up(5).ramp(5);
    let cut = || (fields.0[0].sqr()?.sum_all()? + fields.0[1].detach().sum_all()?)?.backward();
    let loss = || fields.0[0].sqr()?.sum_all();
    let of_b = |error: Error| matches!(error, Error::MissingGradient { path, .. } if path == "b.weight");
    for schedules in [
        Schedules::new().phases(warm_up()),
        Schedules::new().phases_of("b", warm_up()),
        Schedules::new().phases(warm_up()).phases_of("b", warm_up()),
        Schedules::new().scale(Schedule::function("late", |step| if step < 9 { 0.0 } else { 1.0 })),
    ] {
        regularizer.set_schedules(schedules).unwrap();
        assert!(of_b(regularizer.check_gradients(&loss().unwrap()).unwrap_err()));
        assert!(of_b(regularizer.check_gradients_with(loss).unwrap_err()));
        let vars = fields.0.to_vec();
        let mut opt = ProxSgd::new(vars, ParamsProxSgd::new(regularizer.clone())).unwrap();
        assert!(of_b(Error::from(opt.step(&cut().unwrap()).unwrap_err())), "the first step says so already");
    }
    // What is never charged asks for nothing.
    regularizer.set_schedules(Schedules::new().scale_of("b", Schedule::constant(0.0))).unwrap();
    regularizer.check_gradients(&loss().unwrap()).unwrap();
    regularizer.set_schedules(Schedules::new().freeze(0)).unwrap();
    regularizer.check_gradients(&loss().unwrap()).unwrap();
}

#[test]
fn a_warm_up_does_not_hide_a_loss_that_holds_the_penalty() {
    let model = Single::new(&[1.0, -2.0], DType::F32, Rule::l1(0.1));
    let loss = (model.weight.sqr().unwrap().sum_all().unwrap() + model.penalty().unwrap()).unwrap();
    let mut regularizer = model.regularizer().unwrap();
    regularizer.set_schedules(Schedules::new().phases(Phases::new().warm_up(5))).unwrap();
    assert!(matches!(regularizer.check_gradients(&loss), Err(Error::ChargedTwice { .. })));
}

#[test]
fn a_warm_up_is_penalized_in_the_table_of_coverage() {
    let model = Single::new(&[1.0, -2.0], DType::F32, Rule::l1(0.1));
    let varmap = VarMap::new();
    varmap.data().lock().unwrap().insert("weight".to_owned(), model.weight.clone());
    let mut regularizer = model.regularizer().unwrap();
    let row = |regularizer: &Regularizer| regularizer.coverage(&varmap).to_string();
    let without = row(&regularizer);
    regularizer.set_schedules(Schedules::new().phases(Phases::new().warm_up(5))).unwrap();
    assert_eq!(row(&regularizer), without);
    regularizer.set_schedules(Schedules::new().scale(Schedule::constant(0.0))).unwrap();
    assert_ne!(row(&regularizer), without);
}

#[test]
fn schedules_in_place_of_others_find_scales_and_supports_as_they_were_before_those() {
    let mut regularizer = Fields::new().regularizer().unwrap();
    regularizer.set_scale(0.5).unwrap();
    regularizer.set_scale_of("a", 3.0).unwrap();
    let first =
        || Schedules::new().phases(Phases::new().warm_up(5).penalize(0)).phases_of("a", Phases::new().warm_up(5));
    regularizer.set_schedules(first()).unwrap();
    regularizer.set_scale_of("b", 7.0).unwrap(); // by hand meanwhile: it stays
    regularizer.at_step(3).unwrap();
    assert_eq!((regularizer.scale(), regularizer.scale_of("a").unwrap()), (0.0, Some(0.0)));
    regularizer.at_step(6).unwrap();
    assert_eq!(regularizer.support_is_frozen("").unwrap(), Some(true));
    regularizer.at_step(3).unwrap();
    for later in [Schedules::new(), Schedules::new().freeze_of("b", 100)] {
        regularizer.set_schedules(later).unwrap();
        let scales = ["a", "b"].map(|field| regularizer.scale_of(field).unwrap());
        assert_eq!((regularizer.scale(), scales), (0.5, [Some(3.0), Some(7.0)]));
        assert_eq!(regularizer.support_is_frozen("").unwrap(), Some(false));
        regularizer.set_schedules(first()).unwrap();
        regularizer.at_step(6).unwrap();
    }
}

#[test]
fn what_followed_a_schedule_of_the_file_alone_is_left_as_the_program_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let model = Fields::new();
    let varmap = VarMap::new();
    for (name, var) in ["a", "b", "c"].iter().zip(&model.0) {
        varmap.data().lock().unwrap().insert((*name).to_owned(), var.clone());
    }
    let start = |schedules: Option<Schedules>| {
        let mut regularizer = model.regularizer().unwrap();
        match schedules {
            Some(schedules) => regularizer.set_schedules(schedules).unwrap(),
            None => regularizer.set_scale_of("a", 5.0).unwrap(),
        }
        ProxSgd::new(model.0.to_vec(), ParamsProxSgd::new(regularizer)).unwrap()
    };
    let warm_up = || Schedule::constant(0.0).lasting(5);
    let mut saved = start(Some(Schedules::new().scale(warm_up()).scale_of("a", warm_up()).freeze_of("b", 0)));
    saved.regularizer_mut().set_scale_of("b", 2.0).unwrap();
    Checkpoint::save(&path, &saved, &varmap).unwrap();

    let mut plain = start(None);
    let accepted = Checkpoint::load_with(&path, &mut plain, &varmap, Declarations::Accept).unwrap();
    assert_eq!(accepted.changed().len(), 3, "{:?}", accepted.changed());
    let regularizer = plain.regularizer();
    let scales = ["a", "b"].map(|field| regularizer.scale_of(field).unwrap());
    assert_eq!((regularizer.scale(), scales), (1.0, [Some(5.0), Some(2.0)]), "b's was set by hand");
    assert_eq!(regularizer.support_is_frozen("").unwrap(), Some(false));
}

#[test]
fn a_scale_that_decays_towards_0_leaves_ftrl_with_numbers() {
    for curve in [Curve::Mcp(3.0), Curve::Scad(3.7)] {
        for dtype in [DType::F32, DType::BF16, DType::F64] {
            let model = Single::new(&[1.0, -2.0, 0.0], dtype, Rule::from(Penalty::l1(0.1).with_curve(curve)));
            let mut regularizer = model.regularizer().unwrap();
            let decay = Schedule::function("0.1^k", |step| 0.1f64.powi(step as i32));
            regularizer.set_schedules(Schedules::new().scale(decay)).unwrap();
            let mut opt =
                FtrlProximal::new(vec![model.weight.clone()], ParamsFtrl { lr: 0.5, ..ParamsFtrl::new(regularizer) })
                    .unwrap();
            for step in 0..330 {
                let grads = gradients([(&model.weight, (model.weight.as_tensor() - 0.5).unwrap())]);
                opt.step(&grads).unwrap();
                let weights = flat(&model.weight);
                assert!(weights.iter().all(|w| w.is_finite()), "{curve:?}, {dtype:?}, step {step}: {weights:?}");
            }
            // Without a penalty each goes to 0.5; half an ulp of it in bf16 is 1e-3, and FTRL's rates have fallen.
            let weights = flat(&model.weight);
            assert!(weights.iter().all(|w| (w - 0.5).abs() < 0.1), "{curve:?}, {dtype:?}: {weights:?}");
        }
    }
}
