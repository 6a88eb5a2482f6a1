//! Splits a Dockerfile into logical lines: reads parser directives, drops comments and joins
//! continued lines. Every byte of a logical line keeps its position in the file. Pure.

use std::ops::Range;

use super::model::DockerfileError;

/// The parser directives of Dockerfiles.
const DIRECTIVES: [&str; 3] = ["syntax", "escape", "check"];

/// One or more continued lines, joined into one.
#[derive(Debug, Default)]
pub(super) struct LogicalLine {
    /// The joined text, without line breaks.
    pub(super) text: String,
    /// The start of each joined piece: its offset in `text`, and its offset in the file.
    pieces: Vec<(usize, usize)>,
}

impl LogicalLine {
    fn push(&mut self, file_offset: usize, piece: &str) {
        self.pieces.push((self.text.len(), file_offset));
        self.text.push_str(piece);
    }

    /// Returns the offset in the file of a byte of the line.
    fn file_offset(&self, offset: usize) -> usize {
        let index = self.pieces.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        self.pieces.get(index).map_or(0, |(start, file_offset)| file_offset + (offset - start))
    }

    /// Returns the byte range in the file of a part of the line. If the part was continued over
    /// several lines, the range includes the line breaks.
    pub(super) fn span(&self, part: Range<usize>) -> Range<usize> {
        let start = self.file_offset(part.start);
        if part.is_empty() { start..start } else { start..self.file_offset(part.end - 1) + 1 }
    }

    /// Returns the part of the line between leading and trailing whitespace.
    pub(super) fn trimmed(&self) -> Range<usize> {
        trim(&self.text, 0..self.text.len())
    }
}

/// Returns `part` without leading and trailing whitespace.
pub(super) fn trim(text: &str, part: Range<usize>) -> Range<usize> {
    let inner = &text[part.clone()];
    let start = part.start + (inner.len() - inner.trim_start().len());
    start..start + inner.trim().len()
}

/// Reads the logical lines of a text.
pub(super) struct LineReader<'t> {
    text: &'t str,
    position: usize,
    /// The character that continues a line and escapes within it.
    pub(super) escape: char,
    /// The directives read so far; `None` after the first other line, which ends the directives.
    directives: Option<Vec<String>>,
    /// True if the first line begins with `#!`.
    after_shebang: bool,
    /// The value of the directive `syntax`.
    pub(super) syntax: Option<String>,
}

impl<'t> LineReader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        // BuildKit drops a byte order mark before the first line.
        let position = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self {
            text,
            position,
            escape: '\\',
            directives: Some(Vec::new()),
            after_shebang: false,
            syntax: None,
        }
    }

    /// Returns the offset of the next unread byte.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Reads the next line of the file: its offset, and its text without the line break.
    fn physical_line(&mut self) -> Option<(usize, &'t str)> {
        let rest = &self.text[self.position..];
        if rest.is_empty() {
            return None;
        }
        let start = self.position;
        let line = rest.split_inclusive('\n').next().unwrap_or(rest);
        self.position += line.len();
        Some((start, line.trim_end_matches(['\r', '\n'])))
    }

    /// Reads the next logical line that is neither empty nor a comment.
    pub(super) fn line(&mut self, errors: &mut Vec<DockerfileError>) -> Option<LogicalLine> {
        loop {
            let (start, text) = self.physical_line()?;
            // Only the first line of an instruction loses its indentation: continuation lines
            // keep theirs.
            let first = text.trim_start();
            let start = start + (text.len() - first.len());
            self.directive(start, first, errors);
            if first.starts_with('#') || first.is_empty() {
                continue;
            }
            let mut line = LogicalLine::default();
            let Some(head) = strip_continuation(first, self.escape) else {
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

    fn continuation(&mut self, line: &mut LogicalLine) {
        while let Some((start, text)) = self.physical_line() {
            // Comments and empty lines do not end a continuation. (BuildKit warns about empty
            // lines.)
            if text.trim_start().starts_with('#') || text.trim().is_empty() {
                continue;
            }
            if let Some(head) = strip_continuation(text, self.escape) {
                line.push(start, head);
            } else {
                line.push(start, text);
                return;
            }
        }
    }

    /// Skips a here-document, including its delimiter. Returns false if the delimiter is missing.
    pub(super) fn skip_heredoc(&mut self, delimiter: &str, strip_tabs: bool) -> bool {
        while let Some((_, text)) = self.physical_line() {
            let text = if strip_tabs { text.trim_start_matches('\t') } else { text };
            if text == delimiter {
                return true;
            }
        }
        false
    }

    /// Reads a directive, `# name=value`. Directives must be the first lines of the file: any
    /// other line ends them, even an empty line or a comment. After a first line such as
    /// `#!/usr/bin/env buildx`, BuildKit reads only the directive `syntax`.
    fn directive(&mut self, start: usize, line: &str, errors: &mut Vec<DockerfileError>) {
        let Some(directives) = &mut self.directives else { return };
        let assignment = line.strip_prefix('#').and_then(|rest| rest.split_once('='));
        let (name, value) = match assignment {
            Some((name, value)) => (name.trim().to_ascii_lowercase(), value.trim()),
            None => (String::new(), ""),
        };
        if line.starts_with("#!")
            && directives.is_empty()
            && self.text[..start].trim_start_matches('\u{feff}').is_empty()
        {
            self.after_shebang = true;
            return;
        }
        if self.after_shebang && name != "syntax" && DIRECTIVES.contains(&name.as_str()) {
            return;
        }
        if value.is_empty() || !DIRECTIVES.contains(&name.as_str()) {
            self.directives = None;
            return;
        }
        let span = start..start + line.len();
        if directives.contains(&name) {
            errors.push(DockerfileError::new(
                format!("duplicate directive `{name}`"),
                "remove one of them",
                span,
            ));
        } else if name == "escape" {
            match value {
                "\\" => self.escape = '\\',
                "`" => self.escape = '`',
                _ => errors.push(DockerfileError::new(
                    format!("invalid escape character `{value}`"),
                    "write `# escape=\\` or `# escape=` followed by a backtick",
                    span,
                )),
            }
        }
        if name == "syntax" {
            self.syntax.get_or_insert_with(|| value.to_owned());
        }
        directives.push(name);
    }
}

/// Returns the line without its continuation mark, or `None` if it has none. The mark is a single
/// escape character, which only spaces and tabs may follow. Two of them are an escaped escape
/// character and continue nothing.
fn strip_continuation(line: &str, escape: char) -> Option<&str> {
    let head = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!head.ends_with(escape)).then_some(head)
}
