//! The units and orphans that a selection has. Pure.

use std::collections::{HashMap, HashSet};

use super::options::Selection;
use super::partition::Partition;
use super::previous::same_tag;
use crate::base::name::{ImageName, ImageRef};
use crate::manifest::workspace::{Unit, UnitId, Workspace};
use crate::state::{Record, State};

/// The members of a selection.
pub(super) struct Members<'w> {
    workspace: &'w Workspace,
    selection: &'w Selection,
    /// The selected units.
    pub(super) units: HashSet<UnitId>,
    /// The units that are selected if the partition is left aside; empty without a partition.
    of_all_parts: HashSet<UnitId>,
    /// Units that had other names before, by these names.
    moved: HashMap<&'w ImageName, Vec<UnitId>>,
    /// Units with a fingerprint in the tag, by name.
    open: HashMap<&'w ImageName, Vec<UnitId>>,
}

impl<'w> Members<'w> {
    /// Finds the members of a selection.
    pub(super) fn new(workspace: &'w Workspace, selection: &'w Selection) -> Self {
        let mut moved: HashMap<&ImageName, Vec<UnitId>> = HashMap::new();
        let mut open: HashMap<&ImageName, Vec<UnitId>> = HashMap::new();
        for (index, unit) in workspace.units.iter().enumerate() {
            if unit.content_tag.is_some() {
                open.entry(&unit.key.name).or_default().push(UnitId(index));
            }
            for old in &unit.old_names {
                moved.entry(&old.name).or_default().push(UnitId(index));
            }
        }
        let filtered = filtered(workspace, selection);
        let (units, of_all_parts) = match selection.partition {
            Some(partition) => (part(workspace, &filtered, partition), filtered),
            None => (filtered, HashSet::new()),
        };
        Self { workspace, selection, units, of_all_parts, moved, open }
    }

    /// True if a unit is in the partition only because a selected unit is built on it.
    pub(super) fn is_added(&self, unit: UnitId) -> bool {
        self.selection.partition.is_some() && !self.of_all_parts.contains(&unit)
    }

    /// True if the orphan with this key is selected. In a partition, an orphan goes with the unit that
    /// replaces it.
    pub(super) fn has_orphan(&self, key: &ImageRef) -> bool {
        let ids = self.moved.get(&key.name).into_iter().flatten().copied();
        let unit = |id: UnitId| (id, self.workspace.unit(id));
        let is_old =
            |(_, unit): &(UnitId, &Unit)| unit.old_names.iter().any(|old| old.matches(key));
        let moved_to: Vec<(UnitId, &Unit)> = ids.map(unit).filter(is_old).collect();
        let units: Vec<&Unit> = moved_to.iter().map(|(_, unit)| *unit).collect();
        if !self.selection.selects_orphan(key, &units) {
            return false;
        }
        let Some(partition) = self.selection.partition else { return true };
        match self.successor(key, &moved_to) {
            Some(id) => self.units.contains(&id),
            None => partition.has_orphan(&key.to_string()),
        }
    }

    /// Returns the first unit, of all parts, that replaces an orphan: one of the same tag if there is
    /// one.
    fn successor(&self, key: &ImageRef, moved_to: &[(UnitId, &Unit)]) -> Option<UnitId> {
        let selected = |id: &UnitId| self.of_all_parts.contains(id);
        let of_content = self.open.get(&key.name).into_iter().flatten();
        let mut of_content = of_content.filter(|id| same_tag(self.workspace.unit(**id), key));
        if let Some(id) = of_content.find(|id| selected(id)) {
            return Some(*id);
        }
        let moved_to = || moved_to.iter().filter(|(id, _)| selected(id));
        let same = moved_to().find(|(_, unit)| same_tag(unit, key));
        same.or_else(|| moved_to().next()).map(|(id, _)| *id)
    }

