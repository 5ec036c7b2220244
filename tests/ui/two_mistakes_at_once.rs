use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(lamda = 0.1)]
struct Net {
    #[l1(l2 = -1, bais)]
    fc1: Linear,
    #[l1(skip, positive)]
    head: Linear,
}

fn main() {}
