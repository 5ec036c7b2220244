//! What a path records, what it puts back, and what ends it.

use candle_core::{DType, Tensor, Var};
use l1_core::{Ended, Error, Grouping, Path, Regularized, Rule};
use tests::device;

use super::{Lasso, Network, matrix, scatter};
use crate::models::{Fixture, Single, assert_close, bits, flat, zeros};

#[test]
fn its_points_are_scikit_learns_solutions() {
    let f = Fixture::load("sklearn.safetensors");
    for (kind, ratio) in [("lasso", 1.0), ("enet", 0.5)] {
        // λ and l2 are moved as one.
        let problem = Lasso::diabetes(Rule::l1(2.0 * ratio).l2(2.0 * (1.0 - ratio)));
        let alphas = f.numbers(&format!("{kind}.alpha"));
        let run = problem.run(&Path::grid(alphas.clone())).unwrap();
        let lines = run.coefficients("fc.weight").unwrap();
        for (index, point) in run.points.iter().enumerate() {
            let expected = flat(&f.tensor(&format!("{kind}.coef")).get(index).unwrap());
            let mut found = vec![0.0; 10];
            for line in &lines.lines {
                found[line.entry] = line.values[index];
            }
            // Fista to 1e-11 and a smallest curvature of 0.02.
            assert_close(kind, &found, &expected, 1e-8);
            assert_eq!(zeros(&found), zeros(&expected));
            assert_eq!(point.nonzeros, expected.iter().filter(|w| **w != 0.0).count());
            assert!(point.certificate.relative < 1e-7, "{run}");
        }
    }
}

#[test]
fn a_point_holds_what_the_model_is_at_its_scale() {
    let network = Network::new(0.7);
    let run = network.run(&Path::grid([2.0, 4.0]), 500).unwrap();
    let last = run.points.last().unwrap();
    let mut regularizer = network.regularizer().unwrap();
    regularizer.set_scale(4.0).unwrap();
    let loss = flat(&network.loss().unwrap())[0];
    assert_eq!((last.index, last.scale, last.loss), (1, 4.0, loss));
    assert_eq!(last.penalty, regularizer.value().unwrap());
    assert_eq!(last.objective, loss + last.penalty);
    let certificate = regularizer.stationarity(&network.loss().unwrap().backward().unwrap()).unwrap();
    assert_eq!(last.certificate.relative, certificate.largest());
    assert_eq!(last.certificate.path.as_ref(), certificate.worst().map(|row| &row.path));
    assert_eq!(last.entries, 16);
    let count = |var: &Var| flat(var).iter().filter(|w| **w == 0.0).count();
    let zeros: Vec<_> = last.fields.iter().map(|field| field.zeros).collect();
    assert_eq!(zeros, [count(&network.vars[0]), count(&network.vars[2])]);
    assert!(last.stationarity.is_none());
    let run = network.run(&Path::grid([4.0]).with_stationarity(), 1).unwrap();
    assert_eq!(run.points[0].stationarity.as_ref().map(|it| it.rows.len()), Some(4));
}

#[test]
fn groups_are_counted_also_where_the_scale_is_0() {
    let (x, y) = (matrix(40, 6, scatter), matrix(40, 1, |i, _| scatter(i, 2) - scatter(i, 3)));
    let problem = Lasso::new(&x, &y, Rule::l1(1.0).group(Grouping::Block(1, 2)));
    let run = problem.run(&Path::ascending(0.05, 2.0)).unwrap();
    let living: Vec<_> = run.points.iter().map(|point| point.living()).collect();
    assert_eq!((living[0], living.last()), (3, Some(&0)));
    assert_eq!(run.points[0].fields[0].groups.map(|groups| groups.total), Some(3));
}

#[test]
fn each_fit_starts_where_the_one_before_it_ended() {
    let model = Single::new(&[1.0, -2.0], DType::F64, Rule::l1(0.1));
    let vars = vec![model.weight.clone()];
    let mut seen = Vec::new();
    let fit = |fit: &mut l1_core::Fit<'_>| {
        seen.push(model.values());
        model.weight.set(&Tensor::new(&[fit.scale(), fit.index() as f64], &device())?)?;
        Ok(())
    };
    let run =
        Path::grid([3.0, 2.0, 1.0]).run(&model.regularizer().unwrap(), &vars, || model.weight.sqr()?.sum_all(), fit);
    assert_eq!(run.unwrap().points.len(), 3);
    assert_eq!(seen, [[1.0, -2.0], [3.0, 0.0], [2.0, 1.0]]);
}

