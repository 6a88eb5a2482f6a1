//! Source files in one space of byte offsets, so that a span alone identifies file, line and text; and
//! the diagnostics that point into them. Pure.

use std::sync::Arc;

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, Severity, SourceCode, SourceOffset,
    SourceSpan, SpanContents,
};

/// A range of bytes in a [`SourceMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Offset of the first byte, from the start of the source map.
    pub start: usize,
    /// Length in bytes.
    pub len: usize,
}

impl Span {
    /// Creates a span from its start and length in bytes.
    pub fn new(start: usize, len: usize) -> Self {
        Self { start, len }
    }
}

impl From<Span> for SourceSpan {
    fn from(span: Span) -> Self {
        Self::new(SourceOffset::from(span.start), span.len)
    }
}

/// The text of every source file read so far (manifests and Dockerfiles), each at its own offset.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
    end: usize,
}

#[derive(Debug, Clone)]
struct SourceFile {
    name: String,
    text: Arc<str>,
    start: usize,
}

/// A position in a source file, as diagnostics and JSON show it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Offset in the file in bytes, from 0.
    pub byte: usize,
}

impl SourceMap {
    /// Adds a file under the name that diagnostics show. Returns the offset of its first byte.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> usize {
        let (name, text, start) = (name.into(), text.into(), self.end);
        // One byte of distance, so that the end of a file is not the start of the next one.
        self.end += text.len() + 1;
        self.files.push(SourceFile { name, text, start });
        start
    }

    /// Returns the names of the files, in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Returns the text of a span. Empty if the span is not inside one file.
    pub fn text(&self, span: Span) -> &str {
        self.file(span.start)
            .and_then(|file| file.text.get(span.start - file.start..)?.get(..span.len))
            .unwrap_or_default()
    }

    /// Returns the file name of a span and the positions of its start and end.
    pub fn locate(&self, span: Span) -> Option<(&str, Position, Position)> {
        let file = self.file(span.start)?;
        let at = |offset: usize| {
            let byte = offset.min(file.text.len());
            let before = file.text.get(..byte).unwrap_or_default();
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            Position {
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
                byte,
            }
        };
        let start = span.start - file.start;
        Some((&file.name, at(start), at(start + span.len)))
    }

    fn file(&self, offset: usize) -> Option<&SourceFile> {
        let index = self.files.partition_point(|file| file.start <= offset).checked_sub(1)?;
        let file = &self.files[index];
        (offset - file.start <= file.text.len()).then_some(file)
    }
}

impl SourceCode for SourceMap {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let file = self.file(span.offset()).ok_or(MietteError::OutOfBounds)?;
        let local = SourceSpan::new((span.offset() - file.start).into(), span.len());
        // miette asks for one span over two labels to see whether they share a snippet. A span that
        // crosses into another file has to be out of bounds.
        let inner = file.text.read_span(&local, lines_before, lines_after)?;
        let read = inner.span();
        let shifted = SourceSpan::new((read.offset() + file.start).into(), read.len());
        Ok(Box::new(MietteSpanContents::new_named(
            file.name.clone(),
            inner.data(),
            shifted,
            inner.line(),
            inner.column(),
            inner.line_count(),
        )))
    }
}

/// A diagnostic about the user's input: an error or a warning with its spans and a correction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// The problem, in one sentence without a full stop.
    pub message: String,
    /// The correction, in the imperative.
    pub help: Option<String>,
    /// Spans with a label each (empty for none); the first one is the cause.
    pub labels: Vec<(Span, String)>,
    /// True for a warning, false for an error.
    pub warning: bool,
}

impl Problem {
    /// Creates an error with one span. The label may be empty.
    pub fn new(message: impl Into<String>, span: Span, label: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            labels: vec![(span, label.into())],
            warning: false,
        }
    }

    /// Sets the help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a span.
    #[must_use]
    pub fn and(mut self, span: Span, label: impl Into<String>) -> Self {
        self.labels.push((span, label.into()));
        self
    }

    /// Turns the error into a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.warning = true;
        self
    }
}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        Some(if self.warning { Severity::Warning } else { Severity::Error })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.labels.is_empty() {
            return None;
        }
        Some(Box::new(self.labels.iter().enumerate().map(|(index, (span, text))| {
            let text = (!text.is_empty()).then(|| text.clone());
            if index == 0 {
                LabeledSpan::new_primary_with_span(text, *span)
            } else {
                LabeledSpan::new_with_span(text, *span)
            }
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_located_in_their_file() {
        let mut map = SourceMap::default();
        let a = map.add("a.yaml", "one\ntwö three");
        let b = map.add("b.yaml", "four");
        let span = Span::new(a + 9, 5);
        assert_eq!(map.text(span), "three");
        let (name, start, end) = map.locate(span).unwrap();
        assert_eq!((name, start.line, start.column, end.column), ("a.yaml", 2, 5, 10));
        assert_eq!(map.text(Span::new(b, 4)), "four");
        assert_eq!(map.text(Span::new(a + 9, 50)), "");
        assert!(map.locate(Span::new(b + 99, 1)).is_none());
        assert!(map.read_span(&Span::new(a + 9, 9).into(), 0, 0).is_err());
    }
}
