//! Checks a YAML stream for several documents and for tags without a meaning in a manifest. Pure.
//!
//! serde does not see tags: it would drop `!env` and use the variable's name as the value.

use serde_saphyr::granit_parser::{self, Event, Parser, Tag};

use crate::base::span::{Problem, Span};

/// Namespace of the tags that are written with `!!`.
const YAML_NAMESPACE: &str = "tag:yaml.org,2002:";

/// Tags that other programs define, without their `!`, and what to write in a manifest.
const FOREIGN_TAGS: [(&str, &str); 12] = [
    ("include", "list the file under `include:`"),
    ("import", "list the file under `include:`"),
    ("env", "write ${NAME}, or ${NAME:-default}"),
    ("env_var", "write ${NAME}, or ${NAME:-default}"),
    ("var", "write ${NAME}, or ${NAME:-default}"),
    ("secret", "write ${NAME} and set NAME in the environment, if the value is not secret"),
    ("vault", "write ${NAME} and set NAME in the environment, if the value is not secret"),
    ("reference", "give the value an anchor (`&name`), and refer to it with `*name`"),
    ("ref", "give the value an anchor (`&name`), and refer to it with `*name`"),
    ("!set", "write a list: [a, b]"),
    ("!omap", "write each `key: value` on its own line"),
    ("!pairs", "write each `key: value` on its own line"),
];

/// Returns a problem for each tag that is not one of YAML's core types, and for a second document.
/// Text that is not YAML is left to the parser of values. `start` is the offset of the text in its
/// [`SourceMap`](crate::base::span::SourceMap).
pub(super) fn problems(text: &str, start: usize) -> Vec<Problem> {
    let mut problems = Vec::new();
    // Most manifests have neither tags nor document markers, and are parsed only once.
    if !["!", "\n---", "\n..."].iter().any(|mark| text.contains(mark)) {
        return problems;
    }
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        if let Event::DocumentStart(..) = event {
            documents += 1;
            if documents == 2 {
                problems.push(second_document(byte_span(text, &span, start)));
                break;
            }
        }
        if let Some(tag) = event.tag().filter(|tag| !is_known(tag, &event)) {
            let span = byte_span(text, &span.tag_span().unwrap_or(span), start);
            let at = span.start - start;
            let written = text.get(at..at + span.len).unwrap_or_default();
            problems.push(unknown_tag(tag, written, span));
        }
    }
    problems
}

/// True for the tags of YAML's core types, for the non-specific tag `!`, which makes a string, and
/// for the tag of a merge key.
fn is_known(tag: &Tag, event: &Event<'_>) -> bool {
    let is_merge_key = matches!(event, Event::Scalar(text, ..) if text == "<<")
        && tag.suffix_in_namespace(YAML_NAMESPACE).as_deref() == Some("merge");
    tag.is_yaml_core_schema()
        || tag.parts() == ("", "!")
        || tag.parts() == ("!", "")
        || is_merge_key
}

fn unknown_tag(tag: &Tag, written: &str, span: Span) -> Problem {
    let name = match tag.suffix_in_namespace(YAML_NAMESPACE) {
        Some(name) => format!("!{name}"),
        None => tag.suffix().to_ascii_lowercase(),
    };
    let help = match FOREIGN_TAGS.iter().find(|(known, _)| *known == name) {
        Some((_, help)) => help,
        None => "remove the tag; quote a value that begins with `!`",
    };
    Problem::new(format!("unsupported YAML tag `{written}`"), span, "").help(help)
}

fn second_document(span: Span) -> Problem {
    Problem::new("this file has several YAML documents", span, "the second begins here")
        .help("keep one; move the others to files of their own and list these under `include:`")
}

/// Returns a span of the parser as a span of the source map.
fn byte_span(text: &str, span: &granit_parser::Span, start: usize) -> Span {
    let at = |marker: granit_parser::Marker| marker.byte_offset().unwrap_or(0).min(text.len());
    let (from, to) = (at(span.start), at(span.end));
    Span::new(start + from, to.saturating_sub(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the underlined text, the message and the help of each problem.
    fn shown(text: &str) -> Vec<(String, String, String)> {
        let shown = |problem: Problem| {
            let span = problem.labels[0].0;
            let underlined = text[span.start - 7..][..span.len].to_owned();
            (underlined, problem.message, problem.help.unwrap_or_default())
        };
        problems(text, 7).into_iter().map(shown).collect()
    }

    #[test]
    fn tags_without_a_meaning_are_rejected() {
        for (value, tag, help) in [
            ("!env TAG", "!env", "write ${NAME}"),
            ("!ENV TAG", "!ENV", "write ${NAME}"),
            ("!include a.yaml", "!include", "under `include:`"),
            ("!secret x", "!secret", "write ${NAME}"),
            ("!reference [a, b]", "!reference", "anchor"),
            ("!Ref x", "!Ref", "anchor"),
            ("!!set {a, b}", "!!set", "write a list"),
            ("!!omap [a: b]", "!!omap", "`key: value`"),
            ("!!binary aGk=", "!!binary", "remove the tag"),
            ("!!timestamp 2026-01-01", "!!timestamp", "remove the tag"),
            ("!int 12", "!int", "remove the tag"),
            ("!<tag:example.com,2026:x> 1", "!<tag:example.com,2026:x>", "remove the tag"),
            ("!important", "!important", "quote a value"),
            ("[a, !b c]", "!b", "quote a value"),
            ("{<<: !include a.yaml}", "!include", "under `include:`"),
            ("&anchor !x y", "!x", "remove the tag"),
            ("!x &anchor y", "!x", "remove the tag"),
            ("é: !x y", "!x", "remove the tag"),
        ] {
            let shown = shown(&format!("version: 1\nx-a:\n  {value}\n"));
            let [(underlined, message, found)] = &shown[..] else { panic!("{value}: {shown:?}") };
            assert_eq!(underlined, tag, "{value}");
            assert_eq!(*message, format!("unsupported YAML tag `{tag}`"));
            assert!(found.contains(help), "{value}: {found}");
        }
        let all = shown("a: !x 1\nb: [!y 2, !!str 3]\n!z c: 4\n");
        assert_eq!(all.iter().map(|(tag, ..)| tag).collect::<Vec<_>>(), ["!x", "!y", "!z"]);
    }

    #[test]
    fn tags_of_the_core_types_are_accepted() {
        for value in [
            "!!str 1.10",
            "!!int 12",
            "!!float 1",
            "!!bool true",
            "!!null ''",
            "!!seq [a]",
            "!!map {a: b}",
            "{!!merge <<: {a: b}}",
            "! 12",
            "!<tag:yaml.org,2002:str> 12",
            "'!quoted'",
            "a!b",
            "x # !comment",
        ] {
            assert_eq!(shown(&format!("a: {value}\n")), [], "{value}");
        }
    }

    #[test]
    fn a_second_document_is_rejected() {
        for text in ["a: 1\n---\nb: 2\n", "---\na: 1\n---\n", "a: 1\n...\nb: 2\n", "a: 1\n--- b\n"]
        {
            let shown = shown(text);
            assert_eq!(shown.len(), 1, "{text:?}");
            assert!(shown[0].1.contains("several YAML documents"), "{shown:?}");
        }
        for text in
            ["---\na: 1\n", "# c\n---\na: 1\n...\n", "%YAML 1.2\n---\na: 1\n", "a: |\n  ---\n"]
        {
            assert_eq!(shown(text), [], "{text:?}");
        }
    }
}
