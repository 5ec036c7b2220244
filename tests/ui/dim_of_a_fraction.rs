use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(lambda = 0.1, group = dim(0.5))]
    fc1: Linear,
    #[l1(lambda = 0.1, group = dim(-1))]
    fc2: Linear,
}

fn main() {}
