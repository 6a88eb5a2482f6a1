//! Exit codes, and the errors that lead to them.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::process::ExitCode;

use clap::ValueEnum;
use miette::{Diagnostic, Report};

use crate::api::ApiError;
use crate::base::file::PathError;
use crate::base::text::plural;
use crate::context::{PackError, ScanError};
use crate::manifest::ManifestError;
use crate::run::RunError;
use crate::server::ServerError;
use crate::shared::SharedError;
use crate::state::StateError;
use crate::survey::{ContextError, SurveyError};

/// Exit codes of all commands. The doc comments are shown by `imgplan --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Exit {
    /// Success; without `--detailed-exitcode` also a plan with changes
    Success = 0,
    /// An error, or a failed target
    Error = 1,
    /// With `--detailed-exitcode`: the plan has changes, or all changes were made
    Changes = 2,
    /// With `--detailed-exitcode`: some of the changes were made
    Partial = 3,
    /// The prompt was declined
    Declined = 4,
    /// Another run holds the lock
    Locked = 5,
    /// Bad usage of the command line
    Usage = 64,
    /// Stopped by Ctrl-C
    Interrupted = 130,
    /// Stopped by SIGTERM
    Terminated = 143,
}

impl Exit {
    /// Returns the table of exit codes for the help.
    pub(super) fn table() -> String {
        let mut table = "Exit codes:".to_owned();
        for exit in Self::value_variants() {
            let value = exit.to_possible_value();
            let help = value.as_ref().and_then(clap::builder::PossibleValue::get_help);
            // Writing into a String cannot fail.
            let _ = write!(table, "\n  {:>3}  ", *exit as u8);
            let _ = help.map_or(Ok(()), |help| write!(table, "{help}"));
        }
        table
    }
}

impl Exit {
    /// Returns the exit code of a command after an error: a success becomes that of the error.
    pub(super) fn or_error(self, error: Self) -> Self {
        if matches!(self, Self::Success | Self::Changes) { error } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An error that ends a command, and the exit code.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) report: Report,
}

impl Failure {
    /// Returns an error without a help text.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { exit: Exit::Error, report: MessageError::report(message, None) }
    }

    /// Returns an error with a help text.
    pub(super) fn with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { exit: Exit::Error, report: MessageError::report(message, Some(help.into())) }
    }

    /// Returns an error with lines of details below the message.
    pub(super) fn with_lines(
        message: impl Into<String>,
        lines: Vec<String>,
        help: impl Into<String>,
    ) -> Self {
        let (message, help) = (message.into(), Some(help.into()));
        Self { exit: Exit::Error, report: Report::new(MessageError { message, lines, help }) }
    }

    /// Returns an error about the arguments.
    pub(super) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::with_help(message, help) }
    }

    fn of(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self { exit: Exit::Error, report: Report::new(error) }
    }
}

/// Fails if there are warnings and `deny` says that they are errors.
pub(super) fn deny_warnings(deny: bool, warnings: usize) -> Result<(), Failure> {
    if !deny || warnings == 0 {
        return Ok(());
    }
    let warnings = plural(warnings, "warning");
    let message = format!("found {warnings}, and --deny-warnings was given; nothing was sent");
    Err(Failure::new(message))
}

/// Returns the errors of which an error consists, if it only says how many there are.
pub(super) fn parts(report: &Report) -> Option<Vec<&dyn Diagnostic>> {
    if let Some(SurveyError::Contexts { errors }) = report.downcast_ref() {
        return Some(errors.iter().flat_map(context_parts).collect());
    }
    report.downcast_ref::<ScanError>().map(scan_parts)
}

fn context_parts(error: &ContextError) -> Vec<&dyn Diagnostic> {
    match error {
        ContextError::Unreadable(error) => scan_parts(error),
        ContextError::TooLarge { .. } => vec![error],
    }
}

fn scan_parts(error: &ScanError) -> Vec<&dyn Diagnostic> {
    error.problems.iter().map(|problem| problem as &dyn Diagnostic).collect()
}

/// Returns the lines of details below the message of an error.
pub(super) fn lines(report: &Report) -> &[String] {
    report.downcast_ref::<MessageError>().map_or(&[], |error| &error.lines)
}

/// A warning without a place in a file.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
#[diagnostic(severity(Warning))]
pub(super) struct Warning {
    pub(super) message: String,
    #[help]
    pub(super) help: String,
}

/// An error that consists of a message and a help text.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
struct MessageError {
    message: String,
    /// Details, each on a line of its own.
    lines: Vec<String>,
    #[help]
    help: Option<String>,
}

impl MessageError {
    fn report(message: impl Into<String>, help: Option<String>) -> Report {
        Report::new(Self { message: message.into(), lines: Vec::new(), help })
    }
}

macro_rules! failures {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::of(error)
            }
        }
    )*};
}
failures!(ManifestError, SurveyError, RunError, ServerError, ScanError, PackError);

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let exit = match error {
            StateError::Locked { .. } | StateError::Replica { is_locked: true, .. } => Exit::Locked,
            _ => Exit::Error,
        };
        Self { exit, ..Self::of(error) }
    }
}

impl From<SharedError> for Failure {
    fn from(error: SharedError) -> Self {
        StateError::from(error).into()
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let help = error.help().map(str::to_owned);
        Self { exit: Exit::Error, report: MessageError::report(error.to_string(), help) }
    }
}

impl From<PathError> for Failure {
    /// Returns an error with the reason and a way out.
    fn from(error: PathError) -> Self {
        let help = match error.source.kind() {
            ErrorKind::NotFound => Some("create the folder first, or name another one"),
            ErrorKind::IsADirectory => Some("name a file, not a folder"),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Some("name a folder in which you may write")
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Some("free some space, then try again")
            }
            _ => None,
        };
        let message = format!("{error}: {}", error.source);
        Self { exit: Exit::Error, report: MessageError::report(message, help.map(str::to_owned)) }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(format!("cannot write the output: {error}"))
    }
}
