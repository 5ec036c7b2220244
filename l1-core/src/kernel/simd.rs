//! The widest vector instructions that the machine has, chosen when the program runs: AVX-512, AVX2, NEON, or none.
//!
//! The formulas are plain loops; a copy of each is compiled for every instruction set. No copy fuses multiplications with
//! additions or reorders sums, so that all give the same bits.

use pulp::{Arch, NullaryFnOnce, WithSimd};

/// A loop over slices. What it calls for each number has to be inlined (`#[inline(always)]`, to be sure): else it is not vectorized.
pub(crate) trait Loop {
    type Output;

    fn run(self) -> Self::Output;
}

struct Vectorized<L>(L);

impl<L: Loop> NullaryFnOnce for Vectorized<L> {
    type Output = L::Output;

    #[inline(always)]
    fn call(self) -> Self::Output {
        self.0.run()
    }
}

/// Runs a loop in the copy for this machine.
pub(crate) fn run<L: Loop>(work: L) -> L::Output {
    // Behind a function of its own, so that each loop is compiled once for each instruction set.
    fn dispatch<Op: WithSimd>(op: Op) -> Op::Output {
        Arch::new().dispatch(op)
    }
    dispatch(Vectorized(work))
}
