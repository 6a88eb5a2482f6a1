//! Makes errors safe to show: texts from outside are escaped, and a snippet that is too long or has
//! unsafe characters is cut to the line of its label. Pure.
//!
//! miette pads the line below a snippet with `{:width$}`, and Rust panics where that width is above
//! 65,535. A generated manifest is often one line longer than that, and nobody can read it anyway.

use std::error::Error;
use std::fmt;

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, Severity, SourceCode, SourceSpan,
    SpanContents,
};

use crate::base::safe_text::{escaped, is_unsafe, push_escaped};

/// Maximum length in bytes of a line that is shown whole.
const MAX_LINE_BYTES: usize = 240;

/// Maximum length in bytes of the underlined part of a line that is not shown whole.
const MAX_LABEL_BYTES: usize = 160;

/// Length in bytes of the text shown before and after the underlined part.
const MARGIN_BYTES: usize = 50;

/// An error with safe texts. Its snippet underlines the same text as that of the original.
#[derive(Debug)]
pub(super) struct SafeDiagnostic<'a> {
    message: String,
    cause: Option<Cause>,
    severity: Option<Severity>,
    help: Option<String>,
    labels: Vec<LabeledSpan>,
    source: Option<SafeSource<'a>>,
    related: Vec<SafeDiagnostic<'a>>,
}

impl<'a> SafeDiagnostic<'a> {
    /// Creates the safe form of an error. `lines` follow its message.
    pub(super) fn new(original: &'a dyn Diagnostic, lines: &[String]) -> Self {
        let lines = lines.iter().map(|line| format!("\n{}", escaped(line)));
        let message = std::iter::once(escaped(&original.to_string())).chain(lines).collect();
        let related = original.related().into_iter().flatten();
        let mut safe = Self {
            message,
            cause: original.source().map(Cause::of),
            severity: original.severity(),
            help: original.help().map(|help| escaped(&help.to_string())),
            labels: Vec::new(),
            source: None,
            related: related.map(|related| Self::new(related, &[])).collect(),
        };
        let labels: Vec<LabeledSpan> = original.labels().into_iter().flatten().collect();
        if let Some(source) = original.source_code() {
            safe.add_snippet(source, &labels);
        }
        safe
    }

    fn add_snippet(&mut self, source: &'a dyn SourceCode, labels: &[LabeledSpan]) {
        let is_readable = |label: &LabeledSpan| {
            let lines = source.read_span(label.inner(), 1, 1);
            lines.map_or(true, |read| is_readable(read.data()))
        };
        if labels.iter().all(is_readable) {
            let safe = |label: &LabeledSpan| {
                let text = label.label().map(escaped);
                if label.primary() {
                    LabeledSpan::new_primary_with_span(text, *label.inner())
                } else {
                    LabeledSpan::new_with_span(text, *label.inner())
                }
            };
            self.labels = labels.iter().map(safe).collect();
            self.source = Some(SafeSource::Whole(source));
            return;
        }
        let Some((first, others)) = labels.split_first() else { return };
        let describe = |label: &LabeledSpan| {
            let read = source.read_span(label.inner(), 0, 0).ok()?;
            let (file, line, column) = (escaped(read.name()?), read.line() + 1, read.column() + 1);
            Some(format!("{file}:{line}:{column}: {}", escaped(label.label()?)))
        };
        let help: Vec<String> =
            self.help.take().into_iter().chain(others.iter().filter_map(describe)).collect();
        self.help = (!help.is_empty()).then(|| help.join("\n"));
        if let Some((line, label)) = ExcerptLine::of(source, first) {
            self.labels = vec![label];
            self.source = Some(SafeSource::Line(line));
        }
    }
}

impl fmt::Display for SafeDiagnostic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for SafeDiagnostic<'_> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

impl Diagnostic for SafeDiagnostic<'_> {
    fn severity(&self) -> Option<Severity> {
        self.severity
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty()).then(|| Box::new(self.labels.iter().cloned()) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as _)
    }

    fn related<'b>(&'b self) -> Option<Box<dyn Iterator<Item = &'b dyn Diagnostic> + 'b>> {
        let related = || self.related.iter().map(|related| related as &dyn Diagnostic);
        (!self.related.is_empty()).then(|| Box::new(related()) as _)
    }
}

/// A cause of an error, with safe texts.
#[derive(Debug)]
struct Cause {
    message: String,
    cause: Option<Box<Self>>,
}

impl Cause {
    fn of(error: &(dyn Error + 'static)) -> Self {
        let message = escaped(&error.to_string());
        Self { message, cause: error.source().map(|cause| Box::new(Self::of(cause))) }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| cause.as_ref() as _)
    }
}

