//! Makes texts that come from elsewhere fit to be shown: one line of bounded length. Pure.

use std::fmt::Write;

/// One line of printable characters, of at most the first `most` of a text: what comes from elsewhere
/// is not trusted.
pub fn one_line(text: &str, most: usize) -> String {
    // Controls move the cursor; the others turn the direction of what follows. What ends a line or a
    // paragraph in Unicode (U+2028, U+2029) is white space.
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let line: String = text.chars().map(|c| if hidden(c) { ' ' } else { c }).take(most).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An error and its causes, not yet made one line; reqwest's own text stops at "error sending
/// request".
pub fn chain(error: &dyn std::error::Error) -> String {
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
    fn nothing_moves_the_cursor_or_turns_the_text() {
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
    struct Cause(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn causes_are_told_once() {
        let deepest = Cause("no route", None);
        let same = Cause("connect: no route", Some(Box::new(deepest)));
        let error = Cause("cannot send", Some(Box::new(same)));
        assert_eq!(chain(&error), "cannot send: connect: no route");
    }
}
