use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(crate = "l1_core")]
struct Net {
    fc1: Linear,
}

fn main() {}
