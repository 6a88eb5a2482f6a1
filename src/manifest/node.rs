//! Parses YAML text into a tree in which every key and value has its span. Pure.
//!
//! Decoding straight into types with serde would stop at the first wrong value; on this tree all of
//! them are found. The tree also keeps the text of numbers: `1.10` stays `1.10`, not `1.1`.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::syntax;
use crate::base::span::{Problem, Span};
use crate::base::yaml_budget::yaml_budget;

/// A YAML value with its span.
#[derive(Debug, Clone)]
pub(crate) struct YamlNode {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

impl YamlNode {
    /// Returns the text of a string.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, kind: ScalarKind::Text } => Some(text),
            _ => None,
        }
    }

    /// Returns the value of a key of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&YamlNode> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(other, _)| other.text == key).map(|(_, value)| value)
    }

    /// Removes a key from a mapping.
    pub(crate) fn take(&mut self, key: &str) -> Option<(MapKey, YamlNode)> {
        let Value::Map(entries) = &mut self.value else { return None };
        let index = entries.iter().position(|(other, _)| other.text == key)?;
        Some(entries.remove(index))
    }

    /// Sets or replaces the value of a key of a mapping.
    pub(crate) fn put(&mut self, key: &str, span: Span, value: YamlNode) {
        let Value::Map(entries) = &mut self.value else { return };
        let key = MapKey { text: key.to_owned(), span };
        match entries.iter_mut().find(|(other, _)| other.text == key.text) {
            Some(entry) => *entry = (key, value),
            None => entries.push((key, value)),
        }
    }
}

/// Content of a [`YamlNode`].
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar {
        text: String,
        kind: ScalarKind,
    },
    Seq(Vec<YamlNode>),
    Map(Vec<(MapKey, YamlNode)>),
    /// A value whose problem is already reported. Readers skip it.
    Bad,
}

/// Type that YAML gives to a scalar. A quoted scalar is always text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    Text,
    Number,
    Bool,
    Null,
}

/// A key of a mapping, with its span.
#[derive(Debug, Clone)]
pub(crate) struct MapKey {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// Removes the keys that begin with `x-` from all mappings with fixed keys: they hold anchors for
/// other values, and nothing else reads them.
pub(crate) fn remove_extensions(root: &mut YamlNode) {
    let Value::Map(entries) = &mut root.value else { return };
    entries.retain(|(key, _)| !key.text.starts_with("x-"));
    for (key, value) in entries {
        match (key.text.as_str(), &mut value.value) {
            ("defaults" | "settings" | "limits" | "discover", Value::Map(_)) => {
                remove_extensions(value);
            }
            ("images" | "moved" | "removed", Value::Seq(items)) => {
                items.iter_mut().for_each(remove_extensions);
            }
            _ => {}
        }
    }
}

/// Parses one YAML document. `start` is the offset of the text in its
/// [`SourceMap`](crate::base::span::SourceMap). Fails with one problem if the text is not YAML.
pub(crate) fn parse(text: &str, start: usize) -> Result<YamlNode, Problem> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        // `.inf` and `.nan` are numbers too; the decoder says what to write instead.
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
        budget: yaml_budget(),
    };
    match serde_saphyr::from_str_with_options::<RawNode>(text, options) {
        Ok(raw) => Ok(raw.into_node(text, start)),
        Err(error) => Err(syntax::problem(&error, text, start)),
    }
}

/// A value as serde reads it, before its span is moved into the source map.
struct RawNode(Spanned<RawValue>);

enum RawValue {
    Text(String),
    Number,
    Bool,
    Null,
    Seq(Vec<RawNode>),
    Map(Vec<(Spanned<String>, RawNode)>),
}

impl RawNode {
    fn into_node(self, source: &str, start: usize) -> YamlNode {
        let written = byte_span(&self.0.defined, start);
        let mut span = byte_span(&self.0.referenced, start);
        let scalar = |kind| {
            let from = written.start - start;
            let text = source.get(from..from + written.len).unwrap_or_default();
            // A tag such as `!!int` makes a number of a quoted text.
            let text = text.trim().trim_matches(['"', '\'']);
            Value::Scalar { text: text.to_owned(), kind }
        };
        let value = match self.0.value {
            RawValue::Text(text) => Value::Scalar { text, kind: ScalarKind::Text },
            RawValue::Number => scalar(ScalarKind::Number),
            RawValue::Bool => scalar(ScalarKind::Bool),
            RawValue::Null => scalar(ScalarKind::Null),
            RawValue::Seq(items) => {
                Value::Seq(items.into_iter().map(|item| item.into_node(source, start)).collect())
            }
            RawValue::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let span = byte_span(&key.referenced, start);
                        let mut value = value.into_node(source, start);
                        // A missing value has no text to underline: point at its key instead.
                        if value.span.len == 0 {
                            value.span = span;
                        }
                        (MapKey { text: key.value, span }, value)
                    })
                    .collect(),
            ),
        };
        // serde_saphyr gives containers no length: point at the first key or item instead.
        if span.len == 0 {
            span = match &value {
                Value::Map(entries) => entries.first().map_or(span, |(key, _)| key.span),
                Value::Seq(items) => items.first().map_or(span, |item| item.span),
                Value::Scalar { .. } | Value::Bad => span,
            };
        }
        YamlNode { span, value }
    }
}

fn byte_span(location: &Location, start: usize) -> Span {
    let span = location.span();
    let at = |value: Option<_>| value.and_then(|value| usize::try_from(value).ok()).unwrap_or(0);
    Span::new(start + at(span.byte_offset()), at(span.byte_len()))
}

