//! A point of a path, fitted again without the penalty on its own support.

use candle_core::Tensor;
use l1_core::{Error, Grouping, Path, Regularized, Rule};
use tests::device;

use super::{Lasso, Network};
use crate::models::{assert_close, bits, flat, zeros};

#[test]
fn it_is_least_squares_on_the_support() {
    let problem = Lasso::diabetes(Rule::l1(1.0));
    let run = problem.run(&Path::descending(8, 0.05)).unwrap();
    let regularizer = problem.regularizer().unwrap();
    let last = run.points.len() - 2;
    run.restore(last, &problem.vars).unwrap();
    let (before, support) = (flat(&problem.vars[0]), zeros(&flat(&problem.vars[0])));
    problem.vars[0].set(&problem.vars[0].ones_like().unwrap()).unwrap();
    let relaxed = run.relaxed(
        last,
        &regularizer,
        &problem.vars,
        || problem.loss(),
        |fit| {
            assert_eq!((fit.index(), fit.scale()), (last, run.points[last].scale));
            problem.solve(fit.regularizer())?;
            fit.metric("refitted", 1.0);
            Ok(())
        },
    );
    let relaxed = relaxed.unwrap();
    let found = flat(&problem.vars[0]);
    assert_eq!(zeros(&found), support);
    assert!(found != before && relaxed.loss < run.points[last].loss);

    // The normal equations of the columns that are left, by Gauss & Jordan.
    let kept: Vec<_> = (0..10).filter(|j| !support[*j]).collect();
    assert!(kept.len() > 2 && kept.len() < 10, "{kept:?}");
    let columns = problem.x.to_vec2::<f64>().unwrap();
    let y = flat(&problem.y);
    let product = |a: usize, b: usize| columns.iter().map(|row| row[a] * row[b]).sum::<f64>();
    let mut rows: Vec<Vec<f64>> = kept
        .iter()
        .map(|a| {
            let right = columns.iter().zip(&y).map(|(row, y)| row[*a] * y).sum::<f64>();
            kept.iter().map(|b| product(*a, *b)).chain([right]).collect()
        })
        .collect();
    for pivot in 0..rows.len() {
        let scaled: Vec<_> = rows[pivot].iter().map(|value| value / rows[pivot][pivot]).collect();
        for (index, row) in rows.iter_mut().enumerate() {
            let factor = if index == pivot { row[pivot] - 1.0 } else { row[pivot] };
            row.iter_mut().zip(&scaled).for_each(|(value, scaled)| *value -= factor * scaled);
        }
    }
    let expected: Vec<_> = rows.iter().map(|row| row[kept.len()]).collect();
    // Fista to 1e-11 at a smallest curvature of 0.02.
    assert_close("coefficients", &kept.iter().map(|j| found[*j]).collect::<Vec<_>>(), &expected, 1e-8);

    assert_eq!((relaxed.penalty, relaxed.objective), (0.0, relaxed.loss));
    assert_eq!((relaxed.index, relaxed.nonzeros), (last, run.points[last].nonzeros));
    assert_eq!((relaxed.metric("refitted"), relaxed.fields[0].lambda), (Some(1.0), 0.0));
    // A gradient of 0 at what is left; zeros ask for nothing.
    assert!(relaxed.certificate.relative < 1e-8, "{:?}", relaxed.certificate);
}

#[test]
fn what_was_frozen_before_is_released_for_a_path() {
    let problem = Lasso::diabetes(Rule::l1(1.0));
    let mut regularizer = problem.regularizer().unwrap();
    regularizer.freeze_support().unwrap();
    let fit = |fit: &mut l1_core::Fit<'_>| problem.solve(fit.regularizer());
    let run = Path::grid([0.3]).run(&regularizer, &problem.vars, || problem.loss(), fit).unwrap();
    assert!(run.points[0].nonzeros > 0 && run.points[0].fields[0].lambda == 0.3);
    assert_eq!(regularizer.support_is_frozen("fc").unwrap(), Some(true));
}

#[test]
fn nothing_is_changed_where_it_cannot_be_done() {
    let network = Network::new(0.7);
    let run = network.run(&Path::grid([1.0]).without_weights(), 5).unwrap();
    let before = bits(&network.vars[0]);
    let regularizer = network.regularizer().unwrap();
    let relaxed =
        |run: &l1_core::PathRun, index| run.relaxed(index, &regularizer, &network.vars, || network.loss(), |_| Ok(()));
    assert!(matches!(relaxed(&run, 0), Err(Error::NoSuchPoint { .. })));
    let run = network.run(&Path::grid([1.0]), 5).unwrap();
    network.vars[0].set(&network.vars[0].zeros_like().unwrap()).unwrap();
    assert!(matches!(relaxed(&run, 1), Err(Error::NoSuchPoint { index: 1, points: 1 })));
    assert_eq!(flat(&network.vars[0]), [0.0; 12]);
    relaxed(&run, 0).unwrap();
    assert_ne!(before, bits(&network.vars[2]));

    let x = Tensor::ones((4, 6), candle_core::DType::F64, &device()).unwrap();
    let problem = Lasso::new(&x, &x.narrow(1, 0, 1).unwrap(), Rule::l1(1.0).group(Grouping::Singular));
    let run = problem.run(&Path::grid([0.5])).unwrap();
    problem.vars[1].set(&Tensor::new(&[7f64], &device()).unwrap()).unwrap();
    let relaxed = run.relaxed(0, &problem.regularizer().unwrap(), &problem.vars, || problem.loss(), |_| Ok(()));
    assert!(matches!(relaxed, Err(Error::SupportOfSingularValues { .. })));
    assert_eq!(flat(&problem.vars[1]), [7.0]);
}
