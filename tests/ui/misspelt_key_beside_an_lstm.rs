use candle_nn::{LSTM, Linear};
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(lamda = 0.1)]
    fc1: Linear,
    lstm: LSTM,
}

fn main() {}
