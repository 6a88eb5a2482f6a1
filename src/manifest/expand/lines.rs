//! Reads a file of references: one a line, or an object a line. Pure.

use crate::base::nearest::nearest;
use crate::base::span::{Problem, Span};
use crate::manifest::node::{self, Key, Node, Value};

use super::entry;
use super::scope::MOST_IMAGES;

/// One line that names a source.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) number: usize,
    /// Where it stands.
    pub(super) span: Span,
    pub(super) source: Node,
    pub(super) name: Option<Node>,
    pub(super) tag: Option<Node>,
    pub(super) platform: Option<Node>,
}

/// The lines of a text whose first byte is at `start`; those without a reference are no lines.
fn spans(text: &str, start: usize) -> impl Iterator<Item = (usize, Span, &str)> {
    let mut at = start;
    text.split_inclusive('\n').enumerate().filter_map(move |(index, line)| {
        let begin = at;
        at += line.len();
        let words = line.trim();
        let indent = line.len() - line.trim_start().len();
        let span = Span::new(begin + indent, words.len());
        (!words.is_empty() && !words.starts_with('#')).then_some((index + 1, span, words))
    })
}

/// Lines that are read of one file: one more than all images that a manifest may have.
const MOST_LINES: usize = MOST_IMAGES + 1;

/// Problems of one file: more are not shown.
const MOST_PROBLEMS: usize = 1000;

/// One reference a line; `#` begins a comment, at the start of a line or after a space.
pub(super) fn references(text: &str, start: usize) -> Vec<Line> {
    spans(text, start)
        .map(|(number, span, words)| {
            let comment =
                words.match_indices('#').find(|(at, _)| words[..*at].ends_with([' ', '\t']));
            let words = comment.map_or(words, |(at, _)| words[..at].trim_end());
            let span = Span::new(span.start, words.len());
            let source = entry::text_node(words, span);
            Line { number, span, source, name: None, tag: None, platform: None }
        })
        .take(MOST_LINES)
        .collect()
}

/// The keys of an object, as the provider's tool takes them.
const KEYS: [&str; 5] = ["source", "image", "name", "tag", "platform"];

/// One JSON object a line.
pub(super) fn objects(text: &str, start: usize, problems: &mut Vec<Problem>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (number, span, words) in spans(text, start) {
        match object(words, span) {
            Ok(line) => lines.push(Line { number, ..line }),
            Err(problem) => problems.push(problem),
        }
        if lines.len() >= MOST_LINES || problems.len() >= MOST_PROBLEMS {
            break;
        }
    }
    lines
}

fn object(words: &str, span: Span) -> Result<Line, Problem> {
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(words) {
        let at = span.start + error.column().saturating_sub(1).min(words.len().saturating_sub(1));
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let problem = Problem::new(format!("this is no JSON: {message}"), Span::new(at, 1), "here");
        return Err(problem.help("write an object a line: {\"source\": \"redis:7\"}"));
    }
    // JSON is YAML, and this reader knows the place of each value.
    let mut node = node::parse(words, span.start)?;
    let Value::Map(entries) = &mut node.value else {
        let problem = Problem::new("a line is an object", span, "here");
        return Err(problem.help("write {\"source\": \"redis:7\"}"));
    };
    // Other tools write a key that says nothing as null.
    entries
        .retain(|(_, value)| !matches!(&value.value, Value::Scalar { kind: node::Kind::Null, .. }));
    if let Some((key, _)) = entries.iter().find(|(key, _)| !KEYS.contains(&key.text.as_str())) {
        return Err(unknown(key));
    }
    let mut take = |key| entry::take(&mut node, key);
    let Some((_, source)) = take("source") else {
        let problem = Problem::new("this line has no source", span, "here");
        return Err(problem.help("name the image to mirror: {\"source\": \"redis:7\"}"));
    };
    let (image, name) = (take("image"), take("name"));
    let (mut tag, platform) = (take("tag"), take("platform"));
    let name = match (image, name) {
        (Some((image, _)), Some((name, _))) => {
            let problem = Problem::new("a line has a `name` or an `image`", name.span, "and here");
            return Err(problem.and(image.span, "here").help("remove one of the two"));
        }
        (Some((key, value)), None) => {
            let (name, of_image) = split(value);
            if let (Some(of_image), Some((_, tag))) = (&of_image, &tag) {
                let problem = Problem::new("this line has two tags", tag.span, "and here");
                let problem = problem.and(of_image.span, "here");
                return Err(problem.help("remove one of the two"));
            }
            tag = of_image.map(|tag| (key, tag)).or(tag);
            Some(name)
        }
        (None, name) => name.map(|(_, value)| value),
    };
    let value = |pair: Option<(Key, Node)>| pair.map(|(_, value)| value);
    Ok(Line { number: 0, span, source, name, tag: value(tag), platform: value(platform) })
}

