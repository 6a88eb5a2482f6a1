//! Reduces a plan to the selected units and the bases that they need. Pure.

use std::collections::HashSet;

use super::members::Members;
use super::options::Selection;
use super::steps::{Blocked, PartialPlan, Plan, Step, StepId};
use crate::manifest::workspace::{UnitId, Workspace};

/// Drops the steps that are not selected from a plan of all units.
pub(super) fn select(plan: &mut Plan, workspace: &Workspace, selection: &Selection) {
    if selection.is_all() {
        return;
    }
    let members = Members::new(workspace, selection);
    let keep = if selection.partition.is_some() {
        keep_part(plan, &members)
    } else {
        keep_with_needs(plan, &members)
    };
    let changed: HashSet<UnitId> = plan.steps.iter().filter_map(Step::unit).collect();
    let mut unchanged: Vec<UnitId> = members.units.difference(&changed).copied().collect();
    unchanged.sort_unstable();
    plan.unchanged = unchanged.into_iter().map(|id| workspace.unit(id).kind()).collect();
    let left = keep.iter().filter(|keep| !**keep).count() - plan.blocked.len();
    keep_only(plan, &keep);
    plan.partial = Some(PartialPlan { selected: members.units.len(), left });
}

/// Returns which steps to keep: those of the members, and those that they need.
fn keep_with_needs(plan: &mut Plan, members: &Members<'_>) -> Vec<bool> {
    let is_selected = |step: &Step| {
        if let Some(unit) = step.unit() {
            return members.units.contains(&unit);
        }
        // An orphan goes together with the units that replace it.
        let mut needs = step.needs.iter().filter_map(|need| plan.steps[need.0].unit());
        members.has_orphan(&step.key) && needs.all(|unit| members.units.contains(&unit))
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
    keep
}

/// Returns which steps to keep in a partition: those of the members that need no step of another part.
/// The other members are blocked. An orphan whose replacement is missing waits for a later run.
fn keep_part(plan: &mut Plan, members: &Members<'_>) -> Vec<bool> {
    let mut keep: Vec<bool> = Vec::with_capacity(plan.steps.len());
    let mut blocked = Vec::new();
    for step in &mut plan.steps {
        let missing = step.needs.iter().find(|need| !keep[need.0]).copied();
        let Some(unit) = step.unit() else {
            keep.push(missing.is_none() && members.has_orphan(&step.key));
            continue;
        };
        let is_member = members.units.contains(&unit);
        step.added = is_member && members.is_added(unit);
        if let Some(missing) = missing.filter(|_| is_member) {
            blocked.push((step.key.clone(), missing));
        }
        keep.push(is_member && missing.is_none());
    }
    let blocked = blocked.into_iter();
    let blocked =
        blocked.map(|(unit, base)| Blocked { unit, base: plan.steps[base.0].key.clone() });
    plan.blocked = blocked.collect();
    keep
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
