//! Splits a logical line into flags, words and JSON strings, each knowing its place. Pure.

use std::ops::Range;

use super::lines::trim;

/// The blanks that separate words. BuildKit counts these and no other white space.
const BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// A text without its quotes, and the part of the line that each character came from.
#[derive(Debug, Default, Clone)]
pub(super) struct Word {
    chars: Vec<(char, Range<usize>)>,
}

impl Word {
    pub(super) fn text(&self) -> String {
        self.chars.iter().map(|(c, _)| *c).collect()
    }

    /// What stands before and after the first `=`.
    pub(super) fn split_at_equals(&self) -> (String, Option<Self>) {
        match self.chars.iter().position(|(c, _)| *c == '=') {
            Some(at) => {
                let name = self.chars[..at].iter().map(|(c, _)| *c).collect();
                (name, Some(Self { chars: self.chars[at + 1..].to_vec() }))
            }
            None => (self.text(), None),
        }
    }

    /// The fields of a comma separated value, as in `--mount=type=bind,from=x`.
    pub(super) fn fields(&self) -> Vec<Self> {
        let mut fields = vec![Self::default()];
        let mut quoted = false;
        for (c, at) in &self.chars {
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(Self::default()),
                _ => {
                    if let Some(field) = fields.last_mut() {
                        field.chars.push((*c, at.clone()));
                    }
                }
            }
        }
        fields
    }

    /// The part of the line that the word came from. Quotes around it are left out; where quotes
    /// begin or end within it, they are taken in, so that the part can be replaced as a whole.
    pub(super) fn part(&self, line: &str) -> Option<Range<usize>> {
        let mut part = self.chars.first()?.1.start..self.chars.last()?.1.end;
        for quote in ['"', '\''] {
            if line[part.clone()].matches(quote).count() % 2 == 1 {
                if line[part.end..].starts_with(quote) {
                    part.end += 1;
                } else if line[..part.start].ends_with(quote) {
                    part.start -= 1;
                }
            }
        }
        Some(part)
    }
}

/// Takes the `--flags` from the start of `part`; gives them and what follows.
///
/// Quotes and escapes are undone here for flags alone, and `--` ends them, as in BuildKit.
pub(super) fn flags(line: &str, part: Range<usize>, escape: char) -> (Vec<Word>, Range<usize>) {
    let mut flags = Vec::new();
    let mut rest = trim(line, part);
    while line[rest.clone()].starts_with("--") {
        let (word, end) = flag(line, rest.clone(), escape);
        rest = trim(line, end..rest.end);
        if word.text() == "--" {
            break;
        }
        flags.push(word);
    }
    (flags, rest)
}

fn flag(line: &str, part: Range<usize>, escape: char) -> (Word, usize) {
    let mut word = Word::default();
    let mut quote = None;
    let mut chars = line[part.clone()].char_indices();
    while let Some((at, c)) = chars.next() {
        let start = part.start + at;
        if quote.is_none() && c.is_whitespace() {
            return (word, start);
        } else if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && matches!(c, '"' | '\'') {
            quote = Some(c);
        } else if c == escape {
            if let Some((at, escaped)) = chars.next() {
                word.chars.push((escaped, start..part.start + at + escaped.len_utf8()));
            }
        } else {
            word.chars.push((c, start..start + c.len_utf8()));
        }
    }
    (word, part.end)
}

/// The words between blanks; quotes have no meaning here.
pub(super) fn blank_separated(line: &str, part: Range<usize>) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in line[part.clone()].char_indices() {
        let at = part.start + at;
        match (BLANKS.contains(&c), start) {
            (true, Some(from)) => {
                words.push(from..at);
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    words.extend(start.map(|from| from..part.end));
    words
}

/// The first word between blanks, and the trimmed rest.
pub(super) fn first(line: &str, part: Range<usize>) -> (Range<usize>, Range<usize>) {
    let part = trim(line, part);
    let end = line[part.clone()].find(BLANKS).map_or(part.end, |at| part.start + at);
    (part.start..end, trim(line, end..part.end))
}

/// The words between white space, where quotes keep white space inside a word. Quotes and escapes
/// stay in the words: they are undone when variables are expanded.
pub(super) fn quoted(line: &str, part: Range<usize>, escape: char) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut chars = line[part.clone()].char_indices();
    while let Some((at, c)) = chars.next() {
        let at = part.start + at;
        if quote.is_none() && c.is_whitespace() {
            words.extend(start.take().map(|from| from..at));
            continue;
        }
        start.get_or_insert(at);
        if quote == Some(c) {
            quote = None;
        } else if c == escape && quote != Some('\'') {
            chars.next();
        } else if quote.is_none() && matches!(c, '"' | '\'') {
            quote = Some(c);
        }
    }
    words.extend(start.map(|from| from..part.end));
    words
}

/// What a JSON form turned out to be.
pub(super) enum Json {
    /// Not JSON: Docker then reads the words as they are.
    No,
    /// An array that holds something else than strings, which Docker refuses.
    NotStrings,
    /// The strings, each with the part of the line between its quotes.
    Strings(Vec<(String, Range<usize>)>),
}

/// Reads a JSON array of strings.
pub(super) fn json(line: &str, part: Range<usize>) -> Json {
    let text = &line[part.clone()];
    if !text.starts_with('[') {
        return Json::No;
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Json::No };
    let mut strings = Vec::new();
    let mut from = part.start;
    for value in values {
        let serde_json::Value::String(value) = value else { return Json::NotStrings };
        // The text is known to be an array of strings so far: the next quote opens this one.
        let Some(open) = line[from..part.end].find('"').map(|at| from + at + 1) else {
            return Json::No;
        };
        let close = closing_quote(line, open..part.end);
        strings.push((value, open..close));
        from = close + 1;
    }
    Json::Strings(strings)
}

fn closing_quote(line: &str, part: Range<usize>) -> usize {
    let mut escaped = false;
    for (at, c) in line[part.clone()].char_indices() {
        match c {
            '"' if !escaped => return part.start + at,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    part.end
}
