use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(lambda = 0.1, curve = mcp)]
    fc1: Linear,
    #[l1(lambda = 0.1, curve = scad())]
    fc2: Linear,
    #[l1(lambda = 0.1, curve = log)]
    fc3: Linear,
}

fn main() {}
