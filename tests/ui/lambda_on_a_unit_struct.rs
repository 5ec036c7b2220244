use l1_core::Regularized;

#[derive(Regularized)]
#[l1(lambda = 0.1)]
struct Identity;

fn main() {}
