//! Decides which side of a git merge is right where the two sides of a lockfile conflict. Pure.

use std::cmp::Ordering;
use std::collections::HashSet;

use jiff::Timestamp;

use super::facts::Facts;
use super::identify::identify;
use super::options::PlanOptions;
use crate::base::name::ImageRef;
use crate::manifest::workspace::Workspace;
use crate::state::{Built, Entry, Record, State};

/// Returns the records that settle a merge. The entry that was built last wins; if that is not
/// known, the entry with the content that the manifest wants. If neither has that content, the plan
/// rebuilds the unit.
pub(super) fn merge_records(workspace: &Workspace, facts: &Facts, state: &State) -> Vec<Record> {
    let mut records = Vec::new();
    // A unit's fingerprint depends on the replace count of its bases, and so on the side that these
    // are taken from: each round settles one more level of bases.
    for _ in 0..state.entry_conflicts.len() {
        let mut settled = state.clone();
        for record in &records {
            settled.apply(record);
        }
        let next = settle(workspace, facts, state, &settled);
        if next == records {
            break;
        }
        records = next;
    }
    records
}

/// Settles all conflicts with the bases as in `settled`.
fn settle(workspace: &Workspace, facts: &Facts, state: &State, settled: &State) -> Vec<Record> {
    let (mut records, mut in_manifest) = (Vec::new(), HashSet::new());
    let identities = identify(workspace, facts, settled, &PlanOptions::default());
    for (unit, identity) in workspace.units.iter().zip(identities) {
        let key = identity.key;
        let (Some(ours), Some(theirs)) = (state.entries.get(&key), state.entry_conflicts.get(&key))
        else {
            continue;
        };
        let is_wanted = |entry: &Entry| {
            let built = entry.built.as_ref();
            // A merge of single lines of both sides has a fingerprint that is not that of its
            // inputs.
            let consistent = built.filter(|built| built.fingerprint == built.inputs.fingerprint());
            consistent.is_some_and(|built| {
                built.inputs.equals_ignoring_replace_count(&identity.inputs)
                    && unit.owner.as_ref().is_none_or(|owner| *owner == built.owner)
            })
        };
        let take_theirs = match compare_completion(ours, theirs) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Less) => false,
            // An image that only one side records exists, wanted or not.
            None if ours.built.is_none() => theirs.built.is_some(),
            // Images of two owners both exist; the newer one expires later.
            Some(Ordering::Equal) | None => {
                is_wanted(theirs) && (!is_wanted(ours) || completed(theirs) > completed(ours))
            }
        };
        records.extend(records_of(&key, ours, theirs, take_theirs));
        in_manifest.insert(key);
    }
    // For orphans, only the times count.
    for (key, theirs) in state.entry_conflicts.iter().filter(|(key, _)| !in_manifest.contains(*key))
    {
        let Some(ours) = state.entries.get(key) else { continue };
        let take_theirs = (ours.built.is_none() && theirs.built.is_some())
            || compare_completion(ours, theirs) == Some(Ordering::Greater);
        records.extend(records_of(key, ours, theirs, take_theirs));
    }
    records
}

/// Returns the parts of their side to take over: the image, and a pending build if our side has
/// none.
fn records_of(key: &ImageRef, ours: &Entry, theirs: &Entry, take_theirs: bool) -> Vec<Record> {
    let mut records = Vec::new();
    if take_theirs {
        records.push(known(key, theirs, theirs.built.clone()));
    }
    if let (None, Some(pending)) = (&ours.pending, &theirs.pending) {
        records.push(Record::Created {
            unit: key.clone(),
            kind: theirs.kind,
            platform: theirs.platform,
            pending: pending.clone(),
        });
    }
    records
}

fn completed(entry: &Entry) -> Option<Timestamp> {
    entry.built.as_ref()?.completed
}

/// Compares their completion time with ours: the tag has the image that completed last. `None` if a
/// time is not known, or the images have different owners.
fn compare_completion(ours: &Entry, theirs: &Entry) -> Option<Ordering> {
    let (ours, theirs) = (ours.built.as_ref()?, theirs.built.as_ref()?);
    if ours.owner != theirs.owner {
        return None;
    }
    Some(theirs.completed?.cmp(&ours.completed?))
}

/// Returns the record that replaces the built image of an entry.
pub(super) fn known(key: &ImageRef, entry: &Entry, built: Option<Built>) -> Record {
    Record::Known { unit: key.clone(), kind: entry.kind, platform: entry.platform, built }
}
