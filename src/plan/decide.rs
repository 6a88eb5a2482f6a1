//! Makes a decision from facts and state. `plan`, `apply` and the tests all go through [`decide`].
//! Pure.

use std::borrow::Cow;
use std::collections::HashSet;

use super::bookkeeping::bookkeeping;
use super::build::{build, build_all};
use super::earlier_inputs::carry_inputs_over;
use super::facts::Facts;
use super::identify::{identify, resolve_tags};
use super::members::Members;
use super::merge::merge_records;
use super::options::PlanOptions;
use super::previous::PreviousLookup;
use super::refresh::{refreshed, superseded};
use super::select::select;
use super::steps::{Plan, Step};
use crate::base::name::ImageRef;
use crate::manifest::workspace::Workspace;
use crate::state::{Record, State};

/// A plan, and the changes to the state that come with it.
#[derive(Debug)]
pub struct Decision {
    /// The workspace with resolved tags.
    pub workspace: Workspace,
    /// The steps.
    pub plan: Plan,
    /// Results of the refresh. Recording them does no harm, even if the plan is declined.
    pub refreshed: Vec<Record>,
    /// State updates to record once the plan is approved.
    pub bookkeeping: Vec<Record>,
}

/// Decides what to do.
pub fn decide(
    workspace: Workspace,
    facts: &Facts,
    state: &State,
    options: &PlanOptions,
) -> Decision {
    let mut refreshed = refreshed(state, facts);
    let mut state = Cow::Borrowed(state);
    apply(&mut state, &refreshed);
    let merged = merge_records(&workspace, facts, &state);
    apply(&mut state, &merged);
    refreshed.extend(merged.iter().cloned());
    // Not part of `refreshed`: if the plan is declined, nothing is pinned either.
    let mut adopted = carry_inputs_over(&workspace, facts, &state);
    apply(&mut state, &adopted);
    let identities = identify(&workspace, facts, &state, options);
    let workspace = resolve_tags(workspace, &identities);
    let mut plan = build_all(&workspace, identities, facts, &state, options);
    // Computed before the selection: a build that a partial plan leaves out is adopted later.
    let superseded = superseded(&plan, &state, facts);
    adopted.retain(|record| !is_for_any(record, &superseded));
    refreshed.extend(superseded);
    if options.selection.partition.is_some() {
        // Another run may be about to record the same of the other parts.
        let members = Members::new(&workspace, &options.selection);
        let is_of_member = members.record_filter();
        // The sides of a merge are settled for all units: the lockfile is written without the markers.
        refreshed.retain(|record| is_of_member(record) || merged.contains(record));
        adopted.retain(&is_of_member);
    }
    select(&mut plan, &workspace, &options.selection);
    // Record pins last: `carry_inputs_over` only credits units whose reference has no pin yet.
    let mut records = adopted;
    records.extend(bookkeeping(&workspace, facts, &state, &plan, &options.selection));
    for record in &records {
        let Record::Protected { unit, protect, .. } = record else { continue };
        let entry = state.entries.get(unit);
        if !protect {
            plan.unprotects.push(unit.clone());
        } else if entry.is_some_and(|entry| entry.built.is_some() || entry.pending.is_some()) {
            plan.protects.push(unit.clone());
        }
    }
    Decision { workspace, plan, refreshed, bookkeeping: records }
}

/// Returns the units that have a step according to what is known so far, and the recorded images
/// that these steps start from. A minimal refresh compares only them with the service.
pub(crate) fn changing(
    workspace: &Workspace,
    facts: &Facts,
    state: &State,
    options: &PlanOptions,
) -> HashSet<ImageRef> {
    let lookup = PreviousLookup::new(workspace, state);
    let keys = |step: &Step| {
        let unit = step.unit().map(|unit| workspace.unit(unit));
        let previous = unit.and_then(|unit| lookup.of(workspace, unit));
        [Some(step.key.clone()), previous.map(|previous| previous.key.clone())]
    };
    build(workspace, facts, state, options).steps.iter().flat_map(keys).flatten().collect()
}

/// True if a record is for a build that others record as ended: it would bring the build back.
fn is_for_any(record: &Record, ended: &[Record]) -> bool {
    let Record::Created { pending, .. } = record else { return false };
    let same =
        |ended: &Record| matches!(ended, Record::Ended { build, .. } if *build == pending.build);
    ended.iter().any(same)
}

fn apply(state: &mut Cow<'_, State>, records: &[Record]) {
    for record in records {
        state.to_mut().apply(record);
    }
}
