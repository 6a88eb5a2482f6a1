//! Cuts long lines down to what an error points at. A manifest of another program is often one line
//! of a hundred thousand columns, which nobody can read, and which miette cannot draw: it panics
//! above 65,535.

use std::fmt;
use std::ops::Range;

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, Severity, SourceCode, SourceSpan,
    SpanContents,
};

/// Lines of at most this many bytes are shown whole.
const LONGEST: usize = 240;

/// Bytes that are shown of a label, and of a line without one.
const SHOWN: usize = 160;

/// Bytes that are shown before and after a label.
const AROUND: usize = 50;

/// What stands for what is not shown.
const CUT: &str = "…";

/// An error with its long lines cut.
pub(super) struct Clipped<'d> {
    whole: &'d dyn Diagnostic,
    labels: Vec<LabeledSpan>,
    texts: Texts,
}

/// The texts around the labels, one after the other.
#[derive(Default)]
struct Texts(Vec<Text>);

/// Lines of one file, and what was cut out of them.
struct Text {
    name: Option<String>,
    shown: String,
    /// Where it begins among the texts.
    start: usize,
    /// The number of its first line in the file, from 0.
    line: usize,
    /// The parts that were kept: where each stood before, and where it stands now. In order.
    kept: Vec<(Range<usize>, usize)>,
    /// Where each line began before.
    lines: Vec<usize>,
}

/// The error as it can be drawn, where it points into lines that are too long.
pub(super) fn clipped(whole: &dyn Diagnostic) -> Option<Clipped<'_>> {
    let source = whole.source_code()?;
    let mut labels: Vec<LabeledSpan> = whole.labels()?.collect();
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by_key(|&index| labels[index].offset());
    let mut texts = Texts::default();
    let (mut from, mut is_long) = (0, false);
    while from < order.len() {
        let (to, read) = group(source, &labels, &order[from..])?;
        let data = std::str::from_utf8(read.data()).ok()?;
        is_long |= lines(data).any(|line| line.len() > LONGEST);
        let begin = read.span().offset();
        let group = &order[from..from + to];
        let marked: Vec<Range<usize>> = group
            .iter()
            .map(|&index| {
                let at = labels[index].offset().saturating_sub(begin);
                at..at + labels[index].len()
            })
            .collect();
        let start = texts.0.last().map_or(0, |text| text.start + text.shown.len() + 1);
        let text = Text::cut(data, &marked, (read.name(), read.line(), start));
        for (&index, mark) in group.iter().zip(&marked) {
            let (at, end) = (text.now(mark.start, false), text.now(mark.end, true));
            let span = (start + at, end.saturating_sub(at));
            let label = labels[index].label().map(str::to_owned);
            labels[index] = if labels[index].primary() {
                LabeledSpan::new_primary_with_span(label, span)
            } else {
                LabeledSpan::new_with_span(label, span)
            };
        }
        texts.0.push(text);
        from += to;
    }
    is_long.then_some(Clipped { whole, labels, texts })
}

/// How many of the labels, the first ones, lie in one file, and the lines from the first to the last
/// of them, with one more on both sides.
fn group<'s>(
    source: &'s dyn SourceCode,
    labels: &[LabeledSpan],
    order: &[usize],
) -> Option<(usize, Box<dyn SpanContents<'s> + 's>)> {
    let mut last = None;
    let mut reach: Option<Range<usize>> = None;
    for (count, &index) in order.iter().enumerate() {
        let label = labels[index].offset()..labels[index].offset() + labels[index].len();
        let reached = match &reach {
            Some(reach) => reach.start..reach.end.max(label.end),
            None => label,
        };
        match source.read_span(&SourceSpan::from(reached.clone()), 1, 1) {
            Ok(read) => last = Some((count + 1, read)),
            Err(_) => break,
        }
        reach = Some(reached);
    }
    last
}

/// The lines of a text, without their ends.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', '\r'])
}

impl Text {
    /// Cuts what is far from all marks out of long lines.
    fn cut(
        data: &str,
        marked: &[Range<usize>],
        (name, line, start): (Option<&str>, usize, usize),
    ) -> Self {
        let name = name.map(str::to_owned);
        let mut cut =
            Self { name, shown: String::new(), start, line, kept: Vec::new(), lines: Vec::new() };
        let mut at = 0;
        for words in lines(data) {
            let place = at..at + words.len();
            cut.lines.push(place.start);
            let parts = if words.len() > LONGEST {
                parts(data, &place, marked)
            } else {
                vec![place.clone()]
            };
            let mut shown = place.start;
            for part in parts {
                if part.start > shown {
                    cut.shown.push_str(CUT);
                }
                shown = part.end;
                cut.kept.push((part.clone(), cut.shown.len()));
                cut.shown.push_str(&data[part]);
            }
            if shown < place.end {
                cut.shown.push_str(CUT);
            }
            at = place.end + 1;
            // The end of a line is one byte, and the text has it unless it ends here.
            cut.shown.push_str(data.get(place.end..at).unwrap_or_default());
        }
        cut
    }

    /// Where a place is now. One that was cut out is before the `…`, or after it.
    fn now(&self, at: usize, after: bool) -> usize {
        let next = self.kept.partition_point(|(part, _)| part.start <= at);
        let Some((part, now)) = next.checked_sub(1).and_then(|last| self.kept.get(last)) else {
            return 0;
        };
        match at.checked_sub(part.end) {
            None | Some(0) => now + at - part.start,
            Some(_) => now + part.len() + if after { CUT.len() } else { 0 },
        }
    }

