//! Puts plans, events and summaries into words ([`human`]) or JSON lines ([`json`]), and what would
//! be done to one image into all there is to say of it ([`why`]), and what is under way into a
//! table ([`status`]). Everything is written to the
//! streams that are given; what may be shown is settled once, in [`Options`].

pub mod human;
pub mod json;
pub mod status;
pub mod why;
mod words;

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::event::{RunEvent, Summary};
use crate::manifest::Workspace;
use crate::plan::{Facts, Plan};

/// How to show things, settled once from flags and terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether to colour data.
    pub color: bool,
    /// Whether to colour talk, which may go elsewhere.
    pub color_talk: bool,
    /// Columns that a line may have.
    pub width: usize,
    /// How much to tell.
    pub talk: Talk,
    /// Whether to name the command that would come next.
    pub hints: bool,
}

/// How much to tell of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Talk {
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
    /// Where the lockfile is.
    pub lockfile: &'a Path,
    /// The service's URL, or `local`.
    pub service: &'a str,
    /// Whether the service was asked for anything.
    pub asked: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let shown: Vec<String> =
            [4, 14, 125, 3720].map(|secs| elapsed(Duration::from_secs(secs))).into();
        assert_eq!(shown, ["4.0s", "14s", "2m05s", "1h02m"]);
    }
}
