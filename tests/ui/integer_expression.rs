use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(l2 = self.layers)]
struct Net {
    fc1: Linear,
    layers: usize,
}

fn main() {}
