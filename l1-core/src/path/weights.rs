//! The weights of one variable at one point of a path, without its zeros where there are many.

use std::fmt;

use candle_core::{DType, Device, Tensor, TensorId, Var};

use crate::{ParamPath, Result};

/// Which variable a snapshot is of.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) id: TensorId,
    pub(crate) path: ParamPath,
    pub(crate) dims: Vec<usize>,
    pub(crate) dtype: DType,
}

/// All entries, or the places and values of those whose bits are not all 0.
#[derive(Clone)]
pub(crate) enum Snapshot {
    Dense(Values),
    Sparse { places: Vec<u32>, values: Values },
}

/// Half types are kept as F32, which holds each of them exactly.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, Self::Dense(values) | Self::Sparse { values, .. }) = match self {
            Self::Dense(_) => ("Dense", self),
            Self::Sparse { .. } => ("Sparse", self),
        };
        write!(f, "{kind}({} entries)", values.len())
    }
}

impl Head {
    pub(crate) fn new(var: &Var, path: ParamPath) -> Self {
        Self { id: var.id(), path, dims: var.dims().to_vec(), dtype: var.dtype() }
    }

    pub(crate) fn entries(&self) -> usize {
        self.dims.iter().product()
    }
}

impl Snapshot {
    pub(crate) fn of(var: &Var) -> Result<Self> {
        let flat = var.as_detached_tensor().flatten_all()?;
        Ok(match var.dtype() {
            DType::F64 => {
                let all = flat.to_vec1::<f64>()?;
                Self::keep(&all, |w| w.to_bits() != 0, 12, 8, Values::F64)
            }
            _ => {
                let all = flat.to_dtype(DType::F32)?.to_vec1::<f32>()?;
                Self::keep(&all, |w| w.to_bits() != 0, 8, 4, Values::F32)
            }
        })
    }

    /// In whichever form takes fewer bytes.
    fn keep<T: Copy>(
        all: &[T],
        is_kept: impl Fn(&T) -> bool,
        sparse: usize,
        dense: usize,
        values: impl Fn(Vec<T>) -> Values,
    ) -> Self {
        let kept = all.iter().filter(|w| is_kept(w)).count();
        if sparse * kept >= dense * all.len() || u32::try_from(all.len()).is_err() {
            return Self::Dense(values(all.to_vec()));
        }
        let nonzero = || all.iter().enumerate().filter(|(_, w)| is_kept(w));
        Self::Sparse {
            places: nonzero().map(|(place, _)| place as u32).collect(),
            values: values(nonzero().map(|(_, w)| *w).collect()),
        }
    }

    /// The entries as f64, in row-major order.
    pub(crate) fn wide(&self, entries: usize) -> Vec<f64> {
        let (places, values) = match self {
            Self::Dense(values) => return values.wide(),
            Self::Sparse { places, values } => (places, values.wide()),
        };
        let mut all = vec![0.0; entries];
        for (place, value) in places.iter().zip(values) {
            if let Some(entry) = all.get_mut(*place as usize) {
                *entry = value;
            }
        }
        all
    }

    /// Calls with the place and value of each entry that was kept.
    pub(crate) fn each(&self, mut work: impl FnMut(usize, f64)) {
        match self {
            Self::Dense(values) => values.wide().into_iter().enumerate().for_each(|(place, value)| work(place, value)),
            Self::Sparse { places, values } => {
                places.iter().zip(values.wide()).for_each(|(place, value)| work(*place as usize, value));
            }
        }
    }

    /// A tensor of the variable's shape and dtype on the CPU, with the same bits.
    pub(crate) fn tensor(&self, head: &Head) -> Result<Tensor> {
        let all = self.wide(head.entries());
        Ok(Tensor::from_vec(all, head.dims.as_slice(), &Device::Cpu)?.to_dtype(head.dtype)?)
    }
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    fn wide(&self) -> Vec<f64> {
        match self {
            Self::F32(values) => values.iter().map(|w| f64::from(*w)).collect(),
            Self::F64(values) => values.clone(),
        }
    }
}
