use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(dacay = 0.01)]
struct Net {
    fc1: Linear,
}

fn main() {}
