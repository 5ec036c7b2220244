use candle_nn::LSTM;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(lambda = 0.1)]
    lstm: LSTM,
}

fn main() {}
