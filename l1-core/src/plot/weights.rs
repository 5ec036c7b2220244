//! The weights of a layer that sees images: a tile for each neuron, or how much the layer looks at each pixel.

use candle_core::Tensor;
use plotters::style::RGBColor;

use super::{
    axis::written,
    nothing,
    sheet::{Anchor, Drawn, FAINT, INK, NUMBER, PAPER, SOFT, Sheet, shortened, svg, width as letters},
};
use crate::{Result, kernel::distance::wide};

/// What a [`weight_map`] shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tiles {
    /// Each neuron's weights as an image.
    #[default]
    Neurons,
    /// One image: ‖·‖₂ of the weights of each pixel, over all neurons.
    PixelNorms,
}

/// What [`weight_map`] shows, and what it writes beside it.
#[derive(Clone, Copy, Debug, Default)]
pub struct WeightMapOptions<'o> {
    title: Option<&'o str>,
    tiles: Tiles,
    names: &'o [&'o str],
}

impl<'o> WeightMapOptions<'o> {
    /// As [`Default`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// In place of the counts.
    #[must_use]
    pub fn title(self, title: &'o str) -> Self {
        Self { title: Some(title), ..self }
    }

    /// A tile for each neuron at first.
    #[must_use]
    pub fn tiles(self, tiles: Tiles) -> Self {
        Self { tiles, ..self }
    }

    /// Names of the neurons, such as the classes; their numbers at first.
    #[must_use]
    pub fn names(self, names: &'o [&'o str]) -> Self {
        Self { names, ..self }
    }
}

const PICTURE: &str = "weight map";

/// More squares make a file that no viewer opens gladly.
const LARGEST: usize = 250_000;

/// Draws the weights of a layer whose inputs are the pixels of an image.
///
/// Exact zeros are white; every other number, however small, has a tint: orange above 0, blue below, darker the further from 0, with
/// the same measure for all tiles. NaN and ±∞ are black.
///
/// * `weight`: neurons × (height·width), or neurons × height × width, as in the weight of a `Linear` or of a convolution of one channel.
/// * `sides`: height and width of the image.
///
/// # Errors
/// [`Error::Picture`](crate::Error::Picture) for a tensor that is not of such a shape, without entries, or of more than 250 000;
/// candle's, when it cannot be read.
pub fn weight_map(weight: &Tensor, sides: (usize, usize), options: &WeightMapOptions<'_>) -> Result<String> {
    let (height, width) = sides;
    let dims = weight.dims();
    let pixels = height.checked_mul(width).filter(|pixels| *pixels > 0);
    let inputs = dims.get(1..).map_or(0, |inputs| inputs.iter().product::<usize>());
    let (Some(pixels), Some(&neurons)) = (pixels.filter(|pixels| *pixels == inputs), dims.first()) else {
        let why =
            format!("the weight has shape {dims:?} (expected neurons × {height}·{width}: one weight for each pixel)");
        return Err(nothing(PICTURE, why));
    };
    if neurons == 0 {
        return Err(nothing(PICTURE, format!("the weight has shape {dims:?} (expected at least one neuron)")));
    }
    if weight.elem_count() > LARGEST {
        let why = format!(
            "{} weights are too many to be seen (expected at most {LARGEST}): draw some rows of them",
            weight.elem_count()
        );
        return Err(nothing(PICTURE, why));
    }
    let w = wide(weight)?;
    let zeros = w.iter().filter(|w| **w == 0.0).count();
    let dead = w.chunks(pixels).filter(|neuron| neuron.iter().all(|w| *w == 0.0)).count();
    let (tiles, what) = match options.tiles {
        Tiles::Neurons => (w.chunks(pixels).map(<[f64]>::to_vec).collect(), "weight"),
        Tiles::PixelNorms => {
            let norm = |pixel: usize| w.iter().skip(pixel).step_by(pixels).fold(0.0, |norm, w| f64::hypot(norm, *w));
            (vec![(0..pixels).map(norm).collect::<Vec<_>>()], "norm of a pixel's weights")
        }
    };
    let title = options.title.map_or_else(
        || format!("{neurons} × {height} × {width} weights: {zeros} exactly 0, {dead} of {neurons} neurons dead"),
        str::to_owned,
    );
    let names = if options.tiles == Tiles::Neurons { Some(options.names) } else { None };
    Map { tiles, sides, names, what }.draw(&title)
}

/// Images side by side.
struct Map<'n> {
    tiles: Vec<Vec<f64>>,
    sides: (usize, usize),
    /// Of the tiles; none for one that has no name.
    names: Option<&'n [&'n str]>,
    what: &'static str,
}

/// The width of the picture, the room about it, and what is above a tile.
const WIDTH: f64 = 1600.0;
const NARROW: f64 = 1200.0;
const MARGIN: f64 = 30.0;
const HEAD: f64 = 90.0;
const NAMED: f64 = 38.0;
const GAP: f64 = 18.0;
/// What is below the tiles: the measure.
const FOOT: f64 = 130.0;

