use l1_core::Regularized;

#[derive(Regularized)]
struct Residual<#[l1(lambda = 0.1)] T> {
    inner: T,
}

fn main() {}
