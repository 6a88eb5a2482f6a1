//! Decodes the nodes of a manifest into the types of the model. Pure.
//!
//! serde would stop at the first error. Here each value that does not fit is reported, marked as
//! [`Value::Bad`] and left out, and decoding goes on, so that all errors are shown at once.

use std::str::FromStr;

use super::diagnostics::Diagnostics;
use super::foreign_keys::{synonym, unsupported};
use super::node::{MapKey, ScalarKind, Value, YamlNode};
use super::spanned::Spanned;
use crate::base::name::NameError;
use crate::base::nearest::did_you_mean;
use crate::base::span::Problem;

/// A type of the model that can be read from a node.
pub(crate) trait Decode: Sized {
    /// Decodes a node, which is not [`Value::Bad`]. Returns `None` if the node itself does not fit:
    /// then it is reported and marked as bad. Bad values inside a container are left out of it.
    fn decode(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Self>;
}

/// Decodes a node. Returns `None` if its problem is or was reported.
pub(crate) fn decode<T: Decode>(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<T> {
    if matches!(node.value, Value::Bad) {
        return None;
    }
    T::decode(node, diagnostics)
}

/// Returns true if this value, or a value inside it, was reported as bad.
pub(crate) fn is_damaged(node: &YamlNode) -> bool {
    match &node.value {
        Value::Bad => true,
        Value::Scalar { .. } => false,
        Value::Seq(items) => items.iter().any(is_damaged),
        Value::Map(entries) => entries.iter().any(|(_, value)| is_damaged(value)),
    }
}

/// Reports the problem of a node and marks the node as bad.
pub(super) fn reject<T>(
    node: &mut YamlNode,
    diagnostics: &mut Diagnostics,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Option<T> {
    diagnostics.error(message, node.span, help);
    node.value = Value::Bad;
    None
}

/// Decodes a string with the parser of its type.
pub(super) fn decode_text<T>(
    node: &mut YamlNode,
    diagnostics: &mut Diagnostics,
    parse: impl FnOnce(&str) -> Result<T, NameError>,
) -> Option<T> {
    match text(node).and_then(parse) {
        Ok(value) => Some(value),
        Err(error) => reject(node, diagnostics, error.message, error.help),
    }
}

/// Decodes a string that holds a number with a unit: `30m`, `500MB`, `100/60s`. For a number
/// without a unit, the help shows it with each of the suffixes.
pub(super) fn decode_quantity<T>(
    node: &mut YamlNode,
    diagnostics: &mut Diagnostics,
    suffixes: &[&str],
    parse: impl FnOnce(&str) -> Result<T, NameError>,
) -> Option<T> {
    if let Value::Scalar { text, kind: ScalarKind::Number } = &node.value {
        let message = format!("`{text}` has no unit");
        let examples: Vec<String> = suffixes.iter().map(|unit| format!("{text}{unit}")).collect();
        let help = format!("add the unit: {}", examples.join(", "));
        return reject(node, diagnostics, message, help);
    }
    decode_text(node, diagnostics, parse)
}

/// Returns the text of a string node.
fn text(node: &YamlNode) -> Result<&str, NameError> {
    match &node.value {
        Value::Scalar { text, kind: ScalarKind::Text } => Ok(text),
        Value::Scalar { text, kind: ScalarKind::Number | ScalarKind::Bool } => Err(unquoted(text)),
        Value::Scalar { text, kind: ScalarKind::Null } if !text.is_empty() => {
            let message = format!("YAML reads {text} as no value");
            Err(NameError::new(message, format!("write a value, or quote it: \"{text}\"")))
        }
        // YAML reads `{dir}` without quotes as a mapping.
        Value::Map(entries) => Err(match &entries[..] {
            [(key, YamlNode { value: Value::Scalar { kind: ScalarKind::Null, .. }, .. })] => {
                mismatch(node, "a string", format!("quote it: \"{{{}}}\"", key.text))
            }
            _ => mismatch(node, "a string", "write one value, in quotes if necessary"),
        }),
        _ => Err(mismatch(node, "a string", "write one value, in quotes if necessary")),
    }
}

/// Describes a number or a Boolean in a place where a string is expected.
pub(super) fn unquoted(text: &str) -> NameError {
    let message = match text.parse::<f64>() {
        // The usual case: `3.10`.
        Ok(number) if number.is_finite() && number.to_string() != text => {
            format!("YAML reads {text} as the number {number}")
        }
        _ if ["true", "false"].contains(&&*text.to_ascii_lowercase()) => {
            format!("YAML reads {text} as a Boolean")
        }
        _ => format!("YAML reads {text} as a number"),
    };
    NameError::new(message, format!("quote it: \"{text}\""))
}

/// Describes a node of the wrong type.
fn mismatch(node: &YamlNode, expected: &str, help: impl Into<String>) -> NameError {
    let actual = match &node.value {
        Value::Scalar { kind: ScalarKind::Null, .. } => {
            let help = match expected {
                "a list" | "a mapping" => "indent its lines more than the key, or remove the key",
                _ => "write a value or remove the key",
            };
            return NameError::new("this key has no value", help);
        }
        Value::Scalar { text, kind: ScalarKind::Number } => format!("the number `{text}`"),
        Value::Scalar { text, kind: ScalarKind::Bool } => format!("`{text}`"),
        Value::Scalar { text, .. } => format!("the string `{}`", text.escape_debug()),
        Value::Seq(_) => "a list".to_owned(),
        Value::Map(_) | Value::Bad => "a mapping".to_owned(),
    };
    NameError::new(format!("expected {expected}, found {actual}"), help)
}

impl Decode for String {
    fn decode(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Self> {
        decode_text(node, diagnostics, |text| Ok(text.to_owned()))
    }
}

impl Decode for bool {
    fn decode(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Self> {
        if let Value::Scalar { text, kind: ScalarKind::Bool } = &node.value {
            return Some(text.eq_ignore_ascii_case("true"));
        }
        let help = "write true or false, without quotes";
        let error = mismatch(node, "`true` or `false`", help);
        reject(node, diagnostics, error.message, error.help)
    }
}

fn decode_number<T: FromStr>(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<T> {
    if let Value::Scalar { text, kind: ScalarKind::Number } = &node.value
        && let Ok(number) = text.parse()
    {
        return Some(number);
    }
    let error = mismatch(node, "a whole number", "write digits only, without quotes");
    reject(node, diagnostics, error.message, error.help)
}

impl Decode for u32 {
    fn decode(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Self> {
        decode_number(node, diagnostics)
    }
}

impl Decode for u64 {
    fn decode(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Self> {
        decode_number(node, diagnostics)
    }
}

impl<T: Decode> Decode for Spanned<T> {
    fn decode(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Self> {
        let span = node.span;
        T::decode(node, diagnostics).map(|value| Self::new(value, span))
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Self> {
        T::decode(node, diagnostics).map(Self::new)
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Self> {
        if let Value::Seq(items) = &mut node.value {
            return Some(items.iter_mut().filter_map(|item| decode(item, diagnostics)).collect());
        }
        let help = match &node.value {
            Value::Scalar { text, kind: ScalarKind::Text } => {
                format!("write it in brackets: [{text}]")
            }
            _ => "write each item on its own line, after `- `".to_owned(),
        };
        let error = mismatch(node, "a list", help);
        reject(node, diagnostics, error.message, error.help)
    }
}

/// A mapping whose keys the user chooses, in the order of the file.
pub(super) fn decode_pairs<T: Decode>(
    node: &mut YamlNode,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<(Spanned<String>, T)>> {
    let entries = entries(node, diagnostics)?;
    let pair = |(key, value): &mut (MapKey, YamlNode)| {
        Some((Spanned::new(key.text.clone(), key.span), decode(value, diagnostics)?))
    };
    Some(entries.iter_mut().filter_map(pair).collect())
}

fn entries<'n>(
    node: &'n mut YamlNode,
    diagnostics: &mut Diagnostics,
) -> Option<&'n mut Vec<(MapKey, YamlNode)>> {
    if !matches!(node.value, Value::Map(_)) {
        let help = match &node.value {
            // As Compose and `docker build` write arguments and labels.
            Value::Seq(items) => items.iter().find_map(|item| item.as_text()?.split_once('=')),
            _ => None,
        };
        let help = match help {
            Some((key, value)) => format!("write `{key}: \"{value}\"`, without the `- `"),
            None => "write each `key: value` on its own line".to_owned(),
        };
        let error = mismatch(node, "a mapping", help);
        return reject(node, diagnostics, error.message, error.help);
    }
    match &mut node.value {
        Value::Map(entries) => Some(entries),
        _ => None,
    }
}

/// Returns the entries of a mapping with fixed keys. Unknown keys are reported and marked as bad.
pub(super) fn known_entries<'n>(
    node: &'n mut YamlNode,
    known: &[&str],
    diagnostics: &mut Diagnostics,
) -> Option<&'n mut Vec<(MapKey, YamlNode)>> {
    let entries = entries(node, diagnostics)?;
    for (key, value) in &mut *entries {
        if !matches!(value.value, Value::Bad) && !known.contains(&key.text.as_str()) {
            diagnostics.push(unknown_key(key, known));
            value.value = Value::Bad;
        }
    }
    Some(entries)
}

/// Describes a key that is not one of the known keys.
pub(super) fn unknown_key(key: &MapKey, known: &[&str]) -> Problem {
    if let Some(error) = unsupported(&key.text, known) {
        return Problem::new(error.message, key.span, "").help(error.help);
    }
    let help = did_you_mean(&key.text, known)
        .or_else(|| synonym(&key.text, known))
        .unwrap_or_else(|| format!("the keys here are {}", known.join(", ")));
    Problem::new(format!("unknown key `{}`", key.text), key.span, "").help(help)
}

/// Decodes one field of a mapping. Returns `None` if it is missing or bad.
pub(super) fn decode_field<T: Decode>(
    entries: &mut [(MapKey, YamlNode)],
    name: &str,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let (_, value) = entries.iter_mut().find(|(key, _)| key.text == name)?;
    decode(value, diagnostics)
}

/// Implements [`Decode`] for a struct whose fields are all of the type `Option`. The compiler
/// rejects a list that is not complete.
macro_rules! decode_struct {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::manifest::decode::Decode for $type {
            fn decode(
                node: &mut $crate::manifest::node::YamlNode,
                diagnostics: &mut $crate::manifest::diagnostics::Diagnostics,
            ) -> Option<Self> {
                use $crate::manifest::decode::{decode_field, known_entries};

                let entries = known_entries(node, &[$(stringify!($field)),*], diagnostics)?;
                Some(Self {
                    $($field: decode_field(entries, stringify!($field), diagnostics)),*
                })
            }
        }
    };
}
pub(super) use decode_struct;
