//! Edits the entry of one image while it is still a mapping of nodes. Pure.

use super::template::{self, TemplateKind, TemplateValues};
use crate::base::span::Span;
use crate::manifest::diagnostics::{Diagnostics, Note};
use crate::manifest::node::{ScalarKind, Value, YamlNode};
use crate::manifest::scalars::OnError;

/// The entry of one image. It has a note if it was generated.
#[derive(Debug, Clone)]
pub(super) struct ImageEntry {
    pub(super) node: YamlNode,
    pub(super) note: Option<Note>,
    /// True if the image has the name of its folder because the entry has no `name`.
    pub(super) named_by_folder: bool,
    /// Consequence of a broken Dockerfile.
    pub(super) on_error: OnError,
}

/// Creates a string node.
pub(super) fn text_node(text: impl Into<String>, span: Span) -> YamlNode {
    YamlNode { span, value: Value::Scalar { text: text.into(), kind: ScalarKind::Text } }
}

/// Returns the string of a key.
pub(super) fn text<'n>(node: &'n YamlNode, key: &str) -> Option<&'n str> {
    node.get(key)?.as_text()
}

/// Fills in the templates of all strings of an entry. A string that cannot be filled in is reported
/// and marked as bad. Keys that are generated and have no templates are added afterwards.
pub(super) fn fill_templates(
    node: &mut YamlNode,
    values: &TemplateValues<'_>,
    diagnostics: &mut Diagnostics,
) {
    let Value::Map(entries) = &mut node.value else { return };
    // In `published_as`, `{name}` is the name of the image, which is filled in later.
    let without_name: Vec<_> = values.iter().copied().filter(|(key, _)| *key != "name").collect();
    for (key, value) in entries {
        let kind = match key.text.as_str() {
            "name" => TemplateKind::Name,
            "tag" => TemplateKind::Tag,
            "needs" => TemplateKind::Needs,
            "groups" => TemplateKind::Groups,
            "published_as" => {
                fill(value, TemplateKind::Needs, &without_name, diagnostics);
                continue;
            }
            _ => TemplateKind::Text,
        };
        fill(value, kind, values, diagnostics);
    }
}

fn fill(
    node: &mut YamlNode,
    kind: TemplateKind,
    values: &TemplateValues<'_>,
    diagnostics: &mut Diagnostics,
) {
    match &mut node.value {
        Value::Scalar { text, kind: ScalarKind::Text } if text.contains('{') => {
            match template::fill(text, kind, values) {
                Ok(filled) => *text = filled,
                Err(error) => {
                    diagnostics.error(error.message, node.span, error.help);
                    node.value = Value::Bad;
                }
            }
        }
        Value::Scalar { .. } | Value::Bad => {}
        Value::Seq(items) => {
            for item in items {
                fill(item, kind, values, diagnostics);
            }
        }
        Value::Map(entries) => {
            for (_, value) in entries {
                fill(value, kind, values, diagnostics);
            }
        }
    }
}
