//! Does l1 compute what other programs compute? Values, proxes, distances and gaps beside theirs, point by point.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::Linear;
use clap::Parser;
use examples::{
    data::{Khan, Labelled},
    measure::largest,
    run::Options,
};
use l1_core::{
    Curve, Grouping, LinearLoss, LinearProblem, Penalty, Regularized, Rule, Visitor,
    kernel::{self, Stays, Step},
};

/// The largest difference that passes beside a peer: far beyond rounding, and what a peer counts as wrong from.
const AGREED: f64 = 1e-8;

/// The largest that passes beside what was computed in 256 bits.
const EXACT: f64 = 1e-13;

/// Values, proxes, distances and gaps beside those of other programs
#[derive(Parser)]
#[command(after_help = "Duality gaps are computed in f64 on the CPU, whatever the device.")]
struct Args {
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut folder = args.options.folder("agreement")?;
    let l1 = L1(args.options.device.device()?);
    let (curves, groups) = (Fixture::open("penalties_curves", &l1.0)?, Fixture::open("penalties_groups", &l1.0)?);
    let tables = [
        single_numbers(&l1, &curves)?,
        groups_of_entries(&l1, &groups)?,
        metrics(&l1, &groups)?,
        matrices(&groups)?,
        problems(&l1)?,
    ];
    let text = tables.iter().map(Table::markdown).collect::<Vec<_>>().join("\n");
    println!("{text}");
    let lines = || tables.iter().flat_map(|table| &table.lines);
    let (points, wrong) =
        (lines().map(|line| line.points).sum::<usize>(), lines().map(|line| line.wrong).sum::<usize>());
    println!(
        "{points} numbers of l1 beside those of other programs; beside these, {wrong} where the other program is wrong."
    );
    for line in lines() {
        let Line { key: Key { penalty, what, peer, .. }, worst, .. } = line;
        let tolerance = if peer.contains("256 bits") { EXACT } else { AGREED };
        ensure!(*worst <= tolerance, "{penalty}, {what}: differs from {peer} by {worst:.1e}");
    }
    folder.text("agreement.md", &text)?;
    println!("{}", folder.summary());
    Ok(())
}

/// What a line of a table compares.
#[derive(Clone, PartialEq)]
struct Key {
    penalty: String,
    what: &'static str,
    peer: &'static str,
    /// What the differences are divided by.
    relative_to: &'static str,
}

/// The worst of the differences seen so far.
struct Line {
    key: Key,
    points: usize,
    worst: f64,
    /// Points at which the peer is known to be wrong; they are not compared.
    wrong: usize,
}

struct Table {
    title: &'static str,
    lines: Vec<Line>,
}

impl Table {
    fn new(title: &'static str) -> Self {
        Self { title, lines: Vec::new() }
    }

    /// Adds a pair of numbers to the line of this key.
    fn compare(&mut self, key: &Key, found: f64, expected: f64, scale: f64) {
        let difference = if found == expected { 0.0 } else { (found - expected).abs() / scale };
        let line = self.line(key);
        line.points += 1;
        line.worst = largest([line.worst, difference]);
    }

    /// Adds a point at which the peer is wrong.
    fn skip(&mut self, key: &Key) {
        self.line(key).wrong += 1;
    }

    fn line(&mut self, key: &Key) -> &mut Line {
        let at = self.lines.iter().position(|line| line.key == *key).unwrap_or_else(|| {
            self.lines.push(Line { key: key.clone(), points: 0, worst: 0.0, wrong: 0 });
            self.lines.len() - 1
        });
        &mut self.lines[at]
    }

    fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n", self.title);
        text += "| penalty | what | beside | points | worst difference | relative to | peer wrong |\n";
        text += "|---|---|---|---:|---:|---|---:|\n";
        for Line { key: Key { penalty, what, peer, relative_to }, points, worst, wrong } in &self.lines {
            // The next power of ten: what is below it is rounding, and another with every order of additions.
            let worst = if *worst == 0.0 { "0".to_owned() } else { format!("≤ 1e{}", worst.log10().ceil()) };
            let wrong = if *wrong == 0 { "–".to_owned() } else { wrong.to_string() };
            text += &format!("| {penalty} | {what} | {peer} | {points} | {worst} | {relative_to} | {wrong} |\n");
        }
        text
    }
}

