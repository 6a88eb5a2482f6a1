//! Remembers in which row of a matrix, or for which match, a problem was found, and tells a problem
//! of many rows once. Pure.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use crate::base::span::{Problem, Span};

/// Where an image comes from that was not written as one, and how many came with it.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    /// As it ends a sentence: `in the matrix row PY=3.11`.
    pub(crate) words: Arc<str>,
    /// How many images its entry became.
    pub(crate) of: usize,
    /// The line that said it, where that is not the entry itself.
    pub(crate) line: Option<Span>,
}

/// How far two lists of problems had come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(usize, usize);

/// Which of the problems and warnings were found in an image with a note.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    problems: Vec<(usize, Note)>,
    warnings: Vec<(usize, Note)>,
}

impl Notes {
    /// Remembers how much was found before an image is looked at.
    pub(crate) fn mark(problems: &[Problem], warnings: &[Problem]) -> Mark {
        Mark(problems.len(), warnings.len())
    }

    /// Notes what was found since.
    pub(crate) fn since(
        &mut self,
        mark: Mark,
        problems: &[Problem],
        warnings: &[Problem],
        note: Option<&Note>,
    ) {
        let Some(note) = note else { return };
        self.problems.extend((mark.0..problems.len()).map(|at| (at, note.clone())));
        self.warnings.extend((mark.1..warnings.len()).map(|at| (at, note.clone())));
    }

    /// The problems with their notes, each told once.
    pub(crate) fn tell_problems(&self, found: Vec<Problem>) -> Vec<Problem> {
        tell(found, &self.problems)
    }

    /// The warnings with their notes, each told once.
    pub(crate) fn tell_warnings(&self, found: Vec<Problem>) -> Vec<Problem> {
        tell(found, &self.warnings)
    }
}

/// A problem and in what it was found.
struct Told<'n> {
    problem: Problem,
    notes: Vec<&'n Note>,
    plain: bool,
}

/// Of two notes of one problem the first is the nearer one.
fn tell(found: Vec<Problem>, notes: &[(usize, Note)]) -> Vec<Problem> {
    let mut told: Vec<Told<'_>> = Vec::new();
    let mut known: HashMap<(String, Vec<Span>), usize> = HashMap::new();
    let mut of: HashMap<usize, &Note> = HashMap::with_capacity(notes.len());
    for (at, note) in notes {
        of.entry(*at).or_insert(note);
    }
    for (index, problem) in found.into_iter().enumerate() {
        let own = of.get(&index).copied();
        let places = problem.labels.iter().map(|(span, _)| *span).collect();
        match known.entry((problem.message.clone(), places)) {
            Slot::Occupied(slot) => {
                let first = &mut told[*slot.get()];
                first.notes.extend(own);
                first.plain |= own.is_none();
            }
            Slot::Vacant(slot) => {
                slot.insert(told.len());
                let plain = own.is_none();
                told.push(Told { problem, notes: own.into_iter().collect(), plain });
            }
        }
    }
    told.into_iter().map(Told::in_words).collect()
}

impl Told<'_> {
    fn in_words(mut self) -> Problem {
        let Some((span, label)) = self.problem.labels.first_mut() else { return self.problem };
        let Some(first) = self.notes.first().filter(|_| !self.plain) else { return self.problem };
        // What is on a line of its own needs no other word for it.
        let on_line = |line: Span| (line.start..=line.start + line.len).contains(&span.start);
        if first.line.is_some_and(on_line) {
            return self.problem;
        }
        let mut words: Vec<&str> = self.notes.iter().map(|note| &*note.words).collect();
        words.dedup();
        let more = words.len() - 1;
        // What is wrong in all of them is wrong in what they share.
        if more > 0 && words.len() >= first.of {
            return self.problem;
        }
        if label.is_empty() {
            "here".clone_into(label);
        }
        *label = match more {
            0 => format!("{label}, {}", first.words),
            more => format!("{label}, {} and {more} more", first.words),
        };
        self.problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(words: &str, of: usize) -> Note {
        Note { words: words.into(), of, line: None }
    }

    fn labels(found: &[(&str, usize, Option<Note>)]) -> Vec<String> {
        let (mut problems, mut notes) = (Vec::new(), Notes::default());
        for (message, at, note) in found {
            let mark = Notes::mark(&problems, &[]);
            problems.push(Problem::new(*message, Span::new(*at, 1), "here"));
            notes.since(mark, &problems, &[], note.as_ref());
        }
        let told = notes.tell_problems(problems);
        told.into_iter().map(|p| format!("{}: {}", p.message, p.labels[0].1)).collect()
    }

    #[test]
    fn a_problem_is_told_once() {
        let row = |row: &str| Some(note(&format!("in the row {row}"), 3));
        let found = [
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
        let expected = [
            "all: here",
            "one: here, in the row a",
            "two: here, in the row b and 1 more",
            "plain: here",
            "two: here",
        ];
        assert_eq!(labels(&found), expected);
    }
}
