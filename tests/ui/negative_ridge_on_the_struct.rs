use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(lambda = 0.1, l2 = -(0.5))]
struct Net {
    fc1: Linear,
}

fn main() {}
