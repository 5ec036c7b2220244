use candle_nn::{Linear, kv_cache::KvCache};
use l1_core::Regularized;

#[derive(Regularized)]
struct Attention {
    query: Linear,
    cache: KvCache,
}

fn main() {}
