//! Every step that the kernels know, for tests that ask the same of all of them.

use l1_core::{
    Penalty,
    kernel::{AdamWStep, FtrlStep, OptimizerStep, SgdStep},
};

/// A step of every kind, with as many tensors of state as it has.
pub fn kernels(penalty: Penalty) -> [(OptimizerStep, usize); 6] {
    let sgd =
        SgdStep { momentum: 0.9, gradient_weight: 0.5, lookahead: None, lr: 0.1, keep: 0.99, prox_step: 0.2, penalty };
    let adamw = AdamWStep {
        beta1: 0.9,
        beta2: 0.99,
        m_correction: 1.5,
        v_correction: 3.0,
        lr: 0.05,
        eps: 1e-3,
        keep: 0.99,
        penalty,
    };
    let ftrl = FtrlStep { lr: 0.5, beta: 0.3, drift: 0.25, penalty, times: 1.0 };
    [
        (OptimizerStep::Sgd(sgd), 0),
        (OptimizerStep::Sgd(sgd), 1),
        (OptimizerStep::Sgd(SgdStep { lookahead: Some(0.9), ..sgd }), 1),
        (OptimizerStep::AdamW(adamw), 2),
        (OptimizerStep::AdamW(adamw), 3),
        (OptimizerStep::Ftrl(ftrl), 2),
    ]
}
