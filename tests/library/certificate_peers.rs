//! Distances and λ_max against other programs: skglm's `subdiff_distance`, and Clarabel's minima over the subdifferential.

use candle_core::Tensor;
use l1_core::{
    Curve, Grouping, Penalty,
    kernel::{self, Stays},
};
use tests::device;

use crate::models::Fixture;

fn tensor(values: &[f64], rows: usize) -> Tensor {
    Tensor::new(values, &device()).unwrap().reshape((rows, values.len() / rows)).unwrap()
}

#[track_caller]
fn assert_near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        // Where the difference of two numbers is left its digits are those of the numbers: of size 1 here, or of the distance.
        let off = (found - expected).abs();
        assert!(
            found == expected || off <= tolerance * expected.abs().max(1.0),
            "{what}, {index}: {found:e} not {expected:e}"
        );
    }
}

/// The curve of each row of a table.
fn curves(file: &Fixture, prefix: &str, name: &str) -> Vec<Curve> {
    let shapes = || file.numbers(&format!("{prefix}.{name}.shape"));
    let rows = file.numbers(&format!("{prefix}.{name}.lambda")).len();
    match name {
        "mcp" => shapes().into_iter().map(Curve::Mcp).collect(),
        "scad" => shapes().into_iter().map(Curve::Scad).collect(),
        "log" => shapes().into_iter().map(Curve::Log).collect(),
        "half" => vec![Curve::Half; rows],
        "two_thirds" => vec![Curve::TwoThirds; rows],
        _ => vec![Curve::L1; rows],
    }
}

#[test]
fn distances_of_entries_are_skglms() {
    let file = Fixture::load("penalties_curves.safetensors");
    for name in ["l1", "mcp", "scad", "log", "half", "two_thirds"] {
        let of = |key: &str| file.numbers(&format!("distance.{name}.{key}"));
        let (w, gradient, distance) = (of("w"), of("gradient"), of("distance"));
        let curves = curves(&file, "distance", name);
        for (row, (lambda, curve)) in of("lambda").into_iter().zip(curves).enumerate() {
            let mut penalty = Penalty::l1(lambda).with_curve(curve);
            if name == "l1" {
                penalty = penalty.with_l2(of("l2")[row]).with_positive(of("positive")[row] != 0.0);
            }
            let at = row * 48..(row + 1) * 48;
            let (w, gradient) = (tensor(&w[at.clone()], 1), tensor(&gradient[at.clone()], 1));
            let found = kernel::distances(&w, &gradient, &penalty).unwrap();
            assert_near(&format!("{penalty}"), &found, &distance[at], 1e-14);
        }
    }
}

#[test]
fn distances_of_rows_are_skglms() {
    let file = Fixture::load("penalties_groups.safetensors");
    for name in ["l1", "mcp", "scad", "half"] {
        let of = |key: &str| file.numbers(&format!("rows.{name}.{key}"));
        let (w, gradient, distance) = (of("w"), of("gradient"), of("distance"));
        let curves = curves(&file, "rows", name);
        for (row, (lambda, curve)) in of("lambda").into_iter().zip(curves).enumerate() {
            let penalty = Penalty::l1(lambda).with_curve(curve).with_group(Grouping::Dim(0)).with_unscaled(true);
            let at = row * 100..(row + 1) * 100;
            let found = kernel::distances(&tensor(&w[at.clone()], 20), &tensor(&gradient[at], 20), &penalty).unwrap();
            assert_near(&format!("{penalty}"), &found, &distance[row * 20..(row + 1) * 20], 1e-14);
        }
    }
}

#[test]
fn distances_of_groups_of_every_size_are_skglms() {
    let file = Fixture::load("penalties_groups.safetensors");
    let of = |key: &str| file.numbers(&format!("sized.{key}"));
    let (w, gradient, distance, positive) = (of("w"), of("gradient"), of("distance"), of("positive"));
    for (row, lambda) in of("lambda").into_iter().enumerate() {
        let mut start = 30 * row;
        for (group, size) in of("sizes").into_iter().enumerate() {
            let end = start + size as usize;
            let penalty = Penalty::l1(lambda).with_group(Grouping::Whole).with_positive(positive[row] != 0.0);
            let (w, gradient) = (tensor(&w[start..end], 1), tensor(&gradient[start..end], 1));
            let found = kernel::distances(&w, &gradient, &penalty).unwrap();
            let expected = distance[8 * row + group];
            // Groups of one entry are entries, and come one by one.
            assert_near(&format!("{penalty}, size {size}"), &found, &[expected], 1e-14);
            start = end;
        }
    }
}

#[test]
fn distances_of_sparse_groups_are_clarabels_minima() {
    let file = Fixture::load("penalties_groups.safetensors");
    let of = |key: &str| file.numbers(&format!("group_distance.{key}"));
    let (w, gradient, distance) = (of("w"), of("gradient"), of("distance"));
    let mut start = 0;
    for (row, size) in of("sizes").into_iter().enumerate() {
        let end = start + size as usize;
        let penalty = Penalty::l1(of("kappa")[row]).with_group(Grouping::Whole).with_unscaled(true);
        let penalty = penalty.with_element(of("element")[row]).with_l2(of("l2")[row]);
        let penalty = penalty.with_positive(of("positive")[row] != 0.0);
        let (w, gradient) = (tensor(&w[start..end], 1), tensor(&gradient[start..end], 1));
        let found = kernel::distances(&w, &gradient, &penalty).unwrap();
        // What the solver finds is up to its own tolerance above the minimum.
        assert_near(&format!("{penalty}"), &found, &[distance[row]], 1e-9);
        start = end;
    }
}

#[test]
fn distances_and_lambda_max_of_singular_values_are_those_of_clarabel_and_numpy() {
    let file = Fixture::load("penalties_groups.safetensors");
    for name in ["tall", "wide", "deficient", "zero"] {
        let of = |key: &str| file.tensor(&format!("matrix.{name}.{key}")).clone();
        let lambda = file.number(&format!("matrix.{name}.lambda"));
        let penalty = Penalty::l1(lambda).with_group(Grouping::Singular);
        let (distance, spectral) =
            (file.numbers(&format!("matrix.{name}.distance")), file.numbers(&format!("matrix.{name}.spectral")));
        for gradient in 0..3 {
            let v = of("gradient").get(gradient).unwrap();
            let found = kernel::distances(&of("w"), &v, &penalty).unwrap();
            assert_near(name, &found, &[distance[gradient]], 1e-9);
            let found = kernel::lambda_max(&v, &penalty, Stays::Stationary).unwrap();
            assert_near(name, &found.groups, &[spectral[gradient]], 1e-14);
            assert_eq!(found.place.unwrap().to_string(), "[.., ..]");
        }
    }
}
