use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(lambda = self.strength)]
struct Net {
    fc1: Linear,
}

impl Net {
    fn strength(&self) -> f64 {
        0.1
    }
}

fn main() {}
