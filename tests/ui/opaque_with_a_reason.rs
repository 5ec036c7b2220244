use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(opaque = "private tensors")]
    head: Linear,
}

fn main() {}
