use std::{collections::HashMap, path::PathBuf};

use candle_nn::Linear;
use l1_core::Regularized;

#[derive(Regularized)]
struct Net {
    heads: HashMap<PathBuf, Linear>,
}

fn main() {}
