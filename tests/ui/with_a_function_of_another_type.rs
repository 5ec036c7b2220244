use candle_nn::{GRU, LSTM};
use l1_core::{Regularized, Result, Visitor};

fn visit_gru(_: &GRU, _: &mut Visitor<'_>) -> Result<()> {
    Ok(())
}

#[derive(Regularized)]
struct Net {
    #[l1(with = visit_gru)]
    lstm: LSTM,
}

fn main() {}
