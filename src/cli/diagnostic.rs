//! Turns errors into JSON objects, and shortens the snippets of errors in very long lines. Pure.

use miette::{
    Diagnostic, LabeledSpan, MietteDiagnostic, MietteError, MietteSpanContents, Report, Severity,
    SourceCode, SourceSpan, SpanContents,
};
use serde_json::{Value, json};

use super::failure;
use crate::base::span::{Problem, SourceMap};
use crate::manifest::ManifestError;

/// Maximum length in bytes of a line that is shown whole.
const MAX_LINE_BYTES: usize = 240;

/// Maximum length in bytes of the underlined part of a line that is not shown whole.
const MAX_LABEL_BYTES: usize = 160;

/// Length in bytes of the text shown before and after the underlined part.
const MARGIN_BYTES: usize = 50;

/// Returns a problem of a manifest as the JSON of `validate --json` and of the event stream.
pub(super) fn problem_json(problem: &Problem, sources: &SourceMap) -> Value {
    let location = problem.labels.first().and_then(|(span, _)| {
        let (file, start, end) = sources.locate(*span)?;
        let range = json!({ "filename": file, "start": start, "end": end });
        Some((range, sources.text(*span).to_owned()))
    });
    let (range, snippet) = location.unzip();
    json!({
        "severity": if problem.warning { "warning" } else { "error" },
        "summary": problem.message,
        "detail": problem.help,
        "range": range,
        "snippet": snippet,
    })
}

/// Returns an error as JSON: one object for each problem of which it consists.
pub(super) fn report_json(report: &Report) -> Vec<Value> {
    if let Some(error) = report.downcast_ref::<ManifestError>() {
        return error.problems.iter().map(|p| problem_json(p, &error.sources)).collect();
    }
    if let Some(parts) = failure::parts(report) {
        return parts.into_iter().map(diagnostic_json).collect();
    }
    let related = report.related().into_iter().flatten();
    std::iter::once(report.as_ref()).chain(related).map(diagnostic_json).collect()
}

fn diagnostic_json(diagnostic: &dyn Diagnostic) -> Value {
    let mut summary = diagnostic.to_string();
    let mut source = diagnostic.source();
    while let Some(cause) = source {
        summary = format!("{summary}: {cause}");
        source = cause.source();
    }
    let severity = match diagnostic.severity() {
        Some(Severity::Warning | Severity::Advice) => "warning",
        _ => "error",
    };
    let help = diagnostic.help().map(|help| help.to_string());
    json!({ "severity": severity, "summary": summary, "detail": help })
}

/// Returns a diagnostic with a shortened snippet, if its snippet has a line that is too long: one
/// line around the first label. Other labels are part of the help text.
///
/// miette pads the line below a snippet with `{:width$}`, and Rust panics where that width is above
/// 65,535. A generated manifest is often one line longer than that, and nobody can read it anyway.
pub(super) fn with_excerpt(original: &dyn Diagnostic) -> Option<Report> {
    let source = original.source_code()?;
    let labels: Vec<LabeledSpan> = original.labels()?.collect();
    let has_long_line = |label: &LabeledSpan| {
        let lines = source.read_span(label.inner(), 1, 1);
        lines.is_ok_and(|read| longest_line(read.data()) > MAX_LINE_BYTES)
    };
    if !labels.iter().any(has_long_line) {
        return None;
    }
    let (first, others) = labels.split_first()?;
    let start = source.read_span(first.inner(), 0, 0).ok()?;
    let lines = source.read_span(first.inner(), 1, 1).ok()?;
    let data = std::str::from_utf8(lines.data()).ok()?;
    let offset = first.offset().checked_sub(lines.span().offset())?;
    let (before, after) = data.split_at_checked(offset)?;
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let line_end = offset + after.find(['\r', '\n']).unwrap_or(after.len());
    let (text, at, len) = shorten(&data[line_start..line_end], offset - line_start, first.len());
    let file = start.name().unwrap_or_default().to_owned();
    let line = ExcerptLine { text, file, line: start.line(), column: start.column() };
    let describe = |label: &LabeledSpan| {
        let read = source.read_span(label.inner(), 0, 0).ok()?;
        let (file, line, column) = (read.name()?, read.line() + 1, read.column() + 1);
        Some(format!("{file}:{line}:{column}: {}", label.label()?))
    };
    let help: Vec<String> = original
        .help()
        .map(|help| help.to_string())
        .into_iter()
        .chain(others.iter().filter_map(describe))
        .collect();
    let label = LabeledSpan::new(first.label().map(str::to_owned), at, len);
    let mut shortened = MietteDiagnostic::new(original.to_string()).with_label(label);
    shortened.severity = original.severity();
    shortened.help = (!help.is_empty()).then(|| help.join("\n"));
    Some(Report::new(shortened).with_source_code(line))
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
    use miette::{GraphicalReportHandler, GraphicalTheme};
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
        let excerpt = with_excerpt(report.as_ref()).unwrap();
        let mut out = String::new();
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
        handler.render_report(&mut out, excerpt.as_ref()).unwrap();
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
    fn a_diagnostic_with_short_lines_has_no_excerpt() {
        let report = report(&"x".repeat(MAX_LINE_BYTES), &[(3, 2, "first")]);
        assert!(with_excerpt(report.as_ref()).is_none());
    }
}
