//! Errors of scanning and packing a context.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, NamedSource, SourceSpan};
use thiserror::Error;

use super::ignore::{IgnoreError, MAX_PATTERNS};
use crate::base::file::PathError;

/// Maximum number of problems in an error. A folder without read permission can have as many
/// problems as files.
pub(super) const MAX_PROBLEMS: usize = 50;

/// A context that cannot be sent, with every reason.
#[derive(Debug, Error, Diagnostic)]
#[error("cannot read the context {}", root.display())]
pub struct ScanError {
    /// The folder of the context.
    pub root: PathBuf,
    /// The problems, sorted by path; at most [`MAX_PROBLEMS`].
    #[related]
    pub problems: Vec<ScanProblem>,
}

impl ScanError {
    pub(super) fn new(root: &Path, mut problems: Vec<ScanProblem>) -> Self {
        problems.sort_by(|a, b| a.path().cmp(b.path()));
        problems.truncate(MAX_PROBLEMS);
        Self { root: root.to_owned(), problems }
    }
}

/// Returns the problem for a path that the system cannot read.
pub(super) fn unreadable(action: &'static str, path: PathBuf, source: io::Error) -> ScanProblem {
    ScanProblem::Unreadable(PathError { action, path, source })
}

/// One problem of a context.
#[derive(Debug, Error, Diagnostic)]
pub enum ScanProblem {
    /// The folder does not exist.
    #[error("{} does not exist", path.display())]
    #[diagnostic(help("`context:` is relative to the manifest file that contains it"))]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// The context is a file.
    #[error("{} is not a folder", path.display())]
    #[diagnostic(help("`context:` must be the folder with the files that the Dockerfile copies"))]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// A file or folder cannot be read.
    #[error("{}: {}", .0, .0.source)]
    #[diagnostic(help("make it readable, or add it to .dockerignore"))]
    Unreadable(PathError),
    /// A `.dockerignore` is not UTF-8.
    #[error("{} is not UTF-8: invalid bytes in line {line}", path.display())]
    #[diagnostic(help("save the file as UTF-8"))]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first invalid line, counted from 1.
        line: usize,
    },
    /// A `.dockerignore` has more than [`MAX_PATTERNS`] patterns.
    #[error("{} has {count} patterns; the maximum is {MAX_PATTERNS}", path.display())]
    #[diagnostic(help("ignore folders instead of their files, or combine patterns with `*`"))]
    TooManyPatterns {
        /// The file.
        path: PathBuf,
        /// Number of patterns in the file.
        count: usize,
    },
    /// A line of a `.dockerignore` is not a valid pattern.
    #[error("{}, {error}", path.display())]
    #[diagnostic(help("use the pattern syntax of Docker's .dockerignore files"))]
    Pattern {
        /// The file.
        path: PathBuf,
        /// The line and the problem.
        error: IgnoreError,
        /// The text of the file.
        #[source_code]
        text: NamedSource<Arc<str>>,
        /// The range of the pattern in the text.
        #[label]
        span: SourceSpan,
    },
}

impl ScanProblem {
    /// Returns the path of the file or folder with the problem.
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable(error) => &error.path,
            Self::Missing { path }
            | Self::NotAFolder { path }
            | Self::NotUtf8 { path, .. }
            | Self::TooManyPatterns { path, .. }
            | Self::Pattern { path, .. } => path,
        }
    }
}

/// A context that cannot be packed.
#[derive(Debug, Error, Diagnostic)]
pub enum PackError {
    /// The context has changed since it was scanned.
    #[error("{} changed while its context was packed", path.display())]
    #[diagnostic(help("run the command again when nothing writes to the context"))]
    Changed {
        /// The first path that has changed.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("{}: {}", .0, .0.source)]
    Read(PathError),
    /// The archive cannot be written.
    #[error("cannot write the archive of a context: {0}")]
    #[diagnostic(help(
        "archives are stored in the temporary folder: free space there, or set TMPDIR to another one"
    ))]
    Write(#[from] io::Error),
}
