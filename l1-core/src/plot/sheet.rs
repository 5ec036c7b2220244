//! The sheet that pictures are drawn on, and their colours.

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{Error, Result};

/// What is drawn on; opaque, so that it reads on a dark page too.
pub(super) const PAPER: RGBColor = WHITE;
pub(super) const INK: RGBColor = RGBColor(40, 40, 40);
/// Names of axes, and numbers beside them.
pub(super) const SOFT: RGBColor = RGBColor(90, 90, 90);
/// The frame, lines that are not named.
pub(super) const FAINT: RGBColor = RGBColor(170, 170, 170);
/// The lines behind all others.
pub(super) const GRID: RGBColor = RGBColor(228, 228, 228);

/// Colours that colour-blind readers can tell apart, without the yellow that white swallows (Okabe & Ito 2008).
pub(super) const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// What a line is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stroke {
    Solid,
    Dashed,
    Dotted,
}

impl Stroke {
    /// Ink and gap in pixels.
    fn pattern(self) -> Option<(f64, f64)> {
        match self {
            Self::Solid => None,
            Self::Dashed => Some((14.0, 10.0)),
            Self::Dotted => Some((4.0, 8.0)),
        }
    }
}

const STROKES: [Stroke; 3] = [Stroke::Solid, Stroke::Dashed, Stroke::Dotted];

/// How many lines there can be of which each looks like no other.
pub(super) const LOOKS: usize = COLOURS.len() * STROKES.len();

/// The colour and stroke of the n-th line.
pub(super) fn look(index: usize) -> (RGBColor, Stroke) {
    let stroke = STROKES[index / COLOURS.len() % STROKES.len()];
    (COLOURS[index % COLOURS.len()], stroke)
}

/// Heights of letters.
pub(super) const TITLE: u32 = 36;
pub(super) const NAME: u32 = 29;
pub(super) const NUMBER: u32 = 26;

/// Width and height in pixels.
pub(super) type Size = (u32, u32);
/// From the left and from the top, in pixels.
pub(super) type At = (f64, f64);

pub(super) type Drawn = std::result::Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A white sheet in pixels. The same drawing gives the same bytes on every machine: no fonts are asked for their sizes.
pub(super) struct Sheet<'a>(DrawingArea<SVGBackend<'a>, Shift>);

/// Draws, and returns the SVG.
///
/// # Errors
/// [`Error::Picture`], if plotters fails.
pub(super) fn svg(picture: &'static str, size: Size, draw: impl FnOnce(&Sheet<'_>) -> Drawn) -> Result<String> {
    let mut text = String::new();
    let drawn = {
        let sheet = Sheet(SVGBackend::with_string(&mut text, size).into_drawing_area());
        sheet.0.fill(&PAPER).and_then(|()| draw(&sheet)).and_then(|()| sheet.0.present())
    };
    match drawn {
        Ok(()) => Ok(text),
        Err(error) => Err(Error::Picture { picture, why: format!("it could not be drawn: {error}") }),
    }
}

/// Where words stand about their point.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    /// The point is at the left end.
    Right,
    /// The point is at the right end.
    Left,
    /// The point is above their middle.
    Below,
    /// The point is below their middle.
    Above,
    /// Read upwards, the point at their middle.
    Upwards,
}

