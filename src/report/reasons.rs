//! Reasons in full, for `why`: whole digests, times, and lines of the manifest. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::PlanView;
use super::words::build_tail;
use crate::base::name::ImageRef;
use crate::base::span::Span;
use crate::base::text::{duration, exact_duration};
use crate::manifest::workspace::{BuildOrigin, Origin, Unit};
use crate::plan::{FileChange, Reason, Step};
use crate::state::{Built, Entry};

impl PlanView<'_> {
    /// Returns the lockfile entry of a target.
    pub(super) fn entry(&self, key: &ImageRef) -> Option<&Entry> {
        self.state.entries.get(key)
    }

    /// Returns the last completed build of a target, if need be under its former name.
    fn built(&self, step: &Step) -> Option<&Built> {
        let former = step.reasons.iter().find_map(|reason| match reason {
            Reason::Moved { from } => Some(from),
            _ => None,
        });
        let own = self.entry(&step.key).and_then(|entry| entry.built.as_ref());
        own.or_else(|| self.entry(former?)?.built.as_ref())
    }

    /// Returns the context and Dockerfile of a target that is built.
    fn build(&self, step: &Step) -> Option<&BuildOrigin> {
        match &self.unit(step)?.origin {
            Origin::Build(build) => Some(build),
            Origin::Mirror(_) => None,
        }
    }

    fn unit(&self, step: &Step) -> Option<&Unit> {
        step.unit().map(|unit| self.workspace.unit(unit))
    }

    /// True if both the last build and the manifest have a context, so that they can be compared. A
    /// mirror has none.
    fn has_two_contexts(&self, step: &Step) -> bool {
        let built = self.built(step);
        built.is_some_and(|built| built.inputs.context().is_some()) && self.build(step).is_some()
    }

    /// Returns a place in the manifest: ` (imgplan.yaml:7)`.
    fn place(&self, span: Option<Span>) -> String {
        let place = span.and_then(|span| self.workspace.sources.locate(span));
        place.map(|(file, start, _)| format!(" ({file}:{})", start.line)).unwrap_or_default()
    }

    /// Returns the lines on a reason that concerns the last build.
    fn last_build(&self, step: &Step, reason: &Reason) -> Vec<String> {
        let (first, detail) = match reason {
            Reason::MissingRemote => {
                let path = self.built(step).filter(|built| !built.path.is_empty());
                (reason.to_string(), path.map(|built| format!("  it was {}", built.path)))
            }
            Reason::RemoteChanged { at } => {
                let when = at.map(|at| format!("  on {}", moment(at)));
                ("replaced outside of imgplan".to_owned(), when)
            }
            reason => {
                let max_age = self.unit(step).and_then(|unit| unit.max_age);
                let max_age = max_age.map(|age| format!("  max_age: {}", exact_duration(age)));
                (reason.to_string(), max_age)
            }
        };
        let last = self.built(step).map(last_build);
        [Some(first), detail, last].into_iter().flatten().collect()
    }

    /// Returns a reason in full, as lines. The lines after the first are details.
    pub(super) fn full_form(&self, step: &Step, reason: &Reason) -> Vec<String> {
        match reason {
            Reason::New => vec!["new: the lockfile records no build".to_owned()],
            Reason::WholeContextChanged => {
                with_detail(reason, "from now on, only the files that its instructions reach count")
            }
            Reason::ContextChanged { files } if self.has_two_contexts(step) => {
                context(files.as_deref())
            }
            Reason::DockerfileChanged if self.has_two_contexts(step) => {
                let path = self.build(step).map(|build| build.dockerfile_path.display());
                let path = path.map(|path| format!(": {path}")).unwrap_or_default();
                vec![format!("{reason}{path}")]
            }
            Reason::BaseChanged { reference, old, new } => {
                pins(&format!("base {reference}"), old.as_deref(), new.as_deref())
            }
            Reason::SourceChanged { reference, old, new } => {
                pins(&format!("source {reference}"), old.as_deref(), new.as_deref())
            }
            Reason::PreviousFailed { error } => {
                let entry = self.entry(&step.key);
                let pending = entry.and_then(|entry| Some(&entry.pending.as_ref()?.build));
                let failed = entry.and_then(|entry| Some(&entry.failed.as_ref()?.build));
                let head = Reason::PreviousFailed { error: None };
                let head = format!("{head}{}", build_tail(pending.or(failed)));
                let error = error.as_ref().map(|error| format!("  {error}"));
                [Some(head), error].into_iter().flatten().collect()
            }
            Reason::MissingRemote | Reason::RemoteChanged { .. } | Reason::Expired { .. } => {
                self.last_build(step, reason)
            }
            Reason::ExistsRemote => vec![reason.to_string(), import(&step.key)],
            Reason::Requested => vec!["requested by `--replace`".to_owned()],
            Reason::FingerprintFormatChanged => {
                with_detail(reason, "its inputs cannot be compared with those of the last build")
            }
            Reason::Moved { from } => {
                let moved = &self.workspace.moved;
                let moved = moved.iter().find(|moved| moved.from.matches(from));
                let place = self.place(moved.map(|moved| moved.span));
                vec![format!("renamed from {from} by `moved`{place}")]
            }
            Reason::RemovedFromManifest { .. } => {
                let removed = &self.workspace.removed;
                let removed = removed.iter().find(|removed| removed.from.matches(&step.key));
                let place = removed.map(|removed| self.place(Some(removed.span)));
                let place = place.map(|place| format!(", listed under `removed`{place}"));
                vec![format!("{reason}{}", place.unwrap_or_default())]
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

/// Returns the advice for an image that should not be replaced.
/// Returns a reason and a detail, as lines.
fn with_detail(reason: &Reason, detail: &str) -> Vec<String> {
    vec![reason.to_string(), format!("  {detail}")]
}

fn import(key: &ImageRef) -> String {
    format!("  to record it instead of replacing it, run `imgplan import {key}`")
}

/// Returns both digests of a reference in full, one below the other.
fn pins(reference: &str, old: Option<&str>, new: Option<&str>) -> Vec<String> {
    let line =
        |verb: &str, digest: Option<&str>| digest.map(|digest| format!("  {verb}  {digest}"));
    let first = match (old, new) {
        (Some(_), Some(_)) => format!("{reference} moved"),
        (None, _) => format!("{reference} is now pinned"),
        (_, None) => format!("{reference} is no longer pinned"),
    };
    [Some(first), line("was", old), line("is ", new)].into_iter().flatten().collect()
}

fn last_build(built: &Built) -> String {
    let completed = built.completed.map(|at| format!("completed on {}", moment(at)));
    let completed = completed.unwrap_or_else(|| "completed at an unknown time".to_owned());
    let after = built.seconds.map(|seconds| duration(Duration::from_secs(seconds)));
    let after = after.map(|time| format!(" after {time}")).unwrap_or_default();
    format!("  the last build{} {completed}{after}", build_tail(Some(&built.build)))
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
            let text = "context changed: the files are the same, but another one is the Dockerfile";
            vec![text.to_owned()]
        }
        None => [
            "context changed",
            "  The changed files are unknown: this machine has no list of the files of the last",
            "  build. It ran elsewhere, or .imgplan/ was removed. After the next apply, plans name",
            "  the files.",
        ]
        .map(str::to_owned)
        .into(),
    }
}
