//! For people: the plan as a table (`plan`), and what is told of a run (`run`).

mod plan;
mod protection;
mod run;

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};

pub(super) use self::plan::symbol;
use super::{PlanView, ReportOptions, Reporter};
use crate::event::{RunEvent, Summary};

/// Writes data to one stream and talk to another.
pub struct Human<'w> {
    pub(super) out: &'w mut dyn Write,
    err: &'w mut dyn Write,
    options: ReportOptions,
}

impl<'w> Human<'w> {
    /// `out` takes plans and summaries, `err` what is told on the way.
    pub fn new(out: &'w mut dyn Write, err: &'w mut dyn Write, options: ReportOptions) -> Self {
        Self { out, err, options }
    }

    /// What could not be asked.
    pub(super) fn notes(&mut self, view: &PlanView<'_>) -> io::Result<()> {
        let word = self.paint_talk(color(AnsiColor::Yellow), "note:");
        view.facts.notes.iter().try_for_each(|note| writeln!(self.err, "{word} {note}"))
    }

    pub(super) fn paint(&self, style: Style, text: &str) -> String {
        paint(self.options.color, style, text)
    }

    fn paint_talk(&self, style: Style, text: &str) -> String {
        paint(self.options.color_talk, style, text)
    }

    /// The word before what should not be missed.
    fn note(&self) -> String {
        self.paint(color(AnsiColor::Yellow).bold(), "Note:")
    }
}

fn paint(color: bool, style: Style, text: &str) -> String {
    if color { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

pub(super) fn color(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(color.into()))
}

pub(super) const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

impl Reporter for Human<'_> {
    fn plan(&mut self, view: &PlanView<'_>) -> io::Result<()> {
        self.notes(view)?;
        let text = self.plan_text(view);
        self.out.write_all(text.as_bytes())
    }

    fn event(&mut self, event: &RunEvent) -> io::Result<()> {
        self.tell(event)
    }

    fn summary(&mut self, summary: &Summary, time: Duration, next: Option<&str>) -> io::Result<()> {
        self.tell_end(summary, time, next)
    }
}
