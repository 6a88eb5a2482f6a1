//! Escapes values for HTML and XML. Pure.
//!
//! A character that is unsafe on a screen is written as an escape that people can read (`\u{1b}`), so that
//! no value has a character that XML forbids.

use crate::base::safe_text::escaped;

/// Returns a value as one line for the text and the attributes of HTML and XML.
pub(super) fn markup(value: &str) -> String {
    let value = escaped(value);
    let mut safe = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // XML has all characters but these two.
            '\u{fffe}' | '\u{ffff}' => safe.push(char::REPLACEMENT_CHARACTER),
            c => safe.push(c),
        }
    }
    safe
}

/// Does the same as [`markup`] for a text whose lines are kept.
pub(super) fn markup_lines(text: &str) -> String {
    text.lines().map(markup).collect::<Vec<_>>().join("\n")
}
