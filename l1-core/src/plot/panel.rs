//! A pair of axes with what is named on them, and names at the ends of lines.

use plotters::style::RGBColor;

use super::{
    axis::Axis,
    sheet::{Anchor, At, Drawn, FAINT, GRID, INK, LOOKS, NAME, NUMBER, SOFT, Sheet, Stroke, shortened, width},
};

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

/// A pair of axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) frame: Frame,
}

impl Panel {
    /// The small end of x at the left, that of y at the bottom.
    pub(super) fn new(x: Axis, y: Axis, frame: Frame) -> Self {
        let Frame { left, top, right, bottom } = frame;
        Self { x: x.over(left, right), y: y.over(bottom, top), frame }
    }

    /// The large end of x at the left: strong penalties come first.
    pub(super) fn falling(x: Axis, y: Axis, frame: Frame) -> Self {
        let Frame { left, top, right, bottom } = frame;
        Self { x: x.over(right, left), y: y.over(bottom, top), frame }
    }

    pub(super) fn at(&self, x: f64, y: f64) -> Option<At> {
        Some((self.x.at(x)?, self.y.at(y)?))
    }

    /// Frame, grid, numbers and names; numbers of x only where there is a name for it.
    pub(super) fn axes(&self, sheet: &Sheet<'_>, x: Option<&str>, y: &str) -> Drawn {
        let Frame { left, top, right, bottom } = self.frame;
        let mut last = f64::NEG_INFINITY;
        let mut ticks = self.x.ticks();
        ticks.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        for (at, text) in ticks {
            sheet.line(&[(at, top), (at, bottom)], GRID, 1, Stroke::Solid)?;
            let half = 0.5 * width(&text, NUMBER);
            if x.is_some() && at - half > last {
                sheet.words(&text, (at, bottom + 12.0), NUMBER, Anchor::Below, SOFT)?;
                last = at + half + 12.0;
            }
        }
        for (at, text) in self.y.ticks() {
            sheet.line(&[(left, at), (right, at)], GRID, 1, Stroke::Solid)?;
            sheet.words(&text, (left - 12.0, at), NUMBER, Anchor::Left, SOFT)?;
        }
        sheet.frame((left, top), (right, bottom), FAINT)?;
        if let Some(gap) = self.x.gap() {
            // Two strokes through the axis.
            for shift in [-6.0, 6.0] {
                sheet.line(
                    &[(gap + shift - 5.0, bottom + 10.0), (gap + shift + 5.0, bottom - 10.0)],
                    FAINT,
                    2,
                    Stroke::Solid,
                )?;
            }
        }
        if let Some(x) = x {
            sheet.words(x, (0.5 * (left + right), bottom + 54.0), NAME, Anchor::Below, INK)?;
        }
        sheet.words(y, (left - 118.0, 0.5 * (top + bottom)), NAME, Anchor::Upwards, INK)
    }

    /// A line through points in the order of their numbers; where one has no place (NaN) it is interrupted, and what stands alone
    /// is a dot.
    pub(super) fn line(&self, sheet: &Sheet<'_>, points: impl Iterator<Item = (f64, f64)>, style: Style) -> Drawn {
        let Style { colour, width, stroke } = style;
        let mut piece: Vec<At> = Vec::new();
        for at in points.map(|(x, y)| self.at(x, y)).chain([None]) {
            match at {
                Some(at) => piece.push(at),
                None => {
                    match piece.as_slice() {
                        [] => {}
                        [alone] => sheet.dot(*alone, width + 3, colour)?,
                        piece => sheet.line(piece, colour, width, stroke)?,
                    }
                    piece.clear();
                }
            }
        }
        Ok(())
    }

    /// A dashed line from top to bottom.
    pub(super) fn upright(&self, sheet: &Sheet<'_>, x: f64, colour: RGBColor) -> Drawn {
        let Some(x) = self.x.at(x) else { return Ok(()) };
        sheet.line(&[(x, self.frame.top), (x, self.frame.bottom)], colour, 3, Stroke::Dashed)
    }

