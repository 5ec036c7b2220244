use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(skip, lambda = 0.1)]
    head: Linear,
}

fn main() {}
