//! Output of plans and runs: in a format that was asked for, and in a job of GitHub Actions as it reads
//! best there.

use std::io::{self, Write};

use super::super::args::OutputFormat;
use super::super::diagnostic::DiagnosticRecord;
use super::super::door::Stream;
use super::super::github::{MAX_PLAN_BYTES, MAX_RESULT_BYTES};
use super::{Ui, ignore_closed_pipe};
use crate::base::file::PathError;
use crate::base::runner_command::RunnerCommand;
use crate::report::human::{HumanReporter, PlanText};
use crate::report::markdown::{self, MAX_COMMENT_BYTES};
use crate::report::why::WhyView;
use crate::report::{PlanView, Reporter, SummaryView};

impl Ui {
    /// Writes a plan. In a job of GitHub Actions, adds it to the step summary.
    pub(in crate::cli) fn plan(
        &mut self,
        view: &PlanView<'_>,
        format: OutputFormat,
    ) -> io::Result<()> {
        if format == OutputFormat::Markdown {
            self.json_lines(|json| json.plan(view))?;
            self.document(&markdown::plan(view, MAX_COMMENT_BYTES))?;
        } else if self.github.is_some() && !self.json {
            self.json_lines(|json| json.plan(view))?;
            ignore_closed_pipe(self.log_plan(view))?;
        } else {
            self.report(|reporter| reporter.plan(view))?;
        }
        self.add_to_summary(|| markdown::plan(view, MAX_PLAN_BYTES))
    }

    /// Writes a plan to the log of a job, in which a long table is folded.
    fn log_plan(&mut self, view: &PlanView<'_>) -> io::Result<()> {
        let (mut out, mut err) = self.streams();
        let mut reporter = HumanReporter::new(&mut out, &mut err, self.options);
        reporter.notes(view)?;
        let PlanText { before, table, after, is_long } = reporter.plan_text(view);
        write!(out, "{before}")?;
        let title = format!("{} steps", view.plan.steps.len());
        if is_long {
            Stream::Out.command(&RunnerCommand::Group(title))?;
        }
        write!(out, "{table}")?;
        if is_long {
            Stream::Out.command(&RunnerCommand::EndGroup)?;
        }
        write!(out, "{after}")
    }

    /// Writes the explanation of an image.
    pub(in crate::cli) fn why(
        &mut self,
        view: &WhyView<'_>,
        format: OutputFormat,
    ) -> io::Result<()> {
        if format == OutputFormat::Markdown {
            return self.document(&markdown::why(view, MAX_COMMENT_BYTES));
        }
        ignore_closed_pipe(if self.json {
            let mut out = Stream::Out.json();
            self.json(&mut out).and_then(|mut json| json.why(view))
        } else {
            let (mut out, mut err) = self.streams();
            HumanReporter::new(&mut out, &mut err, self.options).why(view)
        })
    }

    /// Writes the summary of a run. In a job of GitHub Actions, adds it to the step summary.
    pub(in crate::cli) fn summary(&mut self, view: &SummaryView<'_>) -> io::Result<()> {
        self.report(|reporter| reporter.summary(view))?;
        self.add_to_summary(|| markdown::result(view, MAX_RESULT_BYTES))
    }

    /// Adds a text to the step summary of a job of GitHub Actions. A file that cannot be written is a
    /// warning: the run matters more.
    fn add_to_summary(&mut self, markdown: impl FnOnce() -> String) -> io::Result<()> {
        let Some(github) = &self.github else { return Ok(()) };
        let Err(error) = github.add_to_summary(&markdown()) else { return Ok(()) };
        let PathError { path, source, .. } = error;
        let message = format!("cannot write the step summary {}: {source}", path.display());
        let help = "unset GITHUB_STEP_SUMMARY, or let it name the file that the runner made";
        self.warning(message, help.to_owned())
    }

    /// Shows errors and warnings beside the files, in a job of GitHub Actions.
    pub(in crate::cli) fn annotate(&self, records: &[DiagnosticRecord]) -> io::Result<()> {
        let github = self.github.as_ref();
        github.map_or(Ok(()), |github| ignore_closed_pipe(github.annotate(records)))
    }
}
