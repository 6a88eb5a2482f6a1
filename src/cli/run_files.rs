//! Writes the reports of a run to the files that the arguments name.

use std::path::Path;

use super::args::{ReportFile, ReportFormat, RunFileArgs};
use super::door::json_text;
use super::failure::Failure;
use crate::base::file::{self, PathError};
use crate::report::run_report::{self, RunView};

impl RunFileArgs {
    /// Fails if a file cannot be written. Called before anything is sent.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.paths().try_for_each(|path| Ok(file::check_writable(path)?))
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let reports = self.reports.iter().map(|report| &report.path);
        reports.chain(&self.junit).chain(&self.metadata_file).map(AsRef::as_ref)
    }

    /// Writes all files, and returns the error if some could not be written.
    pub(super) fn write(&self, view: &RunView<'_>) -> Option<Failure> {
        let report = |ReportFile { path, format }: &ReportFile| {
            let text = match format {
                ReportFormat::Html => run_report::html(view),
                ReportFormat::Markdown => run_report::markdown(view),
            };
            file::replace(path, text.as_bytes())
        };
        let junit = |path| file::replace(path, run_report::junit(view).as_bytes());
        let metadata =
            |path| file::replace(path, json_text(&run_report::metadata(view)).as_bytes());
        let reports = self.reports.iter().map(report);
        let junit = self.junit.as_deref().map(junit);
        let metadata = self.metadata_file.as_deref().map(metadata);
        let mut errors = reports.chain(junit).chain(metadata).filter_map(Result::err);
        let (first, others): (PathError, Vec<PathError>) = (errors.next()?, errors.collect());
        if others.is_empty() {
            return Some(first.into());
        }
        let all = [first].into_iter().chain(others);
        let lines = all.map(|error| format!("  {error}: {}", error.source)).collect();
        let help = "the results are in the lockfile; only these files are missing";
        Some(Failure::with_lines("cannot write the reports of the run", lines, help))
    }
}
