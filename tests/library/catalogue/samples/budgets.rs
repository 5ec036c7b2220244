//! Budgets: what no model can keep, what no scale reaches, and notes of something else.

use anyhow::Result;
use candle_core::{DType, Tensor, Var};
use candle_nn::Optimizer;
use l1_core::{
    Budget, BudgetReached, Checkpoint, Error, Fista, ParamsFista, ParamsOnline, ParamsProxSgd, ProxSgd, Regularized,
    Rule,
};
use tests::device;

use super::{Net, refused};
use crate::models::Single;

/// ½‖w − t‖² with t = (4, −2, 2): two of the weights become 0 at the same λ.
fn search(budget: &Budget) -> l1_core::Result<(BudgetReached, Vec<Var>)> {
    let model = Single::new(&[1.0, 1.0, 1.0], DType::F64, Rule::l1(1.0));
    let target = Tensor::new(&[4f64, -2.0, 2.0], &device())?;
    let (vars, regularizer) = (vec![model.weight.clone()], model.regularizer()?);
    let loss = || model.weight.sub(&target)?.sqr()?.sum_all()? * 0.5;
    let reached = budget.search(&regularizer, &vars, loss, |fit| {
        let mut opt = Fista::new(vars.clone(), ParamsFista::new(fit.regularizer().clone(), loss))?;
        let _solution = opt.minimize(1e-10, 1000)?;
        Ok(())
    });
    Ok((reached?, vars))
}

pub fn invalid_budget() -> Result<Error> {
    let error = refused(search(&Budget::zeros(60.0)));

    // ANCHOR: InvalidBudget
    let budget = Budget::zeros(0.6);
    // ANCHOR_END: InvalidBudget
    search(&budget.within(0.1))?;
    error
}

pub fn budget_unreached() -> Result<Error> {
    let error = refused(search(&Budget::nonzeros(2).from_empty()));

    // ANCHOR: BudgetUnreached
    let budget = Budget::nonzeros(2).within(1.0); // 1 to 3
    // ANCHOR_END: BudgetUnreached
    search(&budget)?;
    error
}

pub fn invalid_note() -> Result<Error> {
    let varmap = candle_nn::VarMap::new();
    let net = Net::new(&varmap)?;
    let mut opt = ProxSgd::new(varmap.all_vars(), ParamsProxSgd::new(net.regularizer()?))?;
    let (budget, params) = (Budget::zeros(0.5), ParamsOnline::new(100));
    let error = refused(budget.resume(params, "epoch 7", opt.regularizer_mut()));

    let controller = budget.online(params)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("run.safetensors");
    // ANCHOR: InvalidNote
    Checkpoint::save_with_note(&path, &opt, &varmap, &controller.to_note())?;
    let checkpoint = Checkpoint::load(&path, &mut opt, &varmap)?;
    let controller = budget.resume(params, checkpoint.note(), opt.regularizer_mut())?;
    // ANCHOR_END: InvalidNote
    drop(controller);
    error
}
