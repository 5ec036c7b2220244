use candle_nn::{GRU, Linear};
use l1_core::Regularized;

#[derive(Regularized)]
struct Net(Linear, GRU);

fn main() {}
