use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(skip = "a frozen head", opaque)]
    head: Linear,
}

fn main() {}
