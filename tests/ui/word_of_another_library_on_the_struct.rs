use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(weight_decay = 0.1)]
struct Net {
    fc1: Linear,
}

fn main() {}
