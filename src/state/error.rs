//! Errors of reading and writing the state.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, NamedSource, SourceSpan};

use super::paths::StatePaths;
use crate::base::file::PathError;

/// An error of reading or writing the state.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum StateError {
    /// The lockfile cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Lockfile {
        /// The lockfile.
        path: PathBuf,
        /// The problem.
        error: LockfileError,
        /// The correction.
        #[help]
        help: String,
        /// The text of the lockfile.
        #[source_code]
        text: Arc<NamedSource<String>>,
        /// The line with the problem.
        #[label]
        line: Option<SourceSpan>,
    },
    /// The journal cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// The problem.
        error: JournalError,
        /// The correction.
        #[help]
        help: &'static str,
    },
    /// The lockfile is a link that is not followed.
    #[error("{} {why}", path.display())]
    Link {
        /// The link.
        path: PathBuf,
        /// The reason, as it follows the path.
        why: String,
        /// The correction.
        #[help]
        help: &'static str,
    },
    /// The state belongs to another service.
    #[error("{} belongs to {theirs}, but this run uses {ours}", path.display())]
    #[diagnostic(help(
        "set PRIME_API_BASE_URL or `settings.url` to {theirs}; to start over with {ours}, move the \
         file away"
    ))]
    OtherService {
        /// The lockfile or journal.
        path: PathBuf,
        /// The service in the file.
        theirs: String,
        /// The service of this run.
        ours: String,
    },
    /// Another process holds the lock.
    #[error("another apply is running in this directory ({holder})")]
    #[diagnostic(help("wait for it to end; the lock is released when its process ends"))]
    Locked {
        /// The other process, as it described itself.
        holder: String,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The place of the state that is no lockfile cannot be written.
    #[error("{message}")]
    Replica {
        /// The problem.
        message: String,
        /// The correction.
        #[help]
        help: String,
        /// True if another run holds it.
        is_locked: bool,
    },
    /// The lockfile cannot be written. The journal still has all records.
    #[error("cannot write the lockfile; all changes are kept in {}", journal.display())]
    #[diagnostic(help("make {} writable, then run `imgplan apply` again", lockfile.display()))]
    NotCommitted {
        /// The lockfile.
        lockfile: PathBuf,
        /// The journal.
        journal: PathBuf,
        /// The error of the operating system.
        #[source]
        source: PathError,
    },
}

impl StateError {
    pub(super) fn lockfile(paths: &StatePaths, text: &str, error: LockfileError) -> Self {
        let copy = paths.lockfile_copy();
        let help = match error {
            LockfileError::Newer { .. } => "use a newer imgplan".to_owned(),
            // The end of the old text may follow the new one, and repeat its keys.
            LockfileError::Malformed { .. } | LockfileError::Duplicate { .. } if is_file(&copy) => {
                format!("writing it was interrupted: copy {} over it", copy.display())
            }
            LockfileError::Conflict(_) | LockfileError::Duplicate { .. } => {
                "finish the merge: for each target, keep the block of one side".to_owned()
            }
            LockfileError::Malformed { .. } => {
                "restore it from git; without it, imgplan would build everything again".to_owned()
            }
        };
        let line = error.line().and_then(|line| span_of_line(text, line));
        let path = paths.lockfile.clone();
        let text = Arc::new(NamedSource::new(path.display().to_string(), text.to_owned()));
        Self::Lockfile { path, error, help, text, line }
    }

    pub(super) fn journal(paths: &StatePaths, error: JournalError) -> Self {
        let help = match error {
            JournalError::Newer { .. } => "use a newer imgplan",
            JournalError::Damaged(_) => {
                "remove this line: the lines above it are valid; then run `imgplan plan`"
            }
        };
        Self::Journal { path: paths.journal(), error, help }
    }
}

/// Returns true for a file, and false for a link to one.
fn is_file(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
}

/// A problem of the content of a lockfile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockfileError {
    /// A later imgplan wrote the file.
    #[error("it has version {version}, and this imgplan reads {supported}")]
    Newer {
        /// Version of the file.
        version: u64,
        /// Highest version that this imgplan reads.
        supported: u64,
    },
    /// The file has conflict markers of git that cannot be resolved; the number of the first such line.
    #[error("it has conflict markers of a merge, on line {0}")]
    Conflict(usize),
    /// A key is there twice, as after a merge that kept the lines of both sides.
    #[error("line {line} has {key} again, as after a merge that kept both sides")]
    Duplicate {
        /// The key.
        key: String,
        /// Number of the second line.
        line: usize,
    },
    /// The file is not a lockfile.
    #[error("{message}")]
    Malformed {
        /// Message of the parser.
        message: String,
        /// Number of the line, if the parser names one.
        line: Option<usize>,
    },
}

impl LockfileError {
    /// Returns the number of the line with the problem.
    fn line(&self) -> Option<usize> {
        match self {
            Self::Newer { .. } => None,
            Self::Conflict(line) | Self::Duplicate { line, .. } => Some(*line),
            Self::Malformed { line, .. } => *line,
        }
    }
}

/// Returns the span of a line without the blanks around its text.
fn span_of_line(text: &str, number: usize) -> Option<SourceSpan> {
    let mut lines = text.split_inclusive('\n');
    let before = lines.by_ref().take(number.checked_sub(1)?).map(str::len).sum::<usize>();
    let line = lines.next()?;
    let indent = line.len() - line.trim_start().len();
    Some(SourceSpan::new((before + indent).into(), line.trim().len()))
}

/// A problem of the content of a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A later imgplan wrote the file.
    #[error("it has version {version}, and this imgplan reads {supported}")]
    Newer {
        /// Version of the file.
        version: u64,
        /// Highest version that this imgplan reads.
        supported: u64,
    },
    /// A line other than the last one is not a record; its number.
    #[error("line {0} is damaged")]
    Damaged(usize),
}
