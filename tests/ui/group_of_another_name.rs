use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    #[l1(lambda = 0.1, group = rows)]
    fc1: Linear,
    #[l1(lambda = 0.1, group = column)]
    fc2: Linear,
    #[l1(lambda = 0.1, group = neuron)]
    fc3: Linear,
    #[l1(lambda = 0.1, group = filter)]
    fc4: Linear,
    #[l1(lambda = 0.1, group = l21)]
    fc5: Linear,
    #[l1(lambda = 0.1, group = nuclear)]
    fc6: Linear,
    #[l1(lambda = 0.1, group = rank)]
    fc7: Linear,
}

fn main() {}
