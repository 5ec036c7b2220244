//! What becomes of gradients that are not finite.

/// What a step of [`ProxSgd`](crate::ProxSgd), [`ProxAdamW`](crate::ProxAdamW) and [`FtrlProximal`](crate::FtrlProximal) does about
/// gradients with NaN or ±∞. Both ways it returns [`Error::NonFiniteGradient`](crate::Error::NonFiniteGradient).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guard {
    /// Reads all gradients first. If one is not finite, the step writes nothing at all: it can be skipped or repeated. On CUDA the host
    /// waits for the device once in each step to know it.
    #[default]
    Before,
    /// Looks at each gradient where it is used, which saves one read of all of them. A coordinate whose gradient is not finite
    /// keeps its weight (and its moments; `FtrlProximal` moves its sum z so that the weight stays), and all others are stepped. What
    /// is counted for a whole variable (steps, the weight of the gradients in a buffer) goes on, so that such a coordinate feels its
    /// penalty somewhat too strongly until its moments have caught up. A group or a spectrum is moved as a whole: under `group = ..` one
    /// such coordinate keeps its whole tensor (which is read once before).
    ///
    /// On CUDA a step waits for the one before at most: the error comes from the *next* step, which is taken all the same, or from
    /// [`check_last_step`](crate::ProxAdamW::check_last_step).
    InPass,
}
