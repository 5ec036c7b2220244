use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(lambda = 0.1)]
struct Net {
    #[l1(skip)]
    fc1: Linear,
    #[l1(opaque)]
    fc2: Linear,
}

fn main() {}
