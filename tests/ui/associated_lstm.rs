use candle_nn::LSTM;
use l1_core::{Regularized, Regularizer};

trait Architecture {
    type Encoder;
}

struct Recurrent;

impl Architecture for Recurrent {
    type Encoder = LSTM;
}

#[derive(Regularized)]
struct Net<A: Architecture> {
    encoder: A::Encoder,
}

fn regularizer(net: &Net<Recurrent>) -> l1_core::Result<Regularizer> {
    Regularizer::new(net)
}

fn main() {}
