//! Parses a file of references: one reference per line, or one JSON object per line. Pure.

use super::entry::text_node;
use crate::base::span::{Problem, Span};
use crate::manifest::decode::unknown_key;
use crate::manifest::node::{self, MapKey, ScalarKind, Value, YamlNode};

/// A line with a reference.
#[derive(Debug, Clone)]
pub(super) struct SourceLine {
    /// Line number, from 1.
    pub(super) number: usize,
    pub(super) span: Span,
    pub(super) source: YamlNode,
    pub(super) name: Option<YamlNode>,
    pub(super) tag: Option<YamlNode>,
    pub(super) platform: Option<YamlNode>,
}

/// The lines of a file.
#[derive(Debug)]
pub(super) struct SourceList {
    pub(super) lines: Vec<SourceLine>,
    /// Problems of the other lines.
    pub(super) problems: Vec<Problem>,
}

/// Maximum number of problems that are reported for one file.
const MAX_PROBLEMS: usize = 1000;

/// Returns the lines that are neither empty nor comments, with their numbers and spans. `start` is
/// the offset of the text.
fn content_lines(text: &str, start: usize) -> impl Iterator<Item = (usize, Span, &str)> {
    let mut offset = start;
    text.split_inclusive('\n').enumerate().filter_map(move |(index, line)| {
        let line_start = offset;
        offset += line.len();
        let content = line.trim();
        let indent = line.len() - line.trim_start().len();
        let span = Span::new(line_start + indent, content.len());
        (!content.is_empty() && !content.starts_with('#')).then_some((index + 1, span, content))
    })
}

/// Parses one reference per line, up to `max`. `#` starts a comment at the start of a line or after a space.
pub(super) fn parse_references(text: &str, start: usize, max: usize) -> Vec<SourceLine> {
    content_lines(text, start)
        .map(|(number, span, content)| {
            let comment =
                content.match_indices('#').find(|(at, _)| content[..*at].ends_with([' ', '\t']));
            let reference = comment.map_or(content, |(at, _)| content[..at].trim_end());
            let span = Span::new(span.start, reference.len());
            let source = text_node(reference, span);
            SourceLine { number, span, source, name: None, tag: None, platform: None }
        })
        .take(max)
        .collect()
}

/// Keys of an object: those of the provider's own tool.
const OBJECT_KEYS: [&str; 5] = ["source", "image", "name", "tag", "platform"];

/// Parses one JSON object per line, up to `max`.
pub(super) fn parse_objects(text: &str, start: usize, max: usize) -> SourceList {
    let mut list = SourceList { lines: Vec::new(), problems: Vec::new() };
    for (number, span, content) in content_lines(text, start) {
        match parse_object(content, span) {
            Ok(line) => list.lines.push(SourceLine { number, ..line }),
            Err(problem) => list.problems.push(problem),
        }
        if list.lines.len() >= max || list.problems.len() >= MAX_PROBLEMS {
            break;
        }
    }
    list
}

fn parse_object(content: &str, span: Span) -> Result<SourceLine, Problem> {
    let reject = |message: &str, span: Span, help: &str| Problem::new(message, span, "").help(help);
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(content) {
        let column = error.column().saturating_sub(1).min(content.len().saturating_sub(1));
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let span = Span::new(span.start + column, 1);
        let help = "write one object per line: {\"source\": \"redis:7\"}";
        return Err(reject(&format!("invalid JSON: {message}"), span, help));
    }
    // JSON is a subset of YAML, and the YAML parser keeps the spans.
    let mut node = node::parse(content, span.start)?;
    let Value::Map(entries) = &mut node.value else {
        return Err(reject("expected an object", span, "write {\"source\": \"redis:7\"}"));
    };
    // Other tools write null for a missing value.
    entries
        .retain(|(_, value)| !matches!(&value.value, Value::Scalar { kind: ScalarKind::Null, .. }));
    let is_unknown = |(key, _): &&(MapKey, YamlNode)| !OBJECT_KEYS.contains(&key.text.as_str());
    if let Some((key, _)) = entries.iter().find(is_unknown) {
        return Err(unknown_key(key, &OBJECT_KEYS));
    }
    let mut take = |key| node.take(key).map(|(_, value)| value);
    let Some(source) = take("source") else {
        let help = "name the image to mirror: {\"source\": \"redis:7\"}";
        return Err(reject("this line has no source", span, help));
    };
    let (image, name) = (take("image"), take("name"));
    let (tag, platform) = (take("tag"), take("platform"));
    let (name, tag) = match (image, name) {
        (Some(image), Some(name)) => {
            let message = "a line has either a `name` or an `image`, not both";
            let problem = Problem::new(message, name.span, "second").and(image.span, "first");
            return Err(problem.help("remove one of the two"));
        }
        (Some(image), None) => {
            let (name, image_tag) = split(image);
            if let (Some(first), Some(second)) = (&image_tag, &tag) {
                let message = "this line has two tags";
                let problem = Problem::new(message, second.span, "second").and(first.span, "first");
                return Err(problem.help("remove one of the two"));
            }
            (Some(name), image_tag.or(tag))
        }
        (None, name) => (name, tag),
    };
    Ok(SourceLine { number: 0, span, source, name, tag, platform })
}

