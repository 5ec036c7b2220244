//! Schedules: a number as a function of the step.

use std::{f64::consts::PI, fmt, sync::Arc};

use crate::{Error, Result, error::readable};

mod carried;
mod phases;
mod schedules;

pub(crate) use carried::Carried;
pub use phases::{Phase, Phases};
pub use schedules::Schedules;

/// A number as a function of the step: a plain value, for the scale of a penalty ([`Schedules`]), a target of sparsity, a learning rate.
///
/// With k the step, counted from 0, and K the number of `steps`, on which each stays at `to` after its end:
///
/// | | |
/// |---|---|
/// | [`constant`](Self::constant) | `value` |
/// | [`linear`](Self::linear) | `from + (to − from)·k/K` |
/// | [`cosine`](Self::cosine) | `to + (from − to)·(1 + cos πk/K)/2` |
/// | [`cubic`](Self::cubic) | `to + (from − to)·(1 − k/K)³` |
/// | [`steps`](Self::steps) | piecewise constant |
/// | [`function`](Self::function) | any closure, with a name |
///
/// [`after`](Self::after) delays one, [`lasting`](Self::lasting) ends one, and [`then`](Self::then) lets another begin at its end.
/// Making one never fails; what it is given is looked at by [`check`](Self::check), which all that take a schedule call.
///
/// ```
/// use l1_core::Schedule;
///
/// let warm_up = Schedule::constant(0.0).lasting(100).then(Schedule::linear(0.0, 1.0, 50));
/// assert_eq!([0, 99, 100, 125, 150, 9999].map(|step| warm_up.value(step)), [0.0, 0.0, 0.0, 0.5, 1.0, 1.0]);
/// assert_eq!(warm_up.to_string(), "constant(0).lasting(100).then(linear(0, 1, 50))");
/// warm_up.check()?;
/// # Ok::<(), l1_core::Error>(())
/// ```
///
/// Cosine: Loshchilov & Hutter, *SGDR* (2017), eq. 5. Cubic: Zhu & Gupta, *To prune, or not to prune* (2017), eq. 1, where it is the
/// course of a target of sparsity: `Schedule::cubic(0.0, 0.9, 1000).after(200)`.
#[derive(Clone)]
pub struct Schedule(Form);

#[derive(Clone)]
enum Form {
    Constant(f64),
    Between {
        course: Course,
        from: f64,
        to: f64,
        steps: u64,
    },
    /// From which step on there is which value.
    Steps(Arc<[(u64, f64)]>),
    Function {
        name: Arc<str>,
        function: Arc<dyn Fn(u64) -> f64 + Send + Sync>,
    },
    After(Arc<Schedule>, u64),
    Lasting(Arc<Schedule>, u64),
    Then(Arc<Schedule>, Arc<Schedule>),
}

/// How a schedule goes from one number to another.
#[derive(Clone, Copy)]
enum Course {
    Linear,
    Cosine,
    Cubic,
}

impl Course {
    /// How much of the way is left after a part x of the steps.
    fn left(self, x: f64) -> f64 {
        match self {
            Self::Linear => 1.0 - x,
            Self::Cosine => (1.0 + (PI * x).cos()) / 2.0,
            Self::Cubic => (1.0 - x).powi(3),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Cosine => "cosine",
            Self::Cubic => "cubic",
        }
    }
}

impl Schedule {
    /// The same number at every step. It has no end, unless [`lasting`](Self::lasting) gives it one.
    #[must_use]
    pub fn constant(value: f64) -> Self {
        Self(Form::Constant(value))
    }

    /// On a straight line: `from + (to − from)·k/K`.
    ///
    /// * `steps`: K ≥ 1; from step K on it is `to`.
    #[must_use]
    pub fn linear(from: f64, to: f64, steps: u64) -> Self {
        Self(Form::Between { course: Course::Linear, from, to, steps })
    }

