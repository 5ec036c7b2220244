use candle_nn::LSTM;
use l1_core::Regularized;

#[derive(Regularized)]
struct Residual<T> {
    inner: T,
}

#[derive(Regularized)]
struct Net {
    encoder: Residual<LSTM>,
}

fn main() {}
