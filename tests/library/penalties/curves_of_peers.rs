//! Curves on single entries against brute force in 256 bits, skglm and PyProximal (`penalties_curves.safetensors`).

use candle_core::DType;
use l1_core::{Curve, Penalty, kernel};
use tests::tolerance;

use super::{F32, naive, prox, prox_in, tensor, value};
use crate::models::{Fixture, flat};

pub(super) const NAMES: [&str; 7] = ["l1", "mcp", "scad", "log", "half", "two_thirds", "l0"];

pub(super) fn curve(name: &str, shape: f64) -> Curve {
    match name {
        "l1" => Curve::L1,
        "mcp" => Curve::Mcp(shape),
        "scad" => Curve::Scad(shape),
        "log" => Curve::Log(shape),
        "half" => Curve::Half,
        "two_thirds" => Curve::TwoThirds,
        _ => Curve::L0,
    }
}

/// One row of a table: the penalty with its step, and the row's place.
pub(super) struct Row {
    pub penalty: Penalty,
    pub step: f64,
    pub at: usize,
}

/// The rows of `PART.CURVE`.
pub(super) fn rows(f: &Fixture, part: &str, name: &str, extras: &[&str]) -> Vec<Row> {
    let column = |key: &str| f.numbers(&format!("{part}.{name}.{key}"));
    let with = |key: &str| if extras.contains(&key) { column(key) } else { vec![0.0; column("lambda").len()] };
    let shapes =
        if ["mcp", "scad", "log"].contains(&name) { column("shape") } else { vec![0.0; column("lambda").len()] };
    let (steps, element, l2, positive) = (with("step"), with("element"), with("l2"), with("positive"));
    let row = |(at, lambda): (usize, f64)| {
        let penalty = Penalty::l1(lambda).with_curve(curve(name, shapes[at])).with_element(element[at]);
        Row { penalty: penalty.with_l2(l2[at]).with_positive(positive[at] == 1.0), step: steps[at], at }
    };
    column("lambda").into_iter().enumerate().map(row).collect()
}

pub(super) fn line(f: &Fixture, table: &str, at: usize) -> Vec<f64> {
    flat(&f.tensor(table).get(at).unwrap())
}

/// Both with one step for all and with a step for each: two paths through the library.
fn both_proxes(z: &[f64], Row { penalty, step, .. }: &Row) -> [Vec<f64>; 2] {
    let steps = vec![*step; z.len()];
    [prox(z, &[z.len()], penalty, *step), prox_in(z, &[z.len()], penalty, &steps)]
}

/// The largest slope of the prox, jumps aside.
fn steepness(Row { penalty, step, .. }: &Row) -> f64 {
    let s = step / (1.0 + step * penalty.l2());
    match penalty.curve() {
        Curve::Mcp(gamma) if s < gamma => gamma / (gamma - s),
        Curve::Scad(gamma) if s < gamma - 1.0 => (gamma - 1.0) / (gamma - 1.0 - s),
        _ => 1.0,
    }
}

