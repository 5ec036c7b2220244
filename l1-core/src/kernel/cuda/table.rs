//! What the kernels are told: the structures of `device/table.h` and `device/launch.h`, field by field.

#![allow(unsafe_code)]

use crate::{
    Penalty,
    kernel::{
        hold::Hold,
        proximal::{self, Approach},
        step::OptimizerStep,
    },
    penalty::{Curve, Groups, Layout},
};

/// Data that goes to the device as it lies in memory.
///
/// # Safety
/// A `#[repr(C)]` structure without padding, of numbers for which all bits are valid.
pub(super) unsafe trait Plain: Copy + Default {}

/// What stays from step to step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(super) struct Place {
    pub(super) w: u64,
    pub(super) copy: u64,
    pub(super) state: [u64; 3],
    pub(super) length: u64,
    pub(super) slabs: u64,
    pub(super) rows: u64,
    pub(super) count: u64,
    pub(super) run: u64,
}

/// What is new in each step.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Turn {
    pub(super) g: u64,
    pub(super) charge: u32,
    pub(super) hold: u32,
}

/// A penalty and the numbers of a step: one line for all tensors that share them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(super) struct Charge {
    lambda: f64,
    element: f64,
    l2: f64,
    parameter: f64,
    weight: f64,
    left: f64,
    threshold: f64,
    numbers: [f64; 8],
    curve: u32,
    optimizer: u32,
    flags: u32,
    padding: u32,
}

/// What one block of threads works on.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Job {
    pub(super) tensor: u32,
    pub(super) part: u32,
}

/// What every kernel is launched with.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Args {
    pub(super) places: u64,
    pub(super) turns: u64,
    pub(super) charges: u64,
    pub(super) jobs: u64,
    pub(super) input: u64,
    pub(super) other: u64,
    pub(super) output: u64,
    pub(super) count: u64,
    pub(super) mode: u32,
    pub(super) padding: u32,
}

/// What one pass over a tensor collects.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Sums {
    pub(super) abs: f64,
    pub(super) squares: f64,
    pub(super) least: f64,
    pub(super) zeros: f64,
    pub(super) charge: f64,
}

// SAFETY: each is `#[repr(C)]`, of numbers alone, whose sizes leave no gaps (the test below counts the bytes).
unsafe impl Plain for Place {}
// SAFETY: as above.
unsafe impl Plain for Turn {}
// SAFETY: as above.
unsafe impl Plain for Charge {}
// SAFETY: as above.
unsafe impl Plain for Job {}
// SAFETY: as above.
unsafe impl Plain for Sums {}
// SAFETY: a number.
unsafe impl Plain for u64 {}
// SAFETY: a number.
unsafe impl Plain for u8 {}

/// Which move precedes the prox: `Optimizer` of `move.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Optimizer {
    Sgd,
    Momentum,
    AdamW,
    AmsGrad,
    Ftrl,
    Stay,
    StayInMetric,
}

impl Optimizer {
    /// * `states`: how many tensors of state there are.
    pub(super) fn of(step: &OptimizerStep, states: usize) -> Option<Self> {
        match (step, states) {
            (OptimizerStep::Sgd(_), 0) => Some(Self::Sgd),
            (OptimizerStep::Sgd(_), _) => Some(Self::Momentum),
            (OptimizerStep::AdamW(_), 2) => Some(Self::AdamW),
            (OptimizerStep::AdamW(_), 3) => Some(Self::AmsGrad),
            (OptimizerStep::Ftrl(_), 2) => Some(Self::Ftrl),
            _ => None,
        }
    }

    /// The kernel's name, but for the dtype.
    pub(super) fn kernel(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::Momentum => "momentum",
            Self::AdamW => "adamw",
            Self::AmsGrad => "amsgrad",
            Self::Ftrl => "ftrl",
            Self::Stay => "stay",
            Self::StayInMetric => "stay_in_metric",
        }
    }
}

impl Place {
    pub(super) fn with_groups(self, groups: Option<Groups>) -> Self {
        let Some(groups) = groups else { return self };
        let (slabs, rows) = (groups.slabs as u64, groups.rows as u64);
        Self { slabs, rows, count: groups.count as u64, run: groups.run as u64, ..self }
    }
}

/// The bits of [`Charge::flags`].
mod flag {
    pub(super) const POSITIVE: u32 = 1;
    pub(super) const LINEARIZED: u32 = 2;
    pub(super) const LOOKAHEAD: u32 = 4;
    pub(super) const CURVED: u32 = 8;
}

