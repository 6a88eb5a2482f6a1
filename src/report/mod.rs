//! Reporters: turn plans, run events and summaries into text ([`human`]) or JSON lines ([`json`]).
//! [`markdown`] writes for a pull request. [`why`] explains single targets, [`status`] lists the builds in
//! progress, [`graph`] draws the dependencies, [`run_report`] makes reports of a run that has ended, and
//! [`checks`] shows the checks of a machine. Reporters write to the streams that they are given, as
//! [`ReportOptions`] says.

mod base_paths;
pub(crate) mod checks;
mod cost;
pub(crate) mod estimate;
mod fit;
pub(crate) mod footer;
pub(crate) mod graph;
mod group;
pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod markdown;
mod markup;
mod owners;
mod reasons;
pub(crate) mod run_report;
mod sentences;
pub(crate) mod status;
mod symbol;
#[cfg(test)]
mod tests;
pub(crate) mod timeline;
pub(crate) mod why;
mod words;

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::base::budget::Budget;
use crate::base::name::ImageRef;
use crate::base::owner::DefaultOwner;
use crate::base::text::{duration, plural};
use crate::event::{RunEvent, Summary};
use crate::manifest::Workspace;
use crate::plan::{Action, Facts, Plan, Step};
use crate::state::State;

/// Options of the output, decided once from flags, environment and terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReportOptions {
    /// True if standard output is coloured.
    pub color_stdout: bool,
    /// True if standard error is coloured.
    pub color_stderr: bool,
    /// Columns of a line of an error message.
    pub width: usize,
    /// Columns of the terminal that standard output goes to. `None` without a terminal: no line is
    /// cut.
    pub columns: Option<usize>,
    /// Amount of output.
    pub verbosity: Verbosity,
    /// True if the output suggests commands to run next.
    pub hints: bool,
    /// Progress of a run.
    pub progress: Progress,
}

/// Form of the progress of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// No progress: failures and the summary only.
    None,
    /// A line for each start and end, and the heartbeat.
    Lines,
    /// A footer, and a line for each end.
    Footer,
}

/// Amount of output of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Failures and the summary.
    Quiet,
    /// Start and end of each target, and the heartbeat.
    Normal,
    /// Each phase of each target, too.
    Verbose,
}

/// A plan with everything that its presentation needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlanView<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The manifest of the plan.
    pub workspace: &'a Workspace,
    /// The facts that the plan was computed from.
    pub facts: &'a Facts,
    /// The recorded state.
    pub state: &'a State,
    /// Rate limits of a run.
    pub budget: &'a Budget,
    /// Owner of a new target whose manifest entry names none.
    pub owner: &'a DefaultOwner,
    /// Path of the lockfile, or URL of the shared state.
    pub lockfile: &'a Path,
    /// The place of the recorded state in words: `lockfile` or `shared state`.
    pub place: &'static str,
    /// URL of the service, or `local`.
    pub service: &'a str,
}

/// The summary of a run with everything that its presentation needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SummaryView<'a> {
    /// The summary.
    pub summary: &'a Summary,
    /// Duration of the run.
    pub elapsed: Duration,
    /// Command that continues a run that ended early.
    pub next: Option<&'a str>,
    /// Owners of the targets, in words.
    pub owners: &'a str,
}

impl PlanView<'_> {
    /// Returns the notes to show with the plan: those of the facts, and, if an upgrade changes
    /// nothing, the age of the cached lookups behind that.
    fn notes(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let cached = self.facts.cached_lookups.filter(|_| self.plan.is_noop()).map(|cached| {
            let lookups = plural(cached.count, "registry lookup");
            let age = duration(cached.oldest);
            format!("{lookups} from the cache, up to {age} old; --max-age 0s repeats them")
        });
        let notes = self.facts.notes.iter().map(|note| Cow::Borrowed(note.as_str()));
        notes.chain(cached.map(Cow::Owned))
    }

    /// True if the manifest protects the image of a step from deletion or, where the manifest does
    /// not say, the lockfile does.
    fn is_protected(&self, step: &Step) -> bool {
        let declared = step.unit().and_then(|unit| self.workspace.unit(unit).protect);
        let recorded = || self.state.entries.get(&step.key).is_some_and(|entry| entry.protect);
        declared.unwrap_or_else(recorded)
    }

    /// True if the manifest lists an orphan for deletion: the most specific entry decides.
    fn is_listed_for_deletion(&self, key: &ImageRef) -> bool {
        let entries = self.workspace.removed.iter().filter(|entry| entry.from.matches(key));
        let closest = entries.max_by_key(|entry| entry.from.tag.is_some());
        closest.is_some_and(|entry| entry.destroy)
    }

    /// Protected images that the plan replaces.
    fn replaced_protected(&self) -> Vec<&ImageRef> {
        let is_replaced = |step: &&Step| match &step.action {
            Action::Create(create) => create.replaces && self.is_protected(step),
            _ => false,
        };
        self.plan.steps.iter().filter(is_replaced).map(|step| &step.key).collect()
    }
}

/// Writes plans, events and summaries. Every method fails if its stream cannot be written to.
pub(crate) trait Reporter {
    /// Writes a plan.
    fn plan(&mut self, view: &PlanView<'_>) -> io::Result<()>;
    /// Writes one event of a run.
    fn event(&mut self, event: &RunEvent) -> io::Result<()>;
    /// Writes the summary of a run, and the command that continues a run that ended early.
    fn summary(&mut self, view: &SummaryView<'_>) -> io::Result<()>;
}
