//! Reads the JSON and the YAML of other tools. Pure.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use serde_saphyr::UserMessageFormatter;

use super::ConvertError;

/// Maximum number of items of a list of tags, platforms or arguments.
const MAX_LIST_ITEMS: usize = 10_000;

/// Keys of a mapping that have no field of their own, with their values.
pub(super) type OtherKeys = BTreeMap<String, Value>;

/// Parses one YAML document. Aliases are expanded up to a limit. Fails if the text is not YAML, or
/// not of this type; the error does not show the text, which may hold passwords.
pub(super) fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, ConvertError> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_nodes: 5_000_000,
            max_events: 10_000_000,
            max_merge_keys: 200_000,
            max_aliases: 200_000,
            enforce_alias_anchor_ratio: false,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let message = error.render_with_formatter(&UserMessageFormatter);
        let message = message.lines().next().unwrap_or("not YAML").to_owned();
        ConvertError::new(message, "correct the YAML")
    })
}

/// Reads an item of a known type. Fails with its place.
pub(super) fn item<T: DeserializeOwned>(
    place: impl Display,
    value: Value,
) -> Result<T, ConvertError> {
    serde_json::from_value(value).map_err(|error| {
        let message = format!("{place}: {error}");
        ConvertError::new(message, "correct the value; the other tool would not read it either")
    })
}

/// Removes the keys whose values say nothing: `null`, `false`, and empty texts, lists and mappings.
pub(super) fn said(keys: OtherKeys) -> impl Iterator<Item = (String, Value)> {
    keys.into_iter().filter(|(_, value)| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(keys) => !keys.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    })
}

/// Names with values, as a mapping or as a list of `NAME=VALUE`. A name without a value has `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NamedValues(pub(super) Vec<(String, Option<String>)>);

impl<'de> Deserialize<'de> for NamedValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "names with values")]
        enum NamedValuesForm {
            Map(Map<String, Value>),
            List(Vec<String>),
        }
        let pairs = match Option::<NamedValuesForm>::deserialize(deserializer)? {
            None => Vec::new(),
            Some(NamedValuesForm::Map(map)) => {
                map.into_iter().map(|(name, value)| (name, text_of(&value))).collect()
            }
            Some(NamedValuesForm::List(items)) => items.iter().map(|item| pair(item)).collect(),
        };
        limited(pairs).map(Self)
    }
}

/// A list of texts, or one text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Texts(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a text or a list of texts")]
        enum TextsForm {
            One(String),
            Many(Vec<String>),
        }
        let texts = match Option::<TextsForm>::deserialize(deserializer)? {
            None => Vec::new(),
            Some(TextsForm::One(text)) => vec![text],
            Some(TextsForm::Many(texts)) => texts,
        };
        limited(texts).map(Self)
    }
}

/// Fails if a list is longer than any that a person wrote: lists are compared with themselves.
fn limited<T, E: serde::de::Error>(items: Vec<T>) -> Result<Vec<T>, E> {
    match items.len() {
        0..=MAX_LIST_ITEMS => Ok(items),
        _ => Err(E::custom(format_args!("a list has more than {MAX_LIST_ITEMS} items"))),
    }
}

fn pair(item: &str) -> (String, Option<String>) {
    match item.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (item.to_owned(), None),
    }
}

/// Returns a scalar as Compose makes a text of it; `None` for other values.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => float.to_string(),
            None => number.to_string(),
        }),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
