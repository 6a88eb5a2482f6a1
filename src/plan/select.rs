//! Reduces a plan to the selected units and the bases that they need. Pure.

use std::collections::{HashMap, HashSet};

use super::options::Selection;
use super::steps::{PartialPlan, Plan, Step, StepId};
use crate::base::name::{ImageName, ImageRef};
use crate::manifest::workspace::{Unit, UnitId, Workspace};
use crate::state::State;

/// Drops the steps that are not selected from a plan of all units.
pub(super) fn select(plan: &mut Plan, workspace: &Workspace, selection: &Selection) {
    if selection.is_all() {
        return;
    }
    let selected = selected(workspace, selection);
    let selects_orphan = orphan_selector(workspace, selection);
    let is_selected = |step: &Step| {
        if let Some(unit) = step.unit() {
            return selected.contains(&unit);
        }
        // An orphan goes together with the units that replace it.
        let mut needs = step.needs.iter().filter_map(|need| plan.steps[need.0].unit());
        selects_orphan(&step.key) && needs.all(|unit| selected.contains(&unit))
    };
    let mut keep: Vec<bool> = plan.steps.iter().map(is_selected).collect();
    // Each step comes after the steps that it needs, so that one pass from the end finds all of
    // them.
    for index in (0..plan.steps.len()).rev() {
        if !keep[index] {
            continue;
        }
        let needs = plan.steps[index].needs.clone();
        for need in needs {
            plan.steps[need.0].added |= !keep[need.0];
            keep[need.0] = true;
        }
    }
    let changed: HashSet<UnitId> = plan.steps.iter().filter_map(Step::unit).collect();
    let mut unchanged: Vec<UnitId> = selected.difference(&changed).copied().collect();
    unchanged.sort_unstable();
    plan.unchanged = unchanged.into_iter().map(|id| workspace.unit(id).kind()).collect();
    let left = keep.iter().filter(|keep| !**keep).count();
    keep_only(plan, &keep);
    plan.partial = Some(PartialPlan { selected: selected.len(), left });
}

/// Returns the selected units.
pub(super) fn selected(workspace: &Workspace, selection: &Selection) -> HashSet<UnitId> {
    let all = (0..workspace.units.len()).map(UnitId);
    if selection.is_all() {
        return all.collect();
    }
    let excluded = excluded(workspace, selection);
    all.filter(|id| !excluded.contains(id) && selection.selects(workspace.unit(*id))).collect()
}

/// True if neither a unit nor an orphan is selected.
pub(crate) fn selects_nothing(workspace: &Workspace, state: &State, selection: &Selection) -> bool {
    if selection.is_all() || !selected(workspace, selection).is_empty() {
        return false;
    }
    let units: HashSet<&ImageRef> = workspace.units.iter().map(|unit| &unit.key).collect();
    let selects_orphan = orphan_selector(workspace, selection);
    !state.entries.keys().any(|key| !units.contains(key) && selects_orphan(key))
}

/// Returns a function that is true for the keys of selected orphans.
pub(super) fn orphan_selector<'w>(
    workspace: &'w Workspace,
    selection: &'w Selection,
) -> impl Fn(&ImageRef) -> bool + use<'w> {
    let mut moved: HashMap<&ImageName, Vec<&Unit>> = HashMap::new();
    for unit in &workspace.units {
        for old in &unit.old_names {
            moved.entry(&old.name).or_default().push(unit);
        }
    }
    move |key| {
        let units = moved.get(&key.name).into_iter().flatten().copied();
        let is_old = |unit: &&Unit| unit.old_names.iter().any(|old| old.matches(key));
        selection.selects_orphan(key, &units.filter(is_old).collect::<Vec<_>>())
    }
}

/// Returns the excluded units and their dependents.
fn excluded(workspace: &Workspace, selection: &Selection) -> HashSet<UnitId> {
    let mut excluded = HashSet::new();
    // Bases come first in a workspace.
    for (index, unit) in workspace.units.iter().enumerate() {
        let named = selection.excludes.iter().any(|pattern| pattern.matches(unit));
        if named || unit.needs.iter().any(|need| excluded.contains(need)) {
            excluded.insert(UnitId(index));
        }
    }
    excluded
}

/// Keeps the steps with a `true` at their index, and renumbers their needs.
pub(super) fn keep_only(plan: &mut Plan, keep: &[bool]) {
    let mut next = 0;
    let new_ids: Vec<StepId> = keep
        .iter()
        .map(|&keep| {
            let id = StepId(next);
            next += usize::from(keep);
            id
        })
        .collect();
    let mut kept = keep.iter();
    plan.steps.retain(|_| *kept.next().unwrap_or(&true));
    for step in &mut plan.steps {
        step.needs.iter_mut().for_each(|need| *need = new_ids[need.0]);
    }
}