#[test]
fn every_points_weights_come_back_to_the_same_bits() {
    for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
        // Mostly zeros, and none.
        for odd in [[0.0, -0.0, 1.0 / 3.0, 0.0, 0.0, 0.0], [1.0, -0.1, 2.0, 6e-8, 5.0, -3.0]] {
            let model = Single::new(&odd, dtype, Rule::l1(0.1));
            let other = Var::zeros(2, DType::F32, &device()).unwrap();
            let vars = vec![other.clone(), model.weight.clone()];
            let mut expected = Vec::new();
            let fit = |fit: &mut l1_core::Fit<'_>| {
                other.set(&Tensor::new(&[fit.scale() as f32, -0.0], &device())?)?;
                if fit.index() > 0 {
                    model.weight.set(&(model.weight.as_tensor() * 0.7)?)?;
                }
                expected.push((bits(&model.weight), bits(&other)));
                Ok(())
            };
            let loss = || model.weight.to_dtype(DType::F32)?.sqr()?.sum_all();
            let run = Path::grid([3.0, 2.0, 1.0]).run(&model.regularizer().unwrap(), &vars, loss, fit).unwrap();
            for index in [1, 0, 2] {
                // In any order, beside others.
                let spare = Var::zeros(1, DType::F32, &device()).unwrap();
                run.restore(index, &[model.weight.clone(), spare, other.clone()]).unwrap();
                assert_eq!((bits(&model.weight), bits(&other)), expected[index], "{dtype:?}, point {index}");
            }
        }
    }
}

#[test]
fn weights_go_into_a_model_built_anew_by_their_paths() {
    let network = Network::new(0.7);
    let run = network.run(&Path::grid([1.0]), 50).unwrap();
    let anew = Network::new(0.1);
    run.restore_into(0, &anew.regularizer().unwrap()).unwrap();
    for (var, other) in network.vars.iter().zip(&anew.vars) {
        assert_eq!(bits(var), bits(other));
    }
}

#[test]
fn an_index_without_weights_is_refused_and_nothing_is_written() {
    let network = Network::new(0.7);
    let run = network.run(&Path::grid([1.0]).without_weights(), 5).unwrap();
    assert!(matches!(run.restore(0, &network.vars), Err(Error::NoSuchPoint { index: 0, points: 1 })));
    assert!(matches!(run.coefficients("fc1.weight"), Err(Error::NoSuchPoint { .. })));
    let run = network.run(&Path::grid([1.0]), 5).unwrap();
    assert!(matches!(run.restore(1, &network.vars), Err(Error::NoSuchPoint { index: 1, points: 1 })));
    let foreign = Network::new(0.3);
    let before = bits(&foreign.vars[0]);
    assert!(matches!(run.restore(0, &foreign.vars), Err(Error::ForeignVariables { .. })));
    assert_eq!(bits(&foreign.vars[0]), before);
    let error = run.coefficients("fc1.weights").unwrap_err().to_string();
    assert!(error.contains("`fc1.weight`"), "{error}");
}

#[test]
fn lines_are_the_entries_that_are_nonzero_somewhere() {
    let problem = Lasso::diabetes(Rule::l1(1.0));
    let run = problem.run(&Path::descending(6, 0.05)).unwrap();
    let lines = run.coefficients("fc.weight").unwrap();
    assert_eq!((lines.shape.as_slice(), lines.scales.clone()), (&[1, 10][..], run.scales()));
    assert!(lines.lines.iter().all(|line| line.largest() > 0.0 && line.values.len() == 6));
    for (index, point) in run.points.iter().enumerate() {
        assert_eq!(lines.lines.iter().filter(|line| line.values[index] != 0.0).count(), point.nonzeros);
    }
    let line = &lines.lines[0];
    assert_eq!(line.place.to_string(), format!("[0, {}]", line.entry));
}

#[test]
fn a_path_ends_by_its_rules() {
    let problem = Lasso::diabetes(Rule::l1(1.0));
    let whole = problem.run(&Path::descending(20, 0.001)).unwrap();
    let explained = |point: &l1_core::PathPoint| 1.0 - point.loss / whole.empty_loss.unwrap();
    assert_eq!((whole.points.len(), &whole.ended), (20, &Ended::GridEnd));
    assert!((whole.empty_loss.unwrap() - 1.0).abs() < 1e-12, "the target is standardized");

    let run = problem.run(&Path::descending(20, 0.001).max_nonzeros(3)).unwrap();
    assert_eq!(run.ended, Ended::Nonzeros { limit: 3 });
    let [before @ .., last] = run.points.as_slice() else { panic!() };
    assert!(last.nonzeros > 3 && before.iter().all(|point| point.nonzeros <= 3));

    let run = problem.run(&Path::descending(20, 0.001).max_explained(0.4)).unwrap();
    let [before @ .., last] = run.points.as_slice() else { panic!() };
    assert!(explained(last) >= 0.4 && before.iter().all(|point| explained(point) < 0.4));
    assert!(matches!(run.ended, Ended::Explained { share } if (share - explained(last)).abs() < 1e-9));
    // A given grid has an empty fit for it too.
    let given = problem.run(&Path::grid(whole.scales()).max_explained(0.4)).unwrap();
    assert_eq!(given.points.len(), run.points.len());

    let run = problem.run(&Path::descending(20, 0.001).min_gain(1e-3)).unwrap();
    let number = run.points.len();
    let share = |index: usize| explained(&whole.points[index]);
    let gain = |index: usize| (share(index) - share(index - 1)) / share(index);
    assert!((5..20).contains(&number) && gain(number - 1) < 1e-3, "{run}");
    assert!((4..number - 1).all(|index| gain(index) >= 1e-3), "{run}");
}