fn key(penalty: impl Into<String>, what: &'static str, peer: &'static str, relative_to: &'static str) -> Key {
    Key { penalty: penalty.into(), what, peer, relative_to }
}

/// What a difference of two numbers of size 1 leaves has their digits, not its own.
fn at_least_one(expected: f64) -> f64 {
    expected.abs().max(1.0)
}

/// A file of `tests/fixtures`; its `README.md` says what each tensor is.
struct Fixture {
    name: String,
    tensors: HashMap<String, Tensor>,
}

impl Fixture {
    fn open(name: &str, device: &Device) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
        let path = folder.join(format!("{name}.safetensors"));
        let tensors =
            candle_core::safetensors::load(&path, device).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { name: name.to_owned(), tensors })
    }

    fn has(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    fn tensor(&self, tensor: &str) -> Result<&Tensor> {
        self.tensors.get(tensor).with_context(|| format!("{} holds no tensor `{tensor}`", self.name))
    }

    fn numbers(&self, tensor: &str) -> Result<Vec<f64>> {
        flat(self.tensor(tensor)?)
    }

    fn number(&self, tensor: &str) -> Result<f64> {
        Ok(self.tensor(tensor)?.to_scalar()?)
    }

    /// Zeros where there are none.
    fn numbers_or_zeros(&self, tensor: &str, count: usize) -> Result<Vec<f64>> {
        if self.has(tensor) { self.numbers(tensor) } else { Ok(vec![0.0; count]) }
    }

    /// The penalties of a series, one a row.
    fn penalties(&self, prefix: &str, curve: &str, keys: [&str; 4]) -> Result<Vec<Penalty>> {
        let [lambda, element, l2, positive] = keys;
        let lambdas = self.numbers(&format!("{prefix}.{lambda}"))?;
        let of = |key: &str| self.numbers_or_zeros(&format!("{prefix}.{key}"), lambdas.len());
        let (shape, element, l2, positive) = (of("shape")?, of(element)?, of(l2)?, of(positive)?);
        let penalty = |row: usize| {
            Penalty::l1(lambdas[row])
                .with_curve(self::curve(curve, shape[row]))
                .with_element(element[row])
                .with_l2(l2[row])
                .with_positive(positive[row] != 0.0)
        };
        Ok((0..lambdas.len()).map(penalty).collect())
    }
}

const KEYS: [&str; 4] = ["lambda", "element", "l2", "positive"];

const CURVES: [&str; 7] = ["l1", "mcp", "scad", "log", "half", "two_thirds", "l0"];

fn curve(name: &str, shape: f64) -> Curve {
    match name {
        "mcp" => Curve::Mcp(shape),
        "scad" => Curve::Scad(shape),
        "log" => Curve::Log(shape),
        "half" => Curve::Half,
        "two_thirds" => Curve::TwoThirds,
        "l0" => Curve::L0,
        _ => Curve::L1,
    }
}

fn flat(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// What l1 computes, on one device.
struct L1(Device);

impl L1 {
    fn vector(&self, values: &[f64]) -> Result<Tensor> {
        Ok(Tensor::new(values, &self.0)?)
    }

    fn prox<'s>(&self, z: &[f64], penalty: &Penalty, step: impl Into<Step<'s>>) -> Result<Vec<f64>> {
        flat(&kernel::prox(&self.vector(z)?, penalty, step)?)
    }

    fn value(&self, w: &[f64], penalty: &Penalty) -> Result<f64> {
        Ok(kernel::value(&self.vector(w)?, penalty)?)
    }

    fn distances(&self, w: &[f64], gradient: &[f64], penalty: &Penalty) -> Result<Vec<f64>> {
        Ok(kernel::distances(&self.vector(w)?, &self.vector(gradient)?, penalty)?)
    }

    /// What the prox minimizes.
    fn objective(&self, u: &[f64], z: &[f64], step: &[f64], penalty: &Penalty) -> Result<f64> {
        let square = |((u, z), step): ((&f64, &f64), &f64)| if u == z { 0.0 } else { (u - z) * (u - z) / (2.0 * step) };
        Ok(u.iter().zip(z).zip(step).map(square).sum::<f64>() + self.value(u, penalty)?)
    }
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// Consecutive parts of these sizes.
fn split<'v>(mut values: &'v [f64], sizes: &[f64]) -> Vec<&'v [f64]> {
    let part = |size: &f64| {
        let (part, rest) = values.split_at(*size as usize);
        values = rest;
        part
    };
    sizes.iter().map(part).collect()
}

