use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Block<T> {
    #[l1(lamda = 0.1)]
    fc: T,
}

#[derive(Regularized)]
struct Net {
    block: Block<Linear>,
}

fn regularizer(net: &Net) -> l1_core::Result<l1_core::Regularizer> {
    net.regularizer()
}

fn main() {}
