//! What is declared at one place of a model.

use crate::{Curve, Grouping, Penalty, RoleName};

/// What one field, or a struct for all its fields, declares. `#[derive(Regularized)]` writes these; so does a visit by hand.
///
/// * The penalty's keys merge within one struct: what the field says replaces what its struct says, key by key.
/// * Across types the nearest penalty replaces the whole penalty; `decay`, `bias` and `norm` are inherited each for itself.
/// * `scale` multiplies the penalty along the whole path.
///
/// ```
/// use l1_core::Rule;
///
/// let defaults = Rule::l1(0.01).bias(true).as_default();       // #[l1(lambda = 0.01, bias)] on the struct
/// let field = defaults.l2(0.1);                                // #[l1(l2 = 0.1)] on a field: λ stays 0.01
/// assert_eq!(field, Rule::l1(0.01).bias(true).l2(0.1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Rule {
    pub(crate) penalty: Option<Penalty>,
    /// Said on the field itself, so that reaching no parameter is an error.
    pub(crate) penalty_on_field: bool,
    pub(crate) decay: Option<f64>,
    /// As `penalty_on_field`.
    pub(crate) decay_on_field: bool,
    pub(crate) bias: Option<bool>,
    pub(crate) norm: Option<bool>,
    pub(crate) scale: f64,
    pub(crate) role: Option<RoleName>,
}

impl Rule {
    /// Says nothing: whatever was declared above holds.
    pub const fn inherit() -> Self {
        Self {
            penalty: None,
            penalty_on_field: false,
            decay: None,
            decay_on_field: false,
            bias: None,
            norm: None,
            scale: 1.0,
            role: None,
        }
    }

    /// `λ·‖w‖₁`; short for `Rule::inherit().lambda(lambda)`.
    pub const fn l1(lambda: f64) -> Self {
        Self::inherit().lambda(lambda)
    }

    /// A whole penalty, in place of what the rule said so far.
    pub const fn penalty(self, penalty: Penalty) -> Self {
        Self { penalty: Some(penalty), penalty_on_field: true, ..self }
    }

    const fn penalty_so_far(&self) -> Penalty {
        match self.penalty {
            Some(penalty) => penalty,
            None => Penalty::NONE,
        }
    }

    /// The strength λ of the charge on entries or groups: finite and ≥ 0, checked when visited.
    pub const fn lambda(self, lambda: f64) -> Self {
        let penalty = self.penalty_so_far().with_lambda(lambda);
        self.penalty(penalty)
    }

    /// How the charge grows with the size of an entry or the norm of a group; its number is checked when visited.
    pub const fn curve(self, curve: Curve) -> Self {
        let penalty = self.penalty_so_far().with_curve(curve);
        self.penalty(penalty)
    }

    /// Which entries are charged together; whether the tensor has such groups is checked when visited.
    pub const fn group(self, group: Grouping) -> Self {
        let penalty = self.penalty_so_far().with_group(group);
        self.penalty(penalty)
    }

    /// Charges every group with weight 1 instead of √size, or no longer.
    pub const fn unscaled(self, unscaled: bool) -> Self {
        let penalty = self.penalty_so_far().with_unscaled(unscaled);
        self.penalty(penalty)
    }

    /// The strength of `element·‖w‖₁` under the groups (sparse group lasso): finite and ≥ 0, checked when visited.
    pub const fn element(self, element: f64) -> Self {
        let penalty = self.penalty_so_far().with_element(element);
        self.penalty(penalty)
    }

    /// The ridge coefficient of `½·l2·‖w‖²`: finite and ≥ 0, checked when visited.
    pub const fn l2(self, l2: f64) -> Self {
        let penalty = self.penalty_so_far().with_l2(l2);
        self.penalty(penalty)
    }

    /// Demands `w ≥ 0`, or no longer.
    pub const fn positive(self, positive: bool) -> Self {
        let penalty = self.penalty_so_far().with_positive(positive);
        self.penalty(penalty)
    }

    /// Decoupled weight decay, `w ← (1 − lr·decay)·w` at every step (Loshchilov & Hutter 2019): finite and ≥ 0, checked when
    /// visited.
    ///
    /// It reaches what a penalty reaches, needs none, and no `scale` multiplies it. It is no part of the penalty:
    /// [`ProxSgd`](crate::ProxSgd) and [`ProxAdamW`](crate::ProxAdamW) apply it, in place of their own `weight_decay`; the other
    /// optimizers refuse it. 0 takes both that `weight_decay` and an inherited decay away.
    pub const fn decay(self, decay: f64) -> Self {
        Self { decay: Some(decay), decay_on_field: true, ..self }
    }

    /// Penalizes and decays biases too, or no longer.
    pub const fn bias(self, bias: bool) -> Self {
        Self { bias: Some(bias), ..self }
    }

    /// Penalizes and decays the parameters of normalization layers too, or no longer.
    pub const fn norm(self, norm: bool) -> Self {
        Self { norm: Some(norm), ..self }
    }

    /// Multiplies λ, element and l2 of everything below: finite and ≥ 0, checked when visited.
    pub const fn scale(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// Says what the bare tensors of this field are for.
    pub const fn role(self, role: RoleName) -> Self {
        Self { role: Some(role), ..self }
    }

    /// Marks what was said so far as said on the struct: as a default it may pass over fields where it reaches nothing.
    pub const fn as_default(self) -> Self {
        Self { penalty_on_field: false, decay_on_field: false, ..self }
    }
}

impl From<Penalty> for Rule {
    fn from(penalty: Penalty) -> Self {
        Self::inherit().penalty(penalty)
    }
}

impl Default for Rule {
    fn default() -> Self {
        Self::inherit()
    }
}
