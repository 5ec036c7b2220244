use candle_nn::LSTM;
use l1_core::Regularized;

#[derive(Regularized)]
#[l1(lambda = 0.1)]
struct Net {
    lstm: Option<LSTM>,
}

fn main() {}
