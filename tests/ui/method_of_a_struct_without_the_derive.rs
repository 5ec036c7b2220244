use candle_nn::Linear;
use l1_core::{Regularized, Regularizer};

struct Net {
    fc1: Linear,
}

fn regularizer(net: &Net) -> l1_core::Result<Regularizer> {
    net.regularizer()
}

fn main() {}