fn single_numbers(l1: &L1, file: &Fixture) -> Result<Table> {
    const ENTRY: &str = r"\|z\|";
    let mut table = Table::new("Single numbers");
    for name in CURVES {
        let prefix = format!("plain.{name}");
        let of = |key: &str| file.numbers(&format!("{prefix}.{key}"));
        let (z, steps, brute, least) = (of("z")?, of("step")?, of("prox")?, of("objective")?);
        for (row, penalty) in file.penalties(&prefix, name, KEYS)?.iter().enumerate() {
            let at = row * 72..(row + 1) * 72;
            let (step, z) = (steps[row], &z[at.clone()]);
            let found = l1.prox(z, penalty, step)?;
            for (column, (z, found)) in z.iter().zip(&found).enumerate() {
                let index = at.start + column;
                table.compare(&key(name, "prox", "brute force, 256 bits", ENTRY), *found, brute[index], z.abs());
                let objective = l1.objective(&[*found], &[*z], &[step], penalty)?;
                let key_of = key(name, "minimum of the prox", "brute force, 256 bits", "the minimum");
                table.compare(&key_of, objective, least[index], least[index]);
            }
            for peer in ["skglm", "pyproximal"].into_iter().filter(|peer| file.has(&format!("{prefix}.{peer}"))) {
                let (expected, wrong) = (of(peer)?, of(&format!("{peer}.wrong"))?);
                let key_of = key(name, "prox", peer_name(peer), ENTRY);
                for (column, (z, found)) in z.iter().zip(&found).enumerate() {
                    let index = at.start + column;
                    match wrong[index] {
                        0.0 => table.compare(&key_of, *found, expected[index], z.abs()),
                        _ => table.skip(&key_of),
                    }
                }
            }
        }
        folded(l1, file, name, &mut table)?;
        distances_of_entries(l1, file, name, &mut table)?;
    }
    Ok(table)
}

fn peer_name(peer: &str) -> &'static str {
    if peer == "skglm" { "skglm" } else { "PyProximal" }
}

/// With `element`, `l2` and `positive`.
fn folded(l1: &L1, file: &Fixture, name: &'static str, table: &mut Table) -> Result<()> {
    let prefix = format!("folded.{name}");
    let of = |key: &str| file.numbers(&format!("{prefix}.{key}"));
    let (z, steps) = (of("z")?, of("step")?);
    let mut peers = vec![("prox", "brute force, 256 bits")];
    if file.has(&format!("{prefix}.skglm")) {
        peers.push(("skglm", "skglm"));
    }
    for (row, penalty) in file.penalties(&prefix, name, KEYS)?.iter().enumerate() {
        let at = row * 32..(row + 1) * 32;
        let found = l1.prox(&z[at.clone()], penalty, steps[row])?;
        for (tensor, peer) in &peers {
            let key_of = key(name, "prox with element, l2, positive", peer, r"\|z\|");
            for ((z, found), expected) in z[at.clone()].iter().zip(&found).zip(&of(tensor)?[at.clone()]) {
                table.compare(&key_of, *found, *expected, z.abs());
            }
        }
    }
    Ok(())
}

fn distances_of_entries(l1: &L1, file: &Fixture, name: &'static str, table: &mut Table) -> Result<()> {
    let prefix = format!("distance.{name}");
    if !file.has(&format!("{prefix}.w")) {
        return Ok(());
    }
    let of = |key: &str| file.numbers(&format!("{prefix}.{key}"));
    let (w, gradient, values, expected) = (of("w")?, of("gradient")?, of("value")?, of("distance")?);
    for (row, penalty) in file.penalties(&prefix, name, KEYS)?.iter().enumerate() {
        let at = row * 48..(row + 1) * 48;
        let found = l1.distances(&w[at.clone()], &gradient[at.clone()], penalty)?;
        for (index, distance) in at.zip(found) {
            // skglm's value knows no constraint.
            let value = l1.value(&[w[index]], &penalty.with_positive(false))?;
            table.compare(&key(name, "value", "skglm", "the value"), value, values[index], values[index]);
            let scale = at_least_one(expected[index]);
            table.compare(&key(name, "distance", "skglm", "1, or the distance"), distance, expected[index], scale);
        }
    }
    Ok(())
}

