use candle_nn::{Linear, Sequential};
use l1_core::Regularized;

#[derive(Regularized)]
enum Head {
    Linear(Linear),
    Layers(Sequential),
    Named { scale: f64, layers: Sequential },
}

fn main() {}
