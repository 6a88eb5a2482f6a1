//! Turns a text into logical lines: parser directives read, comments dropped, continuations joined,
//! every byte still knowing its place in the text. Pure.

use std::ops::Range;

use super::DockerfileError;

/// Continued lines joined into one, and where each piece of it came from.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The joined text, without line ends.
    pub(super) text: String,
    /// Offsets in `text` and in the file at which each piece begins.
    pieces: Vec<(usize, usize)>,
}

impl Line {
    fn push(&mut self, at: usize, piece: &str) {
        self.pieces.push((self.text.len(), at));
        self.text.push_str(piece);
    }

    /// The place in the file of one byte of the line.
    fn source(&self, offset: usize) -> usize {
        let index = self.pieces.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        self.pieces.get(index).map_or(0, |(start, source)| source + (offset - start))
    }

    /// The place in the file of a part of the line. Where the part was continued over lines, the
    /// place covers the continuation too.
    pub(super) fn span(&self, part: Range<usize>) -> Range<usize> {
        let start = self.source(part.start);
        if part.is_empty() { start..start } else { start..self.source(part.end - 1) + 1 }
    }

    /// The part of the line without white space around it.
    pub(super) fn trimmed(&self) -> Range<usize> {
        trim(&self.text, 0..self.text.len())
    }
}

/// A part of a text without white space around it.
pub(super) fn trim(text: &str, part: Range<usize>) -> Range<usize> {
    let inner = &text[part.clone()];
    let start = part.start + (inner.len() - inner.trim_start().len());
    start..start + inner.trim().len()
}

/// Reads a text line by line.
pub(super) struct Reader<'t> {
    text: &'t str,
    at: usize,
    /// The character that continues a line and escapes within it.
    pub(super) escape: char,
    /// The directives seen; `None` once something else was, since they only count at the top.
    directives: Option<Vec<String>>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        // BuildKit drops a byte order mark before the first line.
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, at, escape: '\\', directives: Some(Vec::new()) }
    }

    /// How far the text was read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next line of the file: where it begins, and its text without the line end.
    fn raw(&mut self) -> Option<(usize, &'t str)> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let start = self.at;
        let line = rest.split_inclusive('\n').next().unwrap_or(rest);
        self.at += line.len();
        Some((start, line.trim_end_matches(['\r', '\n'])))
    }

    /// The next logical line that is not empty and not a comment.
    pub(super) fn line(&mut self, errors: &mut Vec<DockerfileError>) -> Option<Line> {
        loop {
            let (start, raw) = self.raw()?;
            // Only the first line of an instruction loses its indentation: continuation lines
            // keep theirs.
            let first = raw.trim_start();
            let start = start + (raw.len() - first.len());
            self.directive(start, first, errors);
            if first.starts_with('#') || first.is_empty() {
                continue;
            }
            let mut line = Line::default();
            let Some(head) = continued(first, self.escape) else {
                line.push(start, first);
                return Some(line);
            };
            line.push(start, head);
            self.continuation(&mut line);
            if line.text.trim().is_empty() {
                continue;
            }
            return Some(line);
        }
    }

    fn continuation(&mut self, line: &mut Line) {
        while let Some((start, raw)) = self.raw() {
            // Comments and empty lines do not end a continuation (BuildKit warns of the latter).
            if raw.trim_start().starts_with('#') || raw.trim().is_empty() {
                continue;
            }
            if let Some(head) = continued(raw, self.escape) {
                line.push(start, head);
            } else {
                line.push(start, raw);
                return;
            }
        }
    }

    /// Skips a here-document up to its end mark. Answers whether the mark was found.
    pub(super) fn heredoc(&mut self, name: &str, strip_tabs: bool) -> bool {
        while let Some((_, raw)) = self.raw() {
            let mark = if strip_tabs { raw.trim_start_matches('\t') } else { raw };
            if mark == name {
                return true;
            }
        }
        false
    }

    /// `# name=value`, at the top only: the first line that is anything else ends them, even an
    /// empty one or a comment.
    fn directive(&mut self, start: usize, line: &str, errors: &mut Vec<DockerfileError>) {
        let Some(seen) = &mut self.directives else { return };
        let found = line.strip_prefix('#').and_then(|rest| rest.split_once('='));
        let (name, value) = match found {
            Some((name, value)) => (name.trim().to_ascii_lowercase(), value.trim()),
            None => (String::new(), ""),
        };
        if value.is_empty() || !["syntax", "escape", "check"].contains(&name.as_str()) {
            self.directives = None;
            return;
        }
        let span = start..start + line.len();
        if seen.contains(&name) {
            errors.push(DockerfileError::new(
                format!("the directive `{name}` is given twice"),
                "keep one of the two",
                span,
            ));
        } else if name == "escape" {
            match value {
                "\\" => self.escape = '\\',
                "`" => self.escape = '`',
                _ => errors.push(DockerfileError::new(
                    format!("`{value}` cannot be the escape character"),
                    "write `# escape=\\` or `# escape=` followed by a backtick",
                    span,
                )),
            }
        }
        seen.push(name);
    }
}

/// The line without its continuation mark, if it has one: the escape character, alone or after any
/// other character, then blanks. Two of them are an escaped one and continue nothing.
fn continued(line: &str, escape: char) -> Option<&str> {
    let head = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!head.ends_with(escape)).then_some(head)
}