    /// On half a wave, slow at both ends: `to + (from − to)·(1 + cos πk/K)/2`.
    ///
    /// * `steps`: K ≥ 1; from step K on it is `to`.
    #[must_use]
    pub fn cosine(from: f64, to: f64, steps: u64) -> Self {
        Self(Form::Between { course: Course::Cosine, from, to, steps })
    }

    /// Fast at first, then ever slower: `to + (from − to)·(1 − k/K)³`.
    ///
    /// * `steps`: K ≥ 1; from step K on it is `to`.
    #[must_use]
    pub fn cubic(from: f64, to: f64, steps: u64) -> Self {
        Self(Form::Between { course: Course::Cubic, from, to, steps })
    }

    /// Piecewise constant: from each of these steps on this value. It has no end.
    ///
    /// * `values`: the first at step 0, the steps increasing.
    ///
    /// ```
    /// let schedule = l1_core::Schedule::steps([(0, 1.0), (500, 0.1)]);
    /// assert_eq!([0, 499, 500].map(|step| schedule.value(step)), [1.0, 1.0, 0.1]);
    /// ```
    #[must_use]
    pub fn steps(values: impl IntoIterator<Item = (u64, f64)>) -> Self {
        Self(Form::Steps(values.into_iter().collect()))
    }

    /// Any function of the step. It has no end.
    ///
    /// * `name`: stands for the function in checkpoints, which cannot compare closures: give another function another name.
    /// * `function`: the same number for the same step at each call, so that a resumed training is the one that was not stopped.
    #[must_use]
    pub fn function(name: &str, function: impl Fn(u64) -> f64 + Send + Sync + 'static) -> Self {
        Self(Form::Function { name: name.into(), function: Arc::new(function) })
    }

    /// The same so many steps later; until then it is what it is at its step 0.
    #[must_use]
    pub fn after(self, steps: u64) -> Self {
        Self(Form::After(Arc::new(self), steps))
    }

    /// The same with its end after so many steps, where it stays as it is then.
    #[must_use]
    pub fn lasting(self, steps: u64) -> Self {
        Self(Form::Lasting(Arc::new(self), steps))
    }

    /// Lets another begin, at its step 0, where this ends.
    #[must_use]
    pub fn then(self, other: Self) -> Self {
        Self(Form::Then(Arc::new(self), Arc::new(other)))
    }

    /// The number at a step.
    #[must_use]
    pub fn value(&self, step: u64) -> f64 {
        match &self.0 {
            Form::Constant(value) => *value,
            // Not by the formula: its last bit is not that of `to`.
            Form::Between { to, steps, .. } if step >= *steps => *to,
            Form::Between { course, from, to, steps } => {
                let left = course.left(step as f64 / *steps as f64);
                // At step 0 `from` to the last bit.
                from * left + to * (1.0 - left)
            }
            Form::Steps(values) => {
                let after = values.partition_point(|(from, _)| *from <= step);
                values.get(after.saturating_sub(1)).map_or(f64::NAN, |(_, value)| *value)
            }
            Form::Function { function, .. } => function(step),
            Form::After(inner, steps) => inner.value(step.saturating_sub(*steps)),
            Form::Lasting(inner, steps) => inner.value(step.min(*steps)),
            Form::Then(first, second) => match first.length() {
                Some(length) if step >= length => second.value(step - length),
                _ => first.value(step),
            },
        }
    }

