//! The whole decision, from what was found out to a plan: the one way that `plan`, `apply` and the
//! tests go. Pure.

use std::borrow::Cow;
use std::collections::HashSet;

use super::bookkeeping::{bookkeeping, reconciled};
use super::build::whole;
use super::facts::Facts;
use super::identify::settle;
use super::options::PlanOptions;
use super::previous::PreviousLookup;
use super::refresh::{refreshed, superseded};
use super::select::select;
use super::{Plan, Step, build, pins};
use crate::base::name::ImageRef;
use crate::manifest::workspace::Workspace;
use crate::state::{Record, State};

/// A plan, and what is to be on record with it.
#[derive(Debug)]
pub struct Decision {
    /// The workspace, its tags settled.
    pub workspace: Workspace,
    /// What to do.
    pub plan: Plan,
    /// What is known now and was not before. To keep it does no harm, whatever becomes of the plan.
    pub refreshed: Vec<Record>,
    /// What goes on record with the plan, once it is agreed to.
    pub bookkeeping: Vec<Record>,
}

/// Plans from the facts.
pub fn decide(
    workspace: Workspace,
    facts: &Facts,
    state: &State,
    options: &PlanOptions,
) -> Decision {
    let mut records = refreshed(state, facts);
    let mut state = Cow::Borrowed(state);
    take_in(&mut state, &records);
    let reconciled = reconciled(&workspace, facts, &state);
    take_in(&mut state, &reconciled);
    records.extend(reconciled);
    // Not with what is refreshed: where the plan is declined, nothing is pinned either.
    let mut adopted = pins::adopted(&workspace, facts, &state);
    take_in(&mut state, &adopted);
    let workspace = settle(workspace, facts, &state, options);
    let mut plan = whole(&workspace, facts, &state, options);
    // Also what a part of the plan leaves out is adopted some day.
    let superseded = superseded(&plan, &state, facts);
    adopted.retain(|record| !is_of_any(record, &superseded));
    records.extend(superseded);
    select(&mut plan, &workspace, &options.selection);
    // The pins come last: with them on record, nothing is taken for made from them any more.
    adopted.extend(bookkeeping(&workspace, facts, &state, &plan, &options.selection));
    for record in &adopted {
        let Record::Protected { unit, protect, .. } = record else { continue };
        let entry = state.entries.get(unit);
        if !protect {
            plan.unprotects.push(unit.clone());
        } else if entry.is_some_and(|entry| entry.built.is_some() || entry.pending.is_some()) {
            plan.protects.push(unit.clone());
        }
    }
    Decision { workspace, plan, refreshed: records, bookkeeping: adopted }
}

/// The units that a plan has a step for, and what these go on from, as far as is known by now.
pub fn changing(
    workspace: &Workspace,
    facts: &Facts,
    state: &State,
    options: &PlanOptions,
) -> HashSet<ImageRef> {
    let lookup = PreviousLookup::new(workspace, state);
    let of = |step: &Step| {
        let unit = step.unit().map(|unit| workspace.unit(unit));
        let previous = unit.and_then(|unit| lookup.of(workspace, unit));
        [Some(step.key.clone()), previous.map(|previous| previous.key.clone())]
    };
    build(workspace, facts, state, options).steps.iter().flat_map(of).flatten().collect()
}

/// Whether a record would bring a build back that these say is over.
fn is_of_any(record: &Record, over: &[Record]) -> bool {
    let Record::Created { pending, .. } = record else { return false };
    let same =
        |over: &Record| matches!(over, Record::Ended { build, .. } if *build == pending.build);
    over.iter().any(same)
}

fn take_in(state: &mut Cow<'_, State>, records: &[Record]) {
    for record in records {
        state.to_mut().apply(record);
    }
}
