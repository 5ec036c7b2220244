use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(skip = "a frozen backbone")]
struct Net {
    fc1: Linear,
}

fn main() {}
