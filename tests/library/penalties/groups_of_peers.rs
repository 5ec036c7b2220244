//! Groups and singular values against brute force, skglm, PyProximal, `brentq` and Clarabel (`penalties_groups.safetensors`).

use candle_core::DType;
use l1_core::{Curve, Grouping, Penalty, kernel};
use tests::tolerance;

use super::{
    F32,
    curves_of_peers::{NAMES, line, rows},
    naive, prox, prox_in, tensor, value,
};
use crate::models::{Fixture, flat};

const ROWS: [usize; 2] = [20, 5];

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// Consecutive parts of these sizes.
fn parts(values: &[f64], sizes: &[f64]) -> Vec<Vec<f64>> {
    let mut rest = values.iter().copied();
    sizes.iter().map(|size| rest.by_ref().take(*size as usize).collect()).collect()
}

/// The columns of a matrix as rows.
fn turned(values: &[f64], [rows, columns]: [usize; 2]) -> Vec<f64> {
    (0..rows * columns).map(|at| values[at % rows * columns + at / rows]).collect()
}

/// Groups of 5 as rows and as columns, with one step and with a step for each entry: four paths through the library.
fn four_proxes(z: &[f64], penalty: &Penalty, step: f64) -> Vec<Vec<f64>> {
    let (steps, columns) = (vec![step; 100], turned(z, ROWS));
    let (of_rows, of_columns) = (penalty.with_group(Grouping::Dim(0)), penalty.with_group(Grouping::Dim(1)));
    let back = |columns: Vec<f64>| turned(&columns, [5, 20]);
    vec![
        prox(z, &ROWS, &of_rows, step),
        prox_in(z, &ROWS, &of_rows, &steps),
        back(prox(&columns, &[5, 20], &of_columns, step)),
        back(prox_in(&columns, &[5, 20], &of_columns, &steps)),
    ]
}

