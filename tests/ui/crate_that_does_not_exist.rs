use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(crate = penalties, lambda = 0.1)]
struct Net {
    fc1: Linear,
    #[l1(skip)]
    head: Linear,
}

fn main() {}
