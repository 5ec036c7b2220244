use candle_nn::LSTM;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(with = |lstm, visitor| Ok(()))]
    lstm: LSTM,
}

fn main() {}
