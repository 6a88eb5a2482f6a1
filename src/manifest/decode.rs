//! Turns a [`Node`] into the types of the model, and reports everything that does not fit. Pure.
//!
//! serde stops at the first error. So each error carries the path to its node; the node is marked
//! as bad, and decoding starts over and goes past it, until all that is left is right.

use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};

use super::node::{Key, Kind, Node, Value};
use crate::base::nearest::nearest;
use crate::base::span::{Problem, Span};

/// More problems than this in one file are not worth reading, nor finding.
const MAX_PROBLEMS: usize = 50;

/// Reads `T` out of the tree. Bad values are reported, marked and left out.
pub(crate) fn decode<T: DeserializeOwned>(
    root: &mut Node,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    for _ in 0..MAX_PROBLEMS {
        match T::deserialize(NodeReader(root)) {
            Ok(value) => return Some(value),
            Err(error) => {
                problems.push(error.problem);
                let node = node_at(root, &error.path);
                let at_root = error.path.is_empty();
                node.value = Value::Bad;
                if at_root {
                    return None;
                }
            }
        }
    }
    None
}

/// Whether this value, or one inside, was reported as bad.
pub(crate) fn is_damaged(node: &Node) -> bool {
    match &node.value {
        Value::Bad => true,
        Value::Scalar { .. } => false,
        Value::Seq(items) => items.iter().any(is_damaged),
        Value::Map(entries) => entries.iter().any(|(_, value)| is_damaged(value)),
    }
}

fn node_at<'a>(root: &'a mut Node, path: &[usize]) -> &'a mut Node {
    // The path was gathered on the way out, so its last step is the first from the root.
    let mut node = root;
    for &index in path.iter().rev() {
        node = match &mut node.value {
            Value::Seq(items) => &mut items[index],
            Value::Map(entries) => &mut entries[index].1,
            Value::Scalar { .. } | Value::Bad => unreachable!("a path leads through containers"),
        };
    }
    node
}

/// A problem and the way to its node, innermost step first.
#[derive(Debug)]
struct DecodeError {
    problem: Problem,
    path: Vec<usize>,
}

impl DecodeError {
    fn at(node: &Node, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { problem: Problem::new(message, node.span, "here").help(help), path: Vec::new() }
    }

    fn under(mut self, index: usize, span: Span) -> Self {
        // What a type said of a value knows no place: the innermost node that was read is it.
        if self.problem.labels.is_empty() {
            self.problem.labels.push((span, "here".to_owned()));
        }
        self.path.push(index);
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(words: T) -> Self {
        let words = words.to_string();
        let (message, help) = match words.split_once('\n') {
            Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
            None => (words, None),
        };
        let problem = Problem { message, help, labels: Vec::new(), warning: false };
        Self { problem, path: Vec::new() }
    }
}

#[derive(Clone, Copy)]
struct NodeReader<'a>(&'a Node);