    /// After how many steps it ends, if it does.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match &self.0 {
            Form::Constant(_) | Form::Steps(_) | Form::Function { .. } => None,
            Form::Between { steps, .. } | Form::Lasting(_, steps) => Some(*steps),
            Form::After(inner, steps) => inner.length().map(|length| length.saturating_add(*steps)),
            Form::Then(first, second) => Some(first.length()?.saturating_add(second.length()?)),
        }
    }

    /// Whether it is above 0 at some step, as far as its numbers tell: a function is taken to be.
    pub(crate) fn may_be_positive(&self) -> bool {
        match &self.0 {
            Form::Constant(value) => *value > 0.0,
            Form::Between { from, to, .. } => *from > 0.0 || *to > 0.0,
            Form::Steps(values) => values.iter().any(|(_, value)| *value > 0.0),
            Form::Function { .. } => true,
            Form::After(inner, _) | Form::Lasting(inner, _) => inner.may_be_positive(),
            Form::Then(first, second) => first.may_be_positive() || second.may_be_positive(),
        }
    }

    /// Refuses numbers that are not finite, 0 steps, steps that do not increase from 0, and a `then` behind what has no end. A function
    /// is taken at its word: its numbers are looked at when they are used.
    ///
    /// # Errors
    /// [`Error::InvalidSchedule`].
    pub fn check(&self) -> Result<()> {
        self.check_with("", f64::is_finite, "finite")
    }

    /// * `place`: what the schedule is for, in words.
    /// * `is_allowed`: asked of every number but those of functions.
    pub(crate) fn check_with(&self, place: &str, is_allowed: fn(f64) -> bool, expected: &str) -> Result<()> {
        self.why_invalid(is_allowed, expected).map_or(Ok(()), |why| Err(self.invalid(place, why)))
    }

    pub(crate) fn invalid(&self, place: &str, why: String) -> Error {
        Error::InvalidSchedule { place: place.to_owned(), schedule: self.to_string(), why }
    }

    fn why_invalid(&self, is_allowed: fn(f64) -> bool, expected: &str) -> Option<String> {
        let number =
            |value: f64| (!is_allowed(value)).then(|| format!("it holds {} (expected {expected})", readable(value)));
        match &self.0 {
            Form::Constant(value) => number(*value),
            Form::Between { steps: 0, .. } => Some("it has 0 steps (expected ≥ 1)".to_owned()),
            Form::Between { from, to, .. } => number(*from).or_else(|| number(*to)),
            Form::Steps(values) => {
                let unsorted = || values.windows(2).find(|pair| pair[0].0 >= pair[1].0);
                match values.first() {
                    None => Some("it has no value (expected one at step 0, and then others)".to_owned()),
                    Some((first, _)) if *first > 0 => Some(format!("it begins at step {first} (expected 0)")),
                    _ => match unsorted() {
                        Some(pair) => Some(format!(
                            "step {} stands before step {} (expected increasing steps)",
                            pair[0].0, pair[1].0
                        )),
                        None => values.iter().find_map(|(_, value)| number(*value)),
                    },
                }
            }
            Form::Function { .. } => None,
            Form::After(inner, _) | Form::Lasting(inner, _) => inner.why_invalid(is_allowed, expected),
            Form::Then(first, _) if first.length().is_none() => {
                Some(format!("`{first}` has no end, so that nothing can come then: give it one with `lasting(steps)`"))
            }
            Form::Then(first, second) => {
                first.why_invalid(is_allowed, expected).or_else(|| second.why_invalid(is_allowed, expected))
            }
        }
    }
}

/// As it is written in a program, with shortest numbers that read back to the same bits.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Constant(value) => write!(f, "constant({})", readable(*value)),
            Form::Between { course, from, to, steps } => {
                write!(f, "{}({}, {}, {steps})", course.name(), readable(*from), readable(*to))
            }
            Form::Steps(values) => {
                let values: Vec<_> =
                    values.iter().map(|(step, value)| format!("({step}, {})", readable(*value))).collect();
                write!(f, "steps([{}])", values.join(", "))
            }
            Form::Function { name, .. } => write!(f, "function({name:?})"),
            Form::After(inner, steps) => write!(f, "{inner}.after({steps})"),
            Form::Lasting(inner, steps) => write!(f, "{inner}.lasting({steps})"),
            Form::Then(first, second) => write!(f, "{first}.then({second})"),
        }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