impl<'de> Deserialize<'de> for RawNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::<RawValue>::deserialize(deserializer).map(RawNode)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<RawValue, E> {
        Ok(RawValue::Text(text))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<RawValue, E> {
        Ok(RawValue::Bool)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<RawValue, E> {
        Ok(RawValue::Number)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<RawValue, E> {
        Ok(RawValue::Number)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<RawValue, E> {
        Ok(RawValue::Number)
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<RawValue, E> {
        Ok(RawValue::Number)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<RawValue, E> {
        Ok(RawValue::Number)
    }

    fn visit_unit<E: de::Error>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<RawValue, D::Error> {
        RawValue::deserialize(inner)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<RawValue, D::Error> {
        RawValue::deserialize(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(RawValue::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(RawValue::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::span::SourceMap;

    fn walk(node: &YamlNode, set: &SourceMap, values: &mut Vec<String>) {
        match &node.value {
            Value::Scalar { text, kind } => {
                values.push(format!("{text}|{kind:?}|{}", set.text(node.span)));
            }
            Value::Seq(items) => items.iter().for_each(|item| walk(item, set, values)),
            Value::Map(entries) => {
                for (key, value) in entries {
                    assert_eq!(set.text(key.span), key.text);
                    walk(value, set, values);
                }
            }
            Value::Bad => unreachable!(),
        }
    }

    #[test]
    fn values_keep_their_span_and_text() {
        let text = "é: 1\nimages:\n  - name: api\n    tag: 1.10\n    q: \"1.10\"\n    n:\n    b: yes\n    t: true\n    x: 020\n";
        let mut set = SourceMap::default();
        set.add("other", "xyz");
        let start = set.add("m", text);
        let node = parse(text, start).unwrap();
        let mut values = Vec::new();
        walk(&node, &set, &mut values);
        assert_eq!(
            values,
            [
                "1|Number|1",
                "api|Text|api",
                "1.10|Number|1.10",
                "1.10|Text|\"1.10\"",
                "|Null|n",
                "yes|Text|yes",
                "true|Bool|true",
                "020|Number|020",
            ]
        );
    }

    #[test]
    fn aliases_and_merge_keys_are_resolved() {
        let text = "d: &d {tag: v1}\ni:\n  - {<<: *d, name: a}\n  - {<<: *d, name: b}\n";
        let node = parse(text, 0).unwrap();
        let shown = format!("{node:?}");
        assert_eq!(shown.matches("\"v1\"").count(), 3, "{shown}");
    }

    #[test]
    fn tagged_numbers_have_the_text_without_quotes() {
        let text = "a: !!int \"12\"\nb: !!float '1.50'\nc: !!int |\n  12\nd: .inf\ne: !!str 12\n";
        let Value::Map(entries) = parse(text, 0).unwrap().value else { panic!("not a mapping") };
        let text = |(_, node): &(MapKey, YamlNode)| match &node.value {
            Value::Scalar { text, kind } => format!("{text} {kind:?}"),
            other => format!("{other:?}"),
        };
        let texts: Vec<String> = entries.iter().map(text).collect();
        assert_eq!(texts[..2], ["12 Number", "1.50 Number"]);
        assert_eq!(texts[3..], [".inf Number", "12 Text"]);
        assert!(texts[2].ends_with("Number") && !texts[2].contains('\n'), "{texts:?}");
    }

    #[test]
    fn extension_keys_are_removed_from_mappings_with_fixed_keys() {
        let text = "x-a: &a {context: app, x-b: 1}\nimages:\n  - {<<: *a, name: n, x-c: 1, \
                    args: {x-kept: 1}, discover: {x-d: 1}}\ndefaults: {x-e: 1, labels: {x-kept: 1}}\n\
                    settings: {x-f: 1, limits: {x-i: 1}}\nmoved: [{x-g: 1}]\nremoved: [{x-h: 1}]\nvars: {x-kept: 1}\n";
        let mut root = parse(text, 0).unwrap();
        remove_extensions(&mut root);
        let shown = format!("{root:?}");
        assert_eq!(shown.matches("\"x-").count(), shown.matches("\"x-kept\"").count(), "{shown}");
        assert_eq!(shown.matches("\"x-kept\"").count(), 3, "{shown}");
        assert!(shown.contains("\"app\""), "anchors are resolved: {shown}");
    }

    #[test]
    fn invalid_yaml_is_rejected_with_a_span() {
        for (text, message, at) in [
            ("a: 1\na: 2\n", "duplicate", "a"),
            ("a:\n\tb: 1\n", "tab", "\tb"),
            ("a:\n  - b: c\n\n\td: e\n", "tab", "\td"),
            ("a:\n  b: 1\n  \tc: 1\n", "tab", "\tc"),
            ("a: \"x\n", "", ""),
            ("a: [1\nb: 2\n", "", ""),
        ] {
            let problem = parse(text, 0).unwrap_err();
            assert!(problem.message.to_lowercase().contains(message), "{text:?}: {problem:?}");
            let span = problem.labels[0].0;
            assert!(
                text[span.start..].trim_start_matches(' ').starts_with(at.trim_start())
                    || at.is_empty(),
                "{text:?}: {problem:?}"
            );
        }
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let inner = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb = format!("{bomb}a{level}: &a{level} [{inner}]\n");
        }
        assert!(parse(&bomb, 0).unwrap_err().message.contains("aliases"));
        assert!(parse(&"[".repeat(100_000), 0).unwrap_err().message.contains("nested"));
    }
}
