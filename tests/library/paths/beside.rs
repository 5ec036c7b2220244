//! Fields beside those that a path moves or empties: a ridge alone, a sign constraint alone, another field's λ.

use candle_core::{Tensor, Var};
use candle_nn::Optimizer;
use l1_core::{Ended, Error, Fista, Fit, ParamsFista, Path, PathRun, Regularized, Rule, Visitor};
use tests::device;

use crate::models::{assert_close, flat};

/// ½‖y − x₁w₁ − x₂w₂‖², y = (1, 1).
struct Pair {
    vars: [Var; 2],
    rules: [Rule; 2],
    columns: [[f64; 2]; 2],
}

impl Regularized for Pair {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("first", self.rules[0], &self.vars[0])?;
        visitor.field("second", self.rules[1], &self.vars[1])
    }
}

impl Pair {
    fn new(rules: [Rule; 2], columns: [[f64; 2]; 2]) -> Self {
        let var = || Var::new(&[0.5f64], &device()).unwrap();
        Self { vars: [var(), var()], rules, columns }
    }

    fn loss(&self) -> candle_core::Result<Tensor> {
        let column = |at: usize| Tensor::new(&self.columns[at], &device())?.broadcast_mul(&self.vars[at]);
        let y = Tensor::new(&[1f64, 1.0], &device())?;
        y.sub(&column(0)?)?.sub(&column(1)?)?.sqr()?.sum_all()? * 0.5
    }

    fn solve(&self, fit: &Fit<'_>) -> l1_core::Result<()> {
        let params = ParamsFista::new(fit.regularizer().clone(), || self.loss());
        let _ = Fista::new(self.vars.to_vec(), params)?.minimize(1e-12, 5000)?;
        Ok(())
    }

    fn run(&self, path: &Path) -> l1_core::Result<PathRun> {
        path.run(&self.regularizer()?, &self.vars, || self.loss(), |fit| self.solve(fit))
    }
}

#[test]
fn an_ascending_path_is_empty_when_the_field_that_it_moves_is() {
    let columns = [[1.0, 0.0], [0.0, 1.0]];
    let beside = [Rule::l1(0.01), Rule::inherit().l2(1.0), Rule::inherit().positive(true)];
    for (beside, moved) in beside.into_iter().zip([Some("first"), None, None]) {
        let pair = Pair::new([Rule::l1(1.0), beside], columns);
        let path = Path::ascending(0.1, 2.0).max_points(20);
        let run = pair.run(&if let Some(field) = moved { path.of(field) } else { path }).unwrap();
        assert_eq!(run.ended, Ended::Empty);
        assert_eq!(flat(&pair.vars[0]), [0.0]);
        assert_ne!(flat(&pair.vars[1]), [0.0], "it stays alive");
    }
}

#[test]
fn the_limit_of_nonzeros_counts_the_field_that_is_moved() {
    let pair = Pair::new([Rule::l1(1.0), Rule::l1(0.01)], [[1.0, 0.0], [0.0, 1.0]]);
    let run = pair.run(&Path::grid([2.0, 1.5, 0.5, 0.1]).of("first").max_nonzeros(0)).unwrap();
    assert_eq!((run.points.len(), run.ended), (3, Ended::Nonzeros { limit: 0 }));
}

#[test]
fn an_ascending_path_of_what_no_scale_empties_is_refused_before_the_first_fit() {
    let pair = Pair::new([Rule::l1(1.0), Rule::inherit().l2(1.0)], [[1.0, 0.0], [0.0, 1.0]]);
    let Error::Path { so_far, source, .. } = pair.run(&Path::ascending(0.1, 2.0).of("second")).unwrap_err() else {
        panic!()
    };
    assert!(matches!(*source, Error::InvalidPath { rule: "ascending", .. }), "{source}");
    assert!(so_far.points.is_empty());
}