/// The name and the tag of `name:tag`.
fn split(image: Node) -> (Node, Option<Node>) {
    let Value::Scalar { text, .. } = &image.value else { return (image, None) };
    match text.rsplit_once(':') {
        Some((name, tag)) => {
            (entry::text_node(name, image.span), Some(entry::text_node(tag, image.span)))
        }
        None => (image, None),
    }
}

fn unknown(key: &Key) -> Problem {
    let help = match nearest(&key.text, &KEYS) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the keys here are {}", KEYS.join(", ")),
    };
    Problem::new(format!("unknown key `{}`", key.text), key.span, "unknown").help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(node: &Node) -> &str {
        match &node.value {
            Value::Scalar { text, .. } => text,
            _ => "",
        }
    }

    #[test]
    fn references_have_their_places() {
        let file = "# ours\r\nredis:7\r\n\n  ubuntu:22.04  # the old one\nx#y\n#z";
        let lines = references(file, 100);
        let seen: Vec<(usize, &str, &str)> = lines
            .iter()
            .map(|line| {
                let at = line.span.start - 100;
                (line.number, text(&line.source), &file[at..at + line.span.len])
            })
            .collect();
        let expected =
            [(2, "redis:7", "redis:7"), (4, "ubuntu:22.04", "ubuntu:22.04"), (5, "x#y", "x#y")];
        assert_eq!(seen, expected);
    }

    #[test]
    fn objects_are_read() {
        let file = "{\"source\": \"redis:7\"}\n\n# c\n{\"source\": \"a/b:1\", \"image\": \"c:2\", \
                    \"platform\": \"linux/arm64\"}\n{\"name\": \"d\", \"source\": \"e\", \"tag\": null}\n";
        let mut problems = Vec::new();
        let lines = objects(file, 0, &mut problems);
        let shown = |node: &Option<Node>| node.as_ref().map_or("", text).to_owned();
        let seen: Vec<String> = lines
            .iter()
            .map(|l| {
                let (name, tag) = (shown(&l.name), shown(&l.tag));
                format!("{} {} {name} {tag} {}", l.number, text(&l.source), shown(&l.platform))
            })
            .collect();
        assert_eq!(seen, ["1 redis:7   ", "4 a/b:1 c 2 linux/arm64", "5 e d  "]);
        assert_eq!(problems, []);
        assert_eq!(&file[lines[1].source.span.start..][..lines[1].source.span.len], "\"a/b:1\"");
    }

    #[test]
    fn what_is_wrong_with_a_line() {
        for (line, says, at) in [
            ("{\"source\": }", "no JSON", "}"),
            ("{\"source\": \"a\"", "no JSON", ""),
            ("[1]", "is an object", "[1]"),
            ("{}", "no source", "{}"),
            ("{\"sorce\": \"a\"}", "unknown key `sorce`", ""),
            ("{\"source\": \"a\", \"image\": \"b\", \"name\": \"c\"}", "a `name` or", ""),
            ("{\"source\": \"a\", \"image\": \"b:1\", \"tag\": \"2\"}", "two tags", "\"2\""),
        ] {
            let mut problems = Vec::new();
            assert!(objects(line, 0, &mut problems).is_empty(), "{line}");
            assert!(problems[0].message.contains(says), "{line}: {problems:?}");
            let span = problems[0].labels[0].0;
            assert!(line[span.start..].starts_with(at), "{line}: {problems:?}");
        }
    }
}