    /// Numbers along the top edge, of points that are far enough from each other, and what they are.
    pub(super) fn along_the_top(&self, sheet: &Sheet<'_>, name: &str, numbers: &[(f64, String)]) -> Drawn {
        let Frame { left, top, right, .. } = self.frame;
        let mut placed: Vec<_> = numbers.iter().filter_map(|(x, text)| Some((self.x.at(*x)?, text))).collect();
        placed.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let widest = placed.iter().map(|(_, text)| width(text, NUMBER)).fold(0.0, f64::max);
        let mut last = f64::NEG_INFINITY;
        for (at, text) in placed {
            if at - last >= f64::max(widest + 16.0, (right - left) / 12.0) {
                sheet.line(&[(at, top - 8.0), (at, top)], FAINT, 2, Stroke::Solid)?;
                sheet.words(text, (at, top - 12.0), NUMBER, Anchor::Above, SOFT)?;
                last = at;
            }
        }
        sheet.words(name, (0.5 * (left + right), top - 48.0), NAME, Anchor::Above, INK)
    }

    /// Names beside the right edge, each as near to the end of its line as the others leave it, and tied to it.
    pub(super) fn names(&self, sheet: &Sheet<'_>, names: Vec<Name>) -> Drawn {
        let Frame { top, right, bottom, .. } = self.frame;
        let mut placed: Vec<_> =
            names.into_iter().filter_map(|name| Some((self.at(name.end.0, name.end.1)?, name))).collect();
        placed.sort_by(|((_, a), _), ((_, b), _)| a.total_cmp(b));
        let wanted: Vec<_> = placed.iter().map(|((_, y), _)| *y).collect();
        let places = spread(&wanted, LINE, top + 0.5 * LINE, bottom - 0.5 * LINE);
        for (((x, y), name), place) in placed.into_iter().zip(places) {
            let knots = [(x, y), (right + 10.0, y), (right + 34.0, place), (right + 44.0, place)];
            let knots = if x < right - 4.0 { &knots[1..] } else { &knots[..] };
            sheet.line(knots, name.colour, 2, Stroke::Solid)?;
            sheet.words(&name.text, (right + 52.0, place), NUMBER, Anchor::Right, INK)?;
        }
        Ok(())
    }
}

/// From one name at a line's end to the next.
pub(super) const LINE: f64 = 34.0;

/// How a line is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) colour: RGBColor,
    pub(super) width: u32,
    pub(super) stroke: Stroke,
}

impl Style {
    pub(super) fn plain(colour: RGBColor, width: u32) -> Self {
        Self { colour, width, stroke: Stroke::Solid }
    }
}

/// A name at the end of a line.
#[derive(Clone, Debug)]
pub(super) struct Name {
    text: String,
    /// The last point of the line.
    end: (f64, f64),
    colour: RGBColor,
}

impl Name {
    pub(super) fn new(text: &str, end: (f64, f64), colour: RGBColor) -> Self {
        Self { text: shortened(text, 26), end, colour }
    }
}

/// The room that names want beside the right edge.
pub(super) fn room<'n>(names: impl IntoIterator<Item = &'n Name>) -> f64 {
    64.0 + names.into_iter().map(|name| width(&name.text, NUMBER)).fold(0.0, f64::max)
}

/// How many names have room beside a frame of this height: no more than there are looks, or two lines would share one.
pub(super) fn names_beside(height: f64) -> usize {
    ((height / LINE).max(0.0) as usize).min(LOOKS)
}

/// The places nearest to those that are wanted (which rise), at least `gap` apart and between two ends: isotonic regression of what is
/// wanted less the gaps, by pooling neighbours.
fn spread(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (index, wanted) in wanted.iter().enumerate() {
        let mut pool = (wanted - gap * index as f64, 1);
        while let Some((mean, count)) = pools.pop_if(|(mean, _)| *mean > pool.0) {
            let total = count + pool.1;
            pool = ((mean * count as f64 + pool.0 * pool.1 as f64) / total as f64, total);
        }
        pools.push(pool);
    }
    let end = f64::max(low, high - gap * wanted.len().saturating_sub(1) as f64);
    let places = pools.into_iter().flat_map(|(mean, count)| std::iter::repeat_n(mean.clamp(low, end), count));
    places.enumerate().map(|(index, place)| place + gap * index as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_where_they_can_and_keep_their_distance_where_they_cannot() {
        assert_eq!(spread(&[10.0, 50.0], 20.0, 0.0, 100.0), [10.0, 50.0]);
        assert_eq!(spread(&[50.0, 50.0, 50.0], 20.0, 0.0, 100.0), [30.0, 50.0, 70.0]);
        assert_eq!(spread(&[99.0, 99.0], 20.0, 0.0, 100.0), [80.0, 100.0]);
        assert_eq!(spread(&[1.0, 2.0], 20.0, 0.0, 100.0), [0.0, 20.0]);
    }
}
