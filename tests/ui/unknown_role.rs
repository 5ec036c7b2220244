use candle_core::Tensor;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(role = attention)]
    tokens: Tensor,
}

fn main() {}
