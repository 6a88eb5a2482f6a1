//! Escapes texts for Markdown, and for HTML in it. Pure.
//!
//! A Markdown text passes two programs. The first one finds marks, links and tables; a character as an
//! HTML entity (`&#124;` for a bar) has no such meaning. The second one, at the code host, searches the
//! shown text for `@person`, `#123` and `:emoji:`, and decodes entities first; it skips `<code>`.

use std::fmt::Write as _;

use crate::base::safe_text::escaped;

/// Maximum number of characters of a value in a table or a sentence.
const MAX_VALUE_CHARS: usize = 2_000;

/// Returns a value as inline code of Markdown, on one line, also in a cell of a table.
pub(super) fn code(text: &str) -> String {
    // A comment separates an address of mail, which would become a link even here.
    format!("<code>{}</code>", markdown(&cut(text)).replace("&#64;", "&#64;<!-- -->"))
}

/// Returns a sentence or the cell of a table as Markdown, on one line. A text that a code host would
/// search for people, issues or links becomes inline code.
pub(super) fn prose(text: &str) -> String {
    if is_prose(text) { markdown(&cut(text)) } else { code(text) }
}

/// Returns lines as a block of code. Each is escaped, and no line can end the block.
pub(super) fn block(lines: impl IntoIterator<Item = String>) -> String {
    let lines: Vec<String> = lines.into_iter().map(|line| escaped(&line)).collect();
    let longest = lines.iter().map(|line| longest_run(line, '`')).max().unwrap_or(0);
    let fence = "`".repeat(3.max(longest + 1));
    format!("{fence}text\n{}\n{fence}\n", lines.join("\n"))
}

/// True for a text in which a code host finds nothing.
fn is_prose(text: &str) -> bool {
    let lower = text.to_lowercase();
    let marks = ["@", "#", "$", "://", "www.", "gh-"];
    // `:word:` is an emoji.
    let is_word = |part: &str| {
        let is_inside = |c: char| c.is_alphanumeric() || "_+-".contains(c);
        !part.is_empty() && part.chars().all(is_inside)
    };
    let parts: Vec<&str> = text.split(':').collect();
    let between = parts.get(1..parts.len() - 1).unwrap_or_default();
    !marks.iter().any(|mark| lower.contains(mark)) && !between.iter().any(|part| is_word(part))
}

/// Escapes every character that Markdown gives a meaning within a line.
fn markdown(text: &str) -> String {
    let text = entities(&escaped(text), |c| "&<>\"`*_~[]\\|$@#".contains(c));
    // The beginnings of links that need no mark.
    let text = text.replace(":/", "&#58;/");
    let mut links = String::with_capacity(text.len());
    for (index, c) in text.char_indices() {
        let is_www = c.eq_ignore_ascii_case(&'w')
            && text.get(index..index + 4).is_some_and(|word| word.eq_ignore_ascii_case("www."));
        if is_www { push_entity(&mut links, c) } else { links.push(c) }
    }
    links
}

fn entities(text: &str, is_special: impl Fn(char) -> bool) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut all, c| {
        if is_special(c) {
            push_entity(&mut all, c);
        } else {
            all.push(c);
        }
        all
    })
}

fn push_entity(text: &mut String, c: char) {
    // Writing into a String cannot fail.
    let _ = write!(text, "&#{};", u32::from(c));
}

/// Returns the beginning of a text that is too long.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_VALUE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn longest_run(text: &str, of: char) -> usize {
    text.split(|c| c != of).map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::safe_text::is_unsafe;

    /// Texts that try to leave their place.
    const HOSTILE: &[&str] = &[
        "a|b",
        "a\\|b",
        "a\n| b | c |",
        "`x` ``y``",
        "<img src=x onerror=alert(1)>",
        "</code></td></table><script>",
        "![x](http://evil.example/x.png)",
        "[x](javascript:x)",
        "@octocat please",
        "a@octocat.example",
        "fixes #123, GH-12, o/r#4",
        "https://evil.example www.evil.example WWW.evil.example",
        "<https://evil.example>",
        ":smile: a:tag:b",
        "*bold* _it_ ~~no~~ $x$",
        "\u{1b}[31m\u{202e}\u{7}\r\u{2028}",
        "&lt;&#124;&amp;",
        "::error::x ##[error]x",
        "<!-- --> -->",
        "``````",
    ];

    /// Decodes entities.
    fn decoded(text: &str) -> String {
        let entity = regex::Regex::new("&#([0-9]+);").unwrap();
        let decode = |found: &regex::Captures<'_>| {
            char::from_u32(found[1].parse().unwrap()).unwrap().to_string()
        };
        entity.replace_all(&text.replace("<!-- -->", ""), decode).into_owned()
    }

    #[track_caller]
    fn assert_inert(cell: &str) {
        let inner = cell.strip_prefix("<code>").and_then(|cell| cell.strip_suffix("</code>"));
        let text = inner.unwrap_or(cell).replace("&#64;<!-- -->", "&#64;");
        let is_special = |c: char| "<>|`*_~[]\\$@\"\n\r".contains(c) || is_unsafe(c);
        assert!(!text.contains(is_special), "{cell:?}");
        let entity = regex::Regex::new("&#[0-9]+;").unwrap();
        let rest = entity.replace_all(&text, " ");
        assert!(!rest.contains(['&', '#']), "{cell:?}");
        assert!(!rest.contains("://") && !rest.to_lowercase().contains("www."), "{cell:?}");
        // Entities are decoded before people and issues are searched for.
        let shown = decoded(&text);
        let is_found = ["@", "#", "://"].iter().any(|mark| shown.contains(mark));
        assert!(inner.is_some() || !is_found, "{cell:?}");
    }

    #[test]
    fn hostile_texts_are_inert() {
        for text in HOSTILE {
            for cell in [code(text), prose(text)] {
                assert_inert(&cell);
                let inner = cell.replace("<code>", "").replace("</code>", "");
                assert_eq!(decoded(&inner), escaped(text));
            }
            let block = block([(*text).to_owned(), String::new()]);
            let lines: Vec<&str> = block.lines().collect();
            let fence = lines[0].trim_end_matches("text");
            assert_eq!((lines.len(), lines[3]), (4, fence), "{block}");
            assert!(!lines[1].contains(fence) && !block.contains(|c| is_unsafe(c) && c != '\n'));
        }
    }

    #[test]
    fn plain_texts_stay_readable() {
        for (text, expected) in [
            ("new", "new"),
            ("its base base:3.12 changes", "its base base:3.12 changes"),
            ("args.PY 3.12 -> 3.13", "args.PY 3.12 -&#62; 3.13"),
            ("context: ~ a_b.py", "context: &#126; a&#95;b.py"),
            (
                "Cost: 3 builds (initiate: 3 of 150/60s).",
                "Cost: 3 builds (initiate: 3 of 150/60s).",
            ),
            ("see @me", "<code>see &#64;<!-- -->me</code>"),
            ("see a:b:c", "<code>see a:b:c</code>"),
        ] {
            assert_eq!(prose(text), expected);
        }
        assert_eq!(code(&"é".repeat(2_100)).chars().count(), MAX_VALUE_CHARS + 14);
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_cell(text in "[a:/|`<>@#\\[\\]()!\\\\w.*_~&;$\n\r \u{202e}\u{1b}é-]{0,30}") {
            assert_inert(&code(&text));
            assert_inert(&prose(&text));
        }
    }
}
