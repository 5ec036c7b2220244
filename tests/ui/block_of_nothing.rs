use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(lambda = 0.1, group = block(0, 0))]
    fc1: Linear,
}

fn main() {}
