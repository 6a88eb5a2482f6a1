//! Carries out a plan: many units at once, each base before what needs it, every build ID on
//! record before anything leans on it.
//!
//! ```text
//!  step::run ──StepMessage──►  driver  ──Input──►  dispatch (pure) ──Effects──►  driver
//!  (one task a unit)           (select!, store, reporter)                        (records, tells, spawns)
//! ```
//! Tasks only ask and wait; the driver alone writes; what happens next is decided by
//! `dispatch` and `schedule`, which know neither clock nor network.
//!
//! What many units can ask together has a task of its own, which they ask instead of the service:
//! `transfers` (an `ask` each; `booking` says whose the parts of an answer are, and `doubt` finds out
//! where it does not), `updates`, and `poll`, which looks at pending builds as often as `pace` says.

mod base_paths;
mod dispatch;
mod driver;
mod make;
mod pace;
mod poll;
mod pools;
mod progress;
mod schedule;
mod step;
mod transfers;
mod updates;

pub(crate) use dispatch::told;
pub(crate) use make::place;

pub use driver::{Options, Run, RunError, execute};
