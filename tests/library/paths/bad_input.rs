//! What a path refuses, and what stays available of one that fails in the middle.

use std::cell::Cell;

use candle_core::{DType, Tensor, Var};
use l1_core::{Curve, Ended, Error, Path, Regularized, Rule};
use tests::device;

use super::{Lasso, Network};
use crate::models::Single;

fn refused(path: &Path) -> Error {
    let fits = Cell::new(0);
    let model = Single::new(&[1.0, -2.0], DType::F64, Rule::l1(0.1));
    let run = path.run(
        &model.regularizer().unwrap(),
        std::slice::from_ref(&model.weight),
        || model.weight.sqr()?.sum_all(),
        |_| {
            fits.set(fits.get() + 1);
            Ok(())
        },
    );
    assert_eq!((fits.get(), model.values()), (0, vec![1.0, -2.0]), "nothing is fitted or changed");
    run.unwrap_err()
}

#[test]
fn a_grid_out_of_order_is_refused_with_place_and_value() {
    for (grid, place, number, what) in [
        (vec![3.0, 2.0, 2.5], 2, 2.5, "below 2"),
        (vec![1.0, 2.0, 2.0], 2, 2.0, "above 2"),
        (vec![1.0, 1.0], 1, 1.0, "below 1"),
        (vec![3.0, 0.0], 1, 0.0, "> 0"),
        (vec![-1.0], 0, -1.0, "> 0"),
        (vec![1.0, f64::INFINITY], 1, f64::INFINITY, "> 0"),
    ] {
        let error = refused(&Path::grid(grid.clone()));
        let Error::InvalidGrid { index, value, expected } = &error else { panic!("{error}") };
        assert_eq!((*index, *value), (place, number), "{grid:?}");
        assert!(expected.contains(what), "{error}");
    }
    let error = refused(&Path::grid([1.0, f64::NAN]));
    assert!(matches!(error, Error::InvalidGrid { index: 1, value, .. } if value.is_nan()));
    let error = refused(&Path::grid([]));
    assert!(matches!(error, Error::InvalidPath { rule: "grid", .. }), "{error}");
}

#[test]
fn numbers_out_of_their_range_are_refused() {
    for (path, name, value) in [
        (Path::descending(1, 0.1), "descending", "1 points"),
        (Path::descending(10, 1.0), "descending", "a ratio of 1"),
        (Path::descending(10, f64::NAN), "descending", "a ratio of NaN"),
        (Path::ascending(0.0, 1.1), "ascending", "a first scale of 0"),
        (Path::ascending(1.0, 1.0), "ascending", "a factor of 1"),
        (Path::ascending(1.0, 2.0).max_points(1), "max_points", "1"),
        (Path::descending(10, 0.1).max_explained(1.0), "max_explained", "1"),
        (Path::descending(10, 0.1).min_gain(-1.0), "min_gain", "-1"),
        (Path::grid([1.0]).patience("score", 0), "patience", "0 points"),
        (Path::ascending(1.0, 2.0).max_nonzeros(3), "max_nonzeros", "descending"),
        (Path::grid([1.0, 2.0]).max_explained(0.5), "max_explained", "descending"),
        (Path::ascending(1.0, 2.0).min_gain(0.1), "min_gain", "descending"),
    ] {
        let error = refused(&path);
        let Error::InvalidPath { rule, why } = &error else { panic!("{error}") };
        assert_eq!(*rule, name);
        assert!(why.contains(value), "{error}");
    }
    assert!(matches!(refused(&Path::grid([1.0]).of("fc9")), Error::UnknownField { .. }));
}

#[test]
fn other_models_variables_and_models_without_a_penalty_are_refused() {
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.1));
    let other = Var::zeros(1, DType::F64, &device()).unwrap();
    let run = Path::grid([1.0]).run(
        &model.regularizer().unwrap(),
        std::slice::from_ref(&other),
        || other.sqr()?.sum_all(),
        |_| Ok(()),
    );
    assert!(matches!(run.unwrap_err(), Error::ForeignVariables { .. }));
    let model = Single::new(&[1.0], DType::F64, Rule::inherit());
    let run = Path::grid([1.0]).run(
        &model.regularizer().unwrap(),
        std::slice::from_ref(&model.weight),
        || other.sqr()?.sum_all(),
        |_| Ok(()),
    );
    assert!(matches!(run.unwrap_err(), Error::NothingPenalized { .. }));
}

#[test]
fn a_nan_loss_in_the_middle_leaves_what_was_fitted() {
    let problem = Lasso::diabetes(Rule::l1(1.0));
    let is_broken = Cell::new(false);
    let loss = || if is_broken.get() { problem.loss()? * f64::NAN } else { problem.loss() };
    let run = Path::grid([0.5, 0.3, 0.1]).run(&problem.regularizer().unwrap(), &problem.vars, loss, |fit| {
        problem.solve(fit.regularizer())?;
        is_broken.set(fit.index() == 2);
        Ok(())
    });
    let error = run.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("point 2 of the path, scale 0.1: the loss is NaN after the fit"), "{text}");
    let Error::Path { index: 2, scale, so_far, source } = error else { panic!("{text}") };
    assert!(matches!(*source, Error::NonFinitePoint { value } if value.is_nan()));
    assert_eq!((scale, so_far.scales(), &so_far.ended), (0.1, vec![0.5, 0.3], &Ended::Failed));
    so_far.restore(1, &problem.vars).unwrap();
    assert_eq!(so_far.coefficients("fc.weight").unwrap().scales, [0.5, 0.3]);
    assert!(so_far.to_string().ends_with("2 points; ended by an error"));
}