fn groups_of_entries(l1: &L1, file: &Fixture) -> Result<Table> {
    let mut table = Table::new("Groups");
    for name in CURVES {
        rows(l1, file, name, &mut table)?;
    }
    groups_of_every_size(l1, file, &mut table)?;
    sparse_groups(l1, file, &mut table)?;

    let prefix = "group_distance";
    let of = |key: &str| file.numbers(&format!("{prefix}.{key}"));
    let (w, gradient, sizes, expected) = (of("w")?, of("gradient")?, of("sizes")?, of("distance")?);
    let penalties = file.penalties(prefix, "l1", ["kappa", "element", "l2", "positive"])?;
    let groups = split(&w, &sizes).into_iter().zip(split(&gradient, &sizes));
    for (((w, gradient), penalty), expected) in groups.zip(&penalties).zip(expected) {
        let found = norm(&l1.distances(w, gradient, &whole(penalty).with_unscaled(true))?);
        let key_of = key("l1", "distance with element, l2, positive", "Clarabel", "1, or the distance");
        table.compare(&key_of, found, expected, at_least_one(expected));
    }
    Ok(table)
}

fn whole(penalty: &Penalty) -> Penalty {
    penalty.with_group(Grouping::Whole)
}

/// 20 groups of 5, the rows of a matrix.
fn rows(l1: &L1, file: &Fixture, name: &'static str, table: &mut Table) -> Result<()> {
    let prefix = format!("rows.{name}");
    let of = |key: &str| file.numbers(&format!("{prefix}.{key}"));
    let matrix = |values: &[f64]| -> Result<Tensor> { Ok(l1.vector(values)?.reshape((20, 5))?) };
    let (z, steps) = (of("z")?, of("step")?);
    for (row, penalty) in file.penalties(&prefix, name, KEYS)?.iter().enumerate() {
        let (entries, groups) = (row * 100..(row + 1) * 100, row * 20..(row + 1) * 20);
        let penalty = penalty.with_group(Grouping::Dim(0));
        let z = &z[entries.clone()];
        let prox = |unscaled| -> Result<Vec<f64>> {
            flat(&kernel::prox(&matrix(z)?, &penalty.with_unscaled(unscaled), steps[row])?)
        };
        let (plain, scaled) = (prox(true)?, prox(false)?);
        let norms: Vec<_> = z.chunks(5).map(norm).collect();
        let brute = "brute force, 256 bits";
        for (radius, found, what) in
            [("radius", &plain, "norm of the prox"), ("scaled_radius", &scaled, "norm of the prox, weight √5")]
        {
            for ((found, expected), norm_of_z) in found.chunks(5).zip(&of(radius)?[groups.clone()]).zip(&norms) {
                table.compare(&key(name, what, brute, "‖z‖"), norm(found), *expected, *norm_of_z);
            }
        }
        for peer in ["skglm", "pyproximal"].into_iter().filter(|peer| file.has(&format!("{prefix}.{peer}"))) {
            let (expected, key_of) = (&of(peer)?[entries.clone()], key(name, "prox", peer_name(peer), "‖z‖"));
            let wrong = file.numbers_or_zeros(&format!("{prefix}.{peer}.wrong"), steps.len() * 20)?;
            for (group, (found, expected)) in plain.chunks(5).zip(expected.chunks(5)).enumerate() {
                if wrong[groups.start + group] != 0.0 {
                    table.skip(&key_of);
                    continue;
                }
                let apart: Vec<_> = found.iter().zip(expected).map(|(found, expected)| found - expected).collect();
                table.compare(&key_of, norm(&apart), 0.0, norms[group]);
            }
        }
        if file.has(&format!("{prefix}.w")) {
            let (w, gradient) = (matrix(&of("w")?[entries.clone()])?, matrix(&of("gradient")?[entries])?);
            let (value, penalty) = (of("value")?[row], penalty.with_unscaled(true));
            table.compare(&key(name, "value", "skglm", "the value"), kernel::value(&w, &penalty)?, value, value);
            let found = kernel::distances(&w, &gradient, &penalty)?;
            for (found, expected) in found.into_iter().zip(&of("distance")?[groups]) {
                let key_of = key(name, "distance", "skglm", "1, or the distance");
                table.compare(&key_of, found, *expected, at_least_one(*expected));
            }
        }
    }
    Ok(())
}

