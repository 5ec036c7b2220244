//! Models of a crate that knows `l1-core` as `penalties`: each of them says so with `#[l1(crate = penalties)]`.

use candle_core::Tensor;
use candle_nn::{LSTM, Linear};
use penalties::{Regularized, Result, Role, Traced, Visitor};

/// Two layers and what the macro has to name of the library besides: a role, a skipped field, a bound, a function.
#[derive(Regularized)]
#[l1(crate = penalties, lambda = 0.01)]
pub struct Net<T> {
    pub fc1: Linear,
    #[l1(bias)]
    pub fc2: T,
    #[l1(role = embedding)]
    pub tokens: Tensor,
    #[l1(with = visit_table)]
    pub table: Table,
    #[l1(skip = "a frozen head")]
    pub head: Linear,
    #[l1(skip)]
    pub names: Table,
    pub rnn: Option<Rnn>,
}

/// A path from the root of the crate will do as well.
#[derive(Regularized)]
#[l1(crate = ::penalties)]
pub enum Rnn {
    Lstm(Traced<LSTM>),
    Nothing,
}

/// Not `Regularized`.
pub struct Table(pub Tensor);

fn visit_table(table: &Table, visitor: &mut Visitor<'_>) -> Result<()> {
    visitor.param("weight", Role::WEIGHT, &table.0)
}

/// The library is re-exported here, as a crate that builds on it would do for its own users.
pub mod prelude {
    pub use penalties;
}

/// The path may lead through a re-export.
#[derive(Regularized)]
#[l1(crate = crate::prelude::penalties, transparent)]
pub struct Newtype(#[l1(lambda = 0.5)] pub Linear);

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use candle_nn::{LSTMConfig, VarBuilder, VarMap};

    use super::*;

    fn decisions(model: &impl Regularized) -> Vec<String> {
        let regularizer = model.regularizer().unwrap();
        regularizer.params().iter().map(|param| format!("{}: {}", param.path(), param.decision())).collect()
    }

    #[test]
    fn a_renamed_library_is_found_by_its_new_name() {
        // On the CPU: it is names that are asked after.
        let varmap = VarMap::new();
        let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
        let var = |shape: &[usize]| Var::ones(shape, DType::F32, &Device::Cpu).unwrap().into_inner();
        let lstm = Traced::new(&varmap, vb.pp("rnn"), |vb| LSTM::new(2, 3, LSTMConfig::default_no_bias(), vb)).unwrap();
        let net = Net {
            fc1: Linear::new(var(&[2, 3]), Some(var(&[2]))),
            fc2: Newtype(Linear::new(var(&[2, 3]), Some(var(&[2])))),
            tokens: var(&[5, 3]),
            table: Table(var(&[2, 3])),
            head: Linear::new(var(&[2, 3]), None),
            names: Table(var(&[2, 3])),
            rnn: Some(Rnn::Lstm(lstm)),
        };
        let expected = [
            "fc1.weight: penalized (lambda = 0.01)",
            "fc1.bias: not penalized (bias)",
            "fc2.weight: penalized (lambda = 0.5)",
            "fc2.bias: penalized (lambda = 0.5)",
            "tokens: penalized (lambda = 0.01)",
            "table.weight: penalized (lambda = 0.01)",
            "head.weight: not penalized (skipped: a frozen head)",
            "rnn.weight_hh_l0: penalized (lambda = 0.01)",
            "rnn.weight_ih_l0: penalized (lambda = 0.01)",
        ];
        assert_eq!(decisions(&net), expected);
    }
}
