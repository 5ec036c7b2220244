use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(curve = mcp(3.0))]
struct Net {
    #[l1(l2 = 0.1)]
    fc1: Linear,
    fc2: Linear,
}

fn main() {}
