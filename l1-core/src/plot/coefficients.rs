//! A coefficient path: the weights of one parameter over λ.

use std::fmt;

use super::{
    axis::Axis,
    nothing,
    panel::{Frame, Name, Panel, Style, names_beside, room},
    scales,
    sheet::{Anchor, At, FAINT, INK, NUMBER, SOFT, Stroke, look, svg, width},
};
use crate::{CoefficientLine, Coefficients, PathRun, Place, Result};

/// What [`coefficient_path`] writes beside the lines.
#[derive(Clone)]
pub struct CoefficientPathOptions<'o> {
    title: Option<&'o str>,
    strongest: usize,
    name: Option<&'o dyn Fn(&Place) -> String>,
    marks: &'o [(usize, &'o str)],
}

impl<'o> CoefficientPathOptions<'o> {
    /// As [`Default`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// In place of the parameter's path.
    #[must_use]
    pub fn title(self, title: &'o str) -> Self {
        Self { title: Some(title), ..self }
    }

    /// How many lines have a colour and a name: those that are largest somewhere on the path. 10 at first; no more than there is room for.
    #[must_use]
    pub fn strongest(self, strongest: usize) -> Self {
        Self { strongest, ..self }
    }

    /// The name of an entry, such as that of a gene; its place at first.
    #[must_use]
    pub fn name(self, name: &'o dyn Fn(&Place) -> String) -> Self {
        Self { name: Some(name), ..self }
    }

    /// Points of the run that are marked by an upright line, with words for it.
    #[must_use]
    pub fn marks(self, marks: &'o [(usize, &'o str)]) -> Self {
        Self { marks, ..self }
    }
}

impl Default for CoefficientPathOptions<'_> {
    fn default() -> Self {
        Self { title: None, strongest: 10, name: None, marks: &[] }
    }
}

impl fmt::Debug for CoefficientPathOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, strongest, name, marks } = self;
        let mut fields = f.debug_struct("CoefficientPathOptions");
        fields.field("title", title).field("strongest", strongest).field("name", &name.map(|_| "Fn(&Place) -> String"));
        fields.field("marks", marks).finish()
    }
}

const PICTURE: &str = "coefficient path";

/// Draws every weight of one parameter over λ (logarithmic, falling to the right), with the number of nonzeros along the top and the
/// strongest weights named.
///
/// λ is the parameter's own where it moves along the path, else the scale. A point at λ = 0 stands behind a gap in the axis; NaN
/// interrupts a line.
///
/// * `field`: the path of a variable of the run, as in `fc.weight`.
///
/// # Errors
/// [`Error::UnknownField`](crate::Error::UnknownField), [`Error::NoSuchPoint`](crate::Error::NoSuchPoint) where the weights were not
/// kept or a mark is beyond the end, [`Error::Picture`](crate::Error::Picture) for a run without points.
pub fn coefficient_path(run: &PathRun, field: &str, options: &CoefficientPathOptions<'_>) -> Result<String> {
    if run.points.is_empty() {
        return Err(nothing(PICTURE, "the run has no points"));
    }
    let points = run.points.len();
    if let Some((index, _)) = options.marks.iter().find(|(index, _)| *index >= points) {
        return Err(crate::Error::NoSuchPoint { index: *index, points });
    }
    let coefficients = run.coefficients(field)?;
    let lambdas: Vec<_> =
        run.points.iter().map(|point| point.field(field).map_or(f64::NAN, |field| field.lambda)).collect();
    let moves = lambdas.iter().all(|lambda| lambda.is_finite()) && lambdas.windows(2).all(|pair| pair[0] != pair[1]);
    let (scales, name) = match moves && lambdas.iter().any(|lambda| *lambda > 0.0) {
        true => (lambdas, "λ".to_owned()),
        false => (run.scales(), "scale of λ".to_owned()),
    };
    let nonzeros = nonzeros(&coefficients, points);
    draw(&coefficients, &scales, &name, &nonzeros, options)
}

/// At each point.
fn nonzeros(coefficients: &Coefficients, points: usize) -> Vec<usize> {
    let at = |point: usize| {
        coefficients.lines.iter().filter(|line| line.values.get(point).is_some_and(|w| *w != 0.0)).count()
    };
    (0..points).map(at).collect()
}

