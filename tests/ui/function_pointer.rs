use candle_core::Tensor;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    activation: fn(&Tensor) -> candle_core::Result<Tensor>,
}

fn main() {}
