//! Compares the manifest ([`Workspace`]) and the [`Facts`] with the recorded [`State`], and decides what
//! to do and why: see [`decide()`]. Pure: no async, no file, no clock.
//!
//! [`Workspace`]: crate::manifest::Workspace
//! [`State`]: crate::state::State

mod bookkeeping;
mod build;
mod decide;
mod differences;
pub mod facts;
mod first_pins;
mod identify;
mod inputs;
mod merge;
pub mod options;
mod orphans;
pub mod pins;
mod previous;
pub mod reason;
mod refresh;
pub mod saved;
mod select;
mod steps;
#[cfg(test)]
mod tests;
pub mod unpinned;

pub use bookkeeping::refresh_records;
pub use build::build;
pub use decide::{Decision, changing, decide};
pub use facts::Facts;
pub use first_pins::adopt_first_pins;
pub use identify::{Identity, identify, resolve_tags};
pub use options::{Pattern, PlanOptions, Selection};
pub use previous::PreviousLookup;
pub use reason::Reason;
pub use saved::SavedPlan;
pub use steps::{
    Action, ActionCounts, Change, Create, PartialPlan, Plan, Renamed, RequestInDoubt, Step, StepId,
};

pub use crate::context::FileChange;
