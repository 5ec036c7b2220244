//! Stability selection against its definition: all halves of a small set of rows, counted by hand; and its bounds.

use std::collections::BTreeSet;

use candle_core::{DType, Tensor};
use l1_core::{Error, ErrorBound, StabilitySelected, StabilitySelection, Subsample};
use tests::device;

use super::{matrix, scatter};
use crate::models::flat;

const ROWS: usize = 8;
const FEATURES: usize = 5;
const LAMBDAS: [f64; 3] = [0.3, 0.2, 0.1];

/// Each feature whose covariance with the target over these rows is above λ.
fn selected(rows: &[usize]) -> Vec<Vec<usize>> {
    let covariance = |j: usize| {
        rows.iter().map(|i| scatter(*i, j) * (scatter(*i, 1) + 0.5 * scatter(*i, 9))).sum::<f64>() / rows.len() as f64
    };
    LAMBDAS.iter().map(|lambda| (0..FEATURES).filter(|j| covariance(*j).abs() > *lambda).collect()).collect()
}

/// All halves.
fn halves() -> Vec<Vec<usize>> {
    let bits = (0..1u32 << ROWS).filter(|bits| bits.count_ones() as usize == ROWS / 2);
    bits.map(|bits| (0..ROWS).filter(|row| bits >> row & 1 == 1).collect()).collect()
}

fn run(selection: &StabilitySelection) -> StabilitySelected {
    selection.run(ROWS, FEATURES, |half| Ok(selected(half.rows()))).unwrap()
}

#[test]
fn proportions_come_to_those_of_all_halves() {
    let all = halves();
    assert_eq!(all.len(), 70);
    let number = 4000;
    for stable in [run(&StabilitySelection::pairs(number / 2)), run(&StabilitySelection::subsamples(number))] {
        for (point, at) in stable.proportions.iter().enumerate() {
            for (feature, found) in at.iter().enumerate() {
                let exact = all.iter().filter(|rows| selected(rows)[point].contains(&feature)).count() as f64 / 70.0;
                // Five standard errors; the halves of a pair may both be in or out, which doubles the variance at most.
                let tolerance = 5.0 * (2.0 * exact * (1.0 - exact) / number as f64).sqrt();
                assert!((found - exact).abs() <= tolerance, "point {point}, feature {feature}: {found}, {exact}");
            }
        }
        let q =
            all.iter().map(|rows| selected(rows).concat().into_iter().collect::<BTreeSet<_>>().len()).sum::<usize>();
        // At most 5 features each time: 2.5/√4000, five times.
        assert!((stable.selected_on_average - q as f64 / 70.0).abs() < 0.2);
    }
}

#[test]
fn what_is_counted_is_the_definition_on_the_halves_that_were_drawn() {
    for selection in [StabilitySelection::pairs(20).seed(3), StabilitySelection::subsamples(31).seed(3)] {
        let stable = run(&selection);
        let halves = selection.halves(ROWS).unwrap();
        let sets: Vec<_> = halves.iter().map(|half| selected(half.rows())).collect();
        let number = halves.len() as f64;
        assert_eq!((stable.subsamples, stable.features), (halves.len(), FEATURES));
        for feature in 0..FEATURES {
            let at = |point: usize| sets.iter().filter(|set| set[point].contains(&feature)).count() as f64 / number;
            let all: Vec<_> = (0..3).map(at).collect();
            assert_eq!(stable.proportions.iter().map(|at| at[feature]).collect::<Vec<_>>(), all);
            assert_eq!(stable.highest[feature], all.iter().copied().fold(0.0, f64::max));
            let is_in = |set: &Vec<Vec<usize>>| set.iter().any(|set| set.contains(&feature));
            assert_eq!(stable.at_any_scale[feature], sets.iter().filter(|set| is_in(set)).count() as f64 / number);
            if let Some(simultaneous) = &stable.simultaneous {
                let both = sets.chunks(2).filter(|pair| pair.iter().all(is_in)).count() as f64;
                assert_eq!(simultaneous[feature], both / 20.0);
            }
            assert_eq!(stable.selected.contains(&feature), stable.highest[feature] >= stable.threshold);
        }
        assert_eq!(stable.simultaneous.is_some(), stable.pairs.is_some());
        // Every feature is counted in the mean by the share of halves that it is in.
        assert!((stable.selected_on_average - stable.at_any_scale.iter().sum::<f64>()).abs() < 1e-12);
    }
}

