//! Sentences that both reporters or several parts of one need. Pure.

use std::time::Duration;

use crate::base::limit::{Class, Limit};
use crate::base::name::BuildId;
use crate::base::text::{duration, exact_duration, plural};
use crate::event::{Phase, Signal, SkipReason, StopReason};
use crate::plan::{ActionCounts, PartialPlan};

/// Returns the last line of a plan. It has all counts, zeros too, so that scripts can read it.
pub(super) fn plan_line(counts: &ActionCounts) -> String {
    let ActionCounts { create, rebuild, adopt, update, delete, forget, unchanged } = counts;
    let adopt = match adopt {
        0 => String::new(),
        adopt => format!("{adopt} to adopt, "),
    };
    format!(
        "Plan: {create} to create, {rebuild} to rebuild, {adopt}{update} to update, {delete} to \
         delete, {forget} to forget. {unchanged} unchanged."
    )
}

/// Returns the size of a manifest: `7 targets`, or `5 images, 7 targets` if some images have
/// several platforms.
pub(super) fn size(images: usize, units: usize) -> String {
    let targets = plural(units, "target");
    if images == units { targets } else { format!("{}, {targets}", plural(images, "image")) }
}

/// Returns the line that names the next command, a text in quotes, after a run that ended early.
pub(super) fn next_command(command: &str, has_failures: bool) -> String {
    if has_failures {
        format!("Next: fix the failures, then run {command} to continue")
    } else {
        format!("Next: run {command} to continue")
    }
}

/// Returns the line that says that no new work starts; `active` targets are in progress.
pub(super) fn stopping(reason: &StopReason, active: usize) -> String {
    let wait = match active {
        0 => String::new(),
        active => format!("; waiting for {} in progress", plural(active, "target")),
    };
    match reason {
        StopReason::Interrupted(Signal::Interrupt) => {
            format!("Stopping: no new work starts{wait}. Press Ctrl-C again to exit at once.")
        }
        StopReason::Interrupted(Signal::Terminate) => {
            format!("Stopping on SIGTERM: no new work starts{wait}")
        }
        StopReason::Error(_) => {
            format!("Stopping: every other target would fail with the same error{wait}")
        }
        // After its timeout, a run waits for nothing.
        StopReason::TimedOut(timeout) => timed_out(*timeout),
    }
}

pub(super) fn timed_out(timeout: Duration) -> String {
    format!("Stopping: the timeout of {} is over", exact_duration(timeout))
}

pub(super) fn rate_wait(class: Class, limit: Limit, wait: Duration) -> String {
    let requests = match class {
        Class::Images => "transfers".to_owned(),
        class => format!("{class} requests"),
    };
    format!("Waiting {} for the rate limit of {requests} ({limit})", duration(wait))
}

/// Returns the time of a target that ended: `in 20s, waited 21s`. A wait below a second is not shown.
pub(super) fn times(preposition: &str, elapsed: Duration, waited: Duration) -> String {
    if waited < Duration::from_secs(1) {
        return format!("{preposition} {}", duration(elapsed));
    }
    let worked = elapsed.saturating_sub(waited);
    format!("{preposition} {}, waited {}", duration(worked), duration(waited))
}

/// Returns a time that changes while it is shown: `4s`, `2m05s`.
pub(super) fn whole_seconds(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        _ => duration(time),
    }
}

/// Returns the number of waiting targets in words; `None` without any.
pub(super) fn waiting_words(count: usize, limited_for: Option<Duration>) -> Option<String> {
    let limit = match limited_for {
        Some(Duration::ZERO) => " for the rate limit".to_owned(),
        Some(wait) => format!(" for the rate limit ({})", whole_seconds(wait)),
        None => String::new(),
    };
    (count > 0).then(|| format!("{count} waiting{limit}"))
}

/// Returns the build in brackets for the end of a line; empty without a build.
pub(super) fn build_tail(build: Option<&BuildId>) -> String {
    build.map(|build| format!(" [build {build}]")).unwrap_or_default()
}

/// Returns the note on a partial plan or run.
pub(super) fn partial_note(kind: &str, partial: PartialPlan) -> String {
    let PartialPlan { selected, left } = partial;
    let left = match left {
        0 => "; nothing else would change".to_owned(),
        left => format!(", {} left out", plural(left, "step")),
    };
    format!("partial {kind}: {} selected{left}", plural(selected, "target"))
}

/// Returns the verb of an action in progress.
pub(super) fn doing(action: &str) -> &'static str {
    match action {
        "build" => "Building",
        "check" => "Checking",
        "mirror" => "Mirroring",
        "adopt" => "Waiting for its build",
        "update" => "Updating",
        "delete" => "Deleting",
        _ => "Forgetting",
    }
}

/// Returns the verb of a finished action.
pub(super) fn done(action: &str) -> &'static str {
    match action {
        "build" | "adopt" => "Built",
        "check" => "Checked",
        "mirror" => "Mirrored",
        "update" => "Updated",
        "delete" => "Deleted",
        _ => "Forgotten",
    }
}

/// Returns why a target was skipped.
pub(super) fn skip_reason(reason: &SkipReason) -> String {
    match reason {
        SkipReason::DependencyFailed { failed } => format!("depends on {failed}, which failed"),
        SkipReason::Interrupted | SkipReason::Stopped => {
            "not started because the run stopped".to_owned()
        }
    }
}

pub(super) fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Wait => "waiting",
        Phase::Package => "packing",
        Phase::Submit => "submitting",
        Phase::Upload => "uploading",
        Phase::Queued => "queued",
        Phase::Building => "building",
        Phase::Update => "updating",
        Phase::Delete => "deleting",
    }
}