#[test]
fn an_error_of_the_fit_goes_through_candles_error_and_back() {
    let problem = Lasso::diabetes(Rule::l1(1.0));
    let fails = |path: &Path| -> candle_core::Result<()> {
        path.run(
            &problem.regularizer()?,
            &problem.vars,
            || problem.loss(),
            |fit| {
                problem.solve(fit.regularizer())?;
                if fit.index() == 1 { Err(candle_core::Error::Msg("the disk is full".into()).into()) } else { Ok(()) }
            },
        )?;
        Ok(())
    };
    let error = fails(&Path::grid([0.5, 0.3])).unwrap_err();
    assert!(error.to_string().contains("the disk is full"), "{error}");
    let Error::Path { index: 1, so_far, source, .. } = Error::from(error) else { panic!() };
    assert!(matches!(*source, Error::Candle(_)));
    assert_eq!(so_far.points.len(), 1);
    // Its cause stands in the message: whoever prints a chain prints it once.
    let error = fails(&Path::grid([0.5, 0.3])).unwrap_err();
    assert_eq!(format!("{:#}", anyhow::Error::from(Error::from(error))).matches("the disk is full").count(), 1);
}

#[test]
fn a_path_that_cannot_descend_says_so_and_names_the_way_out() {
    let no_descent = |error: Error| match error {
        Error::Path { source, so_far, .. } => {
            assert!(so_far.points.is_empty());
            let text = source.to_string();
            assert!(matches!(*source, Error::NoDescent { .. }) && text.contains("Path::ascending"), "{text}");
            text
        }
        other => panic!("{other}"),
    };
    let network = Network::new(0.7);
    let text = no_descent(network.run(&Path::descending(5, 0.1), 2000).unwrap_err());
    assert!(text.starts_with("fc1.weight: ") && text.contains("no gradient at 0"), "{text}");
    for curve in [Curve::L0, Curve::Half, Curve::TwoThirds] {
        let problem = Lasso::diabetes(Rule::l1(1.0).curve(curve));
        let text = no_descent(problem.run(&Path::descending(5, 0.1)).unwrap_err());
        assert!(text.contains("infinite slope"), "{text}");
    }
    let problem = Lasso::diabetes(Rule::inherit().l2(0.1));
    assert!(no_descent(problem.run(&Path::descending(5, 0.1)).unwrap_err()).contains("ridge"));
    // A fit that knows nothing of the penalty.
    let problem = Lasso::diabetes(Rule::l1(1.0));
    let run = Path::descending(5, 0.1).run(
        &problem.regularizer().unwrap(),
        &problem.vars,
        || problem.loss(),
        |_| {
            problem.vars[0].set(&problem.vars[0].ones_like()?)?;
            Ok(())
        },
    );
    assert!(no_descent(run.unwrap_err()).contains("proximal"));
    // A target that is constant.
    let mut problem = Lasso::diabetes(Rule::l1(1.0));
    problem.y = (problem.y.zeros_like().unwrap() + 0.3).unwrap();
    assert!(no_descent(problem.run(&Path::descending(5, 0.1)).unwrap_err()).contains("rounding"));
}

#[test]
fn an_ascending_path_that_never_empties_ends_loudly() {
    let model = Single::new(&[1.0, -2.0], DType::F64, Rule::l1(0.1));
    let path = Path::ascending(1.0, 1.5).max_points(7);
    let run = path.run(
        &model.regularizer().unwrap(),
        std::slice::from_ref(&model.weight),
        || model.weight.sqr()?.sum_all(),
        |_| Ok(()),
    );
    let Error::Path { so_far, source, .. } = run.unwrap_err() else { panic!() };
    assert!(matches!(*source, Error::NeverEmpty { points: 7, nonzeros: 2 }), "{source}");
    assert_eq!(so_far.points.len(), 7);
}

#[test]
fn a_metric_that_patience_waits_for_has_to_be_recorded() {
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.1));
    let path = Path::grid([2.0, 1.0]).patience("accuracy", 3);
    let run = path.run(
        &model.regularizer().unwrap(),
        std::slice::from_ref(&model.weight),
        || model.weight.sqr()?.sum_all(),
        |_| Ok(()),
    );
    let error = run.unwrap_err().to_string();
    assert!(error.contains("no metric `accuracy`"), "{error}");
}

#[test]
fn a_loss_with_the_penalty_in_it_or_without_a_parameter_is_refused() {
    let model = Single::new(&[1.0, -2.0], DType::F64, Rule::l1(0.1));
    let regularizer = model.regularizer().unwrap();
    let run = |loss: &dyn Fn() -> candle_core::Result<Tensor>| {
        let error =
            Path::grid([1.0]).run(&regularizer, std::slice::from_ref(&model.weight), loss, |_| Ok(())).unwrap_err();
        let Error::Path { source, .. } = error else { panic!("{error}") };
        *source
    };
    assert!(matches!(run(&|| regularizer.penalty().map_err(Into::into)), Error::ChargedTwice { .. }));
    assert!(matches!(run(&|| model.weight.sqr()), Error::LossShape { .. }));
    let other = Var::new(1f64, &device()).unwrap();
    assert!(matches!(run(&|| other.sqr()), Error::MissingGradient { .. }));
}
