//! The header of a safetensors file that may say anything: read as far as it is there, and believed as far as it is in order.
//!
//! The safetensors crate wants the whole file in memory first, adds up offsets that overflow, and takes the last of two tensors of
//! one name.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    io::{ErrorKind, Read},
};

use safetensors::{
    SafeTensorError,
    tensor::{Metadata, TensorInfo},
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::unique::{Unique, insert};

/// The header's own name in the file, which no tensor can have.
pub(super) const NAME: &str = "__metadata__";

/// The largest header that the safetensors crate reads.
pub(super) const LARGEST: u64 = 100_000_000;

/// Reads the length and the header; what follows in `file` are the tensors' data. Also returns where these start.
///
/// What is allocated follows from the bytes that are there, whatever the length or a shape says.
pub(super) fn read(file: &mut impl Read) -> Result<(Metadata, u64), SafeTensorError> {
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => SafeTensorError::HeaderTooSmall,
        _ => error.into(),
    })?;
    let length = u64::from_le_bytes(length);
    if length > LARGEST {
        return Err(SafeTensorError::HeaderTooLarge);
    }
    let mut text = Vec::new();
    if file.take(length).read_to_end(&mut text)? as u64 != length {
        return Err(SafeTensorError::InvalidHeaderLength);
    }
    let header: Header = serde_json::from_slice(&text).map_err(SafeTensorError::InvalidHeaderDeserialization)?;
    let mut tensors: Vec<_> = header.tensors.into_iter().collect();
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    // Refuses shapes that overflow, and tensors that do not lie one behind the other.
    Ok((Metadata::new(header.texts, tensors)?, 8 + length))
}

/// The header as it is written.
struct Header {
    texts: Option<HashMap<String, String>>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names with shapes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let (mut texts, mut tensors) = (BTreeMap::new(), BTreeMap::new());
                while let Some(name) = map.next_key::<String>()? {
                    if name == NAME {
                        insert(&mut texts, name, map.next_value::<Option<Unique<String>>>()?)?;
                    } else {
                        insert(&mut tensors, name, map.next_value()?)?;
                    }
                }
                let texts = texts.into_values().next().flatten().map(|Unique(texts)| texts.into_iter().collect());
                Ok(Header { texts, tensors })
            }
        }

        deserializer.deserialize_map(Entries)
    }
}
