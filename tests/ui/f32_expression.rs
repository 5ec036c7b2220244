use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(lambda = self.strength)]
    fc1: Linear,
    strength: f32,
}

fn main() {}
