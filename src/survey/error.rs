//! Errors of the survey: contexts that cannot be sent.

use std::path::PathBuf;

use miette::Diagnostic;

use crate::base::text::plural;
use crate::context::ScanError;

/// Contexts that cannot be sent, all of them.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{} cannot be sent; nothing was sent", plural(errors.len(), "context"))]
pub struct SurveyError {
    /// One error per context.
    #[related]
    pub errors: Vec<ContextError>,
}

impl From<Vec<ScanError>> for SurveyError {
    fn from(errors: Vec<ScanError>) -> Self {
        Self { errors: errors.into_iter().map(ContextError::Unreadable).collect() }
    }
}

/// A context that cannot be sent.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ContextError {
    /// The context cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Unreadable(#[from] ScanError),
    /// The context is larger than the manifest allows.
    #[error("the context {} has {size}, and `settings.context_max` allows {max}", root.display())]
    #[diagnostic(help(
        "add the files that the build does not need to {}, or raise `settings.context_max`",
        ignore.display()
    ))]
    TooLarge {
        /// Folder of the context.
        root: PathBuf,
        /// Size of the context and of its largest parts, formatted.
        size: String,
        /// Maximum size, formatted.
        max: String,
        /// Ignore file in which to exclude files.
        ignore: PathBuf,
    },
}
