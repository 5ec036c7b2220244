use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(lambda = 0.1, group = output, element = 0.01)]
struct Net {
    fc1: Linear,
    #[l1(group = element)]
    fc2: Linear,
}

fn main() {}
