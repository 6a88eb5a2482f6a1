//! The words for people: phases, actions, counts. Pure.

use std::time::Duration;

use super::elapsed;
use crate::base::limit::{Class, Limit};
use crate::base::name::BuildId;
use crate::event::{Phase, Signal, StopReason};
use crate::plan::{ActionCounts, PartialPlan};

/// The line that comes last, with all counts always.
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

/// What comes next, where a run ended too early.
pub(super) fn going_on(command: &str, failed: bool) -> String {
    if failed {
        format!("Next: mend what failed; then `{command}` does what is left.")
    } else {
        format!("Next: `{command}` goes on from here.")
    }
}

pub(super) fn stopping(reason: &StopReason, active: usize) -> String {
    let active = match active {
        0 => String::new(),
        active => format!("; {} under way will be waited for", count(active, "unit")),
    };
    match reason {
        StopReason::Interrupted(Signal::Interrupt) => {
            format!("Stopping: nothing new is begun{active}. Ctrl-C again leaves at once.")
        }
        StopReason::Interrupted(Signal::Terminate) => {
            format!("Stopping on SIGTERM: nothing new is begun{active}.")
        }
        StopReason::Error(_) => {
            format!("Stopping: every other unit would meet the same error{active}.")
        }
        // Nothing is waited for: that is what a timeout is.
        StopReason::TimedOut(timeout) => format!("Stopping: the run's {timeout:?} are over."),
    }
}

/// That requests wait for a limit of the service.
pub(super) fn waiting(class: Class, limit: Limit, wait: Duration) -> String {
    let what = match class {
        Class::Images => "transfers".to_owned(),
        class => format!("{class} requests"),
    };
    let Limit { count, window } = limit;
    format!("Waiting {} for the limit of {count} {what} in {window:?}", elapsed(wait))
}

pub(super) fn tail(build: Option<&BuildId>) -> String {
    build.map(|build| format!(" [build {build}]")).unwrap_or_default()
}

pub(super) fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// The first names, and how many more there are.
pub(super) fn names<T: ToString>(all: &[T], most: usize) -> String {
    let mut names: Vec<String> = all.iter().take(most).map(ToString::to_string).collect();
    let more = all.len() - names.len();
    let last = names.pop().unwrap_or_default();
    match (names.is_empty(), more) {
        (true, 0) => last,
        (false, 0) => format!("{}, {last}", names.join(", ")),
        (true, more) => format!("{last} and {more} more"),
        (false, more) => format!("{}, {last} and {more} more", names.join(", ")),
    }
}

/// That a plan is not the whole of it; `are` is the verb for what is left out.
pub(super) fn part(partial: PartialPlan, are: &str) -> String {
    let PartialPlan { selected, left } = partial;
    let (was, is) = (
        if selected == 1 { "was" } else { "were" },
        match (left, are) {
            (1, "are") => "is",
            (1, _) => "was",
            (_, are) => are,
        },
    );
    let (units, steps) = (count(selected, "unit"), count(left, "step"));
    if left == 0 {
        return format!("about a part: {units} {was} asked for; nothing else would change.");
    }
    format!("a part of the plan: {units} {was} asked for, {steps} {is} left out.")
}

pub(super) fn doing(action: &str) -> &'static str {
    match action {
        "build" => "Building",
        "mirror" => "Mirroring",
        "adopt" => "Waiting for its build",
        "update" => "Updating",
        "delete" => "Deleting",
        _ => "Forgetting",
    }
}

pub(super) fn done(action: &str) -> &'static str {
    match action {
        "build" | "adopt" => "Built",
        "mirror" => "Mirrored",
        "update" => "Updated",
        "delete" => "Deleted",
        _ => "Forgotten",
    }
}

pub(super) fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Package => "packing",
        Phase::Submit => "submitting",
        Phase::Upload => "uploading",
        Phase::Queued => "queued",
        Phase::Building => "building",
        Phase::Update => "updating",
        Phase::Delete => "deleting",
    }
}
