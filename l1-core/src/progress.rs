//! A bar on stderr for work that takes long: with the feature `progress`, where stderr is a terminal. Else nothing.

#[cfg(feature = "progress")]
use std::cell::Cell;

#[cfg(feature = "progress")]
thread_local! {
    /// How many bars are drawn on this thread, or for it.
    static DRAWN: Cell<usize> = const { Cell::new(0) };
}

/// Work on its way. Only the outermost of nested ones is drawn; it is cleared when it ends.
#[derive(Debug)]
pub(crate) struct Progress {
    #[cfg(feature = "progress")]
    bar: indicatif::ProgressBar,
}

impl Progress {
    /// * `length`: how many steps there are, if that is known.
    #[cfg(feature = "progress")]
    pub(crate) fn new(what: &'static str, length: Option<usize>) -> Self {
        use std::io::IsTerminal;

        let is_outermost = DRAWN.replace(DRAWN.get() + 1) == 0;
        let bar = match length {
            _ if !is_outermost || !std::io::stderr().is_terminal() => indicatif::ProgressBar::hidden(),
            Some(length) => indicatif::ProgressBar::new(length as u64),
            None => indicatif::ProgressBar::new_spinner(),
        };
        let template =
            if length.is_some() { "{prefix} {bar:30} {pos}/{len} {msg}" } else { "{prefix} {spinner} {pos} {msg}" };
        if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Self { bar }
    }

    #[cfg(not(feature = "progress"))]
    pub(crate) fn new(_what: &'static str, _length: Option<usize>) -> Self {
        Self {}
    }

    /// One step more; what to say of it.
    #[cfg(feature = "progress")]
    pub(crate) fn step(&self, message: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_message(message());
        }
        self.bar.inc(1);
    }

    #[cfg(not(feature = "progress"))]
    pub(crate) fn step(&self, _message: impl FnOnce() -> String) {}

    /// Does a part of the work of another thread's bar: draws none here.
    pub(crate) fn as_part<R>(work: impl FnOnce() -> R) -> R {
        #[cfg(feature = "progress")]
        let _part = Part::begin();
        work()
    }
}

#[cfg(feature = "progress")]
impl Drop for Progress {
    fn drop(&mut self) {
        DRAWN.set(DRAWN.get().saturating_sub(1));
        self.bar.finish_and_clear();
    }
}

/// Counts as a bar, also when the work panics.
#[cfg(feature = "progress")]
struct Part;

#[cfg(feature = "progress")]
impl Part {
    fn begin() -> Self {
        DRAWN.set(DRAWN.get() + 1);
        Self
    }
}

#[cfg(feature = "progress")]
impl Drop for Part {
    fn drop(&mut self) {
        DRAWN.set(DRAWN.get().saturating_sub(1));
    }
}