    /// Returns a function that is true for the records of the members.
    pub(super) fn record_filter(&self) -> impl Fn(&Record) -> bool {
        let units = self.workspace.units.iter().enumerate();
        let by_key: HashMap<&ImageRef, UnitId> =
            units.map(|(index, unit)| (&unit.key, UnitId(index))).collect();
        move |record| {
            let Some(key) = unit_of(record) else { return false };
            match by_key.get(key) {
                Some(id) => self.units.contains(id),
                None => self.has_orphan(key),
            }
        }
    }
}

/// Returns the selected units, and the selected entries that have no unit.
pub(crate) fn selected_units(
    workspace: &Workspace,
    state: &State,
    selection: &Selection,
) -> (Vec<UnitId>, Vec<ImageRef>) {
    let members = Members::new(workspace, selection);
    let units: HashSet<&ImageRef> = workspace.units.iter().map(|unit| &unit.key).collect();
    let keys = state.entries.keys();
    let orphans = keys.filter(|key| !units.contains(key) && members.has_orphan(key));
    let orphans = orphans.cloned().collect();
    (members.units.into_iter().collect(), orphans)
}

/// True if neither a unit nor an orphan is selected, in any part.
pub(crate) fn selects_nothing(workspace: &Workspace, state: &State, selection: &Selection) -> bool {
    let selection = Selection { partition: None, ..selection.clone() };
    if selection.is_all() {
        return false;
    }
    let (units, orphans) = selected_units(workspace, state, &selection);
    units.is_empty() && orphans.is_empty()
}

/// Returns the selected units of all parts.
fn filtered(workspace: &Workspace, selection: &Selection) -> HashSet<UnitId> {
    let all = (0..workspace.units.len()).map(UnitId);
    let excluded = excluded(workspace, selection);
    all.filter(|id| !excluded.contains(id) && selection.selects(workspace.unit(*id))).collect()
}

/// Returns the excluded units and their dependents.
fn excluded(workspace: &Workspace, selection: &Selection) -> HashSet<UnitId> {
    let mut excluded = HashSet::new();
    if selection.excludes.is_empty() {
        return excluded;
    }
    // Bases come first in a workspace.
    for (index, unit) in workspace.units.iter().enumerate() {
        let named = selection.excludes.iter().any(|pattern| pattern.matches(unit));
        if named || unit.needs.iter().any(|need| excluded.contains(need)) {
            excluded.insert(UnitId(index));
        }
    }
    excluded
}

/// Returns the units of a part. The trunk also has the bases, at any depth, of the selected units:
/// these need them.
fn part(
    workspace: &Workspace,
    filtered: &HashSet<UnitId>,
    partition: Partition,
) -> HashSet<UnitId> {
    let needs = |id: UnitId| workspace.unit(id).needs.iter().copied();
    let ids = || (0..workspace.units.len()).map(UnitId);
    let trunk: HashSet<UnitId> = ids().flat_map(needs).collect();
    if partition == Partition::Trunk {
        let mut needed: HashSet<UnitId> = filtered.clone();
        for id in ids().rev().collect::<Vec<_>>() {
            if needed.contains(&id) {
                needed.extend(needs(id));
            }
        }
        return needed.intersection(&trunk).copied().collect();
    }
    let leaves = ids().filter(|id| filtered.contains(id) && !trunk.contains(id)).enumerate();
    let is_member =
        |(index, id): &(usize, UnitId)| partition.has_leaf(*index, &workspace.unit(*id).shown());
    leaves.filter(is_member).map(|(_, id)| id).collect()
}

fn unit_of(record: &Record) -> Option<&ImageRef> {
    match record {
        Record::Submitting { unit, .. }
        | Record::NotAccepted { unit }
        | Record::Created { unit, .. }
        | Record::Uploaded { unit, .. }
        | Record::Started { unit, .. }
        | Record::Ended { unit, .. }
        | Record::Updated { unit, .. }
        | Record::Forgotten { unit }
        | Record::Known { unit, .. }
        | Record::Protected { unit, .. } => Some(unit),
        Record::Pinned { .. } | Record::Committed { .. } => None,
    }
}
