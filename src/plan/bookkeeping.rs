//! What the lockfile takes in without a step: protection, what the service shows of images, pins that
//! moved, and which side of a merge is right. Pure.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::facts::{Drift, Facts};
use super::identify::Identifier;
use super::options::{PlanOptions, Selection};
use super::select::selected;
use super::{Action, Change, Plan, Step};
use crate::base::name::ImageRef;
use crate::manifest::workspace::{UnitId, Workspace};
use crate::state::{Built, Entry, Pin, Record, State};

/// What goes with every apply, whether it has a step or none.
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
    // A part of a plan is about what was asked for, and what that needs.
    let mut asked = selected(workspace, selection);
    asked.extend(plan.steps.iter().filter_map(Step::unit));
    let units = workspace.units.iter().enumerate();
    for (index, unit) in units.filter(|(index, _)| asked.contains(&UnitId(*index))) {
        // What gets another name takes its protection along.
        let key = renamed.get(&UnitId(index)).unwrap_or(&unit.key);
        let entry = state.entries.get(key);
        let is = entry.is_some_and(|entry| entry.protect);
        // Without a word in the manifest it stays as it is: what was there before is no way to lift it.
        if let Some(protect) = unit.protect.filter(|protect| *protect != is) {
            let kind = entry.map_or_else(|| unit.kind(), |entry| entry.kind);
            let (platform, unit) = (unit.platform, key.clone());
            records.push(Record::Protected { unit, kind, platform, protect });
        }
    }
    // What has its place is protected, and by that it is as well: from now on by itself.
    let unsaid = |key: &&ImageRef| {
        let entry = state.entries.get(*key);
        entry.is_some_and(|entry| !entry.protect) && selection.wants_gone(key)
    };
    records.extend(plan.protected.iter().filter(unsaid).filter_map(|key| {
        let Entry { kind, platform, .. } = *state.entries.get(key)?;
        Some(Record::Protected { unit: key.clone(), kind, platform, protect: true })
    }));
    records.extend(visibilities(facts, state));
    records.extend(pins(facts, state));
    records
}

/// Pins that moved, or are new.
fn pins(facts: &Facts, state: &State) -> Vec<Record> {
    let moved = |(reference, pin): (&String, &Pin)| {
        let (reference, new) = (reference.clone(), pin.clone());
        (state.pins.get(&reference) != Some(pin))
            .then_some(Record::Pinned { reference, pin: Some(new) })
    };
    facts.pins.iter().filter_map(moved).collect()
}

/// Who may pull images, where the service says otherwise than the lockfile.
fn visibilities(facts: &Facts, state: &State) -> Vec<Record> {
    let seen = |(key, entry): (&ImageRef, &Entry)| {
        let built = entry.built.as_ref()?;
        let visibility = facts.visibility(key, built);
        let now = Built { visibility, ..built.clone() };
        (visibility != built.visibility).then(|| known(key, entry, Some(now)))
    };
    state.entries.iter().filter_map(seen).collect()
}

/// How the service shows the images on record, to bring the lockfile in line with it and nothing else.
/// One that was replaced stays on record as it was, since what is there now is not known.
pub fn refresh_records(facts: &Facts, state: &State) -> Vec<Record> {
    let gone = |(key, entry): (&ImageRef, &Entry)| {
        let built = entry.built.as_ref()?;
        (facts.drift(key, built) == Some(Drift::Gone)).then(|| known(key, entry, None))
    };
    let gone = state.entries.iter().filter_map(gone);
    visibilities(facts, state).into_iter().chain(gone).collect()
}

/// Which side of a merge is right where the two do not agree: that which was built last; where that is
/// not known, that of which the manifest wants just the content. Where that is not what is wanted, the
/// plan makes it.
pub fn reconciled(workspace: &Workspace, facts: &Facts, state: &State) -> Vec<Record> {
    let mut records = Vec::new();
    // What a unit is to contain depends on how often its bases were made, and so on the side that
    // these are of: each look settles one more floor of bases.
    for _ in 0..state.entry_conflicts.len() {
        let mut taken = state.clone();
        for record in &records {
            taken.apply(record);
        }
        let next = right_sides(workspace, facts, state, &taken);
        if next == records {
            break;
        }
        records = next;
    }
    records
}

/// The same, where the bases are as `taken` has them.
fn right_sides(workspace: &Workspace, facts: &Facts, state: &State, taken: &State) -> Vec<Record> {
    let options = PlanOptions::default();
    let mut identifier = Identifier::new(workspace, facts, taken, &options);
    let (mut records, mut told) = (Vec::new(), HashSet::new());
    for index in 0..workspace.units.len() {
        let id = UnitId(index);
        let wanted = identifier.next(workspace, id).inputs;
        let key = identifier.settled.get(&id).unwrap_or(&workspace.unit(id).key);
        let (Some(ours), Some(theirs)) = (state.entries.get(key), state.entry_conflicts.get(key))
        else {
            continue;
        };
        // A merge that took some lines of each side leaves a fingerprint that is not that of its
        // inputs.
        let is = |entry: &Entry| {
            let built = entry.built.as_ref();
            let whole = built.filter(|built| built.fingerprint == built.inputs.fingerprint());
            let owner = workspace.unit(id).owner.as_ref();
            whole.is_some_and(|built| {
                built.inputs.equals_ignoring_replace_count(&wanted)
                    && owner.is_none_or(|owner| *owner == built.owner)
            })
        };
        let take = match later(ours, theirs) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Less) => false,
            // What one side alone has on record is there, wanted or not.
            None if ours.built.is_none() => theirs.built.is_some(),
            // Of two owners' images each has a time of its own: the newer will do for longer.
            Some(Ordering::Equal) | None => {
                is(theirs) && (!is(ours) || completed(theirs) > completed(ours))
            }
        };
        records.extend(of_side(key, ours, theirs, take));
        told.insert(key.clone());
    }
    // Of what the manifest does not have, nothing but the times says which side is right.
    for (key, theirs) in state.entry_conflicts.iter().filter(|(key, _)| !told.contains(*key)) {
        let Some(ours) = state.entries.get(key) else { continue };
        let none = ours.built.is_none() && theirs.built.is_some();
        let take = none || later(ours, theirs) == Some(Ordering::Greater);
        records.extend(of_side(key, ours, theirs, take));
    }
    records
}

/// What is taken of their side of a unit: what it built, and what is under way where we have nothing.
fn of_side(key: &ImageRef, ours: &Entry, theirs: &Entry, take: bool) -> Vec<Record> {
    let mut records = Vec::new();
    if take {
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

/// Whether theirs was built later than ours. Of two builds of one image, the later one is what the tag
/// has, whatever is wanted.
fn later(ours: &Entry, theirs: &Entry) -> Option<Ordering> {
    let (ours, theirs) = (ours.built.as_ref()?, theirs.built.as_ref()?);
    if ours.owner != theirs.owner {
        return None;
    }
    Some(theirs.completed?.cmp(&ours.completed?))
}

fn known(key: &ImageRef, entry: &Entry, built: Option<Built>) -> Record {
    Record::Known { unit: key.clone(), kind: entry.kind, platform: entry.platform, built }
}
