//! The duality gap: how far a model that is linear in its parameters can be from its minimum.

use std::fmt;

use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use crate::{
    Error, Param, ParamPath, Penalty, Regularizer, Result,
    error::readable,
    penalty::{Groups, Layout},
};

mod losses;

use losses::Targets;

/// The loss of a [`LinearProblem`], of scores η = xWᵀ + b: candle's, without the penalty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LinearLoss {
    /// `candle_nn::loss::mse`: the mean of (y − η)² over all examples and outputs.
    Squared,
    /// `candle_nn::loss::binary_cross_entropy_with_logit`: the mean of `ln(1 + e^η) − yη` over all examples and outputs, y in [0, 1].
    Logistic,
    /// `candle_nn::loss::cross_entropy`: the mean of `ln Σ_k e^η_k − η_y` over all examples.
    Multinomial,
}

/// A linear layer on fixed inputs, with its loss: `η = xWᵀ + b`, as candle's `Linear` has it.
///
/// It may be a whole model, or the last layer of one whose other layers are held where they are.
#[derive(Clone, Copy, Debug)]
pub struct LinearProblem<'a> {
    /// x: n × p, all examples of the training loss.
    pub inputs: &'a Tensor,
    /// n × k for [`LinearLoss::Squared`] and [`LinearLoss::Logistic`] (n will do for k = 1); n class numbers in U8, U32 or I64 for
    /// [`LinearLoss::Multinomial`].
    pub targets: &'a Tensor,
    /// W: k × p. The model's own tensor, as in `model.fc.weight()`, since its penalty is found by its identity.
    pub weight: &'a Tensor,
    /// b: k, if there is one, as in `model.fc.bias()`. Where it is a variable it is free, or penalized as the model declares; else it is
    /// a constant.
    pub bias: Option<&'a Tensor>,
    /// The loss.
    pub loss: LinearLoss,
}

/// How far from its minimum a [`LinearProblem`] can be: see [`Regularizer::duality_gap`].
///
/// ```text
/// suboptimality ≤ 3.1e-9 (relative 1.2e-9), loss + penalty 2.583
/// ```
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Gap {
    /// Loss + Ω at the weights; `∞` where a `positive` weight is negative.
    pub primal: f64,
    /// A value that loss + Ω is never below, whatever the weights.
    pub dual: f64,
    /// A bound on primal − minimum: primal − dual, and at least their rounding, an ulp of primal.
    pub gap: f64,
    /// gap/primal; 0 if both are 0.
    pub relative: f64,
    /// How much of the gap another unpenalized intercept alone would take away, the weights being as they are.
    pub of_intercept: f64,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { primal, dual: _, gap, relative, of_intercept } = self;
        write!(f, "suboptimality ≤ {gap:.1e} (relative {relative:.1e}), loss + penalty {}", readable(*primal))?;
        if *of_intercept > 0.5 * gap {
            write!(f, "; {of_intercept:.1e} of it is the intercept's")?;
        }
        Ok(())
    }
}

