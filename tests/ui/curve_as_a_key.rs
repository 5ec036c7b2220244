use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(mcp = 3.0)]
    fc1: Linear,
    #[l1(lasso = 0.1)]
    fc2: Linear,
}

fn main() {}