    /// The column that a place had, in bytes from 0.
    fn column(&self, now: usize) -> usize {
        let next = self.kept.partition_point(|(_, begin)| *begin <= now);
        let Some((part, begin)) = next.checked_sub(1).and_then(|last| self.kept.get(last)) else {
            return 0;
        };
        let at = part.start + now - begin;
        let line = self.lines.partition_point(|line| *line <= at);
        at - line.checked_sub(1).and_then(|line| self.lines.get(line)).unwrap_or(&0)
    }
}

/// What is kept of a long line, in order and apart from one another.
fn parts(data: &str, line: &Range<usize>, marked: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut wanted: Vec<Range<usize>> = Vec::new();
    for mark in marked.iter().filter(|mark| mark.start <= line.end && mark.end >= line.start) {
        let begin = mark.start.max(line.start);
        let end = mark.end.min(line.end);
        // Of one that comes from a line above, what counts here is where it ends.
        let near = if mark.start < line.start && mark.end <= line.end {
            end.saturating_sub(SHOWN)..end
        } else {
            begin..end.min(begin + SHOWN)
        };
        wanted.push(near.start.saturating_sub(AROUND)..near.end + AROUND);
    }
    if wanted.is_empty() {
        wanted.push(line.start..line.start + SHOWN);
    }
    wanted.sort_by_key(|part| part.start);
    let mut parts: Vec<Range<usize>> = Vec::new();
    for part in wanted {
        let (mut start, mut end) = (part.start.max(line.start), part.end.min(line.end));
        while !data.is_char_boundary(start) {
            start -= 1;
        }
        while !data.is_char_boundary(end) {
            end += 1;
        }
        match parts.last_mut() {
            Some(last) if start <= last.end + CUT.len() => last.end = last.end.max(end),
            _ => parts.push(start..end),
        }
    }
    parts
}

impl SourceCode for Texts {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let next = self.0.partition_point(|text| text.start <= span.offset());
        let text = next.checked_sub(1).and_then(|at| self.0.get(at));
        let text = text.ok_or(MietteError::OutOfBounds)?;
        let local = SourceSpan::new((span.offset() - text.start).into(), span.len());
        let read = text.shown.read_span(&local, before, after)?;
        let at = read.span().offset();
        let column = if before == 0 { text.column(at) } else { read.column() };
        let shifted = SourceSpan::new((at + text.start).into(), read.span().len());
        let (line, count) = (text.line + read.line(), read.line_count());
        Ok(Box::new(match &text.name {
            Some(name) => {
                let name = name.clone();
                MietteSpanContents::new_named(name, read.data(), shifted, line, column, count)
            }
            None => MietteSpanContents::new(read.data(), shifted, line, column, count),
        }))
    }
}

impl fmt::Debug for Clipped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.whole, f)
    }
}

impl fmt::Display for Clipped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.whole, f)
    }
}

impl std::error::Error for Clipped<'_> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.whole.source()
    }
}

impl Diagnostic for Clipped<'_> {
    fn severity(&self) -> Option<Severity> {
        self.whole.severity()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.whole.help()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.texts)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        self.whole.related()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::span::{Problem, SourceMap, Span};
    use miette::{GraphicalReportHandler, GraphicalTheme, Report};
    use std::sync::Arc;

    fn drawn(text: &str, labels: &[(usize, usize)]) -> String {
        let mut sources = SourceMap::default();
        sources.add("first", "one\n");
        let start = sources.add("long", text);
        let mut problem = Problem::new("it is wrong", Span::new(start, 0), "");
        problem.labels = labels
            .iter()
            .map(|(at, len)| (Span::new(start + at, *len), "here".to_owned()))
            .collect();
        let report = Report::new(problem).with_source_code(Arc::new(sources));
        let whole: &dyn Diagnostic = report.as_ref();
        let cut = clipped(whole);
        let shown: &dyn Diagnostic = cut.as_ref().map_or(whole, |cut| cut);
        let mut out = String::new();
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
        handler.render_report(&mut out, shown).unwrap();
        out
    }

    #[test]
    fn a_long_line_is_cut_around_its_label() {
        let text = format!("a\n{}BAD{}\nb\n", "x".repeat(100_000), "y".repeat(100_000));
        let shown = drawn(&text, &[(100_002, 3)]);
        let (x, y) = ("x".repeat(AROUND), "y".repeat(AROUND));
        assert!(shown.contains("[long:2:100001]"), "{shown}");
        assert!(shown.contains(&format!("2 │ …{x}BAD{y}…\n")), "{shown}");
        assert!(shown.contains("1 │ a\n") && shown.contains("3 │ b\n"), "{shown}");
    }

    #[test]
    fn labels_of_one_line_and_of_others_all_stay() {
        let long = "é".repeat(50_000);
        let text = format!("{long}ONE{long}TWO{long}\nthree\n{long}\n");
        let two = 2 * long.len() + 3;
        let shown = drawn(&text, &[(long.len(), 3), (two, 3), (text.find("three").unwrap(), 5)]);
        assert!(shown.contains("ONE") && shown.contains("TWO") && shown.contains("three"));
        assert!(shown.lines().all(|line| line.chars().count() < 600), "{shown}");
        // One that is as long as the line, and others over lines.
        for label in [(0, text.len() - 1), (10, long.len()), (two, 2 * long.len())] {
            let shown = drawn(&text, &[label]);
            assert!(shown.contains("here"), "{shown}");
            assert!(shown.lines().all(|line| line.chars().count() < 600), "{shown}");
        }
    }

    #[test]
    fn short_lines_stay_as_they_are() {
        let mut sources = SourceMap::default();
        sources.add("short", "x".repeat(LONGEST));
        let problem = Problem::new("it is wrong", Span::new(3, 2), "here");
        let report = Report::new(problem).with_source_code(Arc::new(sources));
        assert!(clipped(report.as_ref()).is_none());
    }
}