/// The text of a snippet.
enum SafeSource<'a> {
    /// The original, which is safe at the labels but for the name of the file.
    Whole(&'a dyn SourceCode),
    /// One escaped line.
    Line(ExcerptLine),
}

impl fmt::Debug for SafeSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SafeSource")
    }
}

impl SourceCode for SafeSource<'_> {
    fn read_span<'b>(
        &'b self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'b> + 'b>, MietteError> {
        let source = match self {
            Self::Line(line) => return line.read_span(span, lines_before, lines_after),
            Self::Whole(source) => source,
        };
        let read = source.read_span(span, lines_before, lines_after)?;
        let (data, span) = (read.data(), *read.span());
        let (line, column, lines) = (read.line(), read.column(), read.line_count());
        Ok(Box::new(match read.name() {
            Some(name) => {
                MietteSpanContents::new_named(escaped(name), data, span, line, column, lines)
            }
            None => MietteSpanContents::new(data, span, line, column, lines),
        }))
    }
}

/// True if a snippet has neither a line that is too long nor an unsafe character. A tab keeps its
/// meaning, and may stand before the end of a line of Windows.
fn is_readable(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let is_unsafe_here = |c: char| is_unsafe(c) && c != '\t';
    longest_line(data) <= MAX_LINE_BYTES
        && !text.split('\n').any(|line| line.trim_end_matches('\r').contains(is_unsafe_here))
}

/// Escapes a part of a line, and keeps its tabs.
fn escaped_part(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|c| match c {
        '\t' => shown.push(c),
        c => push_escaped(&mut shown, c),
    });
    shown
}

