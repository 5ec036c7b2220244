use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(opaque, with = visit_linear)]
    head: Linear,
}

fn main() {}
