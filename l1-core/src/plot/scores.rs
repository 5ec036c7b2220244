//! A cross-validation curve: mean scores with their standard errors over λ, and both choices.

use plotters::style::RGBColor;

use super::{
    axis::{Axis, written},
    nothing,
    panel::{Frame, Panel, Style},
    scales,
    sheet::{Anchor, COLOURS, INK, NAME, NUMBER, SOFT, Stroke, svg},
};
use crate::{CrossValidated, CrossValidatedPoint, Result};

/// What [`cross_validation`] writes beside the curve.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossValidationOptions<'o> {
    title: Option<&'o str>,
    score: Option<&'o str>,
}

impl<'o> CrossValidationOptions<'o> {
    /// As [`Default`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// In place of "Cross-validation, n folds".
    #[must_use]
    pub fn title(self, title: &'o str) -> Self {
        Self { title: Some(title), ..self }
    }

    /// What a score is, with its unit, such as "mean deviance"; the name of the metric at first.
    #[must_use]
    pub fn score(self, score: &'o str) -> Self {
        Self { score: Some(score), ..self }
    }
}

/// Of the bars: lighter than the curve, and well seen on paper.
const BAR: RGBColor = RGBColor(120, 120, 120);

const PICTURE: &str = "cross-validation curve";

/// Draws the mean score of each scale (logarithmic, falling to the right) with a bar of one standard error on either side, the number
/// of nonzeros along the top, and marks the lowest mean and the choice of one standard error.
///
/// Scores that are all above 0 and differ much are drawn on a logarithmic axis.
///
/// # Errors
/// [`Error::Picture`](crate::Error::Picture) where there are no points.
pub fn cross_validation(validated: &CrossValidated, options: &CrossValidationOptions<'_>) -> Result<String> {
    let points = &validated.points;
    if points.is_empty() {
        return Err(nothing(PICTURE, "no scale has a score"));
    }
    let size = (1600, 1000);
    let scales: Vec<_> = points.iter().map(|point| point.scale).collect();
    let reach = |point: &CrossValidatedPoint| {
        [point.mean - point.standard_error, point.mean, point.mean + point.standard_error]
    };
    let x = scales::axis(&scales);
    let y = Axis::fitting(points.iter().flat_map(reach));
    let choices =
        [("lowest mean", validated.best, COLOURS[0]), ("one standard error", validated.one_standard_error, COLOURS[1])];
    let choices: Vec<_> =
        choices.into_iter().filter_map(|(name, index, colour)| Some((name, points.get(index)?, colour))).collect();
    let frame = Frame { left: 170.0, top: 190.0, right: 1210.0, bottom: 860.0 };
    let panel = Panel::falling(x, y, frame);
    let title = options.title.map_or_else(|| format!("Cross-validation, {} folds", validated.folds), str::to_owned);
    let score = options.score.unwrap_or(&validated.metric);
    let score = if panel.y.is_log() { format!("{score} (logarithmic)") } else { score.to_owned() };
    svg(PICTURE, size, |sheet| {
        sheet.title(&title, size)?;
        panel.axes(sheet, Some(&scales::named("scale of λ", &panel.x)), &score)?;
        let nonzeros: Vec<_> = points.iter().map(|point| (point.scale, written(point.nonzeros.round(), 0.0))).collect();
        panel.along_the_top(sheet, "nonzero weights, mean over the folds", &nonzeros)?;
        for (_, point, colour) in &choices {
            panel.upright(sheet, point.scale, *colour)?;
        }
        for point in points {
            let [low, _, high] = reach(point).map(|score| panel.at(point.scale, score));
            // A logarithmic axis has no place for what is not above 0: such a bar goes down to the edge.
            let low = low.or_else(|| Some((panel.x.at(point.scale)?, frame.bottom))).filter(|_| high.is_some());
            if let (Some(low), Some(high)) = (low, high) {
                sheet.line(&[low, high], BAR, 2, Stroke::Solid)?;
                for (x, y) in [low, high] {
                    sheet.line(&[(x - 6.0, y), (x + 6.0, y)], BAR, 2, Stroke::Solid)?;
                }
            }
        }
        panel.line(sheet, points.iter().map(|point| (point.scale, point.mean)), Style::plain(INK, 3))?;
        for point in points {
            if let Some(at) = panel.at(point.scale, point.mean) {
                sheet.dot(at, 4, INK)?;
            }
        }
        // The chosen ones above all others; where both are the same, one dot within the other.
        let radii = if validated.best == validated.one_standard_error { [14, 9] } else { [11, 11] };
        let mut height = frame.top + 30.0;
        for ((name, point, colour), radius) in choices.iter().zip(radii) {
            if let Some(at) = panel.at(point.scale, point.mean) {
                sheet.dot(at, radius, *colour)?;
            }
            height = said(sheet, height, name, point, *colour)?;
        }
        let missing = points.iter().filter(|point| !point.mean.is_finite()).count();
        if missing > 0 {
            let words = format!("{missing} without a finite mean");
            sheet.words(&words, (frame.right + 40.0, height), NUMBER, Anchor::Right, SOFT)?;
        }
        sheet.line(
            &[(frame.right + 40.0, frame.bottom - 24.0), (frame.right + 40.0, frame.bottom)],
            BAR,
            2,
            Stroke::Solid,
        )?;
        sheet.words("± one standard error", (frame.right + 60.0, frame.bottom - 12.0), NUMBER, Anchor::Right, SOFT)
    })
}

/// A choice in words, beside the panel; returns the height of the next.
fn said(
    sheet: &super::sheet::Sheet<'_>,
    height: f64,
    name: &str,
    point: &CrossValidatedPoint,
    colour: RGBColor,
) -> Result<f64, plotters::drawing::DrawingAreaErrorKind<std::io::Error>> {
    let left = 1250.0;
    sheet.dot((left + 10.0, height), 10, colour)?;
    sheet.words(name, (left + 34.0, height), NAME, Anchor::Right, INK)?;
    let lines = [
        format!("scale {}", written(point.scale, 0.0)),
        format!("score {} ± {}", written(point.mean, 0.0), written(point.standard_error, 0.0)),
        format!("{} nonzero weights", written(point.nonzeros.round(), 0.0)),
    ];
    let mut height = height;
    for line in lines {
        height += 36.0;
        sheet.words(&line, (left + 34.0, height), NUMBER, Anchor::Right, SOFT)?;
    }
    Ok(height + 64.0)
}
