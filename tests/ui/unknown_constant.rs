use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(scale = SCALE)]
    fc1: Linear,
}

fn main() {}