impl Regularizer {
    /// A bound on how far loss + Ω is above its minimum over W and b, for a model that is linear in them and a convex penalty:
    ///
    /// `gap = (1/n)·Σᵢ ℓᵢ(ηᵢ) + Ω(W) − D(u)`, `D(u) = −(1/n)·Σᵢ ℓᵢ*(−uᵢ)`, `u = s·θ`, `θᵢ = −∂ℓᵢ/∂ηᵢ`,
    ///
    /// n being the number of terms of the mean (examples; for squared and logistic loss examples times outputs).
    ///
    /// Without a ridge s ≤ 1 is the largest number with `‖S(s·x_gᵀθ/n, element)‖ ≤ c_g·λ` for every group; with one s is 1, and D loses
    /// `Σ_g (‖S(x_gᵀθ/n, element)‖ − c_g·λ)₊²/(2·l2)`. (S is soft-thresholding; with `positive` it is `(· − element)₊`.) Whatever the weights are,
    /// the minimum is not below D(u), and at the minimum the gap is 0. All is computed in f64 on the CPU.
    ///
    /// θ is taken at the best intercept for W (Newton's method), which D needs: a free intercept that is not there yet is counted in the
    /// gap, as [`Gap::of_intercept`]. Other parameters of the model are held where they are.
    ///
    /// Koh, Kim & Boyd, *An interior-point method for large-scale ℓ1-regularized logistic regression* (2007), §II; Ndiaye, Fercoq,
    /// Gramfort & Salmon, *Gap safe screening rules for sparsity enforcing penalties* (2017), §3.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_nn::{Linear, Module, Optimizer, VarBuilder, VarMap, linear, loss};
    /// use l1_core::{Fista, LinearLoss, LinearProblem, ParamsFista, Regularized, Rule, Visitor};
    ///
    /// struct Model {
    ///     fc: Linear,
    /// }
    /// # impl Regularized for Model {
    /// #     fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
    /// #         visitor.field("fc", Rule::l1(0.1), &self.fc)
    /// #     }
    /// # }
    ///
    /// let x = Tensor::new(&[[1f64, 3.0], [-1.0, 3.0], [0.0, -2.0], [2.0, 0.0]], &Device::Cpu)?;
    /// let y = Tensor::new(&[[7f64], [-13.0], [0.8], [4.0]], &Device::Cpu)?;
    /// let varmap = VarMap::new();
    /// let model = Model { fc: linear(2, 1, VarBuilder::from_varmap(&varmap, DType::F64, &Device::Cpu).pp("fc"))? };
    ///
    /// let regularizer = model.regularizer()?; // λ = 0.1 on fc.weight
    /// let problem = LinearProblem {
    ///     inputs: &x,
    ///     targets: &y,
    ///     weight: model.fc.weight(),
    ///     bias: model.fc.bias(),
    ///     loss: LinearLoss::Squared,
    /// };
    /// assert!(regularizer.duality_gap(&problem)?.relative > 0.1);
    ///
    /// let loss = || loss::mse(&model.fc.forward(&x)?, &y);
    /// let _ = Fista::new(varmap.all_vars(), ParamsFista::new(regularizer.clone(), loss))?.minimize(1e-12, 1000)?;
    /// let gap = regularizer.duality_gap(&problem)?;
    /// println!("{gap}");
    /// assert!(gap.relative < 1e-12);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoDualityGap`], with what was found: a curve other than `l1`, `group = singular`, a weight that no strength holds (neither
    /// λ nor `element` nor `l2`), tensors whose shapes do not fit, targets out of their range, numbers that are not finite,
    /// a frozen support.
    pub fn duality_gap(&self, problem: &LinearProblem<'_>) -> Result<Gap> {
        let weight = Block::of_weight(self, problem.weight)?;
        let (outputs, inputs) = (weight.dims[0], weight.dims[1]);
        let x = in_f64("inputs", problem.inputs)?;
        let &[rows, columns] = x.dims() else {
            return Err(refused("inputs", format!("shape {:?} is not n × p", x.dims())));
        };
        if columns != inputs || rows == 0 {
            let expected = format!("n × {inputs}, n > 0, beside a weight of {outputs} × {inputs}");
            return Err(refused("inputs", format!("shape {:?} (expected {expected})", x.dims())));
        }
        let targets = Targets::new(problem.loss, problem.targets, rows, outputs)?;
        let intercept = Intercept::new(self, problem.bias, outputs)?;

        let w = Tensor::new(&*weight.w, &Device::Cpu)?.reshape((outputs, inputs))?;
        let product = entries(&x.matmul(&w.t()?)?)?;
        let offsets = intercept.values(outputs);
        let scores: Vec<_> =
            product.chunks(outputs).flat_map(|row| row.iter().zip(&offsets).map(|(p, b)| p + b)).collect();

        let mut blocks = vec![weight];
        let mut constant = Vec::new();
        let (mut best, is_free) = (scores.clone(), matches!(intercept, Intercept::Free(_)));
        match intercept {
            Intercept::Free(_) => targets.fit_intercept(&mut best),
            Intercept::Constant(values) => constant = values,
            Intercept::Penalized(block) => blocks.push(block),
            Intercept::None => {}
        }
        let theta = targets.dual_point(&best, is_free);
        let correlation = Tensor::from_slice(&theta, (rows, outputs), &Device::Cpu)?.t()?.matmul(&x)?;
        blocks[0].correlation = entries(&correlation)?;
        if let Some(bias) = blocks.get_mut(1) {
            bias.correlation = column_sums(&theta, outputs);
        }
        for block in &mut blocks {
            block.correlation.iter_mut().for_each(|entry| *entry /= targets.terms());
        }

        let s = blocks.iter().fold(1.0, |s, block| block.largest_scale(s));
        let u: Vec<_> = theta.iter().map(|theta| s * theta).collect();
        // What a constant b adds to η is −u·b in the conjugate.
        let shift =
            column_sums(&u, outputs).iter().zip(&constant).map(|(sum, b)| sum * b).sum::<f64>() / targets.terms();
        let dual = targets.dual_value(&u, is_free) - shift - blocks.iter().map(|block| block.excess(s)).sum::<f64>();
        let loss = targets.value(&scores);
        let primal = loss + blocks.iter().map(Block::value).sum::<f64>();
        if primal.is_nan() || dual.is_nan() {
            return Err(refused(blocks[0].path.clone(), format!("loss + penalty is {primal}, and its bound {dual}")));
        }
        let gap = (primal - dual).max(f64::EPSILON * primal);
        let relative = if gap == 0.0 || gap == f64::INFINITY { gap } else { gap / primal };
        let of_intercept = if is_free { (loss - targets.value(&best)).max(0.0) } else { 0.0 };
        Ok(Gap { primal, dual, gap, relative, of_intercept })
    }
}

