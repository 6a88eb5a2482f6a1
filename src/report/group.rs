//! Groups the steps of a large plan by cause, so that a thousand steps are read as five lines. Pure.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::symbol::symbol;
use crate::base::name::ImageRef;
use crate::plan::{Reason, Step};

/// Largest number of steps, and of groups, that are shown one by one.
pub(super) const MAX_ROWS: usize = 40;

/// Steps of one action and one cause, in the plan's order.
pub(super) struct StepGroup<'p> {
    /// The reason that the steps have in common.
    pub(super) cause: String,
    /// The steps; at least one.
    pub(super) steps: Vec<&'p Step>,
}

/// Groups steps by cause: first the bases because of which others change, last those others, and among
/// equals the largest group first. If that gives too many groups, groups them by the kind of the reason
/// alone.
pub(super) fn groups<'p>(steps: &[&'p Step]) -> Vec<StepGroup<'p>> {
    let groups = group_by(steps, cause);
    if groups.len() > MAX_ROWS { group_by(steps, kind) } else { groups }
}

fn group_by<'p>(steps: &[&'p Step], cause: fn(&Reason) -> String) -> Vec<StepGroup<'p>> {
    let mut indexes = HashMap::new();
    let mut groups: Vec<StepGroup<'p>> = Vec::new();
    for &step in steps {
        let cause = step.reasons.first().map(cause).unwrap_or_default();
        let index =
            *indexes.entry((symbol(step).text, step.verb(), cause.clone())).or_insert(groups.len());
        match groups.get_mut(index) {
            Some(group) => group.steps.push(step),
            None => groups.push(StepGroup { cause, steps: vec![step] }),
        }
    }
    for group in &mut groups {
        // A reason that is equal for all steps is shown in full.
        let mut reasons =
            group.steps.iter().map(|step| step.reasons.first().map(ToString::to_string));
        if let Some(Some(first)) = reasons.next()
            && reasons.all(|reason| reason.as_ref() == Some(&first))
        {
            group.cause = first;
        }
    }
    let roots: HashSet<&ImageRef> =
        steps.iter().filter_map(|step| root(step.reasons.first()?)).collect();
    groups.sort_by_key(|group| {
        let is_effect = group.steps[0].reasons.first().is_some_and(|first| root(first).is_some());
        let is_cause = group.steps.iter().any(|step| roots.contains(&step.key));
        (is_effect, !is_cause, Reverse(group.steps.len()))
    });
    groups
}

/// Returns the base whose own change is the cause of a step.
fn root(reason: &Reason) -> Option<&ImageRef> {
    match reason {
        Reason::DependencyChanged { base, via } => Some(via.last().unwrap_or(base)),
        _ => None,
    }
}

/// Returns the part of a reason that many steps may share: the base that changed, but not the files
/// of each context.
fn cause(reason: &Reason) -> String {
    match reason {
        Reason::DependencyChanged { base, via } => {
            format!("its base {} changes", via.last().unwrap_or(base))
        }
        Reason::ConfigChanged { field, .. } => format!("{field} changed"),
        Reason::BaseChanged { .. }
        | Reason::VisibilityChanged { .. }
        | Reason::OwnerChanged { .. } => reason.to_string(),
        reason => kind(reason),
    }
}

/// Returns the kind of a reason, without the values that differ from step to step.
fn kind(reason: &Reason) -> String {
    let kind = match reason {
        Reason::ContextChanged { .. } => "context changed",
        Reason::ConfigChanged { .. } => "the manifest changed",
        Reason::DependencyChanged { .. } => "its base changes",
        Reason::BaseChanged { .. } => "a base outside the manifest moved",
        Reason::SourceChanged { .. } => "its source moved",
        Reason::RemoteChanged { .. } => "replaced outside of imgplan",
        Reason::Expired { .. } => "older than its max_age",
        Reason::Pending { .. } => "a build is in progress",
        Reason::VisibilityChanged { .. } => "another visibility",
        Reason::OwnerChanged { .. } => "another owner",
        Reason::Moved { .. } => "renamed",
        Reason::PreviousFailed { .. } => "the last build did not succeed",
        Reason::Superseded { kept: true, .. } => "replaced by another tag, image kept",
        Reason::Superseded { kept: false, .. } => "replaced by another tag",
        Reason::New
        | Reason::WholeContextChanged
        | Reason::DockerfileChanged
        | Reason::MissingRemote
        | Reason::ExistsRemote
        | Reason::Requested
        | Reason::InDoubt
        | Reason::FingerprintFormatChanged
        | Reason::RemovedFromManifest { .. } => return reason.to_string(),
    };
    kind.to_owned()
}