fn groups_of_every_size(l1: &L1, file: &Fixture, table: &mut Table) -> Result<()> {
    let of = |key: &str| file.numbers(&format!("sized.{key}"));
    let (sizes, steps, values, expected) = (of("sizes")?, of("step")?, of("value")?, of("distance")?);
    let (z, proxes, w, gradients) = (of("z")?, of("prox")?, of("w")?, of("gradient")?);
    for (row, penalty) in file.penalties("sized", "l1", KEYS)?.iter().enumerate() {
        let penalty = whole(penalty);
        let parts = |values: &'_ [f64]| -> Vec<Vec<f64>> {
            split(&values[30 * row..][..30], &sizes).into_iter().map(<[f64]>::to_vec).collect()
        };
        let (z, proxes, w, gradients) = (parts(&z), parts(&proxes), parts(&w), parts(&gradients));
        let mut sum = 0.0;
        for group in 0..sizes.len() {
            let found = l1.prox(&z[group], &penalty, steps[row])?;
            let key_of = key("l1", "prox, sizes 1 to 8, positive", "skglm", "‖z‖");
            for (found, expected) in found.iter().zip(&proxes[group]) {
                table.compare(&key_of, *found, *expected, norm(&z[group]));
            }
            let (found, expected) = (l1.distances(&w[group], &gradients[group], &penalty)?, expected[8 * row + group]);
            let key_of = key("l1", "distance, sizes 1 to 8, positive", "skglm", "1, or the distance");
            table.compare(&key_of, norm(&found), expected, at_least_one(expected));
            // skglm's value knows no constraint.
            sum += l1.value(&w[group], &penalty.with_positive(false))?;
        }
        table.compare(&key("l1", "value, sizes 1 to 8", "skglm", "the value"), sum, values[row], values[row]);
    }
    Ok(())
}

fn sparse_groups(l1: &L1, file: &Fixture, table: &mut Table) -> Result<()> {
    let of = |key: &str| file.numbers(&format!("sparse.{key}"));
    let (sizes, steps) = (file.numbers("sized.sizes")?, of("step")?);
    let (z, proxes, w, values) = (of("z")?, of("prox")?, of("w")?, of("value")?);
    for (row, penalty) in file.penalties("sparse", "l1", KEYS)?.iter().enumerate() {
        let (penalty, at) = (whole(penalty), 30 * row..30 * (row + 1));
        let parts = split(&z[at.clone()], &sizes).into_iter().zip(split(&proxes[at.clone()], &sizes));
        let key_of = key("l1", "prox with element", "skglm, PyProximal", "‖z‖");
        for (z, expected) in parts {
            for (found, expected) in l1.prox(z, &penalty, steps[row])?.iter().zip(expected) {
                table.compare(&key_of, *found, *expected, norm(z));
            }
        }
        let values_found = split(&w[at], &sizes).into_iter().map(|w| l1.value(w, &penalty));
        let sum: f64 = values_found.sum::<Result<f64>>()?;
        table.compare(&key("l1", "value with element", "skglm", "the value"), sum, values[row], values[row]);
    }
    Ok(())
}

