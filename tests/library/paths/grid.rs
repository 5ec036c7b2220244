//! Which scales a path goes through.

use l1_core::{Direction, Ended, Path, Regularized, Rule};
use tests::device;

use super::{Lasso, Network};
use crate::models::{assert_close, flat};

#[test]
fn a_descending_path_goes_from_lambda_max_to_its_share_in_even_steps_of_the_logarithm() {
    let problem = Lasso::diabetes(Rule::l1(1.0));
    let largest = problem.regularizer().unwrap().lambda_max(|| problem.loss()).unwrap();
    let largest = largest.rows[0].emptied.lambda().unwrap();
    let run = problem.run(&Path::descending(5, 0.01)).unwrap();
    assert_eq!(run.direction, Direction::Descending);
    // The intercept is fitted again, to 1e-11.
    let expected: Vec<_> = (0..5).map(|k| largest * 0.01f64.powf(k as f64 / 4.0)).collect();
    assert_close("scales", &run.scales(), &expected, 1e-10);
    assert_eq!(run.scale_max, Some(run.points[0].scale));
    assert_eq!(run.points[0].nonzeros, 0);
    assert!(run.points[1].nonzeros > 0 && run.points[4].nonzeros > run.points[1].nonzeros);
}

#[test]
fn it_begins_at_the_same_scale_wherever_the_weights_are() {
    let problem = Lasso::diabetes(Rule::l1(1.0));
    let first = problem.run(&Path::descending(3, 0.1)).unwrap();
    let second = problem.run(&Path::descending(3, 0.1)).unwrap();
    assert_close("scales", &second.scales(), &first.scales(), 1e-10);
}

#[test]
fn a_closure_that_stops_at_a_share_of_the_scale_finds_the_same_beginning() {
    let problem = Lasso::diabetes(Rule::l1(1.0));
    problem.vars[1].set(&candle_core::Tensor::new(&[7f64], &device()).unwrap()).unwrap();
    let path = Path::descending(2, 0.5);
    let exact = problem.run(&path).unwrap().points[0].scale;
    problem.vars[1].set(&candle_core::Tensor::new(&[7f64], &device()).unwrap()).unwrap();
    let run = path.run(
        &problem.regularizer().unwrap(),
        &problem.vars,
        || problem.loss(),
        |fit| {
            let params = l1_core::ParamsFista::new(fit.regularizer().clone(), || problem.loss());
            let mut opt = <l1_core::Fista<_> as candle_nn::Optimizer>::new(problem.vars.clone(), params)?;
            let _ = opt.minimize(1e-9 * fit.scale(), 10_000)?;
            Ok(())
        },
    );
    // 1e-9 of the scale in the gradient of the intercept.
    assert_close("the first scale", &[run.unwrap().points[0].scale], &[exact], 1e-8);
}

#[test]
fn the_scale_multiplies_what_is_declared() {
    let of = |lambda| Lasso::diabetes(Rule::l1(lambda)).run(&Path::descending(3, 0.1)).unwrap();
    let (one, four) = (of(1.0), of(4.0));
    let lambdas = |run: &l1_core::PathRun| run.points.iter().map(|point| point.fields[0].lambda).collect::<Vec<_>>();
    assert_close("λ", &lambdas(&four), &lambdas(&one), 1e-14);
    assert_close("scales", &four.scales(), &one.scales().iter().map(|s| s / 4.0).collect::<Vec<_>>(), 1e-14);
}

#[test]
fn the_users_own_scale_stays_and_plays_no_part() {
    let problem = Lasso::diabetes(Rule::l1(1.0));
    let mut regularizer = problem.regularizer().unwrap();
    regularizer.set_scale(123.0).unwrap();
    let path = Path::grid([0.2]);
    let solve = |fit: &mut l1_core::Fit<'_>| problem.solve(fit.regularizer());
    let run = path.run(&regularizer, &problem.vars, || problem.loss(), solve).unwrap();
    assert_eq!(run.points[0].fields[0].lambda, 0.2);
    assert_eq!(regularizer.scale(), 123.0);
}

#[test]
fn an_ascending_path_goes_from_dense_to_empty() {
    let network = Network::new(0.7);
    let run = network.run(&Path::ascending(0.1, 3.0), 3000).unwrap();
    assert_eq!(run.direction, Direction::Ascending);
    assert_eq!(run.ended, Ended::Empty);
    assert_eq!(run.points[0].scale, 0.0);
    assert_eq!(run.points[0].nonzeros, 16);
    let rest: Vec<_> = (0..run.points.len() - 1).map(|k| 0.1 * 3f64.powi(k as i32)).collect();
    assert_close("scales", &run.scales()[1..], &rest, 1e-14);
    let nonzeros: Vec<_> = run.points.iter().map(|point| point.nonzeros).collect();
    // A network need not lose one weight after the other: it is not convex.
    assert_eq!(nonzeros.last(), Some(&0), "{nonzeros:?}");
    assert!(nonzeros.iter().any(|&number| 0 < number && number < 16), "{nonzeros:?}");
}

#[test]
fn one_field_is_moved_while_the_others_stay_as_declared() {
    let network = Network::new(0.7);
    let run = network.run(&Path::ascending(0.1, 4.0).of("fc1"), 2000).unwrap();
    assert_eq!(run.field.as_deref(), Some("fc1"));
    for point in &run.points {
        assert_eq!(point.field("fc1.weight").unwrap().lambda, 0.01 * point.scale);
        assert_eq!(point.field("fc2.weight").unwrap().lambda, 0.01);
    }
    assert!(run.points.last().unwrap().field("fc1.weight").unwrap().zeros == 12);

    // Downwards it begins where λ_max says that the field is empty, the other one at its value of that moment.
    let network = Network::new(0.7);
    let scale = Path::descending(3, 0.1).of("fc1").scale_max(
        &network.regularizer().unwrap(),
        &network.vars,
        || network.loss(),
        |_| Ok(()),
    );
    let found = network.regularizer().unwrap().lambda_max(|| network.loss()).unwrap();
    let lambda = found.row("fc1.weight").unwrap().emptied.lambda().unwrap();
    // Twice the same gradient, then a bisection to the last digit.
    assert_close("scale·λ", &[0.01 * scale.unwrap()], &[lambda], 1e-14);
    assert_eq!(flat(&network.vars[0]), [0.0; 12]);
}

#[test]
fn a_given_grid_is_gone_through_as_it_stands() {
    let problem = Lasso::diabetes(Rule::l1(1.0));
    for (grid, direction) in
        [(vec![0.5, 0.3, 0.02], Direction::Descending), (vec![0.02, 0.3, 0.5], Direction::Ascending)]
    {
        let run = problem.run(&Path::grid(grid.clone())).unwrap();
        assert_eq!((run.scales(), run.direction, run.ended), (grid, direction, Ended::GridEnd));
    }
}