impl NodeReader<'_> {
    fn wrong(self, wanted: &str, help: &str) -> DecodeError {
        let found = match &self.0.value {
            Value::Scalar { kind: Kind::Null, .. } => {
                return DecodeError::at(
                    self.0,
                    "this key has no value",
                    "write a value or remove the key",
                );
            }
            Value::Scalar { text, kind: Kind::Number } => format!("the number `{text}`"),
            Value::Scalar { text, kind: Kind::Bool } => format!("`{text}`"),
            Value::Scalar { text, .. } => format!("the text `{}`", text.escape_debug()),
            Value::Seq(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Bad => "nothing".to_owned(),
        };
        DecodeError::at(self.0, format!("this should be {wanted}, and is {found}"), help)
    }

    fn text(&self) -> Result<&str, DecodeError> {
        match &self.0.value {
            Value::Scalar { text, kind: Kind::Text } => Ok(text),
            Value::Scalar { text, kind: Kind::Number | Kind::Bool } => Err(DecodeError::at(
                self.0,
                format!("`{text}` is not a text to YAML, which may change it"),
                format!("quote it: \"{text}\""),
            )),
            // `{dir}` without quotes is a mapping to YAML.
            Value::Map(entries) => match &entries[..] {
                [(key, Node { value: Value::Scalar { kind: Kind::Null, .. }, .. })] => {
                    Err(self.wrong("a text", &format!("quote it: \"{{{}}}\"", key.text)))
                }
                _ => Err(self.wrong("a text", "write one value, in quotes if need be")),
            },
            _ => Err(self.wrong("a text", "write one value, in quotes if need be")),
        }
    }

    fn number<T: std::str::FromStr>(self) -> Result<T, DecodeError> {
        let wrong = || self.wrong("a whole number", "write digits only, without quotes");
        match &self.0.value {
            Value::Scalar { text, kind: Kind::Number } => text.parse().map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            visitor.$visit(self.number::<$type>()?)
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeReader<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Scalar { .. } => visitor.visit_str(self.text()?),
            Value::Seq(_) => self.deserialize_seq(visitor),
            Value::Map(_) | Value::Bad => self.deserialize_map(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Scalar { text, kind: Kind::Bool } => visitor.visit_bool(text == "true"),
            _ => Err(self.wrong("`true` or `false`", "write true or false, without quotes")),
        }
    }

    numbers!(
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64, deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64
    );

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match (name, &self.0.value) {
            (SPANNED, _) => visitor.visit_seq(SpannedParts { node: self.0, part: 0 }),
            ("DurationText", Value::Scalar { text, kind: Kind::Number }) => {
                let help = format!("write what it counts: {text}s, {text}m, {text}h");
                Err(DecodeError::at(self.0, format!("`{text}` has no unit"), help))
            }
            ("SizeText", Value::Scalar { text, kind: Kind::Number }) => {
                let help = format!("write what it counts: {text}MB, {text}MiB");
                Err(DecodeError::at(self.0, format!("`{text}` has no unit"), help))
            }
            ("LimitText", Value::Scalar { text, kind: Kind::Number }) => {
                let help = format!("write in how long: {text}/60s");
                Err(DecodeError::at(self.0, format!("`{text}` has no window"), help))
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Seq(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Scalar { text, kind: Kind::Text } => {
                Err(self.wrong("a list", &format!("write it between brackets: [{text}]")))
            }
            _ => Err(self.wrong("a list", "write each item on a line of its own, after `- `")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
            _ => Err(self.wrong("a mapping", "write `key: value` on lines of their own")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if let Value::Map(entries) = &self.0.value {
            for (index, (key, value)) in entries.iter().enumerate() {
                if !matches!(value.value, Value::Bad) && !fields.contains(&key.text.as_str()) {
                    return Err(unknown_key(key, fields).under(index, key.span));
                }
            }
        }
        self.deserialize_map(visitor)
    }

    serde::forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier ignored_any
    }
}

fn unknown_key(key: &Key, known: &[&str]) -> DecodeError {
    let help = match nearest(&key.text, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the keys here are {}", known.join(", ")),
    };
    let problem = Problem::new(format!("unknown key `{}`", key.text), key.span, "unknown");
    DecodeError { problem: problem.help(help), path: Vec::new() }
}

struct Items<'a> {
    items: &'a [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        while let Some(item) = self.items.get(self.next) {
            let index = self.next;
            self.next += 1;
            if !matches!(item.value, Value::Bad) {
                let value = seed.deserialize(NodeReader(item));
                return value.map(Some).map_err(|error| error.under(index, item.span));
            }
        }
        Ok(None)
    }
}

struct Entries<'a> {
    entries: &'a [(Key, Node)],
    next: usize,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = DecodeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        while let Some((key, value)) = self.entries.get(self.next) {
            if !matches!(value.value, Value::Bad) {
                let read = KeyReader(key);
                return seed
                    .deserialize(read)
                    .map(Some)
                    .map_err(|error| error.under(self.next, key.span));
            }
            self.next += 1;
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, DecodeError> {
        let index = self.next;
        self.next += 1;
        let (key, value) = &self.entries[index];
        // A missing value has no words of its own to underline.
        let span = if value.span.len == 0 { key.span } else { value.span };
        seed.deserialize(NodeReader(value)).map_err(|mut error| {
            if let Some(label) = error.problem.labels.first_mut()
                && label.0.len == 0
            {
                label.0 = span;
            }
            error.under(index, span)
        })
    }
}

struct KeyReader<'a>(&'a Key);

impl<'de> Deserializer<'de> for KeyReader<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_str(&self.0.text)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == SPANNED {
            let value = Value::Scalar { text: self.0.text.clone(), kind: Kind::Text };
            let node = Node { span: self.0.span, value };
            return visitor.visit_seq(SpannedParts { node: &node, part: 0 });
        }
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The name under which a [`Sp`](super::Sp) asks a [`NodeReader`] for the place as well as the value.
pub(super) const SPANNED: &str = "imgplan::Spanned";

struct SpannedParts<'a> {
    node: &'a Node,
    part: u8,
}

impl<'de> SeqAccess<'de> for SpannedParts<'_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        self.part += 1;
        match self.part {
            1 => seed.deserialize(self.node.span.start.into_deserializer()).map(Some),
            2 => seed.deserialize(self.node.span.len.into_deserializer()).map(Some),
            3 => seed.deserialize(NodeReader(self.node)).map(Some),
            _ => Ok(None),
        }
    }
}