#[test]
fn pairs_are_complementary_and_plain_halves_are_not() {
    for rows in [8, 9] {
        let halves = StabilitySelection::pairs(30).seed(2).halves(rows).unwrap();
        assert_eq!(halves.len(), 60);
        for (index, half) in halves.iter().enumerate() {
            assert_eq!((half.index(), half.rows().len()), (index, 4));
            assert!(half.rows().is_sorted());
        }
        for pair in halves.chunks(2) {
            let both: BTreeSet<_> = pair.iter().flat_map(Subsample::rows).collect();
            assert_eq!(both.len(), 8);
        }
        let plain = StabilitySelection::subsamples(60).seed(2).halves(rows).unwrap();
        let overlaps = plain.chunks(2).filter(|pair| pair[0].rows().iter().any(|row| pair[1].rows().contains(row)));
        assert!(overlaps.count() > 20);
    }
}

#[test]
fn it_is_the_same_on_any_number_of_threads() {
    let proportions = |threads| run(&StabilitySelection::pairs(25).seed(4).threads(threads)).proportions;
    let expected = proportions(1);
    assert_eq!([0, 2, 9].map(proportions), [(); 3].map(|()| expected.clone()));
    assert_ne!(run(&StabilitySelection::pairs(25).seed(5)).proportions, expected);
}

#[test]
fn lambdas_that_not_all_halves_have_are_left_out() {
    let selection = StabilitySelection::pairs(5).scales(LAMBDAS);
    let stable = selection.run(ROWS, FEATURES, |half| {
        let mut sets = selected(half.rows());
        sets.truncate(if half.index() == 3 { 2 } else { 3 });
        Ok(sets)
    });
    let stable = stable.unwrap();
    assert_eq!((stable.proportions.len(), stable.scales), (2, Some(LAMBDAS[..2].to_vec())));
}

/// Proportions as of 100 features, of which each half selects 10.
fn of_ten(pairs: Option<usize>, threshold: f64) -> StabilitySelected {
    let selection = pairs.map_or_else(|| StabilitySelection::subsamples(100), StabilitySelection::pairs);
    selection.threshold(threshold).run(40, 100, |_| Ok(vec![(0..10).collect()])).unwrap()
}

#[test]
fn bounds_are_those_of_the_papers() {
    let stable = of_ten(Some(50), 0.75);
    assert_eq!((stable.selected_on_average, stable.selected.len()), (10.0, 10));
    let bound = |stable: &StabilitySelected, bound| stable.expected_false(bound).unwrap();
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12 * expected, "{found} {expected}");
    // q²/((2π − 1)p).
    close(bound(&stable, ErrorBound::Exchangeable), 100.0 / (0.5 * 100.0));
    close(bound(&of_ten(None, 0.9), ErrorBound::Exchangeable), 100.0 / (0.8 * 100.0));
    // θq/(2π − 1) at θ = q/p is the same number without its assumptions.
    close(bound(&stable, ErrorBound::WorstCase { theta: None }), 2.0);
    close(bound(&stable, ErrorBound::WorstCase { theta: Some(0.02) }), 0.4);
    // C = 1/(2(2π − 1 − 1/(2B))) = 1/(2·(0.5 − 0.01)) at π = ¾; 4(1 − π + 1/(2B))/(1 + 1/B) = 4·0.11/1.02 at π = 0.9.
    close(bound(&stable, ErrorBound::Unimodal { theta: None }), 1.0 / 0.98);
    close(bound(&of_ten(Some(50), 0.9), ErrorBound::Unimodal { theta: None }), 0.44 / 1.02);
    // Between two multiples of 1/100 the next one counts.
    close(bound(&of_ten(Some(50), 0.891), ErrorBound::Unimodal { theta: None }), 0.44 / 1.02);
    close(bound(&of_ten(Some(50), 0.6), ErrorBound::Unimodal { theta: None }), 0.5 / 0.19);
    let table = stable.to_string();
    assert!(
        table.contains("expected false ones at most: 2 (exchangeable noise), 2 (no assumption), 1.0204 (unimodal)"),
        "{table}"
    );
}

#[test]
fn a_bound_that_does_not_apply_is_an_error() {
    let refused = |stable: &StabilitySelected, bound| match stable.expected_false(bound) {
        Err(Error::NoBound { why }) => why,
        other => panic!("{other:?}"),
    };
    let plain = of_ten(None, 0.75);
    assert!(refused(&plain, ErrorBound::WorstCase { theta: None }).contains("complementary pairs"));
    assert!(refused(&plain, ErrorBound::Unimodal { theta: None }).contains("complementary pairs"));
    let pairs = of_ten(Some(50), 0.75);
    for theta in [0.0, -0.1, 1.1, f64::NAN] {
        assert!(refused(&pairs, ErrorBound::WorstCase { theta: Some(theta) }).contains("at most 1)"));
    }
    assert!(refused(&pairs, ErrorBound::Unimodal { theta: Some(0.58) }).contains("at most 1/√3)"));
    // min(½ + θ², ½ + 1/(2B) + ¾θ²) at θ = 0.4 and B = 50 is min(0.66, 0.63).
    let low = of_ten(Some(50), 0.63);
    assert!(refused(&low, ErrorBound::Unimodal { theta: Some(0.4) }).contains("expected above 0.63"));
    assert!(of_ten(Some(50), 0.64).expected_false(ErrorBound::Unimodal { theta: Some(0.4) }).is_ok());
    // π ≥ ½ + 1/B.
    assert!(refused(&of_ten(Some(50), 0.51), ErrorBound::Unimodal { theta: Some(0.01) }).contains("threshold"));
    assert!(of_ten(Some(50), 0.52).expected_false(ErrorBound::Unimodal { theta: Some(0.01) }).is_ok());
}

