//! State while the entries of one file are expanded, and what all kinds of entries share.

use std::path::Path;

use super::cache::ReadCache;
use super::entry::ImageEntry;
use super::matrix::{self, Row};
use super::scope::too_many_images;
use crate::base::clean_path::clean;
use crate::base::reach::Reach;
use crate::base::span::{SourceMap, Span};
use crate::manifest::diagnostics::{Diagnostics, Note};
use crate::manifest::interpolate::Variables;
use crate::manifest::node::YamlNode;
use crate::manifest::scalars::OnError;
use crate::manifest::workspace::Skipped;

/// Expands the entries of one file into images.
pub(super) struct EntryExpander<'e> {
    /// Folder that the paths of the file are relative to.
    pub(super) dir: &'e Path,
    pub(super) reach: &'e Reach,
    pub(super) variables: &'e Variables<'e>,
    /// Default path of the Dockerfile.
    pub(super) dockerfile: Option<&'e str>,
    pub(super) sources: &'e mut SourceMap,
    pub(super) diagnostics: &'e mut Diagnostics,
    pub(super) skipped: &'e mut Vec<Skipped>,
    /// Maximum number of images of the manifest.
    pub(super) max_images: usize,
    /// Number of images that may still be generated.
    pub(super) images_left: &'e mut usize,
    /// The images so far.
    pub(super) entries: &'e mut Vec<ImageEntry>,
    pub(super) cache: &'e mut ReadCache,
}

/// A row of the matrix of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct MatrixRow<'r> {
    pub(super) row: &'r Row,
    /// Number of rows of the matrix.
    pub(super) count: usize,
}

impl EntryExpander<'_> {
    /// Adds a generated image. `named_by_folder` is true if its entry has no `name`, and a folder
    /// gave the image its name.
    pub(super) fn add(&mut self, node: YamlNode, note: Note, named_by_folder: bool) {
        self.entries.push(ImageEntry {
            node,
            note: Some(note),
            named_by_folder,
            on_error: OnError::default(),
        });
    }

    /// Counts one more image. Returns false and reports the span if there are too many.
    pub(super) fn has_room(&mut self, span: Span) -> bool {
        let Some(left) = self.images_left.checked_sub(1) else {
            self.diagnostics.push(too_many_images(self.max_images, span));
            return false;
        };
        *self.images_left = left;
        true
    }

    /// Records a folder that was found but is not turned into an image.
    pub(super) fn skip(&mut self, path: &str, reason: impl Into<String>) {
        let path = clean(&self.dir.join(path));
        self.skipped.push(Skipped { path, reason: reason.into() });
    }
}

/// Returns the note of a generated image: the row of its matrix, and the folder, task, line or
/// reference that it was generated for.
pub(super) fn note(
    row: Option<MatrixRow<'_>>,
    generated_for: Option<&str>,
    siblings: usize,
    line: Option<Span>,
) -> Note {
    let row_words = row.map(|row| format!("in the matrix row {}", matrix::describe(row.row)));
    let match_words = generated_for.map(|name| format!("for {name}"));
    let words: Vec<String> = row_words.into_iter().chain(match_words).collect();
    let siblings = siblings * row.map_or(1, |row| row.count);
    Note { words: words.join(" ").into(), siblings, line }
}
