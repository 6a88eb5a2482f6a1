//! Puts the steps of a large plan into groups of one cause, so that a thousand are read as five.
//! Pure.

use std::collections::HashMap;

use super::human::symbol;
use crate::plan::{Reason, Step};

/// Steps, and groups, that are shown one by one at most.
pub(super) const MANY: usize = 40;

/// Steps of one action and one cause, in the plan's order.
pub(super) struct Group<'p> {
    /// What they have in common.
    pub(super) cause: String,
    /// The steps; there is one at least.
    pub(super) steps: Vec<&'p Step>,
}

/// The groups, the largest first; those of one size in the plan's order.
pub(super) fn groups<'p>(steps: &[&'p Step]) -> Vec<Group<'p>> {
    let fine = by(steps, cause);
    // Where each has a cause of its own, that they have one is what they have in common.
    if fine.len() > MANY { by(steps, |reason| kind(reason).to_owned()) } else { fine }
}

fn by<'p>(steps: &[&'p Step], cause: impl Fn(&Reason) -> String) -> Vec<Group<'p>> {
    let mut places = HashMap::new();
    let mut groups: Vec<Group<'p>> = Vec::new();
    for &step in steps {
        let cause = step.reasons.first().map(&cause).unwrap_or_default();
        let place =
            *places.entry((symbol(step).text, step.verb(), cause.clone())).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.steps.push(step),
            None => groups.push(Group { cause, steps: vec![step] }),
        }
    }
    for group in &mut groups {
        // What is the same for all is told as fully as it is for one.
        let full = |step: &&Step| step.reasons.first().map(ToString::to_string);
        let first = group.steps.first().and_then(full);
        if let Some(first) =
            first.filter(|first| group.steps.iter().all(|s| full(s).as_ref() == Some(first)))
        {
            group.cause = first;
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.steps.len()));
    groups
}

/// What many steps may have in common: what moved, but not each one's files.
fn cause(reason: &Reason) -> String {
    match reason {
        Reason::DependencyChanged { base, via } => {
            format!("base {} changes", via.last().unwrap_or(base))
        }
        Reason::ConfigChanged { field, .. } => format!("{field} changed"),
        Reason::BaseChanged { .. }
        | Reason::VisibilityChanged { .. }
        | Reason::OwnerChanged { .. } => reason.to_string(),
        reason => kind(reason).to_owned(),
    }
}

/// The kind of a reason, without what is each one's own.
fn kind(reason: &Reason) -> &'static str {
    match reason {
        Reason::New => "new",
        Reason::ContextChanged { .. } => "context changed",
        Reason::DockerfileChanged => "Dockerfile changed",
        Reason::ConfigChanged { .. } => "the manifest says otherwise",
        Reason::DependencyChanged { .. } => "a base changes",
        Reason::BaseChanged { .. } => "a base outside of the manifest moved",
        Reason::SourceChanged { .. } => "upstream moved",
        Reason::MissingRemote => "the service does not have it any more",
        Reason::RemoteChanged { .. } => "somebody else replaced it",
        Reason::ExistsRemote => "the service has one that is not in the lockfile",
        Reason::Requested => "asked for",
        Reason::Expired { .. } => "older than the manifest allows",
        Reason::PreviousFailed => "the last build did not succeed",
        Reason::InDoubt => "whether the service took it is not known",
        Reason::FingerprintFormatChanged => "imgplan digests in a new way",
        Reason::Pending { .. } => "its build is under way",
        Reason::VisibilityChanged { .. } => "another visibility",
        Reason::OwnerChanged { .. } => "another owner",
        Reason::Moved { .. } => "another name",
        Reason::Superseded { kept: true, .. } => "another tag has its place, image kept",
        Reason::Superseded { kept: false, .. } => "another tag has its place",
        Reason::RemovedFromManifest { kept: true } => "removed from the manifest, image kept",
        Reason::RemovedFromManifest { kept: false } => "removed from the manifest",
    }
}
