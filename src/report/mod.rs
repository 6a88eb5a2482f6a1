//! Puts plans, events and summaries into words ([`human`]) or JSON lines ([`json`]), and what would
//! be done to one image into all there is to say of it ([`why`]), what is under way into a table
//! ([`status`]), and what needs what into the languages of graphs ([`graph`]). Everything is written
//! to the streams that are given; what may be shown is settled once, in [`ReportOptions`].

mod cost;
mod fit;
pub mod graph;
mod group;
pub mod human;
pub mod json;
mod reasons;
pub mod status;
#[cfg(test)]
mod tests;
pub mod why;
mod words;

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::base::limit::{Class, Limit};
use crate::base::name::{ImageRef, Owner};
use crate::event::{RunEvent, Summary};
use crate::manifest::Workspace;
use crate::plan::{Action, Facts, Plan, Step};
use crate::state::State;

/// How to show things, settled once from flags and terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportOptions {
    /// Whether to colour data.
    pub color: bool,
    /// Whether to colour talk, which may go elsewhere.
    pub color_talk: bool,
    /// Columns that a line may have.
    pub width: usize,
    /// Columns of the terminal that data goes to; `None` where it goes elsewhere, and no line is cut.
    pub columns: Option<usize>,
    /// How much to tell.
    pub talk: Verbosity,
    /// Whether to name the command that would come next.
    pub hints: bool,
}

/// How much to tell of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Failures and the end.
    Quiet,
    /// Each unit's start and end, and that it lives.
    Normal,
    /// Each phase as well.
    Verbose,
}

/// A plan and what is said around it.
#[derive(Debug, Clone, Copy)]
pub struct PlanView<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What it is about.
    pub workspace: &'a Workspace,
    /// What it was made from.
    pub facts: &'a Facts,
    /// What is known to exist.
    pub state: &'a State,
    /// The request budgets that were given; the last of a class wins.
    pub limits: &'a [(Class, Limit)],
    /// Who owns a new unit of which the manifest does not say.
    pub owner: &'a Owner,
    /// Where the lockfile is.
    pub lockfile: &'a Path,
    /// The service's URL, or `local`.
    pub service: &'a str,
    /// Whether the service was asked for anything.
    pub asked: bool,
}

impl PlanView<'_> {
    /// Whether an image is not to be deleted: as the manifest says, else as is on record.
    fn protects(&self, step: &Step) -> bool {
        let said = step.unit().and_then(|unit| self.workspace.unit(unit).protect);
        let recorded = || self.state.entries.get(&step.key).is_some_and(|entry| entry.protect);
        said.unwrap_or_else(recorded)
    }

    /// Whether the manifest says of an image that is gone that it is to be deleted.
    fn is_to_go(&self, key: &ImageRef) -> bool {
        let said = self.workspace.removed.iter().filter(|said| said.from.matches(key));
        let closest = said.max_by_key(|said| said.from.tag.is_some());
        closest.is_some_and(|said| said.destroy)
    }

    /// What one of the things is called that the plan is about.
    fn noun(&self) -> &'static str {
        if self.workspace.images == self.plan.units { "image" } else { "unit" }
    }

    /// Protected images over which another is put.
    fn overwritten(&self) -> Vec<&ImageRef> {
        let over = |step: &&Step| match &step.action {
            Action::Create(make) => make.replaces && self.protects(step),
            _ => false,
        };
        self.plan.steps.iter().filter(over).map(|step| &step.key).collect()
    }
}

/// Tells people or programs what goes on.
pub trait Reporter {
    /// Shows a plan.
    fn plan(&mut self, view: &PlanView<'_>) -> io::Result<()>;
    /// Tells one thing that happened in a run.
    fn event(&mut self, event: &RunEvent) -> io::Result<()>;
    /// Tells how a run ended, and the command that goes on where it ended too early.
    fn summary(
        &mut self,
        summary: &Summary,
        elapsed: Duration,
        next: Option<&str>,
    ) -> io::Result<()>;
}

/// A length of time as people read it: `0.4s`, `14s`, `2m05s`, `1h02m`.
pub(crate) fn elapsed(time: Duration) -> String {
    let secs = time.as_secs();
    match (secs / 3600, secs / 60 % 60, secs % 60) {
        (0, 0, s @ 0..10) => format!("{s}.{}s", time.subsec_millis() / 100),
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}
