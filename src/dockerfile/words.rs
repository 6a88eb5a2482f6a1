//! Splits a logical line into flags, words and JSON strings, each with its position. Pure.

use std::ops::Range;

use super::lines::trim;

/// The characters that separate words. BuildKit accepts these and no other whitespace.
const BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// A word without its quotes; each character has the part of the line that it came from.
#[derive(Debug, Default, Clone)]
pub(super) struct UnquotedWord {
    chars: Vec<(char, Range<usize>)>,
}

impl UnquotedWord {
    pub(super) fn text(&self) -> String {
        self.chars.iter().map(|(c, _)| *c).collect()
    }

    /// Splits the word at its first `=`. Without one, returns the whole word and `None`.
    pub(super) fn split_at_equals(&self) -> (String, Option<Self>) {
        match self.chars.iter().position(|(c, _)| *c == '=') {
            Some(at) => {
                let name = self.chars[..at].iter().map(|(c, _)| *c).collect();
                (name, Some(Self { chars: self.chars[at + 1..].to_vec() }))
            }
            None => (self.text(), None),
        }
    }

    /// Returns the fields of a comma-separated value, as in `--mount=type=bind,from=x`.
    pub(super) fn fields(&self) -> Vec<Self> {
        let mut fields = vec![Self::default()];
        let mut quoted = false;
        for (c, part) in &self.chars {
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(Self::default()),
                _ => {
                    if let Some(field) = fields.last_mut() {
                        field.chars.push((*c, part.clone()));
                    }
                }
            }
        }
        fields
    }

    /// Returns the part of the line that the word came from, or `None` for an empty word. Quotes
    /// around the word are left out. If quotes begin or end within the word, the part includes
    /// them, so that it can be replaced as a whole.
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

/// Reads the `--flags` at the start of `part`. Returns them and the rest of the part.
///
/// As in BuildKit, quotes and escapes are removed from flags only, and `--` ends the flags.
pub(super) fn flags(
    line: &str,
    part: Range<usize>,
    escape: char,
) -> (Vec<UnquotedWord>, Range<usize>) {
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

fn flag(line: &str, part: Range<usize>, escape: char) -> (UnquotedWord, usize) {
    let mut word = UnquotedWord::default();
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

/// Returns the words between blanks. Quotes have no meaning here.
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

/// Returns the first word, and the trimmed rest of the part.
pub(super) fn first(line: &str, part: Range<usize>) -> (Range<usize>, Range<usize>) {
    let part = trim(line, part);
    let end = line[part.clone()].find(BLANKS).map_or(part.end, |at| part.start + at);
    (part.start..end, trim(line, end..part.end))
}

/// Returns the words between whitespace that is not quoted. Quotes and escapes stay in the words:
/// expanding the variables removes them.
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

/// Arguments that may be in JSON form.
pub(super) enum JsonForm {
    /// Not a JSON array: Docker then reads the text as plain words.
    NotJson,
    /// A JSON array that contains something else than strings, which Docker rejects.
    NotStrings,
    /// The strings, each with the part of the line between its quotes.
    Strings(Vec<(String, Range<usize>)>),
}

/// Reads a JSON array of strings.
pub(super) fn json(line: &str, part: Range<usize>) -> JsonForm {
    let text = &line[part.clone()];
    if !text.starts_with('[') {
        return JsonForm::NotJson;
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return JsonForm::NotJson;
    };
    let mut strings = Vec::new();
    let mut end_of_last = part.start;
    for value in values {
        let serde_json::Value::String(value) = value else { return JsonForm::NotStrings };
        // The text is valid JSON and contains only strings so far, so the next quote opens this
        // string.
        let Some(open) = line[end_of_last..part.end].find('"').map(|at| end_of_last + at + 1)
        else {
            return JsonForm::NotJson;
        };
        let close = closing_quote(line, open..part.end);
        strings.push((value, open..close));
        end_of_last = close + 1;
    }
    JsonForm::Strings(strings)
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