#[test]
fn another_threshold_selects_anew() {
    let stable = run(&StabilitySelection::pairs(30).threshold(0.9));
    let lower = stable.clone().with_threshold(0.55).unwrap();
    assert!(lower.selected.len() >= stable.selected.len());
    assert!(lower.selected.iter().all(|feature| lower.highest[*feature] >= 0.55));
    assert!(matches!(stable.with_threshold(0.5), Err(Error::InvalidStability { .. })));
}

#[test]
fn what_cannot_be_is_refused_with_numbers() {
    let sets = |sets: Vec<Vec<usize>>| move |_: &Subsample| Ok(sets.clone());
    let good = || sets(vec![vec![0]]);
    for (run, told) in [
        (StabilitySelection::pairs(0).run(8, 3, good()), "0 subsamples of 8 rows"),
        (StabilitySelection::pairs(5).run(1, 3, good()), "5 subsamples of 1 rows"),
        (StabilitySelection::pairs(5).run(8, 0, good()), "no features"),
        (StabilitySelection::pairs(5).threshold(0.5).run(8, 3, good()), "a threshold of 0.5"),
        (StabilitySelection::pairs(5).threshold(f64::NAN).run(8, 3, good()), "a threshold of NaN"),
        (StabilitySelection::pairs(5).threshold(1.01).run(8, 3, good()), "a threshold of 1.01"),
        (StabilitySelection::pairs(5).names(["a", "b"]).run(8, 3, good()), "2 names for 3 features"),
        (StabilitySelection::pairs(5).scales([]).run(8, 3, good()), "0 scales for 1 sets"),
        (StabilitySelection::pairs(5).run(8, 3, sets(vec![])), "returned no set"),
        (
            StabilitySelection::pairs(5).run(8, 3, sets(vec![vec![], vec![3]])),
            "subsample 0 selected feature 3 at point 1",
        ),
    ] {
        let error = run.unwrap_err();
        assert!(matches!(error, Error::InvalidStability { .. }) && error.to_string().contains(told), "{error}");
    }
    let x = Tensor::zeros((7, 2), DType::F32, &device()).unwrap();
    let error = StabilitySelection::pairs(5).run(8, 3, |half| half.select(&x).map(|_| vec![])).unwrap_err();
    assert!(matches!(error, Error::InSubsample { subsample: 0, .. }), "{error}");
}

#[test]
fn a_feature_that_is_listed_twice_counts_once() {
    let stable = StabilitySelection::pairs(5).run(8, 3, |_| Ok(vec![vec![1, 1]])).unwrap();
    assert_eq!((stable.proportions, stable.selected_on_average), (vec![vec![0.0, 1.0, 0.0]], 1.0));
}

#[test]
fn halves_select_rows_of_tensors() {
    let x = matrix(9, 2, |i, j| (2 * i + j) as f64);
    let half = &StabilitySelection::pairs(1).halves(9).unwrap()[1];
    let expected: Vec<_> = half.rows().iter().flat_map(|row| [2.0 * *row as f64, 2.0 * *row as f64 + 1.0]).collect();
    assert_eq!(flat(&half.select(&x).unwrap()), expected);
}

#[test]
fn it_is_a_table_csv_and_json() {
    let selection = StabilitySelection::pairs(20).seed(3).scales(LAMBDAS).names(["a", "b", "c, d", "e", "f"]);
    let stable = run(&selection);
    let table = stable.to_string();
    assert!(table.contains("of 5 features in at least 0.75 of 40 halves"), "{table}");
    let csv = stable.to_csv();
    let header = csv.lines().next().unwrap();
    assert_eq!(header, "feature,name,highest,at_any_scale,simultaneous,selected,scale 0.3,scale 0.2,scale 0.1");
    assert!(csv.lines().nth(3).unwrap().starts_with("2,\"c, d\","), "{csv}");
    assert_eq!(csv.lines().count(), 6);
    let json = serde_json::to_value(&stable).unwrap();
    assert_eq!(json["proportions"][0].as_array().map(Vec::len), Some(5));
}
