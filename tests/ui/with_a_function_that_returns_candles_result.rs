use candle_nn::LSTM;
use l1_core::{Regularized, Visitor};

fn visit_lstm(_: &LSTM, _: &mut Visitor<'_>) -> candle_core::Result<()> {
    Ok(())
}

#[derive(Regularized)]
struct Net {
    #[l1(with = visit_lstm)]
    lstm: LSTM,
}

fn main() {}
