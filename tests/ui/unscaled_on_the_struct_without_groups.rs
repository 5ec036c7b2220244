use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(lambda = 0.1, unscaled)]
struct Net {
    fc1: Linear,
    fc2: Linear,
}

fn main() {}
