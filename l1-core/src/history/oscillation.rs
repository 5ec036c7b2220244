//! Weights that hop around 0 and never reach it: what a penalty in the loss makes of those that ought to be 0.
//!
//! A subgradient step moves a weight by lr·λ whichever side of 0 it is on, so that it changes sides for ever. Told from weights that
//! cross 0 on their way (once), from a proximal optimizer's (they stop there), and from a training that diverges (there large weights
//! change their signs).

use serde::Serialize;

use crate::{ParamPath, error::readable};

/// Looks after which sign changes are counted.
const LOOKS: u32 = 20;
/// A weight hops that has changed its sign so often in that many looks.
const CHANGES: u8 = 3;
/// Such weights are small beside the largest that the field has had.
const SMALL: f64 = 0.1;
/// So large a share of a field's weights is no accident.
const SHARE: f64 = 0.05;

/// A field whose small weights hop around 0 and never reach it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Oscillation {
    /// The parameter.
    pub path: ParamPath,
    /// The recorded step at which it was certain.
    pub step: u64,
    /// How many of its weights hop.
    pub weights: usize,
    /// How many there are.
    pub entries: usize,
    /// The largest of the hopping ones, without its sign.
    pub largest: f64,
}

impl Oscillation {
    pub(super) fn new(path: ParamPath, step: u64, entries: usize, found: Found) -> Self {
        Self { path, step, weights: found.weights, entries, largest: found.largest }
    }

    pub(super) fn warn(&self) {
        let Self { path, step, weights, entries, largest } = self;
        tracing::warn!(parameter = %path, step, weights, entries, largest, "{self}");
    }
}

impl std::fmt::Display for Oscillation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, step, weights, entries, largest } = self;
        let largest = readable(format!("{largest:.2e}").parse().unwrap_or(*largest));
        write!(
            f,
            "{path}: {weights} of {entries} weights hop around 0 (up to {largest}) and never reach it, seen at step {step}. So they do \
             under a penalty in the loss: take a proximal optimizer (`ProxSgd`, `ProxAdamW`, `FtrlProximal`) and leave the penalty out of the \
             loss, and they become exactly 0"
        )
    }
}

/// What is remembered of a field's signs.
#[derive(Clone, Debug, Default)]
pub(super) struct Hops {
    /// Signs at the look that the next one is compared with.
    signs: Vec<i8>,
    /// Sign changes of each weight.
    changes: Vec<u8>,
    looks: u32,
    /// How often a weight became exactly 0 in these looks.
    reached: usize,
    /// Whether weights hopped in the looks before these.
    hopped: bool,
    /// The largest weight ever seen.
    largest: f64,
    said: bool,
}

/// Weights that hop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    weights: usize,
    largest: f64,
}

/// −1, 0 or 1; NaN has no sign, and is not 0.
pub(super) fn sign(w: f64) -> i8 {
    if w > 0.0 {
        1
    } else if w < 0.0 {
        -1
    } else if w == 0.0 {
        0
    } else {
        i8::MAX
    }
}

impl Hops {
    pub(super) fn new(said: bool) -> Self {
        Self { said, ..Self::default() }
    }

    /// The weights one step before a look: with those it is compared.
    pub(super) fn look_before(&mut self, w: &[f64]) {
        if !self.said {
            self.signs = w.iter().copied().map(sign).collect();
        }
    }

    /// Nothing is charged: begin anew when something is.
    pub(super) fn pause(&mut self) {
        *self = Self::new(self.said);
    }

    /// Compares the weights with those of the look before; what is found is said once.
    pub(super) fn look(&mut self, w: &[f64]) -> Option<Found> {
        if self.said {
            return None;
        }
        let signs: Vec<_> = w.iter().copied().map(sign).collect();
        if self.changes.len() != w.len() {
            self.changes = vec![0; w.len()];
        }
        for ((changes, before), now) in self.changes.iter_mut().zip(&self.signs).zip(&signs) {
            match (before, now) {
                (1, -1) | (-1, 1) => *changes = changes.saturating_add(1),
                (1 | -1, 0) => self.reached += 1,
                _ => {}
            }
        }
        self.signs = signs;
        self.largest = w.iter().map(|w| w.abs()).filter(|w| w.is_finite()).fold(self.largest, f64::max);
        self.looks += 1;
        if self.looks < LOOKS {
            return None;
        }
        let found = self.found(w);
        let twice = self.hopped && found.is_some();
        self.hopped = found.is_some();
        self.changes.fill(0);
        self.looks = 0;
        self.reached = 0;
        self.said = twice;
        found.filter(|_| twice)
    }

    fn found(&self, w: &[f64]) -> Option<Found> {
        let hops = |(w, changes): &(&f64, &u8)| **changes >= CHANGES && w.abs() <= SMALL * self.largest;
        let hopping = w.iter().zip(&self.changes).filter(hops);
        let (mut weights, mut largest) = (0, 0.0);
        for (w, _) in hopping {
            weights += 1;
            largest = f64::max(largest, w.abs());
        }
        // Where weights become 0, the optimizer is a proximal one. Their number says nothing: noise may wake as many as fall asleep.
        let many = weights > 0 && weights as f64 >= SHARE * w.len() as f64;
        (many && 10 * self.reached <= weights).then_some(Found { weights, largest })
    }
}
