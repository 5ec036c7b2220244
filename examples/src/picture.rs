//! Pictures as SVG: the colours and the sheet that all of them share.

use anyhow::Result;
use plotters::{coord::Shift, prelude::*};

/// What is drawn on; opaque, so that it reads on a dark page too.
pub const PAPER: RGBColor = WHITE;
pub const INK: RGBColor = RGBColor(40, 40, 40);
/// Axes, frames.
pub const FAINT: RGBColor = RGBColor(200, 200, 200);
/// What a picture is about.
pub const MAIN: RGBColor = RGBColor(0, 90, 160);
/// What it is compared with.
pub const REFERENCE: RGBColor = RGBColor(200, 95, 10);

/// Seven colours that colour-blind readers can tell apart (Okabe & Ito 2008).
pub const SEVEN: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(240, 228, 66),
];

pub type Sheet<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws on a white sheet and returns the SVG. The same drawing gives the same bytes: no fonts are asked for their sizes.
pub fn svg(size: (u32, u32), draw: impl FnOnce(&Sheet<'_>) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    {
        let sheet = SVGBackend::with_string(&mut text, size).into_drawing_area();
        sheet.fill(&PAPER)?;
        draw(&sheet)?;
        sheet.present()?;
    }
    Ok(text)
}

/// Words around a point.
pub fn words<'a>(
    text: &str,
    at: (i32, i32),
    height: u32,
    anchor: (HPos, VPos),
    colour: RGBColor,
) -> Text<'a, (i32, i32), String> {
    let style = ("sans-serif", height).into_font().color(&colour).pos(Pos::new(anchor.0, anchor.1));
    Text::new(text.to_owned(), at, style)
}

pub use plotters::style::text_anchor::{HPos, Pos, VPos};
