use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(with = visit_linear, role = embedding)]
    head: Linear,
}

fn main() {}
