//! Reads and changes one image's entry while it is still a mapping of nodes. Pure.

use super::notes::Note;
use super::template::{self, Makes, Words};
use crate::base::source::{Problem, Span};
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

/// Fills the templates of the name and the tag, or says why not and takes them for bad.
pub(super) fn fill_templates(node: &mut Node, words: &Words<'_>, problems: &mut Vec<Problem>) {
    for (key, makes) in [("name", Makes::Name), ("tag", Makes::Tag)] {
        let Some(template) = text(node, key) else { continue };
        if !template.contains('{') {
            continue;
        }
        let filled = template::fill(template, makes, words);
        let Value::Map(entries) = &mut node.value else { return };
        let Some((_, value)) = entries.iter_mut().find(|(own, _)| own.text == key) else {
            continue;
        };
        match filled {
            Ok(filled) => {
                value.value = Value::Scalar { text: filled, kind: Kind::Text };
            }
            Err(unfilled) => {
                let problem = Problem::new(unfilled.message, value.span, "here");
                problems.push(problem.help(unfilled.help));
                value.value = Value::Bad;
            }
        }
    }
}
