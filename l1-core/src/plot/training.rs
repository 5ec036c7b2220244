//! A training: loss and penalty above, zeros below, over the steps.

use super::{
    axis::Axis,
    nothing,
    panel::{Frame, Name, Panel, Style, names_beside, room},
    sheet::{COLOURS, FAINT, INK, Stroke, look, svg},
};
use crate::{History, HistoryRecord, Result};

/// What [`training`] writes beside the lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrainingOptions<'o> {
    title: Option<&'o str>,
}

impl<'o> TrainingOptions<'o> {
    /// As [`Default`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// In place of "Training" with the number of steps.
    #[must_use]
    pub fn title(mut self, title: &'o str) -> Self {
        self.title = Some(title);
        self
    }
}

const PICTURE: &str = "training";

/// Draws loss and penalty over the steps, and below them, over the same steps, the share of zeros in each field and in all.
///
/// Losses that are all above 0 and differ much are drawn on a logarithmic axis, and then a penalty of 0 has no place. NaN interrupts a
/// line. Of many fields the largest are named.
///
/// # Errors
/// [`Error::Picture`](crate::Error::Picture) for a history without records.
pub fn training(history: &History, options: &TrainingOptions<'_>) -> Result<String> {
    let records = history.records();
    let (Some(first), Some(last)) = (records.first(), history.last()) else {
        return Err(nothing(PICTURE, "no step has been recorded"));
    };
    let size = (1600, 1200);
    let (upper, lower) = ((110.0, 560.0), (620.0, 1060.0));
    let x = match records.len() {
        1 => Axis::linear([first.step as f64].into_iter()),
        _ => Axis::between(first.step as f64, last.step as f64),
    };
    let x = x.whole();
    let losses = series("loss", records, |record| record.loss, COLOURS[1]);
    let penalties = series("penalty Ω(w)", records, |record| record.penalty, COLOURS[0]);
    let numbers = losses.points.iter().chain(&penalties.points).map(|(_, y)| *y);
    // A penalty of 0 is the end of many a training, and no reason to draw the loss linearly.
    let y = Axis::fitting(numbers.filter(|y| *y != 0.0));

    let entries: usize = history.fields().iter().map(|field| field.entries).sum();
    let share = |zeros: usize, of: usize| if of == 0 { 0.0 } else { 100.0 * zeros as f64 / of as f64 };
    let mut order: Vec<usize> = (0..history.fields().len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(history.fields()[*index].entries), *index));
    let several = order.len() > 1;
    let named = order.len().min(names_beside(lower.1 - lower.0).saturating_sub(1));
    let mut zeros: Vec<Series> = Vec::new();
    let mut unnamed: Vec<Series> = Vec::new();
    for (place, index) in order.into_iter().enumerate() {
        let field = &history.fields()[index];
        let of = |record: &HistoryRecord| share(record.fields[index].zeros, field.entries);
        let (colour, stroke) = look(place);
        let line = Series { stroke, ..series(field.path.as_str(), records, of, colour) };
        if place < named {
            zeros.push(line)
        } else {
            unnamed.push(Series { colour: FAINT, stroke: Stroke::Solid, ..line })
        }
    }
    if several {
        zeros.push(series("all of them", records, |record| share(record.zeros(), entries), INK));
    }
    let loss_names: Vec<_> = [&penalties, &losses].into_iter().filter_map(Series::name).collect();
    let zero_names: Vec<_> = zeros.iter().filter_map(Series::name).collect();
    let right = 1600.0 - room(loss_names.iter().chain(&zero_names));
    let frame = |(top, bottom): (f64, f64)| Frame { left: 170.0, top, right, bottom };
    let above = Panel::new(x, y, frame(upper));
    let below = Panel::new(x, Axis::between(-2.0, 103.0), frame(lower));
    let title = options.title.map_or_else(|| format!("Training, steps {} to {}", first.step, last.step), str::to_owned);
    let loss = if above.y.is_log() { "loss, penalty (logarithmic)" } else { "loss, penalty" };
    svg(PICTURE, size, |sheet| {
        sheet.title(&title, size)?;
        above.axes(sheet, None, loss)?;
        below.axes(sheet, Some("step"), "zeros (% of a field)")?;
        for line in unnamed.iter().chain(&zeros) {
            below.line(sheet, line.points.iter().copied(), line.style())?;
        }
        for line in [&penalties, &losses] {
            above.line(sheet, line.points.iter().copied(), line.style())?;
        }
        above.names(sheet, loss_names)?;
        below.names(sheet, zero_names)
    })
}

/// One line with its name.
struct Series {
    text: String,
    points: Vec<(f64, f64)>,
    colour: plotters::style::RGBColor,
    stroke: Stroke,
}

fn series(
    text: &str,
    records: &[HistoryRecord],
    of: impl Fn(&HistoryRecord) -> f64,
    colour: plotters::style::RGBColor,
) -> Series {
    let points = records.iter().map(|record| (record.step as f64, of(record))).collect();
    Series { text: text.to_owned(), points, colour, stroke: Stroke::Solid }
}

impl Series {
    fn style(&self) -> Style {
        Style { colour: self.colour, width: 4, stroke: self.stroke }
    }

    /// At the last point that is a number.
    fn name(&self) -> Option<Name> {
        let end = self.points.iter().rfind(|(_, y)| y.is_finite())?;
        Some(Name::new(&self.text, *end, self.colour))
    }
}
