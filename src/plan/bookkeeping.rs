//! State updates that a plan brings without a step: protection, visibility and moved pins. Pure.

use std::collections::HashMap;

use super::facts::{Drift, Facts};
use super::members::Members;
use super::merge::known;
use super::options::Selection;
use super::steps::{Action, Change, Plan, Step};
use crate::base::name::ImageRef;
use crate::manifest::workspace::{UnitId, Workspace};
use crate::state::{Built, Entry, Pin, Record, State};

/// Returns the records that an approved plan brings, whether it has steps or not.
pub(super) fn bookkeeping(
    workspace: &Workspace,
    facts: &Facts,
    state: &State,
    plan: &Plan,
    selection: &Selection,
) -> Vec<Record> {
    let renamed = |step: &Step| match &step.action {
        Action::Update { unit, change: Change { from: Some(from), .. } } => {
            Some((*unit, from.clone()))
        }
        _ => None,
    };
    let renamed: HashMap<UnitId, ImageRef> = plan.steps.iter().filter_map(renamed).collect();
    let mut records = Vec::new();
    // A partial plan covers the selected units and the bases that it adds.
    let members = Members::new(workspace, selection);
    let mut covered = members.units.clone();
    covered.extend(plan.steps.iter().filter_map(Step::unit));
    let units = workspace.units.iter().enumerate();
    for (index, unit) in units.filter(|(index, _)| covered.contains(&UnitId(*index))) {
        // The protection moves along with a rename.
        let key = renamed.get(&UnitId(index)).unwrap_or(&unit.key);
        let entry = state.entries.get(key);
        let is_protected = entry.is_some_and(|entry| entry.protect);
        // If the manifest does not set `protect`, the recorded protection stays: deleting a line
        // must not lift it.
        if let Some(protect) = unit.protect.filter(|protect| *protect != is_protected) {
            let kind = entry.map_or_else(|| unit.kind(), |entry| entry.kind);
            let (platform, unit) = (unit.platform, key.clone());
            records.push(Record::Protected { unit, kind, platform, protect });
        }
    }
    // An orphan whose replacement is protected becomes protected itself.
    let unprotected = |key: &&ImageRef| {
        let entry = state.entries.get(*key);
        entry.is_some_and(|entry| !entry.protect) && members.has_orphan(key)
    };
    records.extend(plan.protected.iter().filter(unprotected).filter_map(|key| {
        let Entry { kind, platform, .. } = *state.entries.get(key)?;
        Some(Record::Protected { unit: key.clone(), kind, platform, protect: true })
    }));
    if selection.partition.is_some() {
        // Other runs have the other parts, and pins belong to all of them.
        records.extend(visibilities(facts, state).into_iter().filter(members.record_filter()));
        return records;
    }
    records.extend(visibilities(facts, state));
    records.extend(pins(facts, state));
    records
}

/// Returns the new and moved pins.
fn pins(facts: &Facts, state: &State) -> Vec<Record> {
    let moved = |(reference, pin): (&String, &Pin)| {
        (state.pins.get(reference) != Some(pin))
            .then(|| Record::Pinned { reference: reference.clone(), pin: Some(pin.clone()) })
    };
    facts.pins.iter().filter_map(moved).collect()
}

/// Returns the visibilities that differ between the service and the lockfile.
fn visibilities(facts: &Facts, state: &State) -> Vec<Record> {
    let changed = |(key, entry): (&ImageRef, &Entry)| {
        let built = entry.built.as_ref()?;
        let visibility = facts.visibility(key, built);
        let updated = || Built { visibility, ..built.clone() };
        (visibility != built.visibility).then(|| known(key, entry, Some(updated())))
    };
    state.entries.iter().filter_map(changed).collect()
}

/// Returns the records of `apply --refresh-only`: visibilities, and images that are missing. A
/// replaced image stays recorded as it was, since its content is not known.
pub(crate) fn refresh_records(facts: &Facts, state: &State) -> Vec<Record> {
    let missing = |(key, entry): (&ImageRef, &Entry)| {
        let built = entry.built.as_ref()?;
        (facts.drift(key, built) == Some(Drift::Gone)).then(|| known(key, entry, None))
    };
    let missing = state.entries.iter().filter_map(missing);
    visibilities(facts, state).into_iter().chain(missing).collect()
}
