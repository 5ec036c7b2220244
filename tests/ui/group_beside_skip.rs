use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(skip, group = output)]
    fc1: Linear,
    #[l1(opaque, group = output)]
    fc2: Linear,
}

fn main() {}
