//! Collects the problems and warnings of a manifest. A problem that many generated images share is
//! reported once. Pure.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ops::Range;
use std::sync::Arc;

use crate::base::span::{Problem, Span};

/// Origin of a generated image, shown with its problems.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    /// Words for the end of a label: `in the matrix row PY=3.11`.
    pub(crate) words: Arc<str>,
    /// Number of images that the same entry generates.
    pub(crate) siblings: usize,
    /// Line of the list that the image comes from, if its entry names a list.
    pub(crate) line: Option<Span>,
}

/// Sink for the problems and warnings of all files of a manifest.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    reported: Vec<(Problem, Option<Note>)>,
    errors: usize,
    /// Note for everything that is reported from now on.
    note: Option<Note>,
    /// True while errors are reported as warnings.
    is_lenient: bool,
    /// Message of the first error that was reported as a warning since then.
    demoted: Option<String>,
    /// True if images are missing because of a problem that was reported.
    pub(crate) incomplete: bool,
}

impl Diagnostics {
    /// Reports a problem or a warning, with the current note.
    pub(crate) fn push(&mut self, mut problem: Problem) {
        if self.is_lenient && !problem.warning {
            self.demoted.get_or_insert_with(|| problem.message.clone());
            problem.warning = true;
        }
        self.errors += usize::from(!problem.warning);
        self.reported.push((problem, self.note.clone()));
    }

    /// Reports an error with one span.
    pub(crate) fn error(
        &mut self,
        message: impl Into<String>,
        span: Span,
        help: impl Into<String>,
    ) {
        self.push(Problem::new(message, span, "").help(help));
    }

    /// Reports a warning with one span.
    pub(crate) fn warn(&mut self, message: impl Into<String>, span: Span, help: impl Into<String>) {
        self.push(Problem::new(message, span, "").help(help).warning());
    }

    /// Reports errors as warnings from now on, or no longer. Returns the message of the first error
    /// since the last call that was reported as a warning.
    pub(crate) fn set_lenient(&mut self, is_lenient: bool) -> Option<String> {
        self.is_lenient = is_lenient;
        self.demoted.take()
    }

    /// Returns true while errors are reported as warnings.
    pub(crate) fn is_lenient(&self) -> bool {
        self.is_lenient
    }

    /// Returns the note for what is reported now.
    pub(crate) fn note(&self) -> Option<&Note> {
        self.note.as_ref()
    }

    /// Returns the number of errors so far.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Returns true if an error starts within this range of the source map.
    pub(crate) fn has_error_in(&self, range: &Range<usize>) -> bool {
        let errors = self.reported.iter().filter(|(problem, _)| !problem.warning);
        errors
            .filter_map(|(problem, _)| problem.labels.first())
            .any(|(span, _)| range.contains(&span.start))
    }

    /// Adds a note to everything that is reported until [`leave`](Self::leave). Without a note, the
    /// outer note stays. Returns the outer note, for `leave`.
    #[must_use = "`leave` needs the outer note"]
    pub(crate) fn enter(&mut self, note: Option<&Note>) -> Option<Note> {
        match note {
            Some(note) => self.note.replace(note.clone()),
            None => self.note.clone(),
        }
    }

    /// Ends what [`enter`](Self::enter) began.
    pub(crate) fn leave(&mut self, outer: Option<Note>) {
        self.note = outer;
    }

    /// Returns the errors and the warnings, each once, with their notes added to the labels.
    pub(crate) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        let mut merged: Vec<Merged> = Vec::new();
        let mut known: HashMap<(String, Vec<Span>), usize> = HashMap::new();
        for (problem, note) in self.reported {
            let spans = problem.labels.iter().map(|(span, _)| *span).collect();
            match known.entry((problem.message.clone(), spans)) {
                Slot::Occupied(slot) => {
                    let first = &mut merged[*slot.get()];
                    first.without_note |= note.is_none();
                    // To one image it may be an error that another skips.
                    first.problem.warning &= problem.warning;
                    first.notes.extend(note);
                }
                Slot::Vacant(slot) => {
                    slot.insert(merged.len());
                    let without_note = note.is_none();
                    merged.push(Merged {
                        problem,
                        notes: note.into_iter().collect(),
                        without_note,
                    });
                }
            }
        }
        let problems = merged.into_iter().map(Merged::with_notes);
        problems.partition(|problem| !problem.warning)
    }
}

/// A problem and the notes of all images that it was reported for.
struct Merged {
    problem: Problem,
    notes: Vec<Note>,
    /// True if it was also reported outside of a generated image.
    without_note: bool,
}

impl Merged {
    fn with_notes(mut self) -> Problem {
        let Some((span, label)) = self.problem.labels.first_mut() else { return self.problem };
        let Some(first) = self.notes.first() else { return self.problem };
        // The label already points at the line that the note would name.
        let on_line = |line: Span| (line.start..=line.start + line.len).contains(&span.start);
        if self.without_note || first.line.is_some_and(on_line) {
            return self.problem;
        }
        let mut words: Vec<&str> = self.notes.iter().map(|note| &*note.words).collect();
        words.dedup();
        let more = words.len() - 1;
        // A problem of every image of an entry is a problem of the entry.
        if more > 0 && words.len() >= first.siblings {
            return self.problem;
        }
        let comma = if label.is_empty() { "" } else { ", " };
        *label = match more {
            0 => format!("{label}{comma}{}", first.words),
            _ => format!("{label}{comma}{} and {more} more", first.words),
        };
        self.problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(reports: &[(&str, usize, Option<Note>)]) -> Vec<String> {
        let mut diagnostics = Diagnostics::default();
        for (message, start, note) in reports {
            let outer = diagnostics.enter(note.as_ref());
            diagnostics.error(*message, Span::new(*start, 1), "");
            diagnostics.leave(outer);
        }
        let (problems, _) = diagnostics.finish();
        problems.into_iter().map(|p| format!("{}: {}", p.message, p.labels[0].1)).collect()
    }

    #[test]
    fn a_shared_problem_is_reported_once() {
        let row = |row: &str| {
            Some(Note { words: format!("in the row {row}").into(), siblings: 3, line: None })
        };
        let reports = [
            ("all", 1, row("a")),
            ("one", 2, row("a")),
            ("all", 1, row("b")),
            ("two", 3, row("b")),
            ("all", 1, row("c")),
            ("two", 3, row("c")),
            ("plain", 1, None),
            ("plain", 1, row("c")),
            ("two", 4, None),
        ];
        let expected =
            ["all: ", "one: in the row a", "two: in the row b and 1 more", "plain: ", "two: "];
        assert_eq!(labels(&reports), expected);
    }
}
