//! The path of a linear layer, timed: `cargo bench -p l1-core --bench path`.
//!
//!     cargo bench -p l1-core --bench path -- [--problem FILE] [--tolerance T] [--rounds N] [--group] [--out FILE]
//!
//! Each round is timed, but for one before the first. `--group` charges all that an input is used for together, with weight √k. Without a problem: Khan's, 100 λ down to λ_max/100. A problem is a safetensors file with `x` (n × p), `y` (U32: classes, mean
//! cross-entropy; F64, n × 1: mean squares) and `scales`, the λ. `peers/paths.py` makes such files, and reads what `--out` writes: `weight`
//! (scales × k × p), `intercept` (scales × k) and the `seconds` of each round.

use std::{collections::HashMap, error::Error, time::Instant};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Linear, loss};
use l1_core::{Grouping, LinearPath, Path, PathRun, Regularized, Rule, Visitor};

struct Model(Linear, Grouping);

impl Regularized for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("fc", Rule::l1(1.0).group(self.1), &self.0)
    }
}

struct Arguments {
    problem: Option<String>,
    tolerance: f64,
    rounds: usize,
    group: Grouping,
    out: Option<String>,
}

impl Arguments {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut arguments = Self { problem: None, tolerance: 1e-4, rounds: 11, group: Grouping::Element, out: None };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--bench" => {} // cargo's
                "--problem" => arguments.problem = Some(value()?),
                "--tolerance" => arguments.tolerance = value()?.parse()?,
                "--rounds" => arguments.rounds = value()?.parse()?,
                "--group" => arguments.group = Grouping::Input,
                "--out" => arguments.out = Some(value()?),
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        Ok(arguments)
    }
}

struct Problem {
    x: Tensor,
    y: Tensor,
    outputs: usize,
    scales: Option<Vec<f64>>,
}

impl Problem {
    fn khan() -> Result<Self, Box<dyn Error>> {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/khan.safetensors");
        let tensors = candle_core::safetensors::load(file, &Device::Cpu)?;
        let x = &tensors["x_train"].to_dtype(DType::F64)?;
        let centered = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        let deviations = centered.sqr()?.mean_keepdim(0)?.sqrt()?;
        Ok(Self { x: centered.broadcast_div(&deviations)?, y: tensors["y_train"].clone(), outputs: 4, scales: None })
    }

    fn read(file: &str) -> Result<Self, Box<dyn Error>> {
        let tensors = candle_core::safetensors::load(file, &Device::Cpu)?;
        let y = tensors["y"].clone();
        let outputs = match y.dtype() {
            DType::U32 => 1 + y.max_all()?.to_scalar::<u32>()? as usize,
            _ => y.dim(1)?,
        };
        let scales = tensors.get("scales").map(|scales| scales.to_vec1::<f64>()).transpose()?;
        Ok(Self { x: tensors["x"].clone(), y, outputs, scales })
    }

    fn solve(&self, tolerance: f64, group: Grouping) -> Result<Solved, Box<dyn Error>> {
        let zeros = |shape: &[usize]| Var::zeros(shape, DType::F64, &Device::Cpu);
        let vars = vec![zeros(&[self.outputs, self.x.dim(1)?])?, zeros(&[self.outputs])?];
        let model = Model(Linear::new(vars[0].as_tensor().clone(), Some(vars[1].as_tensor().clone())), group);
        let layer = LinearPath::new(&model.0, &self.x).tolerance(tolerance);
        let path = match &self.scales {
            Some(scales) => Path::grid(scales.clone()),
            None => Path::descending(100, 0.01),
        };
        let classes = self.y.dtype() == DType::U32;
        let loss = |scores: &Tensor| {
            if classes { loss::cross_entropy(scores, &self.y) } else { loss::mse(scores, &self.y) }
        };
        let run = path.run_linear(&layer, &model.regularizer()?, loss, |_| Ok(()))?;
        Ok(Solved { run, vars })
    }
}

/// A path, and the variables that its points can be put back into.
struct Solved {
    run: PathRun,
    vars: Vec<Var>,
}

impl Solved {
    /// Weights and intercepts of all points.
    fn tensors(&self) -> Result<(Tensor, Tensor), Box<dyn Error>> {
        let (mut weights, mut intercepts) = (Vec::new(), Vec::new());
        for index in 0..self.run.points.len() {
            self.run.restore(index, &self.vars)?;
            weights.push(self.vars[0].copy()?);
            intercepts.push(self.vars[1].copy()?);
        }
        Ok((Tensor::stack(&weights, 0)?, Tensor::stack(&intercepts, 0)?))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read()?;
    let problem = match &arguments.problem {
        Some(file) => Problem::read(file)?,
        None => Problem::khan()?,
    };
    let (n, p) = problem.x.dims2()?;
    let mut seconds = Vec::new();
    let mut solved = problem.solve(arguments.tolerance, arguments.group)?;
    for _ in 0..arguments.rounds.max(1) {
        let start = Instant::now();
        solved = problem.solve(arguments.tolerance, arguments.group)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let points = &solved.run.points;
    let worst = points.iter().map(|point| point.certificate.relative).fold(0.0, f64::max);
    let last = points.last().map_or(0, |point| point.nonzeros);
    let mut sorted = seconds.clone();
    sorted.sort_by(f64::total_cmp);
    println!(
        "{n} × {p}, {} outputs, {} λ: median {:.1} ms, best {:.1} ms; violation at most {worst:.1e}, {last} weights at the end",
        problem.outputs,
        points.len(),
        1e3 * sorted[sorted.len() / 2],
        1e3 * sorted[0],
    );
    if let Some(out) = arguments.out {
        let (weight, intercept) = solved.tensors()?;
        let tensors = HashMap::from([
            ("weight", weight),
            ("intercept", intercept),
            ("scales", Tensor::new(solved.run.scales(), &Device::Cpu)?),
            ("seconds", Tensor::new(seconds, &Device::Cpu)?),
        ]);
        candle_core::safetensors::save(&tensors, out)?;
    }
    Ok(())
}
