use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
enum Head {
    #[l1(lambda = 0.1)]
    Linear(Linear),
}

fn main() {}
