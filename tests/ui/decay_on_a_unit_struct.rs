use l1_core::Regularized;

#[derive(Regularized)]
#[l1(decay = 0.01)]
struct Identity;

fn main() {}
