//! A reason in full: both digests to the last digit, when it happened, and where the manifest says
//! it. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::PlanView;
use super::words::tail;
use crate::base::name::ImageRef;
use crate::base::span::Span;
use crate::manifest::workspace::{BuildOrigin, Origin, Unit};
use crate::plan::{FileChange, Reason, Step};
use crate::state::{Built, Entry};

impl PlanView<'_> {
    pub(super) fn entry(&self, key: &ImageRef) -> Option<&Entry> {
        self.state.entries.get(key)
    }

    /// The last build of a unit that completed: of a name that it had before, where it has a new
    /// one.
    fn built(&self, step: &Step) -> Option<&Built> {
        let before = step.reasons.iter().find_map(|reason| match reason {
            Reason::Moved { from } => Some(from),
            _ => None,
        });
        let own = self.entry(&step.key).and_then(|entry| entry.built.as_ref());
        own.or_else(|| self.entry(before?)?.built.as_ref())
    }

    /// What the manifest has a unit built from.
    fn build(&self, step: &Step) -> Option<&BuildOrigin> {
        match &self.unit(step)?.origin {
            Origin::Build(build) => Some(build),
            Origin::Mirror(_) => None,
        }
    }

    fn unit(&self, step: &Step) -> Option<&Unit> {
        step.unit().map(|unit| self.workspace.unit(unit))
    }

    /// Whether there are two contexts to compare: a mirror that became a build had none, nor has a
    /// build that became a mirror.
    fn was_and_is_built(&self, step: &Step) -> bool {
        let built = self.built(step);
        built.is_some_and(|built| built.inputs.context().is_some()) && self.build(step).is_some()
    }

    /// Where the manifest says something: ` (imgplan.yaml:7)`.
    fn place(&self, span: Option<Span>) -> String {
        let place = span.and_then(|span| self.workspace.sources.locate(span));
        place.map(|(file, start, _)| format!(" ({file}:{})", start.line)).unwrap_or_default()
    }

    /// What became of the last build of a unit.
    fn became(&self, step: &Step, reason: &Reason) -> Vec<String> {
        let (first, more) = match reason {
            Reason::MissingRemote => {
                let path = self.built(step).filter(|built| !built.path.is_empty());
                (reason.to_string(), path.map(|built| format!("  it was {}", built.path)))
            }
            Reason::RemoteChanged { at } => {
                let when = at.map(|at| format!("  on {}", moment(at)));
                ("somebody else replaced it".to_owned(), when)
            }
            reason => {
                let most = self.unit(step).and_then(|unit| unit.max_age);
                (
                    reason.to_string(),
                    most.map(|most| format!("  the manifest allows {}", age(most))),
                )
            }
        };
        [Some(first), more].into_iter().flatten().collect()
    }

    /// All that there is to say of a reason, in lines; all but the first say more of it.
    pub(super) fn full_form(&self, step: &Step, reason: &Reason) -> Vec<String> {
        match reason {
            Reason::New => vec!["new: the lockfile has no build of it".to_owned()],
            Reason::ContextChanged { files } if self.was_and_is_built(step) => {
                context(files.as_deref())
            }
            Reason::DockerfileChanged if self.was_and_is_built(step) => {
                let path = self.build(step).map(|build| build.dockerfile_path.display());
                let path = path.map(|path| format!(": {path}")).unwrap_or_default();
                vec![format!("{reason}{path}")]
            }
            Reason::BaseChanged { reference, old, new } => {
                pins(&format!("base {reference}"), old.as_deref(), new.as_deref())
            }
            Reason::SourceChanged { reference, old, new } => {
                pins(&format!("upstream {reference}"), old.as_deref(), new.as_deref())
            }
            Reason::PreviousFailed => {
                let entry = self.entry(&step.key);
                let pending = entry.and_then(|entry| Some(&entry.pending.as_ref()?.build));
                let failed = entry.and_then(|entry| Some(&entry.failed.as_ref()?.build));
                vec![format!("{reason}{}", tail(pending.or(failed)))]
            }
            Reason::MissingRemote | Reason::RemoteChanged { .. } | Reason::Expired { .. } => {
                let mut lines = self.became(step, reason);
                lines.extend(self.built(step).map(last_build));
                lines
            }
            Reason::ExistsRemote => vec![reason.to_string(), import(&step.key)],
            Reason::Requested => vec!["asked for, whether anything changed or not".to_owned()],
            Reason::FingerprintFormatChanged => vec![
                reason.to_string(),
                "  so what it was made of cannot be compared; nothing else is known to differ"
                    .to_owned(),
            ],
            Reason::Moved { from } => {
                let moved = &self.workspace.moved;
                let moved = moved.iter().find(|moved| moved.from.matches(from));
                let place = self.place(moved.map(|moved| moved.span));
                vec![format!("{from} is called {} now: `moved` says so{place}", step.key)]
            }
            Reason::RemovedFromManifest { .. } => {
                let removed = &self.workspace.removed;
                let removed = removed.iter().find(|removed| removed.from.matches(&step.key));
                let said = removed.map(|removed| self.place(Some(removed.span)));
                let said = said.map(|place| format!(": `removed` says so{place}"));
                vec![format!("{reason}{}", said.unwrap_or_default())]
            }
            Reason::ContextChanged { .. }
            | Reason::DockerfileChanged
            | Reason::ConfigChanged { .. }
            | Reason::DependencyChanged { .. }
            | Reason::InDoubt
            | Reason::Pending { .. }
            | Reason::VisibilityChanged { .. }
            | Reason::OwnerChanged { .. }
            | Reason::Superseded { .. } => vec![reason.to_string()],
        }
    }
}

/// What to do where an image is not to be replaced.
fn import(key: &ImageRef) -> String {
    format!("  `imgplan import {key}` takes it as it is, instead of replacing it")
}

/// Both digests in full, one below the other.
fn pins(what: &str, old: Option<&str>, new: Option<&str>) -> Vec<String> {
    let was = format!("  was  {}", old.unwrap_or("not pinned"));
    match new {
        Some(new) => vec![format!("{what} stands for another image"), was, format!("  is   {new}")],
        None => vec![format!("{what} is not pinned any more"), was],
    }
}

fn last_build(built: &Built) -> String {
    let when = built.completed.map(|at| format!(" was complete on {}", moment(at)));
    let when = when.unwrap_or_else(|| ", of which it is not on record when it was complete".into());
    format!("  its last build{}{when}", tail(Some(&built.build)))
}

/// An age as the manifest writes it.
fn age(age: Duration) -> String {
    let secs = age.as_secs();
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    match units.into_iter().find(|(unit, _)| secs > 0 && secs.is_multiple_of(*unit)) {
        Some((unit, letter)) => format!("{}{letter}", secs / unit),
        None => format!("{age:?}"),
    }
}

fn moment(at: Timestamp) -> impl std::fmt::Display {
    at.strftime("%Y-%m-%d %H:%M:%S UTC")
}

fn context(files: Option<&[FileChange]>) -> Vec<String> {
    match files {
        Some(files @ [_, ..]) => {
            let files = files.iter().map(|file| format!("  {file}"));
            ["context changed:".to_owned()].into_iter().chain(files).collect()
        }
        Some([]) => {
            let text = "context changed: its files are as they were, another is the Dockerfile";
            vec![text.to_owned()]
        }
        None => [
            "context changed",
            "  which files is not known: the list of what the last build was sent is not on this",
            "  machine. It was built elsewhere, or .imgplan/ was removed. The next plan after an",
            "  apply will know.",
        ]
        .map(str::to_owned)
        .into(),
    }
}
