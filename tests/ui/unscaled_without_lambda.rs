use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(unscaled)]
    fc1: Linear,
}

fn main() {}