impl Map<'_> {
    fn draw(&self, title: &str) -> Result<String> {
        let (rows, columns) = self.sides;
        // About as wide as high, but for the page's own proportions.
        let across = ((self.tiles.len() as f64 * rows as f64 * 1.6 / columns as f64).sqrt().ceil() as usize)
            .clamp(1, self.tiles.len());
        let down = self.tiles.len().div_ceil(across);
        let room = (WIDTH - 2.0 * MARGIN + GAP) / across as f64 - GAP;
        // A single image is not to fill the wall.
        let square = (room / columns as f64).min(700.0 / rows as f64).max(1.0).floor();
        let (wide, high) = (square * columns as f64, square * rows as f64);
        let head = if self.names.is_some() { NAMED } else { 0.0 };
        let height = HEAD + down as f64 * (head + high + GAP) + FOOT;
        let page = if self.tiles.len() == 1 { NARROW } else { WIDTH };
        let width = page.max(2.0 * MARGIN + across as f64 * (wide + GAP));
        let largest = self.tiles.iter().flatten().map(|w| w.abs()).filter(|w| w.is_finite()).fold(0.0, f64::max);
        let size = (width as u32, height as u32);
        svg(PICTURE, size, |sheet| {
            sheet.title(title, size)?;
            for (index, tile) in self.tiles.iter().enumerate() {
                let left = MARGIN + (index % across) as f64 * (wide + GAP);
                let top = HEAD + (index / across) as f64 * (head + high + GAP);
                if let Some(names) = self.names {
                    let name = names.get(index).map_or_else(|| index.to_string(), ToString::to_string);
                    let fitting = (wide / (0.56 * f64::from(NUMBER))).max(1.0) as usize;
                    let is_dead = tile.iter().all(|w| *w == 0.0);
                    let name = shortened(&name, fitting);
                    sheet.words(
                        &name,
                        (left, top + 0.5 * head),
                        NUMBER,
                        Anchor::Right,
                        if is_dead { FAINT } else { INK },
                    )?;
                }
                let top = top + head;
                for (pixel, w) in tile.iter().enumerate().filter(|(_, w)| **w != 0.0) {
                    let at = (left + (pixel % columns) as f64 * square, top + (pixel / columns) as f64 * square);
                    sheet.filled(at, (at.0 + square, at.1 + square), colour(*w, largest))?;
                }
                sheet.frame((left - 1.0, top - 1.0), (left + wide + 1.0, top + high + 1.0), FAINT)?;
            }
            self.measure(sheet, largest, f64::from(size.1) - FOOT + 30.0)
        })
    }

    /// Which colour is which number.
    fn measure(&self, sheet: &Sheet<'_>, largest: f64, top: f64) -> Drawn {
        const STEPS: usize = 40;
        const STEP: f64 = 7.0;
        const ZERO: f64 = 150.0;
        let bottom = top + 30.0;
        let mut left = MARGIN;
        let bar = |left: f64, from: f64, to: f64| -> Drawn {
            for step in 0..STEPS {
                let w = from + (to - from) * (step as f64 + 0.5) / STEPS as f64;
                let x = left + step as f64 * STEP;
                // One pixel more: no seams.
                sheet.filled((x, top), (x + STEP + 1.0, bottom), colour(w, 1.0))?;
            }
            Ok(())
        };
        let below = |text: &str, x: f64| sheet.words(text, (x, bottom + 10.0), NUMBER, Anchor::Below, SOFT);
        let length = STEPS as f64 * STEP;
        let negative = self.tiles.iter().flatten().any(|w| *w < 0.0);
        if negative {
            bar(left, -1.0, 0.0)?;
            below(&written(-largest, 0.0), left + 30.0)?;
            left += length + 20.0;
        }
        sheet.filled((left, top), (left + ZERO, bottom), PAPER)?;
        sheet.frame((left, top), (left + ZERO, bottom), FAINT)?;
        below("exactly 0", left + 0.5 * ZERO)?;
        left += ZERO + 20.0;
        bar(left, 0.0, 1.0)?;
        below(&written(largest, 0.0), left + length - 30.0)?;
        left += length + 30.0;
        sheet.words(self.what, (left, 0.5 * (top + bottom)), NUMBER, Anchor::Right, INK)?;
        if self.tiles.iter().flatten().any(|w| !w.is_finite()) {
            left += letters(self.what, NUMBER) + 30.0;
            sheet.filled((left, top), (left + 60.0, bottom), INK)?;
            sheet.words("NaN or ∞", (left + 76.0, 0.5 * (top + bottom)), NUMBER, Anchor::Right, INK)?;
        }
        Ok(())
    }
}

/// From a tint that is seen beside white to a full colour.
fn colour(w: f64, largest: f64) -> RGBColor {
    const ABOVE: [RGBColor; 3] = [RGBColor(255, 226, 196), RGBColor(213, 94, 0), RGBColor(92, 36, 0)];
    const BELOW: [RGBColor; 3] = [RGBColor(206, 229, 245), RGBColor(0, 114, 178), RGBColor(0, 40, 80)];
    if !w.is_finite() {
        return INK;
    }
    let [light, middle, dark] = if w > 0.0 { ABOVE } else { BELOW };
    let share = if largest > 0.0 { (w.abs() / largest).clamp(0.0, 1.0) } else { 0.0 };
    let (from, to, share) = if share < 0.5 { (light, middle, 2.0 * share) } else { (middle, dark, 2.0 * share - 1.0) };
    let mixed = |from: u8, to: u8| (f64::from(from) + share * (f64::from(to) - f64::from(from))).round() as u8;
    RGBColor(mixed(from.0, to.0), mixed(from.1, to.1), mixed(from.2, to.2))
}
