use candle_nn::Linear;
use l1_core::Regularized;

struct Block {
    fc: Linear,
}

#[derive(Regularized)]
struct Net {
    block: Block,
}

fn main() {}
