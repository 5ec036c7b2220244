//! JSON objects in which no name stands twice. Of two values one would be lost, and nobody could say which.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor},
};

/// Names with values, each name once.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Unique<V>(pub(super) BTreeMap<String, V>);

impl<V> Default for Unique<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V> Unique<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Adds a value, or refuses a name that has one.
pub(super) fn insert<V, E: Error>(values: &mut BTreeMap<String, V>, name: String, value: V) -> Result<(), E> {
    match values.insert(name.clone(), value) {
        None => Ok(()),
        Some(_) => Err(E::custom(format_args!("`{name}` stands there twice"))),
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = Unique<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names with values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<V>, A::Error> {
                let mut values = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let value =
                        map.next_value().map_err(|error| A::Error::custom(format_args!("`{name}`: {error}")))?;
                    insert(&mut values, name, value)?;
                }
                Ok(Unique(values))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}
