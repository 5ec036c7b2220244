use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(lambda = 0.1, curve = lasso)]
    fc1: Linear,
    #[l1(lambda = 0.1, curve = hard)]
    fc2: Linear,
    #[l1(lambda = 0.1, curve = l21)]
    fc3: Linear,
    #[l1(lambda = 0.1, curve = nuclear)]
    fc4: Linear,
    #[l1(lambda = 0.1, curve = elastic_net)]
    fc5: Linear,
}

fn main() {}
