//! Many λ at once: λ_max, paths, cross-validation, stability selection.
//!
//! | file | what |
//! |---|---|
//! | `lambda_max.rs` | the smallest λ that empties a parameter, against its definition: fits on both sides of it |
//! | `grid.rs` | which scales a path goes through |
//! | `run.rs` | what a path records, restores and ends by |
//! | `beside.rs` | fields beside those that a path moves or empties |
//! | `linear.rs`, `linear_run.rs` | the path of one linear layer, as points and as a `PathRun` |
//! | `relaxed.rs` | a point fitted again on its support |
//! | `cross_validation.rs` | folds, scores and choices, against scikit-learn's on the same folds |
//! | `stability.rs` | selection on halves, against all halves of a few rows, and its bounds |
//! | `bad_input.rs` | what is refused, and what stays available then |

mod bad_input;
mod beside;
mod cross_validation;
mod grid;
mod lambda_max;
mod linear;
mod linear_run;
mod relaxed;
mod run;
mod stability;

use candle_core::{DType, Result, Tensor, Var};
use candle_nn::{Module, Optimizer, loss};
use l1_core::{Fista, Fit, ParamsFista, Path, PathRun, Regularized, Regularizer, Rule, Visitor};
use tests::device;

use crate::models::{Fixture, LinearModel, linear};

/// A linear model of one output under squares, λ = 1 on its weights.
struct Lasso {
    model: LinearModel,
    vars: Vec<Var>,
    rule: Rule,
    x: Tensor,
    y: Tensor,
}

impl Regularized for Lasso {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("fc", self.rule, &self.model.fc)
    }
}

impl Lasso {
    /// * `y`: n × 1.
    fn new(x: &Tensor, y: &Tensor, rule: Rule) -> Self {
        let zeros = |shape: &[usize]| Var::zeros(shape, x.dtype(), &device()).unwrap();
        let vars = vec![zeros(&[1, x.dim(1).unwrap()]), zeros(&[1])];
        let model = LinearModel { fc: linear(&vars[0], &vars[1]), lambda: 1.0, l2: 0.0 };
        Self { model, vars, rule, x: x.clone(), y: y.clone() }
    }

    /// The diabetes data, standardized.
    fn diabetes(rule: Rule) -> Self {
        let f = Fixture::load("sklearn.safetensors");
        Self::new(f.tensor("x"), &f.tensor("y").unsqueeze(1).unwrap(), rule)
    }

    fn loss(&self) -> Result<Tensor> {
        loss::mse(&self.model.forward(&self.x)?, &self.y)
    }

    fn solve(&self, regularizer: &Regularizer) -> l1_core::Result<()> {
        let params = ParamsFista { lr: 0.2, ..ParamsFista::new(regularizer.clone(), || self.loss()) };
        let solution = Fista::new(self.vars.clone(), params)?.minimize(1e-11, 20_000)?;
        assert!(solution.residual < 1e-8, "{solution}");
        Ok(())
    }

    fn run(&self, path: &Path) -> l1_core::Result<PathRun> {
        self.run_with(path, |_| Ok(()))
    }

    /// With something to do after each fit.
    fn run_with(
        &self,
        path: &Path,
        mut after: impl FnMut(&mut Fit<'_>) -> l1_core::Result<()>,
    ) -> l1_core::Result<PathRun> {
        path.run(
            &self.regularizer()?,
            &self.vars,
            || self.loss(),
            |fit| {
                self.solve(fit.regularizer())?;
                after(fit)
            },
        )
    }
}

fn matrix(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Tensor {
    let values: Vec<_> = (0..rows * columns).map(|i| value(i / columns, i % columns)).collect();
    Tensor::from_vec(values, (rows, columns), &device()).unwrap()
}

/// Numbers without a pattern in [−1, 1].
fn scatter(row: usize, column: usize) -> f64 {
    (12.9898 * row as f64 + 78.233 * column as f64 + 1.0).sin() * 43_758.547 % 1.0
}

/// Two layers of tanh, all its weights at the given size.
struct Network {
    fc1: candle_nn::Linear,
    fc2: candle_nn::Linear,
    vars: Vec<Var>,
    x: Tensor,
    y: Tensor,
}

impl Regularized for Network {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("fc1", Rule::l1(0.01), &self.fc1)?;
        visitor.field("fc2", Rule::l1(0.01), &self.fc2)
    }
}

impl Network {
    fn new(size: f64) -> Self {
        let var = |rows, columns| {
            Var::from_tensor(&matrix(rows, columns, |i, j| size * scatter(i + rows, j + columns))).unwrap()
        };
        let bias = |length| Var::zeros(length, DType::F64, &device()).unwrap();
        let vars = vec![var(4, 3), bias(4), var(1, 4), bias(1)];
        let x = matrix(30, 3, scatter);
        let y = matrix(30, 1, |i, _| scatter(i, 0) - 0.5 * scatter(i, 1).powi(2));
        Self { fc1: linear(&vars[0], &vars[1]), fc2: linear(&vars[2], &vars[3]), vars, x, y }
    }

    fn loss(&self) -> Result<Tensor> {
        loss::mse(&self.fc2.forward(&self.fc1.forward(&self.x)?.tanh()?)?, &self.y)
    }

    fn run(&self, path: &Path, iterations: usize) -> l1_core::Result<PathRun> {
        path.run(
            &self.regularizer()?,
            &self.vars,
            || self.loss(),
            |fit| {
                let params = ParamsFista::new(fit.regularizer().clone(), || self.loss());
                let _ = Fista::new(self.vars.clone(), params)?.minimize(1e-7, iterations)?;
                Ok(())
            },
        )
    }
}
