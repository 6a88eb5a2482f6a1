//! Writes all output: data to stdout, messages and errors to stderr.

mod json_lines;
mod plans;

use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use clap::builder::StyledStr;
use clap::error::ContextValue;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, Report};
use serde_json::Value;
use terminal_size::{Height, Width, terminal_size_of};
use tokio::task::spawn_blocking;

use super::diagnostic::{DiagnosticRecord, problem_records, report_records};
use super::door::Stream;
use super::failure::{self, Exit, Failure, Warning};
use super::github::GitHubJob;
use super::json_file::JsonFile;
use super::safe_diagnostic::SafeDiagnostic;
use super::settings::Settings;
use crate::base::safe_text::{escaped, is_unsafe, shown_path};
use crate::base::span::{Problem, SourceMap};
use crate::event::RunEvent;
use crate::manifest::ManifestError;
use crate::manifest::workspace::Skipped;
use crate::report::checks::Check;
use crate::report::footer::Screen;
use crate::report::human::HumanReporter;
use crate::report::json::JsonReporter;
use crate::report::status::StatusView;
use crate::report::{Progress, ReportOptions, Reporter, Verbosity};

/// The output streams and their format. All clones write to the same streams.
#[derive(Clone)]
pub(super) struct Ui {
    json: bool,
    /// True once the header of the JSON lines is written.
    json_started: Arc<AtomicBool>,
    options: ReportOptions,
    /// The job of GitHub Actions that runs imgplan, if one does.
    github: Option<Arc<GitHubJob>>,
    /// The file of `--json-into`.
    json_file: Option<JsonFile>,
}

impl Ui {
    pub(super) fn new(settings: &Settings) -> Self {
        let github = GitHubJob::of_environment().map(Arc::new);
        let (json, options) = (settings.json, settings.report);
        Self { json, json_started: Arc::default(), options, github, json_file: None }
    }

    /// Sets the form of the progress of a run.
    pub(super) fn show_progress_as(&mut self, progress: Progress) {
        self.options.progress = progress;
    }

    /// Returns true if a run has a footer.
    pub(super) fn has_footer(&self) -> bool {
        self.options.progress == Progress::Footer
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
        let line = escaped(&line.to_string());
        ignore_closed_pipe(writeln!(Stream::Out.text(false), "{line}"))
    }

    /// Writes a JSON value as a line of data.
    #[expect(clippy::unused_self, reason = "all output goes through this type")]
    pub(super) fn json_data(&mut self, value: &Value) -> io::Result<()> {
        ignore_closed_pipe(writeln!(Stream::Out.json(), "{value}"))
    }

    /// Writes a JSON document, which may have several lines.
    #[expect(clippy::unused_self, reason = "all output goes through this type")]
    pub(super) fn json_document(&mut self, text: &str) -> io::Result<()> {
        ignore_closed_pipe(writeln!(Stream::Out.json(), "{text}"))
    }

    /// Writes a document of several lines, which may have tabs.
    #[expect(clippy::unused_self, reason = "all output goes through this type")]
    pub(super) fn document(&mut self, text: &str) -> io::Result<()> {
        ignore_closed_pipe(Stream::Out.document().write_all(text.as_bytes()))
    }

    /// Writes a line for people, unless `--quiet` is set.
    pub(super) fn message(&mut self, line: impl Display) -> io::Result<()> {
        if self.options.verbosity == Verbosity::Quiet {
            return Ok(());
        }
        let line = escaped(&line.to_string());
        ignore_closed_pipe(writeln!(Stream::Err.text(false), "{line}"))
    }

    /// Writes a line that suggests a command, if there is one and output may suggest commands.
    pub(super) fn hint(&mut self, line: Option<&str>) -> io::Result<()> {
        let line = line.filter(|_| self.options.hints && !self.json);
        line.map_or(Ok(()), |line| self.message(line))
    }

    /// Writes a message for each manifest entry that was discovered and is no image.
    pub(super) fn skipped(&mut self, skipped: &[Skipped]) -> io::Result<()> {
        for Skipped { path, reason } in skipped {
            self.message(format_args!("skipped {}: {reason}", shown_path(path)))?;
        }
        Ok(())
    }

    /// Returns standard output for an archive. `None` if it is a terminal.
    #[expect(clippy::unused_self, reason = "all output goes through this type")]
    pub(super) fn archive(&mut self) -> Option<impl Write + use<>> {
        Stream::Out.archive()
    }

