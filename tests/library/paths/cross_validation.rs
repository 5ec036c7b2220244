//! Cross-validation: scikit-learn's scores and choice on the same folds, and what every split promises.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use candle_core::{DType, Tensor};
use candle_nn::{Module, loss};
use l1_core::{CrossValidated, CrossValidation, Error, Fold, Path, PathRun, Regularized, Rule};
use tests::device;

use super::Lasso;
use crate::models::{Fixture, Single, assert_close, flat};

/// scikit-learn's data, the first of its alphas, and the folds of this name.
fn validate(name: &str, alphas: usize, threads: usize) -> (Fixture, CrossValidated) {
    let (data, f) = (Fixture::load("sklearn.safetensors"), Fixture::load("cross_validation.safetensors"));
    let (x, y) = (data.tensor("x"), data.tensor("y").unsqueeze(1).unwrap());
    let assignments = f.numbers(&format!("{name}.assignments")).into_iter().map(|fold| fold as usize);
    // λ is twice alpha.
    let path = Path::grid(f.numbers("alphas").into_iter().take(alphas).map(|alpha| 2.0 * alpha)).without_weights();
    let validated = CrossValidation::assignments(assignments).threads(threads).run(442, |fold| {
        let problem = Lasso::new(&fold.train(x)?, &fold.train(&y)?, Rule::l1(1.0));
        let (x, y) = (fold.test(x)?, fold.test(&y)?);
        problem.run_with(&path, |fit| {
            fit.held_out(loss::mse(&problem.model.forward(&x)?, &y)?.to_scalar()?);
            Ok(())
        })
    });
    (f, validated.unwrap())
}

#[test]
fn scores_and_choices_are_scikit_learns_on_the_same_folds() {
    let (f, validated) = validate("equal", 25, 2);
    let scores: Vec<_> = validated.points.iter().flat_map(|point| point.scores.clone()).collect();
    // Coefficients to 1e-10 of those of a problem whose smallest curvature is 0.02; scores are flat in them.
    assert_close("scores", &scores, &f.numbers("equal.mse"), 1e-8);
    let errors: Vec<_> = validated.points.iter().map(|point| point.standard_error).collect();
    assert_close("standard errors", &errors, &f.numbers("equal.standard_error"), 1e-8);
    assert_eq!(validated.points[validated.best()].scale, 2.0 * f.number("equal.best"));
    assert_eq!(validated.points[validated.one_standard_error()].scale, 2.0 * f.number("equal.one_standard_error"));
}

#[test]
fn folds_of_different_sizes_count_by_their_rows() {
    let (f, validated) = validate("unequal", 25, 2);
    let scores = f.tensor("unequal.mse");
    let assignments = f.numbers("unequal.assignments");
    let sizes: Vec<f64> =
        (0..10).map(|k| assignments.iter().filter(|fold| **fold == k as f64).count() as f64).collect();
    assert_eq!(sizes.iter().map(|size| *size as usize).collect::<std::collections::BTreeSet<_>>(), [44, 45].into());
    for (index, point) in validated.points.iter().enumerate() {
        let scores = flat(&scores.get(index).unwrap());
        let mean = scores.iter().zip(&sizes).map(|(score, size)| score * size).sum::<f64>() / 442.0;
        let squares = scores.iter().zip(&sizes).map(|(score, size)| size * (score - mean).powi(2)).sum::<f64>();
        // As above.
        assert_close(
            "mean and standard error",
            &[point.mean, point.standard_error],
            &[mean, (squares / 442.0 / 9.0).sqrt()],
            1e-8,
        );
    }
}

#[test]
fn it_is_the_same_to_the_bit_on_any_number_of_threads() {
    let bits = |validated: &CrossValidated| {
        let of = |run: &PathRun| {
            run.points.iter().map(|point| (point.objective.to_bits(), point.nonzeros)).collect::<Vec<_>>()
        };
        validated.runs.iter().map(of).collect::<Vec<_>>()
    };
    let expected = bits(&validate("unequal", 5, 1).1);
    for threads in [0, 3, 32] {
        assert_eq!(bits(&validate("unequal", 5, threads).1), expected, "{threads} threads");
    }
}

