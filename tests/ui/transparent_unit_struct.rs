use l1_core::Regularized;

#[derive(Regularized)]
#[l1(transparent)]
struct Identity;

fn main() {}
