use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(flatten, rename = "fc1")]
    fc: Linear,
}

fn main() {}
