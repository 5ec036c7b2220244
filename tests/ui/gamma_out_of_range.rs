use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(lambda = 0.1, curve = mcp(1.0))]
    fc1: Linear,
    #[l1(lambda = 0.1, curve = scad(2))]
    fc2: Linear,
    #[l1(lambda = 0.1, curve = mcp(-3.0))]
    fc3: Linear,
}

fn main() {}
