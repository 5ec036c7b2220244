use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    fc1: Linear,
    #[l1(rename = "fc1")]
    fc2: Linear,
}

fn main() {}
