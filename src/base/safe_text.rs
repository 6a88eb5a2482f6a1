//! The rule for texts that are shown: which characters are unsafe, and how they are escaped. Pure.
//!
//! `workflow_command` has the other half of the rule, for whole lines. The door through which all
//! output passes (`cli/door.rs`) applies both.

use std::fmt::Write;

/// True for a character that must not reach a terminal or a log as it is: a control character
/// (newline and tab included), a character that changes the direction of the text after it, and a
/// separator of lines or paragraphs.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// Appends a character, escaped if it is unsafe: a newline becomes `\n`, ESC becomes `\u{1b}`.
pub(crate) fn push_escaped(text: &mut String, c: char) {
    if is_unsafe(c) {
        text.extend(c.escape_default());
    } else {
        text.push(c);
    }
}

/// Returns an untrusted value as one line, with its unsafe characters escaped.
pub(crate) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|c| push_escaped(&mut shown, c));
    shown
}

/// Returns the path of a file as one line, with its unsafe characters escaped. Bytes that are not
/// UTF-8 become U+FFFD.
pub(crate) fn shown_path(path: &std::path::Path) -> String {
    escaped(&path.to_string_lossy())
}

/// Returns the first `max_chars` characters of an untrusted text as one line of printable characters,
/// with a blank in the place of each unsafe one.
pub(crate) fn one_line(text: &str, max_chars: usize) -> String {
    let line: String =
        text.chars().map(|c| if is_unsafe(c) { ' ' } else { c }).take(max_chars).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the text of an error followed by the texts of its causes. The text of a reqwest error
/// alone says no more than "error sending request". The result may have several lines.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            // Writing into a String cannot fail.
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_characters_are_escaped() {
        for (text, expected) in [
            ("", ""),
            ("a b é 図 \\", "a b é 図 \\"),
            ("a\u{1b}[2J\nb\tc\r\u{9b}é\u{7f}", "a\\u{1b}[2J\\nb\\tc\\r\\u{9b}é\\u{7f}"),
            ("\u{61c}\u{200e}\u{200f}", "\\u{61c}\\u{200e}\\u{200f}"),
            ("\u{2028}\u{2029}\u{202a}\u{202e}", "\\u{2028}\\u{2029}\\u{202a}\\u{202e}"),
            ("\u{2065}\u{2066}\u{2069}", "\u{2065}\\u{2066}\\u{2069}"),
        ] {
            assert_eq!(escaped(text), expected, "{text:?}");
        }
    }

    #[test]
    fn control_characters_are_removed() {
        for (text, expected) in [
            ("", ""),
            (" plain \t words\n", "plain words"),
            ("a\u{1b}[31m\n b\u{202e}c", "a [31m b c"),
            ("a\u{2028}b\u{2029}c\u{85}d", "a b c d"),
            ("a\u{200e}b\u{200f}c\u{202a}d\u{2066}e\u{2069}f", "a b c d e f"),
            ("é 図", "é 図"),
        ] {
            assert_eq!(one_line(text, 100), expected, "{text:?}");
        }
        assert_eq!(one_line("ééé", 2), "éé");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct TestError(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn each_cause_is_named_once() {
        let root = TestError("no route", None);
        let middle = TestError("connect: no route", Some(Box::new(root)));
        let error = TestError("cannot send", Some(Box::new(middle)));
        assert_eq!(error_chain(&error), "cannot send: connect: no route");
    }
}
