use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(lambda = 0.1, group = output)]
struct Net {
    #[l1(skip)]
    fc1: Linear,
}

fn main() {}
