use candle_nn::LSTM;
use l1_core::Regularizer;

fn regularizer(lstm: &LSTM) -> l1_core::Result<Regularizer> {
    Regularizer::new(lstm)
}

fn main() {}