#[test]
fn the_norm_of_a_group_after_the_prox_is_that_of_brute_force_with_both_weights() {
    let f = Fixture::load("penalties_groups.safetensors");
    for name in NAMES {
        for row in rows(&f, "rows", name, &["step"]) {
            let z = line(&f, &format!("rows.{name}.z"), row.at);
            for (unscaled, key) in [(true, "radius"), (false, "scaled_radius")] {
                let expected = line(&f, &format!("rows.{name}.{key}"), row.at);
                for found in four_proxes(&z, &row.penalty.with_unscaled(unscaled), row.step) {
                    for ((found, z), radius) in found.chunks(5).zip(z.chunks(5)).zip(&expected) {
                        for (found, entry) in found.iter().zip(z) {
                            let expected = if *radius == 0.0 { 0.0 } else { entry * (radius / norm(z)) };
                            // Just above a threshold `‖z‖ − L` cancels.
                            let right =
                                (found - expected).abs() <= 1e-12 * expected.abs() + tolerance(1e-15) * entry.abs();
                            assert!(
                                right && (*found == 0.0) == (expected == 0.0),
                                "{name} {} {key}: {found:e} {expected:e}",
                                row.at
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn in_f32_a_group_with_one_step_is_right_up_to_a_few_roundings_of_what_it_is_given() {
    let f = Fixture::load("penalties_groups.safetensors");
    for name in NAMES {
        for row in rows(&f, "rows", name, &["step"]) {
            let z = tensor(&line(&f, &format!("rows.{name}.z"), row.at), &ROWS, DType::F32);
            let penalty = row.penalty.with_group(Grouping::Dim(0));
            let found = flat(&kernel::prox(&z, &penalty, row.step).unwrap());
            for (found, z) in found.chunks(5).zip(flat(&z).chunks(5)) {
                let few = 4.0 * F32;
                // The norm grows with ‖z‖, and falls with the step: see `curves_of_peers.rs`.
                let at = |sign: f64| {
                    let step = 5f64.sqrt() * row.step * (1.0 - sign * few);
                    naive::radius(penalty.curve(), penalty.lambda(), norm(z) * (1.0 + sign * few), step)
                };
                for (found, entry) in found.iter().zip(z).filter(|(_, entry)| **entry != 0.0) {
                    let share = found / entry * norm(z);
                    let (least, most) = (at(-1.0) * (1.0 - few), at(1.0) * (1.0 + few));
                    assert!(
                        (least..=most).contains(&share),
                        "{name} {}: {share:e}, not in {least:e} to {most:e}",
                        row.at
                    );
                }
            }
        }
    }
}

#[test]
fn the_prox_of_rows_is_that_of_skglm_and_pyproximal_where_they_are_right() {
    let f = Fixture::load("penalties_groups.safetensors");
    for (name, on_cpu) in [("l1", 1e-15), ("mcp", 1e-15), ("scad", 1e-14), ("half", 1e-15)] {
        for row in rows(&f, "rows", name, &["step"]) {
            let line = |key: &str| line(&f, &format!("rows.{name}.{key}"), row.at);
            let (z, expected, wrong) = (line("z"), line("skglm"), line("skglm.wrong"));
            for found in four_proxes(&z, &row.penalty.with_unscaled(true), row.step) {
                for (at, (found, expected)) in
                    found.iter().zip(&expected).enumerate().filter(|(at, _)| wrong[at / 5] == 0.0)
                {
                    let size = norm(&z[at / 5 * 5..][..5]);
                    assert!(
                        (found - expected).abs() <= tolerance(on_cpu) * size,
                        "{name} {}: {found:e} {expected:e}",
                        row.at
                    );
                }
            }
        }
    }
    for row in rows(&f, "rows", "l1", &["step"]) {
        let (z, expected) = (line(&f, "rows.l1.z", row.at), line(&f, "rows.l1.pyproximal", row.at));
        for found in four_proxes(&z, &row.penalty.with_unscaled(true), row.step) {
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!(
                    (found - expected).abs() <= tolerance(1e-15) * norm(&z[at / 5 * 5..][..5]),
                    "{found:e} {expected:e}"
                );
            }
        }
    }
}

#[test]
fn the_value_of_rows_is_that_of_skglm() {
    let f = Fixture::load("penalties_groups.safetensors");
    for name in ["l1", "mcp", "scad", "half"] {
        for row in rows(&f, "rows", name, &["step"]) {
            let (w, expected) =
                (line(&f, &format!("rows.{name}.w"), row.at), f.numbers(&format!("rows.{name}.value"))[row.at]);
            let penalty = row.penalty.with_unscaled(true);
            let found = [
                value(&w, &ROWS, &penalty.with_group(Grouping::Dim(0))),
                value(&turned(&w, ROWS), &[5, 20], &penalty.with_group(Grouping::Dim(1))),
            ];
            for found in found {
                assert!(
                    (found - expected).abs() <= tolerance(1e-14) * expected,
                    "{name} {}: {found:e} {expected:e}",
                    row.at
                );
            }
        }
    }
}

#[test]
fn groups_of_eight_sizes_with_weights_of_root_size_are_those_of_skglm() {
    let f = Fixture::load("penalties_groups.safetensors");
    let sizes = f.numbers("sized.sizes");
    for part in ["sized", "sparse"] {
        let column = |key: &str| f.numbers(&format!("{part}.{key}"));
        for (at, lambda) in column("lambda").into_iter().enumerate() {
            let (element, positive) =
                if part == "sized" { (0.0, column("positive")[at] == 1.0) } else { (column("element")[at], false) };
            let penalty = Penalty::l1(lambda).with_group(Grouping::Whole).with_element(element).with_positive(positive);
            let of = |key: &str| parts(&line(&f, &format!("{part}.{key}"), at), &sizes);
            let mut total = 0.0;
            for ((z, w), expected) in of("z").iter().zip(of("w")).zip(of("prox")) {
                let step = column("step")[at];
                for found in
                    [prox(z, &[z.len()], &penalty, step), prox_in(z, &[z.len()], &penalty, &vec![step; z.len()])]
                {
                    for (found, expected) in found.iter().zip(&expected) {
                        assert!(
                            (found - expected).abs() <= tolerance(1e-14) * norm(z),
                            "{part} {at}: {found:e} {expected:e}"
                        );
                    }
                }
                // skglm's value knows no sign.
                total += value(&w, &[w.len()], &penalty.with_positive(false));
            }
            let expected = column("value")[at];
            assert!((total - expected).abs() <= tolerance(1e-14) * expected, "{part} {at}: {total:e} {expected:e}");
        }
    }
}

/// The groups of `metric`: z, t, κ and the prox.
fn metric(f: &Fixture) -> impl Iterator<Item = (Vec<f64>, Vec<f64>, f64, Vec<f64>)> {
    let sizes = f.numbers("metric.sizes");
    let of = |key: &str| parts(&f.numbers(&format!("metric.{key}")), &sizes);
    of("z")
        .into_iter()
        .zip(of("t"))
        .zip(f.numbers("metric.kappa"))
        .zip(of("prox"))
        .map(|(((z, t), kappa), u)| (z, t, kappa, u))
}

/// κ‖u‖
fn in_norm(kappa: f64) -> Penalty {
    Penalty::l1(kappa).with_group(Grouping::Whole).with_unscaled(true)
}

#[test]
fn a_group_in_a_metric_is_that_of_bisection_in_256_bits() {
    let f = Fixture::load("penalties_groups.safetensors");
    for (at, (z, t, kappa, expected)) in metric(&f).enumerate() {
        let found = prox_in(&z, &[z.len()], &in_norm(kappa), &t);
        let is_at_its_threshold = at % 7 == 4 && at <= 53;
        // There the rounding of z, t and κ alone moves the norm by 1e-16·‖z‖, which is 1e-10 of it.
        let tolerance = tolerance(if is_at_its_threshold { 1e-9 } else { 1e-13 });
        for (found, expected) in found.iter().zip(&expected) {
            let right = (found - expected).abs() <= tolerance * expected.abs();
            assert!(right, "group {at}: {found:e} {expected:e}, {:e}", (found / expected - 1.0).abs());
        }
    }
}

#[test]
fn in_f32_a_group_in_a_metric_is_right_up_to_a_few_roundings_of_what_it_is_given() {
    let f = Fixture::load("penalties_groups.safetensors");
    for (at, (z, t, kappa, _)) in metric(&f).enumerate() {
        let (z, t) = (tensor(&z, &[z.len()], DType::F32), tensor(&t, &[t.len()], DType::F32));
        let found = flat(&kernel::prox(&z, &in_norm(kappa), &t).unwrap());
        let (z, t) = (flat(&z), flat(&t));
        // Every coordinate falls with κ.
        let few = 4.0 * F32;
        let (more, less) =
            (naive::linear_group(&z, &t, kappa * (1.0 - few)), naive::linear_group(&z, &t, kappa * (1.0 + few)));
        for (i, found) in found.iter().enumerate() {
            // 4e-7 relative: `math.md` §3.
            let (least, most) = (less[i].abs() * (1.0 - 4e-7), more[i].abs() * (1.0 + 4e-7));
            let right = (least..=most).contains(&found.abs()) && found * z[i] >= 0.0;
            assert!(right, "group {at}: {found:e}, not in {least:e} to {most:e}");
        }
    }
}

#[test]
fn a_group_in_a_metric_is_as_low_as_clarabel_finds() {
    let f = Fixture::load("penalties_groups.safetensors");
    let groups: Vec<_> = metric(&f).collect();
    for (index, expected) in f.numbers("metric.clarabel.index").into_iter().zip(f.numbers("metric.clarabel.objective"))
    {
        let (z, t, kappa, _) = &groups[index as usize];
        let u = prox_in(z, &[z.len()], &in_norm(*kappa), t);
        let moved = u.iter().zip(z).zip(t).map(|((u, z), t)| if u == z { 0.0 } else { (u - z) * (u - z) / (2.0 * t) });
        let found = moved.sum::<f64>() + kappa * norm(&u);
        // Clarabel's own accuracy.
        assert!((found - expected).abs() <= 1e-9 * expected, "group {index}: {found:e} {expected:e}");
    }
}

#[test]
fn element_ridge_and_sign_fold_into_a_group_in_a_metric_as_clarabel_finds() {
    let f = Fixture::load("penalties_groups.safetensors");
    let column = |key: &str| f.numbers(&format!("metric.folded.{key}"));
    let of = |key: &str| parts(&column(key), &column("sizes"));
    for (at, ((z, t), expected)) in of("z").iter().zip(of("t")).zip(of("prox")).enumerate() {
        let penalty = in_norm(column("kappa")[at]).with_element(column("element")[at]).with_l2(column("l2")[at]);
        let penalty = penalty.with_positive(column("positive")[at] == 1.0);
        let u = prox_in(z, &[z.len()], &penalty, &t);
        let moved: f64 = u.iter().zip(z).zip(&t).map(|((u, z), t)| (u - z) * (u - z) / (2.0 * t)).sum();
        let objective = moved + value(&u, &[u.len()], &penalty);
        assert!((objective - column("objective")[at]).abs() <= 1e-11 * objective.max(1.0), "group {at}");
        for (found, expected) in u.iter().zip(&expected) {
            // Clarabel's own accuracy.
            assert!((found - expected).abs() <= 1e-5 * norm(z).max(1.0), "group {at}: {found:e} {expected:e}");
        }
    }
}

#[test]
fn singular_values_are_shrunk_as_pyproximal_does() {
    let f = Fixture::load("penalties_groups.safetensors");
    for matrix in ["tall", "wide", "deficient", "zero"] {
        let number = |key: &str| f.number(&format!("matrix.{matrix}.{key}"));
        let of = |key: &str| f.tensor(&format!("matrix.{matrix}.{key}"));
        let penalty = Penalty::l1(number("lambda")).with_group(Grouping::Singular);
        for (curve, key) in [(Curve::L1, "prox"), (Curve::Log(0.5), "prox.log"), (Curve::Scad(3.7), "prox.scad")] {
            let penalty = penalty.with_curve(curve);
            let expected = flat(of(key));
            let size = flat(of("z")).into_iter().fold(0.0, |size: f64, z| size.max(z.abs()));
            let found = flat(&kernel::prox(of("z"), &penalty, number("step")).unwrap());
            for (found, expected) in found.iter().zip(&expected) {
                // Two decompositions, of some roundings each.
                assert!((found - expected).abs() <= tolerance(1e-14) * size, "{matrix} {key}: {found:e} {expected:e}");
            }
            let narrow = kernel::prox(&of("z").to_dtype(DType::F32).unwrap(), &penalty, number("step")).unwrap();
            for (narrow, found) in flat(&narrow).iter().zip(&found) {
                // The rounding of z moves the singular values by half an ulp of ‖z‖_F, 6 entries long at most.
                assert!(
                    (narrow - found).abs() <= 6.0 * 2.0 * F32 * size,
                    "{matrix} {key} in f32: {narrow:e} {found:e}"
                );
            }
        }
        let (found, expected) = (kernel::value(of("w"), &penalty).unwrap(), number("value"));
        assert!((found - expected).abs() <= tolerance(1e-14) * expected, "{matrix}: {found:e} {expected:e}");
    }
}