#[test]
fn patience_waits_for_a_new_low() {
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.1));
    let scores = [5.0, 4.0, f64::NAN, 4.5, 3.0, 3.0, 3.5, 2.0];
    let run = |points| {
        let path = Path::grid((0..scores.len()).map(|k| 10.0 - k as f64)).patience("held out", points);
        let fit = |fit: &mut l1_core::Fit<'_>| {
            fit.held_out(scores[fit.index()]);
            Ok(())
        };
        path.run(
            &model.regularizer().unwrap(),
            std::slice::from_ref(&model.weight),
            || model.weight.sqr()?.sum_all(),
            fit,
        )
        .unwrap()
    };
    assert_eq!(run(2).points.len(), 4);
    assert_eq!(run(2).ended, Ended::Patience { metric: "held out".into(), best: 1 });
    assert_eq!((run(3).points.len(), run(3).ended), (8, Ended::GridEnd));
}

#[test]
fn metrics_are_kept_in_order_and_the_last_of_a_name_counts() {
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.1));
    let fit = |fit: &mut l1_core::Fit<'_>| {
        fit.metric("b", 1.0);
        fit.metric("a", 2.0);
        fit.metric("b", 3.0);
        fit.held_out(4.0);
        Ok(())
    };
    let vars = [model.weight.clone()];
    let run =
        Path::grid([1.0]).run(&model.regularizer().unwrap(), &vars, || model.weight.sqr()?.sum_all(), fit).unwrap();
    let point = &run.points[0];
    assert_eq!(point.metrics, [("b".to_owned(), 3.0), ("a".to_owned(), 2.0), ("held out".to_owned(), 4.0)]);
    assert_eq!((point.metric("a"), point.metric("c"), point.held_out()), (Some(2.0), None, Some(4.0)));
}

#[test]
fn it_is_a_table_csv_and_json() {
    let network = Network::new(0.7);
    let run = network.run(&Path::grid([1.0, 8.0]), 200).unwrap();
    let table = run.to_string();
    assert!(table.contains("living: fc1.weight / fc2.weight"), "{table}");
    assert!(table.ends_with("2 points; the grid is at its end"), "{table}");
    let csv = run.to_csv();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0][..7], ["index", "scale", "loss", "penalty", "objective", "nonzeros", "certificate"]);
    assert_eq!(
        rows[0][7..],
        [
            "fc1.weight λ",
            "fc1.weight zeros",
            "fc1.weight living",
            "fc2.weight λ",
            "fc2.weight zeros",
            "fc2.weight living"
        ]
    );
    assert!(rows.iter().all(|row| row.len() == 13));
    assert_eq!(rows[1][2].parse::<f64>().unwrap(), run.points[0].loss);
    let json: serde_json::Value = serde_json::to_value(&run).unwrap();
    assert_eq!(json["direction"], "ascending");
    assert_eq!(json["ended"], "grid_end");
    assert_eq!(json["points"][1]["fields"][0]["path"], "fc1.weight");
    assert_eq!(json["points"][1]["loss"].as_f64(), Some(run.points[1].loss));
}

#[test]
fn names_that_would_break_a_csv_file_are_quoted() {
    let model = Single::new(&[1.0], DType::F64, Rule::l1(0.1));
    let fit = |fit: &mut l1_core::Fit<'_>| {
        fit.metric("a,\"b\"", 1.0);
        Ok(())
    };
    let vars = [model.weight.clone()];
    let run =
        Path::grid([1.0]).run(&model.regularizer().unwrap(), &vars, || model.weight.sqr()?.sum_all(), fit).unwrap();
    assert!(run.to_csv().lines().next().unwrap().contains(",\"a,\"\"b\"\"\","), "{}", run.to_csv());
}