/// A step for each entry, as in Adam.
fn metrics(l1: &L1, file: &Fixture) -> Result<Table> {
    let mut table = Table::new("Groups with a step for each entry");
    let of = |key: &str| file.numbers(&format!("metric.{key}"));
    let (z, t, proxes, sizes) = (of("z")?, of("t")?, of("prox")?, of("sizes")?);
    let (radius, kappa) = (of("radius")?, of("kappa")?);
    let (z, t, proxes) = (split(&z, &sizes), split(&t, &sizes), split(&proxes, &sizes));
    let bisection = "bisection, 256 bits; brentq";
    let mut least = Vec::new();
    for group in 0..sizes.len() {
        let penalty = whole(&Penalty::l1(kappa[group])).with_unscaled(true);
        let found = l1.prox(z[group], &penalty, &l1.vector(t[group])?)?;
        let size = norm(z[group]);
        table.compare(&key("l1", "norm of the prox", bisection, "‖z‖"), norm(&found), radius[group], size);
        let apart: Vec<_> = found.iter().zip(proxes[group]).map(|(found, expected)| found - expected).collect();
        table.compare(&key("l1", "prox", bisection, "‖z‖"), norm(&apart), 0.0, size);
        least.push(l1.objective(&found, z[group], t[group], &penalty)?);
    }
    for (group, expected) in of("clarabel.index")?.into_iter().zip(of("clarabel.objective")?) {
        let key_of = key("l1", "minimum of the prox", "Clarabel", "the minimum");
        table.compare(&key_of, least[group as usize], expected, expected);
    }
    let prefix = "metric.folded";
    let of = |key: &str| file.numbers(&format!("{prefix}.{key}"));
    let (z, t, sizes, expected) = (of("z")?, of("t")?, of("sizes")?, of("objective")?);
    let penalties = file.penalties(prefix, "l1", ["kappa", "element", "l2", "positive"])?;
    let groups = split(&z, &sizes).into_iter().zip(split(&t, &sizes));
    for (((z, t), penalty), expected) in groups.zip(&penalties).zip(expected) {
        let penalty = whole(penalty).with_unscaled(true);
        let found = l1.prox(z, &penalty, &l1.vector(t)?)?;
        let key_of = key("l1", "minimum of the prox with element, l2, positive", "Clarabel", "the minimum");
        table.compare(&key_of, l1.objective(&found, z, t, &penalty)?, expected, expected);
    }
    Ok(table)
}

fn matrices(file: &Fixture) -> Result<Table> {
    let mut table = Table::new("Singular values");
    for name in ["tall", "wide", "deficient", "zero"] {
        let of = |key: &str| file.tensor(&format!("matrix.{name}.{key}"));
        let number = |key: &str| file.number(&format!("matrix.{name}.{key}"));
        let penalty = Penalty::l1(number("lambda")?).with_group(Grouping::Singular);
        let (z, w, step, expected) = (of("z")?, of("w")?, number("step")?, number("value")?);
        let size = norm(&flat(z)?);
        for (tensor, name, curve) in
            [("prox", "l1", Curve::L1), ("prox.log", "log", Curve::Log(0.5)), ("prox.scad", "scad", Curve::Scad(3.7))]
        {
            let found = flat(&kernel::prox(z, &penalty.with_curve(curve), step)?)?;
            for (found, expected) in found.iter().zip(flat(of(tensor)?)?) {
                table.compare(&key(name, "prox", "PyProximal", "‖z‖"), *found, expected, size);
            }
        }
        table.compare(&key("l1", "value", "numpy", "the value"), kernel::value(w, &penalty)?, expected, expected);
        let (distance, spectral) = (flat(of("distance")?)?, flat(of("spectral")?)?);
        for index in 0..3 {
            let gradient = of("gradient")?.get(index)?;
            let (found, expected) = (norm(&kernel::distances(w, &gradient, &penalty)?), distance[index]);
            let key_of = key("l1", "distance", "Clarabel", "1, or the distance");
            table.compare(&key_of, found, expected, at_least_one(expected));
            let found = kernel::lambda_max(&gradient, &penalty, Stays::Stationary)?.value;
            table.compare(&key("l1", "λ_max", "numpy", "λ_max"), found, spectral[index], spectral[index]);
        }
    }
    Ok(table)
}

/// A linear layer at given weights.
struct Model {
    layer: Linear,
    rule: Rule,
}

impl Regularized for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("layer", self.rule, &self.layer)
    }
}

/// The data and the penalty of a series of problems.
struct Series<'d> {
    prefix: &'static str,
    inputs: &'d Tensor,
    targets: &'d Tensor,
    loss: LinearLoss,
    outputs: usize,
    rule: Rule,
    /// Those that found the minima.
    peers: &'static str,
}

