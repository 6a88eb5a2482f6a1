//! Texts that are read back from files, checked: imgplan writes them without unsafe characters. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::safe_text::is_unsafe;

/// A text without unsafe characters.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct PlainText(String);

impl TryFrom<String> for PlainText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.contains(is_unsafe) {
            return Err("a text has a control character or one that changes the direction of text");
        }
        Ok(Self(text))
    }
}

/// Deserializes a text, and fails if it has an unsafe character.
pub(crate) fn deserialize_plain<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    PlainText::deserialize(from).map(|text| text.0)
}

/// Deserializes a map, and fails if a key has an unsafe character.
pub(crate) fn deserialize_plain_keys<'de, V, D>(from: D) -> Result<BTreeMap<String, V>, D::Error>
where
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let map = BTreeMap::<PlainText, V>::deserialize(from)?;
    Ok(map.into_iter().map(|(key, value)| (key.0, value)).collect())
}
