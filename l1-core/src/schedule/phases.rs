//! The three phases of a training that ends without the penalty's pull: warm-up, penalize, freeze.

use std::fmt;

use super::Schedule;

/// Warm-up, in which the penalty is 0; a ramp, on which it rises; then it is charged in full, and at last the support is frozen. Each
/// may be left out.
///
/// The warm-up lets a network find its features before any is taken away; the last phase takes the penalty's pull from those that were
/// kept ([`freeze_support`](crate::Regularizer::freeze_support)).
///
/// ```
/// use l1_core::{Phase, Phases};
///
/// let phases = Phases::new().warm_up(100).ramp(50).penalize(300);
/// let at = [0, 100, 150, 449, 450].map(|step| phases.phase(step));
/// assert_eq!(at, [Phase::WarmUp, Phase::Ramp, Phase::Penalize, Phase::Penalize, Phase::Freeze]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    warm_up: u64,
    ramp: u64,
    penalize: Option<u64>,
}

/// Where a training is in its [`Phases`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// The penalty is 0.
    WarmUp,
    /// It rises.
    Ramp,
    /// It is charged in full.
    Penalize,
    /// It is off, and zeros stay zeros.
    Freeze,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::WarmUp => "warm-up",
            Self::Ramp => "ramp",
            Self::Penalize => "penalize",
            Self::Freeze => "freeze",
        })
    }
}

impl Phases {
    /// The penalty in full from the first step to the last.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// So many steps without penalty first.
    #[must_use]
    pub fn warm_up(self, steps: u64) -> Self {
        Self { warm_up: steps, ..self }
    }

    /// So many steps, after the warm-up, on which the penalty rises from 0 along a straight line.
    #[must_use]
    pub fn ramp(self, steps: u64) -> Self {
        Self { ramp: steps, ..self }
    }

    /// So many steps under the full penalty, after warm-up and ramp; then the support is frozen.
    #[must_use]
    pub fn penalize(self, steps: u64) -> Self {
        Self { penalize: Some(steps), ..self }
    }

    /// What a step (counted from 0) is taken in.
    #[must_use]
    pub fn phase(&self, step: u64) -> Phase {
        if self.freezes_at().is_some_and(|at| step >= at) {
            Phase::Freeze
        } else if step < self.warm_up {
            Phase::WarmUp
        } else if step < self.full_from() {
            Phase::Ramp
        } else {
            Phase::Penalize
        }
    }

    /// The first step under the full penalty.
    fn full_from(&self) -> u64 {
        self.warm_up.saturating_add(self.ramp)
    }

    /// The first step with a frozen support, if there is one.
    #[must_use]
    pub fn freezes_at(&self) -> Option<u64> {
        self.penalize.map(|steps| self.full_from().saturating_add(steps))
    }

    /// The factor of the penalty, up to freezing.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        let full = if self.ramp > 0 { Schedule::linear(0.0, 1.0, self.ramp) } else { Schedule::constant(1.0) };
        if self.warm_up > 0 { Schedule::constant(0.0).lasting(self.warm_up).then(full) } else { full }
    }
}
