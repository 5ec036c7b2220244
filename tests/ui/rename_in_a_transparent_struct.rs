use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(transparent)]
struct Wrapper {
    #[l1(rename = "inner")]
    fc: Linear,
}

fn main() {}
