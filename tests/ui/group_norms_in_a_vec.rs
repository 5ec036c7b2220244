use candle_nn::GroupNorm;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    norms: Vec<GroupNorm>,
}

fn main() {}
