//! Draws the pictures of docs/penalties.md: what each curve charges, where its prox leads, and which entries form a group.
//! Every number comes from the library's kernels: the pictures show what the optimizers do.

use std::path::PathBuf;

use anyhow::Result;
use candle_core::{Device, Tensor};
use clap::Parser;
use examples::{
    device::On,
    picture::{FAINT, HPos, INK, MAIN, PAPER, Pos, REFERENCE, SEVEN, Sheet, VPos, svg, words},
    run::Folder,
};
use l1_core::{Curve, Grouping, Penalty, kernel};
use plotters::{coord::types::RangedCoordf64, prelude::*};

/// Draws the pictures of docs/penalties.md
#[derive(Parser)]
struct Args {
    /// Folder for the pictures [default: docs/pictures]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// For smoke runs; it takes no time anyway
    #[arg(long)]
    quick: bool,
    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    device: On,
}

const LAMBDA: f64 = 1.0;
const STEP: f64 = 1.0;

/// The curves, by the names of their pictures.
const CURVES: [(&str, Curve); 7] = [
    ("l1", Curve::L1),
    ("mcp", Curve::Mcp(3.0)),
    ("scad", Curve::Scad(3.7)),
    ("log", Curve::Log(0.5)),
    ("half", Curve::Half),
    ("two_thirds", Curve::TwoThirds),
    ("l0", Curve::L0),
];

/// Outputs and inputs.
const LINEAR: &[usize] = &[4, 6];
/// Outputs, inputs, and two dimensions of a kernel.
const CONVOLUTION: &[usize] = &[3, 2, 3, 3];

/// The groups, by the names of their pictures, and the weights that they are drawn in. What `Linear` and `Conv2d` make of `output` and
/// `input` are the dimensions 0 and 1.
const GROUPS: [(&str, Grouping, &[&[usize]]); 7] = [
    ("element", Grouping::Element, &[LINEAR, CONVOLUTION]),
    ("output", Grouping::Dim(0), &[LINEAR, CONVOLUTION]),
    ("input", Grouping::Dim(1), &[LINEAR, CONVOLUTION]),
    ("dim", Grouping::Dim(3), &[CONVOLUTION]),
    ("kernel", Grouping::Kernel, &[CONVOLUTION]),
    ("block", Grouping::Block(2, 3), &[LINEAR]),
    ("whole", Grouping::Whole, &[LINEAR, CONVOLUTION]),
];

fn main() -> Result<()> {
    let Args { out, quick: _, device } = Args::parse();
    let device = device.device()?;
    let mut folder = Folder::new(out.unwrap_or_else(|| "docs/pictures".into()))?;
    for (name, curve) in CURVES {
        folder.text(&format!("{name}.svg"), &curve_picture(curve, &device)?)?;
    }
    for (name, group, weights) in GROUPS {
        folder.text(&format!("group_{name}.svg"), &groups_picture(group, weights, &device)?)?;
    }
    folder.text("group_singular.svg", &singular_picture()?)?;
    println!("{}", folder.summary());
    Ok(())
}

/// φ on the left, its prox on the right, at λ = 1 and step 1.
fn curve_picture(curve: Curve, device: &Device) -> Result<String> {
    let penalty = Penalty::l1(LAMBDA).with_curve(curve);
    let name = curve.to_string();
    let charge = Panel { title: format!("φ of {name}"), x: "weight w", y: "φ(w)", low: 0.0, high: 4.0 };
    let prox = Panel { title: format!("prox of {name}"), x: "before: z", y: "after", low: -4.0, high: 4.0 };
    let (l1, same) = (Penalty::l1(LAMBDA), ("w = z", (0.7, 3.3)));
    svg((1200, 560), |sheet| {
        let (left, right) = sheet.split_horizontally(600);
        let (mut charge, mut prox) = (charge.on(&left)?, prox.on(&right)?);
        if curve != Curve::L1 {
            reference(&mut charge, |w| charged(w, &l1, device), ("l1", (2.45, 3.75)))?;
            reference(&mut prox, |z| led_to(z, &l1, device), ("l1", (3.3, 1.6)))?;
        }
        reference(&mut prox, Ok, same)?;
        main_curve(&mut charge, |w| charged(w, &penalty, device))?;
        main_curve(&mut prox, |z| led_to(z, &penalty, device))
    })
}

fn charged(w: f64, penalty: &Penalty, device: &Device) -> Result<f64> {
    Ok(kernel::value(&Tensor::new(&[w], device)?, penalty)?)
}

fn led_to(z: f64, penalty: &Penalty, device: &Device) -> Result<f64> {
    Ok(kernel::prox(&Tensor::new(&[z], device)?, penalty, STEP)?.to_vec1()?[0])
}

