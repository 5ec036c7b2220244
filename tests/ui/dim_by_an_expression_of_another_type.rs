use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(lambda = 0.1, group = dim(self.axis))]
    fc1: Linear,
    axis: i32,
}

fn main() {}
