//! Reads and changes one image's entry while it is still a mapping of nodes. Pure.

use super::template::{self, Makes, Words};
use crate::base::span::{Problem, Span};
use crate::manifest::diagnostics::Note;
use crate::manifest::node::{Key, Kind, Node, Value};

/// One image, as keys and values, and where it comes from if it was not written as one.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) node: Node,
    pub(super) note: Option<Note>,
}

/// A text at a place.
pub(super) fn text_node(text: impl Into<String>, span: Span) -> Node {
    Node { span, value: Value::Scalar { text: text.into(), kind: Kind::Text } }
}

/// The value of a key.
pub(super) fn get<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(own, _)| own.text == key).map(|(_, value)| value)
}

/// The text of a key, if that is what it has.
pub(super) fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    match &get(node, key)?.value {
        Value::Scalar { text, kind: Kind::Text } => Some(text),
        _ => None,
    }
}

/// Takes a key out.
pub(super) fn take(node: &mut Node, key: &str) -> Option<(Key, Node)> {
    let Value::Map(entries) = &mut node.value else { return None };
    let at = entries.iter().position(|(own, _)| own.text == key)?;
    Some(entries.remove(at))
}

/// Puts a value under a key, in the place of what it had.
pub(super) fn put(node: &mut Node, key: &str, at: Span, value: Node) {
    let Value::Map(entries) = &mut node.value else { return };
    let key = Key { text: key.to_owned(), span: at };
    match entries.iter_mut().find(|(own, _)| own.text == key.text) {
        Some(entry) => *entry = (key, value),
        None => entries.push((key, value)),
    }
}

/// Keys whose texts were made for this image, and hold no template.
const MADE: [&str; 2] = ["context", "source"];

/// Fills the templates in all texts of an entry, or says why not and takes these for bad.
pub(super) fn fill_templates(node: &mut Node, words: &Words<'_>, problems: &mut Vec<Problem>) {
    let Value::Map(entries) = &mut node.value else { return };
    for (key, value) in entries.iter_mut().filter(|(key, _)| !MADE.contains(&key.text.as_str())) {
        let makes = match key.text.as_str() {
            "name" => Makes::Name,
            "tag" => Makes::Tag,
            "needs" => Makes::Names,
            "groups" => Makes::Groups,
            _ => Makes::Text,
        };
        fill(value, makes, words, problems);
    }
}

fn fill(node: &mut Node, makes: Makes, words: &Words<'_>, problems: &mut Vec<Problem>) {
    match &mut node.value {
        Value::Scalar { text, kind: Kind::Text } if text.contains('{') => {
            match template::fill(text, makes, words) {
                Ok(filled) => *text = filled,
                Err(unfilled) => {
                    let problem = Problem::new(unfilled.message, node.span, "here");
                    problems.push(problem.help(unfilled.help));
                    node.value = Value::Bad;
                }
            }
        }
        Value::Scalar { .. } | Value::Bad => {}
        Value::Seq(items) => {
            for item in items {
                fill(item, makes, words, problems);
            }
        }
        Value::Map(entries) => {
            for (_, value) in entries {
                fill(value, makes, words, problems);
            }
        }
    }
}
