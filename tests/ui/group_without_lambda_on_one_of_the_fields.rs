use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(group = output)]
struct Net {
    #[l1(lambda = 0.1)]
    fc1: Linear,
    #[l1(group = input)]
    fc2: Linear,
}

fn main() {}
