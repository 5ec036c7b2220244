//! Models of candle-transformers, which hide their tensors: is every variable accounted for, once through `Traced` and once by rules
//! for names alone? Which of them train, and does anybody notice if not?

mod bert;
mod gemma;
mod modern_bert;
mod refusal;
mod start;
mod table;

fn main() -> anyhow::Result<()> {
    bert::show()?;
    gemma::show()?;
    modern_bert::show()
}

/// Strength of the penalty on every weight.
const LAMBDA: f64 = 3e-4;
