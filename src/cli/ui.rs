//! The one door for output: data to stdout, talk and errors to stderr.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, Report};
use serde_json::{Value, json};

use super::clip;
use super::diagnostic;
use super::failure::{self, Exit, Failure};
use super::settings::Settings;
use crate::base::span::{Problem, SourceMap};
use crate::event::{RunEvent, Summary};
use crate::manifest::ManifestError;
use crate::manifest::workspace::Skipped;
use crate::report::human::Human;
use crate::report::json::Json;
use crate::report::status::StatusView;
use crate::report::why::WhyView;
use crate::report::{PlanView, ReportOptions, Reporter, Verbosity};

/// Where output goes, and in which form. All clones write to the same streams.
#[derive(Clone)]
pub(super) struct Ui {
    json: bool,
    /// Whether the stream of JSON lines has begun.
    started: Arc<AtomicBool>,
    options: ReportOptions,
}

impl Ui {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { json: settings.json, started: Arc::default(), options: settings.report }
    }

    /// Whether to tell more.
    pub(super) fn is_verbose(&self) -> bool {
        self.options.talk >= Verbosity::Verbose
    }

    /// Whether output is for programs.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes a line of data.
    #[expect(clippy::unused_self, reason = "all output goes through one door")]
    pub(super) fn data(&mut self, line: impl std::fmt::Display) -> io::Result<()> {
        unless_closed(writeln!(io::stdout().lock(), "{line}"))
    }

    /// Writes a line of talk, unless it is to be quiet.
    pub(super) fn talk(&mut self, line: impl std::fmt::Display) -> io::Result<()> {
        match self.options.talk {
            Verbosity::Quiet => Ok(()),
            _ => unless_closed(writeln!(io::stderr().lock(), "{line}")),
        }
    }

    /// Tells what was found and made into no image, as a line of talk each.
    pub(super) fn skipped(&mut self, skipped: &[Skipped]) -> io::Result<()> {
        for Skipped { path, reason } in skipped {
            self.talk(format_args!("skipped {}: {reason}", path.display()))?;
        }
        Ok(())
    }

    /// Standard output, for data that is no text.
    #[expect(clippy::unused_self, reason = "all output goes through one door")]
    pub(super) fn bytes(&mut self) -> impl Write + use<> {
        io::stdout().lock()
    }

    /// Asks, and returns the line that was answered; an empty one where nobody is there.
    #[expect(clippy::unused_self, reason = "all output goes through one door")]
    pub(super) fn ask(&mut self, question: &str) -> io::Result<String> {
        let mut err = io::stderr().lock();
        write!(err, "\n{question} ")?;
        err.flush()?;
        drop(err);
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !io::stdin().is_terminal() {
            // On a terminal the answer itself ended the line.
            unless_closed(writeln!(io::stderr().lock()))?;
        }
        Ok(answer)
    }

    /// Whether to say what may help.
    pub(super) fn hints(&self) -> bool {
        self.options.hints
    }

    pub(super) fn plan(&mut self, view: &PlanView<'_>) -> io::Result<()> {
        self.reporter(|reporter| reporter.plan(view))
    }

    pub(super) fn why(&mut self, view: &WhyView<'_>) -> io::Result<()> {
        let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
        let told = if self.json {
            self.json(&mut out).and_then(|mut json| json.why(view))
        } else {
            Human::new(&mut out, &mut err, self.options).why(view)
        };
        unless_closed(told)
    }

    /// Shows what is under way; over what was shown before, on a terminal.
    pub(super) fn status(&mut self, view: &StatusView<'_>, before: usize) -> io::Result<usize> {
        let mut out = io::stdout().lock();
        if self.json {
            let told = self.json(&mut out).and_then(|mut json| json.status(view));
            return unless_closed(told).map(|()| 0);
        }
        let (mut shown, mut err) = (Vec::new(), io::stderr().lock());
        Human::new(&mut shown, &mut err, self.options).status(view)?;
        if before > 0 && io::stdout().is_terminal() {
            // Up to where it began, and away with what is there.
            unless_closed(write!(out, "\x1b[{before}A\x1b[J"))?;
        }
        let shown = String::from_utf8_lossy(&shown);
        unless_closed(write!(out, "{shown}")).map(|()| shown.lines().count())
    }

    pub(super) fn event(&mut self, event: &RunEvent) -> io::Result<()> {
        self.reporter(|reporter| reporter.event(event))
    }

    /// Tells how a run ended, and the command that goes on from there.
    pub(super) fn summary(
        &mut self,
        summary: &Summary,
        elapsed: Duration,
        next: Option<&str>,
    ) -> io::Result<()> {
        self.reporter(|reporter| reporter.summary(summary, elapsed, next))
    }

    /// Shows what could not be asked.
    pub(super) fn notes(&mut self, notes: &[String]) -> io::Result<()> {
        for note in notes {
            if self.json {
                self.json_diagnostic(&json!({ "severity": "warning", "summary": note }))?;
            } else {
                unless_closed(writeln!(io::stderr().lock(), "note: {note}"))?;
            }
        }
        Ok(())
    }

    /// Writes a line for programs.
    pub(super) fn json_line(
        &mut self,
        kind: &str,
        message: String,
        payload: Value,
    ) -> io::Result<()> {
        let mut out = io::stdout().lock();
        unless_closed(self.json(&mut out)?.line("info", kind, message, payload))
    }

    /// Shows what is worth a look but stops nothing.
    pub(super) fn warn(
        &mut self,
        problems: &[Problem],
        sources: &Arc<SourceMap>,
    ) -> io::Result<()> {
        for problem in problems {
            if self.json {
                let value = diagnostic::of_problem(problem, sources);
                self.json_diagnostic(&value)?;
            } else {
                let report = Report::new(problem.clone()).with_source_code(Arc::clone(sources));
                self.print(&report);
            }
        }
        Ok(())
    }

    /// Shows why a command failed, and returns how to end.
    pub(super) fn fail(&mut self, failure: &Failure) -> Exit {
        if self.json {
            for value in diagnostic::of_report(&failure.report) {
                // A closed stream leaves nobody to tell.
                let _ = self.json_diagnostic(&value);
            }
        } else {
            self.print(&failure.report);
        }
        failure.exit
    }

    /// What is wrong first, and what that means last: the last lines are those that are read.
    fn print(&self, report: &Report) {
        if let Some(error) = report.downcast_ref::<ManifestError>() {
            for problem in &error.problems {
                let one = Report::new(problem.clone()).with_source_code(error.sources.clone());
                self.render(one.as_ref());
                // What is one, and what the next, should be seen at a glance.
                let _ = writeln!(io::stderr().lock());
            }
            let word = self.error_word();
            let _ = writeln!(io::stderr().lock(), "{word} {error}; nothing was sent");
            return;
        }
        let Some(parts) = failure::parts(report) else { return self.render(report.as_ref()) };
        for part in parts {
            self.render(part);
            let _ = writeln!(io::stderr().lock());
        }
        let word = self.error_word();
        let _ = writeln!(io::stderr().lock(), "{word} {report}");
    }

    fn error_word(&self) -> String {
        if self.options.color_talk {
            let style = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
            format!("{style}error:{style:#}")
        } else {
            "error:".to_owned()
        }
    }

    fn render(&self, error: &dyn Diagnostic) {
        let theme = if self.options.color_talk {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(self.options.width)
            .with_links(false);
        let mut text = String::new();
        let clipped = clip::clipped(error);
        let error = clipped.as_ref().map_or(error, |clipped| clipped as &dyn Diagnostic);
        if handler.render_report(&mut text, error).is_ok() {
            let _ = write!(io::stderr().lock(), "{text}");
        }
    }

    fn json_diagnostic(&mut self, value: &Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.json(&mut out)?.diagnostic(value)
    }

    fn json<'w>(&mut self, out: &'w mut dyn Write) -> io::Result<Json<'w>> {
        let first = !self.started.swap(true, Ordering::Relaxed);
        if first { Json::start(out) } else { Ok(Json::resume(out)) }
    }

    fn reporter(
        &mut self,
        tell: impl FnOnce(&mut dyn Reporter) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
        let told = if self.json {
            self.json(&mut out).and_then(|mut json| tell(&mut json))
        } else {
            tell(&mut Human::new(&mut out, &mut err, self.options))
        };
        unless_closed(told)
    }
}

/// A reader that has seen enough, as in `imgplan plan | head`, is no error.
fn unless_closed(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}