/// Splits `name:tag`.
fn split(image: YamlNode) -> (YamlNode, Option<YamlNode>) {
    let Value::Scalar { text, .. } = &image.value else { return (image, None) };
    match text.rsplit_once(':') {
        Some((name, tag)) => (text_node(name, image.span), Some(text_node(tag, image.span))),
        None => (image, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(node: &YamlNode) -> &str {
        match &node.value {
            Value::Scalar { text, .. } => text,
            _ => "",
        }
    }

    #[test]
    fn references_have_spans() {
        let file = "# ours\r\nredis:7\r\n\n  ubuntu:22.04  # the old one\nx#y\n#z";
        let lines = parse_references(file, 100, 50);
        let parsed: Vec<(usize, &str, &str)> = lines
            .iter()
            .map(|line| {
                let at = line.span.start - 100;
                (line.number, text(&line.source), &file[at..at + line.span.len])
            })
            .collect();
        let expected =
            [(2, "redis:7", "redis:7"), (4, "ubuntu:22.04", "ubuntu:22.04"), (5, "x#y", "x#y")];
        assert_eq!(parsed, expected);
    }

    #[test]
    fn objects_are_parsed() {
        let file = "{\"source\": \"redis:7\"}\n\n# c\n{\"source\": \"a/b:1\", \"image\": \"c:2\", \
                    \"platform\": \"linux/arm64\"}\n{\"name\": \"d\", \"source\": \"e\", \"tag\": null}\n";
        let SourceList { lines, problems } = parse_objects(file, 0, 50);
        let shown = |node: &Option<YamlNode>| node.as_ref().map_or("", text).to_owned();
        let parsed: Vec<String> = lines
            .iter()
            .map(|l| {
                let (name, tag) = (shown(&l.name), shown(&l.tag));
                format!("{} {} {name} {tag} {}", l.number, text(&l.source), shown(&l.platform))
            })
            .collect();
        assert_eq!(parsed, ["1 redis:7   ", "4 a/b:1 c 2 linux/arm64", "5 e d  "]);
        assert_eq!(problems, []);
        assert_eq!(&file[lines[1].source.span.start..][..lines[1].source.span.len], "\"a/b:1\"");
    }

    #[test]
    fn invalid_lines_are_rejected() {
        for (line, message, at) in [
            ("{\"source\": }", "invalid JSON", "}"),
            ("{\"source\": \"a\"", "invalid JSON", ""),
            ("[1]", "expected an object", "[1]"),
            ("{}", "no source", "{}"),
            ("{\"sorce\": \"a\"}", "unknown key `sorce`", ""),
            ("{\"source\": \"a\", \"image\": \"b\", \"name\": \"c\"}", "either a `name` or", ""),
            ("{\"source\": \"a\", \"image\": \"b:1\", \"tag\": \"2\"}", "two tags", "\"2\""),
        ] {
            let SourceList { lines, problems } = parse_objects(line, 0, 50);
            assert!(lines.is_empty(), "{line}");
            assert!(problems[0].message.contains(message), "{line}: {problems:?}");
            let span = problems[0].labels[0].0;
            assert!(line[span.start..].starts_with(at), "{line}: {problems:?}");
        }
    }
}
