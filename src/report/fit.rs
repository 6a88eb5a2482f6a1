//! Fits text into the columns of a terminal. Pure.

use crate::base::text::{self, columns};

/// Sign for text that was left out, one column wide.
const ELLIPSIS: &str = "…";

/// Cuts a text after the last whole word that fits into `room` columns, and marks the cut. If not
/// even the first word fits, its beginning is kept.
pub(super) fn cut(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let mut end = 0;
    for (index, _) in text.match_indices(' ') {
        // A blank and the ellipsis follow.
        if columns(&text[..index]) + 2 > room {
            break;
        }
        end = index;
    }
    // A sign before the next word means nothing without that word.
    let words = text[..end].trim_end_matches(|c: char| c.is_whitespace() || "+~-><".contains(c));
    if !words.is_empty() {
        return format!("{words} {ELLIPSIS}");
    }
    let fits = |end: &usize| columns(&text[..*end]) < room.max(1);
    let end = text.char_indices().map(|(index, _)| index).take_while(fits).last();
    format!("{}{ELLIPSIS}", &text[..end.unwrap_or(0)])
}

/// Wraps a text for a terminal of `width` columns. Without a terminal it stays one line.
pub(super) fn wrap(text: &str, width: Option<usize>, indent: usize) -> String {
    width.map_or_else(|| text.to_owned(), |width| text::wrap(text, width, indent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cut_keeps_whole_words() {
        let text = "context: ~ a, + b; Dockerfile changed";
        for (room, expected) in [
            (37, text),
            (36, "context: ~ a, + b; Dockerfile …"),
            (30, "context: ~ a, + b; …"),
            (17, "context: ~ a, …"),
            (12, "context: …"),
            (20, "context: ~ a, + b; …"),
            (19, "context: ~ a, …"),
            (9, "context:…"),
            (4, "con…"),
            (1, "…"),
            (0, "…"),
        ] {
            assert_eq!(cut(text, room), expected, "{room}");
        }
        assert_eq!(cut("née à Évry", 7), "née à …");
        assert_eq!(cut("図書館", 4), "図…");
    }

    proptest! {
        #[test]
        fn cut_text_fits(text in "[a-c é図;]{0,40}", room in 1usize..40) {
            prop_assert!(columns(&cut(&text, room)) <= room);
        }
    }
}