fn refused(path: impl Into<ParamPath>, why: String) -> Error {
    Error::NoDualityGap { path: path.into(), why }
}

/// With zeros that are held it is another problem.
fn refuse_frozen(param: &Param) -> Result<()> {
    if !param.support_is_frozen() {
        return Ok(());
    }
    let why =
        "its support is frozen, so that the minimum over all weights is not what is sought (`release_support` first)";
    Err(refused(param.path.clone(), why.to_owned()))
}

/// In f64 on the CPU, every entry finite.
fn in_f64(name: &str, tensor: &Tensor) -> Result<Tensor> {
    let tensor = tensor.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?.contiguous()?;
    match entries(&tensor)?.iter().position(|entry| !entry.is_finite()) {
        Some(index) => Err(refused(name, format!("it holds {} at flat index {index}", entries(&tensor)?[index]))),
        None => Ok(tensor),
    }
}

fn entries(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// Of a row-major matrix.
fn column_sums(matrix: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).map(|column| matrix.iter().skip(column).step_by(columns).sum()).collect()
}

/// A penalized tensor, and the gradient of the loss at it.
struct Block {
    path: ParamPath,
    penalty: Penalty,
    dims: Vec<usize>,
    /// Single entries are groups of one.
    groups: Groups,
    w: Vec<f64>,
    /// `Xᵀθ/n`, in the order of w: −∇f.
    correlation: Vec<f64>,
}

impl Block {
    fn of_weight(regularizer: &Regularizer, weight: &Tensor) -> Result<Self> {
        let Some(param) = regularizer.get(weight) else {
            let why = "it is no parameter of the model that this Regularizer was made from: pass the model's own tensor, as in \
                       `model.fc.weight()`";
            return Err(refused("weight", why.to_owned()));
        };
        if weight.rank() != 2 || weight.elem_count() == 0 {
            return Err(refused(param.path.clone(), format!("shape {:?} is not k × p", weight.dims())));
        }
        refuse_frozen(param)?;
        match regularizer.penalty_of(param) {
            Some(penalty) => Self::new(param.path.clone(), penalty, weight),
            None => Err(refused(param.path.clone(), format!("it is {}, and then no bound is known", param.decision))),
        }
    }

    fn new(path: ParamPath, penalty: Penalty, tensor: &Tensor) -> Result<Self> {
        if !penalty.is_convex() {
            let why = format!("curve = {} is not convex, and then no bound is known (expected l1)", penalty.curve());
            return Err(refused(path, why));
        }
        if penalty.lambda() + penalty.element() + penalty.l2() == 0.0 {
            let why = format!("`{penalty}` has neither lambda, element nor l2 above 0, and then no bound is known");
            return Err(refused(path, why));
        }
        let dims = tensor.dims().to_vec();
        let groups = match penalty.layout(&dims) {
            Ok(Layout::Elements) => Groups { slabs: 1, rows: 1, count: tensor.elem_count(), run: 1 },
            Ok(Layout::Groups(groups)) => groups,
            Ok(Layout::Singular { .. }) => {
                let why = "group = singular is not supported here (expected entries or groups of entries)".to_owned();
                return Err(refused(path, why));
            }
            Err(expected) => {
                return Err(Error::Grouping { path, group: penalty.group(), shape: tensor.shape().clone(), expected });
            }
        };
        let w = entries(&in_f64(path.as_str(), tensor)?)?;
        Ok(Self { path, penalty, dims, groups, w, correlation: Vec::new() })
    }

