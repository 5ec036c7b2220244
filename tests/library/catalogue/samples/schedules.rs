//! λ that changes while training: schedules, and supports that are frozen.

use anyhow::Result;
use candle_core::{DType, Tensor, Var};
use candle_nn::{Optimizer, VarMap};
use l1_core::{
    Error, Fista, Grouping, ParamsFista, ParamsProxSgd, Penalty, ProxSgd, Regularized, Regularizer, Rule, Schedule,
    Schedules,
};
use tests::device;

use super::{Net, refused};
use crate::models::Single;

fn regularizer() -> Result<Regularizer> {
    Ok(Net::new(&VarMap::new())?.regularizer()?)
}

pub fn invalid_schedule() -> Result<Error> {
    let mut regularizer = regularizer()?;
    let endless = Schedule::constant(0.0).then(Schedule::linear(0.0, 1.0, 200));
    let error = refused(regularizer.set_schedules(Schedules::new().scale(endless)));

    // ANCHOR: InvalidSchedule
    let scale = Schedule::constant(0.0).lasting(300).then(Schedule::linear(0.0, 1.0, 200));
    // ANCHOR_END: InvalidSchedule
    regularizer.set_schedules(Schedules::new().scale(scale))?;
    error
}

pub fn two_schedules() -> Result<Error> {
    let mut regularizer = regularizer()?;
    let (all, weight) = (Schedule::linear(0.0, 1.0, 200), Schedule::constant(0.5));
    let both = Schedules::new().scale_of("fc", all.clone()).scale_of("fc.weight", weight.clone());
    let error = refused(regularizer.set_schedules(both));

    // ANCHOR: TwoSchedules
    let schedules = Schedules::new().scale(all).scale_of("fc.weight", weight); // of the whole and of a field: they multiply
    // ANCHOR_END: TwoSchedules
    regularizer.set_schedules(schedules)?;
    error
}

pub fn follows_schedule() -> Result<Error> {
    let mut regularizer = regularizer()?;
    regularizer.set_schedules(Schedules::new().scale(Schedule::linear(0.0, 1.0, 200)))?;
    let error = refused(regularizer.set_scale(0.5));

    // ANCHOR: FollowsSchedule
    regularizer.clear_schedules();
    regularizer.set_scale(0.5)?;
    // ANCHOR_END: FollowsSchedule
    error
}

pub fn schedule_unused() -> Result<Error> {
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.1));
    let mut regularizer = model.regularizer()?;
    regularizer.set_schedules(Schedules::new().scale(Schedule::linear(0.0, 1.0, 200)))?;
    let loss = || model.weight.sqr()?.sum_all();
    let vars = vec![model.weight.clone()];
    let error = refused(Fista::new(vars.clone(), ParamsFista::new(regularizer.clone(), loss)));

    // ANCHOR: ScheduleUnused
    regularizer.at_step(200)?; // as it is after 200 steps
    regularizer.clear_schedules();
    // ANCHOR_END: ScheduleUnused
    Fista::new(vars, ParamsFista::new(regularizer, loss))?;
    error
}

pub fn support_of_singular_values() -> Result<Error> {
    let weight = Var::from_tensor(&Tensor::ones((2, 2), DType::F32, &device())?)?;
    let model = Single { weight, rule: Rule::from(Penalty::l1(0.1).with_group(Grouping::Singular)) };
    let mut opt = ProxSgd::new(vec![model.weight.clone()], ParamsProxSgd::new(model.regularizer()?))?;
    refused(opt.regularizer_mut().freeze_support())
}
