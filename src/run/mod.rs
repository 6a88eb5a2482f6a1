//! Carries out a plan: many units at once, each after its bases, each build ID on disk before
//! anything depends on it.
//!
//! ```text
//!  step::run ──StepMessage──►  driver  ──Input──►  dispatch (pure) ──Effects──►  driver
//!  (a task for each step)      (select!, store, reporter)                        (write, report, spawn)
//! ```
//! A step's task sends requests and waits; only the driver writes; `dispatch` and `schedule` decide
//! what follows, without clock and network.
//!
//! Requests that serve several units are sent by tasks that the steps share: `transfers` (batches of
//! transfers, and the recovery of lost responses), `updates`, and `poll`, which polls pending builds
//! as often as `pace` allows.

mod base_paths;
mod create;
mod dispatch;
pub(crate) mod driver;
pub(crate) mod error;

mod job;
mod link;
pub(crate) mod options;
mod outcome;
mod pace;
mod poll;
mod pools;
mod progress;
mod schedule;
mod step;
mod transfers;
mod unit;
mod updates;

pub(crate) use job::placement;

pub(crate) use driver::execute;
pub(crate) use error::RunError;
pub(crate) use options::{Run, RunOptions};
