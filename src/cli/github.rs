//! GitHub Actions: annotations for problems, groups of lines in the log, and the step summary. Everything
//! here happens only in a job, where `GITHUB_ACTIONS` is `true`.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::diagnostic::{DiagnosticRange, DiagnosticRecord};
use super::door::Stream;
use super::repository_path::within;
use crate::base::file::{self, PathError};
use crate::base::runner_command::{Annotation, AnnotationPlace, RunnerCommand};
use crate::base::text::plural;

/// Maximum number of errors, and of warnings, of a step that GitHub shows beside the files.
const MAX_ANNOTATIONS: usize = 10;

/// Maximum number of bytes that a plan adds to the step summary. A command adds 65,000 at most, of a
/// MiB that a step has; the result of a run must not be left out because of its plan.
pub(super) const MAX_PLAN_BYTES: usize = 40_000;

/// Maximum number of bytes that the result of a run adds to the step summary.
pub(super) const MAX_RESULT_BYTES: usize = 25_000;

/// The job of GitHub Actions that runs imgplan.
pub(super) struct GitHubJob {
    /// Root of the repository.
    workspace: Option<PathBuf>,
    /// File of the step summary. `None` once it could not be written.
    step_summary: Mutex<Option<PathBuf>>,
    /// Number of annotations sent: errors and warnings.
    sent: Mutex<[usize; 2]>,
}

impl GitHubJob {
    /// Returns the job. `None` outside of GitHub Actions.
    pub(super) fn of_environment() -> Option<Self> {
        let path = |name| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let step_summary = Mutex::new(path("GITHUB_STEP_SUMMARY"));
        let sent = Mutex::default();
        (env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true")).then(|| Self {
            workspace: path("GITHUB_WORKSPACE"),
            step_summary,
            sent,
        })
    }

    /// Sends annotations to the runner, as many as GitHub shows, and says how many more there are.
    ///
    /// # Errors
    ///
    /// Fails if standard error cannot be written to.
    pub(super) fn annotate(&self, records: &[DiagnosticRecord]) -> io::Result<()> {
        // The counters stay right whatever happened while they were locked.
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unsent = [0, 0];
        for record in records {
            let level = usize::from(record.severity == "warning");
            if sent[level] == MAX_ANNOTATIONS {
                unsent[level] += 1;
                continue;
            }
            sent[level] += 1;
            Stream::Err.command(&RunnerCommand::Annotate(self.annotation(record)))?;
        }
        for (count, noun) in unsent.into_iter().zip(["error", "warning"]) {
            if count > 0 {
                let (more, shown) = (plural(count, &format!("more {noun}")), MAX_ANNOTATIONS);
                let line = format!("GitHub shows {shown} {noun}s of a step; this log has {more}.");
                writeln!(Stream::Err.text(false), "{line}")?;
            }
        }
        Ok(())
    }

    fn annotation(&self, record: &DiagnosticRecord) -> Annotation {
        let DiagnosticRecord { severity, summary, detail, range, .. } = record;
        let place = range.as_ref().and_then(|range| self.place(range));
        let summary = match range {
            Some(DiagnosticRange { filename, start, .. }) if place.is_none() => {
                format!("{filename}:{}: {summary}", start.line)
            }
            _ => summary.clone(),
        };
        let help = detail.as_ref().map(|help| format!("help: {help}"));
        let lines = summary.lines().map(str::to_owned).chain(help).collect();
        Annotation { warning: *severity == "warning", lines, place }
    }

    /// Returns a place in the repository. `None` for a text that is not in a file of it: standard input,
    /// a flag, or a file elsewhere.
    fn place(&self, range: &DiagnosticRange) -> Option<AnnotationPlace> {
        let file = within(self.workspace.as_ref()?, &range.filename)?;
        Some(AnnotationPlace { file, line: range.start.line, column: range.start.column })
    }

    /// Adds a text to the step summary. Does nothing if there is no file for it, or after an error.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written; the error says so once.
    pub(super) fn add_to_summary(&self, markdown: &str) -> Result<(), PathError> {
        let mut summary = self.step_summary.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = summary.as_ref() else { return Ok(()) };
        // An empty line separates the text from that of another command.
        let written = file::append(path, format!("\n{markdown}").as_bytes());
        if written.is_err() {
            *summary = None;
        }
        written
    }
}
