//! Makes untrusted texts safe to print: one line of bounded length, without control characters.
//! Pure.

use std::fmt::Write;

/// Returns the first `max_chars` characters of an untrusted text as one line of printable characters.
pub(crate) fn one_line(text: &str, max_chars: usize) -> String {
    // Control characters can move the cursor; the others change the direction of the text after
    // them. The line separators of Unicode (U+2028, U+2029) are white space to split_whitespace.
    let is_unsafe = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
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
