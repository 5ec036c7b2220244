use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(group = whole, curve = log)]
struct Net {
    #[l1(group = output, unscaled)]
    fc1: Linear,
    #[l1(lambda = 0.1, curve = mcp(0.5), group = singular, positive)]
    fc2: Linear,
}

fn main() {}
