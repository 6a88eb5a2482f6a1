//! Reads the JSON and the YAML of other tools. Pure.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use serde_saphyr::UserMessageFormatter;

use super::ConvertError;
use crate::base::yaml_budget::yaml_budget;

/// Maximum number of items of a list of tags, platforms or arguments.
const MAX_LIST_ITEMS: usize = 1_000;

/// Keys of a mapping that have no field of their own, with their values.
pub(super) type OtherKeys = BTreeMap<String, Value>;

/// Parses one YAML document. Aliases are expanded up to a limit. Fails if the text is not YAML, or
/// not of this type; the error does not show the text, which may hold passwords.
pub(super) fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, ConvertError> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        legacy_octal_numbers: true,
        budget: yaml_budget(),
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let message = error.render_with_formatter(&UserMessageFormatter);
        let message = expectation(message.lines().next().unwrap_or_default());
        ConvertError::new(message, "correct the YAML; quote texts that are no words, such as tags")
    })
}

/// Parses a JSON document. The error does not show a value of the text.
pub(super) fn json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        // Errors of syntax show no value.
        if error.is_data() { expectation(&message) } else { message }
    })
}

/// Returns what was expected, and where, of the message of an error, which may show a password.
fn expectation(message: &str) -> String {
    match (message.rfind(", expected "), message.rfind(" at line ")) {
        (Some(at), _) => message[at + 2..].to_owned(),
        _ if message.starts_with("expected ") => message.to_owned(),
        (_, Some(at)) => format!("not valid{}", &message[at..]),
        _ => "not valid".to_owned(),
    }
}

/// Reads an item of a known type. Fails with its place.
pub(super) fn item<T: DeserializeOwned>(
    place: impl Display,
    value: Value,
) -> Result<T, ConvertError> {
    serde_json::from_value(value).map_err(|error| {
        let message = format!("{place}: {}", expectation(&error.to_string()));
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

/// Names with values, as a mapping or as a list of `NAME=VALUE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NamedValues(pub(super) Vec<(String, NamedValue)>);

/// Value of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NamedValue {
    Text(String),
    Missing,
    /// A number with a fraction or an exponent, whose text is not known any more, or no scalar.
    Unclear,
}

impl<'de> Deserialize<'de> for NamedValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected names with values")]
        enum NamedValuesForm {
            Map(Map<String, Value>),
            List(Vec<String>),
        }
        let pairs = match Option::<NamedValuesForm>::deserialize(deserializer)? {
            None => Vec::new(),
            Some(NamedValuesForm::Map(map)) => {
                map.into_iter().map(|(name, value)| (name, named_value(value))).collect()
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
        #[serde(untagged, expecting = "expected a text or a list of texts")]
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

/// A list of texts, each as it is written: `3.20` without quotes is the text `3.20`, as for go-yaml.
/// Only for values that are read from the YAML itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LiteralTexts(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for LiteralTexts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts: Option<Vec<String>> = Option::deserialize(deserializer)?;
        limited(texts.unwrap_or_default()).map(Self)
    }
}

/// Fails if a list is longer than any that a person wrote.
fn limited<T, E: serde::de::Error>(items: Vec<T>) -> Result<Vec<T>, E> {
    match items.len() {
        0..=MAX_LIST_ITEMS => Ok(items),
        _ => Err(E::custom(format_args!("expected a list of at most {MAX_LIST_ITEMS} items"))),
    }
}

fn pair(item: &str) -> (String, NamedValue) {
    match item.split_once('=') {
        Some((name, value)) => (name.to_owned(), NamedValue::Text(value.to_owned())),
        None => (item.to_owned(), NamedValue::Missing),
    }
}

/// Returns a value as Compose makes a text of it.
fn named_value(value: Value) -> NamedValue {
    match value {
        Value::String(text) => NamedValue::Text(text),
        Value::Bool(value) => NamedValue::Text(value.to_string()),
        Value::Number(number) if !number.is_f64() => NamedValue::Text(number.to_string()),
        Value::Null => NamedValue::Missing,
        Value::Number(_) | Value::Array(_) | Value::Object(_) => NamedValue::Unclear,
    }
}
