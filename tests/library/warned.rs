//! What l1 warns of through `tracing`.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// An event's fields as text, its message under `message`.
#[derive(Clone, Debug, Default)]
pub struct Said(BTreeMap<&'static str, String>);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Said {
    pub fn text(&self, field: &str) -> &str {
        &self.0[field]
    }

    pub fn number(&self, field: &str) -> f64 {
        self.0[field].parse().unwrap()
    }
}

/// Writes down what l1 warns of on this thread.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<Said>>>);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("l1_core")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        self.0.lock().unwrap().push(said);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

pub fn warnings(run: impl FnOnce()) -> Vec<Said> {
    let listener = Listener::default();
    tracing::subscriber::with_default(listener.clone(), run);
    listener.0.lock().unwrap().clone()
}
