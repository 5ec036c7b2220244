use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(lambda = 0.1, positive)]
struct Net {
    fc1: Linear,
    #[l1(group = singular)]
    fc2: Linear,
}

fn main() {}
