//! Compares the manifest ([`Workspace`]) and the [`Facts`] with the recorded [`State`], and decides
//! what to do and why: see [`decide()`]. Pure: no async, no file, no clock.
//!
//! [`Workspace`]: crate::manifest::Workspace
//! [`State`]: crate::state::State

mod bookkeeping;
pub(crate) mod build;
pub(crate) mod decide;
mod differences;
mod earlier_inputs;
mod earlier_names;
pub(crate) mod facts;
mod identify;
mod inputs;
mod members;
mod merge;
pub(crate) mod options;
mod orphans;
mod owner_change;
pub(crate) mod partition;
pub(crate) mod pins;
mod previous;
pub(crate) mod reason;
mod refresh;
pub(crate) mod saved;
mod select;
pub(crate) mod steps;
#[cfg(test)]
mod tests;
pub(crate) mod unpinned;

pub(crate) use bookkeeping::refresh_records;
pub(crate) use decide::{Decision, changing, decide};
pub(crate) use earlier_inputs::carry_inputs_over;
pub(crate) use earlier_names::carry_over;
pub(crate) use facts::Facts;
pub(crate) use identify::{Identity, identify, resolve_tags};
pub(crate) use members::{selected_units, selects_nothing};
pub(crate) use options::{Pattern, PlanOptions, Selection};
pub(crate) use owner_change::OwnerChange;
pub(crate) use partition::Partition;
pub(crate) use previous::PreviousLookup;
pub(crate) use reason::Reason;
pub(crate) use saved::{SavedPlan, SavedPlanError};
pub(crate) use steps::{
    Action, ActionCounts, Blocked, Change, Create, PartialPlan, Plan, Renamed, RequestInDoubt,
    Step, StepId,
};

pub(crate) use crate::context::FileChange;
