use candle_nn::LSTM;
use l1_core::{Regularized, Result};

fn visit_lstm(_: &LSTM) -> Result<()> {
    Ok(())
}

#[derive(Regularized)]
struct Net {
    #[l1(with = visit_lstm)]
    lstm: LSTM,
}

fn main() {}
