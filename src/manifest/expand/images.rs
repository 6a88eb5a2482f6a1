//! Turns one entry of `images` into the images that it stands for.

use std::path::Path;

use super::cache::Memory;
use super::entry::{self, Entry};
use super::matrix::{self, Row};
use super::scope::{Found, too_many};
use crate::base::span::{Problem, SourceMap, Span};
use crate::manifest::diagnostics::{Mark, Note, Notes};
use crate::manifest::interpolate::{Variables, warn_of_bare_names};
use crate::manifest::node::{Node, Value};

/// The keys of which one says where an image, or many, come from.
const ORIGINS: [&str; 5] = ["context", "source", "discover", "sources", "sources_from"];

/// Makes the entries of one file into images.
pub(super) struct Expander<'e> {
    /// The folder that paths are relative to.
    pub(super) dir: &'e Path,
    pub(super) variables: &'e Variables<'e>,
    /// The Dockerfile's name by the file's defaults.
    pub(super) dockerfile: Option<&'e str>,
    pub(super) sources: &'e mut SourceMap,
    pub(super) found: &'e mut Found,
    /// How many images expansions may still make.
    pub(super) room: &'e mut usize,
    /// The images so far.
    pub(super) entries: &'e mut Vec<Entry>,
    /// What was read and found so far.
    pub(super) memory: &'e mut Memory,
}

/// The row of a matrix that an entry is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct InRow<'r> {
    row: &'r Row,
    of: usize,
}

impl Expander<'_> {
    /// Makes one entry, as it was written, into images.
    pub(super) fn image(&mut self, mut node: Node) {
        let Some((_, mut matrix)) = entry::take(&mut node, "matrix") else {
            let variables = self.variables.clone();
            return self.in_row(node, &variables, None);
        };
        self.variables.put_into(&mut matrix, &mut self.found.problems);
        let rows = matrix::rows(
            &matrix,
            self.variables,
            *self.room,
            &mut self.found.problems,
            &mut self.found.warnings,
        );
        let Some(rows) = rows else {
            self.found.incomplete = true;
            return;
        };
        for row in &rows {
            // Each row makes an image at least: where there is no room, more of them help nobody.
            if *self.room == 0 {
                self.has_room(node.span);
                break;
            }
            let variables = self.variables.of_row(row.iter().cloned());
            self.in_row(node.clone(), &variables, Some(InRow { row, of: rows.len() }));
        }
    }

    fn in_row(&mut self, mut node: Node, variables: &Variables<'_>, row: Option<InRow<'_>>) {
        let note = row.map(|row| note(Some(row), None, 1, None));
        let mark = Notes::mark(&self.found.problems, &self.found.warnings);
        warn_of_bare_names(&node, &mut self.found.warnings);
        variables.put_into(&mut node, &mut self.found.problems);
        self.since(mark, note.as_ref());
        let mark = Notes::mark(&self.found.problems, &self.found.warnings);
        let many = ["discover", "sources", "sources_from"];
        let said = many.iter().find(|key| entry::get(&node, key).is_some());
        let Some(said) = said else {
            if row.is_none() || self.has_room(node.span) {
                self.entries.push(Entry { node, note });
            }
            return;
        };
        if self.is_one_origin(&node) {
            let before = self.entries.len();
            match *said {
                "discover" => self.discover(node, row),
                "sources" => self.sources(node, row),
                _ => self.sources_from(node, row),
            }
            if self.entries.len() == before {
                self.found.incomplete = true;
            }
        } else {
            self.found.incomplete = true;
        }
        // What is said of a whole list is of no line of it, but it may be of a row.
        self.since(mark, note.as_ref());
    }

    /// Reports an entry that says twice where it comes from.
    fn is_one_origin(&mut self, node: &Node) -> bool {
        let Value::Map(entries) = &node.value else { return true };
        let mut said = entries.iter().filter(|(key, _)| ORIGINS.contains(&key.text.as_str()));
        let (Some((first, _)), Some((second, _))) = (said.next(), said.next()) else { return true };
        let message = format!("an entry says `{}` or `{}`, not both", first.text, second.text);
        let problem = Problem::new(message, second.span, "and here").and(first.span, "here");
        self.found.problems.push(problem.help("make two entries of it, or remove one of the two"));
        false
    }

    /// Adds an image that an entry stands for.
    pub(super) fn add(&mut self, node: Node, note: Note) {
        self.entries.push(Entry { node, note: Some(note) });
    }

    /// Takes the room of one image; where there is none, says so once.
    pub(super) fn has_room(&mut self, span: Span) -> bool {
        if let Some(left) = self.room.checked_sub(1) {
            *self.room = left;
            return true;
        }
        let problem = too_many(span);
        if self.found.problems.last() != Some(&problem) {
            self.found.problems.push(problem);
        }
        false
    }

    /// Reports a problem of the entry itself.
    pub(super) fn report(
        &mut self,
        message: impl Into<String>,
        span: Span,
        help: impl Into<String>,
    ) {
        self.found.problems.push(Problem::new(message, span, "here").help(help));
    }

    /// Notes what was found since the mark.
    pub(super) fn since(&mut self, mark: Mark, note: Option<&Note>) {
        let Found { problems, warnings, notes, .. } = &mut *self.found;
        notes.since(mark, problems, warnings, note);
    }
}

/// The note of an image: its row, and what it is made for.
pub(super) fn note(
    row: Option<InRow<'_>>,
    made_for: Option<&str>,
    of: usize,
    line: Option<Span>,
) -> Note {
    let row_words = row.map(|row| format!("in the matrix row {}", matrix::in_words(row.row)));
    let words: Vec<String> =
        row_words.into_iter().chain(made_for.map(|what| format!("for {what}"))).collect();
    Note { words: words.join(" ").into(), of: of * row.map_or(1, |row| row.of), line }
}
