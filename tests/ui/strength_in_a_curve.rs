use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(curve = l1(0.1))]
    fc1: Linear,
    #[l1(lambda = 0.1, curve = mcp(0.1, 3.0))]
    fc2: Linear,
}

fn main() {}