#[test]
fn the_prox_of_every_curve_is_the_minimum_by_brute_force() {
    let f = Fixture::load("penalties_curves.safetensors");
    for (part, extras) in [("plain", &["step"][..]), ("folded", &["step", "element", "l2", "positive"])] {
        for name in NAMES {
            for row in rows(&f, part, name, extras) {
                let z = line(&f, &format!("{part}.{name}.z"), row.at);
                let expected = line(&f, &format!("{part}.{name}.prox"), row.at);
                for found in both_proxes(&z, &row) {
                    for ((found, expected), z) in found.iter().zip(&expected).zip(&z) {
                        // Just above a threshold `a − L` cancels: what is right there is right up to a rounding of z, as steep as
                        // the prox is.
                        let right =
                            (found - expected).abs() <= 1e-12 * expected.abs() + 4e-16 * steepness(&row) * z.abs();
                        assert!(
                            right && (*found == 0.0) == (*expected == 0.0),
                            "{part} {name} {}: {found:e} {expected:e} at {z:e}",
                            row.at
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_value_of_every_curve_is_what_brute_force_and_skglm_charge() {
    let f = Fixture::load("penalties_curves.safetensors");
    for (part, extras) in [("plain", &["step"][..]), ("folded", &["step", "element", "l2", "positive"])] {
        for name in NAMES {
            for row in rows(&f, part, name, extras) {
                let line = |key: &str| line(&f, &format!("{part}.{name}.{key}"), row.at);
                for ((z, u), expected) in line("z").into_iter().zip(line("prox")).zip(line("objective")) {
                    let found = (u - z) * (u - z) / (2.0 * row.step) + value(&[u], &[1], &row.penalty);
                    // Some 10 roundings of the two terms.
                    assert!(
                        (found - expected).abs() <= tolerance(2e-15) * expected,
                        "{part} {name} {}: {found:e} {expected:e} at {z:e}",
                        row.at
                    );
                }
            }
        }
    }
    for name in &NAMES[..6] {
        let extras: &[&str] = if *name == "l1" { &["l2", "positive"] } else { &[] };
        for row in rows(&f, "distance", name, extras) {
            let line = |key: &str| line(&f, &format!("distance.{name}.{key}"), row.at);
            for (w, expected) in line("w").into_iter().zip(line("value")) {
                let found = value(&[w], &[1], &row.penalty);
                // skglm takes log(1 + x) for log1p(x).
                let tolerance = tolerance(if *name == "log" { 1e-12 } else { 1e-14 });
                assert!(
                    found == expected || (found - expected).abs() <= tolerance * expected,
                    "{name} {}: {found:e} {expected:e} at {w:e}",
                    row.at
                );
            }
        }
    }
}

#[test]
fn the_prox_of_every_curve_is_that_of_skglm_and_pyproximal_where_they_are_right() {
    let f = Fixture::load("penalties_curves.safetensors");
    // Their digits, relative to z (README of the fixtures).
    let peers = [
        ("skglm", "l1", 1e-15),
        ("skglm", "mcp", 1e-15),
        ("skglm", "scad", 1e-9),
        ("skglm", "log", 1e-15),
        ("skglm", "half", 1e-15),
        ("skglm", "two_thirds", 5e-9),
        ("pyproximal", "l1", 1e-15),
        ("pyproximal", "scad", 1e-14),
        ("pyproximal", "log", 3e-9),
        ("pyproximal", "l0", 0.0),
    ];
    for (peer, name, on_cpu) in peers {
        for row in rows(&f, "plain", name, &["step"]) {
            let line = |key: &str| line(&f, &format!("plain.{name}.{key}"), row.at);
            let (z, expected, wrong) = (line("z"), line(peer), line(&format!("{peer}.wrong")));
            for found in both_proxes(&z, &row) {
                for (((found, expected), z), _) in
                    found.iter().zip(&expected).zip(&z).zip(&wrong).filter(|(_, wrong)| **wrong == 0.0)
                {
                    let difference = (found - expected).abs();
                    assert!(
                        difference <= tolerance(on_cpu) * z.abs(),
                        "{peer} {name} {}: {found:e} {expected:e} at {z:e}",
                        row.at
                    );
                }
            }
        }
    }
    for row in rows(&f, "folded", "l1", &["step", "element", "l2", "positive"]) {
        let (z, expected) = (line(&f, "folded.l1.z", row.at), line(&f, "folded.l1.skglm", row.at));
        for found in both_proxes(&z, &row) {
            for ((found, expected), z) in found.iter().zip(&expected).zip(&z) {
                assert!((found - expected).abs() <= tolerance(1e-15) * z.abs(), "{found:e} {expected:e} at {z:e}");
            }
        }
    }
}

#[test]
fn in_f32_the_prox_of_every_curve_is_right_up_to_a_few_roundings_of_what_it_is_given() {
    let f = Fixture::load("penalties_curves.safetensors");
    for (part, extras) in [("plain", &["step"][..]), ("folded", &["step", "element", "l2", "positive"])] {
        for name in NAMES {
            for row in rows(&f, part, name, extras) {
                let z = tensor(
                    &line(&f, &format!("{part}.{name}.z"), row.at),
                    &[if part == "plain" { 72 } else { 32 }],
                    DType::F32,
                );
                let steps = (z.ones_like().unwrap() * row.step).unwrap();
                let proxes = [
                    kernel::prox(&z, &row.penalty, row.step).unwrap(),
                    kernel::prox(&z, &row.penalty, &steps).unwrap(),
                ];
                for found in proxes {
                    for (found, z) in flat(&found).into_iter().zip(flat(&z)) {
                        // The prox grows with z, and falls with λ and the step: it has to lie between those of a few roundings more
                        // and a few less. That also decides on which side of a jump it may be.
                        let few = 4.0 * F32;
                        let at = |sign: f64| {
                            let (penalty, step) = (row.penalty.scaled(1.0 - sign * few), row.step * (1.0 - sign * few));
                            let z =
                                z * (1.0 + sign * z.signum() * few * if penalty.positive() { 1.0 } else { z.signum() });
                            naive::prox(&penalty, &[1], &[z], &[step], 1.0, naive::Met::ByItsProx)[0]
                        };
                        let (least, most) = (at(-1.0).abs() * (1.0 - few), at(1.0).abs() * (1.0 + few));
                        let right = (least..=most).contains(&found.abs()) && found * z >= 0.0;
                        assert!(right, "{part} {name} {}: {found:e}, not in {least:e} to {most:e}, at {z:e}", row.at);
                    }
                }
            }
        }
    }
}
