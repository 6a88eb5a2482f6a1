//! Fits text into the columns of a terminal. Pure.

/// What stands for what was left out.
const MORE: &str = "…";

/// Columns that a text takes.
pub(super) fn columns(text: &str) -> usize {
    text.chars().count()
}

/// A text without what moves a cursor or ends a line: a file may have any name.
pub(super) fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(escape).collect()
}

/// As many whole words as there is room for, and a sign that there were more. Of a single word that
/// is too long, its beginning.
pub(super) fn cut(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let mut kept = 0;
    for (end, _) in text.match_indices(' ') {
        // A blank and the sign come after it.
        if columns(&text[..end]) + 2 > room {
            break;
        }
        kept = end;
    }
    // A sign that says something of the next word says nothing without it.
    let words = text[..kept].trim_end_matches(|c: char| c.is_whitespace() || "+~-><".contains(c));
    if words.is_empty() {
        let start: String = text.chars().take(room.saturating_sub(1)).collect();
        return format!("{start}{MORE}");
    }
    format!("{words} {MORE}")
}

/// A text in lines of at most `width` columns, where it has a width; all but the first are indented.
pub(super) fn wrap(text: &str, width: Option<usize>, indent: usize) -> String {
    let Some(width) = width else { return text.to_owned() };
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        let fits = line.trim().is_empty() || columns(&line) + 1 + columns(word) <= width;
        if !fits {
            let next = " ".repeat(indent);
            lines.push(std::mem::replace(&mut line, next).trim_end().to_owned());
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_words_are_kept() {
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
    }

    #[test]
    fn lines_are_wrapped_between_words() {
        let text = "Cost: 3 builds with 1.2 MB to pack.";
        assert_eq!(wrap(text, None, 2), text);
        assert_eq!(wrap(text, Some(20), 2), "Cost: 3 builds with\n  1.2 MB to pack.");
        assert_eq!(wrap("averylongword x", Some(4), 2), "averylongword\n  x");
        // Blanks in a row stay: they set things apart.
        assert_eq!(wrap("a   b", Some(9), 0), "a   b");
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(printable("a\u{1b}[2J\nb\u{9b}é"), "a\\u{1b}[2J\\nb\\u{9b}é");
    }

    proptest! {
        #[test]
        fn what_is_cut_fits(text in "[a-c é;]{0,40}", room in 1usize..40) {
            prop_assert!(columns(&cut(&text, room)) <= room);
        }

        #[test]
        fn no_word_is_lost(text in "[a-c ]{0,60}", width in 1usize..30, indent in 0usize..4) {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(words(&wrap(&text, Some(width), indent)), words(&text));
        }
    }
}
