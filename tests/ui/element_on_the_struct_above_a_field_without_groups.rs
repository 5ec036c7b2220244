use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(lambda = 0.1, element = 0.01)]
struct Net {
    #[l1(group = output)]
    fc1: Linear,
    fc2: Linear,
}

fn main() {}