#[test]
fn every_row_is_held_out_once_by_folds_of_equal_size() {
    for (rows, number) in [(10, 10), (23, 4), (442, 10), (3, 2)] {
        let folds = CrossValidation::new(number).seed(5).folds(rows).unwrap();
        assert_eq!(folds.len(), number);
        let mut held_out: Vec<_> = folds.iter().flat_map(|fold| fold.test_rows().to_vec()).collect();
        held_out.sort_unstable();
        assert_eq!(held_out, (0..rows).collect::<Vec<_>>());
        for fold in &folds {
            assert!([rows / number, rows.div_ceil(number)].contains(&fold.test_rows().len()));
            let mut all = [fold.train_rows(), fold.test_rows()].concat();
            assert!(fold.train_rows().is_sorted() && fold.test_rows().is_sorted());
            all.sort_unstable();
            assert_eq!(all, (0..rows).collect::<Vec<_>>());
        }
    }
}

#[test]
fn folds_follow_from_the_seed_alone() {
    let folds = |seed| CrossValidation::new(4).seed(seed).folds(40).unwrap();
    assert_eq!(folds(1), folds(1));
    assert_ne!(folds(1), folds(2));
    // Written down once: another version or machine has to deal out the same rows.
    assert_eq!(CrossValidation::new(2).seed(1).folds(8).unwrap()[0].test_rows(), HELD_OUT_FIRST);
}

/// By seed 1 among 8 rows in 2 folds: what ChaCha8 and Fisher & Yates, written out in Python, deal to the first fold.
const HELD_OUT_FIRST: [usize; 4] = [0, 3, 5, 7];

#[test]
fn classes_are_dealt_out_evenly() {
    let labels: Vec<u32> = (0..61).map(|row| if row % 7 == 0 { 5 } else { u32::from(row % 3 == 0) }).collect();
    let folds = CrossValidation::new(4).seed(9).stratified(&labels).folds(61).unwrap();
    let count = |rows: &[usize]| {
        let mut classes = BTreeMap::new();
        rows.iter().for_each(|row| *classes.entry(labels[*row]).or_insert(0) += 1);
        classes
    };
    let all = count(&(0..61).collect::<Vec<_>>());
    for fold in &folds {
        for (class, number) in count(fold.test_rows()) {
            assert!(
                [all[&class] / 4, all[&class] / 4 + 1].contains(&number),
                "class {class}: {number} of {}",
                all[&class]
            );
        }
        assert!([15, 16].contains(&fold.test_rows().len()));
    }
}

#[test]
fn a_fold_selects_rows_of_any_tensor() {
    let folds = CrossValidation::assignments([0, 1, 0, 2]).folds(4).unwrap();
    let x = Tensor::arange(0u32, 8, &device()).unwrap().reshape((4, 2)).unwrap();
    assert_eq!(folds[0].train(&x).unwrap().to_vec2::<u32>().unwrap(), [[2, 3], [6, 7]]);
    assert_eq!(folds[0].test(&x).unwrap().to_vec2::<u32>().unwrap(), [[0, 1], [4, 5]]);
    let view = x.t().unwrap().contiguous().unwrap().t().unwrap();
    assert_eq!(folds[2].test(&view).unwrap().to_vec2::<u32>().unwrap(), [[6, 7]]);
    let error = folds[0].train(&x.narrow(0, 0, 3).unwrap()).unwrap_err();
    assert!(matches!(error, Error::ShapeMismatch { .. }), "{error}");
}

