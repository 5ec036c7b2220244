use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(lambda = 0.1, element = 0.01)]
    fc1: Linear,
    #[l1(lambda = 0.1, element = 0.01, group = element)]
    fc2: Linear,
}

fn main() {}