impl Sheet<'_> {
    /// A line through points.
    pub(super) fn line(&self, points: &[At], colour: RGBColor, width: u32, stroke: Stroke) -> Drawn {
        let pixels = points.iter().map(|&at| pixel(at));
        if let Some(pattern) = stroke.pattern() {
            let style = colour.stroke_width(width);
            return dashes(pixels, pattern)
                .into_iter()
                .try_for_each(|dash| self.0.draw(&PathElement::new(dash, style)));
        }
        let mut pixels: Vec<_> = pixels.collect();
        pixels.dedup();
        self.0.draw(&PathElement::new(pixels, colour.stroke_width(width)))
    }

    pub(super) fn dot(&self, at: At, radius: u32, colour: RGBColor) -> Drawn {
        self.0.draw(&Circle::new(pixel(at), radius, colour.filled()))
    }

    pub(super) fn filled(&self, (left, top): At, (right, bottom): At, colour: RGBColor) -> Drawn {
        self.0.draw(&Rectangle::new([pixel((left, top)), pixel((right, bottom))], colour.filled()))
    }

    pub(super) fn frame(&self, (left, top): At, (right, bottom): At, colour: RGBColor) -> Drawn {
        self.0.draw(&Rectangle::new([pixel((left, top)), pixel((right, bottom))], colour.stroke_width(2)))
    }

    pub(super) fn words(&self, text: &str, at: At, height: u32, anchor: Anchor, colour: RGBColor) -> Drawn {
        let (horizontal, vertical) = match anchor {
            Anchor::Right => (HPos::Left, VPos::Center),
            Anchor::Left => (HPos::Right, VPos::Center),
            Anchor::Below => (HPos::Center, VPos::Top),
            Anchor::Above => (HPos::Center, VPos::Bottom),
            Anchor::Upwards => (HPos::Center, VPos::Center),
        };
        let font = ("sans-serif", height).into_font();
        let font = if let Anchor::Upwards = anchor { font.transform(FontTransform::Rotate270) } else { font };
        let style = font.color(&colour).pos(Pos::new(horizontal, vertical));
        self.0.draw(&Text::new(printable(text), pixel(at), style))
    }

    /// A title in one line, as large as fits into the width.
    pub(super) fn title(&self, text: &str, (width, _): Size) -> Drawn {
        let text = shortened(text, 110);
        let room = f64::from(width) - 60.0;
        let height = f64::from(TITLE) * (room / self::width(&text, TITLE)).min(1.0);
        self.words(&text, (30.0, 40.0), height as u32, Anchor::Right, INK)
    }
}

/// The pieces of a broken line, which runs on through all of its corners: plotters' own dashes are of single series.
fn dashes(points: impl Iterator<Item = (i32, i32)>, (ink, gap): (f64, f64)) -> Vec<[(i32, i32); 2]> {
    let points: Vec<At> = points.map(|(x, y)| (f64::from(x), f64::from(y))).collect();
    let mut pieces = Vec::new();
    let mut phase = 0.0;
    for ends in points.windows(2) {
        let (from, to) = (ends[0], ends[1]);
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let at = |walked: f64| {
            let share = walked / length;
            pixel((from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1)))
        };
        let mut walked = 0.0;
        while walked < length {
            let is_ink = phase < ink;
            let rest = if is_ink { ink - phase } else { ink + gap - phase };
            let next = (walked + rest).min(length);
            if is_ink {
                pieces.push([at(walked), at(next)]);
            }
            // A rest that is too small to be walked would never end.
            phase = if walked + rest <= length { if is_ink { ink } else { 0.0 } } else { phase + (length - walked) };
            walked = next;
        }
    }
    pieces
}

fn pixel((x, y): At) -> (i32, i32) {
    // `as` holds what is beyond at the ends of i32, and NaN at 0.
    (x.round() as i32, y.round() as i32)
}

/// How wide words are, about: half of a letter's height for most of them.
pub(super) fn width(text: &str, height: u32) -> f64 {
    let letter = |letter: char| if letter.is_ascii() || letter < '\u{2E80}' { 0.56 } else { 1.0 };
    f64::from(height) * text.chars().map(letter).sum::<f64>()
}

/// At most so many letters.
pub(super) fn shortened(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}

/// XML has no place for control characters.
fn printable(text: &str) -> String {
    let fit =
        |letter: char| if letter.is_control() || matches!(letter, '\u{FFFE}' | '\u{FFFF}') { ' ' } else { letter };
    text.chars().map(fit).collect()
}
