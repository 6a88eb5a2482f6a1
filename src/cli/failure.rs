//! How a command ends: the exit codes, and the errors that lead to them.

use std::process::ExitCode;

use miette::{Diagnostic, Report};

use crate::context::{PackError, ScanError};
use crate::manifest::ManifestError;
use crate::run::RunError;
use crate::server::ServerError;
use crate::state::StateError;
use crate::survey::{ContextError, SurveyError};

/// How the program ends; one table for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// All went well. A plan ends so even with changes.
    Success = 0,
    /// Any error, and any image that failed.
    Error = 1,
    /// With `--detailed-exitcode`: there are changes, or all of them were made.
    Changes = 2,
    /// With `--detailed-exitcode`: a part of the changes was made.
    Partial = 3,
    /// The user said no.
    Declined = 4,
    /// Another run holds the lock.
    Locked = 5,
    /// What was typed makes no sense.
    Usage = 64,
    /// Stopped by Ctrl-C.
    Interrupted = 130,
    /// Stopped by SIGTERM.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An error on its way to the user.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) report: Report,
}

impl Failure {
    /// An error that the user can do something about.
    pub(super) fn user(message: impl Into<String>) -> Self {
        Self { exit: Exit::Error, report: Plain::report(message, None) }
    }

    /// An error that the user can do something about, and what.
    pub(super) fn with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { exit: Exit::Error, report: Plain::report(message, Some(help.into())) }
    }

    /// What was typed makes no sense.
    pub(super) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, report: Plain::report(message, Some(help.into())) }
    }

    /// Something that should not happen.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::user(message)
    }

    fn of(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self { exit: Exit::Error, report: Report::new(error) }
    }
}

/// Fails where there are warnings and they are to be errors.
pub(super) fn deny(deny: bool, warnings: usize) -> Result<(), Failure> {
    let what = match (deny, warnings) {
        (false, _) | (_, 0) => return Ok(()),
        (true, 1) => "1 warning is an error".to_owned(),
        (true, many) => format!("{many} warnings are errors"),
    };
    Err(Failure::user(format!("{what}, since --deny-warnings was given; nothing was sent")))
}

/// What an error is made of, where it only says how much of it there is.
pub(super) fn parts(report: &Report) -> Option<Vec<&dyn Diagnostic>> {
    if let Some(error) = report.downcast_ref::<SurveyError>() {
        return Some(error.errors.iter().flat_map(of_context).collect());
    }
    report.downcast_ref::<ScanError>().map(of_scan)
}

fn of_context(error: &ContextError) -> Vec<&dyn Diagnostic> {
    match error {
        ContextError::Unreadable(error) => of_scan(error),
        ContextError::TooLarge { .. } => vec![error],
    }
}

fn of_scan(error: &ScanError) -> Vec<&dyn Diagnostic> {
    error.all.iter().map(|problem| problem as &dyn Diagnostic).collect()
}

#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
struct Plain {
    message: String,
    #[help]
    help: Option<String>,
}

impl Plain {
    fn report(message: impl Into<String>, help: Option<String>) -> Report {
        Report::new(Self { message: message.into(), help })
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
            StateError::Locked { .. } => Exit::Locked,
            _ => Exit::Error,
        };
        Self { exit, ..Self::of(error) }
    }
}

impl From<crate::api::ApiError> for Failure {
    fn from(error: crate::api::ApiError) -> Self {
        let help = error.help().map(str::to_owned);
        Self { exit: Exit::Error, report: Plain::report(error.to_string(), help) }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::user(format!("cannot write the output: {error}"))
    }
}