/// A path whose scores are given: of fold k at point i `scores[k][i]`.
fn scored(scales: &[f64], scores: &[&[f64]]) -> l1_core::Result<CrossValidated> {
    CrossValidation::assignments(0..scores.len()).run(scores.len(), |fold| {
        let model = Single::new(&[1.0], DType::F64, Rule::l1(1.0));
        let scores = scores[fold.index()];
        let path = Path::grid(scales[..scores.len()].iter().copied());
        path.run(
            &model.regularizer()?,
            std::slice::from_ref(&model.weight),
            || model.weight.sqr()?.sum_all(),
            |fit| {
                fit.held_out(scores[fit.index()]);
                Ok(())
            },
        )
    })
}

#[test]
fn the_best_of_equal_ones_and_the_one_standard_error_choice_are_the_sparsest() {
    let descending = scored(&[4.0, 3.0, 2.0, 1.0], &[&[9.0, 3.0, 2.0, 2.0], &[9.0, 1.0, 2.0, 2.0]]).unwrap();
    assert_eq!((descending.best(), descending.points[descending.best()].scale), (1, 3.0));
    let ascending = scored(&[1.0, 2.0, 3.0, 4.0], &[&[2.0, 2.0, 3.0, 9.0], &[2.0, 2.0, 1.0, 9.0]]).unwrap();
    assert_eq!(ascending.points[ascending.best()].scale, 3.0);
    // 2 ± 1 at the best, and 3 is within.
    let validated = scored(&[4.0, 3.0, 2.0, 1.0], &[&[9.0, 3.0, 3.0, 4.0], &[9.0, 3.0, 1.0, 4.0]]).unwrap();
    assert_eq!((validated.best(), validated.one_standard_error()), (2, 1));
    assert_eq!((validated.points[2].mean, validated.points[2].standard_error), (2.0, 1.0));
}

#[test]
fn scales_that_not_all_folds_have_are_left_out() {
    let validated = scored(&[4.0, 3.0, 2.0], &[&[2.0, 1.0, 0.0], &[2.0, 1.0]]).unwrap();
    assert_eq!((validated.scales(), validated.best()), (vec![4.0, 3.0], 1));
    assert_eq!(validated.runs[0].points.len(), 3);
}

#[test]
fn nan_is_never_the_best() {
    let validated = scored(&[4.0, 3.0], &[&[2.0, f64::NAN], &[2.0, 0.0]]).unwrap();
    assert_eq!((validated.best(), validated.one_standard_error()), (0, 0));
    let error = scored(&[4.0], &[&[f64::NAN], &[2.0]]).unwrap_err().to_string();
    assert!(error.contains("no scale has a finite mean of `held out`"), "{error}");
}

#[test]
fn it_is_a_table_csv_and_json() {
    let validated = scored(&[4.0, 3.0, 2.0, 1.0], &[&[9.0, 3.0, 3.0, 4.0], &[9.0, 3.0, 1.0, 4.0]]).unwrap();
    let table = validated.to_string();
    assert!(
        table.contains("best") && table.contains("one standard error") && table.ends_with("4 scales, 2 folds"),
        "{table}"
    );
    assert_eq!(validated.to_csv().lines().nth(3), Some("2,2,2,1,1,3,1"));
    let json = serde_json::to_value(&validated).unwrap();
    assert_eq!((json["best"].as_u64(), json["one_standard_error"].as_u64()), (Some(2), Some(1)));
    assert_eq!(json["points"][2]["scores"].as_array().map(Vec::len), Some(2));
}

fn refused(validation: &CrossValidation, rows: usize) -> String {
    let fits = AtomicUsize::new(0);
    let run = validation.run(rows, |_| {
        fits.fetch_add(1, Ordering::Relaxed);
        Err(Error::EmptyModel)
    });
    assert_eq!(fits.load(Ordering::Relaxed), 0, "nothing is fitted");
    let error = run.unwrap_err();
    assert!(matches!(error, Error::InvalidFolds { .. }), "{error}");
    error.to_string()
}

