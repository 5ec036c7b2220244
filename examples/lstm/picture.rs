//! The years held out, and what was forecast for them.

use anyhow::{Context, Result};
use examples::{
    data::Sunspots,
    measure::largest,
    picture::{FAINT, HPos, INK, MAIN, REFERENCE, VPos, svg, words},
};
use plotters::prelude::*;

use crate::series::Forecasts;

/// Two forecasts beside the numbers; `network` is what the picture is about.
pub fn picture(data: &Sunspots, network: &Forecasts, linear: &Forecasts) -> Result<String> {
    let last = *data.years.last().context("there are years")?;
    let years = network.first..=last;
    let numbers = years.clone().map(|year| data.of(year));
    let forecasts = network.numbers.iter().chain(&linear.numbers).copied();
    let top = 50.0 * (largest(numbers.chain(forecasts)) / 50.0).ceil();
    svg((1000, 400), |sheet| {
        let left = (HPos::Left, VPos::Top);
        for (text, x, colour) in [
            ("sunspot number", 60, INK),
            ("forecast by the sparse LSTM", 270, MAIN),
            ("by the autoregression of square roots", 600, REFERENCE),
        ] {
            sheet.draw(&words(text, (x, 8), 22, left, colour))?;
        }
        let mut chart = ChartBuilder::on(sheet)
            .margin(10)
            .margin_top(44)
            .x_label_area_size(30)
            .y_label_area_size(50)
            .build_cartesian_2d(f64::from(network.first)..f64::from(last), 0.0..top)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT.mix(0.5))
            .axis_style(FAINT)
            .label_style(("sans-serif", 18).into_font().color(&INK))
            .x_label_formatter(&|year| format!("{year:.0}"))
            .y_label_formatter(&|number| format!("{number:.0}"))
            .draw()?;
        let line = |forecasts: &Forecasts| -> Vec<(f64, f64)> {
            years.clone().map(f64::from).zip(forecasts.numbers.iter().copied()).collect()
        };
        let numbers = years.clone().map(|year| (f64::from(year), data.of(year)));
        chart.draw_series(LineSeries::new(line(linear), REFERENCE.stroke_width(2)))?;
        chart.draw_series(LineSeries::new(line(network), MAIN.stroke_width(3)))?;
        chart.draw_series(numbers.map(|at| Circle::new(at, 4, INK.filled())))?;
        Ok(())
    })
}
