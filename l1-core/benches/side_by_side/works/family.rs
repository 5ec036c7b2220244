//! A step with each member of the penalty family, beside the step with l1 on single entries.

use std::{cell::RefCell, rc::Rc};

use candle_core::{Result, Var, backprop::GradStore};
use candle_nn::Optimizer;
use l1_core::{
    Curve, Grouping, ParamsProxAdamW, ParamsProxSgd, ProxAdamW, ProxSgd, Regularized, Regularizer, Rule, Visitor,
};

use super::{Group, LAMBDA, LR, Model};
use crate::{Against, Work, rounds::Contender};

/// 4.2 M parameters in 4 square matrices.
const SIZE: (usize, usize) = (4, 1 << 20);
const SIDE: usize = 1 << 10;

/// What is charged, and how.
const MEMBERS: [(&str, Rule); 8] = [
    ("mcp", Rule::l1(LAMBDA).curve(Curve::Mcp(3.0))),
    ("scad", Rule::l1(LAMBDA).curve(Curve::Scad(3.7))),
    ("log", Rule::l1(LAMBDA).curve(Curve::Log(0.01))),
    ("half", Rule::l1(LAMBDA).curve(Curve::Half)),
    ("two thirds", Rule::l1(LAMBDA).curve(Curve::TwoThirds)),
    ("l0", Rule::l1(LAMBDA).curve(Curve::L0)),
    ("l1 on rows", Rule::l1(LAMBDA).group(Grouping::Dim(0))),
    ("l1 on columns", Rule::l1(LAMBDA).group(Grouping::Dim(1))),
];

pub(crate) const ADAMW: Group = Group {
    keys: &[
        "adamw_mcp",
        "adamw_scad",
        "adamw_log",
        "adamw_half",
        "adamw_two_thirds",
        "adamw_l0",
        "adamw_rows",
        "adamw_columns",
    ],
    make: || beside_l1(ADAMW.keys, "AdamW", adamw),
};

pub(crate) const SGD: Group = Group {
    keys: &["sgd_mcp", "sgd_scad", "sgd_log", "sgd_half", "sgd_two_thirds", "sgd_l0", "sgd_rows", "sgd_columns"],
    make: || beside_l1(SGD.keys, "SGD with momentum", sgd),
};

type Step = Box<dyn FnMut() -> Result<()>>;

fn beside_l1(keys: &'static [&'static str], optimizer: &str, step: fn(Rule) -> Result<Step>) -> Result<Vec<Work>> {
    let of_l1 = Rc::new(RefCell::new(step(Rule::l1(LAMBDA))?));
    let work = |(key, (name, rule)): (&&'static str, (&str, Rule))| {
        let (step, of_l1) = (step(rule)?, of_l1.clone());
        Ok(Work {
            key,
            title: format!("{optimizer} + {name}").leak(),
            l1: Contender::new(step),
            candle: None,
            limit: Some(Contender::new(move || of_l1.borrow_mut()())),
            against: Against::Whole,
        })
    };
    keys.iter().zip(MEMBERS).map(work).collect()
}

struct Matrices(Vec<Var>, Rule);

impl Regularized for Matrices {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("layers", self.1, &self.0)
    }
}

fn adamw(rule: Rule) -> Result<Step> {
    step_of::<ProxAdamW>(rule, |regularizer| ParamsProxAdamW { lr: LR, ..ParamsProxAdamW::new(regularizer) })
}

fn sgd(rule: Rule) -> Result<Step> {
    step_of::<ProxSgd>(rule, |regularizer| ParamsProxSgd { lr: LR, momentum: 0.9, ..ParamsProxSgd::new(regularizer) })
}

fn step_of<O: Optimizer + 'static>(rule: Rule, params: impl Fn(Regularizer) -> O::Config) -> Result<Step> {
    let flat = Model::new(SIZE)?;
    let gradients = flat.gradients()?;
    let matrix = |var: &Var| Var::from_tensor(&var.as_detached_tensor().reshape((SIDE, SIDE))?);
    let model = Matrices(flat.0.iter().map(matrix).collect::<Result<_>>()?, rule);
    let mut opt = O::new(model.0.clone(), params(model.regularizer()?))?;
    let mut grads: GradStore = flat.store(&gradients)?;
    for (var, gradient) in model.0.iter().zip(&gradients) {
        grads.insert(var, gradient.reshape((SIDE, SIDE))?);
    }
    Ok(Box::new(move || opt.step(&grads)))
}