#[test]
fn splits_that_cannot_be_are_refused_with_numbers() {
    for (validation, rows, told) in [
        (CrossValidation::new(0), 10, "0 folds (expected at least 2)"),
        (CrossValidation::new(1), 10, "1 folds (expected at least 2)"),
        (CrossValidation::new(11), 10, "11 folds of 10 rows"),
        (CrossValidation::new(2), 0, "2 folds of 0 rows"),
        (CrossValidation::assignments([0, 0, 0]), 3, "1 folds (expected at least 2)"),
        (CrossValidation::assignments([0, 2, 0]), 3, "fold 1 holds out no row"),
        (CrossValidation::assignments([0, 1]), 3, "2 assignments for 3 rows"),
        (CrossValidation::assignments([0, usize::MAX - 1, 0]), 3, "folds of 3 rows"),
        (CrossValidation::new(2).stratified(&[0, 1]), 3, "2 labels for 3 rows"),
        (CrossValidation::new(2).stratified(&[0, 1, 0, 0]), 4, "no row of class 1 to train on: all 1 of them"),
        (CrossValidation::assignments([0, 0, 1, 1]).stratified(&[3, 3, 4, 4]), 4, "fold 0 has no row of class 3"),
    ] {
        let error = refused(&validation, rows);
        assert!(error.contains(told), "{error}");
    }
}

fn path_of(fold: &Fold, path: &Path, metric: Option<&str>) -> l1_core::Result<PathRun> {
    let model = Single::new(&[fold.index() as f64], DType::F64, Rule::l1(1.0));
    path.run(
        &model.regularizer()?,
        std::slice::from_ref(&model.weight),
        || model.weight.sqr()?.sum_all(),
        |fit| {
            if let Some(metric) = metric {
                fit.metric(metric, 1.0);
            }
            Ok(())
        },
    )
}

#[test]
fn runs_that_cannot_be_compared_are_refused() {
    let error = |run: &(dyn Fn(&Fold) -> l1_core::Result<PathRun> + Sync)| {
        CrossValidation::new(3).run(6, run).unwrap_err().to_string()
    };
    let differ = error(&|fold| path_of(fold, &Path::grid([3.0, 2.0 - 0.1 * fold.index() as f64]), Some("held out")));
    assert!(differ.contains("at point 1 the scale is 1.9 in fold 1 and 2 in fold 0"), "{differ}");
    let missing = error(&|fold| path_of(fold, &Path::grid([3.0]), Some("other")));
    assert!(missing.contains("fold 0 recorded no `held out` at point 0: call `fit.held_out(score)`"), "{missing}");
    let named = CrossValidation::new(3).metric("other").run(6, |fold| path_of(fold, &Path::grid([3.0]), Some("other")));
    assert_eq!(named.unwrap().metric, "other");
}

#[test]
fn the_first_fold_that_fails_is_named_whatever_the_number_of_threads_and_the_others_stay_available() {
    for threads in [1, 2, 7] {
        let error = CrossValidation::new(6).threads(threads).run(12, |fold| match fold.index() {
            2 | 4 => path_of(fold, &Path::grid([]), None),
            _ => path_of(fold, &Path::grid([1.0]), Some("held out")),
        });
        let Error::InFold { fold: 2, finished, source } = error.unwrap_err() else { panic!("{threads} threads") };
        assert!(finished.len() >= 2, "folds 0 and 1 are done");
        assert!(matches!(*source, Error::InvalidPath { rule: "grid", .. }));
    }
}

#[test]
fn a_panic_of_a_fold_goes_on_in_the_caller() {
    for threads in [1, 3] {
        let run = std::panic::catch_unwind(|| {
            CrossValidation::new(3).threads(threads).run(6, |fold| match fold.index() {
                1 => panic!("a fold of mine"),
                _ => path_of(fold, &Path::grid([1.0]), Some("held out")),
            })
        });
        let payload = run.unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"a fold of mine"), "{threads} threads");
    }
}

#[test]
fn a_fold_number_at_the_end_of_its_type_is_refused() {
    let folds = CrossValidation::assignments([0, usize::MAX]).folds(2);
    assert!(matches!(folds, Err(l1_core::Error::InvalidFolds { .. })));
}
