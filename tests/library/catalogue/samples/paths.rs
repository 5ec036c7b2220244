//! Many λ at once: grids, paths that fail in the middle, folds, halves.

use anyhow::Result;
use candle_core::{Tensor, Var};
use candle_nn::Optimizer;
use l1_core::{
    CrossValidation, Error, ErrorBound, Fista, Fit, ParamsFista, Path, PathRun, Regularized, Rule, StabilitySelection,
};
use tests::device;

use super::refused;
use crate::models::Single;

/// ‖w − t‖², which a path of its own goes through.
struct Problem {
    model: Single,
    vars: Vec<Var>,
    target: Tensor,
}

impl Problem {
    fn new() -> Result<Self> {
        let model = Single::new(&[1.0, 1.0, 1.0], candle_core::DType::F64, Rule::l1(1.0));
        let target = Tensor::new(&[4f64, -2.0, 1.0], &device())?;
        Ok(Self { vars: vec![model.weight.clone()], model, target })
    }

    fn loss(&self) -> candle_core::Result<Tensor> {
        self.model.weight.sub(&self.target)?.sqr()?.sum_all()
    }

    fn fit(&self, fit: &mut Fit<'_>) -> l1_core::Result<()> {
        let mut opt = Fista::new(self.vars.clone(), ParamsFista::new(fit.regularizer().clone(), || self.loss()))?;
        let _ = opt.minimize(1e-10, 1000)?;
        fit.held_out(self.loss()?.to_scalar()?);
        Ok(())
    }

    fn run(&self, path: &Path) -> l1_core::Result<PathRun> {
        path.run(&self.model.regularizer()?, &self.vars, || self.loss(), |fit| self.fit(fit))
    }
}

/// The error behind the path's.
fn source(error: Error) -> Error {
    match error {
        Error::Path { source, .. } => *source,
        other => other,
    }
}

pub fn invalid_grid() -> Result<Error> {
    let problem = Problem::new()?;
    let error = refused(problem.run(&Path::grid([3.0, 1.0, 2.0])));

    // ANCHOR: InvalidGrid
    let path = Path::grid([3.0, 2.0, 1.0]); // or upwards
    // ANCHOR_END: InvalidGrid
    problem.run(&path)?;
    error
}

pub fn invalid_path() -> Result<Error> {
    refused(Problem::new()?.run(&Path::descending(100, 2.0)))
}

pub fn no_descent() -> Result<Error> {
    let mut problem = Problem::new()?;
    problem.target = problem.target.zeros_like()?;
    let error = refused(problem.run(&Path::descending(10, 0.1))).map(source);

    // ANCHOR: NoDescent
    let path = Path::ascending(0.001, 1.1);
    // ANCHOR_END: NoDescent
    problem.run(&path)?;
    error
}

pub fn never_empty() -> Result<Error> {
    refused(Problem::new()?.run(&Path::ascending(1e-3, 1.001))).map(source)
}

pub fn non_finite_point() -> Result<Error> {
    let problem = Problem::new()?;
    let loss = || problem.loss()? * f64::NAN;
    refused(Path::grid([1.0]).run(&problem.model.regularizer()?, &problem.vars, loss, |_| Ok(()))).map(source)
}

pub fn path() -> Result<Error> {
    let problem = Problem::new()?;
    let (path, regularizer) = (Path::grid([3.0, 2.0, 1.0]), problem.model.regularizer()?);
    let run = || {
        path.run(
            &regularizer,
            &problem.vars,
            || problem.loss(),
            |fit| {
                problem.fit(fit)?;
                if fit.index() == 2 { Err(candle_core::Error::Msg("out of memory".to_owned()).into()) } else { Ok(()) }
            },
        )
    };
    let error = refused(run());
    let run = run();

    // ANCHOR: Path
    let run = match run {
        Err(Error::Path { so_far, source, .. }) => {
            eprintln!("only a part of the path: {source}");
            *so_far
        }
        run => run?,
    };
    println!("{run}");
    // ANCHOR_END: Path
    error
}

pub fn no_such_point() -> Result<Error> {
    let problem = Problem::new()?;
    let run = problem.run(&Path::grid([3.0, 2.0]))?;
    refused(run.restore(2, &problem.vars))
}

pub fn invalid_folds() -> Result<Error> {
    let labels = [0, 0, 0, 0, 1];
    let error = refused(CrossValidation::new(5).stratified(&labels).folds(5));

    // ANCHOR: InvalidFolds
    let labels = [0, 0, 0, 0, 1, 1]; // two rows of class 1
    CrossValidation::new(3).stratified(&labels).folds(6)?;
    // ANCHOR_END: InvalidFolds
    error
}

pub fn in_fold() -> Result<Error> {
    let run = CrossValidation::new(3).threads(1).run(6, |fold| {
        let problem = Problem::new().map_err(candle_core::Error::wrap)?;
        problem.run(&if fold.index() == 1 { Path::grid([]) } else { Path::grid([1.0]) })
    });
    refused(run)
}

pub fn invalid_stability() -> Result<Error> {
    refused(StabilitySelection::pairs(10).threshold(0.5).run(20, 3, |_| Ok(vec![vec![0]])))
}

pub fn in_subsample() -> Result<Error> {
    let x = Tensor::zeros((19, 3), candle_core::DType::F32, &device())?;
    refused(StabilitySelection::pairs(10).run(20, 3, |half| half.select(&x).map(|_| vec![vec![0]])))
}

pub fn no_bound() -> Result<Error> {
    let stable = StabilitySelection::subsamples(20).run(20, 3, |_| Ok(vec![vec![0]]))?;
    let error = refused(stable.expected_false(ErrorBound::WorstCase { theta: None }));

    // ANCHOR: NoBound
    let stable = StabilitySelection::pairs(10).run(20, 3, |_| Ok(vec![vec![0]]))?;
    stable.expected_false(ErrorBound::WorstCase { theta: None })?;
    // ANCHOR_END: NoBound
    error
}
