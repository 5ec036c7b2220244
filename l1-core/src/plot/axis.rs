//! Axes: where a number stands in a picture, and the numbers that are written beside it.

/// One direction of a panel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    is_log: bool,
    /// The numbers at both ends; of a logarithmic axis their decimal logarithms.
    low: f64,
    high: f64,
    /// The pixels of both ends.
    from: f64,
    to: f64,
    /// Where a 0 stands on a logarithmic axis: behind the end of the small numbers.
    zero: Option<f64>,
}

/// Numbers beyond this are drawn at it: differences of larger ones overflow.
const LARGEST: f64 = 1e300;

impl Axis {
    /// Equal distances for equal differences, over all finite numbers with a margin.
    pub(super) fn linear(numbers: impl Iterator<Item = f64>) -> Self {
        let (low, high) = ends(numbers).unwrap_or((0.0, 1.0));
        let size = low.abs().max(high.abs());
        // What differs in the ninth digit is a flat line, and not its rounding.
        let (low, high) = match high - low {
            span if span > 1e-9 * size => (low - 0.04 * span, high + 0.04 * span),
            _ if size > 1e-300 => (low - 0.5 * size, high + 0.5 * size),
            _ => (-1.0, 1.0),
        };
        Self { is_log: false, low, high, from: 0.0, to: 1.0, zero: None }
    }

    /// From one number to another, without a margin.
    pub(super) fn between(low: f64, high: f64) -> Self {
        Self { is_log: false, low, high, from: 0.0, to: 1.0, zero: None }
    }

    /// Equal distances for equal ratios, over all finite numbers above 0; a 0 among the others has a place of its own.
    pub(super) fn logarithmic(numbers: impl Iterator<Item = f64> + Clone) -> Self {
        let has_zero = numbers.clone().any(|number| number == 0.0);
        let positive = numbers.filter(|number| *number > 0.0);
        let (low, high) = ends(positive.map(f64::log10)).unwrap_or((-1.0, 0.0));
        let margin = if high - low < 1e-9 { 0.3 } else { 0.02 * (high - low) };
        let zero = has_zero.then_some(0.0);
        Self { is_log: true, low: low - margin, high: high + margin, from: 0.0, to: 1.0, zero }
    }

    /// Logarithmic for numbers above 0 that differ by a factor of 30 and more, else linear.
    pub(super) fn fitting(numbers: impl Iterator<Item = f64> + Clone) -> Self {
        match ends(numbers.clone()) {
            Some((low, high)) if low > 0.0 && high / low >= 30.0 => Self::logarithmic(numbers),
            _ => Self::linear(numbers),
        }
    }

    pub(super) fn is_log(&self) -> bool {
        self.is_log
    }

    /// Lays the small end at one pixel and the large end at another.
    pub(super) fn over(self, small: f64, large: f64) -> Self {
        match self.zero {
            None => Self { from: small, to: large, ..self },
            Some(_) => Self { from: small + 0.09 * (large - small), to: large, zero: Some(small), ..self },
        }
    }

    /// Where a number stands, if it has a place.
    pub(super) fn at(&self, number: f64) -> Option<f64> {
        let number = match (self.is_log, number) {
            (_, number) if number.is_nan() => return None,
            (true, 0.0) => return self.zero,
            (true, number) if number > 0.0 && number.is_finite() => number.log10(),
            (false, number) if number.is_finite() => number.clamp(-LARGEST, LARGEST),
            _ => return None,
        };
        let share = (number - self.low) / (self.high - self.low);
        Some(self.from + share * (self.to - self.from))
    }

    /// Where the axis is broken, between 0 and the small numbers.
    pub(super) fn gap(&self) -> Option<f64> {
        self.zero.map(|zero| zero + 0.5 * (self.from - zero))
    }

    /// The numbers to be written beside it, with their places.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let numbers = if self.is_log { self.ratios() } else { round_numbers(self.low, self.high) };
        let step = match numbers.as_slice() {
            [first, second, ..] if !self.is_log => second - first,
            _ => 0.0,
        };
        let zero = self.zero.map(|at| (at, "0".to_owned()));
        let ticks = numbers.into_iter().filter_map(|number| Some((self.at(number)?, written(number, step))));
        zero.into_iter().chain(ticks).collect()
    }

    /// Powers of ten, with 2 and 5 between them where there are few.
    fn ratios(&self) -> Vec<f64> {
        let span = self.high - self.low;
        if span < 0.7 {
            return round_numbers(10f64.powf(self.low), 10f64.powf(self.high));
        }
        let between: &[f64] = if span < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let every = (span / 8.0).ceil() as i32;
        let decades =
            (self.low.floor() as i32..=self.high.ceil() as i32).filter(|decade| decade.rem_euclid(every.max(1)) == 0);
        let numbers = decades.flat_map(|decade| between.iter().map(move |digit| digit * 10f64.powi(decade)));
        numbers.filter(|number| (self.low..=self.high).contains(&number.log10())).collect()
    }
}

/// The smallest and the largest finite number.
fn ends(numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = numbers.filter(|number| number.is_finite()).map(|number| number.clamp(-LARGEST, LARGEST));
    finite.fold(None, |ends, number| match ends {
        None => Some((number, number)),
        Some((low, high)) => Some((f64::min(low, number), f64::max(high, number))),
    })
}

/// Multiples of 1, 2 or 5 times a power of ten, about six of them.
fn round_numbers(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 6.0;
    if !(rough > 0.0 && rough.is_finite()) {
        return Vec::new();
    }
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let first = (low / step).ceil();
    (0..12).map(|index| (first + f64::from(index)) * step).take_while(|number| *number <= high).collect()
}

/// A number as it is printed: with the digits that its neighbours, a `step` apart, ask for (0: as few as it has).
pub(super) fn written(number: f64, step: f64) -> String {
    if number == 0.0 || number.abs() < 1e-9 * step {
        return "0".to_owned();
    }
    let size = number.abs().max(step);
    let text = if (1e-3..1e6).contains(&size) {
        match step {
            0.0 => format!("{}", rounded(number, 3)),
            step => format!("{number:.*}", (-step.log10().floor()).clamp(0.0, 9.0) as usize),
        }
    } else {
        let power = number.abs().log10().floor();
        // 10^-324 is no number.
        let mantissa = rounded(number / 10f64.powf(power), 3);
        let power = superscript(power as i32);
        match mantissa {
            1.0 => format!("10{power}"),
            -1.0 => format!("-10{power}"),
            mantissa => format!("{mantissa}·10{power}"),
        }
    };
    text.replace('-', "−")
}

/// So many significant digits.
fn rounded(number: f64, digits: usize) -> f64 {
    format!("{number:.*e}", digits - 1).parse().unwrap_or(number)
}

fn superscript(number: i32) -> String {
    let raised = |letter: char| match letter.to_digit(10) {
        Some(digit) => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit as usize],
        None => '⁻',
    };
    number.to_string().chars().map(raised).collect()
}
