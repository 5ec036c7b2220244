use l1_core::Regularized;

#[derive(Regularized)]
#[l1(bound = "T = Linear")]
struct Residual<T> {
    inner: T,
}

fn main() {}