#[test]
fn a_ridge_beside_is_fitted_at_the_scale_that_is_sought() {
    // s = |x₁·y − x₁·x₂ w₂(s)| with w₂(s) = 1/(1 + s).
    for (first, expected) in
        [([2.0, -1.0], 2f64.sqrt()), ([1.0, 1.0], (1.0 + 5f64.sqrt()) / 2.0), ([1.0, -1.0], (5f64.sqrt() - 1.0) / 2.0)]
    {
        let pair = Pair::new([Rule::l1(1.0), Rule::inherit().l2(1.0)], [first, [0.0, 1.0]]);
        let run = pair.run(&Path::descending(3, 0.9)).unwrap();
        // A hair above, by 1e-9 of it.
        assert_close("s_max", &[run.points[0].scale], &[expected], 3e-9);
        let first: Vec<_> = run.points.iter().map(|point| point.field("first").unwrap().zeros).collect();
        assert_eq!(first, [1, 0, 0], "{run}");
    }
}

#[test]
fn where_the_smallest_scale_is_0_nothing_descends() {
    // A pull below 0, and a constraint that holds it at 0 alone.
    let pair = Pair::new([Rule::l1(1.0).positive(true), Rule::inherit()], [[-1.0, 0.0], [0.0, 1.0]]);
    let Error::Path { source, .. } = pair.run(&Path::descending(3, 0.1)).unwrap_err() else { panic!() };
    assert!(matches!(*source, Error::NoDescent { .. }), "{source}");
    assert!(source.to_string().contains("empties it is 0"), "{source}");
}

#[test]
fn a_rule_that_needs_the_empty_loss_leaves_the_first_point_as_it_is() {
    let first = |path: Path| {
        let pair = Pair::new([Rule::l1(1.0), Rule::l1(1.0)], [[1.0, 0.0], [0.0, 1.0]]);
        let mut seen = Vec::new();
        let run = path.run(
            &pair.regularizer().unwrap(),
            &pair.vars,
            || pair.loss(),
            |_| {
                seen.push([flat(&pair.vars[0]), flat(&pair.vars[1])]);
                Ok(())
            },
        );
        (run.unwrap().points[0].loss, seen.pop().unwrap())
    };
    let grid = || Path::grid([0.5]);
    assert_eq!(first(grid().max_explained(0.99)), first(grid()));
    assert_eq!(first(grid().min_gain(0.1)), first(grid()));
}

#[test]
fn a_share_of_an_empty_loss_that_is_not_above_0_is_refused() {
    for path in [Path::grid([0.5, 0.4]), Path::descending(3, 0.5)] {
        let pair = Pair::new([Rule::l1(1.0), Rule::l1(1.0)], [[1.0, 0.0], [0.0, 1.0]]);
        // Its empty value is 1 − 3.
        let loss = || pair.loss()? - 3.0;
        let run = path.max_explained(0.5).run(&pair.regularizer().unwrap(), &pair.vars, loss, |fit| pair.solve(fit));
        let Error::Path { source, .. } = run.unwrap_err() else { panic!() };
        assert!(matches!(*source, Error::InvalidPath { rule: "max_explained", .. }), "{source}");
        assert!(source.to_string().contains("-2"), "{source}");
    }
}

#[test]
fn a_noisy_fit_in_sight_of_the_scale_is_not_refused() {
    let pair = Pair::new([Rule::l1(1.0), Rule::inherit()], [[1.0, -0.5], [0.0, 1.0]]);
    let fit = |fit: &mut Fit<'_>| {
        pair.solve(fit)?;
        // As a step on a few rows does: the entry is let go unless the scale is far above any gradient.
        if fit.scale() < 1e6 {
            pair.vars[0].set(&Tensor::new(&[1e-3f64], &device())?)?;
        }
        Ok(())
    };
    let path = Path::descending(3, 0.5);
    let found = path.scale_max(&pair.regularizer().unwrap(), &pair.vars, || pair.loss(), fit).unwrap();
    // x₁·(y − x₂w₂) with w₂ = 1: the rest is fitted before the entry is let go.
    assert_close("s_max", &[found], &[1.0], 1e-9);
    assert_eq!(flat(&pair.vars[0]), [0.0]);
}
