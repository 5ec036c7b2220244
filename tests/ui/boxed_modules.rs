use candle_nn::Module;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    layers: Vec<Box<dyn Module>>,
}

fn main() {}