fn longest_line(data: &[u8]) -> usize {
    data.split(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap_or(0)
}

/// Cuts a line around a label, given by its offset and length in bytes, and returns the new text,
/// offset and length.
fn shorten(line: &str, at: usize, len: usize) -> (String, usize, usize) {
    if line.len() <= MAX_LINE_BYTES {
        return (line.to_owned(), at, len.min(line.len() - at));
    }
    let label_end = char_boundary(line, at + len.min(MAX_LABEL_BYTES));
    let start = char_boundary(line, at.saturating_sub(MARGIN_BYTES));
    let end = char_boundary(line, label_end + MARGIN_BYTES);
    let dots = |cut: bool| if cut { "…" } else { "" };
    let (before, after) = (dots(start > 0), dots(end < line.len()));
    let text = format!("{before}{}{after}", &line[start..end]);
    (text, before.len() + at - start, label_end - at)
}

/// Returns the last character boundary up to an offset in bytes.
fn char_boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// One line of a file.
struct ExcerptLine {
    text: String,
    file: String,
    /// Line of the label in the file, from 0.
    line: usize,
    /// Column of the label in the file, in bytes from 0.
    column: usize,
}

impl ExcerptLine {
    /// Returns the line of a label, and the label in it.
    fn of(source: &dyn SourceCode, label: &LabeledSpan) -> Option<(Self, LabeledSpan)> {
        let start = source.read_span(label.inner(), 0, 0).ok()?;
        let lines = source.read_span(label.inner(), 1, 1).ok()?;
        let data = std::str::from_utf8(lines.data()).ok()?;
        let offset = label.offset().checked_sub(lines.span().offset())?;
        let (before, after) = data.split_at_checked(offset)?;
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line_end = offset + after.find('\n').unwrap_or(after.len());
        let line = data[line_start..line_end].trim_end_matches('\r');
        let at = (offset - line_start).min(line.len());
        let (text, at, len) = shorten(line, at, label.len());
        let end = char_boundary(&text, at + len);
        let (before, labeled) = (escaped_part(&text[..at]), escaped_part(&text[at..end]));
        let span = LabeledSpan::new(label.label().map(escaped), before.len(), labeled.len());
        let text = format!("{before}{labeled}{}", escaped_part(&text[end..]));
        let file = escaped(start.name().unwrap_or_default());
        Some((Self { text, file, line: start.line(), column: start.column() }, span))
    }
}

impl SourceCode for ExcerptLine {
    fn read_span<'a>(
        &'a self,
        _span: &SourceSpan,
        lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (file, text) = (self.file.clone(), self.text.as_bytes());
        // miette reads without context lines to learn the column of the label.
        let column = if lines_before == 0 { self.column } else { 0 };
        let span = SourceSpan::from((0, text.len()));
        Ok(Box::new(MietteSpanContents::new_named(file, text, span, self.line, column, 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::span::Span;
    use crate::base::span::{Problem, SourceMap};
    use miette::{GraphicalReportHandler, GraphicalTheme, Report};
    use std::sync::Arc;

    fn report(text: &str, labels: &[(usize, usize, &str)]) -> Report {
        let mut sources = SourceMap::default();
        sources.add("first", "one\n");
        let start = sources.add("long", text);
        let mut problem = Problem::new("invalid value", Span::new(start, 0), "");
        problem.labels = labels
            .iter()
            .map(|(at, len, label)| (Span::new(start + at, *len), (*label).to_owned()))
            .collect();
        Report::new(problem).with_source_code(Arc::new(sources))
    }

    fn render(report: &Report) -> String {
        let mut out = String::new();
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
        handler.render_report(&mut out, &SafeDiagnostic::new(report.as_ref(), &[])).unwrap();
        out
    }

    #[test]
    fn a_long_line_is_cut_around_its_label() {
        let text = format!("a\n{}BAD{}\nb\n", "x".repeat(100_000), "y".repeat(100_000));
        let shown = render(&report(&text, &[(100_002, 3, "not a number")]));
        let (x, y) = ("x".repeat(MARGIN_BYTES), "y".repeat(MARGIN_BYTES));
        assert!(shown.contains("[long:2:100001]"), "{shown}");
        assert!(shown.contains(&format!("2 │ …{x}BAD{y}…\n")), "{shown}");
        assert!(shown.contains("not a number"), "{shown}");
    }

    #[test]
    fn labels_of_any_length_are_shown_in_lines_of_bounded_length() {
        let long = "é".repeat(50_000);
        let text = format!("{long}ONE{long}TWO{long}\nthree\n{long}\n");
        let two = 2 * long.len() + 3;
        for (at, len) in [(0, text.len() - 1), (10, long.len()), (two, 2 * long.len())] {
            let shown = render(&report(&text, &[(at, len, "first"), (two, 3, "second")]));
            assert!(shown.contains("first"), "{shown}");
            assert!(shown.contains(&format!("long:1:{}: second", two + 1)), "{shown}");
            assert!(shown.lines().all(|line| line.chars().count() < 600), "{shown}");
        }
        // A short line above a long one is shown whole.
        let shown = render(&report(&text, &[(text.find("three").unwrap(), 5, "first")]));
        assert!(shown.contains("2 │ three\n"), "{shown}");
    }

    #[test]
    fn a_diagnostic_with_short_lines_is_shown_with_its_neighbours() {
        let line = "x".repeat(MAX_LINE_BYTES);
        let shown = render(&report(&format!("a\r\n\t{}", &line[1..]), &[(6, 2, "first")]));
        assert!(shown.contains("1 │ a\n"), "{shown}");
        let shown = render(&report(&format!("a\r\n{line}"), &[(6, 2, "first")]));
        assert!(shown.contains("1 │ a\n") && shown.contains("[long:2:4]"), "{shown}");
    }

    #[test]
    fn unsafe_characters_of_a_snippet_are_escaped_and_the_label_stays_in_place() {
        let text = "a\n\t\u{1b}[2Jb BAD\u{202e} c\u{9b}\nd\n";
        let shown = render(&report(text, &[(text.find("BAD").unwrap(), 6, "no\nnumber")]));
        let lines: Vec<&str> = shown.lines().collect();
        let line = lines.iter().position(|line| line.contains("BAD")).unwrap();
        assert!(lines[line].ends_with("    \\u{1b}[2Jb BAD\\u{202e} c\\u{9b}"), "{shown}");
        let at = |text: &str, part: char| text.chars().position(|c| c == part).unwrap();
        assert_eq!(at(lines[line], 'B'), at(lines[line + 1], '─'), "{shown}");
        assert!(shown.contains("no\\nnumber") && shown.contains("[long:2:8]"), "{shown}");
        assert!(!shown.contains(|c| is_unsafe(c) && c != '\n'), "{shown}");
    }

    #[test]
    fn texts_of_an_error_stay_on_their_lines() {
        let mut sources = SourceMap::default();
        let start = sources.add("a\nb", "x: y\n");
        let problem = Problem::new("bad\n::error::x", Span::new(start + 3, 1), "l\nm").help("h\ni");
        let shown = render(&Report::new(problem).with_source_code(Arc::new(sources)));
        for text in ["bad\\n::error::x", "[a\\nb:1:4]", "l\\nm", "help: h\\ni"] {
            assert!(shown.contains(text), "{shown}");
        }
    }
}
