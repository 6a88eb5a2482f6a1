//! Errors of the survey: contexts that cannot be sent, and a service that does not answer.

use std::path::PathBuf;

use miette::Diagnostic;

use crate::api::{ApiError, ErrorKind};
use crate::base::text::plural;
use crate::context::ScanError;

/// An error that ends a survey.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum SurveyError {
    /// Contexts that cannot be sent, all of them.
    #[error("{} cannot be sent; nothing was sent", plural(errors.len(), "context"))]
    Contexts {
        /// One error per context.
        #[related]
        errors: Vec<ContextError>,
    },
    /// The service refused the comparison with the lockfile, or could not be reached.
    #[error("cannot compare {what} with the service: {error}")]
    #[diagnostic(help("{}", refresh_help(error)))]
    Refresh {
        /// The part of the lockfile that was to be compared.
        what: String,
        /// The error of the request, after its retries.
        error: Box<ApiError>,
    },
}

impl SurveyError {
    pub(super) fn refresh(what: &str, error: ApiError) -> Self {
        Self::Refresh { what: what.to_owned(), error: Box::new(error) }
    }
}

/// Returns the way to repair the comparison, and the way around it.
fn refresh_help(error: &ApiError) -> String {
    let around =
        "to rely on the lockfile instead, use --refresh=false, or `imgplan plan --offline`";
    let cause = match error.kind {
        ErrorKind::ResponseLost => Some("check that the service responds"),
        _ => error.help(),
    };
    cause.map_or_else(|| around.to_owned(), |cause| format!("{cause}; {around}"))
}

impl From<Vec<ScanError>> for SurveyError {
    fn from(errors: Vec<ScanError>) -> Self {
        Self::Contexts { errors: errors.into_iter().map(ContextError::Unreadable).collect() }
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
