//! What of a regularizer follows which schedule.

use std::fmt;

use super::{Phases, Schedule};

/// What of a [`Regularizer`](crate::Regularizer) changes while training: its scale, the scales of fields, and from when on a support is
/// frozen. Given to [`Regularizer::set_schedules`](crate::Regularizer::set_schedules).
///
/// ```
/// use l1_core::{Phases, Schedule, Schedules};
///
/// // Without penalty first, then in full from step 300 on; frozen from step 1000 on.
/// let phases = Schedules::new().phases(Phases::new().warm_up(200).ramp(100).penalize(700));
/// assert_eq!(phases.to_string(), "scale: constant(0).lasting(200).then(linear(0, 1, 100)); frozen from step 1000 on");
///
/// // Each field by itself: the scales of fields multiply that of the whole.
/// let fields = Schedules::new()
///     .scale(Schedule::linear(0.0, 1.0, 500))
///     .scale_of("head", Schedule::cosine(1.0, 0.1, 2000))
///     .freeze_of("encoder", 1500);
/// # drop(fields);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "schedules do nothing before `set_schedules`"]
pub struct Schedules {
    pub(super) scales: Vec<(Option<String>, Schedule)>,
    pub(super) freezes: Vec<(Option<String>, u64)>,
}

impl Schedules {
    /// Nothing changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The factor of every λ, element and l2 ([`set_scale`](crate::Regularizer::set_scale)) at each step.
    pub fn scale(mut self, schedule: Schedule) -> Self {
        self.scales.push((None, schedule));
        self
    }

    /// The factor of a field ([`set_scale_of`](crate::Regularizer::set_scale_of)) at each step.
    ///
    /// * `field`: the path of a parameter (`fc1.weight`) or of what holds it (`fc1`).
    pub fn scale_of(mut self, field: &str, schedule: Schedule) -> Self {
        self.scales.push((Some(field.to_owned()), schedule));
        self
    }

    /// Freezes every support ([`freeze_support`](crate::Regularizer::freeze_support)) after so many steps: the step of this number,
    /// counted from 0, is the first that is taken with a frozen support.
    pub fn freeze(mut self, step: u64) -> Self {
        self.freezes.push((None, step));
        self
    }

    /// [`freeze`](Self::freeze) for one field.
    pub fn freeze_of(mut self, field: &str, step: u64) -> Self {
        self.freezes.push((Some(field.to_owned()), step));
        self
    }

    /// Warm-up, penalize, freeze, for all.
    pub fn phases(self, phases: Phases) -> Self {
        let scaled = self.scale(phases.schedule());
        match phases.freezes_at() {
            Some(step) => scaled.freeze(step),
            None => scaled,
        }
    }

    /// Warm-up, penalize, freeze, for one field.
    pub fn phases_of(self, field: &str, phases: Phases) -> Self {
        let scaled = self.scale_of(field, phases.schedule());
        match phases.freezes_at() {
            Some(step) => scaled.freeze_of(field, step),
            None => scaled,
        }
    }

    /// What is declared, each by its name: what has to be the same when training is resumed.
    pub(crate) fn declared(&self) -> impl Iterator<Item = (String, String)> {
        let scales = self.scales.iter().map(|(field, schedule)| (scale_of(field.as_deref()), schedule.to_string()));
        let freezes = self.freezes.iter().map(|(field, step)| (freeze_of(field.as_deref()), step.to_string()));
        scales.chain(freezes).map(|(what, text)| (format!("{SCHEDULE_OF}{what}"), text))
    }

    /// What a name of [`declared`](Self::declared) is for, and for which field: the empty path is the whole model.
    pub(crate) fn named(name: &str) -> Option<(Driven, &str)> {
        let what = name.strip_prefix(SCHEDULE_OF)?;
        let field = |start| what.strip_prefix(start).and_then(|rest: &str| rest.strip_suffix('`'));
        match what {
            "the scale" => Some((Driven::Scale, "")),
            "freezing" => Some((Driven::Freezing, "")),
            _ => {
                let of_field = field("the scale of `").map(|field| (Driven::ScaleOfField, field));
                of_field.or_else(|| field("freezing `").map(|field| (Driven::Freezing, field)))
            }
        }
    }
}

/// What the names of declared schedules begin with.
const SCHEDULE_OF: &str = "schedule of ";

/// What a schedule moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driven {
    /// The scale of the whole.
    Scale,
    /// The scale of a field.
    ScaleOfField,
    /// What is frozen.
    Freezing,
}

/// What a schedule of a scale is for, in words.
pub(super) fn scale_of(field: Option<&str>) -> String {
    field.map_or_else(|| "the scale".to_owned(), |field| format!("the scale of `{field}`"))
}

/// What a freezing is of, in words.
pub(super) fn freeze_of(field: Option<&str>) -> String {
    field.map_or_else(|| "freezing".to_owned(), |field| format!("freezing `{field}`"))
}

impl fmt::Display for Schedules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |field: &Option<String>| field.as_ref().map_or_else(String::new, |field| format!(" of `{field}`"));
        let scales = self.scales.iter().map(|(field, schedule)| format!("scale{}: {schedule}", of(field)));
        let freezes = self.freezes.iter().map(|(field, step)| match field {
            None => format!("frozen from step {step} on"),
            Some(field) => format!("`{field}` frozen from step {step} on"),
        });
        let all: Vec<_> = scales.chain(freezes).collect();
        if all.is_empty() { f.write_str("nothing is scheduled") } else { f.write_str(&all.join("; ")) }
    }
}
