//! A coefficient path: the weights of one parameter over λ.

use std::fmt;

use super::{
    axis::Axis,
    nothing,
    panel::{Frame, Name, Panel, Style, names_beside, room},
    scales,
    sheet::{Anchor, FAINT, INK, NUMBER, SOFT, look, svg},
};
use crate::{CoefficientLine, Coefficients, PathRun, Place, Result};

/// What [`coefficient_path`] writes beside the lines.
#[derive(Clone)]
pub struct CoefficientPathOptions<'o> {
    /// In place of the parameter's path.
    pub title: Option<&'o str>,
    /// How many lines have a colour and a name: those that are largest somewhere on the path. 10 at first; no more than there is room for.
    pub strongest: usize,
    /// The name of an entry, such as that of a gene; its place at first.
    pub name: Option<&'o dyn Fn(&Place) -> String>,
    /// Points of the run that are marked by an upright line, with words for it.
    pub marks: &'o [(usize, &'o str)],
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
            sheet.line(&[(panel.frame.left, zero), (panel.frame.right, zero)], FAINT, 2, false)?;
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
            let (colour, dashed) = look(index);
            panel.line(sheet, points(line).into_iter(), Style { colour, width: 4, dashed })?;
        }
        let mut height = panel.frame.bottom - 26.0;
        for (index, words) in options.marks {
            let scale = scales[*index];
            panel.upright(sheet, scale, SOFT)?;
            if let Some(x) = panel.x.at(scale) {
                // Beside the line, where there is more room.
                let is_left = x < 0.5 * (panel.frame.left + panel.frame.right);
                let (shift, anchor) = if is_left { (12.0, Anchor::Right) } else { (-12.0, Anchor::Left) };
                sheet.words(words, (x + shift, height), NUMBER, anchor, INK)?;
                height -= 36.0;
            }
        }
        if coefficients.lines.is_empty() {
            let middle = (0.5 * (panel.frame.left + panel.frame.right), 0.5 * (top + bottom) - 20.0);
            sheet.words("every weight is 0 at every point", middle, NUMBER, Anchor::Above, SOFT)?;
        }
        panel.names(sheet, named.into_iter().flatten().collect())
    })
}
