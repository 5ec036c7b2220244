use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(lambda = 2.0 * strength)]
    fc1: Linear,
    strength: f64,
}

fn main() {}
