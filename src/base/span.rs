//! All texts that the user wrote, in one space of offsets, so that an error needs only a span to
//! know its file, line and words. Pure.

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, Severity, SourceCode, SourceOffset,
    SourceSpan, SpanContents,
};

/// A place in a [`SourceMap`]: an offset in bytes over all of its texts, and a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Where it begins, in bytes from the start of the set.
    pub start: usize,
    /// How many bytes it covers.
    pub len: usize,
}

impl Span {
    /// A span from its start and length, in bytes.
    pub fn new(start: usize, len: usize) -> Self {
        Self { start, len }
    }
}

impl From<Span> for SourceSpan {
    fn from(span: Span) -> Self {
        Self::new(SourceOffset::from(span.start), span.len)
    }
}

/// A value and the place that said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Pairs a value with its place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// Every text read so far: manifests and Dockerfiles, each at an offset of its own.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
    end: usize,
}

#[derive(Debug, Clone)]
struct SourceFile {
    name: String,
    text: String,
    start: usize,
}

/// Where a span lies, for people and for JSON: lines and columns count from 1, columns in
/// characters, bytes from 0.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// The offset in the file, in bytes.
    pub byte: usize,
}

impl SourceMap {
    /// Adds a text under the name that errors will show, and returns the offset of its start.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> usize {
        let (name, text, start) = (name.into(), text.into(), self.end);
        // One byte between two texts, so that the end of one is not the start of the next.
        self.end += text.len() + 1;
        self.files.push(SourceFile { name, text, start });
        start
    }

    /// The words under a span; empty where the span is not inside one text.
    pub fn text(&self, span: Span) -> &str {
        self.file(span.start)
            .and_then(|file| file.text.get(span.start - file.start..)?.get(..span.len))
            .unwrap_or_default()
    }

    /// The file that a span lies in, and the places where it begins and ends.
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
        // A span that crosses into another text is out of bounds here, as it must be: miette asks
        // for one span over two labels to see whether they share a snippet.
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

/// One thing that is wrong with what the user wrote: what, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The places, the one to blame first; each with a word on it.
    pub labels: Vec<(Span, String)>,
    /// Whether it stops the work or is only worth a look.
    pub warning: bool,
}

impl Problem {
    /// An error at one place.
    pub fn new(message: impl Into<String>, span: Span, label: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            labels: vec![(span, label.into())],
            warning: false,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn and(mut self, span: Span, label: impl Into<String>) -> Self {
        self.labels.push((span, label.into()));
        self
    }

    /// Makes it a warning.
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
    fn finds_words_in_the_right_file() {
        let mut set = SourceMap::default();
        let a = set.add("a.yaml", "one\ntwö three");
        let b = set.add("b.yaml", "four");
        let span = Span::new(a + 9, 5);
        assert_eq!(set.text(span), "three");
        let (name, start, end) = set.locate(span).unwrap();
        assert_eq!((name, start.line, start.column, end.column), ("a.yaml", 2, 5, 10));
        assert_eq!(set.text(Span::new(b, 4)), "four");
        assert_eq!(set.text(Span::new(a + 9, 50)), "");
        assert!(set.locate(Span::new(b + 99, 1)).is_none());
        assert!(set.read_span(&Span::new(a + 9, 9).into(), 0, 0).is_err());
    }
}