    /// Asks a question and returns the line that was typed; empty at the end of the input.
    pub(super) async fn prompt(&mut self, question: &str) -> io::Result<String> {
        let mut err = Stream::Err.text(false);
        write!(err, "\n{question} ")?;
        err.flush()?;
        drop(err);
        // On a thread of its own, so that a signal can end the command meanwhile.
        let answer = spawn_blocking(|| {
            let mut answer = String::new();
            io::stdin().lock().read_line(&mut answer).map(|_| answer)
        });
        let answer = answer.await.map_err(io::Error::other)??;
        if !io::stdin().is_terminal() {
            // On a terminal, the Enter key has ended the line already.
            ignore_closed_pipe(writeln!(Stream::Err.text(false)))?;
        }
        Ok(answer)
    }

    /// Writes the checks of a machine.
    pub(super) fn checks(&mut self, checks: &[Check]) -> io::Result<()> {
        ignore_closed_pipe(if self.json {
            let mut out = Stream::Out.json();
            self.json(&mut out).and_then(|mut json| json.checks(checks))
        } else {
            let (mut out, mut err) = self.streams();
            HumanReporter::new(&mut out, &mut err, self.options).checks(checks)
        })
    }

    /// Writes the builds in progress and returns the number of lines. On a terminal, they replace
    /// the last `lines_before` lines.
    pub(super) fn status(
        &mut self,
        view: &StatusView<'_>,
        lines_before: usize,
    ) -> io::Result<usize> {
        if self.json {
            let mut out = Stream::Out.json();
            let result = self.json(&mut out).and_then(|mut json| json.status(view));
            return ignore_closed_pipe(result).map(|()| 0);
        }
        let (mut text, mut err) = (Vec::new(), self.err());
        HumanReporter::new(&mut text, &mut err, self.options).status(view)?;
        let text = String::from_utf8_lossy(&text);
        let color = self.options.color_stdout;
        ignore_closed_pipe(Stream::Out.redraw(&text, lines_before, color))?;
        Ok(text.lines().count())
    }

    /// Returns the lines of an event of a run, for a screen that is redrawn. Writes the event to the file
    /// of JSON lines.
    pub(super) fn event_text(&mut self, event: &RunEvent) -> io::Result<String> {
        self.json_lines(|json| json.event(event))?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        HumanReporter::new(&mut out, &mut err, self.options).event(event)?;
        Ok(String::from_utf8_lossy(&err).into_owned())
    }

    /// Writes lines in place of the footer on the terminal, and draws another footer below them.
    pub(super) fn draw_footer(&mut self, above: &str, footer: &str) -> io::Result<()> {
        let color = self.options.color_stderr;
        ignore_closed_pipe(Stream::Err.draw_footer(above, footer, color))
    }

    /// Returns the size of the terminal for messages; `None` without one.
    pub(super) fn screen(&self) -> Option<Screen> {
        let (Width(columns), Height(lines)) = terminal_size_of(io::stderr())?;
        let color = self.options.color_stderr;
        Some(Screen { columns: columns.into(), lines: lines.into(), color })
    }

    /// Writes an event of a run.
    pub(super) fn event(&mut self, event: &RunEvent) -> io::Result<()> {
        self.report(|reporter| reporter.event(event))
    }

    /// Writes notes, even with `--quiet`.
    pub(super) fn notes(&mut self, notes: &[String]) -> io::Result<()> {
        for note in notes {
            self.json_diagnostic(&DiagnosticRecord::note(note))?;
            if !self.json {
                ignore_closed_pipe(writeln!(self.err(), "note: {}", escaped(note)))?;
            }
        }
        Ok(())
    }

    /// Writes warnings, even with `--quiet`.
    pub(super) fn warnings(
        &mut self,
        problems: &[Problem],
        sources: &Arc<SourceMap>,
    ) -> io::Result<()> {
        let records = problem_records(problems, sources);
        self.annotate(&records)?;
        for (problem, record) in problems.iter().zip(&records) {
            self.json_diagnostic(record)?;
            if !self.json {
                let report = Report::new(problem.clone()).with_source_code(Arc::clone(sources));
                self.print_report(&report);
            }
        }
        Ok(())
    }

    /// Writes a warning without a place in a file, even with `--quiet`.
    pub(super) fn warning(&mut self, message: String, help: String) -> io::Result<()> {
        let report = Report::new(Warning { message, help });
        let records = report_records(&report);
        self.annotate(&records)?;
        records.iter().try_for_each(|record| self.json_diagnostic(record))?;
        if !self.json {
            self.print_report(&report);
        }
        Ok(())
    }

