//! Writes all output: data to stdout, messages and errors to stderr.

use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, Report};
use serde_json::{Value, json};

use super::diagnostic;
use super::failure::{self, Exit, Failure, Warning};
use super::settings::Settings;
use crate::base::span::{Problem, SourceMap};
use crate::event::RunEvent;
use crate::manifest::ManifestError;
use crate::manifest::workspace::Skipped;
use crate::report::human::HumanReporter;
use crate::report::json::JsonReporter;
use crate::report::status::StatusView;
use crate::report::why::WhyView;
use crate::report::{PlanView, ReportOptions, Reporter, SummaryView, Verbosity};

/// The output streams and their format. All clones write to the same streams.
#[derive(Clone)]
pub(super) struct Ui {
    json: bool,
    /// True once the header of the JSON lines is written.
    json_started: Arc<AtomicBool>,
    options: ReportOptions,
}

impl Ui {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { json: settings.json, json_started: Arc::default(), options: settings.report }
    }

    /// Returns true with `--verbose`.
    pub(super) fn is_verbose(&self) -> bool {
        self.options.verbosity >= Verbosity::Verbose
    }

    /// Returns true with `--json`.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Returns true if output may suggest the next command.
    pub(super) fn shows_hints(&self) -> bool {
        self.options.hints
    }

    /// Writes a line of data.
    #[expect(clippy::unused_self, reason = "all output goes through this type")]
    pub(super) fn data(&mut self, line: impl Display) -> io::Result<()> {
        ignore_closed_pipe(writeln!(io::stdout().lock(), "{line}"))
    }

    /// Writes a line for people, unless `--quiet` is set.
    pub(super) fn message(&mut self, line: impl Display) -> io::Result<()> {
        match self.options.verbosity {
            Verbosity::Quiet => Ok(()),
            _ => ignore_closed_pipe(writeln!(io::stderr().lock(), "{line}")),
        }
    }

    /// Writes a message for each manifest entry that was discovered and is no image.
    pub(super) fn skipped(&mut self, skipped: &[Skipped]) -> io::Result<()> {
        for Skipped { path, reason } in skipped {
            self.message(format_args!("skipped {}: {reason}", path.display()))?;
        }
        Ok(())
    }

    /// Returns standard output, for binary data.
    #[expect(clippy::unused_self, reason = "all output goes through this type")]
    pub(super) fn bytes(&mut self) -> impl Write + use<> {
        io::stdout().lock()
    }

    /// Asks a question and returns the line that was typed; empty at the end of the input.
    #[expect(clippy::unused_self, reason = "all output goes through this type")]
    pub(super) fn prompt(&mut self, question: &str) -> io::Result<String> {
        let mut err = io::stderr().lock();
        write!(err, "\n{question} ")?;
        err.flush()?;
        drop(err);
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !io::stdin().is_terminal() {
            // On a terminal, the Enter key has ended the line already.
            ignore_closed_pipe(writeln!(io::stderr().lock()))?;
        }
        Ok(answer)
    }

    /// Writes a plan.
    pub(super) fn plan(&mut self, view: &PlanView<'_>) -> io::Result<()> {
        self.report(|reporter| reporter.plan(view))
    }

    /// Writes the explanation of an image.
    pub(super) fn why(&mut self, view: &WhyView<'_>) -> io::Result<()> {
        let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
        ignore_closed_pipe(if self.json {
            self.json(&mut out).and_then(|mut json| json.why(view))
        } else {
            HumanReporter::new(&mut out, &mut err, self.options).why(view)
        })
    }

    /// Writes the builds in progress and returns the number of lines. On a terminal, they replace
    /// the last `lines_before` lines.
    pub(super) fn status(
        &mut self,
        view: &StatusView<'_>,
        lines_before: usize,
    ) -> io::Result<usize> {
        let mut out = io::stdout().lock();
        if self.json {
            let result = self.json(&mut out).and_then(|mut json| json.status(view));
            return ignore_closed_pipe(result).map(|()| 0);
        }
        let (mut text, mut err) = (Vec::new(), io::stderr().lock());
        HumanReporter::new(&mut text, &mut err, self.options).status(view)?;
        let text = String::from_utf8_lossy(&text);
        let lines_before = if io::stdout().is_terminal() { lines_before } else { 0 };
        let written = out.write_all(redrawn(&text, lines_before).as_bytes());
        ignore_closed_pipe(written.and_then(|()| out.flush()))?;
        Ok(text.lines().count())
    }

    /// Writes an event of a run.
    pub(super) fn event(&mut self, event: &RunEvent) -> io::Result<()> {
        self.report(|reporter| reporter.event(event))
    }

    /// Writes the summary of a run.
    pub(super) fn summary(&mut self, view: &SummaryView<'_>) -> io::Result<()> {
        self.report(|reporter| reporter.summary(view))
    }

    /// Writes notes, even with `--quiet`.
    pub(super) fn notes(&mut self, notes: &[String]) -> io::Result<()> {
        for note in notes {
            if self.json {
                self.json_diagnostic(&json!({ "severity": "warning", "summary": note }))?;
            } else {
                ignore_closed_pipe(writeln!(io::stderr().lock(), "note: {note}"))?;
            }
        }
        Ok(())
    }

    /// Writes a JSON line.
    pub(super) fn json_line(
        &mut self,
        kind: &str,
        message: String,
        payload: Value,
    ) -> io::Result<()> {
        let mut out = io::stdout().lock();
        ignore_closed_pipe(self.json(&mut out)?.line("info", kind, message, payload))
    }

    /// Writes warnings, even with `--quiet`.
    pub(super) fn warnings(
        &mut self,
        problems: &[Problem],
        sources: &Arc<SourceMap>,
    ) -> io::Result<()> {
        for problem in problems {
            if self.json {
                self.json_diagnostic(&diagnostic::problem_json(problem, sources))?;
            } else {
                let report = Report::new(problem.clone()).with_source_code(Arc::clone(sources));
                self.print_report(&report);
            }
        }
        Ok(())
    }

    /// Writes a warning without a place in a file, even with `--quiet`.
    pub(super) fn warning(&mut self, message: String, help: String) -> io::Result<()> {
        let report = Report::new(Warning { message, help });
        if self.json {
            return diagnostic::report_json(&report)
                .iter()
                .try_for_each(|value| self.json_diagnostic(value));
        }
        self.print_report(&report);
        Ok(())
    }

    /// Writes the error of a command and returns the exit code.
    pub(super) fn failure(&mut self, failure: &Failure) -> Exit {
        if self.json {
            for value in diagnostic::report_json(&failure.report) {
                // If stdout is closed, the exit code still says that the command failed.
                let _ = self.json_diagnostic(&value);
            }
        } else {
            self.print_report(&failure.report);
        }
        failure.exit
    }

    /// Prints an error. Of several problems the summary comes last: people read the last line.
    fn print_report(&self, report: &Report) {
        if let Some(error) = report.downcast_ref::<ManifestError>() {
            for problem in &error.problems {
                let report = Report::new(problem.clone()).with_source_code(error.sources.clone());
                self.print_diagnostic(report.as_ref());
                let _ = writeln!(io::stderr().lock());
            }
            let label = self.error_label();
            let _ = writeln!(io::stderr().lock(), "{label} {error}; nothing was sent");
        } else if let Some(parts) = failure::parts(report) {
            for part in parts {
                self.print_diagnostic(part);
                let _ = writeln!(io::stderr().lock());
            }
            let label = self.error_label();
            let _ = writeln!(io::stderr().lock(), "{label} {report}");
        } else {
            self.print_diagnostic(report.as_ref());
        }
    }

    fn error_label(&self) -> String {
        if self.options.color_stderr {
            let style = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
            format!("{style}error:{style:#}")
        } else {
            "error:".to_owned()
        }
    }

    fn print_diagnostic(&self, error: &dyn Diagnostic) {
        let theme = if self.options.color_stderr {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(self.options.width)
            .with_links(false);
        let mut text = String::new();
        let excerpt = diagnostic::with_excerpt(error);
        let error = excerpt.as_ref().map_or(error, |report| report.as_ref());
        if handler.render_report(&mut text, error).is_ok() {
            let _ = write!(io::stderr().lock(), "{text}");
        }
    }

    fn json_diagnostic(&mut self, value: &Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        ignore_closed_pipe(self.json(&mut out).and_then(|mut json| json.diagnostic(value)))
    }

    fn json<'w>(&mut self, out: &'w mut dyn Write) -> io::Result<JsonReporter<'w>> {
        let started = self.json_started.swap(true, Ordering::Relaxed);
        if started { Ok(JsonReporter::resume(out)) } else { JsonReporter::start(out) }
    }

    fn report(
        &mut self,
        write: impl FnOnce(&mut dyn Reporter) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
        ignore_closed_pipe(if self.json {
            self.json(&mut out).and_then(|mut json| write(&mut json))
        } else {
            write(&mut HumanReporter::new(&mut out, &mut err, self.options))
        })
    }
}

/// Returns a text that replaces the last `lines_before` lines of a terminal.
fn redrawn(text: &str, lines_before: usize) -> String {
    if lines_before == 0 {
        return text.to_owned();
    }
    // Moves the cursor up and replaces line by line, which does not flicker. Clearing the whole screen
    // first would also put its lines into the history of some terminals.
    format!("\x1b[{lines_before}A{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

/// Treats a closed pipe as success: in `imgplan plan | head`, the reader stops early on purpose.
fn ignore_closed_pipe(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redrawn_text_replaces_the_lines_before_it() {
        for (lines_before, expected) in [
            (0, "a\nb\n"),
            (1, "\x1b[1Aa\x1b[K\nb\x1b[K\n\x1b[J"),
            (12, "\x1b[12Aa\x1b[K\nb\x1b[K\n\x1b[J"),
        ] {
            assert_eq!(redrawn("a\nb\n", lines_before), expected);
        }
    }
}
