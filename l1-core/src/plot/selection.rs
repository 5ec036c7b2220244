//! Stability selection: how often each feature is selected, over λ.

use super::{
    axis::Axis,
    nothing,
    panel::{Frame, Name, Panel, Style, names_beside, room},
    scales,
    sheet::{Anchor, FAINT, INK, NUMBER, SOFT, Stroke, look, svg},
};
use crate::{Result, StabilitySelected};

/// What [`stability`] writes beside the lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct StabilityOptions<'o> {
    title: Option<&'o str>,
}

impl<'o> StabilityOptions<'o> {
    /// As [`Default`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// In place of "Stability selection" with the counts.
    #[must_use]
    pub fn title(mut self, title: &'o str) -> Self {
        self.title = Some(title);
        self
    }
}

const PICTURE: &str = "stability selection";

/// Draws the share of subsamples that selected each feature over λ (logarithmic, falling to the right), the threshold, and the names of
/// the features that reach it.
///
/// Without scales the points are numbered from 0, in their order. Features are named as [`StabilitySelected`] names them, else by number.
///
/// # Errors
/// [`Error::Picture`](crate::Error::Picture) where there are no features, or the parts do not fit together.
pub fn stability(selected: &StabilitySelected, options: &StabilityOptions<'_>) -> Result<String> {
    let StabilitySelected { proportions, threshold, .. } = selected;
    let features = proportions.first().map_or(0, Vec::len);
    if features == 0 {
        return Err(nothing(PICTURE, "there are no proportions"));
    }
    if let Some(row) = proportions.iter().find(|row| row.len() != features) {
        return Err(nothing(PICTURE, format!("one scale has {} proportions, another {features}", row.len())));
    }
    let (xs, x, name) = match &selected.scales {
        Some(scales) if scales.len() != proportions.len() => {
            let why = format!("there are {} scales, and proportions of {}", scales.len(), proportions.len());
            return Err(nothing(PICTURE, why));
        }
        Some(scales) => {
            let x = scales::axis(scales);
            (scales.clone(), x, scales::named("scale of λ", &x))
        }
        None => {
            let xs: Vec<_> = (0..proportions.len()).map(|index| index as f64).collect();
            let x = Axis::linear(xs.iter().copied()).whole();
            (xs, x, "index of the point".to_owned())
        }
    };
    let is_falling = selected.scales.is_some();

    let size = (1600, 1000);
    let (top, bottom) = (120.0, 860.0);
    let mut stable: Vec<usize> = selected.selected.iter().copied().filter(|feature| *feature < features).collect();
    let highest = |feature: usize| proportions.iter().map(|row| row[feature]).fold(0.0, f64::max);
    stable.sort_by(|a, b| highest(*b).total_cmp(&highest(*a)).then(a.cmp(b)));
    // The threshold has a name too.
    let named = stable.len().min(names_beside(bottom - top).saturating_sub(1));
    // What stands at the right.
    let weakest = (0..xs.len()).min_by(|a, b| xs[*a].total_cmp(&xs[*b])).unwrap_or(0);
    let end = if is_falling { weakest } else { xs.len() - 1 };
    let mut names: Vec<_> = stable[..named]
        .iter()
        .enumerate()
        .map(|(index, &feature)| {
            let stated = selected.names.as_ref().and_then(|names| names.get(feature));
            let text = stated.cloned().unwrap_or_else(|| format!("feature {feature}"));
            Name::new(&text, (xs[end], proportions[end][feature]), look(index).0)
        })
        .collect();
    if threshold.is_finite() {
        names.push(Name::new(&format!("threshold {threshold}"), (xs[end], *threshold), INK));
    }
    let right = 1600.0 - room(&names).max(200.0);
    let frame = Frame { left: 170.0, top, right, bottom };
    let y = Axis::between(-0.02, 1.03);
    let panel = if is_falling { Panel::falling(x, y, frame) } else { Panel::new(x, y, frame) };
    let title = options.title.map_or_else(
        || {
            format!(
                "Stability selection: {} of {features} features in at least {:.0} % of {} subsamples",
                stable.len(),
                100.0 * threshold,
                selected.subsamples
            )
        },
        str::to_owned,
    );
    svg(PICTURE, size, |sheet| {
        sheet.title(&title, size)?;
        panel.axes(sheet, Some(&name), "share of subsamples that select it")?;
        let line = |feature: usize| xs.iter().copied().zip(proportions.iter().map(move |row| row[feature]));
        for feature in (0..features).filter(|feature| !stable[..named].contains(feature)) {
            if highest(feature) > 0.0 {
                panel.line(sheet, line(feature), Style::plain(FAINT, 2))?;
            }
        }
        if let Some(y) = panel.y.at(*threshold) {
            sheet.line(&[(panel.frame.left, y), (panel.frame.right, y)], INK, 3, Stroke::Dashed)?;
        }
        for (index, &feature) in stable[..named].iter().enumerate().rev() {
            let (colour, stroke) = look(index);
            panel.line(sheet, line(feature), Style { colour, width: 4, stroke })?;
        }
        if stable.len() > named {
            let words = format!("and {} more", stable.len() - named);
            sheet.words(&words, (right + 52.0, bottom + 24.0), NUMBER, Anchor::Right, SOFT)?;
        }
        panel.names(sheet, names)
    })
}