    /// Writes the error of a command and returns the exit code.
    pub(super) fn failure(&mut self, failure: &Failure) -> Exit {
        let records = report_records(&failure.report);
        // If a stream is closed, the exit code still says that the command failed.
        let _ = self.annotate(&records);
        for record in &records {
            let _ = self.json_diagnostic(record);
        }
        if !self.json {
            self.print_report(&failure.report);
        }
        failure.exit
    }

    /// Prints an error. Of several problems the summary comes last: people read the last line.
    fn print_report(&self, report: &Report) {
        if let Some(error) = report.downcast_ref::<ManifestError>() {
            for problem in &error.problems {
                let report = Report::new(problem.clone()).with_source_code(error.sources.clone());
                self.print_diagnostic(report.as_ref(), &[]);
                let _ = writeln!(self.err());
            }
            let label = self.error_label();
            let _ =
                writeln!(self.err(), "{label} {}; nothing was sent", escaped(&error.to_string()));
        } else if let Some(parts) = failure::parts(report) {
            for part in parts {
                self.print_diagnostic(part, &[]);
                let _ = writeln!(self.err());
            }
            let label = self.error_label();
            let _ = writeln!(self.err(), "{label} {}", escaped(&report.to_string()));
        } else {
            self.print_diagnostic(report.as_ref(), failure::lines(report));
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

    fn print_diagnostic(&self, error: &dyn Diagnostic, lines: &[String]) {
        let theme = if self.options.color_stderr {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(self.options.width)
            .with_links(false);
        let mut text = String::new();
        if handler.render_report(&mut text, &SafeDiagnostic::new(error, lines)).is_ok() {
            let _ = write!(self.err(), "{text}");
        }
    }

    fn json<'w>(&mut self, out: &'w mut dyn Write) -> io::Result<JsonReporter<'w>> {
        let started = self.json_started.swap(true, Ordering::Relaxed);
        if started { Ok(JsonReporter::resume(out)) } else { JsonReporter::start(out) }
    }

    /// Returns standard error for lines of text.
    fn err(&self) -> impl Write + use<> {
        Stream::Err.text(self.options.color_stderr)
    }

    /// Returns standard output and standard error for lines of text.
    fn streams(&self) -> (impl Write + use<>, impl Write + use<>) {
        (Stream::Out.text(self.options.color_stdout), self.err())
    }

    fn report(&mut self, write: impl Fn(&mut dyn Reporter) -> io::Result<()>) -> io::Result<()> {
        self.json_lines(|json| write(json))?;
        if self.json {
            return Ok(());
        }
        let (mut out, mut err) = self.streams();
        ignore_closed_pipe(write(&mut HumanReporter::new(&mut out, &mut err, self.options)))
    }
}

/// Writes a help text, or an error about the arguments.
pub(super) fn usage(text: &clap::Error) -> io::Result<()> {
    let stream = if text.use_stderr() { Stream::Err } else { Stream::Out };
    let styled = StyledStr::from(with_escaped_values(text));
    let is_unset = |name| std::env::var_os(name).is_none_or(|value| value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if stream.is_terminal() && is_unset("NO_COLOR") && !is_dumb {
        write!(stream.text(true), "{}", styled.ansi())
    } else {
        write!(stream.text(false), "{styled}")
    }
}

/// Writes candidates for the completion of a line, one per line.
pub(super) fn candidates(text: &str) -> io::Result<()> {
    Stream::Out.document().write_all(text.as_bytes())
}

/// Returns the text of clap with its styles. The arguments in it are escaped.
fn with_escaped_values(error: &clap::Error) -> String {
    let in_context = error.context().flat_map(|(_, value)| match value {
        ContextValue::String(text) => vec![text.clone()],
        ContextValue::Strings(texts) => texts.clone(),
        _ => Vec::new(),
    });
    let arguments = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    let mut values: Vec<String> = in_context.chain(arguments).collect();
    values.retain(|value| value.contains(is_unsafe));
    // A value may be a part of another one.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    let text = error.render().ansi().to_string();
    values.iter().fold(text, |text, value| text.replace(value, &escaped(value)))
}

/// Treats a closed pipe as success: in `imgplan plan | head`, the reader stops early on purpose.
fn ignore_closed_pipe(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}
