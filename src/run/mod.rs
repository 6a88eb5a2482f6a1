//! Carries out a plan: many units at once, each base before what needs it, every build ID on
//! record before anything leans on it.
//!
//! ```text
//!  step::run ──StepMessage──►  driver  ──Input──►  dispatch (pure) ──Effects──►  driver
//!  (one task a unit)           (select!, store, reporter)                        (records, tells, spawns)
//! ```
//! Tasks only ask and wait; the driver alone writes; what happens next is decided by
//! `dispatch` and `schedule`, which know neither clock nor network.

mod ask;
mod booking;
mod dispatch;
mod doubt;
mod driver;
mod lanes;
mod make;
mod pace;
mod paths;
mod poll;
mod progress;
mod schedule;
mod step;
mod transfers;
mod updates;

pub(crate) use dispatch::told;
pub(crate) use make::place;

pub use driver::{Options, Run, RunError, execute};
