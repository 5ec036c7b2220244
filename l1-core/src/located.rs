//! Where a field that was not looked into lies among the names of a `VarMap`: told from its neighbours.

use std::collections::BTreeSet;

use crate::visitor::Unvisited;

/// A field that was not looked into, with what the names of its variables begin with.
#[derive(Debug)]
pub(crate) struct Located<'f> {
    pub(crate) field: &'f Unvisited,
    prefix: String,
}

/// A parameter that a model shows: its path, and its name in the `VarMap` if it is one of its variables.
pub(crate) type Shown<'s> = (&'s str, Option<&'s str>);

impl<'f> Located<'f> {
    /// The fields that can be told by name. A field without a name of its own, whose path others share, cannot; nor can one that may
    /// lie in several places, none of them its path.
    ///
    /// * `names`: all of the `VarMap`.
    pub(crate) fn all<'n>(
        fields: &'f [Unvisited],
        shown: &[Shown<'_>],
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Vec<Self> {
        let is_alone = |field: &&Unvisited| {
            let is_other =
                |other: &Unvisited| !std::ptr::eq(other, *field) && is_in(other.path.as_str(), field.path.as_str());
            !fields.iter().any(is_other) && !shown.iter().any(|(path, _)| is_in(path, field.path.as_str()))
        };
        let located = |field: &'f Unvisited| {
            let path = field.path.as_str();
            let holds_any = |prefix: &str| names.clone().any(|name| is_in(name, prefix));
            let is_of_model = shown.is_empty() || shown.iter().any(|(_, name)| name.is_some());
            let mut candidates = candidates(path, shown);
            candidates.retain(|candidate| holds_any(candidate));
            let prefix = match candidates.as_slice() {
                [one] => one.clone(),
                candidates if candidates.iter().any(|candidate| candidate == path) => path.to_owned(),
                // A VarMap of which the model shows nothing is likely another one's.
                _ => return None,
            };
            is_of_model.then_some(Self { field, prefix })
        };
        fields.iter().filter(is_alone).filter_map(located).collect()
    }

    /// The field that a name lies in.
    pub(crate) fn around<'l>(all: &'l [Self], name: &str) -> Option<&'l Self> {
        all.iter().filter(|located| is_in(name, &located.prefix)).max_by_key(|located| located.prefix.len())
    }
}

/// Whether a dotted name is a prefix or lies below it.
pub(crate) fn is_in(name: &str, prefix: &str) -> bool {
    prefix.is_empty() || name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What the names of a field's variables may begin with. A model is often built under a prefix of its own, and a part of it under another
/// one: so the nearest neighbours that the model shows say where it lies, and without any it is where its path says.
fn candidates(path: &str, shown: &[Shown<'_>]) -> Vec<String> {
    let mut above = path;
    while !above.is_empty() {
        above = above.rsplit_once('.').map_or("", |(above, _)| above);
        let moved: BTreeSet<String> = shown.iter().filter_map(|shown| moved(path, above, shown)).collect();
        if !moved.is_empty() {
            return moved.into_iter().collect();
        }
    }
    vec![path.to_owned()]
}

/// The path as it would be if all below `above` lay where a neighbour lies.
fn moved(path: &str, above: &str, (neighbour, name): &Shown<'_>) -> Option<String> {
    let below = |path: &str| Some(path.strip_prefix(above)?.trim_start_matches('.').to_owned());
    if !is_in(neighbour, above) {
        return None;
    }
    let prefix = (*name)?.strip_suffix(below(neighbour)?.as_str())?;
    // Only whole segments.
    (prefix.is_empty() || prefix.ends_with('.')).then(|| Some(prefix.to_owned() + &below(path)?))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_may_lie_where_its_nearest_neighbours_lie() {
        let shown = [
            ("fc.weight", Some("net.fc.weight")),
            ("encoder.fc.weight", Some("backbone.fc.weight")),
            ("encoder.other", Some("another name")),
            ("ice", None),
        ];
        assert_eq!(candidates("gru", &shown), ["net.gru"]);
        let moved = [shown[0], ("out.weight", Some("decoder.out.weight"))];
        assert_eq!(candidates("gru", &moved), ["decoder.gru", "net.gru"]);
        assert_eq!(candidates("encoder.gru", &shown), ["backbone.gru"]);
        assert_eq!(candidates("encoder.deep.gru", &shown), ["backbone.deep.gru"]);
        assert_eq!(candidates("gru", &shown[..1]), ["net.gru"]);
        assert_eq!(candidates("gru", &shown[3..]), ["gru"]);
        assert_eq!(candidates("", &[]), [""]);
    }

    #[test]
    fn a_name_is_in_a_prefix_by_whole_segments() {
        assert!(is_in("fc.weight", "fc") && is_in("fc", "fc") && is_in("fc", ""));
        assert!(!is_in("fc2.weight", "fc"));
    }
}