    /// Ω(w).
    fn value(&self) -> f64 {
        if self.penalty.positive() && self.w.iter().any(|w| *w < 0.0) {
            return f64::INFINITY;
        }
        let norms: f64 = (0..self.groups.number()).map(|group| self.norm(group, |at| self.w[at])).sum();
        let absolute: f64 = self.w.iter().map(|w| w.abs()).sum();
        let square: f64 = self.w.iter().map(|w| w * w).sum();
        self.group_strength() * norms + self.penalty.element() * absolute + 0.5 * self.penalty.l2() * square
    }

    /// c_g·λ.
    fn group_strength(&self) -> f64 {
        self.penalty.group_weight(self.groups.size()) * self.penalty.lambda()
    }

    fn norm(&self, group: usize, entry: impl Fn(usize) -> f64) -> f64 {
        let places = self.groups.runs(group).flat_map(|start| start..start + self.groups.run);
        places.map(|at| entry(at) * entry(at)).sum::<f64>().sqrt()
    }

    /// `‖S(s·correlation_g, element)‖`; it grows with s.
    fn pull(&self, group: usize, s: f64) -> f64 {
        let element = self.penalty.element();
        self.norm(group, |at| {
            let pull = s * self.correlation[at];
            let pull = if self.penalty.positive() { pull } else { pull.abs() };
            (pull - element).max(0.0)
        })
    }

    /// The largest scale up to s at which no group is pulled from 0. A ridge allows any.
    fn largest_scale(&self, s: f64) -> f64 {
        if self.penalty.l2() > 0.0 {
            return s;
        }
        let strength = self.group_strength();
        (0..self.groups.number()).fold(s, |s, group| {
            if self.pull(group, s) <= strength {
                return s;
            }
            if self.penalty.element() == 0.0 {
                return strength / self.pull(group, 1.0);
            }
            let (mut low, mut high) = (0.0, s);
            loop {
                let middle = 0.5 * (low + high);
                if middle <= low || middle >= high {
                    return low;
                }
                if self.pull(group, middle) <= strength { low = middle } else { high = middle }
            }
        })
    }

    /// What a ridge takes from D for the groups that are pulled from 0.
    fn excess(&self, s: f64) -> f64 {
        let l2 = self.penalty.l2();
        if l2 == 0.0 {
            return 0.0;
        }
        let strength = self.group_strength();
        let excess = |group| (self.pull(group, s) - strength).max(0.0);
        (0..self.groups.number()).map(|group| excess(group) * excess(group)).sum::<f64>() / (2.0 * l2)
    }
}

/// What b is to the problem.
enum Intercept {
    None,
    /// Not a variable.
    Constant(Vec<f64>),
    /// Trained, but not penalized.
    Free(Vec<f64>),
    /// A weight of an input that is always 1.
    Penalized(Block),
}

impl Intercept {
    fn new(regularizer: &Regularizer, bias: Option<&Tensor>, outputs: usize) -> Result<Self> {
        let Some(bias) = bias else { return Ok(Self::None) };
        let param = regularizer.get(bias);
        let path = param.map_or_else(|| "bias".into(), |param| param.path.clone());
        if bias.dims() != [outputs] {
            return Err(refused(path, format!("shape {:?} (expected {:?})", bias.dims(), [outputs])));
        }
        param.map_or(Ok(()), refuse_frozen)?;
        let penalty = param.and_then(|param| regularizer.penalty_of(param)).filter(|penalty| !penalty.is_none());
        if let Some(penalty) = penalty {
            return Ok(Self::Penalized(Block::new(path, penalty, bias)?));
        }
        let values = entries(&in_f64(path.as_str(), bias)?)?;
        Ok(if bias.is_variable() { Self::Free(values) } else { Self::Constant(values) })
    }

    fn values(&self, outputs: usize) -> Vec<f64> {
        match self {
            Self::None => vec![0.0; outputs],
            Self::Constant(values) | Self::Free(values) => values.clone(),
            Self::Penalized(block) => block.w.clone(),
        }
    }
}