fn draw(
    coefficients: &Coefficients,
    scales: &[f64],
    name: &str,
    nonzeros: &[usize],
    options: &CoefficientPathOptions<'_>,
) -> Result<String> {
    let size = (1600, 1000);
    let (top, bottom) = (190.0, 860.0);
    let x = scales::axis(scales);
    let values = coefficients.lines.iter().flat_map(|line| line.values.iter().copied()).chain([0.0]);
    let y = Axis::linear(values);

    let mut strongest: Vec<&CoefficientLine> = coefficients.lines.iter().collect();
    strongest.sort_by(|a, b| b.largest().total_cmp(&a.largest()).then(a.entry.cmp(&b.entry)));
    strongest.truncate(options.strongest.min(names_beside(bottom - top)));
    // Lines end where λ is smallest.
    let end = (0..scales.len()).min_by(|a, b| scales[*a].total_cmp(&scales[*b])).unwrap_or(0);
    let named: Vec<Option<Name>> = strongest
        .iter()
        .enumerate()
        .map(|(index, line)| {
            let text = options.name.map_or_else(|| line.place.to_string(), |name| name(&line.place));
            // Where the last value is no number, the name hangs at the last that is one.
            let end =
                if line.values[end].is_finite() { Some(end) } else { line.values.iter().rposition(|w| w.is_finite()) };
            end.map(|end| Name::new(&text, (scales[end], line.values[end]), look(index).0))
        })
        .collect();
    let right = 1600.0 - room(named.iter().flatten());
    let panel = Panel::falling(x, y, Frame { left: 170.0, top, right, bottom });

    let count = match coefficients.shape.as_slice() {
        [] => "1 weight".to_owned(),
        shape => format!("{} weights", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ")),
    };
    let title = options.title.map_or_else(|| format!("{} along the path ({count})", coefficients.path), str::to_owned);
    svg(PICTURE, size, |sheet| {
        sheet.title(&title, size)?;
        panel.axes(sheet, Some(&scales::named(name, &panel.x)), "weight")?;
        let counts: Vec<_> = scales.iter().zip(nonzeros).map(|(scale, count)| (*scale, count.to_string())).collect();
        panel.along_the_top(sheet, "nonzero weights", &counts)?;
        if let Some(zero) = panel.y.at(0.0) {
            sheet.line(&[(panel.frame.left, zero), (panel.frame.right, zero)], FAINT, 2, Stroke::Solid)?;
        }
        let points =
            |line: &CoefficientLine| scales.iter().copied().zip(line.values.iter().copied()).collect::<Vec<_>>();
        for line in &coefficients.lines {
            if !strongest.iter().any(|strong| strong.entry == line.entry) {
                panel.line(sheet, points(line).into_iter(), Style::plain(FAINT, 2))?;
            }
        }
        // The strongest is drawn last, above the others.
        for (index, line) in strongest.iter().enumerate().rev() {
            let (colour, stroke) = look(index);
            panel.line(sheet, points(line).into_iter(), Style { colour, width: 4, stroke })?;
        }
        let mut taken: Vec<Frame> = Vec::new();
        let pixels = if options.marks.is_empty() { Vec::new() } else { pixels(&panel, coefficients, scales) };
        for (index, words) in options.marks {
            panel.upright(sheet, scales[*index], SOFT)?;
            if let Some(x) = panel.x.at(scales[*index]) {
                let spot = spot(&panel, x, width(words, NUMBER), &pixels, &taken);
                sheet.words(words, (spot.left, 0.5 * (spot.top + spot.bottom)), NUMBER, Anchor::Right, INK)?;
                taken.push(spot);
            }
        }
        if coefficients.lines.is_empty() {
            let middle = (0.5 * (panel.frame.left + panel.frame.right), 0.5 * (top + bottom) - 20.0);
            sheet.words("every weight is 0 at every point", middle, NUMBER, Anchor::Above, SOFT)?;
        }
        panel.names(sheet, named.into_iter().flatten().collect())
    })
}

/// The points of a line, where they have a place.
type Pixels = Vec<Option<At>>;

fn pixels(panel: &Panel, of: &Coefficients, scales: &[f64]) -> Vec<Pixels> {
    let line =
        |line: &CoefficientLine| scales.iter().zip(&line.values).map(|(scale, w)| panel.at(*scale, *w)).collect();
    of.lines.iter().map(line).collect()
}

/// Where words beside an upright line cover the fewest others: on either side of it, the lowest such place.
fn spot(panel: &Panel, x: f64, width: f64, lines: &[Pixels], taken: &[Frame]) -> Frame {
    let Frame { left, top, right, bottom } = panel.frame;
    let heights = (0..).map(|line| bottom - 26.0 - 30.0 * f64::from(line)).take_while(|height| *height > top + 20.0);
    let sides = [x + 12.0, x - 12.0 - width];
    let places = heights.flat_map(|height| {
        sides.map(|side| Frame { left: side, top: height - 17.0, right: side + width, bottom: height + 17.0 })
    });
    let cost = |place: &Frame| {
        let is_out = place.left < left || place.right > right;
        let is_taken = taken.iter().any(|other| {
            place.left < other.right && other.left < place.right && place.top < other.bottom && other.top < place.bottom
        });
        let covered = lines.iter().filter(|line| covers(place, line)).count();
        // The lines' own colours matter less than words upon words.
        covered + 1_000_000 * usize::from(is_taken) + 2_000_000 * usize::from(is_out)
    };
    let fallback = Frame { left: sides[0], top: bottom - 43.0, right: sides[0] + width, bottom: bottom - 9.0 };
    places.min_by_key(cost).unwrap_or(fallback)
}

/// Whether a line goes through a rectangle.
fn covers(place: &Frame, line: &[Option<At>]) -> bool {
    line.windows(2).any(|ends| {
        let &[Some(from), Some(to)] = ends else { return false };
        let (from, to) = if from.0 <= to.0 { (from, to) } else { (to, from) };
        let (start, end) = (from.0.max(place.left), to.0.min(place.right));
        if start > end {
            return false;
        }
        let slope = if to.0 > from.0 { (to.1 - from.1) / (to.0 - from.0) } else { 0.0 };
        let heights = [start, end].map(|x| from.1 + slope * (x - from.0));
        heights[0].min(heights[1]) <= place.bottom && heights[0].max(heights[1]) >= place.top
    })
}
