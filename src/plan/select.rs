//! Leaves of a plan what was asked for: the selected units, and of what they need that which is not
//! current. Pure.

use std::collections::HashSet;

use super::options::Selection;
use super::{PartialPlan, Plan, Step, StepId};
use crate::manifest::workspace::{UnitId, Workspace};

/// Drops what the selection leaves out of a plan of all units.
pub(super) fn select(plan: &mut Plan, workspace: &Workspace, selection: &Selection) {
    if selection.is_all() {
        return;
    }
    let selected = selected(workspace, selection);
    let mut keep: Vec<bool> = plan
        .steps
        .iter()
        .map(|step| {
            if let Some(unit) = step.unit() {
                return selected.contains(&unit);
            }
            // What goes because another has its place, goes with that.
            let mut needs = step.needs.iter().filter_map(|need| plan.steps[need.0].unit());
            selection.wants_gone(&step.key) && needs.all(|unit| selected.contains(&unit))
        })
        .collect();
    // What a step needs comes before it: one pass from the end finds all of it. What is there
    // already has no step, and is taken as it is.
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

/// The units that are asked for.
pub(super) fn selected(workspace: &Workspace, selection: &Selection) -> HashSet<UnitId> {
    let all = (0..workspace.units.len()).map(UnitId);
    if selection.is_all() {
        return all.collect();
    }
    let excluded = excluded(workspace, selection);
    all.filter(|id| !excluded.contains(id) && selection.wants(workspace.unit(*id))).collect()
}

/// The units that are excluded, and all that need them.
fn excluded(workspace: &Workspace, selection: &Selection) -> HashSet<UnitId> {
    let mut excluded = HashSet::new();
    // Bases come first.
    for (index, unit) in workspace.units.iter().enumerate() {
        let named = selection.excludes.iter().any(|pattern| pattern.matches(unit));
        if named || unit.needs.iter().any(|need| excluded.contains(need)) {
            excluded.insert(UnitId(index));
        }
    }
    excluded
}

/// Keeps some of the steps, and gives their needs the new numbers.
pub(super) fn keep_only(plan: &mut Plan, keep: &[bool]) {
    let mut next = 0;
    let places: Vec<StepId> = keep
        .iter()
        .map(|&keep| {
            let place = StepId(next);
            next += usize::from(keep);
            place
        })
        .collect();
    let mut kept = keep.iter();
    plan.steps.retain(|_| *kept.next().unwrap_or(&true));
    for step in &mut plan.steps {
        step.needs.iter_mut().for_each(|need| *need = places[need.0]);
    }
}
