//! The reporter for people: the plan as a table (`plan`, `table`), events and summaries (`run`).

mod plan;
pub(in crate::report) mod run;
mod table;

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

pub(crate) use self::plan::PlanText;
use super::sentences::MAX_NAMES_SHOWN;
use super::{PlanView, ReportOptions, Reporter, SummaryView, Verbosity};
use crate::base::safe_text::escaped;
use crate::event::RunEvent;

/// Names of a list that should be read before the plan is approved.
pub(in crate::report) const MAX_PROTECTED_SHOWN: usize = 10;

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();

/// Writes plans and summaries to one stream, and progress to another.
pub(crate) struct HumanReporter<'w> {
    pub(super) out: &'w mut dyn Write,
    err: &'w mut dyn Write,
    pub(in crate::report) options: ReportOptions,
}

impl<'w> HumanReporter<'w> {
    /// Returns a reporter that writes plans and summaries to `out`, and progress to `err`.
    pub(crate) fn new(
        out: &'w mut dyn Write,
        err: &'w mut dyn Write,
        options: ReportOptions,
    ) -> Self {
        Self { out, err, options }
    }

    /// Writes the notes on facts that could not be gathered. Fails if the stream cannot be written to.
    pub(crate) fn notes(&mut self, view: &PlanView<'_>) -> io::Result<()> {
        let word = self.paint_err(color(AnsiColor::Yellow), "note:");
        view.notes().try_for_each(|note| writeln!(self.err, "{word} {}", escaped(&note)))
    }

    pub(super) fn paint(&self, style: Style, text: &str) -> String {
        paint(self.options.color_stdout, style, text)
    }

    fn paint_err(&self, style: Style, text: &str) -> String {
        paint(self.options.color_stderr, style, text)
    }

    /// Colours the first words of a text, which may have been wrapped.
    pub(in crate::report) fn paint_head(&self, style: Style, head: &str, text: &str) -> String {
        text.replacen(head, &self.paint(style, head), 1)
    }

    fn is_verbose(&self) -> bool {
        self.options.verbosity >= Verbosity::Verbose
    }

    /// Number of protected images to name.
    fn max_protected(&self) -> usize {
        if self.is_verbose() { usize::MAX } else { MAX_PROTECTED_SHOWN }
    }
}

pub(super) fn paint(is_colored: bool, style: Style, text: &str) -> String {
    if is_colored { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

pub(super) fn color(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(color.into()))
}

/// Style of a heading that should not be missed.
fn warning() -> Style {
    color(AnsiColor::Yellow).bold()
}

impl Reporter for HumanReporter<'_> {
    fn plan(&mut self, view: &PlanView<'_>) -> io::Result<()> {
        self.notes(view)?;
        let PlanText { before, table, after, .. } = self.plan_text(view);
        write!(self.out, "{before}{table}{after}")
    }

    fn event(&mut self, event: &RunEvent) -> io::Result<()> {
        self.write_event(event)
    }

    fn summary(&mut self, view: &SummaryView<'_>) -> io::Result<()> {
        self.write_summary(view)
    }
}