impl Charge {
    /// A penalty on tensors where its groups lie as `layout` says.
    ///
    /// * `times`: how often its curve is charged.
    pub(super) fn new(penalty: &Penalty, layout: Layout, times: f64, approach: Approach) -> Self {
        let weight = match layout {
            Layout::Groups(groups) => penalty.group_weight(groups.size()),
            Layout::Elements | Layout::Singular { .. } => 1.0,
        };
        let curve = penalty.curve();
        let (index, parameter) = match curve {
            Curve::L1 => (0, 0.0),
            Curve::Mcp(gamma) => (1, gamma),
            Curve::Scad(gamma) => (2, gamma),
            Curve::Log(epsilon) => (3, epsilon),
            Curve::Half => (4, 0.0),
            Curve::TwoThirds => (5, 0.0),
            Curve::L0 => (6, 0.0),
        };
        let is_linearized = approach == Approach::Adaptive && curve.is_linearized();
        let is_curved = layout == Layout::Elements && !proximal::is_plain(penalty, layout);
        let flags =
            [(penalty.positive(), flag::POSITIVE), (is_linearized, flag::LINEARIZED), (is_curved, flag::CURVED)];
        Self {
            lambda: penalty.lambda(),
            element: penalty.element(),
            l2: penalty.l2(),
            parameter,
            weight: weight * times,
            curve: index,
            flags: flags.into_iter().map(|(is_set, flag)| if is_set { flag } else { 0 }).sum(),
            ..Self::default()
        }
    }

    /// The charge of a step with the optimizer's numbers.
    pub(super) fn of_step(step: &OptimizerStep, layout: Layout, optimizer: Optimizer, is_wide: bool) -> Self {
        let charge = Self::new(step.penalty(), layout, step.times(), Approach::Adaptive);
        let charge = Self { optimizer: optimizer as u32, ..charge };
        match step {
            OptimizerStep::Sgd(step) => {
                let lookahead = step.lookahead.unwrap_or(0.0);
                let numbers =
                    [step.lr, step.keep, step.prox_step, step.momentum, step.gradient_weight, lookahead, 0.0, 0.0];
                let flags = charge.flags | if step.lookahead.is_some() { flag::LOOKAHEAD } else { 0 };
                Self { numbers, flags, ..charge }.with_one_step(&step.penalty, step.prox_step, is_wide)
            }
            OptimizerStep::AdamW(step) => {
                let (m, v) = (step.m_correction, step.v_correction);
                let moments = [1.0 - step.beta1, step.beta2, 1.0 - step.beta2, m, v, step.lr, step.eps, step.keep];
                Self { numbers: moments, ..charge }
            }
            OptimizerStep::Ftrl(step) => {
                Self { numbers: [step.lr, step.beta, step.drift, 0.0, 0.0, 0.0, 0.0, 0.0], ..charge }
            }
        }
    }

    /// The charge of a prox alone: with one step, or with a step for each entry.
    pub(super) fn of_prox(penalty: &Penalty, layout: Layout, step: Option<f64>, is_wide: bool) -> Self {
        let charge = Self::new(penalty, layout, 1.0, Approach::Exact);
        match step {
            None => Self { optimizer: Optimizer::StayInMetric as u32, ..charge },
            Some(step) => {
                let numbers = [0.0, 1.0, step, 0.0, 0.0, 0.0, 0.0, 0.0];
                let charge = Self { optimizer: Optimizer::Stay as u32, numbers, ..charge };
                charge.with_one_step(penalty, step, is_wide)
            }
        }
    }

    /// The same on norms of groups: the curve is charged, whichever it is.
    pub(super) fn curved(self) -> Self {
        Self { flags: self.flags | flag::CURVED, ..self }
    }

    /// What the fold leaves of a step that is the same for all, and the curve's threshold for it: in f64 once for all, since some
    /// thresholds take logarithms and powers.
    fn with_one_step(self, penalty: &Penalty, step: f64, is_wide: bool) -> Self {
        let (left, threshold) = proximal::one_step(penalty, step, self.weight, is_wide);
        Self { left, threshold, ..self }
    }
}

impl From<Hold> for u32 {
    fn from(hold: Hold) -> Self {
        match hold {
            Hold::Nothing => 0,
            Hold::Zeros => 1,
            Hold::ZerosAnew => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_no_gaps() {
        assert_eq!(size_of::<Place>(), 10 * 8);
        assert_eq!(size_of::<Turn>(), 8 + 2 * 4);
        assert_eq!(size_of::<Charge>(), 15 * 8 + 4 * 4);
        assert_eq!(size_of::<Job>(), 2 * 4);
        assert_eq!(size_of::<Args>(), 8 * 8 + 2 * 4);
        assert_eq!(size_of::<Sums>(), 5 * 8);
    }
}
