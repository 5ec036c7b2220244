use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
enum Head {
    Linear {
        #[l1(lambda = self.strength)]
        fc: Linear,
        strength: f64,
    },
}

fn main() {}