fn problems(L1(device): &L1) -> Result<Table> {
    let (file, data) = (Fixture::open("penalties_problems", device)?, Fixture::open("sklearn", device)?);
    let Labelled { x, y } = Khan::load(device)?.standardized()?.train;
    let (entries, l1) = (Rule::l1(0.0), LinearLoss::Multinomial);
    let diabetes = |prefix, rule, peers| -> Result<_> {
        let (inputs, targets) = (data.tensor("x")?, data.tensor("y")?);
        Ok(Series { prefix, inputs, targets, loss: LinearLoss::Squared, outputs: 1, rule, peers })
    };
    let khan = |prefix, rule, peers| Series { prefix, inputs: &x, targets: &y, loss: l1, outputs: 4, rule, peers };
    let (inputs, targets) = (data.tensor("logistic.x")?, data.tensor("logistic.labels")?);
    let (loss, prefix, peers) = (LinearLoss::Logistic, "cancer.l1", "scikit-learn's saga, Clarabel, FISTA in numpy");
    let cancer = Series { prefix, inputs, targets, loss, outputs: 1, rule: entries, peers };
    let all = [
        diabetes("diabetes.l1", entries, "scikit-learn's Lasso, Clarabel, FISTA in numpy")?,
        diabetes("diabetes.groups", entries.group(Grouping::Block(1, 2)), "celer, Clarabel, FISTA in numpy")?,
        cancer,
        khan("khan.l1", entries, peers),
        khan("khan.groups", entries.group(Grouping::Input), "Clarabel, FISTA in numpy"),
    ];
    let mut table = Table::new("Problems");
    for series in &all {
        let minimum = key(series.prefix, "loss + penalty at a minimum", series.peers, "the minimum");
        series.compare(&file, "", |gap, of, index| {
            let objective = of("objective")?[index];
            table.compare(&minimum, gap.primal, objective, objective);
            Ok(())
        })?;
        let value = key(series.prefix, "loss + penalty elsewhere", "numpy", "the value");
        let gap_of = key(series.prefix, "duality gap elsewhere", "scipy's BFGS", "the value");
        series.compare(&file, ".points", |gap, of, index| {
            let primal = of("primal")?[index];
            table.compare(&value, gap.primal, primal, primal);
            table.compare(&gap_of, gap.gap, of("gap")?[index], primal);
            Ok(())
        })?;
    }
    let series = &all[0];
    let of = |key: &str| file.numbers(&format!("diabetes.l1.early.{key}"));
    for (index, lambda) in of("lambda")?.into_iter().enumerate() {
        let found = series.gap(lambda, &of("coef")?[10 * index..][..10], &of("intercept")?[index..=index])?;
        let key_of = key(series.prefix, "duality gap of unfinished fits", "scikit-learn's `dual_gap_`", "the value");
        table.compare(&key_of, found.gap, of("gap")?[index], found.primal);
    }
    Ok(table)
}

impl Series<'_> {
    fn gap(&self, lambda: f64, weight: &[f64], bias: &[f64]) -> Result<l1_core::Gap> {
        let &Self { inputs, targets, loss, outputs, rule, .. } = self;
        let weight = Var::from_slice(weight, (outputs, inputs.dim(1)?), inputs.device())?;
        let bias = Var::new(bias, inputs.device())?;
        let layer = Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone()));
        let model = Model { layer, rule: rule.lambda(lambda) };
        let (weight, bias) = (model.layer.weight(), model.layer.bias());
        Ok(model.regularizer()?.duality_gap(&LinearProblem { inputs, targets, weight, bias, loss })?)
    }

    /// Hands over the gap at each of the stored weights.
    fn compare(
        &self,
        file: &Fixture,
        part: &str,
        mut compare: impl FnMut(l1_core::Gap, &dyn Fn(&str) -> Result<Vec<f64>>, usize) -> Result<()>,
    ) -> Result<()> {
        let of = |key: &str| file.numbers(&format!("{}{part}.{key}", self.prefix));
        let (counts, places, entries, intercepts) = (of("count")?, of("index")?, of("coef")?, of("intercept")?);
        let stored = split(&places, &counts).into_iter().zip(split(&entries, &counts));
        for (index, ((places, entries), lambda)) in stored.zip(of("lambda")?).enumerate() {
            let mut weight = vec![0.0; self.outputs * self.inputs.dim(1)?];
            places.iter().zip(entries).for_each(|(place, entry)| weight[*place as usize] = *entry);
            let gap = self.gap(lambda, &weight, &intercepts[index * self.outputs..][..self.outputs])?;
            compare(gap, &of, index)?;
        }
        Ok(())
    }
}
