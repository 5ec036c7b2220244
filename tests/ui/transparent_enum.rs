use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(transparent)]
enum Head {
    Linear(Linear),
}

fn main() {}
