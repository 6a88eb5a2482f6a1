//! JSON lines: on standard output with `--json`, and in the file of `--json-into`.

use std::io;
use std::path::Path;

use serde_json::Value;

use super::super::diagnostic::DiagnosticRecord;
use super::super::door::Stream;
use super::super::failure::{Exit, Failure};
use super::super::json_file::JsonFile;
use super::{Ui, ignore_closed_pipe};
use crate::report::json::JsonReporter;

impl Ui {
    /// Writes JSON lines to a file too, from here on.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be created.
    pub(in crate::cli) fn start_json_file(&mut self, path: Option<&Path>) -> Result<(), Failure> {
        self.json_file = path.map(JsonFile::create).transpose()?;
        Ok(())
    }

    /// Closes the file of JSON lines. Returns the exit code: a command that succeeded fails if the file
    /// could not be written.
    pub(in crate::cli) fn close_json_file(&mut self, exit: Exit) -> Exit {
        match self.json_file.take().map_or(Ok(()), |file| file.close()) {
            Ok(()) => exit,
            Err(error) => exit.or_error(self.failure(&error.into())),
        }
    }

    /// Writes lines.
    pub(in crate::cli) fn json_lines(
        &mut self,
        write: impl Fn(&mut JsonReporter<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.json_file.iter().for_each(|file| file.write(&write));
        if !self.json {
            return Ok(());
        }
        let mut out = Stream::Out.json();
        ignore_closed_pipe(self.json(&mut out).and_then(|mut json| write(&mut json)))
    }

    /// Writes a line.
    pub(in crate::cli) fn json_line(
        &mut self,
        kind: &str,
        message: String,
        payload: Value,
    ) -> io::Result<()> {
        self.json_lines(|json| json.line("info", kind, message.clone(), payload.clone()))
    }

    /// Writes an error or a warning.
    pub(super) fn json_diagnostic(&mut self, record: &DiagnosticRecord) -> io::Result<()> {
        let value = serde_json::to_value(record)?;
        self.json_lines(|json| json.diagnostic(&value))
    }
}
