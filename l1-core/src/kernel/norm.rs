//! Which norm is measured.

/// The order p of a norm `(Σ|xᵢ|ᵖ)^(1/p)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// `Σ|xᵢ|`.
    L1,
    /// `√Σxᵢ²`.
    L2,
    /// `max|xᵢ|`.
    Inf,
    /// Any other p ≥ 1.
    P(f64),
}

impl Norm {
    /// p as a number.
    #[must_use]
    pub fn p(self) -> f64 {
        match self {
            Self::L1 => 1.0,
            Self::L2 => 2.0,
            Self::Inf => f64::INFINITY,
            Self::P(p) => p,
        }
    }

    /// The same norm by its own name where it has one.
    pub(crate) fn normalized(self) -> Self {
        match self.p() {
            1.0 => Self::L1,
            2.0 => Self::L2,
            f64::INFINITY => Self::Inf,
            p => Self::P(p),
        }
    }
}
