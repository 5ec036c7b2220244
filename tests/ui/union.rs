use l1_core::Regularized;

#[derive(Regularized)]
union Either {
    small: f32,
    large: f64,
}

fn main() {}
