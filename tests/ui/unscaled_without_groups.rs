use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(lambda = 0.1, unscaled)]
    fc1: Linear,
    #[l1(lambda = 0.1, group = element, unscaled)]
    fc2: Linear,
}

fn main() {}
