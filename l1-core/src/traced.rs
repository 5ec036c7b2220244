//! Layers that hide their tensors, made visible through the names of their variables.

use std::{
    collections::{BTreeMap, HashSet},
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{DType, Device, Module, Shape, Tensor, TensorId};
use candle_nn::{Init, VarBuilder, VarMap, var_builder::SimpleBackend};

use crate::{Error, Regularized, Result, Role, Visitor, roles_by_name};

/// A layer or model that keeps its tensors private (LSTM, GRU, GroupNorm, Sequential, candle-transformers' models), together
/// with the variables that it was built from.
///
/// It derefs to the layer, is a [`Module`] where the layer is, and is visited under the names of its variables relative to the
/// prefix. Their roles follow from name and rank:
///
/// | name | role |
/// |---|---|
/// | `running_mean`, `running_var`, … | buffer |
/// | `bias`, `b`, `bias_…`, `b_…`, `…_bias` | bias; norm beside a norm's scale |
/// | one dimension, `weight`, `gamma`, `beta`, `scale` | norm (so are the slopes of a PReLU) |
/// | two dimensions, in a path that holds `embed`, `wte` or `wpe` | embedding |
/// | two dimensions | weight, out × in |
/// | anything else | weight of unknown dimensions |
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{LSTM, LSTMConfig, RNN, VarBuilder, VarMap};
/// use l1_core::{Regularized, Rule, Traced, Visitor};
///
/// struct Model {
///     lstm: Traced<LSTM>, // #[l1(lambda = 0.01)]
/// }
///
/// impl Regularized for Model {
///     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
///         visitor.field("lstm", Rule::l1(0.01), &self.lstm)
///     }
/// }
///
/// let varmap = VarMap::new();
/// let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
/// let lstm = Traced::new(&varmap, vb.pp("lstm"), |vb| LSTM::new(3, 4, LSTMConfig::default(), vb))?;
/// let model = Model { lstm };
/// let regularizer = model.regularizer()?;
/// let penalized: Vec<_> = regularizer.penalized().map(|(param, _)| param.path().to_string()).collect();
/// assert_eq!(penalized, ["lstm.weight_hh_l0", "lstm.weight_ih_l0"]); // the biases are not
/// let states = model.lstm.seq(&Tensor::zeros((1, 5, 3), DType::F32, &Device::Cpu)?)?;
/// # assert_eq!(states.len(), 5);
/// # Ok::<(), l1_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Traced<T> {
    layer: T,
    /// Relative names in order, so that every run visits alike.
    variables: Vec<(String, Role, Tensor)>,
}

impl<T> Traced<T> {
    /// Builds a layer and remembers the tensors that it asks its builder for.
    ///
    /// * `varmap`: the map that `vb` was made from.
    /// * `build`: makes the layer from the builder it is given.
    ///
    /// # Errors
    /// What `build` returns; [`Error::NothingTraced`] when none of its tensors is a variable of `varmap`.
    pub fn new(
        varmap: &VarMap,
        vb: VarBuilder<'_>,
        build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<T>,
    ) -> Result<Self> {
        let prefix = vb.prefix();
        let asked: Asked = Asked::default();
        let recorder = Recorder { root: vb.root(), asked: asked.clone() };
        let recording = VarBuilder::from_backend(Box::new(recorder), vb.dtype(), vb.device().clone());
        let layer = build(if prefix.is_empty() { recording } else { recording.set_prefix(&prefix) })?;
        // A poisoned lock still holds what it guards: another thread's panic is not ours to repeat.
        let asked = std::mem::take(&mut *asked.lock().unwrap_or_else(PoisonError::into_inner));
        let in_map: HashSet<TensorId> = {
            let data = varmap.data().lock().unwrap_or_else(PoisonError::into_inner);
            data.values().map(|var| var.id()).collect()
        };
        if !asked.values().any(|tensor| in_map.contains(&tensor.id())) {
            return Err(Error::NothingTraced { prefix });
        }
        let variables = asked.into_iter().map(|(name, tensor)| (relative(name, &prefix), tensor));
        let mut variables: Vec<(String, Tensor)> = variables.collect();
        variables.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let roles = roles_by_name::roles(variables.iter().map(|(name, tensor)| (name.as_str(), tensor)));
        let variables = variables.into_iter().zip(roles).map(|((name, tensor), role)| (name, role, tensor));
        Ok(Self { layer, variables: variables.collect() })
    }

    /// The layer alone.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.layer
    }
}

/// The name below the prefix; whole if the layer went outside of it.
fn relative(name: String, prefix: &str) -> String {
    match name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')) {
        Some(relative) if !prefix.is_empty() => relative.to_owned(),
        _ => name,
    }
}

/// The tensors that a layer asked its builder for, by full name.
type Asked = Arc<Mutex<BTreeMap<String, Tensor>>>;

/// Passes a builder's tensors on and notes them.
struct Recorder<'a> {
    root: VarBuilder<'a>,
    asked: Asked,
}

impl Recorder<'_> {
    fn note(&self, name: &str, tensor: Tensor) -> Tensor {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(name.to_owned(), tensor.clone());
        tensor
    }
}

impl SimpleBackend for Recorder<'_> {
    fn get(&self, s: Shape, name: &str, h: Init, dtype: DType, dev: &Device) -> candle_core::Result<Tensor> {
        let root = self.root.clone().set_device(dev.clone());
        Ok(self.note(name, root.get_with_hints_dtype(s, name, h, dtype)?))
    }

    fn get_unchecked(&self, name: &str, dtype: DType, dev: &Device) -> candle_core::Result<Tensor> {
        let root = self.root.clone().set_device(dev.clone());
        Ok(self.note(name, root.get_unchecked_dtype(name, dtype)?))
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.root.contains_tensor(name)
    }
}

impl<T> Regularized for Traced<T> {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        self.variables.iter().try_for_each(|(name, role, tensor)| visitor.param(name, *role, tensor))
    }
}

impl<T: Module> Module for Traced<T> {
    fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        self.layer.forward(xs)
    }
}

impl<T> Deref for Traced<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.layer
    }
}

impl<T> DerefMut for Traced<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.layer
    }
}
