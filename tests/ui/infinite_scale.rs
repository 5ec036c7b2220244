use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(scale = 1e400)]
    fc1: Linear,
}

fn main() {}
