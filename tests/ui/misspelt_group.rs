use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(lambda = 0.1, group = ouput)]
    fc1: Linear,
    #[l1(lambda = 0.1, group = singualr)]
    fc2: Linear,
}

fn main() {}
