//! What can go wrong with a context.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, NamedSource, SourceSpan};
use thiserror::Error;

use super::ignore::IgnoreError;
use crate::base::file::PathError;

/// A folder without any rights has as many problems as files: more than this help nobody.
pub(super) const MOST_PROBLEMS: usize = 50;

/// A context that cannot be sent as it is, and everything that is in the way.
#[derive(Debug, Error, Diagnostic)]
#[error("cannot read the context {}", root.display())]
pub struct ScanError {
    /// The context's folder.
    pub root: PathBuf,
    /// What is wrong, sorted by path; no more than fifty.
    #[related]
    pub all: Vec<ScanProblem>,
}

impl ScanError {
    pub(super) fn new(root: &Path, mut all: Vec<ScanProblem>) -> Self {
        all.sort_by(|a, b| a.path().cmp(b.path()));
        all.truncate(MOST_PROBLEMS);
        Self { root: root.to_owned(), all }
    }
}

/// A path of which the system says why it cannot be read.
pub(super) fn unreadable(action: &'static str, path: PathBuf, source: io::Error) -> ScanProblem {
    ScanProblem::Unreadable(PathError { action, path, source })
}

/// One thing that is wrong with a context.
#[derive(Debug, Error, Diagnostic)]
pub enum ScanProblem {
    /// There is no such folder.
    #[error("{} does not exist", path.display())]
    #[diagnostic(help("`context:` is relative to the file that says it"))]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// The context is a file.
    #[error("{} is not a folder", path.display())]
    #[diagnostic(help("`context:` names the folder that holds what the Dockerfile copies"))]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// A file or folder that cannot be read.
    #[error("{}: {}", .0, .0.source)]
    #[diagnostic(help("make it readable, or add it to .dockerignore"))]
    Unreadable(PathError),
    /// Something that an archive cannot carry.
    #[error("{} is {kind}, which cannot be sent", path.display())]
    Special {
        /// Where it is.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
        /// What to do about it.
        #[help]
        help: String,
    },
    /// A `.dockerignore` that is not UTF-8.
    #[error("{} is not UTF-8 text: see line {line}", path.display())]
    #[diagnostic(help("save the file as UTF-8"))]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first line that is not, counted from 1.
        line: usize,
    },
    /// A line of a `.dockerignore` that is no pattern.
    #[error("{}, {error}", path.display())]
    #[diagnostic(help("the rules are those of Docker's .dockerignore files"))]
    Pattern {
        /// The file.
        path: PathBuf,
        /// The line and what is wrong with it.
        error: IgnoreError,
        /// The file's text.
        #[source_code]
        text: NamedSource<Arc<str>>,
        /// Where in it the line's pattern stands.
        #[label("here")]
        place: SourceSpan,
    },
}

impl ScanProblem {
    /// The path to blame.
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable(error) => &error.path,
            Self::Missing { path }
            | Self::NotAFolder { path }
            | Self::Special { path, .. }
            | Self::NotText { path, .. }
            | Self::Pattern { path, .. } => path,
        }
    }
}

/// A context that could not be packed.
#[derive(Debug, Error, Diagnostic)]
pub enum PackError {
    /// The context is not any more what was scanned.
    #[error("{} changed while its context was packed", path.display())]
    #[diagnostic(help("plan again, once nothing writes to the context"))]
    Changed {
        /// The first path that differs.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("{}: {}", .0, .0.source)]
    Read(PathError),
    /// The archive cannot be written.
    #[error("cannot write the archive of a context: {0}")]
    #[diagnostic(help(
        "archives wait for their upload in the folder that TMPDIR names: it needs room for them"
    ))]
    Write(#[from] io::Error),
}