/// One pair of axes.
struct Panel {
    title: String,
    x: &'static str,
    y: &'static str,
    low: f64,
    high: f64,
}

type Point = (f64, f64);
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

impl Panel {
    fn on<'a>(&self, sheet: &Sheet<'a>) -> Result<Chart<'a>> {
        sheet.draw(&words(&self.title, (340, 12), 44, (HPos::Center, VPos::Top), INK))?;
        let font = |height: u32| ("sans-serif", height).into_font().color(&INK);
        let mut chart = ChartBuilder::on(sheet)
            .margin(16)
            .margin_top(74)
            .margin_right(30)
            .x_label_area_size(100)
            .y_label_area_size(100)
            .build_cartesian_2d(-REACH..REACH, self.low..self.high)?;
        let whole = |number: &f64| format!("{number:.0}").replace('-', "−");
        chart
            .configure_mesh()
            .x_labels(5)
            .y_labels(5)
            .max_light_lines(1)
            .x_label_formatter(&whole)
            .y_label_formatter(&whole)
            .x_desc(self.x)
            .y_desc(self.y)
            .label_style(font(38))
            .axis_desc_style(font(38))
            .bold_line_style(FAINT)
            .axis_style(INK)
            .draw()?;
        Ok(chart)
    }
}

/// A thin line to compare with, and its name.
fn reference(
    chart: &mut Chart<'_>,
    function: impl Fn(f64) -> Result<f64>,
    (name, at): (&'static str, Point),
) -> Result<()> {
    for piece in pieces(function)? {
        chart.draw_series(LineSeries::new(piece, REFERENCE.stroke_width(2)))?;
    }
    let style = ("sans-serif", 38).into_font().color(&REFERENCE).pos(Pos::new(HPos::Center, VPos::Top));
    chart.draw_series([Text::new(name, at, style)])?;
    Ok(())
}

fn main_curve(chart: &mut Chart<'_>, function: impl Fn(f64) -> Result<f64>) -> Result<()> {
    let pieces = pieces(function)?;
    for piece in &pieces {
        chart.draw_series(LineSeries::new(piece.iter().copied(), MAIN.stroke_width(6)))?;
    }
    // A jump: a full dot where the curve is, at 0, and an open one where it is not.
    for ends in pieces.windows(2) {
        for end in [ends[0].last(), ends[1].first()].into_iter().flatten() {
            let inside = if end.1 == 0.0 { MAIN } else { PAPER };
            chart.draw_series([Circle::new(*end, 10, MAIN.filled()), Circle::new(*end, 5, inside.filled())])?;
        }
    }
    Ok(())
}

/// How far both axes of a prox go, and the weights that φ is drawn over.
const REACH: f64 = 4.0;

/// A polyline through a function over `[−REACH, REACH]`, in pieces: where the function jumps, one ends and the next begins.
fn pieces(function: impl Fn(f64) -> Result<f64>) -> Result<Vec<Vec<Point>>> {
    let intervals = 80_i32;
    let at = |index: i32| REACH * f64::from(2 * index - intervals) / f64::from(intervals);
    let start = (at(0), function(at(0))?);
    let mut pieces = vec![vec![start]];
    let mut from = start;
    for index in 1..=intervals {
        let to = (at(index), function(at(index))?);
        follow(&function, from, to, &mut pieces)?;
        from = to;
    }
    Ok(pieces)
}

/// Halves an interval until the chord is as good as the function: at the width of nothing that is a jump.
fn follow(function: &impl Fn(f64) -> Result<f64>, from: Point, to: Point, pieces: &mut Vec<Vec<Point>>) -> Result<()> {
    /// A third of a pixel.
    const INVISIBLE: f64 = 3e-3;
    let middle = 0.5 * (from.0 + to.0);
    let middle = (middle, function(middle)?);
    let is_straight = (middle.1 - 0.5 * (from.1 + to.1)).abs() < INVISIBLE;
    if is_straight {
        pieces.last_mut().into_iter().for_each(|piece| piece.push(to));
    } else if to.0 - from.0 < 1e-9 {
        pieces.push(vec![to]);
    } else {
        follow(function, from, middle, pieces)?;
        follow(function, middle, to, pieces)?;
    }
    Ok(())
}

/// The entries of weights, in the colour of their group.
fn groups_picture(group: Grouping, weights: &[&[usize]], device: &Device) -> Result<String> {
    let penalty = Penalty::l1(LAMBDA).with_group(group);
    let grids: Vec<_> = weights.iter().map(|dims| Grid::of(dims)).collect();
    let width = grids.iter().map(Grid::width).sum();
    svg((width, HEIGHT), |sheet| {
        let mut left = 0;
        for (&dims, grid) in weights.iter().zip(&grids) {
            grid.head(sheet, left)?;
            for (entry, group) in groups(dims, &penalty, device)?.into_iter().enumerate() {
                let colour = SEVEN[group % SEVEN.len()];
                sheet.draw(&Rectangle::new(grid.cell(left, entry), colour.filled()))?;
            }
            left += grid.width() as i32;
        }
        Ok(())
    })
}

/// Of the pictures of groups.
const HEIGHT: u32 = 290;

/// The group of every entry. Two entries are of one group if the library charges them less together than each by itself.
fn groups(dims: &[usize], penalty: &Penalty, device: &Device) -> Result<Vec<usize>> {
    let charge = |entries: &[usize]| -> Result<f64> {
        let mut w = vec![0.0; dims.iter().product()];
        entries.iter().for_each(|&entry| w[entry] = 1.0);
        Ok(kernel::value(&Tensor::from_vec(w, dims, device)?, penalty)?)
    };
    let mut first_of_group = Vec::new();
    let mut groups = Vec::new();
    for entry in 0..dims.iter().product() {
        let mut group = None;
        for (index, &first) in first_of_group.iter().enumerate() {
            if charge(&[first, entry])? < 0.99 * (charge(&[first])? + charge(&[entry])?) {
                group = Some(index);
            }
        }
        groups.push(group.unwrap_or(first_of_group.len()));
        if group.is_none() {
            first_of_group.push(entry);
        }
    }
    Ok(groups)
}

/// A weight as a field of squares: the matrix of a `Linear`, or the kernels of a convolution beside and below each other.
enum Grid {
    Matrix,
    Kernels,
}

impl Grid {
    fn of(dims: &[usize]) -> Self {
        if dims.len() == 2 { Self::Matrix } else { Self::Kernels }
    }

    fn width(&self) -> u32 {
        match self {
            Self::Matrix => 340,
            Self::Kernels => 270,
        }
    }

    fn head(&self, sheet: &Sheet<'_>, left: i32) -> Result<()> {
        let name = match self {
            Self::Matrix => "Linear",
            Self::Kernels => "Conv2d",
        };
        let top_left = (HPos::Left, VPos::Top);
        sheet.draw(&words(name, (left + 20, 8), 34, top_left, INK))?;
        sheet.draw(&words("outputs ↓ inputs →", (left + 20, 46), 26, top_left, INK))?;
        Ok(())
    }

    /// Where the square of an entry is; kernels are set apart.
    fn cell(&self, left: i32, entry: usize) -> [(i32, i32); 2] {
        let (square, columns, side) = match self {
            Self::Matrix => (48, LINEAR[1], 1),
            Self::Kernels => (21, CONVOLUTION[1], CONVOLUTION[3]),
        };
        let (kernel, within) = (entry / (side * side), entry % (side * side));
        let row = kernel / columns * side + within / side;
        let column = kernel % columns * side + within % side;
        let place = |index: usize| {
            let gaps = if side > 1 { index / side * 8 } else { 0 };
            (index * square + gaps) as i32
        };
        let (x, y) = (left + 20 + place(column), 80 + place(row));
        let length = square as i32 - 2;
        [(x, y), (x + length, y + length)]
    }
}

/// A matrix is a sum of columns times rows, each with a size, and the sizes are charged. (A drawing: there are no entries to colour.)
fn singular_picture() -> Result<String> {
    const SQUARE: i32 = 19;
    svg((640, HEIGHT), |sheet| {
        let (top_left, middle) = ((HPos::Left, VPos::Top), (HPos::Center, VPos::Center));
        let block = |(left, top): (i32, i32), (rows, columns): (i32, i32), colour: RGBColor| -> Result<()> {
            for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                let (x, y) = (left + column * SQUARE, top + row * SQUARE);
                sheet.draw(&Rectangle::new([(x, y), (x + SQUARE - 2, y + SQUARE - 2)], colour.filled()))?;
            }
            Ok(())
        };
        sheet.draw(&words("W is a sum of sizes × columns × rows", (20, 8), 34, top_left, INK))?;
        sheet.draw(&words("charged are the sizes σ", (20, 50), 26, top_left, INK))?;
        let (top, centre) = (120, 157);
        block((20, top), (4, 6), INK)?;
        for (left, sign, size, colour) in [(150, "=", "σ₁", SEVEN[0]), (396, "+", "σ₂", SEVEN[5])] {
            sheet.draw(&words(sign, (left + 8, centre), 38, middle, INK))?;
            sheet.draw(&words(size, (left + 54, centre), 38, middle, colour))?;
            block((left + 84, top), (4, 1), colour)?;
            block((left + 84 + SQUARE + 8, centre - SQUARE / 2), (1, 6), colour)?;
        }
        sheet.draw(&words("two of four are left, the others are 0: rank 2", (20, 226), 26, top_left, INK))?;
        Ok(())
    })
}
