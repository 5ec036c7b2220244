use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(lambda = 0.1)]
struct Net {
    #[l1(scale = visitor.scale() * defaults.scale)]
    fc1: Linear,
}

fn main() {}
