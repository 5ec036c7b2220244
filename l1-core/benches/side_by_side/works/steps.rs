//! An optimizer's step with L1 to exact zeros, on given gradients.

use std::{cell::RefCell, hint::black_box, rc::Rc};

use candle_core::{Result, backprop::GradStore};
use candle_nn::{Optimizer, SGD};
use l1_core::{Guard, ParamsProxSgd, ProxSgd, Regularized};

use super::{Group, LARGE, LR, Model};
use crate::{Against, Work, limits::Arrays, rounds::Contender};

/// 16.8 M parameters in 16 tensors.
pub(crate) const LARGE_TENSORS: Group =
    Group { keys: &["adamw", "adamw_guard_before", "sgd_momentum", "sgd_momentum_guard_before"], make: large };

fn large() -> Result<Vec<Work>> {
    let arrays = Rc::new(RefCell::new(Arrays::new(LARGE.0, LARGE.1)));
    let bare = |reads_before: bool, run: fn(&mut Arrays)| {
        let arrays = arrays.clone();
        Some(Contender::new(move || {
            if reads_before {
                black_box(arrays.borrow().read_g());
            }
            run(&mut arrays.borrow_mut());
            Ok(())
        }))
    };
    Ok(vec![
        Work {
            key: "adamw",
            title: "AdamW + L1 to zeros",
            l1: prox_adamw(LARGE, Guard::InPass)?,
            candle: Some(adamw_with_abs(LARGE)?),
            against: Against::Limit,
            limit: bare(false, Arrays::update_w_and_two),
        },
        Work {
            key: "adamw_guard_before",
            title: "AdamW + L1 to zeros, Guard::Before",
            l1: prox_adamw(LARGE, Guard::Before)?,
            candle: None,
            against: Against::Limit,
            limit: bare(true, Arrays::update_w_and_two),
        },
        Work {
            key: "sgd_momentum",
            title: "SGD with momentum + L1 to zeros",
            l1: prox_sgd(LARGE, Guard::InPass)?,
            candle: Some(sgd_with_abs(LARGE)?),
            against: Against::Limit,
            limit: bare(false, Arrays::update_w_and_one),
        },
        Work {
            key: "sgd_momentum_guard_before",
            title: "SGD with momentum + L1 to zeros, Guard::Before",
            l1: prox_sgd(LARGE, Guard::Before)?,
            candle: None,
            against: Against::Limit,
            limit: bare(true, Arrays::update_w_and_one),
        },
    ])
}

/// Many small tensors.
pub(crate) const SMALL_TENSORS: Group = Group { keys: &["small_tensors", "medium_tensors"], make: small };

fn small() -> Result<Vec<Work>> {
    let work = |key, title, size| -> Result<Work> {
        let (l1, candle) = (prox_adamw(size, Guard::InPass)?, Some(adamw_with_abs(size)?));
        Ok(Work { key, title, l1, candle, limit: None, against: Against::Limit })
    };
    Ok(vec![
        work("small_tensors", "200 tensors of 1 k, AdamW + L1", (200, 1000))?,
        work("medium_tensors", "200 tensors of 20 k, AdamW + L1", (200, 20_000))?,
    ])
}

fn prox_adamw(size: (usize, usize), guard: Guard) -> Result<Contender> {
    let model = Model::new(size)?;
    step_of(model.prox_adamw(guard)?, &model)
}

fn prox_sgd(size: (usize, usize), guard: Guard) -> Result<Contender> {
    let model = Model::new(size)?;
    let params = ParamsProxSgd { lr: LR, momentum: 0.9, guard, ..ParamsProxSgd::new(model.regularizer()?) };
    step_of(ProxSgd::new(model.0.clone(), params)?, &model)
}

fn step_of(mut opt: impl Optimizer + 'static, model: &Model) -> Result<Contender> {
    let grads: GradStore = model.store(&model.gradients()?)?;
    Ok(Contender::new(move || opt.step(&grads)))
}

fn adamw_with_abs(size: (usize, usize)) -> Result<Contender> {
    Ok(Contender::new(Model::new(size)?.adamw_with_abs()?))
}

/// candle's SGD has no momentum.
fn sgd_with_abs(size: (usize, usize)) -> Result<Contender> {
    let model = Model::new(size)?;
    let mut opt = SGD::new(model.0.clone(), LR)?;
    Ok(Contender::new(move || opt.step(&model.abs()?.backward()?)))
}
